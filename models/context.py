"""What a person said before: a causal memory of earlier scores that leans the present one towards them.

Somebody who liked the film a minute ago probably still does, and a window of four seconds is a weak witness. The memory
is a decaying mean of the raw scores of windows with words, older than the window itself, shrunk towards 0 (neutral)
while little was said; the score is moved towards it by

    raw' = raw + s * (gain * mean - give * raw),   s = N / (N + prior_s)

with N the remembered seconds of speech. Coefficients are fitted on held-out speakers (scripts/training/context.py).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 3.0
DELAY_S = 4.0
"""A window shares its words with those up to its own length later: it is remembered only after that."""


@dataclass(frozen=True)
class Context:
    """Coefficients of the memory; travels with the weights. All 0: no memory."""

    gain: float = 0.0
    """How much of the remembered mean is added."""
    give: float = 0.0
    """How much of the present score is given up for it."""
    prior_s: float = 10.0
    """Seconds of speech that nothing remembered counts like."""
    memory_s: float = 120.0
    """Time constant of forgetting, in seconds of the stream."""
    pause_s: float = 30.0
    """After so long without a word what was said before is another matter."""

    @property
    def counts(self) -> bool:
        """Whether what was said before changes anything."""
        return self.gain > 0 or self.give > 0

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Context:
        """Read what `to_dict` gave.

        Raises:
            ValueError: a key is unknown, or a number negative or not finite.
        """
        try:
            made = cls(**{name: float(value) for name, value in data.items()})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a context: {error}") from None
        values = asdict(made).values()
        if not all(math.isfinite(value) and value >= 0 for value in values) or made.give > 1 or made.memory_s <= 0:
            raise ValueError(f"not a context: {dict(data)}")
        return made


class Memory:
    """The running state of one stream.

    Args:
        context: the coefficients.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.reset()

    def reset(self) -> None:
        """Forget, as after a new face or a pause of the stream."""
        self._young: deque[tuple[float, float, float]] = deque()
        self._sum = self._weight = 0.0
        self._last_s = -math.inf
        self._spoken_s = -math.inf

    def feed(self, t_s: float, raw: float, said: float) -> float:
        """Take the raw score of the window that ends at `t_s` and return it with the context.

        Args:
            t_s: seconds, rising.
            raw: in [-3, 3].
            said: trust in the words of the window in [0, 1]; a window without words is not remembered.
        """
        if self._spoken_s > -math.inf and t_s - self._spoken_s > self._context.pause_s:
            self.reset()
        hop_s = t_s - self._last_s if self._last_s > -math.inf else 0.0
        self._forget(hop_s)
        self._last_s = t_s
        while self._young and self._young[0][0] <= t_s - DELAY_S:
            _, score, seconds = self._young.popleft()
            self._sum += seconds * score
            self._weight += seconds
        if said > 0:
            self._spoken_s = t_s
            self._young.append((t_s, raw, said * min(1.0, hop_s)))
        return self._with_context(raw)

    def mean(self) -> float | None:
        """Return what is remembered, in [-3, 3]; None for nothing."""
        return self._sum / self._weight if self._weight > 0 else None

    def _with_context(self, raw: float) -> float:
        mean = self.mean()
        if mean is None:
            return raw
        share = self._weight / (self._weight + self._context.prior_s)
        moved = raw + share * (self._context.gain * mean - self._context.give * raw)
        return max(-LIMIT, min(LIMIT, moved))

    def _forget(self, passed_s: float) -> None:
        kept = math.exp(-max(0.0, passed_s) / self._context.memory_s)
        self._sum *= kept
        self._weight *= kept
