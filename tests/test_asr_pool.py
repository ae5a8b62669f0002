"""The ASR pool: the same words as one's own recogniser's, and never a wait for one that is slow, hung or gone."""

import asyncio
import itertools
import json
import logging
import os
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import VirtualClock
from realtime.config.schema import AsrConfig
from realtime.errors import UsageError
from realtime.extract.asr.decode_queue import DecodeQueue
from realtime.extract.asr.transcriber import AsrModel, Transcriber
from realtime.extract.asr.whisper import Hypothesis, Request, Timed
from realtime.extract.vad import SpeechDetector
from realtime.fleet import asr_link, asr_pool, asr_processes
from realtime.fleet import asr_wire as wire
from realtime.fleet.asr_address import parsed, secret_of, server_tls
from realtime.fleet.asr_backlog import Backlog, Job
from realtime.fleet.asr_link import TRY_S, Trust
from realtime.fleet.asr_pool import AsrPool
from realtime.fleet.asr_processes import AsrProcesses
from realtime.fleet.config import AsrLinks, AsrPoolConfig, FleetConfig
from realtime.fleet.remote_asr import RemoteAsr
from realtime.publish.connection import LoopThread
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk
from scripts.harness import talking
from scripts.harness.processes import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
TOKEN = "a-secret-for-the-tests"
ENVIRON = {"AGFN_ASR_POOL_TOKEN": TOKEN}
SOUND = np.full(1600, 0.25, np.float32)


@pytest.fixture(scope="module")
def model():
    return AsrModel(AsrConfig())


class Echo:
    """A model that hears the first sample of the sound, and decodes only while it may."""

    vocabulary = 10

    def __init__(self):
        self.may, self.batches, self.hurt = threading.Event(), [], None
        self.may.set()

    def decode_batch(self, requests):
        self.batches.append(len(requests))
        self.may.wait(20)
        if self.hurt is not None and any(request.max_tokens == self.hurt for request in requests):
            raise RuntimeError("secretly said")
        return [(heard(f" w{request.sound[0]:.2f}"), request.language or "en") for request in requests]


class Own:
    """A host's own recogniser."""

    def __init__(self):
        self.decodes = 0

    def decode(self, sound, prefix, max_tokens, language):  # noqa: ARG002 - the signature of a decoder
        self.decodes += 1
        return heard(" own"), "en"


def heard(word):
    return Hypothesis((Timed(0.1, 0.5, word, 0.9, (1, 2), (3,)),), 0.125, -0.5, 0.75, cut_short=False)


def said(found):
    return "".join(word.text for word in found[0].words)


@contextmanager
def serving(model, path, **options):
    """A pool in a thread of this process."""
    pool = AsrPool(model, AsrConfig(), AsrPoolConfig(**options), TOKEN, lambda: None)
    thread, stop = LoopThread("pool"), asyncio.Event()
    thread.start(pool.run(parsed(f"unix:{path}"), None, stop))
    wait_until(path.exists, 5, "the pool")
    try:
        yield pool
    finally:
        thread.call(stop.set)
        thread.join(5)


@contextmanager
def reaching(own, *paths, vocabulary=10, environ=ENVIRON, ready=True, **options):
    """A host's way to pools."""
    links = AsrLinks(addresses=tuple(f"unix:{path}" for path in paths)).model_copy(update=options)
    remote = RemoteAsr(links, DecodeQueue(own), vocabulary, "en", environ)
    try:
        if ready:
            wait_until(lambda: all(link.usable for link in remote.links), 20, "the connections")
        yield remote
    finally:
        remote.close()


def decode(remote, level=0.25):
    return remote.member().decode(np.full(1600, level, np.float32), (1, 2), 30, "en")


