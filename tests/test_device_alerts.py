"""Windows of frozen and muted devices, and the events they become."""

import numpy as np
import pytest

from realtime.session.device_alerts import DeviceAlerts
from realtime.types import MODALITIES, Segment, WindowView

HOP_NS = 250_000_000
FROZEN = {"state": "lost", "cause": "camera 0: frozen picture for 1.0 s", "trouble": "frozen"}
OK = {"state": "ok", "cause": None}
LOST = {"state": "lost", "cause": "camera 0: nothing for 0.6 s"}


def views(name, *troubles):
    for seq, trouble in enumerate(troubles, 1):
        segments = {
            each: Segment(
                np.zeros((0, 1), np.float32),
                np.zeros(0, np.float32),
                reliability=0.0,
                age_ms=0,
                **(trouble if each == name else OK),
            )
            for each in MODALITIES
        }
        yield WindowView("desk", seq, 0, seq * HOP_NS, segments)


def told(name, *troubles):
    notices = DeviceAlerts({"face": "camera", "voice": "microphone"})
    return [event for view in views(name, *troubles) for event in notices.feed(view)]


def test_a_healthy_stream_says_nothing():
    assert told("face", OK, LOST, OK) == []


@pytest.mark.parametrize(("name", "component"), [("face", "camera"), ("voice", "microphone")])
def test_a_trouble_is_told_once_with_its_cause_and_once_when_it_is_over(name, component):
    begun, over = told(name, OK, FROZEN, FROZEN, FROZEN, OK, OK)
    assert (begun.component, begun.kind, begun.cause, begun.t_ns) == (component, "frozen", FROZEN["cause"], 2 * HOP_NS)
    assert (over.component, over.kind, over.since_ns, over.t_ns) == (component, "recovered", 2 * HOP_NS, 5 * HOP_NS)


def test_a_frozen_device_that_goes_away_has_not_recovered():
    assert [event.t_ns // HOP_NS for event in told("face", FROZEN, LOST, LOST, OK)] == [1, 4]
