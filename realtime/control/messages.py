"""What a running program may be asked about its streams, and what it answers.

Over a broker both travel sealed: with the time and a code (HMAC-SHA256) that only holders of the token can make. The
token itself is never sent, so who reads all topics learns neither it nor anything that works twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from realtime.clock import utc_now
from realtime.config.schema import StreamConfig
from realtime.config.section import Name
from realtime.errors import UsageError
from realtime.system.address import refuse_secret

MAX_BYTES = 8192
FRESH = timedelta(seconds=30)
"""So much the clocks of two machines may differ, and so long a sealed request is good for."""
LEAST_KEY = 16
Purpose = Literal["request", "answer"]
ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


class Request(_Strict):
    """What is asked: `list`, `add` a stream, `remove` one by its name."""

    schema_: Literal["agfn.control/1"] = Field("agfn.control/1", alias="schema")
    id: str = Field(pattern=f"^{ID.pattern}$")
    action: Literal["list", "add", "remove"]
    host: Name | None = None
    """Which program is asked, by its host.name; null asks whichever hears it."""
    stream: StreamConfig | None = None
    """What to add."""
    name: Name | None = None
    """What to remove."""
    state: dict[str, Any] | None = None
    """With `add`: what another program answered when the stream was removed there."""
    keep: bool = False
    """With `remove`: whether the state of the stream is wanted."""

    @model_validator(mode="after")
    def _whole(self) -> Request:
        if (self.stream is not None) != (self.action == "add") or (self.name is not None) != (self.action == "remove"):
            raise ValueError("add takes a stream, remove a name, list neither")
        if self.state is not None and self.action != "add":
            raise ValueError("a state goes with add")
        return self


class StreamLine(_Strict):
    """A stream of a program, as it may be shown: of addresses scheme, host and port."""

    name: str
    camera: str | None
    mic: str | None
    source: str | None
    state: str
    """ok, degraded, no_signal, paused or ended; `begins` before the first window."""
    epoch: int


class Answer(_Strict):
    """What came of a request; `error` is a line for a person, null where it was done."""

    schema_: Literal["agfn.control/1"] = Field("agfn.control/1", alias="schema")
    id: str
    host: str | None = None
    error: str | None = None
    streams: tuple[StreamLine, ...] | None = None
    """With `list`."""
    state: dict[str, Any] | None = None
    """With `remove`, where it was wanted."""

    def to_json(self) -> str:
        """One line of JSON."""
        return self.model_dump_json(by_alias=True)


def parse_request(text: str | bytes) -> Request:
    """Read a request.

    Raises:
        UsageError: it is none, or an address in it may hold a password; the message is safe to show.
    """
    try:
        request = Request.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])[:60]
        place = place if place.isascii() and place.isprintable() else "a key"
        why = problem["msg"].removeprefix("Value error, ")[:160]
        raise UsageError(f"no request: {place or 'it'}: {why if why.isprintable() else 'wrong'}") from None
    if request.stream is not None and request.stream.camera is not None:
        refuse_secret(request.stream.camera, "camera", "whoever may read the broker's topics can read a request")
    return request


def seal(body: str, key: str, purpose: Purpose) -> bytes:
    """Return a text with the time, and the code that shows who wrote it.

    Raises:
        UsageError: the key is no secret.
    """
    whole = json.dumps({"utc": utc_now().isoformat(), "said": body}, ensure_ascii=False)
    return json.dumps({"body": whole, "mac": _code(whole, key, purpose)}, ensure_ascii=False).encode()


def unseal(payload: bytes, key: str, purpose: Purpose, now: datetime) -> str:
    """Return the text of `seal`.

    Raises:
        ForeignError: it was not written by a holder of the key, for this purpose.
        UsageError: it was, but at another time.
    """
    if len(payload) > MAX_BYTES:
        raise ForeignError(f"{len(payload)} bytes")
    try:
        sealed = _Sealed.model_validate_json(payload)
    except ValidationError:
        raise ForeignError("it is not sealed") from None
    if not hmac.compare_digest(sealed.mac.encode(), _code(sealed.body, key, purpose).encode()):
        raise ForeignError("it is sealed with another token")
    try:
        said = _Said.model_validate_json(sealed.body)
    except ValidationError:
        raise ForeignError("it is not sealed") from None
    if abs(said.utc - now) > FRESH:
        off_s = (now - said.utc).total_seconds()
        raise StaleError(f"it was written {off_s:.0f} s ago by this clock: are both clocks right?", said.said)
    return said.said


class ForeignError(Exception):
    """Somebody without the token wrote it."""


class StaleError(UsageError):
    """Somebody with the token wrote it, at another time; `said` is what."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class _Sealed(_Strict):
    body: str
    mac: Annotated[str, Field(max_length=64)]


class _Said(_Strict):
    utc: AwareDatetime
    said: str


def _code(body: str, key: str, purpose: Purpose) -> str:
    if len(key) < LEAST_KEY:
        raise UsageError(f"a token has at least {LEAST_KEY} characters")
    return hmac.new(key.encode(), f"agfn control {purpose}\n{body}".encode(), hashlib.sha256).hexdigest()
