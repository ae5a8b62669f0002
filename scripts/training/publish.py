"""What would have been published of held-out clips: fused, smoothed and judged as the live stream does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realtime.config.schema import Config
from realtime.fuse.smooth import Smoother
from realtime.fuse.worker import state_of
from realtime.session.stream import said_so_far
from realtime.types import NS_PER_S
from scripts.evaluation.published import Told
from scripts.training.fusion import predict
from scripts.training.live import leaned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.agfn import AGFN
    from models.context import Context
    from models.uncertainty import Uncertainty
    from realtime.types import WindowView
    from scripts.training.live import Heard

LIMIT = 3.0


def told(model: AGFN, clip: Heard, context: Context, uncertainty: Uncertainty) -> Told:
    """Lay out what subscribers would have been told of a clip that is a stream of its own."""
    config = Config()
    views = leaned(clip.views, context)
    found = predict(model, views)
    states = [state_of(view) for view in views]
    sure = uncertainty.judge(states, found["spread"], found["reliability"])
    smoother = Smoother(config.fusion.smoothing_s)
    expected = np.array([view.expected if view.opinion == "listening" else 0.0 for view in views])
    raw = np.where(found["present"], np.clip(found["score"] + expected, -LIMIT, LIMIT), np.nan)
    score = np.array(
        [
            smoother.feed(view.end_ns, float(value), said_so_far(view), view.opinion) if np.isfinite(value) else value
            for view, value in zip(views, raw, strict=True)
        ]
    )
    words = [(view.end_ns, view.words[-1]) for view in views if view.words]
    last = words[-1][1].end_ns if words else None
    return Told(
        label=clip.example.label,
        speaker=clip.example.speaker,
        end_s=np.array([view.end_ns for view in views]) / NS_PER_S,
        score=score,
        raw=raw,
        low=np.maximum(-LIMIT, score - sure.wide),
        high=np.minimum(LIMIT, score + sure.wide),
        p_positive=1 / (1 + np.exp(-sure.odds * score)),
        text=np.array([said(view) for view in views]),
        committed_s=next((at / NS_PER_S for at, word in words if word.end_ns == last and word.committed), None),
        first_word_s=words[0][0] / NS_PER_S if words else None,
        word_end_s=None if last is None else last / NS_PER_S,
        hop_s=config.window.hop_s,
    )


def said(view: WindowView) -> float:
    """What the words of a window alone say; 0 without words."""
    values = view.segments["text"].values
    return float(values[-1, 0]) if len(values) else 0.0


def published(model: AGFN, heard: Sequence[Heard], context: Context, uncertainty: Uncertainty) -> list[Told]:
    """The same of every clean clip."""
    return [told(model, clip, context, uncertainty) for clip in heard if clip.damage == "clean"]
