"""Reads the expression of one face at a time by the graph of the expression network; nothing here needs PyTorch.

The network is `models.expression_net`; `python -m scripts.train_expression fit` makes the graph beside its weights.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models import graphs, manifest
from models.affect import EXPRESSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT: Final = "agfn.expression.onnx/1"
GRAPH: Final = manifest.SHIPPED / "expression.onnx"
SIDE: Final = 48
"""Of the picture, in pixels."""
SHAPES: Final = 54
"""Blendshapes minus the face at rest, then yaw, pitch and roll: the columns of the face's features."""


class ExpressionReader:
    """The graph, opened; threads may share it.

    Args:
        graph: its file.

    Attributes:
        metadata: what training wrote: data, command, figures.

    Raises:
        graphs.GraphError: it is missing, damaged, of another format, or not what is listed beside it.
    """

    def __init__(self, graph: Path = GRAPH) -> None:
        try:
            self._session, self.metadata = _opened(graph)
            found = self.read(np.zeros((SIDE, SIDE), np.uint8), np.zeros(SHAPES, np.float32))
        except _damage() as error:
            raise graphs.GraphError(f"{graph}: {' '.join(str(error).split())[:200]}") from None
        if found.shape != (len(EXPRESSIONS),) or not np.isfinite(found).all():
            raise graphs.GraphError(f"{graph}: damaged: it does not give {len(EXPRESSIONS)} probabilities")

    def read(self, picture: NDArray[np.uint8], shapes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (7,) of an aligned picture (48, 48) and its shapes (54,)."""
        given = {"pictures": picture[None].astype(np.float32), "shapes": shapes[None]}
        found: NDArray[np.float32] = self._session.run(None, given)[0][0]
        return found


def _opened(graph: Path) -> tuple[Any, dict[str, Any]]:
    content = graphs.read(graph)
    if problem := manifest.problem(graph, content, listed=graph.parent.resolve() == manifest.SHIPPED.resolve()):
        raise graphs.GraphError(f"{problem}; install the program again")
    session = graphs.session(content)
    about = session.get_modelmeta().custom_metadata_map
    if about.get("format") != FORMAT:
        raise graphs.GraphError(f"format {about.get('format')!r}, this program reads {FORMAT!r}")
    return session, json.loads(about["training"])


def _damage() -> tuple[type[Exception], ...]:
    return (graphs.GraphError, KeyError, ValueError, TypeError, *graphs.errors())
