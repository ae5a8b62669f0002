"""A file at real pace: sound and picture by their own times, whatever one of them does to the other."""

import threading
from types import SimpleNamespace

import av
import numpy as np
import pytest

from realtime.capture.media import MediaFile, due_ns
from realtime.capture.packets import Packets
from realtime.capture.player import AGAIN_NS, LATE_NS, STEADY_NS, FilePlayer, KeepUp, Playhead
from realtime.capture.thin import RateLimit
from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.schema import CameraConfig
from realtime.session.live_stream import LiveStream
from realtime.types import NS_PER_S, Chunk, Frame
from scripts.harness.films import Film, write

MS = 1_000_000


class Open:
    """A limit that lets everything through."""

    def admits(self, t_ns):
        return t_ns >= 0


@pytest.fixture
def film(tmp_path):
    return write(tmp_path / "film.ts", Film(2.0, (0.4, 1.0)))


class Played:
    """A file that was played: what was given out and when, and the events."""

    def __init__(self, media, clock, limit=None, began=None):
        self.given, self.events = [], []
        self.clock = clock
        self.player = FilePlayer(
            "desk",
            media,
            clock,
            video=self._take,
            audio=self._take,
            limit=limit or Open(),
            on_event=self.events.append,
        )
        self.began, self.first = began, threading.Event()

    def _take(self, item):
        self.given.append((self.clock.now_ns(), item))
        self.first.set()

    def of(self, kind):
        return [item for _, item in self.given if isinstance(item, kind)]

    def told(self):
        return [(event.component, event.kind) for event in self.events]


class Media:
    """At the file's place: pictures and sound as the test makes them."""

    def __init__(self, path, pictures, sound):
        self.path, self.pictures, self.sound = path, pictures, sound
        self.on_warning = None


def chunks(count, start_ns=0):
    return (Chunk(start_ns + i * 20 * MS, np.zeros(320, np.float32)) for i in range(count))


def frames(count, step_ns=40 * MS):
    return (Frame(i * step_ns, np.zeros((4, 4, 3), np.uint8)) for i in range(count))


def test_each_item_is_given_out_when_it_is_due_and_all_of_the_file(film):
    clock = MonotonicClock()
    media = MediaFile(film, CameraConfig())
    played = Played(media, clock)
    begin_ns = clock.now_ns()
    end_ns = played.player.play()
    assert all(at_ns >= due_ns(item) for at_ns, item in played.given)
    whole = list(media.items(0))
    assert len(played.of(Chunk)) == sum(isinstance(item, Chunk) for item in whole)
    assert end_ns - begin_ns == pytest.approx(max(map(due_ns, whole)), abs=NS_PER_S)
    first = played.of(Chunk)[0].t_ns - min(item.t_ns for item in whole if isinstance(item, Chunk))
    assert {chunk.t_ns - first for chunk in played.of(Chunk)} == {i.t_ns for i in whole if isinstance(i, Chunk)}


def test_pictures_that_decode_for_ever_do_not_hold_up_the_sound(film):
    release = threading.Event()

    def stuck(*_):
        release.wait(10)
        yield from frames(1)

    played = Played(Media(film, stuck, lambda: chunks(20)), MonotonicClock())
    playing = threading.Thread(target=played.player.play)
    playing.start()
    try:
        while len(played.of(Chunk)) < 20:
            assert playing.is_alive()
            playing.join(0.02)
        assert not played.of(Frame)
    finally:
        release.set()
        playing.join(10)
    assert not playing.is_alive()


@pytest.mark.parametrize("broken", ["sound", "picture"])
def test_an_error_nobody_expects_ends_one_track_is_told_and_the_file_comes_to_its_end(film, broken):
    def failing(*_):
        yield from frames(1) if broken == "picture" else chunks(1)
        raise IndexError("list index out of range")

    pictures = failing if broken == "picture" else lambda *_: frames(5)
    sound = failing if broken == "sound" else lambda *_: chunks(10)
    played = Played(Media(film, pictures, sound), MonotonicClock())
    assert played.player.play() is not None
    assert len(played.of(Chunk)) == (1 if broken == "sound" else 10)
    assert len(played.of(Frame)) == (1 if broken == "picture" else 5)
    [event] = played.events
    assert (event.component, event.kind) == (broken, "lost")
    assert "IndexError: list index out of range" in event.cause


