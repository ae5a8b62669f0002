"""Sessions as one self-contained HTML page: no script, no network; everything that was recorded is escaped."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.publish.messages import label_of
from realtime.report.plot import Axes, clock, thinned
from realtime.system.format import signed
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    "Line: score. Band: 90 % interval. Vertical lines: events. -3 strongly negative, 0 neutral, 3 strongly positive."
)
WORTH_KEY = "Filled: weight. Line: measured reliability. Both from 0 to 1."
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(sessions: Sequence[Session]) -> str:
    """Return the page of one or more streams of a recording."""
    style = files("realtime.report").joinpath("style.css").read_text(encoding="utf-8")
    names = ", ".join(escape(session.stream) for session in sessions)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>AGFN Live: {names}</title><style>{style}</style></head><body>"
        f"{''.join(_stream(session) for session in sessions)}"
        f"<footer>{LIMITS}</footer></body></html>\n"
    )


def _stream(session: Session) -> str:
    when = (
        f"{escape(session.begun[:19].replace('T', ' '))} UTC, {clock(session.length_s)}, {len(session.end_s)} windows"
    )
    parts = [f"<h1>{escape(session.stream)}</h1>", f"<p class='when'>{when}</p>"]
    if session.media_kept:
        parts.append("<p class='warning'>The recording holds pictures and sound, too; this page does not.</p>")
    if session.truncated:
        parts.append(f"<p class='warning'>The recording ends early: {escape(session.truncated)}.</p>")
    if not len(session.end_s):
        return f"<main>{''.join(parts)}<p>No window was closed in this recording.</p></main>"
    parts += [part(session) for part in (_summary, _timeline, _words, _events, _figures)]
    return f"<main>{''.join(parts)}</main>"


def _summary(session: Session) -> str:
    scored = session.score[np.isfinite(session.score)]
    mean = float(scored.mean()) if len(scored) else None
    span = "none" if mean is None else f"{signed(scored.min(), 1)}, {signed(scored.max(), 1)}"
    tiles = [
        ("mean score", "none" if mean is None else signed(mean), "" if mean is None else label_of(mean)),
        ("from, to", span, "smoothed score"),
        ("interval", f"± {_mean((session.high - session.low) / 2):.1f}", "half the mean 90 % interval"),
        ("with a score", f"{len(scored) / len(session.score):.0%}", "of the windows"),
    ]
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{escape(note)}</small></dd></div>" for name, value, note in tiles
    )
    return f"<dl class='tiles'>{cells}</dl>"


def _timeline(session: Session) -> str:
    times_s, (score, low, high) = thinned(session.end_s, session.score, session.low, session.high)
    axes = Axes(session.length_s, -3, 3, 220)
    axes.grid([-3, -2, -1, 0, 1, 2, 3], times=True)
    axes.marks(
        [event["time_s"] for event in session.events if isinstance(event.get("time_s"), int | float)][:MOST_EVENTS]
    )
    axes.band(times_s, low[0], high[2], "interval")
    axes.band(times_s, score[0], score[2], "spread")
    axes.line(times_s, score[1], "score")
    drawn = [
        f"<h2>Sentiment</h2><p class='key'>{SENTIMENT_KEY}</p>",
        axes.svg(f"Score over {clock(session.length_s)}, from -3 to 3, with its interval"),
        f"<h2>What each stream was worth</h2><p class='key'>{WORTH_KEY}</p>",
    ]
    for name in MODALITIES:
        times_s, (weight, trust) = thinned(session.end_s, session.weight[name], session.reliability[name])
        axes = Axes(session.length_s, 0, 1, 70)
        axes.grid([0, 1], times=name == MODALITIES[-1])
        axes.band(times_s, np.where(np.isfinite(weight[1]), 0.0, np.nan), weight[1], f"weight {name}")
        axes.line(times_s, trust[1], f"trust {name}")
        states = ", ".join(
            f"{escape(state)} {count / len(session.end_s):.0%}"
            for state, count in sorted(session.causes[name].items(), key=lambda item: -item[1])
        )
        drawn.append(
            f"<h3>{name} <small>mean weight {_mean(session.weight[name]):.2f}; {states}</small></h3>"
            + axes.svg(f"Weight and reliability of the {name}, from 0 to 1")
        )
    return "".join(drawn)


def _words(session: Session) -> str:
    if not session.words_kept:
        return "<h2>Words</h2><p>Not recorded: that needs consent (<code>--record-text</code>).</p>"
    lines: list[tuple[float, list[str]]] = []
    last_s = -np.inf
    for time_s, word in session.words:
        if time_s - last_s > SENTENCE_GAP_S or not lines:
            lines.append((time_s, []))
        lines[-1][1].append(word)
        last_s = time_s
    rows = "".join(
        f"<li><time>{clock(max(0.0, begin_s))}</time> {escape(' '.join(said))} "
        f"<small>{_around(session, begin_s)}</small></li>"
        for begin_s, said in lines
    )
    return f"<h2>Words</h2><ul class='words'>{rows or '<li>None were recognised.</li>'}</ul>"


def _around(session: Session, time_s: float) -> str:
    """The score a little after words began."""
    later = np.flatnonzero((session.end_s >= time_s + 1.0) & np.isfinite(session.score))
    return signed(session.score[later[0]], 1) if len(later) else ""


def _events(session: Session) -> str:
    rows = "".join(_event(event) for event in session.events[:MOST_EVENTS])
    more = len(session.events) - MOST_EVENTS
    note = f"<p>{more} more are in the recording.</p>" if more > 0 else ""
    head = "<tr><th>at</th><th>what</th><th>happened</th><th>why</th></tr>"
    return f"<h2>Events</h2>{f'<table>{head}{rows}</table>{note}' if rows else '<p>None.</p>'}"


def _event(event: dict[str, Any]) -> str:
    cells = [str(event.get(name) or "") for name in ("component", "kind", "cause")]
    at = clock(max(0.0, _seconds(event.get("time_s"))))
    return f"<tr><td>{at}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _figures(session: Session) -> str:
    rows = ""
    for name, column in session.latency_ms.items():
        cells = "".join(f"<td>{_percentile(column, level)}</td>" for level in (50, 95, 99))
        rows += f"<tr><td>{name.replace('_', ' ')}</td>{cells}</tr>"
    states = ", ".join(f"{escape(name)} {count}" for name, count in session.states.items())
    drops = ", ".join(f"{escape(name)} {count}" for name, count in session.drops.items() if count) or "none"
    head = "".join(f"<th>{name}</th>" for name in ("milliseconds", "half within", "95 % within", "99 % within"))
    return (
        f"<h2>Latency and losses</h2><table><tr>{head}</tr>{rows}</table><p>Windows by state: {states}. "
        f"Messages missing: {session.missing}. Dropped on purpose: {drops}.</p>"
    )


def _mean(values: NDArray[np.float64]) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else 0.0


def _percentile(values: NDArray[np.float64], level: int) -> str:
    kept = values[np.isfinite(values)]
    return f"{np.percentile(kept, level):.0f}" if len(kept) else "-"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
