"""The streams of a live session, as who may add and remove them sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.capture.names import microphone_of, public_address
from realtime.config.combinations import check_stream
from realtime.control.messages import StreamLine
from realtime.session.state import StreamState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import Config, StreamConfig
    from realtime.session.live import Live


class LiveStreams:
    """Adds, removes and lists the streams of a session (`realtime.control.service.Streams`).

    Args:
        config: of the process.
        live: the session.
    """

    def __init__(self, config: Config, live: Live) -> None:
        self._config, self._live = config, live

    def add(self, stream: StreamConfig, state: dict[str, Any] | None) -> None:
        """Take a stream in; see Live.add.

        Raises:
            AgfnError: it can't be.
        """
        check_stream(stream, self._config)
        self._live.add(stream, None if state is None else StreamState.of(state))

    def remove(self, name: str) -> dict[str, Any]:
        """Let a stream go, and return what it remembers as JSON values.

        Raises:
            AgfnError: it can't be.
        """
        return self._live.remove(name).values()

    def lines(self) -> Sequence[StreamLine]:
        """What there is, with nothing of an address that may be a secret."""
        return [
            StreamLine(
                name=name,
                camera=_camera(live.config),
                mic=None if live.config.source is not None else microphone_of(live.config),
                source=None if live.config.source is None else Path(live.config.source).name,
                state="ended" if live.ended.is_set() else live.health.state or "begins",
                epoch=live.stream.origin.epoch,
            )
            for name, live in self._live.streams.items()
        ]


def _camera(stream: StreamConfig) -> str | None:
    return None if stream.source is not None or stream.camera is None else public_address(stream.camera)
