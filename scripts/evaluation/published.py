"""What subscribers were told of labelled clips: figures of `score`, `interval` and `p_positive`. Pure.

The sentence end is the newest window at most END_S after the last word of the clip was committed, or the clip's last
window if that comes first: a person who has heard the sentence knows then. Signs are judged on clips whose label is
not 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.metrics import accuracy, has0, mae, non0, pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

END_S = 1.0
"""How long after the last committed word the sentence end may be read."""
ALARM = 0.5
"""A score from here on is a statement: with the wrong sign, a false alarm."""
SURE = 0.9
"""Probability of a sign from which it counts as told."""
LEVEL = 0.9
FEWEST_CLIPS = 8
"""A speaker with fewer clips is no worst speaker: their coverage is chance."""
BINS = 10
LAGS_S = (0.0, 1.0, 2.0, 3.0)
RESAMPLES = 2000


@dataclass(frozen=True)
class Told:
    """The messages of one clip, N windows in order; times in seconds since the clip began, NaN for no score.

    `committed_s` is when the last word was committed, `first_word_s` when the first one appeared, `word_end_s` when the
    last one had been spoken; None without words. `text` is what the words alone say at each window, 0 without words.
    """

    label: float
    speaker: str
    end_s: Array
    score: Array
    raw: Array
    low: Array
    high: Array
    p_positive: Array
    text: Array
    committed_s: float | None
    first_word_s: float | None
    word_end_s: float | None
    hop_s: float = 0.25

    @property
    def at_end(self) -> int | None:
        """Number of the window that is the sentence end; None if no window has a score."""
        scored = np.flatnonzero(np.isfinite(self.score))
        if not len(scored):
            return None
        if self.committed_s is None:
            return int(scored[-1])
        in_time = scored[self.end_s[scored] <= self.committed_s + END_S + 1e-9]
        return int(in_time[-1] if len(in_time) else scored[0])


def ccc(target: Array, predicted: Array) -> float:
    """Concordance correlation: 1 for equal series, lower for a wrong scale or level than `pearson`."""
    if len(target) < 2:
        return 0.0
    covariance = np.mean((target - target.mean()) * (predicted - predicted.mean()))
    bottom = target.var() + predicted.var() + (target.mean() - predicted.mean()) ** 2
    return float(2 * covariance / bottom) if bottom > 0 else 0.0


def ends(clips: Sequence[Told], name: str) -> Array:
    """A series of every clip at its sentence end; a clip without any score says 0, with the widest interval."""
    silent = {"low": -3.0, "high": 3.0, "p_positive": np.nan}.get(name, 0.0)
    return np.array([silent if (at := clip.at_end) is None else getattr(clip, name)[at] for clip in clips], float)


def point(target: Array, predicted: Array) -> dict[str, float]:
    """Every figure of a score against its label."""
    return {
        "mae": mae(target, predicted),
        "r": pearson(target, predicted),
        "ccc": ccc(target, predicted),
        "has0": has0(target, predicted),
        "non0": non0(target, predicted),
        "acc7": accuracy(target, predicted, 3),
    }


def intervals(label: Array, low: Array, high: Array) -> dict[str, float]:
    """Coverage, mean width, and the interval score (Gneiting and Raftery 2007; smaller is better)."""
    outside = np.maximum(low - label, 0) + np.maximum(label - high, 0)
    return {
        "coverage": float(np.mean((low <= label) & (label <= high))),
        "width": float(np.mean(high - low)),
        "interval_score": float(np.mean(high - low + 2 / (1 - LEVEL) * outside)),
    }


def worst_speaker(clips: Sequence[Told]) -> float | None:
    """Smallest coverage at sentence ends of a speaker with FEWEST_CLIPS; of all clips if nobody has as many."""
    label = np.array([clip.label for clip in clips])
    inside = (ends(clips, "low") <= label) & (label <= ends(clips, "high"))
    speakers = np.array([clip.speaker for clip in clips])
    found = [inside[speakers == name] for name in np.unique(speakers)]
    kept = [rows for rows in found if len(rows) >= FEWEST_CLIPS] or [inside]
    return float(min(rows.mean() for rows in kept))


def told_sign(label: Array, p_positive: Array) -> dict[str, Any]:
    """How often the sign is told (P >= SURE or <= 1 - SURE) and right then, and the reliability diagram."""
    rows = (label != 0) & np.isfinite(p_positive)
    if not rows.any():
        return {"psign90_share": None, "psign90_accuracy": None, "reliability_diagram": []}
    p, positive = p_positive[rows], label[rows] > 0
    told = (p >= SURE) | (p <= 1 - SURE)
    diagram = []
    for low in np.arange(BINS) / BINS:
        inside = (p >= low) & ((p < low + 1 / BINS) | (low + 1 / BINS >= 1))
        if inside.any():
            diagram.append(
                [round(float(p[inside].mean()), 3), round(float(positive[inside].mean()), 3), int(inside.sum())]
            )
    return {
        "psign90_share": float(told.mean()),
        "psign90_accuracy": float(((p > 0.5) == positive)[told].mean()) if told.any() else None,
        "reliability_diagram": diagram,
    }


def false_alarms(clips: Sequence[Told]) -> float | None:
    """Share of the windows with a score, of clips whose label is not 0, that state the wrong sign."""
    wrong = [
        (np.abs(score) >= ALARM) & (np.sign(score) != np.sign(clip.label))
        for clip in clips
        if clip.label and len(score := clip.score[np.isfinite(clip.score)])
    ]
    return float(np.mean(np.concatenate(wrong))) if wrong else None


def right_sign_s(clip: Told) -> float | None:
    """Seconds from the end of the last word until the sign is right and stays so; None if it is wrong in the end."""
    scored = np.isfinite(clip.score)
    right = np.sign(clip.score[scored]) == np.sign(clip.label)
    if not len(right) or not right[-1] or clip.word_end_s is None:
        return None
    wrong = np.flatnonzero(~right)
    since_s = clip.end_s[scored][wrong[-1] + 1 if len(wrong) else 0]
    return max(0.0, float(since_s) - clip.word_end_s)


def flips(score: Array, least: float = 0.0) -> int:
    """Changes of sign between one score and the next that is more than `least` from 0."""
    sides = np.sign(score[np.isfinite(score) & (np.abs(score) > least)])
    return int(np.sum(sides[1:] != sides[:-1]))


def oracle(clip: Told, since_s: float | None) -> float:
    """Mean over the windows of somebody who says 0 before `since_s` and the label from then on."""
    scored = clip.end_s[np.isfinite(clip.score)]
    if since_s is None or not len(scored):
        return 0.0
    return float(clip.label * np.mean(scored >= since_s))


def over_time(streams: Sequence[Sequence[tuple[float, Told]]]) -> dict[str, float]:
    """CCC of the published score with the step function of the labels, by how long the score may lag behind.

    Args:
        streams: per video its clips with the second of the stream at which each begins.
    """
    found = {}
    for lag_s in LAGS_S:
        truth, said = [], []
        for clips in streams:
            for begin_s, clip in clips:
                for end_s, score in zip(clip.end_s + begin_s, clip.score, strict=True):
                    now = [other.label for since_s, other in clips if since_s < end_s - lag_s]
                    if now and np.isfinite(score):
                        truth.append(now[-1])
                        said.append(score)
        found[f"{lag_s:g}"] = ccc(np.array(truth), np.array(said))
    return found


def figures(clips: Sequence[Told]) -> dict[str, Any]:
    """Every figure; those of the sentence end with 95 % intervals by bootstrap over clips."""
    label = np.array([clip.label for clip in clips])
    score, raw, text = (ends(clips, name) for name in ("score", "raw", "text"))
    found: dict[str, Any] = {f"end_{key}": value for key, value in point(label, score).items()}
    draws = np.random.default_rng(0).integers(0, len(label), (RESAMPLES, len(label)))
    for key in ("mae", "r", "ccc", "has0"):
        values = [point(label[rows], score[rows])[key] for rows in draws[:: 1 if key == "mae" else 4]]
        found[f"end_{key}_ci"] = np.nanpercentile(values, [2.5, 97.5]).tolist()
    at_end = intervals(label, ends(clips, "low"), ends(clips, "high"))
    found |= {f"end_{key}": at_end[key] for key in ("coverage", "width")}
    found["interval_score"] = at_end["interval_score"]
    found["end_coverage_worst_speaker"] = worst_speaker(clips)
    found |= told_sign(label, ends(clips, "p_positive"))
    found["false_alarms"] = false_alarms(clips)
    times = [right_sign_s(clip) for clip in clips if clip.label]
    in_time = [value for value in times if value is not None]
    found["right_sign_p50_s"], found["right_sign_p90_s"] = (
        np.percentile(in_time, [50, 90]).tolist() if in_time else (None, None)
    )
    found["right_sign_never"] = 1 - len(in_time) / len(times) if times else None
    minutes = sum(int(np.isfinite(clip.score).sum()) * clip.hop_s for clip in clips) / 60
    found["sign_flips_per_minute"] = sum(flips(clip.score) for clip in clips) / max(minutes, 1e-9)
    found["clear_sign_flips_per_minute"] = sum(flips(clip.score, 0.25) for clip in clips) / max(minutes, 1e-9)
    found["end_mae_text"] = mae(label, text)
    found["end_raw"] = point(label, raw)
    found["end_text"] = point(label, text)
    found |= whole(clips, label)
    return found


def whole(clips: Sequence[Told], label: Array) -> dict[str, Any]:
    """Figures over all windows: the interval, and the mean over a clip with its two oracles."""
    rows = [(clip, np.isfinite(clip.score)) for clip in clips]
    joined = {name: np.concatenate([getattr(clip, name)[on] for clip, on in rows]) for name in ("low", "high")}
    every = intervals(np.concatenate([np.full(on.sum(), clip.label) for clip, on in rows]), **joined)
    means = {
        name: np.array([getattr(clip, name)[on].mean() if on.any() else 0.0 for clip, on in rows])
        for name in ("score", "raw")
    }
    first, last = (
        np.array([oracle(clip, getattr(clip, name)) for clip in clips]) for name in ("first_word_s", "committed_s")
    )
    return {
        "coverage": every["coverage"],
        "width": every["width"],
        "mean_over_windows": {
            **{name: point(label, value) for name, value in means.items()},
            "oracle_from_first_word_mae": mae(label, first),
            "oracle_from_last_word_mae": mae(label, last),
        },
        "constant_mae": mae(label, np.median(label)),
    }


def rounded(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Round every number to four places; NaN becomes null."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value
