"""Figures of the published messages (scripts/evaluation/published.py) on small made ones."""

import numpy as np
import pytest

from scripts.evaluation.published import (
    Told,
    ccc,
    ends,
    false_alarms,
    figures,
    flips,
    intervals,
    over_time,
    right_sign_s,
    rounded,
    told_sign,
    worst_speaker,
)


def told(scores, label=1.0, committed_s=None, speaker="a", half=1.0, p=None, word_end_s=0.5):
    score = np.array(scores, float)
    return Told(
        label=label,
        speaker=speaker,
        end_s=0.25 * np.arange(1, len(score) + 1),
        score=score,
        raw=score * 1.5,
        low=score - half,
        high=score + half,
        p_positive=np.full(len(score), np.nan if p is None else p),
        text=score + 0.1,
        committed_s=committed_s,
        first_word_s=0.5,
        word_end_s=word_end_s,
    )


def test_the_sentence_end_is_a_second_after_the_last_committed_word():
    clip = told([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], committed_s=0.75)
    assert ends([clip], "score") == pytest.approx([0.6])


def test_the_sentence_end_is_the_last_window_where_the_clip_is_over_before():
    assert ends([told([0.0, 0.1, 0.2], committed_s=0.75)], "score") == pytest.approx([0.2])


def test_without_words_the_last_window_with_a_score_counts_and_without_scores_nothing_is_said():
    assert ends([told([0.0, 0.4, np.nan])], "score") == pytest.approx([0.4])
    silent = told([np.nan, np.nan])
    assert ends([silent], "score") == [0.0]
    assert (ends([silent], "low"), ends([silent], "high")) == ([-3.0], [3.0])


def test_concordance_punishes_a_wrong_scale():
    truth = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert ccc(truth, truth) == pytest.approx(1.0)
    assert ccc(truth, truth / 2) == pytest.approx(0.8)
    assert ccc(truth, -truth) == pytest.approx(-1.0)


def test_an_interval_pays_for_its_width_and_for_what_it_misses():
    found = intervals(np.array([0.0, 2.0]), np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    assert found == pytest.approx({"coverage": 0.5, "width": 2.0, "interval_score": 12.0})


def test_the_worst_speaker_has_enough_clips():
    good = [told([1.0], label=1.0, speaker="good") for _ in range(8)]
    bad = [told([1.0], label=1.0 if number < 6 else -2.0, speaker="bad") for number in range(8)]
    rare = [told([1.0], label=-3.0, speaker="rare")]
    assert worst_speaker([*good, *bad, *rare]) == pytest.approx(0.75)


def test_a_sign_that_is_told_is_right_or_wrong():
    label = np.array([1.0, -1.0, 1.0, 2.0, 0.0])
    found = told_sign(label, np.array([0.95, 0.05, 0.02, 0.6, 0.99]))
    assert found["psign90_share"] == pytest.approx(0.75)
    assert found["psign90_accuracy"] == pytest.approx(2 / 3)
    assert sum(row[2] for row in found["reliability_diagram"]) == 4


def test_a_probability_that_nobody_published_is_not_made_up():
    assert told_sign(np.array([1.0]), np.array([np.nan]))["psign90_share"] is None


def test_a_weak_score_of_the_wrong_sign_is_no_alarm():
    assert false_alarms([told([-0.6, -0.4, 0.6, np.nan]), told([3.0], label=0.0)]) == pytest.approx(1 / 3)


def test_the_right_sign_counts_from_when_it_stays():
    assert right_sign_s(told([1.0, -1.0, 0.0, 1.0, 1.0])) == pytest.approx(0.5)
    assert right_sign_s(told([1.0, 1.0, 1.0])) == 0.0
    assert right_sign_s(told([1.0, 1.0, -1.0])) is None


def test_a_score_of_nothing_is_no_flip():
    assert flips(np.array([0.0, 1.0, 0.0, np.nan, 0.5, -0.1, 0.2])) == 2
    assert flips(np.array([0.0, 1.0, 0.5, -0.1, 0.2]), 0.25) == 0


def test_a_score_that_follows_late_agrees_with_the_labels_at_its_lag():
    first, second = told([0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0], 2.0), told([2.0] * 4 + [-2.0] * 4, -2.0)
    found = over_time([[(0.0, first), (2.0, second)]])
    assert found["1"] == pytest.approx(1.0)
    assert found["0"] < 0.5


def test_all_figures_are_there_and_the_oracles_frame_the_mean():
    clips = [told([0.0, 0.0, y, y], label=y, committed_s=0.75, p=0.5 + y / 4) for y in (-2.0, 2.0, 1.0, -1.0)]
    found = rounded(figures(clips))
    keys = "end_mae end_r end_ccc end_has0 end_non0 end_acc7 end_coverage end_width end_coverage_worst_speaker "
    keys += "psign90_share psign90_accuracy false_alarms right_sign_p50_s right_sign_p90_s right_sign_never "
    keys += "sign_flips_per_minute end_mae_text interval_score coverage width"
    assert set(keys.split()) <= set(found)
    assert (found["end_mae"], found["end_r"]) == (0.0, 1.0)
    assert found["end_mae_text"] == pytest.approx(0.1)
    assert found["end_raw"]["mae"] == pytest.approx(0.75)
    means = found["mean_over_windows"]
    assert means["oracle_from_first_word_mae"] < means["oracle_from_last_word_mae"] == means["score"]["mae"]
