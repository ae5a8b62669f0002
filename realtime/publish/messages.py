"""The contract with subscribers: every message as a frozen model, its topic, its JSON and its JSON Schema.

Version rule: `schema` is `agfn.<kind>/<n>`. Within one n keys are only ever added, so a subscriber ignores keys it does
not know and never misses one it does; n grows when a key goes, is renamed, or changes its meaning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import models_json_schema

from realtime.errors import UsageError
from realtime.types import MODALITIES, EventKind, Modality, ModalityState, Opinion, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

StreamState = Literal["ok", "degraded", "no_signal", "paused"]
Label = Literal[
    "strongly negative", "negative", "weakly negative", "neutral", "weakly positive", "positive", "strongly positive"
]
Kind = Literal["sentiment", "health", "event", "status", "command"]

LABELS: tuple[Label, ...] = (
    "strongly negative",
    "negative",
    "weakly negative",
    "neutral",
    "weakly positive",
    "positive",
    "strongly positive",
)
"""The classes of CMU-MOSI, for -3, -2, ... 3."""
MAX_COMMAND_BYTES = 256


def _to_ms(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("a published time needs a time zone")
    return time.astimezone(timezone.utc).replace(microsecond=time.microsecond // 1000 * 1000)


def _to_text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


# `+ 0.0` turns a rounded -0.0 into 0.0: a sign there would say nothing and break a comparison of bytes.
Fine = Annotated[float, AfterValidator(lambda value: round(value, 4) + 0.0)]
Coarse = Annotated[float, AfterValidator(lambda value: round(value, 3) + 0.0)]
Utc = Annotated[
    datetime,
    AfterValidator(_to_ms),
    PlainSerializer(_to_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Count = Annotated[int, Field(ge=0)]
# The range is checked after the rounding: a float32 softmax may give 1.0000001.
Share = Annotated[Fine, Field(ge=0, le=1), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
Score = Annotated[Fine, Field(ge=-3, le=3), WithJsonSchema({"type": "number", "minimum": -3, "maximum": 3})]
Host = Annotated[str, Field(max_length=64)]
Signed = Annotated[Fine, Field(ge=-1, le=1), WithJsonSchema({"type": "number", "minimum": -1, "maximum": 1})]
Amount = Annotated[Coarse, Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]


class Message(BaseModel):
    """Base of all messages and their parts: unknown keys, NaN and infinity are refused, values are frozen."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )

    def to_json(self) -> str:
        """One line of JSON; the same values always give the same bytes."""
        return self.model_dump_json()

    def payload(self) -> bytes:
        """What is published."""
        return self.to_json().encode()


@dataclass(frozen=True, slots=True)
class Origin:
    """Who says something: the epoch of their lease on the stream, and the name of their machine where it was given."""

    epoch: int = 0
    host: str | None = None


UNLEASED = Origin()
"""A program that nobody has given its streams to."""


class WindowSpan(Message):
    """The window a score belongs to, in seconds since the stream began (monotonic)."""

    start_s: Coarse
    end_s: Coarse


class ModalityPart(Message):
    """One gate: what a modality weighed, and why."""

    weight: Share
    """Share of the gate; exactly 0 for a modality that was not used. Sums to 1 over the modalities."""
    reliability: Share
    """Measured, 0 is masked."""
    age_ms: Count | None
    """Age of the newest sample at the end of the window; null if there never was one."""
    state: ModalityState
    cause: str | None = None
    """Why the state is not ok, in words."""


class Latency(Message):
    """Milliseconds from the end of the window's newest sample to the message, by stage."""

    capture: Count
    extract: Count
    fuse: Count
    total: Count
    text_lag: Count | None = None
    """From the end of the newest word to its appearance; null without words."""
    window: Count | None = None
    """From the end of the window to the message; the wait for what belongs to the window is in it."""


class PersonPart(Message):
    """One of the people in the picture, by their face alone; estimates of how they come across."""

    id: Count
    """Counts the people seen so far; stays with one who is away for a moment."""
    main: bool
    """Whether the score of the stream is about this one."""
    box: tuple[Share, Share, Share, Share]
    """Left, top, right and bottom of the face, in shares of the picture; cut to it."""
    expression: str | None
    """The likeliest of seven: angry, disgust, fear, happy, neutral, sad, surprise; null until the face is known."""
    valence: Signed | None
    """How pleasant the face looks, -1 to 1."""
    reliability: Share
    """What its pictures are worth for that; 0 until the face has been seen for a while."""
    speaking: Share | None
    """Probability that the voice is theirs, by their lips; null without sound."""


class ChannelPart(Message):
    """One optional channel: an estimate and what it is worth."""

    value: Fine | None
    """In the unit of docs/channels.md; null where there is nothing to tell it from."""
    reliability: Share


class Words(Message):
    """The words of the window; published with consent only."""

    committed: str
    """Never changes any more."""
    tentative: str
    """May still change."""
    reading: str | None = None
    """The same utterance as a second look at its sound has it: the score goes by it; null where there was none."""


