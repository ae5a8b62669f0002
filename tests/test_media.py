import itertools
import wave

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.capture.media import MediaFile, due_ns
from realtime.capture.resample import Resampler
from realtime.capture.soundblocks import SoundBlocks
from realtime.capture.thin import RateLimit
from realtime.config.schema import CameraConfig
from realtime.errors import SourceError
from realtime.types import NS_PER_S, Chunk, Frame
from scripts.harness import clips

START_NS = 5 * NS_PER_S
MS = 1_000_000


def opened(path, **camera):
    return MediaFile(path, CameraConfig(**camera))


def split(items):
    items = list(items)
    return [i for i in items if isinstance(i, Frame)], [i for i in items if isinstance(i, Chunk)]


@pytest.fixture(params=["mosi_clips/03bSnISJMiM_1.mp4", "cremad/1001_DFA_HAP_XX.flv", "grid/bgbh4n.mpg"])
def any_clip(data_dir, request):
    return data_dir / request.param


def test_items_come_in_the_order_in_which_a_device_would_hand_them_over(any_clip):
    dues = [due_ns(item) for item in opened(any_clip).items(START_NS)]
    assert dues == sorted(dues)
    assert dues[0] >= START_NS


def test_sound_is_one_unbroken_line_of_20_ms_blocks(any_clip):
    _, chunks = split(opened(any_clip).items(START_NS))
    assert all(chunk.samples.dtype == np.float32 and np.abs(chunk.samples).max() <= 1 for chunk in chunks)
    assert {len(chunk.samples) for chunk in chunks[:-1]} == {320}
    assert all(after.t_ns == before.end_ns for before, after in itertools.pairwise(chunks))
    assert not any(chunk.lost_samples for chunk in chunks)


def test_sound_and_picture_last_as_long_as_the_file_says(any_clip):
    media = opened(any_clip)
    frames, chunks = split(media.items(0))
    assert media.has_picture
    assert media.has_sound
    assert frames[-1].t_ns / NS_PER_S == pytest.approx(media.duration_s, abs=0.1)
    assert chunks[-1].end_ns / NS_PER_S == pytest.approx(media.duration_s, abs=0.1)
    assert media.warning is None


def test_pictures_are_bgr_and_thinned_evenly(clip):
    frames, _ = split(opened(clip, max_fps=15).items(0))
    assert frames[0].image.shape == (360, 640, 3)
    assert frames[0].image.dtype == np.uint8
    gaps_ms = {round((b.t_ns - a.t_ns) / MS) for a, b in itertools.pairwise(frames)}
    assert gaps_ms == {67}  # every second one of 30 frames/s


def test_reading_twice_gives_the_same_bits(clip):
    media = opened(clip)
    once, again = list(media.items(7)), list(media.items(7))
    assert len(once) == len(again)
    for a, b in zip(once, again, strict=True):
        assert (type(a), a.t_ns) == (type(b), b.t_ns)
        assert np.array_equal(*(i.image if isinstance(i, Frame) else i.samples for i in (a, b)))


def write_wav(path, samples, channels, rate_hz):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_sound_that_has_the_right_rate_already_is_not_changed(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32767, 5000)
    path = write_wav(tmp_path / "noise.wav", samples, 1, 16_000)
    assert np.array_equal(clips.sound(path), samples.astype(np.float32) / 32768)


def test_a_title_that_is_no_utf_8_does_no_harm(tmp_path):
    title = b"INAM\x06\x00\x00\x00Caf\xe9!\x00"
    info = b"LIST" + (4 + len(title)).to_bytes(4, "little") + b"INFO" + title
    sound = b"data" + (6400).to_bytes(4, "little") + b"\x10\x00" * 3200
    head = b"fmt \x10\x00\x00\x00\x01\x00\x01\x00\x80>\x00\x00\x00}\x00\x00\x02\x00\x10\x00"
    body = b"WAVE" + head + info + sound
    path = tmp_path / "latin.wav"
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    _, chunks = split(opened(path).items(0))
    assert sum(len(chunk.samples) for chunk in chunks) == 3200


