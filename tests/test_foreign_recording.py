"""A recording that a stranger made is not obeyed, and does not hang, fill the memory or end in a traceback."""

import copy
import json
import threading

import pytest
import zstandard
from mcap.writer import CompressionType, Writer

from realtime.clock import VirtualClock
from realtime.config.schema import Config
from realtime.errors import AgfnError, SourceError
from realtime.export.__main__ import TABLES, export, export_media
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.outlet import Outlet
from realtime.recording import contract, reader
from realtime.recording.journal import VERSION
from realtime.recording.reader import open_recordings
from realtime.report.__main__ import main
from realtime.report.page import page
from realtime.report.session import read
from realtime.session.playback import RecordingReplay, recorded_settings
from scripts.harness.session import session

MARK = '<i id="m"><meta http-equiv="refresh" content="0;url=//x"></i>'
WRONG = (1e308, -1, 2**70, None, [], {"a": [1]}, MARK)


@pytest.fixture(scope="module")
def fuser():
    return Fuser(WEIGHTS, "cpu", VirtualClock())


@pytest.fixture(scope="module")
def ours(fuser, tmp_path_factory):
    """What a recording of ours holds: about itself, and the first entries of every topic in their order."""
    folder = tmp_path_factory.mktemp("ours")
    session(folder, fuser, 2.6, words=True)
    [recording] = open_recordings(folder)
    seen, kept = {}, []
    for at_ns, topic, data in recording.raw():
        seen[topic] = seen.get(topic, 0) + 1
        if seen[topic] <= (3 if topic in {"tick", "sentiment"} else 1):
            kept.append((at_ns, topic, json.loads(data)))
    kept += [(at_ns, topic, media()) for topic in ("video", "audio")]
    return recording.about, kept


def media():
    return {"timestamp": {"sec": 1, "nsec": 5}, "data": "AAAA", "format": "jpeg"}


def write(folder, about, entries, compression=CompressionType.ZSTD):
    folder.mkdir(exist_ok=True)
    path = folder / "desk.mcap"
    with path.open("wb") as file:
        writer = Writer(file, compression=compression)
        writer.start(profile=VERSION, library="a stranger")
        writer.add_metadata("agfn", {key: json.dumps(value) for key, value in about.items()})
        schema = writer.register_schema("any", "jsonschema", b"{}")
        channels = {topic: writer.register_channel(topic, "json", schema) for topic in {each[1] for each in entries}}
        for at_ns, topic, body in entries:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            writer.add_message(channels[topic], at_ns, data, at_ns)
        writer.finish()
    return path


def leaves(value, path=()):
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    yield path


def replaced(body, path, value):
    if not path:
        return value
    changed = copy.deepcopy(body)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return changed


def used(path, fuser, topic=None):
    """What the programs that read a topic (None: all) make of a file; every error is one of ours, in one line."""
    made = None
    uses = {_report: {*contract.MODELS, "begin", "text"}, _media: {"video"}}
    uses[lambda each: _replay(each, fuser)] = {"begin", "tick", "face", "voice", "speech", "text"}
    uses[_tables] = {*contract.MODELS, "face", "speech", "text"}
    for use in [use for use, topics in uses.items() if topic is None or topic in topics]:
        try:
            said = use(path)
            made = said if use is _report else made
        except AgfnError as error:
            assert "\n" not in str(error)
    return made


def _report(path):
    return page([read(recording) for recording in open_recordings(path)])


def _tables(path):
    folder = path.parent / "tables"
    for recording in open_recordings(path):
        for made in export(recording, folder, ["csv", "elan"], frozenset(TABLES)):
            made.unlink()


def _media(path):
    for recording in open_recordings(path):
        for made in export_media(recording, path.parent / "tables"):
            made.unlink()


def _replay(path, fuser):
    [recording] = open_recordings(path)
    config = recorded_settings(Config(), recording)
    RecordingReplay(config, recording, fuser, VirtualClock(), Outlet(), fast=True).run(threading.Event())


@pytest.mark.parametrize("topic", [None, *contract.MODELS, "begin", "tick", "face", "voice", "speech", "text", "video"])
def test_no_wrong_value_anywhere_is_obeyed_or_ends_in_a_traceback(ours, fuser, tmp_path, topic):
    about, entries = ours
    index = next((n for n, each in enumerate(entries) if each[1] == topic), None)
    body = about if topic is None else entries[index][2]
    for place in leaves(body):
        for value in WRONG:
            changed = replaced(body, place, value)
            if topic is not None:
                at_ns = entries[index][0]
                path = write(tmp_path, about, [*entries[:index], (at_ns, topic, changed), *entries[index + 1 :]])
            elif isinstance(changed, dict):
                path = write(tmp_path, changed, entries)
            made = used(path, fuser, topic)
            if made is not None:
                assert "<i" not in made, (place, value)
                assert made.count("<meta") == 4, (place, value)


