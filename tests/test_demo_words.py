"""The demo convinces: with its own voice the published score rises at praise and falls at blame."""

import threading

import pytest

from models import zoo
from realtime.clock import VirtualClock
from realtime.config.load import load
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.models import SharedModels
from realtime.session.replay import OfflineRun

SAID = {  # when its last word ends, in seconds of the voice
    "best of times": 2.84,
    "worst of times": 4.52,
    "season of light": 14.85,
    "season of darkness": 16.48,
    "spring of hope": 18.77,
    "winter of despair": 20.35,
}
HEARD_S = 1.5
"""A word is committed so long after it was said, at the latest."""


@pytest.fixture(scope="module")
def score_at():
    config, _ = load(sets=[f"streams=[{{name: demo, source: {zoo.path('demo-voice')}}}]"])
    clock, told = VirtualClock(), []
    parts = SharedModels(config, clock)
    OfflineRun(config, parts, clock, Outlet.into(told.append)).run(threading.Event(), 23.0)
    scores = {m.window.end_s: m.score for m in told if isinstance(m, Sentiment) and m.score is not None}

    def extreme(phrase, choose):
        from_s = SAID[phrase]
        return choose(score for at_s, score in scores.items() if from_s <= at_s <= from_s + HEARD_S)

    return extreme


@pytest.mark.models
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("praise", "blame"),
    [
        ("best of times", "worst of times"),
        ("season of light", "season of darkness"),
        ("spring of hope", "winter of despair"),
    ],
)
def test_the_line_rises_at_praise_and_falls_at_blame(score_at, praise, blame):
    assert score_at(praise, max) > 0.1
    assert score_at(blame, min) < 0  # -.08 for the season of darkness: it is read as a season first
