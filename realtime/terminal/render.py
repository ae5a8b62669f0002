"""What the terminal view shows, drawn from values: no terminal, thread or clock here.

States are said in words, so that nothing is lost without colour (NO_COLOR, or a reader who can't tell red from green).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from realtime.system.format import signed
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from realtime.publish.messages import EventMessage, ModalityPart, RecordingHealth, Sentiment, Words
    from realtime.types import Modality

HISTORY_S = 60
MARGIN = 8
BAR = (4, 18)
"""Shortest and longest bar of a gate: on a narrow screen the cause of a trouble needs the room."""
CAUSE = 33
WIDE = 74
STALE_S = 2.0
STYLES = {"ok": "green", "noisy": "yellow", "stale": "yellow", "lost": "bold red", "off": "dim"}
NOTHING_YET = "waiting for the first window"


@dataclass(frozen=True, slots=True)
class Clean:
    """A drawing without what a terminal would obey, wherever in it that stands: in a name, a cause, a word."""

    drawing: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render, and let printable characters through only."""
        for segment in console.render(self.drawing, options):
            text = "".join(
                each if each.isprintable() or each == "\n" else " " * each.isspace() for each in segment.text
            )
            yield segment if segment.control else Segment(text, segment.style)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters to draw with."""

    spark: str
    full: str
    empty: str
    line: str
    range: str
    whisker: str
    zero: str
    mark: str
    on: str
    paused: str


UNICODE = Glyphs("▁▂▃▄▅▆▇█", "█", "░", "─", "━", "╌", "┼", "◆", "●", "‖")
ASCII = Glyphs("._-~=+*#", "#", ".", "-", "=", "~", "+", "O", "*", "||")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One stream at one moment. `age_s` is the age of its newest message, `history` the score of each second.

    `history` is oldest first, None where there was no score.
    """

    name: str
    sentiment: Sentiment | None = None
    age_s: float = 0.0
    history: Sequence[float | None] = ()
    words: Words | None = None
    events: Sequence[EventMessage] = ()
    recording: RecordingHealth | None = None


def draw(
    streams: Sequence[Snapshot], where: str | None, notes: Sequence[str], glyphs: Glyphs, width: int, height: int = 50
) -> Clean:
    """Draw the whole screen for a terminal of so many columns and rows; on a low one the oldest events give way."""
    below: list[RenderableType] = [
        *(_line(f"{note}", "yellow") for note in notes),
        _line("p pause or resume   q quit", "dim"),
    ]
    above = [_header(streams, where, glyphs, width), Text()]
    if len(streams) == 1:
        body, events = _one(streams[0], glyphs, width), [_event(event) for event in streams[0].events]
        room = height - len(above) - len(body) - 1 - len(below)
        body += events[max(0, len(events) - max(0, room)) :]
    elif streams:
        body = [_many(streams, glyphs)]
    else:
        body = [_line("  no stream; agfn-live streams add takes one in", "dim")]
    lines: list[RenderableType] = [*above, *body, Text(), *below]
    if glyphs is ASCII:  # rich marks what it cuts with an ellipsis that is not ASCII
        for line in lines:
            if isinstance(line, Text):
                line.overflow = "crop"
    return Clean(Group(*lines))


def words_of(sentiment: Sentiment) -> str:
    """Say a stream's state in words: the log line, and the compact table."""
    if sentiment.state == "paused":
        return "paused: devices are released"
    lag = f"lag {sentiment.latency_ms.total} ms"
    gates = "  ".join(_gate_words(name, sentiment.modalities[name]) for name in MODALITIES)
    if sentiment.score is None or sentiment.interval is None:
        return f"NO SIGNAL  {gates}  {lag}"
    low, high = sentiment.interval
    return f"{signed(sentiment.score)} [{signed(low)} {signed(high)}] {sentiment.label}  {gates}  {lag}"


def _gate_words(name: Modality, part: ModalityPart) -> str:
    return f"{name} {part.weight:.2f}" + ("" if part.state == "ok" else f" ({_trouble(part)})")


def _trouble(part: ModalityPart) -> str:
    return f"{part.state}: {part.cause}" if part.cause else part.state


