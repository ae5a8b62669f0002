"""The fields of every recorded item, described once: how each is written, read back and explained.

Journal, schema, exported columns and training tracks are made from these descriptions. Arrays are base64 of
little-endian float32, so that a replay gets the same bits; NaN and infinities, which JSON lacks, are strings.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from models.affect import EXPRESSIONS
from realtime.config.languages import LANGUAGES
from realtime.extract.schema import (
    EMBEDDING_DIM,
    FACE_COLUMNS,
    FACE_DIM,
    OLDER,
    TEXT_COLUMNS,
    TEXT_DIM,
    VOICE_COLUMNS,
    VOICE_DIM,
)
from realtime.extract.text import MAX_ENDED
from realtime.types import Ended, FaceFeatures, Opinion, Person, SpeechFrame, TextFeatures, VoiceFeatures, Word

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from realtime.types import Floats

MAX_WORDS = 256
SPEECH_SAMPLES = np.zeros(512, np.float32)
"""Reliability asks how long a step is, not how it sounds: the sound itself is not kept."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How one value stands in JSON. `read` raises a ValueError or TypeError for what `write` never gives."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    schema: dict[str, Any]

    def about(self, description: str) -> Codec:
        """Return the same with a description in its schema."""
        return replace(self, schema=self.schema | {"description": description})

    def or_null(self) -> Codec:
        """Return the same for a value that may be missing."""
        return Codec(
            lambda value: None if value is None else self.write(value),
            lambda body: None if body is None else self.read(body),
            {"anyOf": [self.schema, {"type": "null"}]},
        )


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an item: its JSON key, its codec, what it means to a reader of tables, and where it is found."""

    name: str
    codec: Codec
    meaning: str = ""
    of: Callable[[Any], Any] | None = None
    added: tuple[Any, ...] = ()
    """Of a field that older recordings lack: its JSON there."""

    def value(self, item: Any) -> Any:  # noqa: ANN401 - of any item
        """Return the field of an item."""
        return (self.of or attrgetter(self.name))(item)


@dataclass(frozen=True, slots=True)
class Item:
    """One kind of item: its fields in the order they are written, and how it is made of them again."""

    fields: tuple[Field, ...]
    make: Callable[[dict[str, Any]], Any]

    def write(self, item: Any) -> dict[str, Any]:  # noqa: ANN401 - of any item
        """Return the JSON object of an item."""
        return {field.name: field.codec.write(field.value(item)) for field in self.fields}

    def read(self, body: Any) -> Any:  # noqa: ANN401 - JSON to an item
        """Make an item of a JSON object. Raises ValueError or TypeError for what `write` never gives."""
        body = {field.name: field.added[0] for field in self.fields if field.added} | dict(body)
        if missing := [field.name for field in self.fields if field.name not in body]:
            raise ValueError(f"recorded by an older version, without {', '.join(missing)}; play it with that one")
        return self.make({field.name: field.codec.read(body[field.name]) for field in self.fields})

    def field(self, name: str) -> Field:
        """Return the field of a name."""
        return next(field for field in self.fields if field.name == name)


def _same(value: Any) -> Any:  # noqa: ANN401 - any scalar
    return value


def _time_in(value: Any) -> int:  # noqa: ANN401 - JSON
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 62:
        raise ValueError(f"no time: {str(value)[:40]}")
    return value


def _number_out(value: float) -> float | str:
    return value if math.isfinite(value) else str(float(value))


def _number_in(value: Any) -> float:  # noqa: ANN401 - JSON
    if isinstance(value, str) and value not in {"nan", "inf", "-inf"}:
        raise ValueError(f"no number: {value[:40]}")
    return float(value)


TIME = Codec(_same, _time_in, {"type": "integer", "description": "monotonic nanoseconds of the recording's clock"})
TEXT = Codec(_same, str, {"type": "string"})
COUNT = Codec(_same, int, {"type": "integer", "minimum": 0})
NUMBER = Codec(_number_out, _number_in, {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]})
FLAG = Codec(_same, bool, {"type": "boolean"})


def array(description: str, width: int | None, columns: Sequence[str] = (), older: Collection[int] = ()) -> Codec:
    """Codec of a float32 array: (width,), or of any shape where `width` is None.

    One of an older width is filled with zeros: columns are only ever added at the end.
    """

    def write(values: Floats) -> dict[str, Any]:
        return {"shape": list(values.shape), "f32": base64.b64encode(values.astype("<f4").tobytes()).decode()}

    def read(body: Any) -> Floats:  # noqa: ANN401 - JSON
        shape = [int(size) for size in body["shape"]]
        flat = np.frombuffer(base64.b64decode(body["f32"], validate=True), "<f4").astype(np.float32)
        values: Floats = flat.reshape(shape) if min(shape, default=0) >= 0 else flat[:0]
        if width is not None and values.ndim == 1 and len(values) in older:
            values = np.pad(values, (0, width - len(values)))
        if width is not None and values.shape != (width,):
            raise ValueError(f"shape {values.shape}, wanted ({width},)")
        return values

    schema = {
        "type": "object",
        "description": description + (f": {', '.join(columns)}" if columns else ""),
        "properties": {
            "shape": {"type": "array", "items": COUNT.schema},
            "f32": {"type": "string", "contentEncoding": "base64", "description": "little-endian float32, row by row"},
        },
        "required": ["shape", "f32"],
    }
    return Codec(write, read, schema)


_WORD = (TIME, TIME, TEXT.or_null(), NUMBER, FLAG)


def _words_out(words: Sequence[Word]) -> list[list[Any]]:
    rows = ((word.start_ns, word.end_ns, word.text or None, word.probability, word.committed) for word in words)
    return [[codec.write(value) for codec, value in zip(_WORD, row, strict=True)] for row in rows]


def _words_in(rows: Any) -> tuple[Word, ...]:  # noqa: ANN401 - JSON
    if len(rows) > MAX_WORDS:
        raise ValueError(f"{len(rows)} words")
    read = ([codec.read(value) for codec, value in zip(_WORD, row, strict=True)] for row in rows)
    return tuple(Word(begin, end, text or "", likely, committed) for begin, end, text, likely, committed in read)


WORDS = Codec(
    _words_out,
    _words_in,
    {
        "type": "array",
        "items": {
            "type": "array",
            "description": "start_ns, end_ns, the word or null without consent, "
            "its probability, whether it is committed",
            "prefixItems": [codec.schema for codec in _WORD],
            "minItems": len(_WORD),
            "maxItems": len(_WORD),
        },
    },
)


_ENDED = (TIME, NUMBER)
ENDED = Codec(
    lambda ended: [[TIME.write(said.end_ns), NUMBER.write(said.location)] for said in ended],
    lambda rows: tuple(Ended(TIME.read(end), NUMBER.read(location)) for end, location in rows),
    {"type": "array", "items": {"type": "array", "prefixItems": [codec.schema for codec in _ENDED]}},
)


LIKELY = array("probabilities of the expressions", len(EXPRESSIONS), EXPRESSIONS)
MAX_PEOPLE = 64
_PERSON: dict[str, Codec] = {
    "id": COUNT,
    "main": FLAG,
    "left": NUMBER,
    "top": NUMBER,
    "right": NUMBER,
    "bottom": NUMBER,
    "mouth": NUMBER.about("opening of the lips, in distances from the eyes to the mouth"),
    "sharpness": NUMBER,
    "brightness": NUMBER,
    "likely": LIKELY.or_null(),
}


def _people_out(people: Sequence[Person]) -> list[dict[str, Any]]:
    rows = ((p.id, p.main, *p.box, p.mouth, p.sharpness, p.brightness, p.likely) for p in people)
    return [
        {name: codec.write(value) for (name, codec), value in zip(_PERSON.items(), row, strict=True)} for row in rows
    ]


def _people_in(rows: Any) -> tuple[Person, ...]:  # noqa: ANN401 - JSON
    if len(rows) > MAX_PEOPLE:
        raise ValueError(f"{len(rows)} people")
    return tuple(_person({name: codec.read(row[name]) for name, codec in _PERSON.items()}) for row in rows)


def _person(body: dict[str, Any]) -> Person:
    left, top, right, bottom = (body.pop(edge) for edge in ("left", "top", "right", "bottom"))
    return Person(box=(left, top, right, bottom), **body)


PEOPLE = Codec(
    _people_out,
    _people_in,
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {name: codec.schema for name, codec in _PERSON.items()},
            "required": sorted(_PERSON),
        },
    },
)


def without_words(text: TextFeatures) -> TextFeatures:
    """Return what may be kept of words without consent: times, probabilities, and what they say together so far.

    The columns of the text features give no word away.
    """
    words, read = (tuple(replace(word, text="") for word in known) for known in (text.words, text.read))
    return replace(text, words=words, read=read)


def _face(body: dict[str, Any]) -> FaceFeatures:
    found = body["values"] is not None
    return FaceFeatures(
        **body | {"found": found, "values": body["values"] if found else np.zeros(FACE_DIM, np.float32)}
    )


def _text(body: dict[str, Any]) -> TextFeatures:
    words, values, opinion, ended = (body[name] for name in ("words", "values", "opinion", "ended"))
    if values.shape != (len(words), TEXT_DIM) or opinion not in get_args(Opinion) or len(ended) > MAX_ENDED:
        raise ValueError(f"text of shape {values.shape} for {len(words)} words, {opinion!r}, {len(ended)} ended")
    if body["language"] is not None and body["language"] not in LANGUAGES:
        raise ValueError(f"text in {body['language'][:20]!r}")
    fields = {"asr_warning" if name == "doubt" else name: value for name, value in body.items()}
    return TextFeatures(**fields)


def _alone(name: str, codec: Codec) -> Item:
    """Item that is one value."""
    return Item((Field(name, codec, of=_same),), itemgetter(name))


def _pair(first: str, second: str, codec: Codec) -> Item:
    """Item that is a device's name and one value."""
    fields = (Field(first, TEXT, of=itemgetter(0)), Field(second, codec, of=itemgetter(1)))
    return Item(fields, itemgetter(first, second))


