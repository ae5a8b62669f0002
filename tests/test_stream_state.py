"""The state of a stream: cut anywhere and restored elsewhere, each holder goes on as if nothing had happened."""

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.context import Context
from realtime.clock import VirtualClock
from realtime.config.schema import Config, StreamConfig
from realtime.errors import UsageError
from realtime.extract.asr.voice_mean import VoiceMeanState
from realtime.extract.face.memory import RESTS, FaceMemory, FaceState
from realtime.extract.face.tracker import Box
from realtime.extract.schema import EMBEDDING_DIM, FACE_DIM, TEXT_DIM, VOICE_DIM
from realtime.extract.voice.prosody import Block, OwnVoice, VoiceState, alone
from realtime.fuse.context import ContextState, SpeakerContext
from realtime.fuse.smooth import Smoother, SmootherState
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.messages import EventMessage, Sentiment
from realtime.publish.outlet import Outlet
from realtime.session import stream as session_stream
from realtime.session.state import MAX_BYTES, StreamState
from realtime.session.stream import Stream
from realtime.session.ticks import Ticks
from realtime.types import (
    Ended,
    Event,
    FaceFeatures,
    Segment,
    SpeechFrame,
    TextFeatures,
    VoiceFeatures,
    WindowView,
    Word,
)
from scripts.export_voice import sounds

MS = 1_000_000
HOP_NS = 250 * MS
NOON = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)
ELSEWHERE_NS = 7_777_777_777_777
"""The other machine's clock shows another time."""


def sent(part):
    """A part of a state, through JSON and checks, as another machine gets it."""
    return None if part is None else type(part).model_validate_json(part.model_dump_json())


OPINIONS = st.sampled_from(["listening", "partial", "final"])
WINDOWS = st.lists(
    st.tuples(st.floats(-3, 3), OPINIONS, st.integers(0, 3), st.integers(1, 24)), min_size=2, max_size=40
)


@given(WINDOWS, st.data())
def test_a_smoother_that_was_cut_anywhere_gives_the_same_scores(windows, data):
    cut = data.draw(st.integers(0, len(windows)))
    whole, first, second = Smoother(1.0), Smoother(1.0), Smoother(1.0)
    scores, again, end_ns, words = [], [], 1000 * HOP_NS, 0
    for number, (raw, opinion, more, hops) in enumerate(windows):
        if number == cut:
            second.restore(sent(first.snapshot(1000 * HOP_NS)), ELSEWHERE_NS)
        end_ns, words = end_ns + hops * HOP_NS, words + more
        scores.append(whole.feed(end_ns, raw, (opinion, words, end_ns - 3 * MS, 0), opinion))
        by_ns = 0 if number < cut else ELSEWHERE_NS - 1000 * HOP_NS
        part = first if number < cut else second
        said = (opinion, words, end_ns - 3 * MS + (by_ns if words else 0), 0)
        again.append(part.feed(end_ns + by_ns, raw, said, opinion))
    assert again == scores


def view_of(end_ns, ended, face_id):
    values = np.array([[0.5, 0.1]], np.float32)[:, :TEXT_DIM]
    text = Segment(values, np.zeros(1, np.float32), 0.9, "ok", None, 100)
    return WindowView("desk", 0, end_ns - 4 * 10**9, end_ns, {"text": text}, ended=tuple(ended), face_id=face_id)


STEPS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-3, 3).map(lambda location: round(location, 4))),
        st.integers(0, 3),
        st.sampled_from(["", "", "", "pause"]),
    ),
    min_size=2,
    max_size=60,
)


@given(STEPS, st.data())
def test_what_a_person_said_before_leans_on_after_a_cut_anywhere(steps, data):
    cut = data.draw(st.integers(0, len(steps)))
    coefficients = Context(keep=0.8, lean=0.5, prior=3.0)
    whole, part = SpeakerContext(coefficients), SpeakerContext(coefficients)
    heard, since = [], []
    for number, (location, face_id, what) in enumerate(steps):
        end_ns = (number + 1) * HOP_NS
        if number == cut:  # its extractor of words begins anew, too
            state, part, since = sent(part.snapshot(10)), SpeakerContext(coefficients), []
            part.restore(state, 10)
        if what == "pause":
            heard, since = [], []
            whole.reset()
            part.reset()
        if location is not None:
            heard, since = ([*said, Ended(end_ns - 10, location)][-16:] for said in (heard, since))
        one, other = whole.lean(view_of(end_ns, heard, face_id)), part.lean(view_of(end_ns, since, face_id))
        assert other.context == (None if one.context is None else pytest.approx(one.context, abs=1e-4))
        assert other.expected == pytest.approx(one.expected, abs=1e-4)
        assert other.segments["text"].values == pytest.approx(one.segments["text"].values, abs=1e-4)


