"""How sure a score is (models/uncertainty.py): honest within each state, on groups that were not fitted on."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.calibrate import Calibration
from models.uncertainty import STATES, Judged, Uncertainty, cross, fit

NOISE = {"none": 1.3, "listening": 1.2, "partial": 0.9, "final": 0.5}


def made(count=4000, seed=0):
    """Scores whose error depends on the state, on the spread, and on the trust in the first modality."""
    rng = np.random.default_rng(seed)
    state = rng.choice(STATES, count)
    spread, reliability = rng.uniform(0.3, 1.2, count), rng.uniform(0.2, 1.0, (count, 3))
    scale = np.array([NOISE[name] for name in state]) * (0.5 + spread + 0.5 * (1 - reliability[:, 0]))
    target = rng.uniform(-3, 3, count)
    return Judged(target + rng.laplace(0, 0.4 * scale), spread, reliability, target, rng.integers(0, 10, count), state)


HELD = made()


def test_every_state_is_covered_on_groups_that_were_not_fitted_on():
    table = cross(HELD)
    assert set(table) == set(STATES)
    for row in table.values():
        assert row["coverage"] == pytest.approx(0.9, abs=0.03)


def test_the_less_is_known_the_wider():
    fitted = fit(HELD)
    sure = fitted.judge(list(STATES), np.full(4, 0.6), np.ones((4, 3)))
    assert sure.wide[STATES.index("final")] < sure.wide[STATES.index("partial")] < sure.wide[STATES.index("none")]
    assert (sure.narrow < sure.wide).all()
    less = fitted.judge(["final"] * 2, np.full(2, 0.6), np.array([[1.0, 1, 1], [0.2, 1, 1]]))
    assert less.wide[1] > less.wide[0]
    assert less.odds[1] < less.odds[0]


def test_a_probability_is_right_as_often_as_it_says():
    fitted, test = fit(HELD), made(seed=1)
    odds = fitted.judge(list(test.state), test.spread, test.reliability).odds
    p = 1 / (1 + np.exp(-odds * test.score))
    for low in (0.1, 0.5, 0.7, 0.9):
        rows = (p >= low) & (p < low + 0.1)
        assert np.mean(test.target[rows] > 0) == pytest.approx(p[rows].mean(), abs=0.1)
    told = (p > 0.9) | (p < 0.1)
    assert np.mean((p > 0.5)[told] == (test.target > 0)[told]) > 0.93


def test_a_state_without_rows_goes_by_all_of_them():
    fitted = fit(HELD.take(HELD.state == "final"))
    assert fitted.parts["none"] == fitted.parts["final"]


def test_it_travels_and_a_broken_one_is_refused():
    fitted = fit(HELD)
    assert Uncertainty.from_dict(fitted.to_dict()) == fitted
    for broken in (
        {},
        {"final": {}},
        {**fitted.to_dict(), "odd": fitted.to_dict()["final"]},
        {**fitted.to_dict(), "final": {**fitted.to_dict()["final"], "wide": -1.0}},
        {**fitted.to_dict(), "final": {**fitted.to_dict()["final"], "constant": math.nan}},
    ):
        with pytest.raises(ValueError, match="not an uncertainty"):
            Uncertainty.from_dict(broken)


def test_a_calibration_without_states_does_for_all():
    calibration = Calibration("normalised", 2.0, 0.1, 1.0, (0.1, 0.1, 0.1), 3.0)
    sure = Uncertainty.of(calibration).judge(["none", "final"], np.ones(2), np.ones((2, 3)))
    assert sure.wide == pytest.approx([2.2, 2.2])
    assert replace(calibration, factor=4.0).half_width(1.0, np.ones(3)) == pytest.approx(4.4)
