"""The Lab Streaming Layer sink: per stream one outlet of numbers at the hop, and one of markers.

LSL finds outlets by UDP and sends samples over TCP; it can be told where to be looked for, but opens its data ports to
all, so these get a filter. Its clock is the monotonic one of the machine that sends.
A sample stands at the end of its window in that clock, not at the time when it was computed.
"""

from __future__ import annotations

import json
import logging
import math
import platform
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from realtime.errors import UsageError
from realtime.fuse.channel_names import CHANNELS
from realtime.publish.messages import EventMessage, Sentiment
from realtime.sinks.new_words import new_words
from realtime.system.socket_filter import opened_to_loopback_only
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from realtime.config.schema import LslConfig
    from realtime.publish.messages import Origin
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

LOOPBACK = """[ports]
IPv6 = disable
[multicast]
ResolveScope = machine
ListenAddress = 127.0.0.1
AddressesOverride = {{127.0.0.1}}
[lab]
SessionID = {session}
[log]
level = -2
"""
"""LSL's own settings for scope machine: it is found by programs of this machine only."""
NAN = math.nan


@dataclass(frozen=True, slots=True)
class Column:
    """A channel of the numbers: its label, its unit, and where its value stands in a message."""

    label: str
    unit: str
    value: Callable[[Sentiment], float | None]


def _weight(name: str) -> Callable[[Sentiment], float | None]:
    return lambda message: message.modalities[name].weight  # type: ignore[index] # a name of MODALITIES


def _reliability(name: str) -> Callable[[Sentiment], float | None]:
    return lambda message: message.modalities[name].reliability  # type: ignore[index] # as above


SCALE = "sentiment -3..3"
COLUMNS: tuple[Column, ...] = (
    Column("score", SCALE, lambda message: message.score),
    Column("raw", SCALE, lambda message: message.raw),
    Column("interval_low", SCALE, lambda message: message.interval and message.interval[0]),
    Column("interval_high", SCALE, lambda message: message.interval and message.interval[1]),
    Column("band_low", SCALE, lambda message: message.band and message.band[0]),
    Column("band_high", SCALE, lambda message: message.band and message.band[1]),
    Column("p_positive", "probability", lambda message: message.p_positive),
    Column("confidence", "normalized", lambda message: message.confidence),
    Column("context", SCALE, lambda message: message.context),
    *(Column(f"{name}_weight", "normalized", _weight(name)) for name in MODALITIES),
    *(Column(f"{name}_reliability", "normalized", _reliability(name)) for name in MODALITIES),
    Column("faces", "count", lambda message: message.faces),
    Column("latency", "milliseconds", lambda message: message.latency_ms.total),
)
"""What the outlet of numbers holds, in this order; NaN where a message has none."""


def _channel(name: str, key: Literal["value", "reliability"]) -> Callable[[Sentiment], float | None]:
    def value(message: Sentiment) -> float | None:
        part = None if message.channels is None else message.channels.get(name)
        return None if part is None else part.value if key == "value" else part.reliability

    return value


OPTIONAL: tuple[Column, ...] = tuple(
    column
    for name, about in CHANNELS.items()
    for column in (
        Column(name, about.unit, _channel(name, "value")),
        Column(f"{name}_reliability", "normalized", _channel(name, "reliability")),
    )
)
"""What follows them where the optional channels are on."""