def test_compressed_sound_is_what_another_decoder_hears(data_dir):
    path = data_dir / "emodb" / "03a01Fa.ogg"
    expected, rate_hz = soundfile.read(path)
    assert rate_hz == 16_000
    assert np.corrcoef(clips.sound(path), expected)[0, 1] > 0.999


def test_stereo_is_averaged_not_added(tmp_path):
    times_s = np.arange(44_100) / 44_100
    tone = 0.9 * np.sin(2 * np.pi * 440 * times_s)
    path = write_wav(tmp_path / "tone.wav", np.repeat(tone * 32767, 2), 2, 44_100)
    heard = clips.sound(path)
    assert len(heard) == pytest.approx(16_000, abs=2)
    expected = 0.9 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 16_000)
    assert np.abs(heard - expected)[200:-200].max() < 0.01  # in time to the sample, and as loud


def test_red_is_the_last_channel(tmp_path):
    path = tmp_path / "red.mkv"
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        red = np.zeros((48, 64, 3), np.uint8)
        red[..., 0] = 255
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(red, "rgb24")), *stream.encode(None)]:
            sink.mux(packet)
    (frame,) = clips.frames(path)
    assert frame.image.reshape(-1, 3).mean(axis=0).tolist() == [0, 0, 255]


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_phones_picture_stands_upright(clip, tmp_path, degrees):
    lying, upright = clips.frames(clip)[0].image, clips.frames(clips.turned(clip, tmp_path, degrees))[0].image
    assert np.array_equal(upright, np.rot90(lying, degrees // 90))


def test_without_sound_there_are_only_frames(clip, tmp_path):
    media = opened(clips.without_sound(clip, tmp_path))
    frames, chunks = split(media.items(0))
    assert (media.has_picture, media.has_sound) == (True, False)
    assert len(frames) == 50
    assert not chunks


def test_without_picture_there_are_only_chunks(clip, tmp_path):
    media = opened(clips.without_picture(clip, tmp_path))
    frames, chunks = split(media.items(0))
    assert (media.has_picture, media.has_sound) == (False, True)
    assert not frames
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), clips.sound(clip))


def test_a_cover_is_no_picture(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as sink:
        cover = sink.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = sink.add_stream("mp3", rate=44_100, layout="mono")
        grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), "bgr24")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.float32), "fltp", "mono")
        silence.sample_rate = 44_100
        for packet in [*cover.encode(grey), *cover.encode(None), *sound.encode(silence), *sound.encode(None)]:
            sink.mux(packet)
    with av.open(str(path)) as made:
        assert {stream.type for stream in made.streams} == {"audio", "video"}
    media = opened(path)
    assert (media.has_picture, media.has_sound) == (False, True)


def bad_files(folder, clip):
    text = folder / "notes.txt"
    text.write_text("no film\n" * 100)
    subtitles = folder / "words.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    image = folder / "face.jpg"
    image.write_bytes(clips.encoded(clips.frames(clip)[0].image))
    return {
        "image": (image, "neither moving pictures nor sound"),
        "missing": (folder / "nothing.mp4", "no such file"),
        "folder": (folder, "is not a file"),
        "empty": (clips.empty(folder), "0 bytes"),
        "text": (text, "neither moving pictures nor sound"),
        "cut off": (clips.cut_off(clip, folder), "cut off"),
        "subtitles": (subtitles, "neither moving pictures nor sound"),
        "colon": (folder / "concat:x.mp4", "no such file"),
    }


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "image", "cut off", "subtitles", "colon"])
def test_a_bad_file_is_one_line_that_names_it_and_the_problem(kind, clip, tmp_path):
    path, problem = bad_files(tmp_path, clip)[kind]
    with pytest.raises(SourceError) as caught:
        opened(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert problem in message
    assert ";" in message  # what to try
    assert "\n" not in message


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes_and_says_so(clip, tmp_path):
    media = opened(clips.cut_off(clips.with_index_first(clip, tmp_path), tmp_path, 0.6))
    frames, chunks = split(media.items(0))
    whole, whole_chunks = split(opened(clip).items(0))
    assert 10 < len(frames) < len(whole)
    assert 30 < len(chunks) < len(whole_chunks)
    assert "damaged" in media.warning
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, whole, strict=False))