class Sentiment(Message):
    """The sentiment of one window, published every hop, and at once when an opinion word is committed."""

    schema_: Literal["agfn.sentiment/1"] = Field("agfn.sentiment/1", alias="schema")
    stream: str
    seq: Count
    """Grows by one each message; a gap is a lost one."""
    utc: Utc
    """Wall-clock time of publication."""
    window: WindowSpan
    state: StreamState
    """ok: all configured modalities are; degraded: some are not; no_signal: none is usable; paused: by command."""
    score: Score | None
    """Smoothed sentiment from -3 (strongly negative) to 3 (strongly positive); null with no_signal and paused."""
    raw: Score | None
    """The same without smoothing: this window."""
    label: Label | None
    """The class nearest to the score."""
    interval: tuple[Score, Score] | None
    """Calibrated 90 % interval of the score."""
    confidence: Share
    """How sure the sign is: |2 p_positive - 1|."""
    modalities: Annotated[dict[Modality, ModalityPart], Field(json_schema_extra={"required": list(MODALITIES)})]
    latency_ms: Latency
    faces: Count = 0
    """Faces seen in the newest frame; the main one is analysed."""
    context: Score | None = None
    """Mean of what the person said before, in utterances that have ended; null when nothing is remembered."""
    p_positive: Share | None = None
    """Probability that the sentiment is positive; null without a score."""
    band: tuple[Score, Score] | None = None
    """Calibrated 68 % band of the score; null without one."""
    opinion: Opinion | None = None
    """How much of the present utterance is known: listening (nothing yet), partial, final; null from older programs."""
    epoch: Count = 0
    """Grows each time a stream is given to another holder: what an older epoch says is void; 0 in a single program."""
    host: Host | None = None
    """Machine that publishes, as host.name calls it; null where it has no name."""
    language: str | None = None
    """Code of the language that is spoken, as set or as detected; null as long as it isn't known, or nobody spoke."""
    unsupported: tuple[Modality, ...] = ()
    """Modalities that hold what no measured model can judge, as words of another language; they are off."""
    reason: Reason = "hop"
    """hop: a window of the grid, one every hop; word: one between two of these, at once for an opinion word."""
    text: Words | None = Field(None, exclude_if=lambda words: words is None)
    """There with consent only (privacy.publish_text)."""
    people: tuple[PersonPart, ...] | None = Field(None, exclude_if=lambda people: people is None)
    """Everyone in the picture; there only where it was asked for (face.people)."""
    channels: dict[str, ChannelPart] | None = Field(None, exclude_if=lambda channels: channels is None)
    """Further estimates by name; there only where they were asked for (channels.enabled)."""

    @model_validator(mode="after")
    def _consistent(self) -> Sentiment:
        if missing := [name for name in MODALITIES if name not in self.modalities]:
            raise ValueError(f"modality {', '.join(missing)} is missing")
        scored = [part is not None for part in (self.score, self.raw, self.label, self.interval)]
        weights = sum(part.weight for part in self.modalities.values())
        if self.state in ("no_signal", "paused"):
            if any(scored) or weights:
                raise ValueError(f"state {self.state} carries no score and no weight")
        elif not all(scored) or abs(weights - 1) > 1e-3:
            raise ValueError(f"state {self.state} needs a score and weights that sum to 1, not {weights}")
        return self


class EventMessage(Message):
    """Something a person should know: what happened to a component of a stream, when and why. QoS 1."""

    schema_: Literal["agfn.event/1"] = Field("agfn.event/1", alias="schema")
    stream: str
    id: str
    """Unique over all runs: a subscriber that sees it twice (QoS 1 allows that) drops the second."""
    utc: Utc
    """Wall-clock time of the event."""
    time_s: Coarse
    """The same in seconds since the stream began, as in a window."""
    component: str
    kind: EventKind
    """`lost`, `stalled`, `frozen`, `slow` (a device or file) and `overload` (an extractor or the fusion whose results
    come a second late for three seconds on end, or a recogniser that has to decode half as often) end with
    `recovered`."""
    cause: str | None = None
    since_s: Coarse | None = None
    """When what ends or goes on here began."""
    epoch: Count = 0
    """As in a sentiment."""
    host: Host | None = None
    """As in a sentiment."""


class ChannelHealth(Message):
    """Counts of a bounded channel: pushed = popped + dropped + pending."""

    pushed: Count
    popped: Count
    dropped: Count
    pending: Count


class ComponentHealth(Message):
    """A device or an extractor."""

    rate_hz: Amount
    """Items per second since the last health message."""
    items: Count
    restarts: Count
    left_behind: Count
    """Hung calls that were abandoned in their threads."""
    delay_ms: Count
    """Age of the newest item when its work was done."""
    cores: Amount
    """Share of the time it was busy since the last health message."""
    lost: bool
    channel: ChannelHealth | None = None
    """The channel in front of it; a device has none."""


class AsrHealth(Message):
    """The recogniser."""

    real_time_factor: Amount
    """Decoding time per second of new sound; above 1 it cannot keep up."""
    step_s: Amount
    """Present time between two decodes."""
    decode_p95_ms: Count


