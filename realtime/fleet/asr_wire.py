"""What a host and a recogniser of the ASR pool say to each other: frames of a checked header and of sound. Pure.

A frame is two numbers of 4 bytes, big-endian, then a header of so many bytes (JSON, strictly checked) and so many bytes
of sound (mono at 16 kHz, float32 or int16, little-endian). Nothing is pickled, and sizes are checked before anything
is read. The secret that both sides know is never sent: each proves that it knows it by an HMAC over two fresh numbers.

    pool -> host   Greeting: its number
    host -> pool   Claim: its number, its proof
    pool -> host   Welcome: its proof, and what it decodes with
    host -> pool   Ask, with sound; at most so many at a time as the host was told to
    pool -> host   Answer: what was heard, or why nothing was decoded
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from realtime.errors import AgfnError
from realtime.extract.asr.whisper import Hypothesis, Request, Timed
from realtime.extract.schema import EMBEDDING_DIM
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from realtime.types import Floats

SCHEMA: Literal["agfn.asr/1"] = "agfn.asr/1"
LENGTHS = struct.Struct(">II")
MOST_HEADER_BYTES = 65_536
MOST_GREETING_BYTES = 1024
"""Of a header before the other side has proved who it is; sound is not taken then."""
MOST_SAMPLES = 30 * SAMPLE_RATE_HZ
"""What Whisper takes."""
MOST_SOUND_BYTES = 4 * MOST_SAMPLES
MOST_TOKENS = 224
"""What Whisper writes at most."""
LOUDEST = 16.0
"""Full scale is 1; what is far beyond is no sound."""
FULL_SCALE = 32_767

Encoding = Literal["float32", "int16"]
_Number = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Proof = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Tokens = Annotated[tuple[Annotated[int, Field(ge=0, lt=1_000_000)], ...], Field(max_length=MOST_TOKENS)]
_Seconds = Annotated[float, Field(ge=0, le=60)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Column = Annotated[float, Field(ge=-1000, le=1000)]
_Id = Annotated[int, Field(ge=0, lt=2**53)]


class WireError(AgfnError):
    """The other side sent what is none of this, or does not know the secret."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Greeting(_Header):
    """The pool's first word."""

    schema_: Literal["agfn.asr/1"] = Field(SCHEMA, alias="schema")
    number: _Number


class Claim(_Header):
    """The host's answer to it."""

    number: _Number
    proof: _Proof


class Welcome(_Header):
    """What the pool decodes with.

    `vocabulary` is the number of its model's tokens, which must be the host's own: the prefix is made of tokens.
    """

    proof: _Proof
    model: Annotated[str, Field(max_length=256)]
    vocabulary: Annotated[int, Field(ge=1, lt=1_000_000)]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,4}$")]


class Ask(_Header):
    """A decode that is wanted within so many milliseconds; `samples` of sound follow."""

    id: _Id
    deadline_ms: Annotated[int, Field(ge=1, le=60_000)]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None
    max_tokens: Annotated[int, Field(ge=1, le=448)]
    prefix: _Tokens
    encoding: Encoding
    samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES)]


class Word(_Header):
    """A word that was heard, as whisper.Timed."""

    start_s: _Seconds
    end_s: _Seconds
    text: Annotated[str, Field(max_length=512)]
    probability: _Share
    tokens: _Tokens
    marks: _Tokens = ()


class Heard(_Header):
    """What was heard, as whisper.Hypothesis, and in which language."""

    words: Annotated[tuple[Word, ...], Field(max_length=MOST_TOKENS)]
    no_speech: _Share
    mean_logprob: Annotated[float, Field(ge=-1000, le=0)]
    compression: Annotated[float, Field(ge=0, le=1000)]
    cut_short: bool
    language_p: _Share
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
    embedding: Annotated[tuple[_Column, ...], Field(min_length=EMBEDDING_DIM, max_length=EMBEDDING_DIM)] | None = None

    def hypothesis(self) -> Hypothesis:
        """As the decoder gives it."""
        return Hypothesis(
            words=tuple(Timed(**word.model_dump()) for word in self.words),
            **self.model_dump(exclude={"words", "language"}),
        )


class Answer(_Header):
    """What became of a decode; without `heard` why there is nothing."""

    id: _Id
    heard: Heard | None = None
    why: Literal["busy", "late", "failed"] | None = None


