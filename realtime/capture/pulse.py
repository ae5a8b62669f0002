"""A recording by PulseAudio's client library, which PipeWire answers too, all in the thread of the caller.

Only what a monitor needs, which PortAudio cannot do: the stream stays where it was put. Where a sink goes, others would
have its recording go on from the next best source, which may be the microphone of the room.

Every call returns in the time it is given: the library's loop is turned here, step by step. pulse/stream.h explains
the names.
"""

from __future__ import annotations

import ctypes
import time
from functools import cache
from typing import Any

import numpy as np

from realtime.errors import DeviceError
from realtime.types import SAMPLE_RATE_HZ, Floats

LIBRARY = "libpulse.so.0"
_NO_AUTOSPAWN = 1
_CONTEXT_READY, _CONTEXT_OVER = 4, (5, 6)
_STREAM_READY, _STREAM_OVER = 2, (3, 4)
_FLOAT32 = 5
_INTERPOLATE_TIMING, _AUTO_TIMING, _DONT_MOVE, _ADJUST_LATENCY = 0x2, 0x8, 0x200, 0x2000
_OF_THE_SERVER = 0x80
"""Changes of the defaults."""
_BYTES = 4
_NONE = ctypes.c_size_t(-1).value
_STEP_S = 0.1


class _SampleSpec(ctypes.Structure):
    _fields_ = (("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8))


class _BufferAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


class _ServerInfo(ctypes.Structure):
    """As far as it is looked at."""

    _fields_ = (
        ("user_name", ctypes.c_char_p),
        ("host_name", ctypes.c_char_p),
        ("server_version", ctypes.c_char_p),
        ("server_name", ctypes.c_char_p),
        ("sample_spec", _SampleSpec),
        ("default_sink_name", ctypes.c_char_p),
    )


_ON_SERVER_INFO = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_ServerInfo), ctypes.c_void_p)
_ON_CHANGE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)

_P, _I = ctypes.c_void_p, ctypes.c_int
_TYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "pa_mainloop_new": (_P, ()),
    "pa_mainloop_free": (None, (_P,)),
    "pa_mainloop_get_api": (_P, (_P,)),
    "pa_mainloop_prepare": (_I, (_P, _I)),
    "pa_mainloop_poll": (_I, (_P,)),
    "pa_mainloop_dispatch": (_I, (_P,)),
    "pa_context_new": (_P, (_P, ctypes.c_char_p)),
    "pa_context_connect": (_I, (_P, ctypes.c_char_p, _I, _P)),
    "pa_context_get_state": (_I, (_P,)),
    "pa_context_disconnect": (None, (_P,)),
    "pa_context_unref": (None, (_P,)),
    "pa_context_errno": (_I, (_P,)),
    "pa_context_get_server_info": (_P, (_P, _ON_SERVER_INFO, _P)),
    "pa_context_set_subscribe_callback": (None, (_P, _ON_CHANGE, _P)),
    "pa_context_subscribe": (_P, (_P, _I, _P, _P)),
    "pa_operation_unref": (None, (_P,)),
    "pa_strerror": (ctypes.c_char_p, (_I,)),
    "pa_stream_new": (_P, (_P, ctypes.c_char_p, ctypes.POINTER(_SampleSpec), _P)),
    "pa_stream_connect_record": (_I, (_P, ctypes.c_char_p, ctypes.POINTER(_BufferAttr), _I)),
    "pa_stream_get_state": (_I, (_P,)),
    "pa_stream_get_device_name": (ctypes.c_char_p, (_P,)),
    "pa_stream_readable_size": (ctypes.c_size_t, (_P,)),
    "pa_stream_peek": (_I, (_P, ctypes.POINTER(_P), ctypes.POINTER(ctypes.c_size_t))),
    "pa_stream_drop": (_I, (_P,)),
    "pa_stream_get_latency": (_I, (_P, ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(_I))),
    "pa_stream_disconnect": (_I, (_P,)),
    "pa_stream_unref": (None, (_P,)),
}


