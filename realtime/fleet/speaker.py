"""How the streams of a host reach their broker: a link for each, made when the stream begins and ended with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from realtime.publish.messages import EventMessage, Health, Sentiment
from realtime.publish.mqtt import MqttPublisher
from realtime.publish.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import Clock
    from realtime.config.schema import Config
    from realtime.publish.messages import Command, Origin, PublisherHealth


class Speaker:
    """An outlet with links to the broker for streams that come and go.

    Args:
        config: of the host.
        clock: for ages and rates.
        on_command: called with a stream's name and a command that came for it.
    """

    def __init__(
        self, config: Config, clock: Clock, on_command: Callable[[str, Command], None] = lambda *_: None
    ) -> None:
        self.outlet = Outlet()
        self._sent: Counter[str] = Counter()
        self._fenced: set[str] = set()
        self._publisher = MqttPublisher(
            config.mqtt, (), on_command, clock, on_taken=lambda stream, _: self._fenced.add(stream)
        )
        self._publisher.start()
        # It does not follow the outlet: when a stream is connected is said by `begin`.
        self.outlet.subscribe(self._publisher.send_sentiment, Sentiment, words=config.privacy.publish_text)
        self.outlet.subscribe(self._publisher.send_health, Health)
        self.outlet.subscribe(self._publisher.send_event, EventMessage)
        self.outlet.subscribe(self._count, Sentiment)

    def begin(self, stream: str, origin: Origin) -> None:
        """Connect a stream: from now on the broker takes it from here only."""
        self._sent.pop(stream, None)
        self._fenced.discard(stream)
        self._publisher.stream_came(stream, origin)

    def end(self, stream: str) -> None:
        """Disconnect a stream."""
        self._publisher.stream_went(stream)
        self._sent.pop(stream, None)

    def messages(self, stream: str) -> int:
        """How many sentiments a stream has handed over since it began."""
        return self._sent[stream]

    def is_fenced(self, stream: str) -> bool:
        """Whether the broker has given the stream to another client, for good."""
        return stream in self._fenced

    def dropped(self, stream: str) -> int:
        """How many messages of a stream did not go out, because they were too old or too many."""
        try:
            return self._publisher.dropped(stream)
        except KeyError:
            return 0

    def stats(self, stream: str) -> PublisherHealth | None:
        """The counts of a stream's connection; None while there is none."""
        try:
            return self._publisher.stats(stream)
        except KeyError:
            return None

    def close(self) -> None:
        """Send what waits, say goodbye, and disconnect."""
        self._publisher.close()

    def _count(self, message: Sentiment) -> None:
        self._sent[message.stream] += 1
