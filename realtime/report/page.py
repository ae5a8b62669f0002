"""Sessions as one self-contained HTML page: no script, no network; the template escapes all that was recorded."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from realtime.publish.messages import label_of
from realtime.report.plot import Axes, clock, thinned
from realtime.system.format import signed
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from realtime.report.session import Session

SENTENCE_GAP_S = 1.5
"""Words further apart begin a new line."""
MOST_EVENTS = 500
LIMITS = (
    "Estimates of how a person came across, not of what they felt; wrong often: read the interval. Not for use on "
    "people at work or in education, nor to decide about people."
)
SENTIMENT_KEY = (
    "Line: score. Dark band: 68 % band. Between the thin lines: 90 % interval. Vertical lines: events. -3 strongly "
    "negative, 0 neutral, 3 strongly positive."
)
WORTH_KEY = "Filled: weight. Line: measured reliability. Both from 0 to 1."
POLICY = "default-src 'none'; style-src 'sha256-{}'; form-action 'none'; base-uri 'none'"
"""Should anything slip through: no script, no request, no form, and no style but the page's own."""


def page(sessions: Sequence[Session]) -> str:
    """Return the page of one or more streams of a recording."""
    style = _file("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, extensions=["jinja2.ext.loopcontrols"])
    return environment.from_string(_file("page.html")).render(
        policy=POLICY.format(digest),
        style=Markup(style),  # noqa: S704 - our own file
        sessions=[_stream(session) for session in sessions],
        keys={"sentiment": SENTIMENT_KEY, "worth": WORTH_KEY, "limits": LIMITS},
    )


def _file(name: str) -> str:
    return files("realtime.report").joinpath(name).read_text(encoding="utf-8")


def _stream(session: Session) -> dict[str, Any]:
    """What the template shows of a stream: texts and drawings, nothing that is still to be worked out."""
    begun = session.begun[:19].replace("T", " ")
    shown: dict[str, Any] = {
        "stream": session.stream,
        "when": f"{begun} UTC, {clock(session.length_s)}, {len(session.end_s)} windows",
        "media_kept": session.media_kept,
        "truncated": session.truncated,
        "windows": len(session.end_s),
    }
    if not len(session.end_s):
        return shown
    return shown | {
        "tiles": _tiles(session),
        "sentiment": _timeline(session),
        "gates": [_gate(session, name) for name in MODALITIES],
        "words": _words(session) if session.words_kept else None,
        "events": [_event(event) for event in session.events[:MOST_EVENTS]],
        "more_events": max(0, len(session.events) - MOST_EVENTS),
        "latencies": [
            [name.replace("_", " "), *(_percentile(column, level) for level in (50, 95, 99))]
            for name, column in session.latency_ms.items()
        ],
        "states": ", ".join(f"{name} {count}" for name, count in session.states.items()),
        "missing": session.missing,
        "drops": ", ".join(f"{name} {count}" for name, count in session.drops.items() if count) or "none",
    }


def _tiles(session: Session) -> list[dict[str, str]]:
    scored = session.score[np.isfinite(session.score)]
    mean = float(scored.mean()) if len(scored) else None
    span = "none" if mean is None else f"{signed(scored.min(), 1)}, {signed(scored.max(), 1)}"
    half, narrow = (
        _mean((high - low) / 2) for low, high in ((session.low, session.high), (session.band_low, session.band_high))
    )
    share = len(scored) / len(session.score)
    also = f"; \u00b1 {narrow:.1f} for 68 %" if narrow else ""
    tiles = [
        ("mean score", "none" if mean is None else signed(mean), "" if mean is None else label_of(mean)),
        ("from, to", span, "smoothed score"),
        ("interval", f"\u00b1 {half:.1f}", f"half the mean 90 % interval{also}"),
        ("with a score", f"{share:.0%}", "of the windows"),
    ]
    return [{"name": name, "value": value, "note": note} for name, value, note in tiles]


def _timeline(session: Session) -> Markup:
    times_s, (score, low, high, band_low, band_high) = thinned(
        session.end_s, session.score, session.low, session.high, session.band_low, session.band_high
    )
    axes = Axes(session.length_s, -3, 3, 220)
    axes.grid([-3, -2, -1, 0, 1, 2, 3], times=True)
    axes.marks([_seconds(event) for event in session.events[:MOST_EVENTS]])
    axes.band(times_s, low[0], high[2], "interval")
    axes.line(times_s, low[0], "whisker")
    axes.line(times_s, high[2], "whisker")
    axes.band(times_s, band_low[1], band_high[1], "band")
    axes.band(times_s, score[0], score[2], "spread")
    axes.line(times_s, score[1], "score")
    return axes.svg(f"Score over {clock(session.length_s)}, from -3 to 3, with its 68 % band and 90 % interval")


def _gate(session: Session, name: str) -> dict[str, Any]:
    times_s, (weight, trust) = thinned(session.end_s, session.weight[name], session.reliability[name])
    axes = Axes(session.length_s, 0, 1, 70)
    axes.grid([0, 1], times=name == MODALITIES[-1])
    axes.band(times_s, np.where(np.isfinite(weight[1]), 0.0, np.nan), weight[1], f"weight {name}")
    axes.line(times_s, trust[1], f"trust {name}")
    states = sorted(session.causes[name].items(), key=lambda item: -item[1])
    return {
        "name": name,
        "weight": f"{_mean(session.weight[name]):.2f}",
        "states": ", ".join(f"{state} {count / len(session.end_s):.0%}" for state, count in states),
        "plot": axes.svg(f"Weight and reliability of the {name}, from 0 to 1"),
    }


def _words(session: Session) -> list[dict[str, str]]:
    lines: list[tuple[float, list[str]]] = []
    last_s = -np.inf
    for time_s, word in session.words:
        if time_s - last_s > SENTENCE_GAP_S or not lines:
            lines.append((time_s, []))
        lines[-1][1].append(word)
        last_s = time_s
    return [
        {"at": clock(max(0.0, begin_s)), "said": " ".join(said), "score": _around(session, begin_s)}
        for begin_s, said in lines
    ]


def _around(session: Session, time_s: float) -> str:
    """The score a little after words began."""
    later = np.flatnonzero((session.end_s >= time_s + 1.0) & np.isfinite(session.score))
    return signed(session.score[later[0]], 1) if len(later) else ""


def _event(event: Mapping[str, Any]) -> dict[str, str]:
    return {
        "at": clock(max(0.0, _seconds(event))),
        "component": event["component"],
        "kind": event["kind"],
        "cause": event["cause"] or "",
    }


def _seconds(event: Mapping[str, Any]) -> float:
    """When it happened; the page stands even on events that no reader has checked."""
    time_s = event.get("time_s")
    return float(time_s) if isinstance(time_s, int | float) and np.isfinite(time_s) else 0.0


def _mean(values: NDArray[np.float64]) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else 0.0


def _percentile(values: NDArray[np.float64], level: int) -> str:
    kept = values[np.isfinite(values)]
    return f"{np.percentile(kept, level):.0f}" if len(kept) else "-"
