"""Exponential backoff: how long to wait before what has failed is tried again."""

from __future__ import annotations

import random

MOST_DOUBLINGS = 8


def wait_s(failures: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many failures in a row: doubling from the first wait, capped at the longest."""
    return min(longest_s, first_s * 2.0 ** min(max(0, failures - 1), MOST_DOUBLINGS))


def jittered_s(failures: int, first_s: float, longest_s: float) -> float:
    """As wait_s, off by a quarter at most, so that those that failed together are not all back at once."""
    return wait_s(failures, first_s, longest_s) * random.uniform(0.75, 1.25)
