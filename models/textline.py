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
import torch

from models.text_graph import GraphError, TextGraph, build, find, put_away
from models.text_net import ENCODERS, TextWeights, so_far
from models.wordpieces import read_tokenizer, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from models.text_net import TextNet
    from models.wordpieces import Ends, Tokens

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
        run: maps the tokens of one text to its readings.
        engine: `onnx` or `torch`, whichever runs it.
        ends: the encoder's tokens around a text.
    """

    def __init__(
        self, tokenizer: Tokenizer, run: Callable[[Tokens], NDArray[np.float32]], engine: str, ends: Ends
    ) -> None:
        self._tokenizer, self._run, self._ends = tokenizer, run, ends
        self.engine = engine

    @classmethod
    def load(cls, folder: Path, weights: Path = WEIGHTS, *, graphs: Path | None = None) -> TextLine:
        """Load the encoder of `folder` (`models.zoo.path(BASE)`) with the weights of a file.

        Args:
            folder: of the encoder.
            weights: what training learned.
            graphs: where the 8-bit graph is kept, and made when it is missing, which takes about half a minute; runs
                three times as fast as PyTorch, which is used without this, and where no graph can be made.

        Raises:
            CheckpointError: the weights file is missing or damaged.
            OSError: a file of the encoder is missing.
            ValueError: the encoder or the weights are of another model.
        """
        learned = TextWeights.load(weights)
        ends = ENCODERS[learned.encoder].ends
        if graphs is not None:
            try:
                graph = _graph(folder, learned, graphs)
                return cls(read_tokenizer(folder / "tokenizer.json"), graph.run, "onnx", ends)
            except (GraphError, OSError) as error:
                _log.warning("the text runs on PyTorch, slower: %s", error)
        net = learned.network(folder)
        return cls(net.encoder.tokenizer, _by_torch(net), "torch", ends)

    def read(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Read the words of one text.

        Args:
            words: normalised (`realtime.extract.text.normal_words`), at most `models.wordpieces.MAX_WORDS`.

        Returns:
            (n, 2): location in [-3, 3] and log scale in `models.text_net`'s bounds, of the words up to and including
            each. Row -1 is the reading of the whole; no words, no rows.
        """
        return self._run(tokenize(self._tokenizer, [words], self._ends)) if words else np.zeros((0, 2), np.float32)


def _graph(folder: Path, learned: TextWeights, graphs: Path) -> TextGraph:
    """Open the graph of these weights, made first when there is none."""
    if found := find(graphs, learned.name):
        try:
            return TextGraph(found, learned.name)
        except GraphError as error:
            _log.warning("%s; it is made anew", error)
    graphs.mkdir(parents=True, exist_ok=True)
    return TextGraph(put_away(build(learned.network(folder), graphs, learned.name), learned.name), learned.name)


def _by_torch(net: TextNet) -> Callable[[Tokens], NDArray[np.float32]]:
    @torch.inference_mode()
    def run(tokens: Tokens) -> NDArray[np.float32]:
        made: NDArray[np.float32] = net(tokens.ids, tokens.mask, *so_far(tokens))[0].numpy()
        return made

    return run
