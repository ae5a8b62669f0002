"""What training is made of: damage that can be repeated, tapes that give the live windows back, samples that mix."""

import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.agfn_config import AgfnConfig
from models.checkpoint import assemble
from models.context import Context
from models.live import build
from realtime.clock import VirtualClock
from realtime.config.schema import Config
from realtime.extract.text import TextExtractor
from realtime.fuse.worker import NOTHING
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.models import SharedModels
from realtime.session.replay import OfflineRun
from realtime.types import (
    NS_PER_S,
    Chunk,
    FaceFeatures,
    Frame,
    Reading,
    Segment,
    SpeechFrame,
    Transcript,
    VoiceFeatures,
    WindowView,
    Word,
)
from scripts import features
from scripts.evaluation import damage as damage_report
from scripts.evaluation.live import Clip, Playlist, damages_of
from scripts.evaluation.temporal import anytime
from scripts.training import gate, held
from scripts.training.context import Turn, fit_context, play
from scripts.training.corpora import Example, fer2013
from scripts.training.damage import PICTURE_ONLY, SOUND_ONLY, Damage, damaged, mixed
from scripts.training.feature_track import READINGS, FeatureTrack, load
from scripts.training.fusion import Mixer, Recipe, Sample, predict
from scripts.training.live import Heard, Known, tape_of
from scripts.training.live import streams as said_by
from scripts.training.publish import told
from scripts.training.trainer import balanced, speaker_folds
from scripts.training.windows import DIMS, absent, replay

RNG = np.random.default_rng(5)
SOUND = [Chunk(i * 20_000_000, RNG.normal(0, 0.1, 320).astype(np.float32)) for i in range(200)]
PICTURES = [Frame(i * 66_666_667, RNG.integers(0, 255, (48, 64, 3), np.uint8)) for i in range(60)]


def split(items):
    items = list(items)
    return [item for item in items if isinstance(item, Chunk)], [item for item in items if isinstance(item, Frame)]


@pytest.mark.parametrize("kind", sorted(SOUND_ONLY | PICTURE_ONLY))
def test_damage_is_the_same_every_time_and_touches_only_its_own_stream(kind):
    damage = Damage.parse(f"{kind}:0.5")
    one, two = (split(damaged([*SOUND, *PICTURES], damage, "clip")) for _ in range(2))
    for again, first in zip(two, one, strict=True):
        assert [item.t_ns for item in first] == [item.t_ns for item in again]
    sound, pictures = one
    if kind in SOUND_ONLY:
        assert all(frame is kept for frame, kept in zip(pictures, PICTURES, strict=True))
        assert len(sound) < 200 or any(
            not np.array_equal(a.samples, b.samples) or a.t_ns != b.t_ns for a, b in zip(sound, SOUND, strict=True)
        )
    else:
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(sound, SOUND, strict=True))
        assert len(pictures) < 60 or any(
            not np.array_equal(a.image, b.image) for a, b in zip(pictures, PICTURES, strict=True)
        )


def test_noise_has_the_ratio_that_was_asked_for():
    sound = np.sin(np.arange(16000) / 10).astype(np.float32) * 0.2
    out = mixed(sound, RNG.standard_normal(16000).astype(np.float32), 6.0)
    noise = out - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(noise**2)) == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("text", ["fog:1", "noise:loud", ""])
def test_a_damage_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"damage|float"):
        Damage.parse(text)


@pytest.mark.models
def test_an_evaluation_can_do_two_damages_at_once(clip):
    one = Clip(clip, "video", 0, 0.0, "")
    clean, both, gone = (
        split(Playlist([one], damages_of(text), Config()).items(0))
        for text in ("clean", "noise:0+black:1", "gone_face+mute")
    )
    assert all(frame.image.max() == 0 for frame in both[1])
    assert len(both[1]) == len(clean[1]) > 0
    changed = [not np.array_equal(a.samples, b.samples) for a, b in zip(both[0], clean[0], strict=True)]
    assert np.mean(changed) > 0.9
    assert gone[1] == []
    assert all(np.abs(chunk.samples).max() == 0 for chunk in gone[0])