def _header(streams: Sequence[Snapshot], where: str | None, glyphs: Glyphs, width: int) -> Text:
    said = [stream.sentiment for stream in streams if stream.sentiment is not None]
    paused = bool(said) and all(sentiment.state == "paused" for sentiment in said)
    mark = f"{glyphs.paused} PAUSED" if paused else f"{glyphs.on} ANALYSING"
    left = Text(mark, "bold reverse" if paused else "bold red")
    left.append_text(_recording(streams, glyphs))
    if len(streams) == 1:
        left.append(f"  {streams[0].name}", "default not bold")
    if len(said) == len(streams) == 1 and said[0].state in ("degraded", "no_signal"):
        left.append(f"  {said[0].state.replace('_', ' ')}", "yellow not bold")
    right = where or "no broker"
    return _cut(left + Text(" " * max(2, width - left.cell_len - len(right))) + Text(right, "dim"))


def _recording(streams: Sequence[Snapshot], glyphs: Glyphs) -> Text:
    kept = [stream.recording for stream in streams if stream.recording is not None]
    if not kept:
        return Text()
    if not all(each.writing for each in kept):
        return Text("  RECORDING FAILED", "bold yellow")
    dropped = sum(each.dropped for each in kept)
    lost = f", {dropped} dropped" if dropped else ""
    what = max((each.kept for each in kept), key=len)
    return Text(f"  {glyphs.on} REC {what} {sum(each.bytes for each in kept) / 1e6:.1f} MB{lost}", "bold red")


def _one(stream: Snapshot, glyphs: Glyphs, width: int) -> list[RenderableType]:
    sentiment = stream.sentiment
    if sentiment is None:
        return [_line(f"  {NOTHING_YET}", "dim")]
    lines = [*_score(stream, sentiment, glyphs, width), Text()]
    bar = min(BAR[1], max(BAR[0], width - MARGIN - 21 - CAUSE))
    lines.append(_field("gates", (f"{'weight':<{bar + 5}}  rel.  state", "dim")))
    lines += [_gate(name, sentiment.modalities[name], glyphs, bar) for name in MODALITIES]
    return [*lines, Text(), _words(stream.words or sentiment.text, width), _lag(sentiment, stream.age_s)]


def _score(stream: Snapshot, sentiment: Sentiment, glyphs: Glyphs, width: int) -> list[Text]:
    columns = max(13, min(HISTORY_S + 1, width - MARGIN - 7))
    if sentiment.score is None or sentiment.interval is None:
        word = "PAUSED, devices are released" if sentiment.state == "paused" else "NO SIGNAL, no score"
        head = _field("score", (word, "bold yellow"))
    else:
        low, high = sentiment.interval
        head = _field(
            "score",
            (f"{signed(sentiment.score)}  {sentiment.label}", f"bold {_colour(sentiment.score)}"),
            (f"   90 %: {signed(low)} to {signed(high)}", ""),
            (f"   confidence {sentiment.confidence:.0%}" if width >= WIDE else "", ""),
        )
    return [head, _scale(sentiment, glyphs, columns), _sparkline(stream.history, glyphs, columns)]


def _scale(sentiment: Sentiment, glyphs: Glyphs, columns: int) -> Text:
    cells = [glyphs.line] * columns
    if sentiment.interval is not None:
        low, high = (_column(value, columns) for value in sentiment.interval)
        cells[low : high + 1] = [glyphs.range if sentiment.band is None else glyphs.whisker] * (high + 1 - low)
    if sentiment.band is not None:
        low, high = (_column(value, columns) for value in sentiment.band)
        cells[low : high + 1] = [glyphs.range] * (high + 1 - low)
    cells[_column(0, columns)] = glyphs.zero
    if sentiment.score is not None:
        cells[_column(sentiment.score, columns)] = glyphs.mark
    return _field("", ("-3 ", "dim"), ("".join(cells), _colour(sentiment.score)), (" +3", "dim"))


def _sparkline(history: Sequence[float | None], glyphs: Glyphs, columns: int) -> Text:
    steps = len(glyphs.spark) - 1
    newest = list(history)[-columns:]
    drawn = "".join(" " if score is None else glyphs.spark[round((score + 3) / 6 * steps)] for score in newest)
    return _field("last min", ("   ", ""), (drawn.rjust(columns), "cyan"))


