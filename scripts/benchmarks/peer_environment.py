"""The recognisers that ours is compared with, each installed from the package index in an environment of its own.

The environments lie below the user's cache folder, never in ours, and are made once. Only wheels are installed, of the
pinned versions; what came with them is printed, so that a figure can be had again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import zoo
from models.cachefolder import make
from models.wheels import settings
from realtime.system.threads import POOLS

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_S = 1800
_ADDRESS = re.compile(r"\S+://\S+")


class PeerError(Exception):
    """A peer can't be installed or measured here; one line that says why."""


@dataclass(frozen=True)
class Peer:
    """A recogniser on the package index: what it is called in a table, and what is installed of it.

    Of `bare` nothing is installed that it asks for: `requires` has what it needs to hear a recording.
    """

    label: str
    requires: tuple[str, ...]
    bare: tuple[str, ...] = ()


PEERS = {
    "whisperlivekit": Peer(
        "WhisperLiveKit 0.2.26 (LocalAgreement, our Whisper weights)", ("whisperlivekit==0.2.26", "torch==2.13.0")
    ),
    "moonshine": Peer("Moonshine Voice 0.1.0 (tiny)", ("moonshine-voice==0.1.0", "requests==2.34.2")),
    "whisper-streaming": Peer(
        "whisper-streaming 0.1.0 (ufal's loop reworked, our Whisper weights)",
        ("faster-whisper==1.1.1", "opus-fast-mosestokenizer==0.0.8.11", "requests==2.34.2"),
        bare=("whisper-streaming==0.1.0",),  # asks for ALSA, which has no wheel, for a microphone
    ),
}


def folder_of(name: str) -> Path:
    """Where the environment of a peer lies."""
    return zoo.cache().parent / "peers" / name


def python_of(name: str) -> Path:
    """Return the Python of a peer's environment, which is made where there is none with these versions.

    Raises:
        PeerError: a package can't be had, or has no wheel for this machine.
    """
    folder, peer = folder_of(name), PEERS[name]
    requires = (*peer.requires, *peer.bare)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    kept = folder / "constraints.txt"
    wanted = f"# {' '.join(requires)}\n"
    if not (python.exists() and kept.is_file() and kept.read_text(encoding="utf-8").startswith(wanted)):
        print(f"{name}: installing {' '.join(requires)} in {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        make(folder.parent)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        install = [*pip, "install", "--quiet", "--only-binary", ":all:"]
        _run([*install, *peer.requires])
        if peer.bare:
            _run([*install, "--no-deps", *peer.bare])
        kept.write_text(wanted + _run([*pip, "list", "--format", "freeze"]), encoding="utf-8")
    print(f"{name}: {kept.read_text(encoding='utf-8').strip()}".replace("\n", "\n  "), flush=True)
    return python


def environ(name: str) -> dict[str, str]:
    """Variables for a peer: the user's, without ours; no model hub is asked, as its files come from package indexes."""
    bare = {key: value for key, value in os.environ.items() if key not in POOLS or name == "ours"}
    return bare | {"HF_HUB_OFFLINE": "1"}


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=settings(os.environ), check=False, timeout=INSTALL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"not installed: {error}") from error
    if done.returncode != 0:
        raise PeerError(f"not installed: {reason(done.stderr)}")
    return done.stdout


def reason(log: str) -> str:
    """Return the line of a log that says why, without addresses: the last error, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|\w+(\.\w+)*(Error|Exception|NotFound))\b", line)]
    return _ADDRESS.sub("...", (errors or lines or ["no word of why"])[-1])[:200]
