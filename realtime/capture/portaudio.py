"""PortAudio, which is one per process, not thread-safe, and may hang in any call.

Its list of devices is frozen until it is terminated and initialised again, which would pull the rug from under every
open stream: `refreshed` does so only when there is none.
"""

from __future__ import annotations

import atexit
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from realtime.errors import DeviceError
from realtime.system.stderr import native_lines_to_log

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

LOCK_S = 2.0
CLOSE_S = 1.0
_lock = threading.Lock()
_open: set[int] = set()


def library() -> Any:  # noqa: ANN401 - the module, which has no types
    """Import sounddevice, which loads PortAudio.

    Raises:
        DeviceError: PortAudio is missing or refuses to start.
    """
    try:
        with native_lines_to_log():  # it sets standard error aside itself: no other may do so at the same time
            import sounddevice  # noqa: PLC0415 - scans the devices, which only microphones need
    except OSError as error:
        raise DeviceError(
            f"PortAudio cannot be loaded ({error}); on Debian and Ubuntu: apt-get install libportaudio2"
        ) from None
    return sounddevice


@contextmanager
def refreshed(name: str) -> Iterator[Any]:
    """Give the library with a fresh list of devices where that is possible, locked against other threads.

    Args:
        name: of the device that asks, for the error.

    Raises:
        DeviceError: the library is missing, another call hangs in it, or it refuses what is done inside.
    """
    if not _lock.acquire(timeout=LOCK_S):
        raise DeviceError(f"{name}: the sound system does not answer; restart it (PipeWire, PulseAudio) or the program")
    try:
        sd = library()
        try:
            if not _open:
                if sd._initialized:  # noqa: SLF001 - sounddevice has no public name for these three
                    sd._terminate()  # noqa: SLF001
                with native_lines_to_log():  # as in `library`
                    sd._initialize()  # noqa: SLF001
            yield sd
        except (sd.PortAudioError, ValueError) as error:
            reason = str(error.args[0] if error.args else error)
            raise DeviceError(f"{name}: cannot be opened: {reason}; see --list-devices") from None
    finally:
        _lock.release()


def inputs(sd: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - the module
    """Return the devices that can record, as sounddevice describes them."""
    return [device for device in sd.query_devices() if device["max_input_channels"] > 0]


def find_input(sd: Any, address: str, name: str) -> dict[str, Any]:  # noqa: ANN401 - the module
    """Find a device by `default`, its number, its name, or the first that has the address in its name.

    Args:
        sd: the library.
        address: what to look for.
        name: for the error.

    Raises:
        DeviceError: there is none; the message lists what there is.
    """
    devices = inputs(sd)
    if not devices:
        raise DeviceError(f"{name}: no microphone found; plug one in or start the sound system")
    if address == "default":
        return dict(sd.query_devices(kind="input"))
    wanted = address.casefold()
    ranked = [
        *(device for device in devices if str(device["index"]) == address),
        *(device for device in devices if device["name"].casefold() == wanted),
        *(device for device in devices if not address.isdecimal() and wanted in device["name"].casefold()),
    ]
    if not ranked:
        there = ", ".join(f"{device['index']} {device['name']!r}" for device in devices)
        raise DeviceError(f"{name}: no such input; there are: {there}")
    return ranked[0]


def opened(stream: object) -> None:
    """Note that a stream is open; called inside `refreshed`."""
    _open.add(id(stream))


def close(stream: Any, name: str) -> None:  # noqa: ANN401 - sounddevice.InputStream
    """Close a stream within a second; where it hangs, a thread is left to finish it.

    Args:
        stream: that was opened.
        name: of the device, for the log.
    """
    done = threading.Event()

    def finish() -> None:
        try:
            stream.abort(ignore_errors=True)
            with _lock:
                stream.close(ignore_errors=True)
        finally:
            _open.discard(id(stream))
            done.set()

    threading.Thread(target=finish, name=f"{name}-close", daemon=True).start()
    if not done.wait(CLOSE_S):
        log.warning("%s: the sound system hangs; the stream is left behind", name)
        # PortAudio's own goodbye would hang with it, and keep the program from ending.
        atexit.unregister(library()._exit_handler)  # noqa: SLF001