class PublisherHealth(Message):
    """The connection to the broker."""

    connected: bool
    connects: Count
    """Connections made since the start."""
    sent: Count
    stale: Count
    """Sentiment and health messages dropped because they had become too old to be of use."""
    queue: ChannelHealth
    events_sent: Count
    events_pending: Count
    events_dropped: Count
    commands: Count
    commands_refused: Count
    foreign: Count = 0
    """Health messages of another program that publishes under the name of this stream."""


class RecordingHealth(Message):
    """The recording of the stream, while there is one."""

    bytes: Count
    """On disk so far."""
    dropped: Count
    """Entries that the disk was too slow for."""
    writing: bool
    """False when the disk refused: the cause is in an event."""
    words: bool = False
    """Whether the words are recorded, too."""
    media: bool = False
    """Whether pictures and sound are recorded, too."""
    media_dropped: Count = 0
    """Pictures and pieces of sound that did not get to the disk."""

    @property
    def kept(self) -> str:
        """What is recorded, in words for the mark that people see."""
        return " + ".join(["numbers", *(["words"] if self.words else []), *(["picture + sound"] if self.media else [])])


class ProcessHealth(Message):
    """The process, shared by its streams."""

    rss_mb: Amount
    cpu_cores: Amount
    """CPU seconds per second since the last health message."""
    threads: Count


class Health(Message):
    """How a stream and its process are doing, once a second."""

    schema_: Literal["agfn.health/1"] = Field("agfn.health/1", alias="schema")
    stream: str
    utc: Utc
    uptime_s: Amount
    state: StreamState
    messages: Count
    """Sentiment messages since the start."""
    late: Count = 0
    """Ticks that came more than one hop late."""
    latency_p95_ms: Count | None = None
    """95th percentile of latency_ms.total since the last health message."""
    components: dict[str, ComponentHealth]
    """By name: devices, extractors, fusion."""
    asr: AsrHealth | None = None
    publisher: PublisherHealth | None = None
    recording: RecordingHealth | None = None
    """There while the stream is recorded (--record)."""
    process: ProcessHealth
    epoch: Count = 0
    """As in a sentiment."""
    host: Host | None = None
    """As in a sentiment."""


class Status(RootModel[Literal["online", "offline"]]):
    """Whether the publisher is there: a bare word without quotes, retained; offline is also the last will."""

    model_config = ConfigDict(frozen=True)

    def payload(self) -> bytes:
        """The bare word."""
        return self.root.encode()


class Command(Message):
    """What a stream may be told: this object, or the bare word `pause` or `resume`."""

    schema_: Literal["agfn.command/1"] = Field("agfn.command/1", alias="schema")
    command: Literal["pause", "resume"]


def topic(base: str, stream: str, kind: Kind) -> str:
    """`<base>/<stream>/<kind>`."""
    return f"{base}/{stream}/{kind}"


def label_of(score: float) -> Label:
    """Name the class nearest to a score in [-3, 3]: seven classes, as the accuracy Acc-7 of the field counts them."""
    return LABELS[round(min(3.0, max(-3.0, score))) + 3]


def event_id(stream: str, started: datetime, number: int, epoch: int = 0) -> str:
    """Identify the `number`-th event of a stream of the run that `started` then; two holders count on from the same."""
    lease = f"-{epoch}" if epoch else ""
    return f"{stream}-{started:%Y%m%dT%H%M%S%f}{lease}-{number}"


def parse_command(payload: bytes) -> Command:
    """Read a command.

    Raises:
        UsageError: it is too long, or none of the known ones; the message is safe to log.
    """
    if len(payload) > MAX_COMMAND_BYTES:
        raise UsageError(f"command of {len(payload)} bytes refused: at most {MAX_COMMAND_BYTES}")
    word = payload.strip()
    try:
        if word in (b"pause", b"resume"):
            return Command.model_validate({"command": word.decode()})
        return Command.model_validate_json(payload)
    except ValidationError:
        raise UsageError(
            f'command {payload[:40]!r} refused: send pause, resume, {{"command": "pause"}} or {{"command": "resume"}}'
        ) from None


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of every message, each under `$defs`; the document itself accepts any one of them."""
    published: tuple[type[BaseModel], ...] = (Sentiment, EventMessage, Health, Status)
    _, document = models_json_schema(
        [*((model, "serialization") for model in published), (Command, "validation")],
        title="AGFN Live messages",
        description=(__doc__ or "").strip(),
    )
    for name, definition in document["$defs"].items():
        if name != Command.__name__:
            definition.pop("additionalProperties", None)  # the version rule: keys may be added
    sentiment = document["$defs"][Sentiment.__name__]
    for key in ("text", "people", "channels"):
        _make_optional(sentiment, key)
    names = [*(model.__name__ for model in published), Command.__name__]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in names],
    }


def schema_json() -> str:
    """The document of `json_schema` as indented JSON."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False)


def _make_optional(definition: Mapping[str, Any], key: str) -> None:
    """Say that a key is absent or what it is, never null."""
    definition["required"][:] = [name for name in definition["required"] if name != key]
    schema = definition["properties"][key]
    schema.pop("default", None)
    if "anyOf" in schema:
        (there,) = (part for part in schema.pop("anyOf") if part.get("type") != "null")
        schema |= there