def test_a_decoder_that_never_answers_is_left_behind_and_told(film, monkeypatch):
    monkeypatch.setattr("realtime.capture.player.HANG_S", 0.3)
    release = threading.Event()

    def stuck(*_):
        yield from frames(1)
        release.wait(60)
        yield Frame(NS_PER_S, np.zeros((4, 4, 3), np.uint8))

    played = Played(Media(film, stuck, lambda: chunks(3)), MonotonicClock())
    try:
        assert played.player.play() is not None
    finally:
        release.set()
    assert played.told() == [("picture", "stalled")]
    assert played.player.gauges()["picture"].left_behind == 1


def test_a_stopped_player_says_that_the_end_was_not_reached(film):
    played = Played(MediaFile(film, CameraConfig()), MonotonicClock())
    ends = []
    playing = threading.Thread(target=lambda: ends.append(played.player.play()))
    playing.start()
    assert played.first.wait(10)
    played.player.stop()
    playing.join(10)
    assert ends == [None]


def test_what_is_wrong_with_a_file_is_told_where_it_is_met(tmp_path):
    film = write(tmp_path / "film.flv", Film(2.0, (0.4, 1.0)))
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    played = Played(MediaFile(film, CameraConfig()), MonotonicClock())
    assert played.player.play() is not None
    for component in ("picture", "sound"):
        last = [event for event in played.events if event.component == component][-1]
        assert last.kind == "lost"
        assert "film.flv: cut off: ends at" in last.cause
        assert "of 2.0 s" in last.cause


def test_the_window_with_the_end_of_a_file_is_closed_once_when_its_last_words_are_there():
    live = SimpleNamespace(last_ns=None, ended=threading.Event(), _final_ns=None)
    assert LiveStream.closes(live, 250) == 250
    live.last_ns = 600
    assert LiveStream.closes(live, 500) == 500
    assert [LiveStream.closes(live, end_ns) for end_ns in (750, 1000, 1250)] == [None] * 3
    live.ended.set()
    assert LiveStream.closes(live, 1500) == 750


def test_a_paused_file_stands_still_and_goes_on_where_it_was():
    clock = VirtualClock(NS_PER_S)
    head = Playhead(clock)
    head.begin()
    assert head.wait_until(2 * NS_PER_S)
    head.pause()
    clock.advance_to(clock.now_ns() + 3600 * NS_PER_S)
    assert head.now_ns() == 2 * NS_PER_S
    head.resume()
    assert head.now_ns() == 2 * NS_PER_S
    assert head.wait_until(3 * NS_PER_S)
    assert clock.now_ns() == (1 + 3600 + 3) * NS_PER_S
    assert head.stamp_ns(3 * NS_PER_S) == clock.now_ns()


def ahead_of(t_ns, keys):
    return lambda least_ns: any(key_ns - t_ns >= least_ns for key_ns in keys)


