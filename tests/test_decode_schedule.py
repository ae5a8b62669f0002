import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.extract.asr.decode_schedule import DecodeSchedule


def test_a_fast_machine_keeps_the_configured_step():
    pace = DecodeSchedule(0.4)
    for _ in range(20):
        pace.decoded(0.1)
    assert pace.step_s == 0.4
    assert pace.overload is None


def test_a_slow_machine_decodes_rarer_and_says_why():
    pace = DecodeSchedule(0.4)
    for _ in range(20):
        pace.decoded(1.0)
    assert pace.step_s == pytest.approx(1.2)
    assert "1.00 s" in pace.overload


@pytest.mark.parametrize("before", [0, 10])
def test_one_slow_decode_is_no_slow_machine(before):
    pace = DecodeSchedule(0.4)
    for _ in range(before):
        pace.decoded(0.1)
    pace.decoded(4.5)
    for _ in range(3):
        assert (pace.step_s, pace.overload) == (0.4, None)
        pace.decoded(0.1)
    pace.decoded(4.5)
    assert pace.overload


def test_an_overload_at_the_limit_does_not_flicker():
    pace = DecodeSchedule(0.4)
    for decode_s, behind in ((0.6, False), (0.7, True), (0.6, True), (0.45, False)):
        for _ in range(40):
            pace.decoded(decode_s)
        assert (pace.overload is not None) == behind


def test_the_step_recovers_when_the_machine_is_free_again():
    pace = DecodeSchedule(0.4)
    for _ in range(100):
        pace.decoded(2.0)
    for _ in range(100):
        pace.decoded(0.1)
    assert pace.step_s == 0.4


def test_the_real_time_factor_is_that_of_the_last_minute():
    pace = DecodeSchedule(0.4)
    for _ in range(120):
        pace.heard(1.0)
        pace.decoded(0.5)
    assert pace.real_time_factor == pytest.approx(0.5, rel=0.05)
    for _ in range(62):
        pace.heard(1.0)
    assert pace.real_time_factor == 0


def test_lags_are_kept_apart_and_missing_ones_are_none():
    pace = DecodeSchedule(0.4)
    pace.lag(0.5, committed=False)
    measures = pace.measures()
    assert measures.tentative_lag_p50_s == 0.5
    assert measures.committed_lag_p95_s is None


@given(st.lists(st.floats(0, 10), max_size=60))
def test_the_step_is_never_shorter_than_configured_nor_than_the_decodes_need(decodes_s):
    pace = DecodeSchedule(0.4)
    for decode_s in decodes_s:
        pace.decoded(decode_s)
    assert pace.step_s >= max(0.4, 1.2 * pace.decode_p95_s) - 1e-9


class Meanwhile(float):
    """The time of a decode: while it is added up, the recogniser's thread notes another one."""

    schedule: DecodeSchedule

    def __radd__(self, other):
        self.schedule.decoded(0.1)
        return other + float(self)


def test_the_measures_can_be_asked_for_while_the_recogniser_goes_on():
    Meanwhile.schedule = schedule = DecodeSchedule(0.5)
    schedule.heard(10.0)
    for _ in range(3):
        schedule.decoded(Meanwhile(0.2))
    assert schedule.measures().real_time_factor == pytest.approx(0.06)