FACE = Item(
    (
        Field("t_ns", TIME),
        Field(
            "values",
            array(
                "the face, null when there is none", FACE_DIM, FACE_COLUMNS, {dims["face"] for dims in OLDER.values()}
            ).or_null(),
            of=lambda face: face.values if face.found else None,
        ),
        Field("faces", COUNT, "faces in the picture"),
        Field("score", NUMBER, "of the detector"),
        Field("sharpness", NUMBER, "variance of the Laplacian of the face"),
        Field("brightness", NUMBER, "mean of the face, 0 to 1"),
        Field("motion", NUMBER, "mean difference to the picture before, 0 to 1"),
        Field("face_id", COUNT, "counts the persons followed so far"),
        Field("likely", LIKELY.or_null(), added=(None,)),
        Field("people", PEOPLE.or_null(), added=(None,)),
    ),
    _face,
)
VOICE = Item(
    (Field("t_ns", TIME), Field("values", array("the voice", VOICE_DIM, VOICE_COLUMNS))),
    lambda body: VoiceFeatures(**body),
)
SPEECH = Item(
    (
        Field("t_ns", TIME),
        Field("samples", COUNT, of=lambda frame: len(frame.samples)),
        Field("probability", NUMBER, "of speech, 0 to 1"),
        Field("level_db", NUMBER, "loudness, dB of full scale"),
        Field("snr_db", NUMBER.or_null(), "signal-to-noise ratio; empty until both were heard"),
        Field("clipped", NUMBER, "share of samples at full scale"),
    ),
    lambda body: SpeechFrame(**body | {"samples": SPEECH_SAMPLES[: max(0, body["samples"])]}),
)
TEXT_ITEM = Item(
    (
        Field("t_ns", TIME),
        Field("words", WORDS),
        Field(
            "values",
            array("a row a word: what the utterance says up to it", None, TEXT_COLUMNS),
        ),
        Field("doubt", TEXT.or_null(), of=attrgetter("asr_warning")),
        Field("decode_s", NUMBER),
        Field("opinion", TEXT),
        Field("ended", ENDED),
        Field("read", WORDS, added=([],)),
        Field("language", TEXT.or_null(), added=("en",)),
        Field(
            "embedding",
            array("of the voice in the utterance, minus the speaker's mean", EMBEDDING_DIM).or_null(),
            added=(None,),
        ),
    ),
    _text,
)
ITEMS: dict[str, Item] = {
    "begin": _alone("t0_ns", TIME.about("the time that the seconds of the messages count from")),
    "tick": _alone("end_ns", TIME.about("a window that ends there was closed now")),
    "word": _alone("end_ns", TIME.about("the same between two hops, for an opinion word")),
    "paused": _alone("paused", FLAG),
    "reset": Item((), lambda _: None),
    "gap": _alone(
        "entries", replace(COUNT.about("what did not reach the disk before this"), read=lambda n: max(0, _time_in(n)))
    ),
    "seen": _pair("device", "t_ns", TIME),
    "lost": _pair("device", "cause", TEXT),
    "face": FACE,
    "voice": VOICE,
    "speech": SPEECH,
    "text": TEXT_ITEM,
}
"""What a window takes, by topic."""