def frames_of(samples):
    detector, frames = SpeechDetector(), []
    for at in range(0, len(samples), 320):
        frames += detector.feed(Chunk(at * NS_PER_S // SAMPLE_RATE_HZ, samples[at : at + 320]))
    return [*frames, *detector.flush()]


def recognise(decoder, frames):
    """The committed words with their times, on a simulated clock."""
    transcriber = Transcriber(AsrConfig(step_s=0.8), decoder, VirtualClock())
    updates = [*itertools.chain.from_iterable(map(transcriber.feed, frames)), *transcriber.flush()]
    return [(word.text, word.start_ns, word.end_ns) for update in updates for word in update.committed]


class Held:
    """A model whose first decode begins when so many have been asked for, with those of its batch."""

    def __init__(self, model, waiting):
        self.model, self.waiting, self.pool = model, waiting, None
        self.vocabulary = model.vocabulary

    def decode_batch(self, requests):
        if self.waiting:
            others = self.waiting - len(requests)
            wait_until(lambda: len(self.pool._backlog) >= others, 4, "the other streams", step_s=0.005)
            self.waiting = 0
        return self.model.decode_batch(requests)


class Noted:
    """A decoder that notes what is asked of it, and what it answers."""

    def __init__(self, inner):
        self.inner, self.asked, self.found = inner, [], []

    def decode(self, sound, prefix, max_tokens, language):
        self.asked.append(Request(sound, tuple(prefix), max_tokens, language))
        self.found.append(self.inner.decode(sound, prefix, max_tokens, language))
        return self.found[-1]


@pytest.mark.models
def test_words_from_the_pool_are_those_of_the_own_recogniser_alone_and_with_other_streams(model, tmp_path):
    streams = [frames_of(talking.sound(take)) for take in talking.SENTENCES[:2]]
    noted = Noted(model)
    alone = [recognise(noted, frames) for frames in streams]
    assert all(len(words) >= 10 for words in alone)

    # One by one, and mixed in batches, whose prefixes have different lengths.
    asked = noted.asked
    mixed = np.random.default_rng(3).permutation(len(asked))[:6]
    assert len({len(asked[number].prefix) for number in mixed}) > 2
    for number, (batched, _) in zip(mixed, model.decode_batch([asked[number] for number in mixed]), strict=True):
        single, _ = noted.found[number]
        assert batched.words == single.words
        assert batched.no_speech == pytest.approx(single.no_speech, abs=1e-4)
        assert batched.mean_logprob == pytest.approx(single.mean_logprob, abs=1e-3)

    # The streams together, one of them twice, through a pool that begins when all three have asked.
    streams.append(streams[0])
    found = {}
    held = Held(model, waiting=len(streams))
    with (
        serving(held, tmp_path / "s") as held.pool,
        reaching(Own(), tmp_path / "s", vocabulary=model.vocabulary, deadline_s=60) as remote,
    ):

        def run(number):
            found[number] = recognise(remote.member(), streams[number])

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(streams))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert set(remote.decodes) == {"pool"}, "none was done by the host"
    assert held.pool.batches < held.pool.decodes == sum(remote.decodes.values())
    assert [found[number] for number in range(len(streams))] == [*alone, alone[0]]


@pytest.mark.models
def test_a_pool_that_is_halved_killed_or_stopped_costs_a_deadline_at_most(model, caplog):
    caplog.set_level(logging.INFO)
    config = FleetConfig(asr_pool={"processes": 2, "deadline_s": 1.5}, settings={"mqtt": {"url": "mqtt://127.0.0.1"}})
    processes, own = AsrProcesses(config, "warning"), Own()
    links, remote = processes.links(), None
    sound = talking.sound(talking.BEST)[: 2 * SAMPLE_RATE_HZ]

    def spoken():
        begun_s = time.monotonic()
        found = remote.member().decode(sound, (), 40, "en")
        assert time.monotonic() - begun_s < links.deadline_s + 1.0
        return said(found)

    try:
        remote = RemoteAsr(links, DecodeQueue(own), model.vocabulary, "en")
        wait_until(lambda: all(link.usable for link in remote.links), 60, "two recognisers")
        assert "best" in spoken()
        # Halved: the other one goes on.
        os.kill(processes.pids()[0], signal.SIGKILL)
        wait_until(lambda: not remote.links[0].up, 5, "the end of one")
        assert "best" in spoken()
        # Hung, the successor of the other, too: the host decodes by itself, after the deadline once, then at once.
        pids = processes.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert spoken() == " own"
        begun_s = time.monotonic()
        assert {spoken() for _ in range(20)} == {" own"}
        assert time.monotonic() - begun_s < 0.5, "nobody waits for a pool that hangs"
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: "best" in spoken(), 10, "the pool to be back", step_s=0.2)
    finally:
        if remote is not None:
            remote.close()
        processes.close()
    assert processes.pids() == []
    assert "best" not in caplog.text.lower(), "no word is logged"