@cache
def library(name: str) -> Any:  # noqa: ANN401 - ctypes' own
    """Load PulseAudio's client library.

    Args:
        name: of the device, for the error.

    Raises:
        DeviceError: it is not there.
    """
    try:
        found = ctypes.CDLL(LIBRARY)
    except OSError:
        raise DeviceError(
            f"{name}: {LIBRARY} is missing, by which PipeWire and PulseAudio are asked; on Debian and Ubuntu: "
            "apt-get install libpulse0"
        ) from None
    for each, (result, arguments) in _TYPES.items():
        function = getattr(found, each)
        function.restype, function.argtypes = result, arguments
    return found


class PulseClient:
    """A connection to the sound server, with at most one recording.

    Args:
        name: of the device, for errors.
        timeout_s: how long the server may take to answer.

    Raises:
        DeviceError: there is no client library, or no server that answers.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name, self._timeout_s = name, timeout_s
        self._pa = pa = library(name)
        self._stream: Any = None
        self._sink: str | None = None
        self._told: list[str | None] = []
        self._stale = True
        # The library keeps the addresses of these: they must live as long as it does.
        self._on_info = _ON_SERVER_INFO(self._informed)
        self._on_change = _ON_CHANGE(self._changed)
        self._loop = pa.pa_mainloop_new()
        self._context = pa.pa_context_new(pa.pa_mainloop_get_api(self._loop), b"AGFN Live")
        try:
            refused = pa.pa_context_connect(self._context, None, _NO_AUTOSPAWN, None) < 0
            if refused or not self._turn_until(self._connected):
                raise self._error("no sound server answers; start PipeWire or PulseAudio in this session")
            pa.pa_context_set_subscribe_callback(self._context, self._on_change, None)
            self._forget(pa.pa_context_subscribe(self._context, _OF_THE_SERVER, None, None))
        except DeviceError:
            self.close()
            raise

    def default_sink(self) -> str | None:
        """Return the name of what sound is played on by default; None where there is nothing.

        Raises:
            DeviceError: the server does not answer.
        """
        if self._stale:
            self._stale = False
            self._told.clear()
            self._forget(self._pa.pa_context_get_server_info(self._context, self._on_info, None))
            if not self._turn_until(lambda: bool(self._told)):
                raise self._error("the sound server does not answer")
            self._sink = self._told[0]
        return self._sink

    def record(self, source: str, block_ms: int) -> None:
        """Record mono at 16 kHz from the source of a name, from there and nowhere else, in place of any before.

        Raises:
            DeviceError: there is no such source, or the server would take another one.
        """
        self.stop()
        pa, spec = self._pa, _SampleSpec(_FLOAT32, SAMPLE_RATE_HZ, 1)
        any_size = 2**32 - 1
        block = SAMPLE_RATE_HZ * block_ms // 1000 * _BYTES
        sizes = _BufferAttr(any_size, any_size, any_size, any_size, block)
        self._stream = pa.pa_stream_new(self._context, b"what this computer plays", ctypes.byref(spec), None)
        flags = _INTERPOLATE_TIMING | _AUTO_TIMING | _DONT_MOVE | _ADJUST_LATENCY
        if self._stream is None or pa.pa_stream_connect_record(
            self._stream, source.encode(), ctypes.byref(sizes), flags
        ):
            raise self._error(f"{source} cannot be recorded")
        if not self._turn_until(lambda: self._recording() or self._refused()) or self._refused():
            raise self._error(f"{source} cannot be recorded")
        taken = (pa.pa_stream_get_device_name(self._stream) or b"").decode(errors="replace")
        if taken != source:
            self.stop()
            raise DeviceError(f"{self._name}: the sound server gave {taken or 'nothing'} in the place of {source}")

    def read(self, timeout_s: float) -> tuple[Floats, int, int] | None:
        """Wait for sound.

        Returns:
            (N,) float32, the age of its first sample in ns, and how many samples are missing before it; None where
            the default sink has changed meanwhile.

        Raises:
            DeviceError: nothing came in time, or source or server went away.
        """
        missing = 0
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self._stale:
                return None
            if not self._recording():
                raise self._error("went away")
            if self._pa.pa_stream_readable_size(self._stream) in {0, _NONE}:
                if time.monotonic() > deadline_s:
                    raise DeviceError(f"{self._name}: no sound for {timeout_s:.1f} s")
                self._turn(deadline_s)
                continue
            samples, hole, age_ns = self._take()
            missing += hole
            if samples is not None:
                return samples, age_ns, missing

    def stop(self) -> None:
        """End the recording."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._pa.pa_stream_disconnect(stream)
            self._pa.pa_stream_unref(stream)

    def close(self) -> None:
        """End recording and connection."""
        self.stop()
        if self._loop is not None:
            self._pa.pa_context_disconnect(self._context)
            self._pa.pa_context_unref(self._context)
            self._pa.pa_mainloop_free(self._loop)
            self._loop = self._context = None

    def _take(self) -> tuple[Floats | None, int, int]:
        """Return the next sound, or how long a hole is; and its age."""
        pa, data, length = self._pa, _P(), ctypes.c_size_t()
        if pa.pa_stream_peek(self._stream, ctypes.byref(data), ctypes.byref(length)) < 0 or not length.value:
            return None, 0, 0
        count = length.value // _BYTES
        samples: Floats | None = None
        if data.value is not None:
            block = np.frombuffer(ctypes.string_at(data.value, count * _BYTES), np.float32)
            samples = np.clip(np.nan_to_num(block), -1.0, 1.0)
        age_us, ahead = ctypes.c_uint64(), _I()
        known = pa.pa_stream_get_latency(self._stream, ctypes.byref(age_us), ctypes.byref(ahead)) >= 0
        # Before the first timing a block is at least as old as it is long.
        age_ns = age_us.value * 1000 if known and not ahead.value else count * 1_000_000_000 // SAMPLE_RATE_HZ
        pa.pa_stream_drop(self._stream)
        return samples, 0 if samples is not None else count, age_ns

    def _connected(self) -> bool:
        return bool(self._pa.pa_context_get_state(self._context) == _CONTEXT_READY)

    def _recording(self) -> bool:
        return self._stream is not None and self._pa.pa_stream_get_state(self._stream) == _STREAM_READY

    def _refused(self) -> bool:
        return self._stream is not None and self._pa.pa_stream_get_state(self._stream) in _STREAM_OVER

    def _turn_until(self, done: Any) -> bool:  # noqa: ANN401 - a function
        """Turn the loop until something is done; False when it takes too long, or the connection is over."""
        deadline_s = time.monotonic() + self._timeout_s
        while not done():
            if self._pa.pa_context_get_state(self._context) in _CONTEXT_OVER or time.monotonic() > deadline_s:
                return False
            self._turn(deadline_s)
        return True

    def _turn(self, deadline_s: float) -> None:
        left_s = min(_STEP_S, max(0.0, deadline_s - time.monotonic()))
        pa = self._pa
        if pa.pa_mainloop_prepare(self._loop, int(left_s * 1e6)) >= 0 and pa.pa_mainloop_poll(self._loop) >= 0:
            pa.pa_mainloop_dispatch(self._loop)

    def _informed(self, _context: int, info: Any, _data: int) -> None:  # noqa: ANN401 - a ctypes pointer
        name = info.contents.default_sink_name if info else None
        self._told.append(name.decode(errors="replace") if name else None)

    def _changed(self, _context: int, _kind: int, _index: int, _data: int) -> None:
        self._stale = True

    def _forget(self, operation: int | None) -> None:
        if operation is not None:
            self._pa.pa_operation_unref(operation)

    def _error(self, what: str) -> DeviceError:
        number = self._pa.pa_context_errno(self._context)
        why = (self._pa.pa_strerror(number) or b"").decode(errors="replace") if number else ""
        return DeviceError(f"{self._name}: {what}" + (f" ({why})" if why else ""))
