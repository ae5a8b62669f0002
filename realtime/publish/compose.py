"""What the pipeline knows, put into messages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from realtime.clock import utc_now
from realtime.publish.messages import (
    UNLEASED,
    ChannelPart,
    EventMessage,
    Latency,
    ModalityPart,
    PersonPart,
    Sentiment,
    StreamState,
    WindowSpan,
    Words,
    event_id,
    label_of,
)
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from realtime.fuse.worker import Estimate
    from realtime.publish.messages import Origin
    from realtime.types import Event, Presence, Segment, WindowView


def sentiment(
    view: WindowView,
    estimate: Estimate,
    score: float | None,
    t0_ns: int,
    waited_ms: float,
    since_end_ms: float,
    *,
    paused: bool = False,
    origin: Origin = UNLEASED,
) -> Sentiment:
    """Compose the message of one window, with its words: whoever lets it out of the process sees to consent.

    Args:
        view: the closed window.
        estimate: what AGFN says of it.
        score: the smoothed score; None without a raw one.
        t0_ns: begin of the stream, which the seconds count from.
        waited_ms: from the closing of the window to now.
        since_end_ms: from its end to now.
        paused: whether the stream is paused: the message then carries no score.
        origin: who says it.
    """
    state = _state(view, estimate, paused=paused)
    shown = state in {"ok", "degraded"} and score is not None and estimate.interval is not None
    shift = score - estimate.raw if shown and score is not None and estimate.raw is not None else 0.0
    return Sentiment(
        stream=view.stream,
        seq=view.seq,
        utc=utc_now(),
        window=WindowSpan(start_s=max(0, view.start_ns - t0_ns) / NS_PER_S, end_s=(view.end_ns - t0_ns) / NS_PER_S),
        state=state,
        score=score if shown else None,
        raw=estimate.raw if shown else None,
        label=label_of(score) if shown and score is not None else None,
        interval=_shifted(estimate.interval, shift) if shown and estimate.interval is not None else None,
        confidence=abs(2 * estimate.p_positive(score) - 1) if shown and score is not None else 0.0,
        p_positive=estimate.p_positive(score) if shown and score is not None else None,
        band=_shifted(estimate.band, shift) if shown and estimate.band is not None else None,
        opinion=view.opinion,
        language=view.language,
        unsupported=tuple(name for name, segment in view.segments.items() if segment.unsupported and not paused),
        modalities={
            name: _part(segment, estimate.weights[name] if shown else 0.0, paused=paused)
            for name, segment in view.segments.items()
        },
        latency_ms=Latency(
            capture=round(view.capture_ms),
            extract=round(view.extract_ms),
            fuse=round(estimate.fuse_s * 1000),
            total=round(view.capture_ms + view.extract_ms + waited_ms),
            window=max(0, round(since_end_ms)),
            text_lag=None if view.text_lag_ms is None else max(0, view.text_lag_ms),
        ),
        faces=0 if paused else view.faces,
        context=view.context if shown else None,
        epoch=origin.epoch,
        host=origin.host,
        reason=view.reason,
        text=_words(view),
        people=None if view.people is None else () if paused else tuple(_person(person) for person in view.people),
        channels=_channels(view, paused=paused),
    )


def event(
    stream: str,
    happened: Event,
    t0_ns: int,
    now_ns: int,
    started: datetime,
    number: int,
    origin: Origin = UNLEASED,
) -> EventMessage:
    """Compose the message of an event; `started` and `number` make its id unique over all runs."""
    return EventMessage(
        stream=stream,
        id=event_id(stream, started, number, origin.epoch),
        utc=utc_now() - timedelta(microseconds=(now_ns - happened.t_ns) / 1000),
        time_s=(happened.t_ns - t0_ns) / NS_PER_S,
        component=happened.component,
        kind=happened.kind,
        cause=happened.cause,
        since_s=None if happened.since_ns is None else (happened.since_ns - t0_ns) / NS_PER_S,
        epoch=origin.epoch,
        host=origin.host,
    )


def _state(view: WindowView, estimate: Estimate, *, paused: bool) -> StreamState:
    if paused:
        return "paused"
    if estimate.raw is None:
        return "no_signal"
    healthy = all(segment.state in {"ok", "off"} or segment.idle for segment in view.segments.values())
    return "ok" if healthy else "degraded"


def _part(segment: Segment, weight: float, *, paused: bool) -> ModalityPart:
    if paused:
        return ModalityPart(weight=0.0, reliability=0.0, age_ms=None, state="off", cause="paused")
    return ModalityPart(
        weight=weight,
        reliability=segment.reliability,
        age_ms=segment.age_ms,
        state=segment.state,
        cause=segment.cause,
    )


def _person(person: Presence) -> PersonPart:
    return PersonPart(
        id=person.id,
        main=person.main,
        box=tuple(min(1.0, max(0.0, edge)) for edge in person.box),
        expression=person.expression,
        valence=person.valence,
        reliability=person.reliability,
        speaking=person.speaking,
    )


def _channels(view: WindowView, *, paused: bool) -> dict[str, ChannelPart] | None:
    if view.channels is None:
        return None
    return {
        name: ChannelPart(value=None, reliability=0.0)
        if paused
        else ChannelPart(value=channel.value, reliability=channel.reliability)
        for name, channel in view.channels.items()
    }


def _shifted(interval: tuple[float, float], shift: float) -> tuple[float, float]:
    """The interval belongs to raw; smoothing moves it along with the score."""
    low, high = (min(3.0, max(-3.0, bound + shift)) for bound in interval)
    return low, high


def _words(view: WindowView) -> Words:
    return Words(
        committed=" ".join(word.text.strip() for word in view.words if word.committed),
        tentative=" ".join(word.text.strip() for word in view.words if not word.committed),
        reading=" ".join(word.text.strip() for word in view.read) if view.read else None,
    )