def test_a_tape_is_read_as_it_was_written(tmp_path):
    clock = VirtualClock(7)
    tape = FeatureTrack(clock)
    tape.saw("picture", 5)
    tape.add_face(FaceFeatures(5, np.ones(DIMS["face"], np.float32), True, 2, 0.5, 30.0, 0.25, 0.125))
    tape.add_voice(VoiceFeatures(6, np.ones(DIMS["voice"], np.float32)))
    tape.add_speech(SpeechFrame(6, np.zeros(512, np.float32), 0.5, -20.0, None, 0.25))
    clock.advance_to(9)
    words = (Word(1, 2, "fine", 0.5, True), Word(2, 3, "day", 0.25, False))
    tape.add_text(Transcript(8, words[:1], words[1:], 0.5, "doubt", 3))
    tape.save(tmp_path / "tape.npz")
    items, seen = load(tmp_path / "tape.npz")
    assert seen == {"picture": [5]}
    assert [at for at, _ in items] == [7, 7, 7, 9]
    assert items[-1][1] == replace(tape.items[-1][1], ended=True), "the last one ends its utterance"
    face = items[0][1]
    assert (face.t_ns, face.found, face.faces, face.brightness) == (5, True, 2, 0.25)


@pytest.mark.models
def test_a_tape_gives_the_windows_of_the_live_pipeline_back(clip, tmp_path):

    config = Config.model_validate({"streams": [{"source": str(clip)}]})
    clock = VirtualClock()
    parts = SharedModels(config, clock)
    # What was said before leans the live words; a track holds the words as they were read.
    parts.fuser.checkpoint = replace(parts.fuser.checkpoint, context=Context())
    live = []
    fuse = parts.fuser.fuse
    parts.fuser.fuse = lambda views: live.extend(views) or fuse(views)
    sent = []
    OfflineRun(config, parts, clock, Outlet.into(sent.append)).run(threading.Event())
    example = Example("mosi_clips", clip.stem, "x", 0.0, path=clip)
    path = features.tape_clip(example, "clean", tmp_path, words=True)
    assert path.exists()
    tape = tape_of(tmp_path, example, "clean")
    again = [view for view, _ in replay(tape, TextExtractor(parts.reader), config)]
    assert [view.end_ns for view in again] == [view.end_ns for view in live]
    for one, two in zip(again, live, strict=True):
        for name, segment in one.segments.items():
            assert segment.reliability == pytest.approx(two.segments[name].reliability, abs=1e-5)
            # What a track keeps of a voice is in half precision.
            assert np.allclose(segment.values, two.segments[name].values, atol=0.02 if name == "voice" else 1e-4)
    assert [view.read for view in again] == [view.read for view in live]
    assert any(view.read for view in live), "an utterance was read a second time"

    checkpoint = parts.fuser.checkpoint
    said = told(assemble(checkpoint).model, Heard(example, "clean", tuple(again)), Context(), checkpoint.uncertainty)
    published = [message for message in sent if isinstance(message, Sentiment)]
    rows = [(m.score, *m.interval, m.p_positive) if m.score is not None else (np.nan,) * 4 for m in published]
    judged = np.stack([said.score, said.low, said.high, said.p_positive], 1)
    assert np.allclose(rows, np.where(np.isfinite(said.score)[:, None], judged, np.nan), atol=2e-3, equal_nan=True)


