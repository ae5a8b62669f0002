"""Plots of the fusion benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from scripts.evaluation.fusion_damage import RATES, SNRS_DB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

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


def degradation(summaries: Mapping[str, Any], places: Sequence[tuple[str, str]], title: str, path: Path) -> None:
    """MAE against severity, a panel per curve."""
    figure, panels = plt.subplots(1, len(places), figsize=(4.2 * len(places), 3.6), sharey=True, squeeze=False)
    for panel, (kind, where) in zip(panels[0], places, strict=True):
        for name in SHOWN:
            if name in summaries:
                _line(panel, kind, summaries[name]["mae_curve"][f"{kind}/{where}"], name)
        _axes(panel, kind, where, "MAE" if panel is panels[0][0] else "")
    if panels[0][-1].lines:
        panels[0][-1].legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def gate_weights(summaries: Mapping[str, Any], names: Sequence[str], title: str, path: Path) -> None:
    """Weight of the damaged modality against severity."""
    places = [(kind, name) for kind in ("missing", "noise") for name in names]
    figure, panels = plt.subplots(1, len(places), figsize=(3.6 * len(places), 3.4), sharey=True, squeeze=False)
    for panel, (kind, where) in zip(panels[0], places, strict=True):
        for name in GATED:
            if name in summaries and f"{kind}/{where}" in summaries[name]["gate"]:
                _line(panel, kind, summaries[name]["gate"][f"{kind}/{where}"]["weights"], name)
        _axes(panel, kind, where, "weight of the damaged modality" if panel is panels[0][0] else "")
    if panels[0][-1].lines:
        panels[0][-1].legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _line(panel: Axes, kind: str, values: Sequence[float], name: str) -> None:
    x = SNRS_DB if kind == "noise" else RATES
    ours = name.startswith(("AGFN robust", "robust", "AGFN distributions"))
    panel.plot(np.asarray(x), values, label=name, linewidth=2.2 if ours else 1.1, marker="." if ours else None)


def _axes(panel: Axes, kind: str, where: str, label: str) -> None:
    panel.set_xlabel("SNR in dB" if kind == "noise" else "rate")
    if kind == "noise":
        panel.invert_xaxis()
    panel.set_title(f"{where}: {kind}", fontsize=9)
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)
