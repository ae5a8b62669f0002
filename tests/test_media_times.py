"""What a file's times mean: sound and picture stay together through damage, holes and files put together with `cat`."""

import random

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realtime.capture.timeline import LONGEST_GAP_NS, Stamp, Timeline
from realtime.types import NS_PER_S
from scripts.harness.films import CODECS, FLASH_S, Film, joined, perceive, time_fields, write

MS = 1_000_000
MARKS_S = (0.4, 1.0, 1.6)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder with a film of two seconds in each format."""
    folder = tmp_path_factory.mktemp("films")
    for ending in CODECS:
        write(folder / f"whole.{ending}", Film(2.0, MARKS_S))
    return folder


def together(seen, marks_s, apart_s=0.11):
    """Each mark is seen and heard, both about when it is due."""
    assert seen.flashes_s == pytest.approx(marks_s, abs=apart_s), seen
    assert seen.beeps_s == pytest.approx(marks_s, abs=apart_s), seen


@pytest.mark.parametrize("ending", CODECS)
def test_a_whole_film_is_seen_and_heard_in_step_and_nothing_is_said_of_it(films, ending):
    seen = perceive(films / f"whole.{ending}")
    together(seen, MARKS_S)
    assert not seen.warnings
    assert seen.end_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("ending", ["ts", "mpg", "mkv"])
def test_films_put_together_with_cat_are_played_one_after_the_other_in_step(films, tmp_path, ending):
    # The sound of the first one ends early: by its own end alone it would begin the second film before the picture.
    first = write(tmp_path / f"first.{ending}", Film(2.0, MARKS_S, heard_until_s=1.8))
    parts = [first, films / f"whole.{ending}", first][: 2 if ending == "mkv" else 3]  # FFmpeg reads two at most
    seen = perceive(joined(tmp_path / f"both.{ending}", parts))
    together(seen, [2 * part + mark_s for part in range(len(parts)) for mark_s in MARKS_S], apart_s=0.2)
    apart_s = np.subtract(seen.beeps_s, seen.flashes_s)
    assert np.ptp(apart_s) <= 0.1


@pytest.mark.parametrize(("ending", "count"), [("mp4", 2), ("flv", 2), ("mkv", 3)])
def test_a_film_that_ffmpeg_does_not_reach_is_told(films, tmp_path, ending, count):
    seen = perceive(joined(tmp_path / f"both.{ending}", [films / f"whole.{ending}"] * count))
    assert len(seen.beeps_s) == 3 * (count - 1)
    assert any("another file begins" in warning for warning in seen.warnings)


@pytest.mark.parametrize("kind", ["video", "audio"])
@pytest.mark.parametrize("last", [False, True])
def test_one_damaged_time_does_not_make_a_film_of_two_seconds_last_for_hours(films, tmp_path, kind, last):
    data = bytearray((films / "whole.ts").read_bytes())
    stream_id = 0xE0 if kind == "video" else 0xC0
    fields = [at for at in time_fields(data) if data[at - 6] == stream_id and data[at] >> 4 in {2, 3}]
    data[fields[-1 if last else len(fields) // 2]] ^= 0x08  # its highest bit stands for 13.3 hours
    path = tmp_path / "damaged.ts"
    path.write_bytes(data)
    seen = perceive(path)
    together(seen, MARKS_S)
    assert seen.end_s == pytest.approx(2.0, abs=0.3)
    assert any("time" in warning for warning in seen.warnings)


@pytest.mark.parametrize("ending", ["ts", "mkv", "mp4", "flv"])
@pytest.mark.parametrize("kinds", [("video", "audio"), ("audio",)])
def test_a_jump_of_hours_that_stays_is_left_out(tmp_path, ending, kinds):
    moved = Film(2.0, MARKS_S, moved_s=lambda kind, number: 10_800 * (kind in kinds and number >= 30))
    seen = perceive(write(tmp_path / f"moved.{ending}", moved))
    assert seen.end_s < 10
    assert len(seen.beeps_s) == len(MARKS_S)
    assert any(" h, which was left out" in warning for warning in seen.warnings)


@pytest.mark.parametrize("ending", ["ts", "mkv", "mp4", "flv"])
def test_a_hole_of_seconds_in_all_streams_is_kept(tmp_path, ending):
    film = Film(
        2.0, MARKS_S, moved_s=lambda kind, number: 4.0 * (number >= (20 if kind == "video" else 0.8 * _hz(ending)))
    )
    seen = perceive(write(tmp_path / f"hole.{ending}", film))
    together(seen, [MARKS_S[0], MARKS_S[1] + 4, MARKS_S[2] + 4])
    assert seen.heard_s == pytest.approx(2.0, abs=0.1)


def _hz(ending):
    """Packets of sound a second."""
    frame = {"mp2": 1152, "libopus": 960, "aac": 1024}[CODECS[ending][1]]
    return 48_000 / frame


def test_small_holes_in_the_sound_do_not_add_up(tmp_path):
    marks_s = tuple(np.arange(0.6, 30, 1.0).round(2))
    film = Film(30.0, marks_s, kept=lambda kind, number: kind == "video" or number % 20 != 7)
    seen = perceive(write(tmp_path / "holes.mkv", film))
    together(seen, marks_s)


@pytest.mark.parametrize(
    ("ending", "codec", "layout"),
    [
        ("wav", "pcm_s16le", "7.1"),
        ("wav", "pcm_s16le", "hexadecagonal"),
        ("flac", "flac", "7.1"),
        ("m4a", "aac", "7.1"),
        ("mkv", "libopus", "7.1"),
        ("mkv", "pcm_s16le", "octagonal"),
        ("wav", "pcm_s16le", "5.1"),
    ],
)
def test_sound_of_many_channels_is_heard(tmp_path, ending, codec, layout):
    path = tmp_path / f"many.{ending}"
    write(path, Film(2.0, MARKS_S, layout=layout, codecs=(None, codec)))
    seen = perceive(path)
    assert seen.beeps_s == pytest.approx(MARKS_S, abs=0.03)
    assert not seen.warnings


@pytest.mark.parametrize("ending", ["mkv", "flv", "wav", "mp4"])
def test_a_film_that_was_cut_off_between_two_packets_says_so(films, tmp_path, ending):
    path = tmp_path / f"cut.{ending}"
    if ending == "wav":
        write(path, Film(2.0, MARKS_S, codecs=(None, "pcm_s16le")))
        path.write_bytes(path.read_bytes()[:80_000])
    else:
        fast = Film(2.0, MARKS_S, options={"movflags": "faststart"})
        data = write(path, fast).read_bytes() if ending == "mp4" else (films / f"whole.{ending}").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    seen = perceive(path)
    assert seen.end_s < 1.5
    assert any("cut off" in warning or "damaged" in warning for warning in seen.warnings)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    count=st.integers(1, 6),
)
@example(seed=100, count=2)  # a packet of sound 0.18 s too late: what came after it was taken for a repetition
def test_any_damaged_times_leave_a_film_about_as_long_as_it_is(films, tmp_path_factory, seed, count):
    rng = random.Random(seed)
    data = bytearray((films / "whole.ts").read_bytes())
    fields = time_fields(data)
    for at in rng.sample(fields, count):
        data[at + rng.randrange(5)] ^= 1 << rng.randrange(1, 8)
    path = tmp_path_factory.mktemp("times") / "damaged.ts"
    path.write_bytes(data)
    seen = perceive(path)
    assert seen.end_s < 2.5 + count * LONGEST_GAP_NS / NS_PER_S
    assert len(seen.beeps_s) == len(MARKS_S)


@settings(max_examples=40, deadline=None)
@given(
    ending=st.sampled_from(["ts", "mkv", "mp4"]),
    steps=st.lists(st.sampled_from([0.04, 0.08, 0.12, 0.4, 1.2]), min_size=2, max_size=12),
    lost=st.sets(st.integers(0, 80), max_size=15),
    late_s=st.sampled_from([0.0, 0.3, 2.0, 100.0]),
)
def test_any_rate_of_pictures_any_holes_and_any_beginning_leave_sound_and_picture_in_step(
    tmp_path_factory, ending, steps, lost, late_s
):
    shown_s = tuple(np.cumsum([0.0, *steps]).round(2))
    marks_s = tuple(at_s for at_s in shown_s if at_s >= 0.1)[:1]
    film = Film(
        shown_s[-1] + 0.5,
        marks_s,
        shown_s=shown_s,
        kept=lambda kind, number: kind == "video" or number not in lost,
        moved_s=lambda _kind, _number: late_s,
    )
    seen = perceive(write(tmp_path_factory.mktemp("steps") / f"film.{ending}", film))
    for flash_s, beep_s in zip(seen.flashes_s, seen.beeps_s, strict=False):
        assert beep_s - flash_s == pytest.approx(0, abs=FLASH_S + 0.06)
    assert seen.pictures >= len(shown_s) - 1
    assert seen.end_s <= film.seconds + 0.3


def times_of(timeline, stamps):
    """The mended times of packets in seconds."""
    return [
        (stamp.t_ns + timeline.shift_ns(stamp, lambda at=at: iter(stamps[at + 1 :]))) / NS_PER_S
        for at, stamp in enumerate(stamps)
    ]


@settings(max_examples=200, deadline=None)
@given(
    moves=st.lists(st.tuples(st.integers(0, 199), st.integers(-(10**15), 10**15)), max_size=8),
    end_s=st.none() | st.just(2.0),
    restarts=st.booleans(),
)
def test_whatever_times_packets_carry_a_stream_never_falls_back_nor_runs_away(moves, end_s, restarts):
    """Two streams of 100 packets each, 20 ms long, in turn."""
    stamps = [Stamp(i % 2, (i // 2) * 20 * MS, 20 * MS) for i in range(200)]
    for at, moved_ns in moves:
        stamps[at] = Stamp(stamps[at].stream, stamps[at].t_ns + moved_ns, 20 * MS)
    end_ns = None if end_s is None else int(end_s * NS_PER_S)
    warnings = []
    timeline = Timeline(end_ns, restarts=restarts, warn=lambda _stream, problem: warnings.append(problem))
    mended_s = times_of(timeline, stamps)
    for stream in (0, 1):
        own_s = mended_s[stream::2]
        assert np.diff(own_s).min() >= -5.3
    assert max(mended_s) <= 2.0 + 11 * len(moves)
    if not moves:
        assert not warnings
        assert mended_s == [stamp.t_ns / NS_PER_S for stamp in stamps]


@pytest.mark.parametrize("moved_ms", [-250, -180, 70, 180, 400, 990])
@pytest.mark.parametrize("at", [[50], [50, 51], [50, 53], [99]])
def test_a_time_that_is_off_by_less_than_a_second_is_mended(moved_ms, at):
    stamps = [Stamp(0, i * 24 * MS, 24 * MS) for i in range(100)]
    for i in at:
        stamps[i] = Stamp(0, stamps[i].t_ns + moved_ms * MS, 24 * MS)
    timeline = Timeline(None, restarts=False, warn=lambda *_: None)
    mended_s = times_of(timeline, stamps)
    if at == [99]:  # nothing after it says what is right
        mended_s.pop()
    assert mended_s == pytest.approx([i * 0.024 for i in range(len(mended_s))])


def test_small_holes_and_pictures_that_stand_for_a_while_are_no_damage():
    steps_ms = [24, 24, 100, 24, 24, 24, 24, 400, 24, 900, 900, 24, 24, 70, 24, 24]
    stamps = [Stamp(0, int(t_ms) * MS, 24 * MS) for t_ms in np.cumsum(steps_ms)]
    warnings = []
    timeline = Timeline(None, restarts=False, warn=lambda *problem: warnings.append(problem))
    assert times_of(timeline, stamps) == [stamp.t_ns / NS_PER_S for stamp in stamps]
    assert not warnings


def test_a_film_that_turns_its_rate_and_layout_in_the_middle_is_heard_on(tmp_path):
    parts = [
        write(tmp_path / f"{number}.ts", Film(2.0, MARKS_S, rate_hz=rate_hz, layout=layout))
        for number, (rate_hz, layout) in enumerate([(48_000, "mono"), (44_100, "stereo"), (32_000, "mono")])
    ]
    seen = perceive(joined(tmp_path / "turned.ts", parts))
    assert len(seen.beeps_s) == 9
    assert seen.beeps_s == pytest.approx([2 * i + mark_s for i in range(3) for mark_s in MARKS_S], abs=0.25)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_picture_that_lies_on_its_side_is_shown_in_time_as_well(films, tmp_path, degrees):
    path = tmp_path / "lying.mp4"
    with av.open(str(films / "whole.mp4")) as source, av.open(str(path), "w") as sink:
        streams = {stream.index: sink.add_stream_from_template(stream) for stream in source.streams}
        if degrees:
            streams[source.streams.video[0].index].set_display_rotation(degrees)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                sink.mux(packet)
    together(perceive(path), MARKS_S)
