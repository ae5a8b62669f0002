"""The Dockerfile of this repository, read as Docker reads it: stages of instructions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
IGNORE = ROOT / ".dockerignore"


@dataclass(frozen=True)
class Stage:
    """What follows a FROM: its image, its name, and pairs of instruction and text."""

    image: str
    name: str | None
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """Texts of all instructions of this kind."""
        return [text for kind, text in self.steps if kind == instruction]


def stages(text: str) -> list[Stage]:
    """Read a Dockerfile; what stands before the first FROM is left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    logical = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    found: list[Stage] = []
    for line in filter(str.strip, logical):
        kind, _, rest = line.strip().partition(" ")
        if kind == "FROM":
            image, _, name = rest.partition(" AS ")
            found.append(Stage(image, name or None))
        elif found:
            found[-1].steps.append((kind, rest.strip()))
    return found


def packages(stage: Stage) -> set[str]:
    """Debian packages that a stage installs."""
    named = set()
    for text in stage.all("RUN"):
        for command in re.split(r"&&|;", text):
            words = command.split()
            if words[:2] == ["apt-get", "install"]:
                named |= {word for word in words[2:] if not word.startswith("-")}
    return named


def exec_form(text: str) -> list[str]:
    """Words of an instruction in its exec form.

    Raises:
        ValueError: it has another form: a shell would run it, and get the signals.
    """
    words: list[str] = json.loads(text)
    return words


def in_context(path: str, rules: str) -> bool:
    """Whether .dockerignore lets a path of the repository into the image; of patterns only what we use."""
    kept = True
    for line in rules.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        back, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{expression}(/.*)?", path):
            kept = back
    return kept