def _gate(name: Modality, part: ModalityPart, glyphs: Glyphs, bar: int) -> Text:
    full = round(part.weight * bar)
    style = STYLES[part.state]
    state = part.state if part.state == "ok" else part.state.upper()
    return _field(
        name,
        (glyphs.full * full, style),
        (glyphs.empty * (bar - full), "dim"),
        (f" {part.weight:4.0%}  {part.reliability:.2f}  ", ""),
        (f"{state:5}", style),
        (f"  {part.cause}" if part.cause else "", style),
    )


def _words(words: Words | None, width: int) -> Text:
    if words is None:
        return _field("words", ("not shown", "dim"))
    committed, tentative = words.committed.strip(), words.tentative.strip()
    room = max(10, width - MARGIN - 4)
    shown = _tail(tentative, room)
    kept = _tail(committed, room - len(shown) - 1)
    return _field("words", (kept, ""), (" " if kept and shown else "", ""), (shown, "dim italic"))


def _tail(text: str, room: int) -> str:
    """Return the last whole words that fit."""
    if len(text) <= room:
        return text
    return text[len(text) - room :].partition(" ")[2] if room > 0 else ""


def _lag(sentiment: Sentiment, age_s: float) -> Text:
    lag = sentiment.latency_ms
    words = "" if lag.text_lag is None else f", words {lag.text_lag} ms"
    parts = f"{lag.total} ms (capture {lag.capture}, extract {lag.extract}, fuse {lag.fuse}){words}"
    if age_s > STALE_S:
        return _field("lag", (f"NO MESSAGE FOR {age_s:.0f} s", "bold red"))
    faces = f"   {sentiment.faces} faces, the main one counts" if sentiment.faces > 1 else ""
    return _field("lag", (parts + faces, ""))


def _event(event: EventMessage) -> Text:
    cause = f": {event.cause}" if event.cause else ""
    style = "green" if event.kind in ("started", "recovered", "resumed") else "yellow"
    return _field("event", (f"{event.time_s:.1f} s  {event.component} {event.kind}{cause}", style))


def _many(streams: Sequence[Snapshot], glyphs: Glyphs) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    for title in ("stream", "score", "label", "text", "voice", "face", "lag"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("score", "lag") else "left")
    table.add_column("what is wrong", no_wrap=True, overflow="ellipsis", ratio=1)
    for stream in streams:
        table.add_row(*_row(stream, glyphs))
    return table


def _row(stream: Snapshot, glyphs: Glyphs) -> list[str | Text]:
    sentiment = stream.sentiment
    if sentiment is None:
        return [Text(stream.name), "", NOTHING_YET, "", "", "", "", ""]
    parts = sentiment.modalities
    worst_first = sorted(MODALITIES, key=lambda name: parts[name].reliability)
    wrong = [f"{name} {_trouble(parts[name])}" for name in worst_first if parts[name].state not in ("ok", "off")]
    if stream.age_s > STALE_S:
        wrong.insert(0, f"no message for {stream.age_s:.0f} s")
    return [
        Text(stream.name),
        Text("" if sentiment.score is None else signed(sentiment.score), _colour(sentiment.score)),
        sentiment.label or sentiment.state.replace("_", " ").upper(),
        *(Text(_small_bar(parts[name], glyphs), STYLES[parts[name].state]) for name in MODALITIES),
        f"{sentiment.latency_ms.total} ms",
        Text("; ".join(wrong)),  # no str: rich would take [...] in a cause for its markup
    ]


def _small_bar(part: ModalityPart, glyphs: Glyphs) -> str:
    if part.state in ("lost", "off"):
        return part.state.upper().ljust(5)
    bar = (glyphs.full * round(part.weight * 5)).ljust(5, glyphs.empty)
    return bar if part.state == "ok" else f"{bar[:4]}!"


def _column(score: float, columns: int) -> int:
    return round((score + 3) / 6 * (columns - 1))


def _colour(score: float | None) -> str:
    if score is None or abs(score) < 0.5:
        return "white"
    return "green" if score > 0 else "magenta"


def _field(title: str, *parts: tuple[str, str]) -> Text:
    return _cut(Text.assemble((f"{title:<{MARGIN}} ", "dim"), *parts))


def _line(text: str, style: str) -> Text:
    return _cut(Text(text, style))


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
