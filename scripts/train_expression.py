"""Train the expression network on FER2013, in three steps that can run apart; the last writes the weights.

python -m scripts.train_expression look      # faces by the landmarker: blendshapes, eyes and mouth (minutes)
python -m scripts.train_expression picture   # the picture reader (an hour of one core, or --minutes)
python -m scripts.train_expression fit       # the shapes reader, what adds both, figures of the held-out third

Every third picture is judged only; another thirtieth only says how both readers are added.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from models import zoo
from models.expression import SHAPES, SIDE
from models.expression_net import WEIGHTS, ExpressionNet, PictureReader, ShapesReader, export, save
from scripts.evaluation.expression import figures, judged, probabilities
from scripts.training.expression import Faces, augmented, look, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

BATCH: Final = 128
RATE: Final = 2.5e-3
DECAY: Final = 0.05
WARM_UP: Final = 0.15
COARSE: Final = (0.6, 32)
"""For so much of the training pictures are this small, at half the work; then as large as they are."""
AVERAGE: Final = 0.995
"""The weights that count are a running mean over the steps."""
LOOKED: Final = "expression-faces.npz"
PICTURE: Final = "expression-picture.safetensors"


def rate_at(progress: float) -> float:
    """Learning rate after so much of the training: up for a while, then down along a cosine."""
    if progress < WARM_UP:
        return RATE * (0.1 + 0.9 * progress / WARM_UP)
    return RATE * max(0.002, 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))))


def train_picture(faces: Faces, epochs: float, minutes: float, keep: Path, *, go_on: bool) -> dict[str, Any]:
    """Train the picture reader for so many epochs, or until the time is up; its rate knows which comes first."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    rows, dev = torch.from_numpy(faces.part("train")), torch.from_numpy(faces.part("dev"))
    pictures, label = torch.from_numpy(faces.pictures), torch.from_numpy(faces.label)
    net = PictureReader()
    if go_on:
        net.load_state_dict(load_file(keep))
    net = net.to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net).eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    begin_s, step, per_epoch = time.monotonic(), 0, len(rows) // BATCH
    while (progress := max(step / (epochs * per_epoch), (time.monotonic() - begin_s) / (60 * minutes))) < 1:
        if step % per_epoch == 0:
            order = rows[torch.randperm(len(rows), generator=random)]
        at = step % per_epoch * BATCH
        chosen = order[at : at + BATCH]
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress)
        side = COARSE[1] if progress < COARSE[0] else SIDE
        logits = net.train()(augmented(pictures[chosen].float(), random, side))
        loss = functional.cross_entropy(logits, label[chosen], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _average(mean, net, min(AVERAGE, (1 + step) / (10 + step)))
        step += 1
        if step % per_epoch == 0:
            right = (read_all(mean, pictures[dev]).argmax(1) == label[dev]).float().mean()
            spent = (time.monotonic() - begin_s) / 60
            print(
                f"epoch {step // per_epoch}: {spent:.1f} min, loss {loss.item():.3f}, dev accuracy {right:.3f}",
                flush=True,
            )
            save_file(_plain(mean), keep)
    save_file(_plain(mean), keep)
    return {"epochs": round(step / per_epoch, 1), "minutes": round((time.monotonic() - begin_s) / 60, 1)}


def _average(mean: nn.Module, net: nn.Module, share: float) -> None:
    with torch.no_grad():
        for kept, new in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - share)
            else:
                kept.copy_(new)


def _plain(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in net.state_dict().items()}


@torch.inference_mode()
def read_all(net: nn.Module, pictures: Tensor) -> Tensor:
    """Logits of many pictures."""
    return torch.cat([net(part.float()) for part in pictures.split(512)])


