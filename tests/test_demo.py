"""The demo clip: its script on made-up sound, and the built clip as the program will meet it."""

import av
import numpy as np
import pytest
from mediapipe import Image, ImageFormat
from mediapipe.tasks.python import BaseOptions, vision

from models import zoo
from realtime.demo import clip as demo
from realtime.demo import warp

RATE = 16_000


def talking(*loud_s):
    """10 s of quiet hiss, with a tone over each (from, to)."""
    t = np.arange(10 * RATE) / RATE
    voice = 1e-4 * np.random.default_rng(0).normal(size=t.size)
    for first, last in loud_s:
        voice[(t >= first) & (t < last)] += 0.3 * np.sin(2 * np.pi * 200 * t[(t >= first) & (t < last)])
    return voice.astype(np.float32)


def test_a_thin_plate_goes_through_its_nodes_and_keeps_what_is_affine():
    rng = np.random.default_rng(1)
    nodes, values = rng.uniform(0, 100, (20, 2)), rng.normal(size=(20, 2))
    assert warp.thin_plate(nodes, values, nodes) == pytest.approx(values, abs=1e-3)
    affine = nodes @ np.array([[0.9, 0.1], [-0.2, 1.1]]) + 3
    at = rng.uniform(0, 100, (50, 2))
    assert warp.thin_plate(nodes, affine, at) == pytest.approx(at @ np.array([[0.9, 0.1], [-0.2, 1.1]]) + 3, abs=1e-3)


def test_a_warp_looks_a_moved_point_up_where_it_was_and_leaves_the_border():
    field = warp.field(np.array([[40.0, 30.0]]), np.array([[5.0, -3.0]]), (60, 80), 2)
    assert field.shape == (60, 80, 2)
    assert field[30, 40] == pytest.approx((-5, 3), abs=0.05)
    assert np.abs(field[0]).max() < 0.5
    assert np.abs(field[:, 0]).max() < 0.5


def test_the_mouth_opens_when_the_voice_sounds_and_closes_when_it_rests():
    times_s = np.arange(0, 10, 0.05)
    jaw = np.array([pose.jaw for pose in demo.poses_for(talking((2, 4), (6, 9)), RATE, times_s)])
    sounding = ((times_s > 2.2) & (times_s < 3.8)) | ((times_s > 6.2) & (times_s < 8.8))
    resting = (times_s < 1.8) | ((times_s > 4.2) & (times_s < 5.8)) | (times_s > 9.2)
    assert jaw[sounding].min() > 0.5
    assert jaw[resting].max() <= 0


def test_poses_stay_in_their_ranges():
    for pose in demo.poses_for(talking((1, 9)), RATE, np.arange(0, 42, 0.05) % 9.9):
        assert -0.3 <= pose.jaw <= 1
        assert all(0 <= action <= 1 for action in (pose.sober, pose.frown, pose.surprise, pose.blink))
        assert max(abs(angle) for angle in (pose.yaw, pose.pitch, pose.roll)) < 0.2


def test_the_noise_has_the_scripted_level_and_nothing_else_is_touched():
    plan = demo.DemoPlan(noise_s=(3.0, 7.0), snr_db=-5.0)
    voice = 0.3 * talking((2, 8))
    heard = demo.with_noise(voice, RATE, plan)
    first, last = 3 * RATE, 7 * RATE
    noise = heard[first:last] - voice[first:last]
    assert 10 * np.log10(np.mean(voice[first:last] ** 2) / np.mean(noise**2)) == pytest.approx(-5, abs=0.3)
    assert np.array_equal(heard[:first], voice[:first])
    assert np.array_equal(heard[last:], voice[last:])
    assert np.abs(heard).max() <= 1


@pytest.fixture(scope="module")
def clip():
    """The clip, its frames as (time, RGB), and its sound at 48 kHz."""
    path, frames, sound = demo.clip(), [], []
    with av.open(str(path)) as media:
        for frame in media.decode(media.streams.video[0], media.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
                frames.append((frame.time, frame.to_ndarray(format="rgb24")))
            else:
                sound.append(frame.to_ndarray()[0])
    return path, frames, np.concatenate(sound)


@pytest.mark.models
def test_the_clip_is_built_once(clip):
    path, _, _ = clip
    built = path.stat().st_mtime_ns
    assert demo.clip() == path
    assert path.stat().st_mtime_ns == built
    assert [other.name for other in path.parent.iterdir()] == [path.name]


@pytest.mark.models
def test_the_camera_is_lost_as_scripted_while_the_sound_goes_on(clip):
    _, frames, sound = clip
    plan = demo.DemoPlan()
    times_s = np.array([time for time, _ in frames])
    gaps = np.flatnonzero(np.diff(times_s) > 1.5 / demo.FRAME_RATE)
    assert [(times_s[i], times_s[i + 1]) for i in gaps] == [
        (pytest.approx(plan.camera_lost_s[0] - 1 / demo.FRAME_RATE), pytest.approx(plan.camera_lost_s[1]))
    ]
    assert len(sound) / 48_000 == pytest.approx(plan.duration_s, abs=0.1)
    lost = sound[int(plan.camera_lost_s[0] * 48_000) : int(plan.camera_lost_s[1] * 48_000)]
    assert np.sqrt(np.mean(lost**2)) > 0.01


@pytest.mark.models
def test_a_reader_meets_sound_and_picture_in_the_order_of_their_times(clip):
    latest_s = 0.0
    with av.open(str(clip[0])) as media:
        for packet in media.demux():
            if packet.pts is not None:
                time_s = float(packet.pts * packet.time_base)
                assert time_s > latest_s - 0.5
                latest_s = max(latest_s, time_s)


@pytest.mark.models
def test_a_face_is_found_whose_mouth_follows_the_voice_and_whose_smile_follows_the_words(clip):
    _, frames, _ = clip
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(zoo.path("face"))),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
    )
    times_s, seen = [], []
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for time, pixels in frames[::2]:
            image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
            found = landmarker.detect_for_video(image, int(time * 1000))
            if found.face_blendshapes:
                times_s.append(time)
                seen.append({shape.category_name: shape.score for shape in found.face_blendshapes[0]})
    assert len(seen) > 0.95 * len(frames[::2])

    voice, rate = demo._read_voice(zoo.path("demo-voice"), demo.DemoPlan().duration_s)
    scripted = [pose.jaw for pose in demo.poses_for(voice, rate, np.array(times_s))]
    assert np.corrcoef(scripted, [shape["jawOpen"] for shape in seen])[0, 1] > 0.6

    smile = np.array([shape["mouthSmileLeft"] for shape in seen])
    best, worst = (np.abs(np.array(times_s) - at) < 0.4 for at in (2.6, 4.3))
    assert smile[best].mean() > smile[worst].mean() + 0.3