def test_decodes_that_wait_are_taken_together_and_what_is_too_much_or_too_late_is_the_hosts(tmp_path, monkeypatch):
    monkeypatch.setattr(asr_link, "TRY_S", (0.2, 1.0))
    model, own = Echo(), Own()
    with (
        serving(model, tmp_path / "s", batch=4, queue=3) as pool,
        reaching(own, tmp_path / "s", deadline_s=0.5) as remote,
    ):
        assert said(decode(remote, 0.5)) == " w0.50"
        pool._backlog._decode_s = 0.0  # a decode takes no time, as far as it knows
        model.may.clear()
        found = []
        threads = [threading.Thread(target=lambda: found.append(said(decode(remote)))) for _ in range(7)]
        threads[0].start()
        wait_until(lambda: len(model.batches) == 2, 5, "the first to be decoded")
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: remote.decodes["busy"] == 3, 5, "refusals")
        assert len(pool._backlog) == pool.most_waiting == 3
        assert own.decodes == 3, "at once, long before the deadline"
        model.may.set()
        for thread in threads:
            thread.join(5)
        assert sorted(found) == [" own"] * 3 + [" w0.25"] * 4
        assert model.batches == [1, 1, 3]
        # What is too late is not decoded any more, and the pool is tried with copies until it is quick again.
        model.may.clear()
        first = threading.Thread(target=decode, args=(remote,))
        first.start()
        wait_until(lambda: len(model.batches) == 4, 5, "the next")
        assert said(decode(remote)) == " own"
        first.join(5)
        assert remote.decodes["late"] == 2
        assert not remote.links[0].usable
        begun_s = time.monotonic()
        assert said(decode(remote)) == " own"
        assert time.monotonic() - begun_s < 0.2
        model.may.set()
        wait_until(lambda: said(decode(remote)) == " w0.25", 5, "the pool to be relied on again")
        assert remote.told() == (dict(remote.decodes), 1)


def test_a_recogniser_that_was_started_anew_is_relied_on_once_it_has_answered_a_copy_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(asr_link, "AGAIN_S", (0.02, 0.1))
    monkeypatch.setattr(asr_link, "TRY_S", (0.1, 1.0))
    own, cold = Own(), Echo()
    with reaching(own, tmp_path / "s", ready=False, deadline_s=2) as remote:
        (link,) = remote.links
        with serving(Echo(), tmp_path / "s"):
            wait_until(lambda: link.usable, 5, "the connection")
            assert said(decode(remote)) == " w0.25"
        wait_until(lambda: not link.up, 5, "its end")
        cold.may.clear()
        with serving(cold, tmp_path / "s"):
            wait_until(lambda: link.up, 5, "its successor")
            begun_s = time.monotonic()
            assert said(decode(remote)) == " own"
            assert time.monotonic() - begun_s < 1.0, "nobody waits for a model that is cold"
            cold.may.set()
            wait_until(lambda: said(decode(remote)) == " w0.25", 5, "the successor to be relied on")
    assert set(remote.decodes) == {"pool", "down"}


def test_a_recogniser_that_was_late_is_tried_again_while_another_does_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(asr_link, "TRY_S", (0.05, 0.2))
    slow, own = Echo(), Own()
    with (
        serving(slow, tmp_path / "slow"),
        serving(Echo(), tmp_path / "quick"),
        reaching(own, tmp_path / "slow", tmp_path / "quick", deadline_s=0.3) as remote,
    ):
        slow.may.clear()
        assert said(decode(remote)) == " own", "late"
        assert said(decode(remote)) == " w0.25"
        assert remote.told()[1] == 1
        slow.may.set()
        wait_until(lambda: said(decode(remote)) == " w0.25" and remote.told()[1] == 2, 5, "both to be relied on")
    assert own.decodes == 1


def test_recognisers_that_have_ended_load_their_models_one_after_the_other(tmp_path, monkeypatch):
    stand_in = tmp_path / "recogniser"
    stand_in.write_text("#!/bin/sh\nexec sleep 60\n")
    stand_in.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    monkeypatch.setattr(asr_processes, "LOOK_S", 0.02)
    monkeypatch.setattr(asr_processes, "AGAIN_S", (0.05, 0.1))
    settings_ = {"mqtt": {"url": "mqtt://127.0.0.1"}}
    processes = AsrProcesses(FleetConfig(asr_pool={"processes": 3}, settings=settings_), "warning")
    try:
        wait_until(lambda: len(processes.pids()) == 3, 5, "all at once in the beginning")
        first = processes.pids()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not set(first) & set(processes.pids()), 5, "their end")
        for many in (1, 2, 3):
            wait_until(lambda: len(processes.pids()) == many, 5, "the next")  # noqa: B023 - called at once
            time.sleep(0.2)
            assert len(processes.pids()) == many, "one that does not listen yet is waited for"
            for slot in processes._slots:
                if slot.process is not None:
                    Path(parsed(slot.address).path).touch()
    finally:
        processes.close()


