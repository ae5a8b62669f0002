"""The optional channels: what they are made of, what they are worth, and that nobody gets them unasked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_messages import sentiment

from models.affect import EXPRESSIONS, VALENCE
from models.arousal import ArousalReader
from models.checkpoint import CheckpointError
from realtime.clock import VirtualClock
from realtime.config.schema import Config, WindowConfig
from realtime.export.columns import TABLES
from realtime.export.tables import Tables
from realtime.extract.schema import FACE_COLUMNS, FACE_DIM, TEXT_DIM, VOICE_COLUMNS, VOICE_DIM
from realtime.fuse.channel_names import ACTIONS, CHANNELS
from realtime.fuse.channels import Channels
from realtime.fuse.reliability import SETTLED_S
from realtime.fuse.window import Window
from realtime.publish.messages import ChannelPart, PersonPart, Sentiment
from realtime.recording.journal import Entry, decode, encode
from realtime.recording.reader import open_recordings
from realtime.session.recorder import recorder_of
from realtime.sinks.lsl import COLUMNS, OPTIONAL
from realtime.types import NS_PER_S, FaceFeatures, Person, SpeechFrame, TextFeatures, VoiceFeatures, Word
from scripts.golden import SAID
from scripts.harness.mock_clock import MockClock
from scripts.harness.mock_session import MockSession, script_of

DEVICES = {"face": "camera 0", "voice": "microphone default", "text": "microphone default"}
HAPPY = np.eye(len(EXPRESSIONS), dtype=np.float32)[EXPRESSIONS.index("happy")]
DOCS = Path(__file__).parents[1] / "docs" / "channels.md"


def ns(seconds):
    return int(seconds * NS_PER_S)


class Scene:
    """A stream on a virtual clock with the channels on."""

    def __init__(self):
        self.clock = VirtualClock()
        self.window = Window("desk", WindowConfig(), DEVICES, self.clock, channels=Channels())

    def face(self, begin_s, end_s, likely=HAPPY, face_id=1, **shapes):
        values = np.zeros(FACE_DIM, np.float32)
        for name, value in shapes.items():
            values[FACE_COLUMNS.index(name)] = value
        for t_s in np.arange(begin_s, end_s, 1 / 15):
            self.clock.advance_to(ns(t_s))
            self.window.saw("camera 0", ns(t_s))
            self.window.add_face(FaceFeatures(ns(t_s), values, True, 1, 0.95, 300.0, 0.5, 0.01, face_id, likely=likely))
        return self

    def sound(self, begin_s, end_s, *, spoken=lambda _: True, octaves=lambda _: 0.0, snr_db=25.0):
        for t_s in np.arange(begin_s, end_s, 0.032):
            self.window.saw("microphone default", ns(t_s))
            likely = 0.95 if spoken(t_s) else 0.02
            self.window.add_speech(SpeechFrame(ns(t_s), np.zeros(512, np.float32), likely, -25.0, snr_db, 0.0))
        for t_s in np.arange(begin_s, end_s, 0.1):
            values = np.zeros(VOICE_DIM, np.float32)
            values[VOICE_COLUMNS.index("f0_mean")] = octaves(t_s)
            values[VOICE_COLUMNS.index("voiced_share")] = 1.0 if spoken(t_s) else 0.0
            self.window.add_voice(VoiceFeatures(ns(t_s), values))
        return self

    def words(self, begin_s, count, each_s=0.4):
        times = begin_s + each_s * np.arange(count)
        said = tuple(Word(ns(t_s), ns(t_s + 0.3), "good", 0.9, True) for t_s in times)
        self.window.add_text(
            TextFeatures(ns(times[-1] + 0.3), said, np.zeros((count, TEXT_DIM), np.float32), opinion="partial")
        )
        return self

    def told(self, end_s):
        return self.window.close(ns(end_s)).channels


def test_every_channel_is_always_there_and_says_nothing_where_nothing_is_known():
    told = Scene().told(1)
    assert list(told) == list(CHANNELS)
    assert {(channel.value, channel.reliability) for channel in told.values()} == {(None, 0.0)}


def test_a_happy_face_is_pleasant_and_smiles_and_is_worth_nothing_at_first():
    scene = Scene().face(0, 4, mouthSmileLeft=0.8, mouthSmileRight=0.6, browDownLeft=-0.3)
    told = scene.told(4)
    assert told["happy"].value == pytest.approx(1)
    assert told["valence"].value == pytest.approx(VALENCE["happy"])
    assert told["arousal"].value is None, "there is no voice"
    assert told["smile"].value == pytest.approx(0.7)
    assert told["frown"].value == 0, "brows above their rest are no frown"
    assert told["valence"].reliability == told["smile"].reliability > 0.9
    first = Scene().face(0, 4).told(0.1)
    assert 0 < first["valence"].reliability < 0.1 / SETTLED_S
    assert first["pitch_mean"].value is None


def test_another_face_has_to_settle_anew():
    scene = Scene().face(0, 4).face(4, 4.3, face_id=2)
    assert scene.told(4.3)["valence"].reliability < 0.3


def test_pitch_is_told_in_hertz_and_its_range_in_semitones():
    told = Scene().sound(0, 4, octaves=lambda t_s: 1.0 if t_s % 1 < 0.5 else 0.5).told(4)
    assert told["pitch_mean"].value == pytest.approx(170 * 2**0.75, rel=0.02)
    assert told["pitch_range"].value == pytest.approx(6, abs=0.1)
    assert told["pitch_mean"].reliability > 0.8


def test_pauses_count_between_the_first_and_the_last_speech_only():
    told = Scene().sound(0, 4, spoken=lambda t_s: 1 <= t_s < 2 or 3 <= t_s < 3.5).told(4)
    assert told["pause_ratio"].value == pytest.approx(1 / 2.5, abs=0.03)


def test_words_are_counted_from_the_first_to_the_last():
    told = Scene().sound(0, 4).words(0.5, 8, each_s=0.4).told(4)
    assert told["speech_rate"].value == pytest.approx(8 / 3.1, abs=0.01)
    assert told["speech_rate"].reliability > 0.5
    assert Scene().sound(0, 4).words(3, 2, each_s=0.3).told(4)["speech_rate"].value is None, "too short to tell"


def test_noise_takes_the_worth_of_the_voice_and_leaves_that_of_the_face():
    told = Scene().face(0, 4).sound(0, 4, snr_db=0.0).told(4)
    assert told["pitch_mean"].reliability == told["pause_ratio"].reliability == 0
    assert told["pitch_mean"].value is None
    assert told["valence"].reliability > 0.9


def test_the_weights_of_arousal_say_how_good_they_are_and_a_damaged_file_is_refused(tmp_path):
    shipped = ArousalReader.load(VOICE_DIM)
    assert shipped.metadata["ravdess"]["r"] >= 0.6
    own = tmp_path / "own.safetensors"
    replace(shipped, metadata={}).save(own)
    assert ArousalReader.load(VOICE_DIM, own).metadata == {}
    for damaged, problem in (
        (replace(shipped, weight=np.full_like(shipped.weight, np.nan)), "not a finite number"),
        (replace(shipped, bias=np.zeros(2, np.float32)), "shapes"),
    ):
        damaged.save(own)
        with pytest.raises(CheckpointError, match=problem):
            ArousalReader.load(VOICE_DIM, own)
    own.write_bytes(b"none of ours")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        ArousalReader.load(VOICE_DIM, own)


def test_too_little_voice_has_no_arousal():
    values = np.zeros((20, VOICE_DIM), np.float32)
    assert ArousalReader.load(VOICE_DIM).read(values, np.zeros(20)) is None
    assert -1 <= ArousalReader.load(VOICE_DIM).read(values, np.ones(20)) <= 1


def test_every_facial_action_is_made_of_blendshapes_that_exist():
    assert {shape for _, shapes in ACTIONS.values() for shape in shapes} <= set(FACE_COLUMNS)


# What leaves the program


def played(settings):
    clock = MockClock(100 * NS_PER_S)
    made = MockSession(clock, script=script_of(SAID), settings={"fusion": {"backend": "torch"}} | settings)
    made.start()
    clock.sleep_until(103 * NS_PER_S)
    made.live.pause("desk")
    clock.sleep_until(104 * NS_PER_S)
    made.close()
    return made.windows()


def test_messages_carry_them_when_asked_for_and_never_otherwise():
    plain = played({})
    assert not any({"channels", "people"} & set(json.loads(message.payload())) for message in plain)
    asked = played({"channels": {"enabled": True}, "face": {"people": True}})
    assert [list(message.channels) for message in asked] == [list(CHANNELS)] * len(asked)
    assert any(message.channels["smile"].reliability > 0.3 for message in asked)
    assert any(message.channels["pause_ratio"].value == 0 for message in asked)
    paused = [message for message in asked if message.state == "paused"]
    assert paused
    assert all(part.value is None and part.reliability == 0 for m in paused for part in m.channels.values())
    assert all(message.people == () for message in paused)
    assert [message.score for message in plain] == [message.score for message in asked], "the fusion sees none of it"
    assert Sentiment.model_validate_json(asked[0].payload()) == asked[0]


PART = ChannelPart(value=0.5, reliability=0.25)
PERSON = PersonPart(
    id=3,
    main=True,
    box=(0.1, 0.2, 0.3, 0.4),
    expression="sad",
    valence=-0.5,
    reliability=0.75,
    speaking=None,
)


def message():
    return sentiment(channels=dict.fromkeys(CHANNELS, PART), people=(PERSON, PERSON.model_copy(update={"id": 4})))


def test_a_recording_keeps_them_and_tables_are_made_of_them(tmp_path):
    config = Config.model_validate({"record": {"folder": str(tmp_path / "session")}})
    recorder = recorder_of(config, config.streams[0], pytest.fail)
    likely = np.linspace(0, 1, len(EXPRESSIONS)).astype(np.float32)
    people = (
        Person(1, True, (0.1, 0.2, 0.3, 0.4), 0.15, 99.0, 0.5, likely),
        Person(2, False, (0, 0, 1, 1), 0.1, 9, 0.5),
    )
    features = FaceFeatures(5, np.ones(FACE_DIM, np.float32), True, 2, 0.9, 40.5, 0.5, 0.01, 3, likely, people)
    recorder.note(Entry(0, "begin", 0))
    recorder.note(Entry(1, "face", features))
    recorder._push(2, "sentiment", message().to_json())
    recorder.close()
    [recording] = open_recordings(tmp_path / "session")
    [kept] = [entry.item for entry in recording.entries() if entry.topic == "face"]
    assert kept.likely.tobytes() == likely.tobytes()
    assert kept.people[0].likely.tobytes() == likely.tobytes()
    assert kept.people[1] == people[1]
    rows = {}
    for table, row in Tables(recording, frozenset({"channels", "people"})).rows():
        rows.setdefault(table, []).append(dict(zip([c.name for c in TABLES[table]], row, strict=True)))
    [channels] = rows["channels"]
    assert (channels["valence"], channels["valence_reliability"]) == (0.5, 0.25)
    assert [row["id"] for row in rows["people"]] == [3, 4]
    assert rows["people"][0] | {"left": 0.1, "expression": "sad", "speaking": None} == rows["people"][0]


def test_an_older_recording_without_them_is_read():
    features = FaceFeatures(5, np.ones(FACE_DIM, np.float32), True, 1, 0.9, 40.5, 0.5, 0.01, 3)
    body = json.loads(encode(Entry(1, "face", features), words=False))
    assert body.pop("likely") is None
    assert body.pop("people") is None
    kept = decode(1, "face", json.dumps(body).encode()).item
    assert (kept.likely, kept.people) == (None, None)


def test_lsl_has_a_channel_and_its_reliability_for_each():
    assert [column.label for column in OPTIONAL[:2]] == ["valence", "valence_reliability"]
    assert [column.value(message()) for column in OPTIONAL] == [0.5, 0.25] * len(CHANNELS)
    assert {column.value(sentiment()) for column in OPTIONAL} == {None}
    assert not {column.label for column in COLUMNS} & {column.label for column in OPTIONAL}


def test_the_page_describes_every_channel_and_the_forbidden_uses():
    page = DOCS.read_text(encoding="utf-8")
    for name, about in CHANNELS.items():
        assert f"`{name}`" in page
        assert about.unit in page
    assert "5(1)(f)" in page