class LslSink:
    """Gives the streams to Lab Streaming Layer.

    Args:
        config: how far it may be found.
        streams: their names.
        hop_s: seconds between two samples.
        words: whether there is consent to words as markers.
        channels: whether the messages have the optional channels.

    Raises:
        UsageError: pylsl is not installed, or has no library for this machine.
    """

    def __init__(
        self, config: LslConfig, streams: Iterable[str], hop_s: float, *, words: bool, channels: bool = False
    ) -> None:
        self._lsl = _library(config)
        self._columns = COLUMNS + OPTIONAL if channels else COLUMNS
        self._words, self._hop_s, self._session = words, hop_s, config.session
        self._everywhere = config.scope == "network"
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._open(streams)

    def _open(self, streams: Iterable[str]) -> None:
        first = not self._streams
        if self._everywhere:
            opened = {name: _Stream(self._lsl, name, self._hop_s, self._columns) for name in streams}
            if first:
                log.warning("LSL: everyone on the network can find the streams and read them, unencrypted")
        else:
            with opened_to_loopback_only() as closed:
                opened = {name: _Stream(self._lsl, name, self._hop_s, self._columns) for name in streams}
            if not all(closed):
                log.warning("LSL: found on this machine only, but its data ports answer others who try them")
            elif first:
                log.info("LSL: found and read on this machine only, in session %s", self._session)
        with self._lock:
            self._streams |= opened

    def subscribe(self, outlet: Outlet) -> None:
        """Pass on numbers and events, and words where there is consent."""
        outlet.subscribe(self._take, Sentiment, EventMessage, words=self._words)
        outlet.follow(self)

    def stream_came(self, stream: str, origin: Origin) -> None:  # noqa: ARG002 - LSL knows no lease
        """Open its outlets."""
        self._open([stream])

    def stream_went(self, stream: str) -> None:
        """End its outlets; inlets see it go."""
        with self._lock:
            self._streams.pop(stream, None)

    def close(self) -> None:
        """End the outlets; inlets see their streams go."""
        with self._lock:
            self._streams.clear()

    def _take(self, message: Sentiment | EventMessage) -> None:
        with self._lock:
            stream = self._streams.get(message.stream)
            if stream is None:
                return
            if isinstance(message, Sentiment):
                stream.sentiment(message, self._lsl.local_clock())
            else:
                stream.event(message, self._lsl.local_clock())


class _Stream:
    """The two outlets of a stream. LSL queues what is pushed: nothing here waits for a reader."""

    def __init__(self, lsl: ModuleType, name: str, hop_s: float, columns: tuple[Column, ...]) -> None:
        self._columns = columns
        self._begin_s: float | None = None
        """The beginning of the stream in LSL's clock."""
        self._said = ""
        self._state = ""
        numbers = _info(lsl, name, "Sentiment", len(columns), 1 / hop_s, "float32")
        channels = numbers.desc().append_child("channels")
        for column in columns:
            channel = channels.append_child("channel")
            for key, value in (("label", column.label), ("unit", column.unit), ("type", "Sentiment")):
                channel.append_child_value(key, value)
        self._numbers = lsl.StreamOutlet(numbers)
        self._markers = lsl.StreamOutlet(_info(lsl, name, "Markers", 1, lsl.IRREGULAR_RATE, "string"))

    def sentiment(self, message: Sentiment, now_s: float) -> None:
        """Push the numbers of a window of the grid at the time of its end, and what is new with any as markers."""
        end_s = now_s - (message.latency_ms.window or 0) / 1000
        self._begin_s = end_s - message.window.end_s
        if message.reason == "hop":  # the numbers have a rate: one between two hops would break it
            values = [column.value(message) for column in self._columns]
            self._numbers.push_sample([NAN if value is None else float(value) for value in values], end_s)
        if message.state != self._state:
            self._state = message.state
            self._mark({"marker": "state", "state": message.state}, end_s)
        said = message.text.committed if message.text is not None else ""
        if words := new_words(self._said, said):
            self._mark({"marker": "words", "words": words, "lag_ms": message.latency_ms.text_lag}, end_s)
        self._said = said

    def event(self, message: EventMessage, now_s: float) -> None:
        """Push an event at the time when it happened."""
        at_s = now_s if self._begin_s is None else self._begin_s + message.time_s
        marker = {"marker": "event", "component": message.component, "kind": message.kind, "cause": message.cause}
        self._mark(marker, at_s)

    def _mark(self, marker: Mapping[str, str | int | None], at_s: float) -> None:
        self._markers.push_sample([json.dumps(marker, ensure_ascii=False)], at_s)


def _library(config: LslConfig) -> ModuleType:
    try:
        import pylsl  # noqa: PLC0415 - an extra
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: there is no library for this machine
        raise UsageError(
            f"--lsl needs pylsl ({str(error).splitlines()[0]}): python -m pip install 'agfn-live[lsl]'"
        ) from None
    if config.scope == "machine":
        pylsl.set_config_content(LOOPBACK.format(session=config.session))
    library: ModuleType = pylsl
    return library


def _info(lsl: ModuleType, stream: str, kind: str, channels: int, rate_hz: float, values: str) -> Any:  # noqa: ANN401 - pylsl has no types
    source = f"agfn-live:{platform.node()}:{stream}:{kind}"
    info = lsl.StreamInfo(f"AGFN {stream} {kind}", kind, channels, rate_hz, values, source)
    acquisition = info.desc().append_child("acquisition")
    acquisition.append_child_value("manufacturer", "AGFN Live")
    acquisition.append_child_value("model", "AGFN, arXiv 2510.01677")
    acquisition.append_child_value("stream", stream)
    return info