def test_a_decode_that_fails_in_the_pool_costs_no_other_stream_its_words_and_is_not_repeated_in_the_log(
    tmp_path, caplog
):
    model, own = Echo(), Own()
    with serving(model, tmp_path / "s") as pool, reaching(own, tmp_path / "s", deadline_s=5) as remote:
        model.may.clear()
        found = {}

        def run(tokens):
            found[tokens] = said(remote.member().decode(SOUND, (), tokens, "en"))

        threads = [threading.Thread(target=run, args=(tokens,)) for tokens in (1, 13, 15)]
        threads[0].start()
        wait_until(lambda: model.batches == [1], 5, "the first to be decoded")
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: len(pool._backlog) == 2, 5, "the others to wait")
        model.hurt = 13
        model.may.set()
        for thread in threads:
            thread.join(5)
    assert found == {1: " w0.25", 13: " own", 15: " w0.25"}
    assert "RuntimeError" in caplog.text
    assert "secretly" not in caplog.text


def test_who_does_not_know_the_secret_gets_nothing_in_either_direction(tmp_path, caplog):
    model = Echo()
    with serving(model, tmp_path / "s"):
        stranger = {"AGFN_ASR_POOL_TOKEN": "another-secret-altogether"}
        with reaching(Own(), tmp_path / "s", environ=stranger, ready=False) as remote:
            wait_until(lambda: "is the secret the same there" in caplog.text, 5, "the refusal")
            assert said(decode(remote)) == " own"
        with reaching(Own(), tmp_path / "s", vocabulary=11, ready=False) as remote:
            wait_until(lambda: "must be of one kind" in caplog.text, 5, "the refusal of another kind of model")
            assert said(decode(remote)) == " own"
        # Who is no pool learns nothing of the secret, and no sound.
        for rubbish in (b"GET / HTTP/1.1\r\n\r\n" * 9, struct.pack(">II", 10**6, 0), struct.pack(">II", 2, 9) + b"{}"):
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.settimeout(5)
                visitor.connect(str(tmp_path / "s"))
                assert visitor.recv(4096)
                with suppress(OSError):
                    visitor.sendall(rubbish)
                with suppress(ConnectionResetError):
                    assert visitor.recv(4096) == b"", "hung up on"
        with reaching(Own(), tmp_path / "s") as remote:
            assert said(decode(remote)) == " w0.25", "everybody else is served"
    assert model.batches == [1]
    assert all(secret not in caplog.text for secret in (TOKEN, *stranger.values()))
    assert (tmp_path / "s").exists() is False or (tmp_path / "s").stat().st_mode & 0o077 == 0


def test_a_false_pool_gets_no_sound(tmp_path):
    got = []
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "s"))
        door.listen()

        def pretend():
            visitor, _ = door.accept()
            with visitor:
                visitor.sendall(wire.frame(wire.Greeting(schema=wire.SCHEMA, number="0" * 32)))
                got.append(visitor.recv(4096))
                forged = wire.Welcome(proof="0" * 64, model="tiny.en", vocabulary=10, language="en")
                visitor.sendall(wire.frame(forged))
                visitor.settimeout(5)
                with suppress(ConnectionResetError):
                    got.append(visitor.recv(4096))

        thread = threading.Thread(target=pretend)
        thread.start()
        with reaching(Own(), tmp_path / "s", ready=False) as remote:
            thread.join(5)
            assert said(decode(remote)) == " own"
            assert not remote.links[0].up
    assert TOKEN.encode() not in got[0]
    assert got[1:] in ([], [b""])


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50), st.lists(st.integers(0, 51863), max_size=9))
def test_a_decode_and_its_answer_come_over_as_they_were_sent(samples, tokens):
    sound = np.float32(samples)
    for encoding, step in (("float32", 0), ("int16", 1 / wire.FULL_SCALE)):
        sent = wire.ask_of(7, Request(sound, tuple(tokens), 30, None), encoding, 0.5)
        header, size = wire.lengths(sent[:8], most_sound=wire.MOST_SOUND_BYTES)
        request = wire.request_of(wire.read(wire.Ask, sent[8 : 8 + header]), sent[8 + header :])
        assert len(sent) == 8 + header + size
        assert np.abs(request.sound - sound).max() <= step
        assert (request.prefix, request.max_tokens, request.language) == (tuple(tokens), 30, None)
    hypothesis = Hypothesis((Timed(0.1, 1 / 3, " thé", 0.7, tuple(tokens)),), 0.1, -1 / 7, 1.7, cut_short=True)
    answer = wire.read(wire.Answer, wire.answer_of(7, hypothesis, "fr")[8:])
    assert answer.heard.hypothesis() == hypothesis


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line_that_repeats_none_of_them(said):
    for kind in (wire.Greeting, wire.Claim, wire.Welcome, wire.Ask, wire.Answer):
        with pytest.raises(wire.WireError, match=r"^what came is no [a-z]+ of agfn.asr/1$"):
            wire.read(kind, said)


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"samples": wire.MOST_SAMPLES + 1},
        {"deadline_ms": 10**9},
        {"prefix": [-1]},
        {"prefix": [1] * 300},
        {"max_tokens": 0},
        {"encoding": "pickle"},
        {"language": "../x"},
        {"more": 1},
        {"id": "1"},
    ],
)
def test_a_decode_out_of_bounds_is_refused(wrong):
    right = wire.read(wire.Ask, wire.ask_of(1, Request(SOUND, (), 30, "en"), "int16", 1.0)[8:][: -2 * len(SOUND)])
    with pytest.raises(wire.WireError):
        wire.read(wire.Ask, json.dumps(right.model_dump() | wrong).encode())