def test_our_own_is_read_whole(ours, fuser, tmp_path):
    made = used(write(tmp_path, *ours), fuser)
    assert "3 windows" in made
    assert "camera" in made


def test_the_page_may_send_nothing_and_take_nothing_in(ours, tmp_path):
    path = write(tmp_path, *ours)
    assert main([str(path), "-o", str(tmp_path / "report.html")]) == 0
    made = (tmp_path / "report.html").read_text()
    for rule in ("default-src &#39;none&#39;", "form-action &#39;none&#39;", "base-uri &#39;none&#39;"):
        assert rule in made
    assert "unsafe-inline" not in made
    assert " style=" not in made


@pytest.mark.parametrize("end_s", [1e15, 1e10, 1e300])
def test_a_session_of_a_million_years_is_refused(ours, tmp_path, end_s):
    about, entries = ours
    changed = [
        (at_ns, topic, replaced(body, ("window", "end_s"), end_s) if topic == "sentiment" else body)
        for at_ns, topic, body in entries
    ]
    [recording] = open_recordings(write(tmp_path, about, changed))
    with pytest.raises(SourceError, match="damaged sentiment message"):
        read(recording)


def test_the_longest_session_that_is_taken_is_drawn_at_once(ours, tmp_path):
    about, entries = ours
    changed = [
        (at_ns, topic, replaced(body, ("window", "end_s"), 9e8) if topic == "sentiment" else body)
        for at_ns, topic, body in entries
    ]
    [recording] = open_recordings(write(tmp_path, about, changed))
    assert len(page([read(recording)])) < 100_000


@pytest.mark.parametrize("topic", ["sentiment", "event", "health", "lost", "text", "video"])
def test_a_huge_message_is_refused_unread(ours, tmp_path, topic):
    about, entries = ours
    body = b'{"x": "' + b"x" * contract.BULKY.get(topic, contract.MAX_BYTES) + b'"}'
    [recording] = open_recordings(write(tmp_path, about, [entries[0], (1, topic, body)]))
    with pytest.raises(SourceError, match=f"{topic}' of .* bytes"):
        list(recording.raw())


def test_deep_nesting_is_refused(ours, tmp_path):
    about, entries = ours
    [recording] = open_recordings(write(tmp_path, about, [entries[0], (1, "sentiment", b"[" * 60_000)]))
    with pytest.raises(SourceError):
        list(recording.messages())


class Unpacking:
    """Counts what is unpacked."""

    def __init__(self, monkeypatch):
        self.bytes = 0
        self._breakup = reader.breakup_chunk
        monkeypatch.setattr(reader, "breakup_chunk", self)

    def __call__(self, chunk, **options):
        self.bytes += len(zstandard.decompress(chunk.data, chunk.uncompressed_size))
        return self._breakup(chunk, **options)


def test_a_small_file_that_unpacks_to_hundreds_of_megabytes_is_left_at_its_bound(ours, tmp_path, monkeypatch):
    about, _ = ours
    path = write(tmp_path, about, [(n, "video", bytes(1 << 20)) for n in range(300)])
    assert path.stat().st_size < 300_000
    unpacked = Unpacking(monkeypatch)
    [recording] = open_recordings(path)
    list(recording.raw())
    least, times = reader.UNPACKED
    assert "unpacks" in recording.truncated
    assert unpacked.bytes <= least + times * path.stat().st_size + (1 << 20)


def test_a_chunk_that_lies_about_its_size_is_not_unpacked(ours, tmp_path, monkeypatch):
    about, entries = ours
    monkeypatch.setattr(zstandard, "decompress", lambda *_: pytest.fail("unpacked"))

    def bomb(_):
        return zstandard.ZstdCompressor().compress(bytes(reader.RECORD_LIMIT + 1))

    monkeypatch.setattr("mcap.writer.zstandard.compress", bomb)
    [recording] = open_recordings(write(tmp_path, about, entries))
    assert list(recording.raw()) == []
    assert "a chunk of" in recording.truncated


def test_another_compression_has_no_bound_and_is_refused(ours, tmp_path):
    [recording] = open_recordings(write(tmp_path, *ours, compression=CompressionType.LZ4))
    assert list(recording.raw()) == []
    assert "compressed by 'lz4'" in recording.truncated