@pytest.mark.models
def test_a_track_without_second_readings_gets_them_and_keeps_the_rest(clip, tmp_path):
    example = Example("mosi_clips", clip.stem, "x", 0.0, path=clip)
    path = features.tape_clip(example, "clean", tmp_path, words=True)
    with np.load(path) as arrays:
        whole = {name: arrays[name] for name in arrays.files}
    np.savez_compressed(path, **{name: array for name, array in whole.items() if name != READINGS})
    assert not features.done(path, words=True)
    assert not [item for _, item in load(path)[0] if isinstance(item, Reading)]
    features.tape_clip(example, "clean", tmp_path, words=True)
    with np.load(path) as arrays:
        assert {name: arrays[name].tobytes() for name in arrays.files if name != READINGS} == {
            name: array.tobytes() for name, array in whole.items() if name != READINGS
        }
    read = [item for _, item in load(path)[0] if isinstance(item, Reading)]
    assert "times" in " ".join(word.text for word in read[-1].words)


class Playing:
    """Media of a tape's faces: pictures at given times."""

    path, has_picture, has_sound = Path("made.mp4"), True, False

    def __init__(self, times_ns):
        self.times_ns = times_ns

    def items(self, start_ns):
        return (Frame(start_ns + t_ns, np.zeros((2, 2, 3), np.uint8)) for t_ns in self.times_ns)


class Seen:
    """A face extractor that sees a face in anything, at once."""

    def feed(self, frame):
        return [FaceFeatures(frame.t_ns, np.ones(DIMS["face"], np.float32), True, 1, 1.0, 300.0, 0.5, 0.0)]

    def flush(self):
        return []

    def close(self):
        """Nothing is held."""