PLACES = st.integers(0, 900).map(lambda place: place / 1000)
SIDES = st.sampled_from([0.1, 0.4])
BOXES = st.builds(lambda x, y, side: Box(x, y, round(x + side, 3), round(y + side, 3)), PLACES, PLACES, SIDES)
PICTURES = st.lists(
    st.tuples(st.integers(30, 3000), st.lists(BOXES, max_size=2), st.integers(0, 2**31)), min_size=2, max_size=40
)


@given(PICTURES, st.data())
def test_a_face_stays_the_same_person_with_the_same_rest_after_a_cut_anywhere(pictures, data):
    cut = data.draw(st.integers(0, len(pictures)))
    usual = np.full(RESTS, 0.1, np.float32)
    whole, part, moved_ns = FaceMemory(usual, 60.0), FaceMemory(usual, 60.0), 0
    t_ns = t0_ns = 5000 * MS
    for number, (step_ms, boxes, seed) in enumerate(pictures):
        if number == cut:
            state, part, moved_ns = sent(part.snapshot(t0_ns)), FaceMemory(usual, 60.0), ELSEWHERE_NS - t0_ns
            part.restore(state, ELSEWHERE_NS)
        t_ns += step_ms * MS
        chosen = whole.pick(boxes, t_ns)
        assert part.pick(boxes, t_ns + moved_ns) == chosen
        assert part.face_id == whole.face_id
        if chosen is not None:
            values = np.random.default_rng(seed).random(RESTS).astype(np.float32)
            again = part.subtract(values, t_ns + moved_ns)
            assert again == pytest.approx(whole.subtract(values, t_ns), abs=1e-3)


VOICES = sounds(24)


@given(st.integers(0, len(VOICES)))
@settings(max_examples=10)
def test_a_voice_has_the_same_usual_level_and_pitch_after_a_cut_anywhere(cut):
    whole, part = OwnVoice(), OwnVoice()
    for number, block in enumerate(VOICES):
        if number == cut:
            state, part = sent(part.snapshot()), OwnVoice()
            part.restore(state)
        for own in (whole, part):
            alone(Block(block, own))
    level, octave, *_ = whole.usual
    assert part.usual[0] == pytest.approx(level, abs=0.1)
    assert part.usual[1] == pytest.approx(octave, abs=0.01)
    assert whole.usual[2] > OwnVoice().usual[2], "some of it was voiced"


@pytest.fixture(scope="module")
def fuser():
    return Fuser(WEIGHTS, "cpu", VirtualClock())


class Played:
    """A stream on a clock of its own, fed by a script that is the same wherever it is played."""

    def __init__(self, fuser, monkeypatch, begin_ns, state=None, now=NOON):
        self.clock, self.sent, self.fuser, self.closed = VirtualClock(begin_ns), [], fuser, 0
        self.config, outlet = Config(), Outlet()
        outlet.subscribe(self.sent.append, Sentiment, EventMessage, words=True)
        self.utc = lambda: now + (self.clock.now_ns() - begin_ns) // 1000 * US
        monkeypatch.setattr(session_stream, "utc_now", self.utc)
        stream = StreamConfig(name="desk")
        self.stream = Stream(self.config, stream, self.clock, outlet, fuser.checkpoint.context, state=state)

    def windows(self):
        return [message for message in self.sent if isinstance(message, Sentiment)]


US = timedelta(microseconds=1)
STEP_NS = 50 * MS
REFILL = 100
"""Steps of a window, and of how late it may be."""


def feed(played, t0_ns, step, script):
    """Give a stream what is seen and heard in one step of 50 ms since it began."""
    rng, now_ns, window = np.random.default_rng(step), t0_ns + step * STEP_NS, played.stream.window
    window.saw("microphone default", now_ns)
    window.add_speech(SpeechFrame(now_ns - 32 * MS, np.zeros(512, np.float32), 0.9, -20.0, 12.5, 0.0))
    if step % 2 == 0:
        window.add_voice(VoiceFeatures(now_ns, rng.standard_normal(VOICE_DIM).astype(np.float32)))
        window.saw("camera 0", now_ns)
        face_id = 1 + sum(step >= turn for turn in script["faces"])
        values = 0.1 * rng.standard_normal(FACE_DIM).astype(np.float32)
        window.add_face(FaceFeatures(now_ns, values, True, 1, 0.9, 300.0, 0.5, 0.02, face_id))


