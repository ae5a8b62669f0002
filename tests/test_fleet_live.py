"""A host's live session: a stream comes, is told of, goes, and goes on by the next epoch on another host."""

import pytest

from realtime.config.schema import Config
from realtime.errors import UsageError
from realtime.fleet.host import StreamHost
from realtime.fleet.live import LiveSession
from scripts.harness.mosquitto import Subscriber
from scripts.harness.processes import wait_until

pytestmark = [pytest.mark.real, pytest.mark.models]


def test_a_live_stream_goes_from_one_host_to_another(mosquitto, clip):
    settings = {"mqtt": {"url": mosquitto.url}, "asr": {"enabled": False}, "camera": {"max_fps": 5, "idle_fps": 5}}
    spec = {"name": "desk", "source": str(clip)}
    heard = Subscriber(mosquitto.port, "agfn/desk/sentiment")
    sessions = [LiveSession(name, Config.model_validate(settings)) for name in ("h1", "h2")]
    first, second = (StreamHost(name, session) for name, session in zip(("h1", "h2"), sessions, strict=True))
    try:
        assert first.add([{"spec": spec, "epoch": 1, "state": None}]) == {"failed": {}}
        wait_until(lambda: len(heard.payloads("sentiment")) > 3, 30, "the stream speaks")
        told = first.report()["streams"]["desk"]
        assert told["epoch"] == 1
        assert told["messages"] > 0
        assert len(str(told["state"])) < 2000
        missing = {"spec": spec | {"name": "gone", "source": "/nowhere.mp4"}, "epoch": 1, "state": None}
        assert "nowhere.mp4" in first.add([missing])["failed"]["gone"]
        assert second.add([{"spec": spec, "epoch": 2, "state": told["state"]}]) == {"failed": {}}
        wait_until(lambda: b'"epoch":2' in heard.payloads("sentiment")[-1], 30, "the heir speaks")
        wait_until(lambda: first.report()["streams"]["desk"]["fenced"], 15, "the old host notices")
        state = first.remove({"desk": 1})["states"]["desk"]
        assert state["epoch"] == 1
        assert first.report()["streams"] == {}
        assert second.report()["streams"]["desk"]["epoch"] == 2
    finally:
        for host in (first, second):
            host.close()
        heard.close()


def test_a_host_without_a_broker_for_all_is_refused():
    with pytest.raises(UsageError, match="broker"):
        LiveSession("h1", Config.model_validate({"mqtt": {"url": "off"}}))
