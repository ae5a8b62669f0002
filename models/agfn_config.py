"""What shapes AGFN: sizes, and the switches of the studies. Read without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.encoders import EncoderKind


@dataclass(frozen=True)
class Ablation:
    """The switches of the studies: what is part of the network and what is left out; the defaults are what ships."""

    variant: Literal["literal", "robust"] = "robust"
    entropy: Literal["feature", "predictive"] = "predictive"
    """What H in Eq. 4 is taken of: softmax(h_m), or (ours) the distribution that the modality's own head predicts."""
    tau: float = 0.5
    """Temperature of Eq. 4."""
    anchor: bool = False
    """Ours: the head corrects the entropy-weighted mean of the modalities' own scores instead of starting from 0."""
    skill: bool = False
    """Ours: a modality counts by r times what its own head knows beyond somebody who sees nothing, 1 - (b / b0)^2."""
    judgement: Mapping[str, int] = field(default_factory=dict)
    """Column of a modality that is a sentiment already, as an adapted text encoder gives: its newest value, times a
    learned gain, is where the modality's own score starts from, and the head corrects it."""
    columns: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Columns of a modality that are looked at; all of those that are not named here. Few clips, few columns."""
    compress: bool = False
    """Ours: standardised features enter as asinh(2 z) instead of clamped: blendshapes lie near 0, with a long tail."""
    given: str = "text"
    """Ours: the modality that brings a distribution along, as the text line gives it; then models/live.py fuses."""
    gain_beside: bool = True
    """Ours: the gain of the others holds beside the one that is given only; by themselves they count in full."""
    ieg: bool = True
    """Without it alpha is 0."""
    mig: bool = False
    """Without it alpha is 1; without both, the concatenation is fused by a plain linear layer."""
    cross_modal: bool = False
    """Without it h'_m = h_m."""


FULL = Ablation(entropy="feature", tau=1.0, given="", gain_beside=False, mig=True, cross_modal=True)
"""All parts of the paper and nothing of ours but the mask and the measured reliability: where ablations start from."""
ON_DISK = {"skill": "worth"}
"""Switches that have another name in files."""


@dataclass(frozen=True)
class AgfnConfig:
    """Everything that shapes the network; travels with the weights as JSON."""

    inputs: Mapping[str, int]
    """Feature width of each modality; its order is the order of all (B, M) tensors."""
    width: int = 64
    """d, the width of every representation."""
    encoder: EncoderKind = "tcn"
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    ablation: Ablation = field(default_factory=Ablation)

    def to_json(self) -> str:
        """Return the configuration as one line of JSON, without a level of its own for the switches."""
        sizes = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "ablation"}
        switches = {ON_DISK.get(name, name): value for name, value in vars(self.ablation).items()}
        given = sizes | switches
        return json.dumps({name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()})

    @classmethod
    def from_json(cls, text: str) -> AgfnConfig:
        """Read what `to_json` wrote, now or in an older version.

        Raises:
            ValueError: no JSON object, an unknown or a missing key.
        """
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"not an AGFN configuration: {type(data)}")  # noqa: TRY004 - as documented
        return cls.from_keys(data)

    @classmethod
    def from_keys(cls, data: Mapping[str, Any]) -> AgfnConfig:
        """Read the keys of a file; a switch that isn't named stands as in FULL, whatever ships now.

        Raises:
            ValueError: an unknown or a missing key.
        """
        names = {ON_DISK.get(part.name, part.name): part.name for part in fields(Ablation)}
        sizes = {key: value for key, value in data.items() if key not in names}
        if unknown := set(sizes) - {part.name for part in fields(cls) if part.name != "ablation"}:
            raise ValueError(f"not an AGFN configuration: {sorted(unknown)}")
        if not isinstance(data.get("columns", {}), Mapping):
            raise ValueError("not an AGFN configuration: columns are no object")  # noqa: TRY004 - as documented
        switches = replace(FULL, **{name: data[key] for key, name in names.items() if key in data})
        try:
            return cls(**sizes, ablation=switches)
        except TypeError as error:
            raise ValueError(f"not an AGFN configuration: {error}") from None
