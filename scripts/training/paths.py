"""Where features lie in the cache; the schema's hash keeps those of another version apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.extract.schema import schema_hash

if TYPE_CHECKING:
    from pathlib import Path


def tape_path(cache: Path, corpus: str, name: str, damage: str) -> Path:
    """Return the file of a clip's tape."""
    return cache / schema_hash()[:12] / corpus / damage.replace(":", "_") / f"{name}.npz"


def faces_path(cache: Path, corpus: str) -> Path:
    """Return the file of a corpus of single faces."""
    return cache / schema_hash()[:12] / f"{corpus}.npz"