@pytest.mark.parametrize("sound", [b"", b"\0" * 7, np.float32([np.nan] * 2).tobytes(), np.float32([99, 0]).tobytes()])
def test_what_is_no_sound_is_refused(sound):
    with pytest.raises(wire.WireError):
        wire.unpack(sound, "float32", 2)


def test_other_machines_are_reached_over_tls_only_and_a_secret_is_needed():
    assert not parsed("127.0.0.1:7400").beyond
    assert not parsed("[::1]:7400").beyond
    assert parsed("10.0.0.2:7400").beyond
    assert server_tls(parsed("unix:/run/x"), AsrPoolConfig()) is None
    with pytest.raises(UsageError, match="needs TLS"):
        server_tls(parsed("0.0.0.0:7400"), AsrPoolConfig())
    with pytest.raises(UsageError, match="write HOST:PORT"):
        parsed("127.0.0.1:99999")
    with pytest.raises(UsageError, match="a secret, shared with its hosts"):
        secret_of(None, {})


def job(number, until_s):
    return Job(number, Request(SOUND, (), 30, "en"), until_s, lambda _: None)


def test_the_backlog_refuses_what_would_come_too_late_and_finds_out_when_it_is_quick_again():
    backlog = Backlog(10, 2)
    assert all(backlog.offer(job(number, 1.0), 0.0) for number in range(3))
    assert [each.number for each in backlog.take(0.0)[0]] == [0, 1]
    backlog.done(0.8)  # .4 s a decode
    assert backlog.offer(job(3, 1.0), 0.0)
    assert not backlog.offer(job(4, 1.0), 0.0), "1.2 s of work in 1 s"
    jobs, late = backlog.take(1.5)
    assert (jobs, [each.number for each in late]) == ([], [2, 3])
    backlog.done(90.0)
    assert backlog.offer(job(5, 1.0), 0.0), "with nothing before it, it is tried"


def test_a_recogniser_is_tried_more_and_more_seldom_while_it_fails():
    trust, tries = Trust(), []
    trust.failed(0.0)
    for tenth in range(1, 1200):
        if trust.tries(tenth / 10):
            tries.append(tenth / 10)
            trust.failed(tenth / 10, copy=True)
            trust.failed(tenth / 10)  # what was on its way counts once
    gaps = np.diff(tries)
    assert tries[0] == TRY_S[0]
    assert all(gaps[1:] >= gaps[:-1])
    assert gaps[-1] == TRY_S[1]
    trust.proved(200.0)
    assert trust.given
    trust.failed(500.0)
    assert not trust.tries(500.5)
    assert trust.tries(501.0), "that was long ago"


def test_a_model_that_hangs_ends_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(asr_pool, "LOOK_S", 0.02)
    monkeypatch.setattr(asr_pool, "HANG_S", 0.1)
    hung, model = threading.Event(), Echo()
    model.may.clear()
    pool = AsrPool(model, AsrConfig(), AsrPoolConfig(), TOKEN, hung.set)
    thread, stop = LoopThread("pool"), asyncio.Event()
    thread.start(pool.run(parsed(f"unix:{tmp_path}/s"), None, stop))
    wait_until((tmp_path / "s").exists, 5, "the pool")
    with reaching(Own(), tmp_path / "s", deadline_s=0.2) as remote:
        decode(remote)
        assert hung.wait(5)
    model.may.set()
    thread.call(stop.set)
    thread.join(5)
