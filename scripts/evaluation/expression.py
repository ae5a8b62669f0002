"""`evaluate.py expression`: the shipped expression network on the third of FER2013 that it has never seen.

Prints one line of JSON: AUC of happy against negative, accuracy over seven classes, calibration, each also of damaged
pictures, of the picture alone, and of the pictures as the live program cuts them (where a face is found).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from models.affect import EXPRESSIONS
from models.affect import VALENCE as OF
from models.expression_net import WEIGHTS, ExpressionNet, load
from models.metrics import auc
from realtime.extract.face.aligned import aligned
from scripts.neutral_face import BORDER_PX, FACE_PX
from scripts.training.expression import DAMAGES, framed, look, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Floats, Image

HAPPY: Final = EXPRESSIONS.index("happy")
NEGATIVE: Final = [EXPRESSIONS.index(name) for name in ("angry", "disgust", "fear", "sad")]
VALENCE: Final = np.array([OF[name] for name in EXPRESSIONS])
BINS: Final = 15


def figures(net: ExpressionNet, pictures: Image, label: np.ndarray, shapes: Floats, points: Floats) -> dict[str, Any]:
    """Judge a network on pictures (N, 48, 48) with their numbers (N,), shapes (N, 54) and points (N, 3, 2) or NaN."""
    known = np.isfinite(shapes).all(1)
    random = torch.Generator().manual_seed(1)
    plain = torch.from_numpy(pictures).float()
    found = {
        "pictures": len(label),
        "found": round(float(known.mean()), 4),
        "all": judged(probabilities(net, plain, shapes), label),
        "picture_alone": judged(probabilities(net, plain, np.full_like(shapes, np.nan)), label),
        "where_found": judged(
            probabilities(net, plain[torch.from_numpy(np.flatnonzero(known))], shapes[known]), label[known]
        ),
        "as_cut_live": judged(probabilities(net, cut(pictures[known], points[known]), shapes[known]), label[known]),
    }
    alone = np.full_like(shapes, np.nan)
    return found | {
        name: judged(probabilities(net, damage(plain, random), alone), label) for name, damage in DAMAGES.items()
    }


def judged(likely: Floats, label: np.ndarray) -> dict[str, float]:
    """Figures of probabilities (N, 7)."""
    told = np.isin(label, [HAPPY, *NEGATIVE])
    right, sure = likely.argmax(1) == label, likely.max(1)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(right[bins == b].mean() - sure[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    recalls = [right[label == number].mean() for number in np.unique(label)]
    return {
        "auc": round(auc(label[told] == HAPPY, likely[told] @ VALENCE), 4),
        "accuracy": round(float(right.mean()), 4),
        "mean_recall": round(float(np.mean(recalls)), 4),
        "calibration_error": round(float(sum(gaps)), 4),
    }


@torch.inference_mode()
def probabilities(net: ExpressionNet, pictures: torch.Tensor, shapes: Floats) -> Floats:
    """Probabilities (N, 7), with shapes where they are known."""
    out = np.zeros((len(pictures), len(EXPRESSIONS)), np.float32)
    known = np.isfinite(shapes).all(1)
    for rows, with_shapes in ((np.flatnonzero(known), True), (np.flatnonzero(~known), False)):
        for part in np.array_split(rows, max(1, len(rows) // 512)):
            if len(part):
                given = torch.from_numpy(shapes[part]) if with_shapes else None
                out[part] = net(pictures[torch.from_numpy(part)], given).softmax(-1).numpy()
    return out


def cut(pictures: Image, points: Floats) -> torch.Tensor:
    """Cut faces (N, 48, 48) out of large pictures as the live program does."""
    scale = FACE_PX / pictures.shape[1]
    cuts = [aligned(framed(picture), at * scale + BORDER_PX) for picture, at in zip(pictures, points, strict=True)]
    return torch.from_numpy(np.stack(cuts)).float()


def main(options: Sequence[str]) -> None:
    """Look, judge, print."""
    cli = argparse.ArgumentParser(prog="evaluate.py expression", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--weights", type=Path, default=WEIGHTS)
    cli.add_argument("--every", type=int, default=1, help="only every so many pictures of the held-out third")
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    net, _ = load(args.weights)
    faces = read(args.data)
    held = faces.part("held")[:: args.every]
    print(json.dumps(figures(net, faces.pictures[held], faces.label[held], *look(faces, held.tolist()))))
