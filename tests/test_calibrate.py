import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import calibrate
from models.calibrate import Calibration, HeldOutPredictions


def held(count=3000, seed=0, groups=20):
    """Errors that grow with the spread and with lost text."""
    generator = np.random.default_rng(seed)
    reliability = generator.random((count, 3)) * (generator.random((count, 3)) > 0.2)
    spread = generator.uniform(0.2, 0.8, count)
    target = generator.uniform(-1.5, 1.5, count)
    scale = spread + 0.8 * (1 - reliability[:, 0])
    score = np.clip(target + 0.6 * generator.laplace(0, scale), -3, 3)
    return HeldOutPredictions(score, spread, reliability, target, np.arange(count) % groups)


def test_the_interval_covers_nine_in_ten_of_new_data():
    calibration, _ = calibrate.fit(held(seed=0))
    assert 0.88 < calibrate.coverage(calibration, held(seed=1)) < 0.92


def test_what_is_chosen_has_the_smallest_interval_score_among_those_that_can_widen():
    calibration, table = calibrate.fit(held())
    assert set(table) == set(calibrate.METHODS)
    assert calibration.method == min(calibrate.WIDENING, key=lambda method: table[method]["interval_score"])
    assert calibration.method == "reliability"


def test_lost_text_widens_the_interval_by_what_it_costs():
    calibration, _ = calibrate.fit(held())
    there, gone = calibration.half_width(0.5, [[1, 1, 1], [0, 1, 1]])
    assert gone > 1.5 * there
    assert calibration.half_width(0.5, [1, 0, 1]) < 1.2 * there


unit = st.floats(0, 1)


@given(
    score=st.floats(-3, 3), spread=st.floats(0.05, 5), r=st.tuples(unit, unit, unit), less=st.tuples(unit, unit, unit)
)
def test_the_interval_never_narrows_when_a_reliability_falls(score, spread, r, less):
    calibration = Calibration("reliability", 1.7, 0.1, 0.9, (0.5, 0.0, 0.2), 2.4)
    lower = tuple(a * b for a, b in zip(r, less, strict=True))
    low, high = calibration.interval(score, spread, r)
    wide_low, wide_high = calibration.interval(score, spread, lower)
    assert -3 <= wide_low <= low <= score <= high <= wide_high <= 3
    assert 0 <= calibration.confidence(score, spread, lower) <= calibration.confidence(score, spread, r) <= 1


def test_confidence_is_nothing_where_the_interval_is_as_wide_as_without_knowledge():
    calibration = Calibration("normalised", 1.0, 0.0, 1.0, (0.0,), 2.0)
    assert calibration.confidence(0.0, 2.0, [1.0]) == 0
    assert calibration.confidence(0.0, 0.5, [1.0]) == pytest.approx(0.75)


def test_the_conformal_quantile_counts_the_new_point():
    assert calibrate.quantile(np.arange(1.0, 10.0), 0.9) == 9
    assert calibrate.quantile(np.arange(1.0, 100.0), 0.9) == 90


def test_a_calibration_survives_json_and_a_broken_one_is_refused():
    calibration, _ = calibrate.fit(held(300))
    data = calibration.to_dict()
    assert Calibration.from_dict(data) == calibration
    for key, value in (("factor", -1.0), ("slope", float("nan")), ("blank_half", 0.0), ("doubt", 3), ("odd", 1)):
        with pytest.raises(ValueError, match="not a calibration"):
            Calibration.from_dict({**data, key: value})


def test_one_group_cannot_be_validated():
    with pytest.raises(ValueError, match="two groups"):
        calibrate.fit(held(50, groups=1))
