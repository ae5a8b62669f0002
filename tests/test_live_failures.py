"""The running program while its real devices fail, one after the other, as an independent subscriber hears it.

The ages in the messages say how soon a loss was noticed, and the windows in them that none was left out. What only a
watch can tell, such as the time until a device is back, is allowed what the machine withheld from the watch as well.
"""

from time import monotonic

import numpy as np
import pytest

from scripts.harness import clips
from scripts.harness.camera import HttpCamera, V4l2Camera
from scripts.harness.desk import BACK_S, FROZEN_S, NETWORK_BACK_S, SOUND_OF, desk_with
from scripts.harness.live_program import LATENESS_S
from scripts.harness.processes import wait_until

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(120)]

SAVED_S = 2.5


@pytest.fixture(scope="module")
def running(v4l2_library, webcam_jpegs, speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    camera = V4l2Camera(v4l2_library, folder, webcam_jpegs)
    with desk_with(camera, "0", folder, speech) as desk:
        yield desk
        assert "Traceback" not in desk.live.program.text()


@pytest.fixture
def desk(running, webcam_jpegs):
    """The desk, all well, and put right again afterwards."""
    running.healthy(monotonic(), timeout_s=10)
    yield running
    running.camera.show(webcam_jpegs)
    running.camera.set_fps(25)
    running.camera.run()


@pytest.mark.parametrize(("failure", "says"), [("unplug", "went away"), ("stall", "no frame")])
def test_a_camera_that_goes_weighs_nothing_within_a_second_and_is_back_within_three(desk, failure, says):
    with desk.steadily() as begin_s:
        getattr(desk.camera, failure)()
        noticed = desk.loses(["face"], begin_s)
        desk.live.first(lambda heard: says in (heard.part("face")["cause"] or ""), begin_s, says)
        assert noticed.part("voice")["weight"] > 0
        assert noticed.body["state"] == "degraded"
        gone = desk.after(noticed.at_s)
        assert {heard.part("face")["weight"] for heard in gone} == {0}
        mended_s = monotonic()
        desk.camera.run()
        desk.regains("face", mended_s, BACK_S)
    lost, recovered = desk.told("camera", ["lost", "recovered"], begin_s)
    assert says in lost["cause"]
    assert recovered["since_s"] == lost["time_s"]


def test_a_frozen_picture_counts_for_nothing_within_two_seconds(desk):
    with desk.steadily() as begin_s:
        desk.camera.freeze()
        noticed = desk.loses(["face"], begin_s, within_s=None)
        frozen_s = float(noticed.part("face")["cause"].removesuffix(" s").split()[-1])
        assert frozen_s + LATENESS_S + noticed.body["latency_ms"]["fuse"] / 1000 <= FROZEN_S
        mended_s = monotonic()
        desk.camera.run()
        desk.regains("face", mended_s, BACK_S)
    begun, _ = desk.told("camera", ["frozen", "recovered"], begin_s)
    assert "frozen picture" in begun["cause"]


def test_a_covered_lens_is_told_from_an_empty_chair(desk, webcam_jpegs):
    with desk.steadily() as begin_s:
        desk.camera.show(clips.black_jpegs(count=10))
        dark = desk.live.first(lambda heard: "dark" in (heard.part("face")["cause"] or ""), begin_s, "a dark picture")
        assert dark.part("face")["weight"] == 0
        mended_s = monotonic()
        desk.camera.show(webcam_jpegs)
        desk.regains("face", mended_s, BACK_S)


def test_a_camera_that_slows_down_is_told_of_with_its_rate(desk):
    with desk.steadily() as begin_s:
        desk.camera.set_fps(3)
        slow = desk.live.first(lambda heard: heard.body["kind"] == "slow", begin_s, "slow", "event")
        assert slow.body["component"] == "camera"
        assert 2 < float(slow.body["cause"].split()[1]) < 5
        desk.camera.set_fps(25)
        desk.live.first(lambda heard: heard.body["kind"] == "recovered", begin_s, "full speed", "event")


def test_another_size_on_return_is_as_good(desk, webcam_jpegs, clip):
    with desk.steadily() as begin_s:
        desk.camera.unplug()
        desk.loses(["face"], begin_s)
        desk.camera.show(clips.jpegs(clip, size=(320, 240)))
        mended_s = monotonic()
        desk.camera.run()
        desk.regains("face", mended_s, BACK_S)
    desk.camera.show(webcam_jpegs)


def test_a_muted_microphone_counts_for_nothing_within_two_seconds(desk):
    with desk.steadily() as begin_s:
        desk.sound.mute()
        muted_s = monotonic()
        noticed = desk.loses(SOUND_OF, begin_s, within_s=None)
        assert noticed.at_s - muted_s <= FROZEN_S + desk.pacemaker.withheld_s(muted_s, noticed.at_s)
        assert "muted" in noticed.part("voice")["cause"]
        assert noticed.part("face")["weight"] == 1
        desk.sound.mute(False)
        desk.regains("voice", monotonic(), BACK_S)
    desk.told("microphone", ["frozen", "recovered"], begin_s)


def test_white_noise_as_loud_as_the_voice_halves_what_is_believed_of_it(desk):
    frames = desk.speech[: len(desk.speech) // 512 * 512].reshape(-1, 512)
    power = np.mean(frames**2, axis=1)
    loud = float(np.sqrt(np.mean(power[power > np.median(power)])))  # of what is speech, not of its pauses
    noise = np.random.default_rng(0).standard_normal(16_000 * 15).astype(np.float32) * loud
    clean = desk.live.first(lambda heard: heard.part("voice")["reliability"] > 0.9, monotonic(), "a clean voice")
    with desk.steadily() as begin_s:
        desk.sound.play(noise)
        desk.live.first(
            lambda heard: heard.part("voice")["reliability"] < clean.part("voice")["reliability"] / 2,
            begin_s,
            "voice to be doubted",
            timeout_s=4.0 + 1.0,  # a window later, a hop and the lateness
        )
        desk.speak()
        desk.regains("voice", monotonic(), BACK_S)


def test_a_frozen_sound_server_is_lost_within_a_second_and_back_within_three(desk):
    with desk.steadily() as begin_s:
        desk.sound.freeze()
        noticed = desk.loses(SOUND_OF, begin_s)
        assert noticed.part("face")["weight"] == 1
        desk.live.first(lambda heard: heard.body["kind"] == "lost", begin_s, "lost", "event")
        desk.sound.thaw()
        desk.regains("voice", monotonic(), BACK_S)
    desk.told("microphone", ["lost", "recovered"], begin_s)


def test_a_microphone_that_is_pulled_out_is_silence_that_counts_for_nothing(desk):
    with desk.steadily() as begin_s:
        desk.sound.hush()
        desk.sound.remove_sinks()
        desk.loses(SOUND_OF, begin_s, within_s=None)
        desk.sound.add_sink()
        desk.speak()
        desk.regains("voice", monotonic(), BACK_S)


def test_a_killed_sound_server_is_lost_within_a_second_and_back_within_three(desk):
    with desk.steadily() as begin_s:
        desk.sound.kill()
        noticed = desk.loses(SOUND_OF, begin_s)
        assert noticed.part("face")["weight"] == 1
        desk.sound.start()
        desk.speak()
        desk.regains("voice", monotonic(), BACK_S)
    lost, _ = desk.told("microphone", ["lost", "recovered"], begin_s)
    assert "went away" in lost["cause"]


@pytest.fixture(scope="module")
def networked(webcam_jpegs, speech, tmp_path_factory):
    camera = HttpCamera(webcam_jpegs)
    try:
        with desk_with(camera, camera.url, tmp_path_factory.mktemp("network"), speech) as desk:
            yield desk
            assert "Traceback" not in desk.live.program.text()
    finally:
        camera.kill()


@pytest.mark.parametrize(("failure", "remedy"), [("kill", "start"), ("stall", "run")])
def test_a_network_camera_that_goes_is_lost_within_a_second_and_back_within_five(networked, failure, remedy):
    networked.healthy(monotonic())
    with networked.steadily() as begin_s:
        getattr(networked.camera, failure)()
        networked.loses(["face"], begin_s)
        networked.live.first(lambda heard: heard.body["kind"] == "lost", begin_s, "lost", "event")
        getattr(networked.camera, remedy)()
        networked.regains("face", monotonic(), NETWORK_BACK_S)


def test_after_an_outage_of_the_broker_events_come_once_and_sentiment_is_of_now(networked):
    networked.healthy(monotonic())
    # Else the broker has not saved which events were taken, and gives them out again itself.
    wait_until(lambda: not networked.after(monotonic() - SAVED_S, "event"), 10, "quiet")
    before = networked.live.heard()[-1]
    networked.broker.kill()
    networked.camera.kill()
    wait_until(lambda: networked.live.written("event")[-1]["kind"] == "lost", 5, "the loss, in the dark")
    stale_seq = before.body["seq"] + 14
    wait_until(lambda: networked.live.written("sentiment")[-1]["seq"] > stale_seq, 10, "sentiment to become stale")
    networked.broker.start()
    started_s = monotonic()
    networked.camera.start()
    first = networked.live.first(lambda heard: heard.body["seq"] > before.body["seq"], started_s, "the first message")
    assert first.at_s - started_s <= 5 + networked.pacemaker.withheld_s(started_s, first.at_s)
    networked.regains("face", monotonic(), NETWORK_BACK_S)
    seqs = [heard.body["seq"] for heard in networked.live.heard()]
    assert seqs == sorted(set(seqs))
    missed = [
        body for body in networked.live.written("sentiment") if before.body["seq"] < body["seq"] < first.body["seq"]
    ]
    assert missed
    # The first health to come may have waited too, and know nothing yet of what was thrown away.
    stale = lambda: [heard.body["publisher"]["stale"] for heard in networked.after(started_s, "health")]  # noqa: E731
    wait_until(lambda: any(stale()), 10, "the count of what was too old")
    told = [body["id"] for body in networked.live.written("event")]
    wait_until(lambda: len(networked.live.heard("event")) >= len(told), 5, "all events")
    assert [heard.body["id"] for heard in networked.live.heard("event")][: len(told)] == told
