"""Streams added, removed and listed while the program runs: over MQTT, from the dashboard, by a command."""
