"""A text line whose graph has to be made first: the streams run meanwhile, and words count when it is there."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from realtime.clock import VirtualClock
from realtime.config.schema import Config
from realtime.errors import ModelError
from realtime.extract.models import Extractors
from realtime.extract.text import TextExtractor
from realtime.session import models
from realtime.session.models import SharedModels
from realtime.types import Transcript, Word

SAID = Transcript(2_000, (Word(0, 1_000, "good", 0.9, committed=True),), ())


class Reads:
    def read(self, words):
        return np.full((len(words), 2), 0.5, np.float32)


def test_until_the_reader_is_there_nothing_comes_out_and_then_the_words_do():
    later = Future()
    extractor = TextExtractor(later)
    assert list(extractor.feed(SAID)) == []
    later.set_result(Reads())
    [features] = extractor.feed(SAID)
    assert [word.text for word in features.words] == ["good"]
    assert features.values[0, 0] == 0.5


def test_a_reader_that_never_comes_says_why():
    failed = Future()
    failed.set_exception(ModelError("no room"))
    with pytest.raises(ModelError, match="no room"):
        TextExtractor(failed).feed(SAID)


@pytest.fixture
def parts(monkeypatch):
    """Shared models with a text line alone; `loads` is what loading it does, given how to say that a graph is made."""

    def made(loads):
        monkeypatch.setattr(models, "fuser_of", lambda *_: None)
        monkeypatch.setattr(Extractors, "__init__", lambda self, *_: setattr(self, "_reading", None))
        monkeypatch.setattr(models.zoo, "path", lambda *_, **__: None)
        monkeypatch.setattr(models, "lower_priority", lambda: None)
        monkeypatch.setattr(models.TextLine, "load", lambda *_, verify, **__: loads(verify))
        return SharedModels(Config(), VirtualClock())

    return made


def test_while_a_graph_is_made_a_stream_begins_and_a_replay_waits(parts, caplog):
    caplog.set_level("INFO")
    go_on = threading.Event()

    def loads(verify):
        verify()
        assert go_on.wait(10)
        return Reads()

    shared = parts(loads)
    extractor = shared.text()
    assert list(extractor.feed(SAID)) == []
    assert "made ready for this machine, once" in caplog.text
    go_on.set()
    assert shared.await_reading() is None
    assert len(list(extractor.feed(SAID))) == len(list(shared.text().feed(SAID))) == 1


def test_a_line_that_could_not_be_loaded_is_tried_again(parts):
    tries = []

    def loads(_):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no network")
        return Reads()

    shared = parts(loads)
    with pytest.raises(ModelError, match="no network"):
        shared._line.result(10)
    assert shared.reader.read(["good"]).shape == (1, 2)