def train_shapes(shapes: Tensor, label: Tensor) -> ShapesReader:
    """Train the shapes reader; seconds."""
    torch.manual_seed(0)
    net = ShapesReader()
    epochs = 40
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(label) // 256))
    for _ in range(epochs):
        for chosen in torch.randperm(len(label))[: len(label) // 256 * 256].split(256):
            noise = 0.02 * torch.randn(256, shapes.shape[1])
            loss = functional.cross_entropy(net(shapes[chosen] + noise), label[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def fit_mixture(net: ExpressionNet, picture: Tensor, shapes: Tensor, label: Tensor) -> None:
    """Fit gains and biases to pictures that neither reader has seen: where a face was found, and for all alone."""
    found = shapes.isfinite().all(1)
    with torch.no_grad():
        by_shape = net.shapes(shapes[found])
    mixture = net.mixture
    _calibrate([mixture.gains, mixture.bias], lambda: mixture(picture[found], by_shape), label[found])
    _calibrate([mixture.gain_alone, mixture.bias_alone], lambda: mixture(picture, None), label)


def _calibrate(parameters: list[nn.Parameter], logits: Callable[[], Tensor], label: Tensor) -> None:
    """Maximise the likelihood of the labels over a gain and a bias; the bias is kept small."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits(), label) + 1e-3 * parameters[1].square().sum()
        loss.backward()
        return loss.item()

    optimizer.step(closure)


def fit(faces: Faces, cache: Path, out: Path) -> dict[str, Any]:
    """Put the readers together, judge them on the held-out third, and write the weights."""
    with np.load(cache / LOOKED, allow_pickle=False) as arrays:
        shapes, points, looked = (np.array(arrays[name]) for name in ("shapes", "points", "looked"))
        if not (arrays["ids"] == faces.ids).all():
            raise SystemExit(f"error: {cache / LOOKED} is of other pictures; run `look` again")
    net = ExpressionNet().eval()
    net.picture.load_state_dict(load_file(cache / PICTURE))
    label = torch.from_numpy(faces.label)
    known = np.isfinite(shapes).all(1)
    rows = faces.part("train")[known[faces.part("train")]]
    net.shapes.load_state_dict(train_shapes(torch.from_numpy(shapes[rows]), label[rows]).state_dict())
    dev = faces.part("dev")
    logits = read_all(net.picture, torch.from_numpy(faces.pictures[dev]))
    fit_mixture(net, logits.clone(), torch.from_numpy(shapes[dev]), label[dev])
    net.requires_grad_(requires_grad=False)
    third = faces.part("held")
    held = third[looked[third]]
    alone = probabilities(net, torch.from_numpy(faces.pictures[third]).float(), np.full((len(third), SHAPES), np.nan))
    found = figures(net, faces.pictures[held], faces.label[held], shapes[held], points[held])
    found["whole_third_by_picture"] = judged(alone, faces.label[third])
    about = {
        "command": "python -m scripts.train_expression fit",
        "data": "FER2013 without byte-identical copies: research use",
        "pictures": {name: len(faces.part(name)) for name in ("train", "dev", "held")},
        "with_shapes": len(rows),
        "trained": json.loads((cache / PICTURE).with_suffix(".json").read_text(encoding="utf-8")),
        "metrics": found,
    }
    save(out, net, about)
    export(out)
    return about


def look_at_all(faces: Faces, target: Path, minutes: float) -> dict[str, Any]:
    """Find the faces of the pictures, of all parts in turns, until the time is up: those of dev first."""
    rest = np.concatenate([faces.part("held"), faces.part("train")])
    rows = np.concatenate([faces.part("dev"), np.random.default_rng(1).permutation(rest)])
    seen_shapes, seen_points = look(faces, rows.tolist(), minutes)
    rows = rows[: len(seen_shapes)]
    shapes = np.full((len(faces.label), seen_shapes.shape[1]), np.nan, np.float32)
    points = np.full((len(faces.label), *seen_points.shape[1:]), np.nan, np.float32)
    shapes[rows], points[rows] = seen_shapes, seen_points
    looked = np.isin(np.arange(len(faces.label)), rows)
    np.savez_compressed(target, shapes=shapes, points=points, looked=looked, ids=faces.ids)
    return {
        "pictures": len(rows),
        "found": round(float(np.isfinite(seen_shapes).all(1).mean()), 4),
        "template": np.nanmean(seen_points, axis=0).round(1).tolist(),
    }


def main(options: Sequence[str] | None = None) -> None:
    """Run a step and print what came of it."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("step", choices=["look", "picture", "fit"])
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features", help="what the steps hand on")
    cli.add_argument("--epochs", type=float, default=30)
    cli.add_argument("--minutes", type=float, default=600, help="look, picture: end in this time")
    cli.add_argument("--go-on", action="store_true", help="picture: from the weights that are there")
    cli.add_argument("--out", type=Path, default=WEIGHTS)
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    args.cache.mkdir(parents=True, exist_ok=True)
    faces = read(args.data)
    if args.step == "look":
        found = look_at_all(faces, args.cache / LOOKED, args.minutes)
    elif args.step == "picture":
        found = train_picture(faces, args.epochs, args.minutes, args.cache / PICTURE, go_on=args.go_on)
        (args.cache / PICTURE).with_suffix(".json").write_text(json.dumps(found), encoding="utf-8")
    else:
        found = fit(faces, args.cache, args.out)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
