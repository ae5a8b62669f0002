"""What benchmarks read of a recording: how long words waited, and what came after the window that it belongs to."""

import numpy as np
import pytest

from realtime.config.schema import WindowConfig
from realtime.extract.schema import TEXT_DIM, VOICE_DIM
from realtime.recording.journal import Entry
from realtime.recording.reader import open_recordings
from realtime.recording.writer import Recorder
from realtime.types import TextFeatures, VoiceFeatures, Word
from scripts.benchmarks.recorded import late_windows, word_waits

MS = 1_000_000


def text(*locations):
    words = tuple(Word(n * 300 * MS, (n * 300 + 250) * MS, "", 0.9, True) for n in range(len(locations)))
    values = np.zeros((len(words), TEXT_DIM), np.float32)
    values[:, 0] = locations
    return TextFeatures(0, words, values)


def voice(t_ms):
    return VoiceFeatures(t_ms * MS, np.zeros(VOICE_DIM, np.float32))


@pytest.fixture
def recording(tmp_path):
    """Two hops with an opinion word between them, and a vector that came just after the first was closed."""
    about = {"stream": "desk", "words": False, "window": WindowConfig().model_dump()}
    recorder = Recorder(tmp_path / "made", "desk", about, words=False, failed=pytest.fail)

    def note(at_ms, topic, item):
        recorder.note(Entry(at_ms * MS, topic, item))

    def sent(at_ms, seq):
        recorder._push(at_ms * MS, "sentiment", f'{{"seq": {seq}}}')

    note(100, "text", text(0.1))
    note(200, "voice", voice(200))
    note(300, "tick", 250 * MS)
    note(310, "voice", voice(240))
    sent(304, 0)
    note(400, "text", text(0.1, 2.0))
    note(400, "word", 400 * MS)
    sent(403, 1)
    note(450, "voice", voice(245))  # after the lateness: it would have been missed anyway
    note(520, "tick", 500 * MS)
    sent(525, 2)
    recorder.close()
    [found] = open_recordings(tmp_path / "made")
    return found


def test_words_wait_until_the_message_that_has_them(recording):
    waits = word_waits(recording)
    assert waits == {"word": [204.0, 3.0], "opinion_word": [3.0], "opinion_word_by_hop": [125.0]}


def test_a_window_closed_too_early_is_one_that_something_came_for_within_its_lateness(recording):
    assert late_windows(recording) == (2, 1)
