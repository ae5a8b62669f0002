"""The text line: words to a distribution of their sentiment, by an adapted encoder and a small head.

`TextLine.read` is what the live program calls. For each word it gives the location, in [-3, 3], and the logarithm of
the scale of a Laplace distribution over the sentiment of the words up to and including it, in one pass over all of
them: a word is heard together with the others, and what is read after it is the mean of the words so far. The last
row is the reading of the whole.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.graphs import GraphError
from models.text_graph import TextGraph, find, make
from models.text_weights import TextWeights
from models.wordpieces import ENDS, cut, read_tokenizer, so_far

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from models.wordpieces import Ends, Pieces

BASE = "text-mpnet"
"""Name in `models.catalogue` of the encoder that the weights adapt."""
WEIGHTS = Path(__file__).resolve().parent / "weights" / "text-mpnet.safetensors"
SMALL_BASE = "text"
SMALL_WEIGHTS = WEIGHTS.with_name("text-minilm.safetensors")
"""The small line's: MiniLM, distilled from the other (scripts/distil_text.py)."""
LINES = {"mpnet": (BASE, WEIGHTS), "minilm": (SMALL_BASE, SMALL_WEIGHTS)}
"""Encoder and weights by the name of `text.reader` in the configuration."""
_log = logging.getLogger(__name__)


class TextLine:
    """Reads words: the location and the log scale of their sentiment, after each word. Safe to share between threads.

    Args:
        tokenizer: the encoder's.
        run: maps the pieces of one text to its readings.
        engine: `onnx` or `torch`, whichever runs it.
        ends: the encoder's tokens around a text.
    """

    def __init__(
        self, tokenizer: Tokenizer, run: Callable[[Pieces], NDArray[np.float32]], engine: str, ends: Ends
    ) -> None:
        self._tokenizer, self._run, self._ends = tokenizer, run, ends
        self.engine = engine

    @classmethod
    def load(
        cls,
        folder: Path,
        weights: Path = WEIGHTS,
        *,
        graphs: Path | None = None,
        verify: Callable[[], object] = lambda: None,
    ) -> TextLine:
        """Load the encoder of `folder` (`models.zoo.path(BASE)`) with the weights of a file.

        Args:
            folder: of the encoder; of a graph that is there nothing but `tokenizer.json` is read.
            weights: what training learned.
            graphs: where the 8-bit graph is kept, and made when it is missing, which takes about half a minute; runs
                three times as fast as PyTorch, which is used (and imported) without this, and where none can be made.

            verify: called before another file of the encoder is read; may raise.

        Raises:
            CheckpointError: the weights file is missing or damaged.
            OSError: a file of the encoder is missing.
            ValueError: the encoder or the weights are of another model.
        """
        learned = TextWeights.load(weights)
        ends = ENDS[learned.encoder]
        if graphs is not None:
            try:
                graph = _graph(folder, weights, learned.name, graphs, verify)
                return cls(read_tokenizer(folder / "tokenizer.json"), graph.run, "onnx", ends)
            except (GraphError, OSError) as error:
                _log.warning("the text runs on PyTorch, slower: %s", error)
        verify()
        return cls(read_tokenizer(folder / "tokenizer.json"), _by_torch(learned, folder), "torch", ends)

    def read(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Read the words of one text.

        Args:
            words: normalised (`realtime.extract.text.normal_words`), at most `models.wordpieces.MAX_WORDS`.

        Returns:
            (n, 2): location in [-3, 3] and log scale in `models.text_net`'s bounds, of the words up to and including
            each. Row -1 is the reading of the whole; no words, no rows.
        """
        return self._run(cut(self._tokenizer, [words], self._ends)) if words else np.zeros((0, 2), np.float32)


def _graph(encoder: Path, weights: Path, name: str, graphs: Path, verify: Callable[[], object]) -> TextGraph:
    """Open the graph of the weights of a name, made first when there is none."""
    if found := find(graphs, name):
        try:
            return TextGraph(found, name)
        except GraphError as error:
            _log.warning("%s; it is made anew", error)
    graphs.mkdir(parents=True, exist_ok=True)
    verify()
    make(encoder, weights, graphs)
    if (found := find(graphs, name)) is None:
        raise GraphError(f"no graph can be kept in {graphs}")
    return TextGraph(found, name)


def _by_torch(learned: TextWeights, folder: Path) -> Callable[[Pieces], NDArray[np.float32]]:
    import torch  # noqa: PLC0415 - half a gigabyte that a graph does not need

    from models.text_net import network  # noqa: PLC0415 - as above

    net = network(learned, folder)

    @torch.inference_mode()
    def run(pieces: Pieces) -> NDArray[np.float32]:
        tensors = map(torch.from_numpy, (pieces.ids, pieces.mask, *so_far(pieces.words)))
        made: NDArray[np.float32] = net(*tensors)[0].numpy()
        return made

    return run
