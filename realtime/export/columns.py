"""The columns of an exported recording: name, kind, meaning. The tables of docs/recording.md are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from realtime.extract.schema import FACE_COLUMNS, VOICE_COLUMNS
from realtime.fuse.channel_names import CHANNELS as ABOUT
from realtime.recording import codec
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["int", "float", "text", "bool"]
Table = Literal["sentiment", "channels", "people", "events", "health", "components", "words", "speech", "face", "voice"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `path` leads to its value inside a message, where it comes from one."""

    name: str
    kind: Kind
    meaning: str
    path: tuple[str | int, ...] = ()

    def value(self, body: Any) -> Any:  # noqa: ANN401 - JSON
        """Return the value in a message: None where there is none.

        Raises:
            ValueError: it is there, and no value of this kind.
        """
        for step in self.path or (self.name,):
            if isinstance(step, int):
                body = body[step] if isinstance(body, list) and step < len(body) else None
            else:
                body = body.get(step) if isinstance(body, dict) else None
        return checked(body, self.kind, self.name)


def checked(value: Any, kind: Kind, name: str) -> Any:  # noqa: ANN401 - JSON
    """Return a value as its kind wants it, or None.

    Raises:
        ValueError: it is something else.
    """
    if value is None:
        return None
    is_bool = isinstance(value, bool)
    if kind == "float" and isinstance(value, (int, float)) and not is_bool:
        return float(value)
    if kind == "int" and isinstance(value, int) and not is_bool and abs(value) < 1 << 63:
        return value
    if (kind == "text" and isinstance(value, str)) or (kind == "bool" and is_bool):
        return value
    raise ValueError(f"{name}: no {kind}: {str(value)[:40]!r}")


BEGIN = Column("begin_s", "float", "begin, in seconds since the session began")
END = Column("end_s", "float", "end, in seconds since the session began")
TIME = Column("time_s", "float", "time, in seconds since the session began")
UTC = Column("utc", "text", "wall-clock time of publication, ISO 8601")


SPEECH_FIELDS = ("probability", "level_db", "snr_db", "clipped")
FACE_FIELDS = ("faces", "face_id", "score", "sharpness", "brightness", "motion")


def _recorded(item: codec.Item, names: Iterable[str]) -> tuple[Column, ...]:
    """Columns of the fields of a recorded item."""
    fields = (item.field(name) for name in names)
    return tuple(Column(f.name, "int" if f.codec is codec.COUNT else "float", f.meaning) for f in fields)


def _gate(name: str) -> tuple[Column, ...]:
    def column(key: str, kind: Kind, meaning: str) -> Column:
        return Column(f"{name}_{key}", kind, meaning, ("modalities", name, key))

    return (
        column("weight", "float", f"share of the {name} in the score, 0 to 1"),
        column("reliability", "float", f"measured reliability of the {name}, 0 is masked"),
        column("state", "text", "ok, noisy, stale, lost or off"),
        column("cause", "text", "why the state is not ok"),
        column("age_ms", "int", "age of its newest sample at the end of the window"),
    )


def _latency(key: str, meaning: str) -> Column:
    return Column(f"latency_{key}_ms", "int", meaning, ("latency_ms", key))