H = TypeVar("H", bound=_Header)


def frame(header: _Header, sound: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    said = header.model_dump_json(by_alias=True).encode()
    return LENGTHS.pack(len(said), len(sound)) + said + sound


def lengths(prefix: bytes, most_header: int = MOST_HEADER_BYTES, most_sound: int = 0) -> tuple[int, int]:
    """Return how many bytes of header and of sound follow the first eight.

    Raises:
        WireError: more than is taken.
    """
    header, sound = LENGTHS.unpack(prefix)
    if not 2 <= header <= most_header or sound > most_sound:
        raise WireError(f"a frame of {header} + {sound} bytes, where {most_header} + {most_sound} are taken")
    return header, sound


def read(kind: type[H], said: bytes) -> H:
    """Return a header of a kind.

    Raises:
        WireError: it is none.
    """
    try:
        return kind.model_validate_json(said, strict=True)
    except (ValidationError, RecursionError):
        # Not what was wrong with it: that may repeat words.
        raise WireError(f"what came is no {kind.__name__.lower()} of {SCHEMA}") from None


def ask_of(number: int, request: Request, encoding: Encoding, deadline_s: float) -> bytes:
    """Return the frame that asks for a decode."""
    sound = request.sound
    asked = Ask(
        id=number,
        deadline_ms=max(1, round(1000 * deadline_s)),
        language=request.language,
        max_tokens=request.max_tokens,
        prefix=request.prefix,
        encoding=encoding,
        samples=len(sound),
    )
    return frame(asked, pack(sound, encoding))


def request_of(asked: Ask, sound: bytes) -> Request:
    """Return the decode that is asked for.

    Raises:
        WireError: the sound is not what the header says, or none.
    """
    return Request(unpack(sound, asked.encoding, asked.samples), asked.prefix, asked.max_tokens, asked.language)


def answer_of(number: int, hypothesis: Hypothesis, language: str) -> bytes:
    """Return the frame that says what was heard.

    Raises:
        WireError: the model gave something impossible.
    """
    try:
        heard = Heard(
            words=tuple(
                Word(
                    start_s=word.start_s,
                    end_s=word.end_s,
                    text=word.text,
                    probability=min(1.0, max(0.0, word.probability)),
                    tokens=word.tokens,
                    marks=word.marks,
                )
                for word in hypothesis.words
            ),
            no_speech=hypothesis.no_speech,
            mean_logprob=min(0.0, hypothesis.mean_logprob),
            compression=hypothesis.compression,
            cut_short=hypothesis.cut_short,
            language_p=hypothesis.language_p,
            language=language,
            embedding=hypothesis.embedding,
        )
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise WireError(f"the model gave an impossible {where}") from None
    return frame(Answer(id=number, heard=heard))


def pack(sound: Floats, encoding: Encoding) -> bytes:
    """Return sound, (N,) float32, as bytes."""
    if encoding == "float32":
        return np.ascontiguousarray(sound, "<f4").tobytes()
    return np.round(np.clip(sound, -1, 1) * FULL_SCALE).astype("<i2").tobytes()


def unpack(packed: bytes, encoding: Encoding, samples: int) -> Floats:
    """Return the sound of its bytes, (N,) float32.

    Raises:
        WireError: there are more or fewer samples, or they are no sound.
    """
    size = 4 if encoding == "float32" else 2
    if len(packed) != size * samples:
        raise WireError(f"{len(packed)} bytes of sound, where {samples} samples of {size} were announced")
    if encoding == "int16":
        whole: Floats = (np.frombuffer(packed, "<i2") / FULL_SCALE).astype(np.float32)
        return whole
    sound: Floats = np.frombuffer(packed, "<f4").astype(np.float32)
    if not (np.isfinite(sound).all() and np.abs(sound).max() <= LOUDEST):
        raise WireError("what came as sound is none")
    return sound


def proof(token: str, side: Literal["host", "pool"], of_pool: str, of_host: str) -> str:
    """Return what proves that a side knows the secret."""
    message = f"{SCHEMA} {side} {of_pool} {of_host}".encode()
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()


def proves(given: str, token: str, side: Literal["host", "pool"], of_pool: str, of_host: str) -> bool:
    """Whether it does."""
    return hmac.compare_digest(given, proof(token, side, of_pool, of_host))