def text_at(script, step, t0_ns, since=0):
    """The utterance of the step, and those that ended since another one."""
    begun = [begin for begin in sorted(script["words"]) if begin <= step]
    begin_ns = t0_ns + begun[-1] * STEP_NS - 800 * MS
    words = tuple(
        Word(begin_ns + i * 200 * MS, begin_ns + (i + 1) * 200 * MS - 10 * MS, "word", 0.9, committed=True)
        for i in range(4)
    )
    location = script["words"][begun[-1]]
    ended = tuple(Ended(t0_ns + begin * STEP_NS, script["words"][begin]) for begin in begun[:-1] if begin >= since)
    values = np.array([[location, 0.3]] * 4, np.float32)[:, :TEXT_DIM]
    return TextFeatures(t0_ns + step * STEP_NS, words, values, 0.1, None, "final", ended[-16:])


SCRIPTS = st.fixed_dictionaries(
    {
        "words": st.dictionaries(st.integers(2, 130), st.floats(-3, 3), min_size=1, max_size=8),
        "faces": st.lists(st.integers(10, 130), max_size=2),
        "cut": st.integers(10, 110),
        "lost_s": st.integers(0, 3),
    }
)


@settings(max_examples=6, deadline=None)
@given(script=SCRIPTS)
def test_a_stream_cut_anywhere_says_the_same_once_its_window_is_full_again(fuser, script):
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut, steps = script["cut"], 140
        whole = Played(fuser, monkeypatch, 10**9)
        play(whole, 10**9, 0, steps, script)

        first = Played(fuser, monkeypatch, 10**9)
        play(first, 10**9, 0, cut, script)
        data = first.stream.snapshot().to_json()
        assert len(data) <= 1024
        state = StreamState.from_json(data).leased(1)

        on = min(steps, cut + script["lost_s"] * 20)  # windows that nobody made
        second = Played(fuser, monkeypatch, ELSEWHERE_NS, state, NOON + on * STEP_NS // 1000 * US)
        t0_ns = ELSEWHERE_NS - on * STEP_NS
        for step in range(max(0, on - REFILL), on):  # what refills by itself within its length
            feed(second, t0_ns, step, script)
        since = max((step for step in script["words"] if step < first.closed), default=0)  # the state knows the rest
        if said := [step for step in script["words"] if step < on]:
            second.stream.window.add_text(text_at(script, max(said), t0_ns, since))
        play(second, t0_ns, on, steps, script, since)

    by_seq = {message.seq: message for message in whole.windows()}
    made = first.windows() + second.windows()
    assert [message.seq for message in made] == sorted({message.seq for message in made})
    for message in second.windows():
        twin = by_seq[message.seq]
        assert message.window.end_s == twin.window.end_s
        assert (message.epoch, twin.epoch) == (1, 0)
        assert message.state == twin.state
        if script["lost_s"] == 0:
            assert message.context == (None if twin.context is None else pytest.approx(twin.context, abs=1e-3))
            assert message.score == (None if twin.score is None else pytest.approx(twin.score, abs=2e-3))


def play(played, t0_ns, begin, end, script, since=0):
    """Play steps of the script; windows close on the grid of the stream that began at `t0_ns`."""
    ticks = Ticks(t0_ns, played.config)
    while begin and ticks.due_ns <= t0_ns + (begin - 1) * STEP_NS:
        ticks.next()
    if begin == 0:
        played.stream.begin(t0_ns)
    else:
        played.clock.advance_to(t0_ns + begin * STEP_NS)
        assert played.stream.joins_at(ticks.end_ns) == t0_ns
        played.stream.begin(t0_ns)
    for step in range(begin, end):
        now_ns = t0_ns + step * STEP_NS
        while ticks.due_ns <= now_ns:
            played.clock.advance_to(ticks.due_ns)
            played.closed = step
            view = played.stream.close_window(ticks.next())
            played.stream.publish(view, played.fuser.fuse([view])[0])
        played.clock.advance_to(now_ns)
        feed(played, t0_ns, step, script)
        if step in script["words"]:
            played.stream.window.add_text(text_at(script, step, t0_ns, since))


def state_of(**changes):
    return StreamState(**{"stream": "desk", "started": NOON, "hop_s": 0.25, "seq": 41} | changes)


LARGEST = state_of(
    stream="d" * 64,
    epoch=2**53,
    seq=2**40,
    events=2**40,
    face_id=10**9,
    smoother=SmootherState(
        score=-1.2345678901234567,
        t_ns=10**18,
        said=("listening", 10**6, 10**18, 10**6),
        event_ns=10**18,
        strong_ns=10**18,
        strong_side=-1,
        side=-1,
        leaning=-1,
        leaning_ns=10**18,
    ),
    context=ContextState(face_id=10**9, said=(-2.3456,) * 16),
    face=FaceState(
        face_id=10**9, box=(-99.999,) * 4, seen_ms=10**12, rest=(-19999,) * RESTS, rest_s=3599.99, rest_ms=10**12
    ),
    voice=VoiceState(level_db=-126.123, level_s=29.99, pitch_oct=10.1234, pitch_s=29.99),
    embedding=VoiceMeanState(mean=(-800,) * EMBEDDING_DIM, heard=59.0),
)


def test_even_the_largest_state_is_small_and_survives_json():
    assert len(LARGEST.to_json()) <= 1450 < MAX_BYTES
    assert StreamState.from_json(LARGEST.to_json()) == LARGEST
    assert StreamState.from_json(state_of().to_json()) == state_of()
    assert LARGEST.values() == json.loads(LARGEST.to_json())
    assert StreamState.of(state_of().values()) == state_of()


def test_a_state_holds_numbers_and_names_of_states_only():
    def texts(value, key=""):
        if isinstance(value, dict):
            return [found for name, each in value.items() for found in texts(each, name)]
        if isinstance(value, list):
            return [found for each in value for found in texts(each, key)]
        return [(key, value)] if isinstance(value, str) else []

    found = texts(json.loads(LARGEST.to_json()))
    assert {key for key, _ in found} == {"schema", "stream", "started", "said"}
    assert [value for key, value in found if key == "said"] == ["listening"]


def places_of(value, path=()):
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places_of(each, (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from places_of(each, (*path, number))
    else:
        yield path


WHOLE = json.loads(LARGEST.to_json())
WRONG = st.sampled_from(
    [None, True, "x", "\x1b[2J", -1, 2**70, 1e300, float("nan"), float("inf"), [], {}, [1] * 9, {"a": 1}]
)


@given(st.sampled_from(sorted(places_of(WHOLE), key=str)), WRONG)
def test_a_wrong_value_anywhere_is_refused_in_one_harmless_line_or_is_a_state(path, wrong):
    broken = json.loads(LARGEST.to_json())
    at = broken
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = wrong
    data = json.dumps(broken).encode()
    try:
        state = StreamState.from_json(data)
    except UsageError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 250
    else:
        assert len(state.to_json()) <= MAX_BYTES
        smoother, context = Smoother(1.0), SpeakerContext(Context())
        smoother.restore(state.smoother, 5)
        context.restore(state.context, 5)
        assert -3 <= smoother.feed(10**19, 0.0) <= 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 3000,
        b'{"\x1b[2J": 1}',
        b"x" * 5000,
        json.dumps({**WHOLE, "new": 1}).encode(),
    ],
    ids=lambda data: data[:12],
)
def test_what_is_no_state_is_refused(data):
    with pytest.raises(UsageError) as refusal:
        StreamState.from_json(data)
    assert str(refusal.value).isprintable()


def test_a_lease_only_becomes_newer():
    assert state_of(epoch=4).leased(9).epoch == 9
    for epoch in (3, 4):
        with pytest.raises(ValueError, match="not newer"):
            state_of(epoch=4).leased(epoch)


def test_a_wall_clock_that_went_back_counts_no_window_twice(fuser, monkeypatch):
    state = state_of(seq=1000, started=NOON)
    played = Played(fuser, monkeypatch, 5 * 10**9, state, now=NOON - US * 3_600_000_000)
    end_ns = 6 * 10**9
    played.stream.begin(played.stream.joins_at(end_ns))
    assert played.stream.close_window(end_ns).seq == 1000


def test_a_wall_clock_that_was_set_during_the_run_does_not_move_the_grid(fuser, monkeypatch):
    played = Played(fuser, monkeypatch, 10**9)
    played.stream.begin(10**9)
    played.clock.advance_to(11 * 10**9)
    monkeypatch.setattr(session_stream, "utc_now", lambda: NOON + US * 3_610_000_000)
    state = played.stream.snapshot()
    assert state.started == NOON + US * 3_600_000_000


def test_ids_of_events_differ_between_two_holders_of_one_stream(fuser, monkeypatch):
    first = Played(fuser, monkeypatch, 10**9)
    first.stream.begin(10**9)
    state = first.stream.snapshot()
    second = Played(fuser, monkeypatch, 10**9, state.leased(1))
    second.stream.begin(10**9)
    for each in (first, second):
        each.stream.event(Event(10**9, "camera", "started"))
    (one,), (other,) = first.sent, second.sent
    assert one.id != other.id