SENTIMENT = (
    Column("begin_s", "float", "end of the row before, a hop before end_s at most: rows do not overlap (for ELAN)"),
    Column("end_s", "float", "end of the window, in seconds since the session began", ("window", "end_s")),
    Column(
        "window_begin_s", "float", "begin of the window, which reaches back over several rows", ("window", "start_s")
    ),
    UTC,
    Column("seq", "int", "number of the window; a gap is a lost message"),
    Column("reason", "text", "why there is a row: hop, or word for an opinion word between two hops"),
    Column("state", "text", "ok, degraded, no_signal or paused"),
    Column("score", "float", "smoothed sentiment, -3 to 3; empty with no_signal and paused"),
    Column("raw", "float", "the same without smoothing"),
    Column("low", "float", "lower end of the 90 % interval", ("interval", 0)),
    Column("high", "float", "upper end of the 90 % interval", ("interval", 1)),
    Column("band_low", "float", "lower end of the 68 % band", ("band", 0)),
    Column("band_high", "float", "upper end of the 68 % band", ("band", 1)),
    Column("p_positive", "float", "probability that the sentiment is positive"),
    Column("confidence", "float", "how sure the sign is: 2 p_positive - 1, without its sign"),
    Column("opinion", "text", "how much of the present utterance is known: listening, partial or final"),
    Column("language", "text", "code of the language that is spoken; empty as long as it is not known"),
    Column("label", "text", "the class nearest to the score"),
    Column("context", "float", "mean of what the person said before, -3 to 3; empty for nothing"),
    Column("faces", "int", "faces seen; the main one is analysed"),
    *(column for name in MODALITIES for column in _gate(name)),
    _latency("capture", "from a sample to its hand-over by the device"),
    _latency("extract", "from there to its features"),
    _latency("fuse", "of the forward pass"),
    _latency("total", "from the newest sample to the message"),
    _latency("window", "from the end of the window to the message"),
    _latency("text_lag", "from the end of the newest word to its appearance"),
)
CHANNELS = (
    END,
    *(
        column
        for name, about in ABOUT.items()
        for column in (
            Column(name, "float", f"{about.meaning} ({about.unit})", ("channels", name, "value")),
            Column(f"{name}_reliability", "float", "what it is worth, 0 to 1", ("channels", name, "reliability")),
        )
    ),
)
PEOPLE = (
    END,
    Column("id", "int", "counts the people seen so far"),
    Column("main", "bool", "whether the score of the stream is about this one"),
    Column("left", "float", "edge of the face, in shares of the picture", ("box", 0)),
    Column("top", "float", "edge of the face, in shares of the picture", ("box", 1)),
    Column("right", "float", "edge of the face, in shares of the picture", ("box", 2)),
    Column("bottom", "float", "edge of the face, in shares of the picture", ("box", 3)),
    Column("expression", "text", "the likeliest of seven; empty until the face is known"),
    Column("valence", "float", "how pleasant the face looks, -1 to 1"),
    Column("reliability", "float", "what its pictures are worth for that"),
    Column("speaking", "float", "probability that the voice is theirs, by their lips"),
)
EVENTS = (
    TIME,
    Column("since_s", "float", "when what ends or goes on here began"),
    UTC,
    Column("component", "text", "camera, microphone, stream, recording ..."),
    Column("kind", "text", "started, lost, stalled, frozen, slow, recovered, overload, paused, resumed or ended"),
    Column("cause", "text", "why, in words"),
    Column("id", "text", "unique over all runs"),
)
HEALTH = (
    TIME,
    UTC,
    Column("state", "text", "state of the stream"),
    Column("messages", "int", "sentiment messages since the start"),
    Column("late", "int", "ticks that came more than a hop late, since the start"),
    Column("latency_p95_ms", "int", "95th percentile of latency_total_ms since the row before"),
    Column("asr_real_time_factor", "float", "decoding time per second of sound", ("asr", "real_time_factor")),
    Column("asr_step_s", "float", "time between two decodes", ("asr", "step_s")),
    Column("rss_mb", "float", "memory of the process", ("process", "rss_mb")),
    Column("cpu_cores", "float", "CPU seconds per second of the process", ("process", "cpu_cores")),
    Column("recording_bytes", "int", "size of the recording", ("recording", "bytes")),
    Column("recording_dropped", "int", "entries that the disk was too slow for", ("recording", "dropped")),
)
COMPONENTS = (
    TIME,
    Column("component", "text", "device or extractor"),
    Column("rate_hz", "float", "items per second since the row before of this component"),
    Column("items", "int", "items since the start"),
    Column("restarts", "int", "restarts since the start"),
    Column("left_behind", "int", "hung calls that were abandoned"),
    Column("delay_ms", "int", "age of the newest item when its work was done"),
    Column("cores", "float", "share of the time it was busy"),
    Column("lost", "bool", "whether it is lost just now"),
    Column("pushed", "int", "items handed to it since the start", ("channel", "pushed")),
    Column("popped", "int", "of these, taken", ("channel", "popped")),
    Column("dropped", "int", "of these, dropped", ("channel", "dropped")),
    Column("pending", "int", "of these, waiting now", ("channel", "pending")),
)
WORDS = (
    BEGIN,
    END,
    Column("word", "text", "as recognised; empty unless recorded with --record-text"),
    Column("probability", "float", "of the recogniser"),
    Column("committed", "bool", "false only for words that were still tentative at the end"),
    Column("sentiment", "float", "of the sentence up to this word, by the text model"),
)
SPEECH = (BEGIN, END, *_recorded(codec.SPEECH, SPEECH_FIELDS))
FACE = (
    TIME,
    Column("found", "bool", "whether there was a face; without one the features are empty"),
    *_recorded(codec.FACE, FACE_FIELDS),
    *(Column(name, "float", "shape or expression minus its running baseline, or head pose") for name in FACE_COLUMNS),
)
VOICE = (TIME, *(Column(name, "float", "of the last 0.1 s of sound") for name in VOICE_COLUMNS))

TABLES: Mapping[Table, tuple[Column, ...]] = {
    "sentiment": SENTIMENT,
    "channels": CHANNELS,
    "people": PEOPLE,
    "events": EVENTS,
    "health": HEALTH,
    "components": COMPONENTS,
    "words": WORDS,
    "speech": SPEECH,
    "face": FACE,
    "voice": VOICE,
}
ROWS: Mapping[Table, str] = {
    "sentiment": "a row a window (every hop, and for an opinion word)",
    "channels": "a row a window, with `--channels`",
    "people": "a row a person and window, with `--people`",
    "events": "a row an event",
    "health": "a row a second, of live sessions",
    "components": "a row a component and second, of live sessions",
    "words": "a row a word",
    "speech": "a row for every 32 ms of sound",
    "face": "a row a picture",
    "voice": "a row for every 0.1 s of sound",
}


def described() -> str:
    """Return the tables and their columns as Markdown; like columns that follow each other share a line."""
    lines = []
    for table, columns in TABLES.items():
        lines += [f"### {table}: {ROWS[table]}", "", "| column | kind | meaning |", "| --- | --- | --- |"]
        begin = 0
        while begin < len(columns):
            first = end = begin
            while end < len(columns) and columns[end].meaning == columns[first].meaning:
                end += 1
            names = f"`{columns[first].name}`" + ("" if end == first + 1 else f" ... `{columns[end - 1].name}`")
            lines.append(f"| {names} | {columns[first].kind} | {columns[first].meaning} |")
            begin = end
        lines.append("")
    return "\n".join(lines)
