import numpy as np
import pytest
from sklearn.metrics import f1_score

from models import metrics

TARGET = np.array([-2.4, -0.4, 0.0, 0.6, 3.0])
PREDICTED = np.array([-1.0, 0.2, 0.1, 1.6, 2.6])


def test_metrics_match_a_count_by_hand():
    found = metrics.all_metrics(TARGET, PREDICTED)
    assert found["has0"] == pytest.approx(4 / 5)
    assert found["non0"] == pytest.approx(3 / 4)
    assert found["acc7"] == pytest.approx(3 / 5)  # -2 is no -1 and 1 is no 2
    assert found["mae"] == pytest.approx((1.4 + 0.6 + 0.1 + 1.0 + 0.4) / 5)
    assert found["r"] == pytest.approx(np.corrcoef(TARGET, PREDICTED)[0, 1])


def test_f1_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    target, predicted = generator.normal(size=(2, 200))
    assert metrics.f1(target, predicted) == pytest.approx(f1_score(target < 0, predicted < 0, average="weighted"))


def test_acc5_clips_at_two():
    assert metrics.accuracy(np.array([3.0, -3.0]), np.array([1.6, -2.0]), 2) == 1


def test_a_constant_has_no_correlation():
    assert metrics.pearson(TARGET, np.ones(5)) == 0


def test_the_bootstrap_holds_the_value_and_shrinks_with_more_rows():
    generator = np.random.default_rng(0)
    few, many = (generator.normal(size=(2, count)) for count in (50, 2000))
    widths = []
    for target, predicted in (few, many):
        low, high = metrics.bootstrap(target, predicted, metrics.mae, 200)
        assert low < metrics.mae(target, predicted) < high
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]


def test_a_paired_difference_between_groups_is_found_and_noise_is_not():
    generator = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 30)
    noise = generator.normal(0, 1, 600)
    mean, (low, high), p = metrics.paired_bootstrap(noise - 0.5, group, 2000)
    assert low < mean < high < 0
    assert p < 0.01
    assert metrics.paired_bootstrap(noise - noise.mean(), group, 2000)[2] > 0.05


def test_one_deviating_speaker_is_no_evidence_however_many_rows_they_have():
    group = np.repeat(["a", "b", "c", "d"], [500, 10, 10, 10])
    difference = np.where(group == "a", -1.0, 0.1)
    assert metrics.paired_bootstrap(difference, group, 2000)[2] > 0.05


def test_holm_steps_down_and_never_falls():
    assert metrics.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
