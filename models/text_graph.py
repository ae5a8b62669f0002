"""The text line's 8-bit graph: where it is kept, and how it runs. `models.text_export` makes it.

Nothing here needs PyTorch: where a graph is missing, a process of its own makes it and ends.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from models.graphs import GraphError, session
from models.wordpieces import so_far

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.wordpieces import Pieces

FORMAT = "agfn.text.onnx/1"
TOLERANCE = 0.35
"""Largest difference of a location or log scale from PyTorch's that is put up with."""
KEPT = 4
"""Graphs of other weights that stay beside the newest."""
PROBES = tuple(
    line.split()
    for line in (
        "it",
        "i thought the movie was",
        "it was the best of times it was the worst of times",
        "i really did not like this movie at all the acting was terrible and the story made no sense",
        "this is probably the best film i have seen this year and i would recommend it to everybody",
        "um it's about a guy who goes to new york and he meets you know this girl",
        "the ending was a bit disappointing but the music is absolutely gorgeous",
        "don't waste your money on it wait for the dvd",
        "it was okay nothing special",
        "there are some very funny scenes with the kids",
        "i can't believe how boring stupid and painfully slow that was",
        "my family loved every minute of it",
    )
)
"""Sentences by which the scales are found and the graph is compared with PyTorch."""
LAUNCH = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from models.text_export import main
sys.exit(main(sys.argv[1:]))
"""
NO_GRAPH = 3
"""Exit code of the maker that says why no graph can be made."""
_log = logging.getLogger(__name__)


def find(folder: Path, name: str) -> Path | None:
    """Return the undamaged graph that was made from the weights of this name (their sha256), if there is one."""
    for file in folder.glob(f"{_stem(name)}-*.onnx"):
        if file.stem.endswith(_digest(file)):
            return file
        _log.warning("%s is damaged; it is made anew", file)
        file.unlink(missing_ok=True)
    return None


def put_away(file: Path, name: str) -> Path:
    """Give a graph the name by which it is found, which says its own sha256; the oldest of too many go."""
    target = file.with_name(f"{_stem(name)}-{_digest(file)}.onnx")
    file.replace(target)
    others = sorted(target.parent.glob("text-*.onnx"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in others[KEPT:]:
        old.unlink(missing_ok=True)
    return target


def _stem(name: str) -> str:
    return "text-" + hashlib.sha256(f"{FORMAT} {name}".encode()).hexdigest()[:16]


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:  # a hundred megabytes at once would stay in the peak of the memory
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def make(encoder: Path, weights: Path, folder: Path) -> None:
    """Make the graph of a weights file in a process of its own, which takes PyTorch's memory along when it ends.

    Args:
        encoder: folder of the encoder.
        weights: file of `models.text_weights`.
        folder: where graphs are kept; see `find`.

    Raises:
        GraphError: no graph can be made.
    """
    if importlib.util.find_spec("onnx") is None:  # known before a long work
        raise GraphError("no graph can be made: the package onnx is missing")
    # It imports from where we do: neither the user's folder nor PYTHONPATH comes in between.
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-I", "-c", LAUNCH, json.dumps(sys.path), *map(str, (encoder, weights, folder))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = " ".join((done.stdout if done.returncode in (0, NO_GRAPH) else done.stderr).split())
    if done.returncode:
        raise GraphError(said[-300:] or f"no graph can be made: exit code {done.returncode}")
    _log.info("%s", said)


class TextGraph:
    """A graph that was made here, run on one thread. Safe to share between threads.

    Raises:
        GraphError: it cannot be read, or was made from something else.
    """

    def __init__(self, file: Path, name: str) -> None:
        try:
            self._session = session(file)
        except GraphError as error:
            raise GraphError(f"{file} cannot be read: {error}") from None
        about = self._session.get_modelmeta().custom_metadata_map
        if (about.get("format"), about.get("made_from")) != (FORMAT, name):
            raise GraphError(f"{file} was made from other weights")

    def run(self, pieces: Pieces) -> NDArray[np.float32]:
        """Readings (N, 2) of one text."""
        pool, count = so_far(pieces.words)
        feed = {"ids": pieces.ids, "pool": pool, "count": count}
        made: NDArray[np.float32] = self._session.run(None, feed)[0][0]
        return made
