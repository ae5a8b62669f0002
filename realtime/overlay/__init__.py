"""The desktop overlay: a process of its own that subscribes to the messages and draws them over everything else.

feed (MQTT, paho's thread) -> watch (what is known, what it waits for) -> view (one moment) -> paint -> window.
"""
