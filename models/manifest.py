"""SHA256SUMS beside weights and graph: what each file has to be, checked before a byte of it is parsed.

A hash inside a file is whatever its maker wrote; only a list that lies apart from it tells a forgery.
The format is that of `sha256sum`, so that anyone can check it: `cd models/weights && sha256sum -c SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

NAME = "SHA256SUMS"
SHIPPED = Path(__file__).parent / "weights"
"""Here every file must be listed."""
MAX_BYTES = 65_536
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\\\s]+)")


def expected(path: Path) -> str | None:
    """Return the sha256 that the list beside a file gives for it; None where it is not listed."""
    return _read(path.parent).get(path.name)


def problem(path: Path, content: bytes, *, listed: bool) -> str | None:
    """Say what speaks against a file's content, if anything does.

    Args:
        path: of the file.
        content: as read: this, not the file, is what may be parsed afterwards.
        listed: whether it has to be listed.
    """
    wanted = expected(path)
    if wanted is None:
        return f"is not listed in {NAME} beside it" if listed else None
    return None if digest(content) == wanted else f"is not what {NAME} beside it lists"


def digest(content: bytes) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def shipped(*digests: str) -> bool:
    """Whether all of these are files that we ship, wherever copies of them lie."""
    return set(digests) <= set(_read(SHIPPED).values())


def note(path: Path, content: bytes) -> None:
    """List a file that was just written, in place of what was listed under its name."""
    lines = _read(path.parent) | {path.name: digest(content)}
    part = path.with_name(f"{NAME}.part")
    part.write_text("".join(f"{listed}  {name}\n" for name, listed in sorted(lines.items())), encoding="utf-8")
    part.replace(path.with_name(NAME))


def _read(folder: Path) -> dict[str, str]:
    try:
        with (folder / NAME).open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return {}
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {line[2]: line[1] for line in found if line}