@pytest.fixture(scope="module")
def small_files(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    mp4 = clips.with_index_first(data_dir / "mosi_clips/03bSnISJMiM_10.mp4", folder)
    return folder, [mp4, data_dir / "cremad/1001_DFA_HAP_XX.flv", data_dir / "emodb/03a01Fa.ogg"]


@settings(max_examples=25, deadline=None)
@given(which=st.integers(0, 2), share=st.floats(0, 1), flips=st.lists(st.floats(0, 1), max_size=20))
def test_any_cut_and_any_flipped_bytes_give_an_error_or_a_clean_read(small_files, which, share, flips):
    folder, files = small_files
    data = bytearray(files[which].read_bytes())
    del data[int(len(data) * share) :]
    for place in flips:
        if data:
            data[int(place * (len(data) - 1))] ^= 0x5A
    path = folder / f"damaged{files[which].suffix}"
    path.write_bytes(data)
    try:
        items = list(opened(path).items(0))
    except SourceError:
        return
    dues = [due_ns(item) for item in items]
    assert dues == sorted(dues)
    assert all(np.isfinite(item.samples).all() for item in items if isinstance(item, Chunk))


def sound_frame(samples, rate_hz=48_000):
    frame = av.AudioFrame.from_ndarray(np.atleast_2d(samples).astype(np.float32), "fltp", "mono")
    frame.sample_rate = rate_hz
    return frame


def test_a_hole_in_the_sound_is_marked_with_what_is_missing():
    blocks = SoundBlocks(20)
    tenth = np.full(4800, 0.5)
    chunks = [
        *blocks.feed(sound_frame(tenth), 0),
        *blocks.feed(sound_frame(tenth), 100 * MS),
        *blocks.feed(sound_frame(tenth), 700 * MS),
        *blocks.flush(),
    ]
    (first,) = [chunk for chunk in chunks if chunk.lost_samples]
    assert first.lost_samples == 8000
    assert first.t_ns == 700 * MS
    assert sum(len(chunk.samples) for chunk in chunks) == 4800


def test_times_that_are_rounded_to_milliseconds_leave_no_holes():
    blocks = SoundBlocks(20)
    chunks = [c for i in range(100) for c in blocks.feed(sound_frame(np.zeros(1152), 44_100), i * 26 * MS)]
    assert all(after.t_ns == before.end_ns for before, after in itertools.pairwise(chunks))


def test_a_rate_that_changes_in_the_middle_is_followed():
    blocks = SoundBlocks(20)
    chunks = [
        *blocks.feed(sound_frame(np.full(4800, 0.25), 48_000), 0),
        *blocks.feed(sound_frame(np.full(4410, 0.25), 44_100), 100 * MS),
        *blocks.flush(),
    ]
    assert chunks[-1].end_ns == pytest.approx(200 * MS, abs=MS)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 1999), max_size=8), rate_hz=st.sampled_from([8000, 44_100, 48_000]))
def test_any_chunking_resamples_to_the_same_sound(cuts, rate_hz):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2000, 2)).astype(np.float32)
    whole, pieces = Resampler(), Resampler()
    expected = np.concatenate([whole.feed_array(noise, rate_hz), whole.flush()])
    parts = [pieces.feed_array(part, rate_hz) for part in np.split(noise, sorted(set(cuts)))]
    assert np.array_equal(np.concatenate([*parts, pieces.flush()]), expected)


@pytest.mark.parametrize(("camera_fps", "max_fps", "kept_fps"), [(30, 15, 15), (25, 15, 15), (10, 15, 10), (60, 7, 7)])
def test_the_rate_is_kept_on_average_despite_jitter(camera_fps, max_fps, kept_fps):
    limit, rng = RateLimit(max_fps), np.random.default_rng(2)
    jitter = rng.uniform(-0.1, 0.1, camera_fps * 20)
    times = [int((i + jitter[i]) / camera_fps * NS_PER_S) for i in range(camera_fps * 20)]
    assert sum(limit.admits(t) for t in times) == pytest.approx(kept_fps * 20, abs=2)


def test_after_a_pause_the_missed_frames_are_not_made_up_for():
    limit = RateLimit(10)
    assert limit.admits(0)
    assert [limit.admits(60 * NS_PER_S + i * 10 * MS) for i in range(6)] == [True] + [False] * 5
