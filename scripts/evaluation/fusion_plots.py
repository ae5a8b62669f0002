"""Plots of the fusion benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from scripts.evaluation.fusion_damage import Curves

SHOWN = (
    "concat",
    "concat + r",
    "late + r",
    "TFN",
    "MISA",
    "AGFN literal",
    "AGFN robust",
    "robust, anchored",
    "AGFN distributions",
)
GATED = ("late + r", "AGFN literal", "AGFN robust", "robust, anchored", "AGFN distributions")


X = {"noise": "SNR in dB", "blur": "blur in pixels", "missing": "rate"}


def degradation(
    summaries: Mapping[str, Any], curves: Curves, places: Sequence[tuple[str, str]], title: str, path: Path
) -> None:
    """MAE against severity, a panel per curve."""
    lines = {
        place: {
            name: summaries[name]["mae_curve"]["/".join(place)]
            for name in SHOWN
            if name in summaries and "/".join(place) in summaries[name]["mae_curve"]
        }
        for place in places
    }
    _panels(lines, curves, "MAE", title, path)


def gate_weights(
    summaries: Mapping[str, Any], curves: Curves, places: Sequence[tuple[str, str]], title: str, path: Path
) -> None:
    """Weight of the damaged modality against severity."""
    lines = {
        place: {
            name: summaries[name]["gate"]["/".join(place)]["weights"][-len(curves[place]) :]
            for name in GATED
            if name in summaries and "/".join(place) in summaries[name]["gate"]
        }
        for place in places
    }
    _panels(lines, curves, "weight of the damaged modality", title, path)


def _panels(
    lines: Mapping[tuple[str, str], Mapping[str, Sequence[float]]], curves: Curves, label: str, title: str, path: Path
) -> None:
    figure, panels = plt.subplots(1, len(lines), figsize=(4 * len(lines), 3.5), sharey=True, squeeze=False)
    for panel, (place, methods) in zip(panels[0], lines.items(), strict=True):
        for name, values in methods.items():
            _line(panel, curves[place], values, name)
        _axes(panel, *place, label if panel is panels[0][0] else "")
    if panels[0][-1].lines:
        panels[0][-1].legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _line(panel: Axes, levels: Sequence[float], values: Sequence[float], name: str) -> None:
    ours = name.startswith(("AGFN robust", "robust", "AGFN distributions"))
    panel.plot(np.asarray(levels), values, label=name, linewidth=2.2 if ours else 1.1, marker="." if ours else None)


def _axes(panel: Axes, kind: str, where: str, label: str) -> None:
    panel.set_xlabel(X[kind])
    if kind == "noise":
        panel.invert_xaxis()
    panel.set_title(f"{where}: {kind}", fontsize=9)
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)