def decode(gate, clock, head, *, cost_ns, numbers, key_every, fps=60):
    """Decode pictures that take so long each; return the times of those that are shown, and how late each was."""
    shown, late = [], []
    for number in numbers:
        t_ns = number * NS_PER_S // fps
        keys = [later * NS_PER_S // fps for later in numbers if later > number and later % key_every == 0]
        if not gate.decodes(t_ns, key=number % key_every == 0, key_ahead=ahead_of(t_ns, keys)):
            continue
        if gate.skip == "NONREF" and number % 2:
            continue
        clock.advance_to(clock.now_ns() + cost_ns)
        if gate.admits(t_ns):
            shown.append(t_ns)
            late.append(head.now_ns() - t_ns)
            head.wait_until(t_ns)
    return shown, late


@pytest.mark.parametrize("times", [0.5, 1.5, 3.0, 10.0])
def test_a_decoder_slower_than_real_time_leaves_out_pictures_never_shows_late_ones_and_says_so_once(times):
    clock, told = VirtualClock(), []
    head = Playhead(clock)
    gate = KeepUp(RateLimit(15), head, told.append)
    head.begin()
    shown, late = decode(gate, clock, head, cost_ns=int(times * NS_PER_S / 60), numbers=range(2400), key_every=120)
    assert max(late) <= LATE_NS
    assert shown == sorted(shown)
    apart_s = np.diff(shown) / NS_PER_S
    if times < 2:  # without the pictures that no other is made from it keeps up
        assert apart_s.max() < 2.1
        assert len(shown) > 15 * 40 * 0.7
    assert shown[-1] > 36 * NS_PER_S
    assert told == ([True] if times >= 3 else [])
    assert (gate.left_out > 0) == (times >= 3)


def test_a_live_source_that_fell_behind_goes_on_with_a_picture_that_needs_no_other_and_is_fresh_enough():
    clock, told = VirtualClock(10 * NS_PER_S), []
    live = SimpleNamespace(now_ns=clock.now_ns, stamp_ns=lambda t_ns: t_ns)
    gate = KeepUp(RateLimit(15), live, told.append, slack_ns=LATE_NS // 2)
    for _ in range(3):  # ever later
        clock.advance_to(clock.now_ns() + AGAIN_NS)
        assert not gate.admits(clock.now_ns() // 2)
    assert not gate.decodes(clock.now_ns() - MS, key=False)
    assert not gate.decodes(clock.now_ns() - LATE_NS, key=True)
    assert gate.decodes(clock.now_ns() - LATE_NS // 4, key=True)
    assert gate.admits(clock.now_ns() - LATE_NS // 4)


def test_a_hiccup_is_made_up_for_and_is_not_called_slow():
    clock, told = VirtualClock(), []
    head = Playhead(clock)
    gate = KeepUp(RateLimit(15), head, told.append)
    head.begin()
    decode(gate, clock, head, cost_ns=MS, numbers=range(120), key_every=1000)
    clock.advance_to(clock.now_ns() + int(0.8 * NS_PER_S))
    shown, _ = decode(gate, clock, head, cost_ns=MS, numbers=range(120, 600), key_every=1000)
    assert 2.3 < shown[0] / NS_PER_S < 2.7
    assert np.diff(shown).max() < NS_PER_S / 10
    assert gate.left_out > 0
    assert not told


@pytest.mark.parametrize("key_every", [1000, 240])
def test_a_short_film_is_seen_again_once_a_busy_machine_has_time(key_every):
    clock, told = VirtualClock(), []
    head = Playhead(clock)
    gate = KeepUp(RateLimit(15), head, told.append)
    head.begin()
    busy, free = int(1.5 * NS_PER_S / 60), MS
    decode(gate, clock, head, cost_ns=3 * busy, numbers=range(240), key_every=key_every)
    shown, late = decode(gate, clock, head, cost_ns=free, numbers=range(240, 900), key_every=key_every)
    assert max(late) <= LATE_NS
    assert shown[-1] > 14 * NS_PER_S
    assert np.diff(shown).max() < NS_PER_S / 10
    assert told[0]


def test_the_next_picture_that_needs_no_other_is_looked_for_ahead_and_nothing_is_lost_by_it(tmp_path):
    with av.open(str(write(tmp_path / "film.mkv", Film(3.0, (1.0,))))) as container:
        packets = Packets(container, list(container.streams), lambda *_: None)
        pictures = 0
        for packet in packets:
            if packet.stream.type == "video" and packet.pts is not None:
                pictures += 1
                t_ns = int(packet.pts * packet.time_base * NS_PER_S)
                assert not packets.key_ahead(packet, 3 * NS_PER_S)
                if t_ns < NS_PER_S:
                    assert packets.key_ahead(packet, NS_PER_S)
        assert pictures == 75


def test_a_decoder_that_keeps_up_again_is_told():
    clock, told = VirtualClock(), []
    head = Playhead(clock)
    gate = KeepUp(RateLimit(15), head, told.append)
    head.begin()
    for number in range(100):  # one a second, of which the first 20 come too late
        t_ns = number * NS_PER_S
        clock.advance_to(max(clock.now_ns(), t_ns + (LATE_NS + MS if number < 20 else 0)))
        gate.decodes(t_ns, key=True, key_ahead=lambda _: True)
        gate.admits(t_ns)
    assert told == [True, False]
    assert gate.skip == "DEFAULT"
    assert AGAIN_NS < STEADY_NS
