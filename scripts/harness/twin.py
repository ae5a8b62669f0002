"""Run as a program, with an address and the name of a stream: another one that publishes under that name.

It says what makes a twin: `online`, health once a second, and `offline` when it is told to end (SIGTERM).
"""

from __future__ import annotations

import signal
import sys
import threading

from realtime.clock import MonotonicClock
from realtime.config.schema import MqttConfig
from realtime.publish.health import HealthReporter
from realtime.publish.mqtt import MqttPublisher


def main() -> None:
    """Publish until told to end."""
    url, stream = sys.argv[1:]
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    publisher = MqttPublisher(MqttConfig(url=url), [stream], lambda *_: None)
    publisher.start()
    health = HealthReporter(stream, MonotonicClock())
    while not over.wait(1.0):
        publisher.send_health(health.report({}))
    publisher.close()


if __name__ == "__main__":
    main()
