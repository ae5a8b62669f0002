"""What goes with a stream from one process to another: numbers only, no window, no sound, no words.

The window is not in it: it refills within its own length, and its reliabilities say so. Neither is what a recogniser or
a detector of speech is in the middle of: an utterance that was open at the cut begins anew.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, ValidationError

from realtime.config.section import Name, Section
from realtime.errors import UsageError
from realtime.extract.asr.voice_mean import VoiceMeanState
from realtime.extract.face.memory import FaceState
from realtime.extract.voice.prosody import VoiceState
from realtime.fuse.context import ContextState
from realtime.fuse.smooth import SmootherState

MAX_BYTES = 2048
"""Longer than any state: a usual one has 1,000 bytes, one with the longest name and numbers 1,415."""
EARLIEST_YEAR = 2020


def _with_zone(time: datetime) -> datetime:
    if time.tzinfo is None or time.year < EARLIEST_YEAR:
        raise ValueError(f"a time with its zone, not before {EARLIEST_YEAR}")
    return time


Started = Annotated[
    datetime, AfterValidator(_with_zone), PlainSerializer(datetime.isoformat, return_type=str, when_used="json")
]


class StreamState(Section):
    """What a stream remembers, so that another process can go on with it. About 1 kB but for extremes."""

    schema_: Literal["agfn.state/1"] = Field("agfn.state/1", alias="schema")
    stream: Name
    epoch: int = Field(0, ge=0, le=2**53)
    """Of the lease under which it goes on; who gives it to another holder makes it larger (`leased`)."""
    started: Started
    """When it began: the grid of its windows goes on from there."""
    hop_s: float = Field(gt=0, le=10)
    seq: int = Field(ge=0, le=2**40)
    """Number of the next window; whoever goes on later has a larger one."""
    words: int = Field(0, ge=0, le=2**40)
    """How many of these were closed for a word between two of the grid."""
    events: int = Field(0, ge=0, le=2**40)
    """Events so far."""
    paused: bool = False
    face_id: int = Field(0, ge=0, le=1_000_000_000)
    """Number of the face that counts, as its extractor numbers them; 0 for none yet."""
    smoother: SmootherState | None = None
    context: ContextState = ContextState()
    face: FaceState | None = None
    """Whom the camera follows, and what this face looks like at rest."""
    voice: VoiceState | None = None
    """Usual level and pitch of the voice."""
    embedding: VoiceMeanState | None = None
    """How the voice is embedded on average."""

    @property
    def hops(self) -> int:
        """Windows of the grid so far."""
        return max(0, self.seq - self.words)

    def leased(self, epoch: int) -> StreamState:
        """Return the state for the holder of a newer lease.

        Raises:
            ValueError: the lease is no newer one.
        """
        if epoch <= self.epoch:
            raise ValueError(f"epoch {epoch} is not newer than {self.epoch}")
        return self.model_copy(update={"epoch": epoch})

    def to_json(self) -> bytes:
        """The state as JSON, without what is nothing."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def values(self) -> dict[str, Any]:
        """The same as JSON values, for a larger document; `of` reads them."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, data: bytes) -> StreamState:
        """Read what `to_json` gave, of whatever origin.

        Raises:
            UsageError: it is no state; the message is one line that repeats nothing of it.
        """
        if len(data) > MAX_BYTES:
            raise UsageError(f"a state of {len(data)} bytes: at most {MAX_BYTES}")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise UsageError(f"no state of a stream: {_problem(error)}") from None

    @classmethod
    def of(cls, values: Any) -> StreamState:  # noqa: ANN401 - JSON values
        """Take the JSON values of a state, as in a larger document; as `from_json`."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(f"no state of a stream: {_problem(error)}") from None


def _problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])[:60]
    return f"{place or 'state'}: {problem['msg'][:100]}" if place.isascii() and place.isprintable() else "a wrong key"