def test_what_comes_just_when_a_window_is_due_comes_after_it_in_training_as_in_a_session():
    # A picture whose time lies in the window, but which comes at its deadline: the lateness is nought.
    config = Config.model_validate(
        {"window": {"lateness_s": 0.0}, "asr": {"enabled": False}, "streams": [{"source": "made.mp4"}]}
    )
    times_ns = [i * NS_PER_S // 20 for i in range(1, 41)]
    clock, live = VirtualClock(), []
    fuser = SimpleNamespace(
        checkpoint=SimpleNamespace(context=Context()), fuse=lambda views: live.extend(views) or [NOTHING]
    )
    parts = SimpleNamespace(fuser=fuser, face=Seen, voice=Seen, speech=Seen, await_reading=lambda: None)
    OfflineRun(config, parts, clock, Outlet(), Playing(times_ns)).run(threading.Event())
    faces = [(t_ns, Seen().feed(Frame(t_ns, None))[0]) for t_ns in times_ns]
    taught = [view for view, _ in replay((faces, {"picture": times_ns}), None, config)]
    counts = [len(view.segments["face"].times_s) for view in live]
    assert [view.end_ns for view in taught] == [view.end_ns for view in live]
    assert [len(view.segments["face"].times_s) for view in taught[:-1]] == counts[:-1]
    assert counts[0] == 4  # of the five pictures up to 0.25 s the one at the deadline is still to come


def sample(label, *names):
    segments = {name: absent(name) for name in DIMS}
    for name in names:
        values = np.full((3, DIMS[name]), label, np.float32)
        segments[name] = Segment(values, np.array([-2, -1, 0], np.float32), 1.0, "ok", None, 0)
    return Sample((WindowView("train", 0, 0, NS_PER_S, segments),), label, 1.0)


def test_words_meet_the_face_of_another_clip_and_keep_their_label():
    clip, sentence = sample(-2.0, "text", "voice", "face"), sample(2.0, "text")
    mixer = Mixer([clip, sentence], Recipe(unrelated=1.0, acted=0.0), np.random.default_rng(0))
    new = mixer.mix(sentence)
    assert new.label == 2.0
    assert new.views[0].segments["text"] is sentence.views[0].segments["text"]
    assert new.views[0].segments["face"] is clip.views[0].segments["face"]


def test_words_that_say_nothing_take_the_label_of_an_acted_voice():
    voice, sentence = sample(-2.5, "voice"), sample(0.0, "text")
    mixer = Mixer([voice, sentence], Recipe(unrelated=0.0, acted=1.0), np.random.default_rng(0))
    labels = {mixer.mix(sentence).label for _ in range(20)}
    assert labels == {-2.5, 0.0}


def test_a_window_without_words_stays_as_it_is():
    voice = sample(-2.5, "voice")
    assert Mixer([voice, sample(1.0, "text", "voice", "face")], Recipe(), np.random.default_rng(0)).mix(voice) == voice


def test_windows_of_a_long_clip_are_taken_evenly_and_in_order():
    views = tuple(replace(sample(1.0, "text", "voice", "face").views[0], seq=number) for number in range(50))
    clip = Sample(views, 1.0, 1.0)
    mixer = Mixer([clip], Recipe(windows=5, unrelated=0.0, acted=0.0), np.random.default_rng(0))
    steps = np.diff([view.seq for view in mixer.mix(clip).views])
    assert len(steps) == 4
    assert set(steps) <= {9, 10, 11}


def test_praise_and_complaint_count_the_same():
    clips = [sample(label, "text") for label in (2.0, 1.0, 3.0, -2.0, 0.0)]
    weights = [made.weight for made in balanced(clips)]
    assert sum(weights[:3]) == pytest.approx(weights[3])
    assert weights[4] == 1.0


def test_no_speaker_is_in_two_folds():
    examples = [Example("mosi_clips", str(number), f"s{number % 7}", 0.0) for number in range(40)]
    groups = speaker_folds(examples, 3)
    assert sorted(name for group in groups for name in group) == sorted({example.speaker for example in examples})


def test_held_out_predictions_come_back_from_their_file(tmp_path):
    example = Example("mosi_clips", "a_1", "a", 1.5)
    rows = {name: RNG.random((4, 3) if name in {"weights", "own", "reliability"} else 4) for name in held.ARRAYS}
    rows["present"] = np.array([True, True, False, True])
    said = held.HeldOutPredictions(example, "noise:0", **rows)
    held.save([said], tmp_path / "held.npz")
    [back] = held.load(tmp_path / "held.npz", [example])
    assert back.mean() == said.mean() == pytest.approx(rows["score"][rows["present"]].mean())
    assert back.damage == "noise:0"


def test_what_is_known_of_a_clip_so_far_is_judged_by_its_first_windows_and_the_last_alone():
    def said(name, label, score):
        rows = {key: np.zeros((4, 3)) for key in held.ARRAYS}
        rows |= {"score": np.array(score), "present": np.array([False, True, True, True])}
        return held.HeldOutPredictions(Example("mosi_clips", name, name, label), "clean", **rows)

    found = anytime([said("a", 2.0, [9, 0, 1, 2]), said("b", -1.0, [9, 0, 0, -2])])
    assert found["25%"]["mae"] == pytest.approx(1.5)
    assert found["100%"]["mae"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-3)
    assert found["final"]["mae"] == pytest.approx(0.5)


def test_a_picture_that_comes_twice_is_taken_once(tmp_path):
    (tmp_path / "fer2013").mkdir()
    with zipfile.ZipFile(tmp_path / "fer2013" / "fer2013_48.zip", "w") as archive:
        for name, content in (
            ("happy/1.jpg", b"one"),
            ("sad/2.jpg", b"two"),
            ("happy/3.jpg", b"one"),
            ("odd/4.jpg", b"x"),
        ):
            archive.writestr(f"train/{name}", content)
    found = [example.member for example in fer2013(tmp_path, {"happy": 2.0, "sad": -2.0})]
    assert found == ["train/happy/1.jpg", "train/sad/2.jpg"]


def test_somebody_who_liked_it_so_far_probably_still_does():
    rng = np.random.default_rng(0)
    speakers = {
        name: [Turn(mood + float(rng.normal(0, 1.0)), (), mood) for _ in range(12)]
        for name, mood in zip("abcdef", (2.0, -2.0, 1.5, -1.5, 1.0, -1.0), strict=True)
    }
    fitted = fit_context(speakers)
    assert fitted.context.lean > 0
    assert fitted.followed["mae"] < fitted.alone["mae"]


def test_what_was_said_before_in_the_same_clip_counts_without_context_too():
    turns = [Turn(0.0, (2.0, 2.0), 1.0)]
    assert play(turns, Context(1.0, 0.5, 1.0), follow=False)[0] == pytest.approx(0.5 * 4 / 3)
    assert play([Turn(2.0, (), 1.0), Turn(0.0, (), 0.0)], Context(1.0, 0.5, 1.0), follow=False)[1] == 0.0


def streams(count=600):
    """Windows in which the words say nearly the label, the voice nothing, and the face some of it."""
    rng = np.random.default_rng(0)
    target = rng.uniform(-3, 3, count)
    own = np.stack([target + rng.normal(0, 0.5, count), rng.normal(0, 1.5, count), 0.3 * target], 1)
    log_spread = np.log(np.tile([0.5, 1.2, 1.0], (count, 1)))
    clip = np.arange(count) // 6
    words = np.array(["final"] * count)
    ones = np.ones(count)
    return Known(own, log_spread, np.ones((count, 3)), words, ones, target, clip % 7, clip, ones > 0, words)


def test_the_gate_keeps_what_helps_and_turns_down_what_only_disturbs():
    rows, model = streams(), build(AgfnConfig(DIMS, width=8))
    gate.fit_gate(model, rows)
    score, spread = gate.fused(model, rows)
    alone = np.abs(rows.own[:, 0] - rows.target).mean()
    assert np.abs(score - rows.target).mean() < alone + 0.01
    assert model.gain[1] < model.gain[2]
    assert (model.gate_bias[0], model.gain[0]) == (0.0, 1.0)
    assert (spread > 0).all()


def test_the_network_says_what_the_fit_said():
    model = build(AgfnConfig(DIMS, width=8)).eval()
    segments = {
        name: Segment(np.ones((3, size), np.float32), np.zeros(3, np.float32), 0.7, "ok", None, 0)
        for name, size in DIMS.items()
    }
    views = [WindowView("train", 0, 0, NS_PER_S, segments)]
    with torch.no_grad():
        model.gain.copy_(torch.tensor([1.0, 0.5, 0.25]))
        model.gate_bias.copy_(torch.tensor([0.0, -0.5, 0.3]))
    own, log_spread, trust = said_by(model, views)
    given = torch.from_numpy
    score, spread = gate.mixed(given(own), given(log_spread), given(trust), model.gate_bias, model.exponent, 0)
    found = predict(model, views)
    assert found["score"] == pytest.approx(score.detach().numpy(), abs=1e-6)
    assert found["spread"] == pytest.approx(spread.detach().numpy(), abs=1e-6)


def damaged_clips(gates):
    """Ten clips of five speakers under each damage: the voice's weight is as said, and noise makes errors."""
    for damage, share_of in gates.items():
        for number in range(10):
            example = Example("mosi_clips", f"v{number % 5}_{number}", f"s{number % 5}", float(number % 5 - 2))
            spread = 0.3 + (damage == "noise:0") * 0.6
            share = share_of + 0.001 * number
            ones = np.ones(8)
            yield held.HeldOutPredictions(
                *(example, damage, ones * (example.label + spread), ones * spread),
                *(np.outer(ones, [1 - share, share, 0]), np.zeros((8, 3)), ones > 0, np.outer(ones, [1, share_of, 0])),
            )


def test_the_report_of_damage_follows_the_gate_down_and_the_interval_out():
    clips = list(damaged_clips({"clean": 0.5, "noise:10": 0.3, "noise:0": 0.1}))

    followed = damage_report.followed(clips, "voice", ["clean", "noise:10", "noise:0"])
    assert followed["spearman"] < -0.9
    assert followed["reliability"] == {"clean": 0.5, "noise:10": 0.3, "noise:0": 0.1}
    found = damage_report.intervals(clips, ["clean", "noise:10", "noise:0"])
    assert found["clean"]["coverage"] == 1.0
    assert found["noise:0"]["width"] > 2 * found["clean"]["width"]
    assert found["noise:0"]["confidence"] < found["clean"]["confidence"]
