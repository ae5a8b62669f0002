"""Other languages than English: heard by a model that knows them, marked unsupported, and never scored."""

import json

import numpy as np
import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES
from test_real_speech import recognise, text
from test_second_reading import ready
from test_window import Scene, ns

from models import zoo
from realtime.clock import VirtualClock
from realtime.config.languages import LANGUAGES, MEASURED
from realtime.config.load import load
from realtime.config.schema import AsrConfig
from realtime.errors import ModelError, UsageError
from realtime.extract.asr.reading import Reader
from realtime.extract.asr.transcriber import AsrModel
from realtime.extract.asr.whisper import Hypothesis, Timed
from realtime.extract.schema import TEXT_DIM
from realtime.extract.text import TextExtractor
from realtime.recording.codec import TEXT_ITEM
from realtime.run import main as run
from realtime.run import options, parser
from realtime.types import Reading, TextFeatures, Transcript, Word
from scripts.harness.espeak import speak
from scripts.harness.sound import write_wav

GERMAN = "Das ist eine sehr gute Idee, und ich freue mich schon auf das Wochenende mit meinen Freunden."
CAUSE = "unsupported: the sentiment of German words was never measured"


def test_the_languages_are_those_that_whisper_knows():
    assert set(LANGUAGES) == set(_LANGUAGE_CODES)
    assert set(LANGUAGES) >= MEASURED
    assert len(set(LANGUAGES.values())) == len(LANGUAGES)


@pytest.mark.parametrize(
    ("settings", "hears", "reads"),
    [
        ({}, "tiny.en", "base"),
        ({"language": "de"}, "base", None),
        ({"language": "auto"}, "base", None),
        ({"language": "de", "model": "tiny"}, "tiny", "base"),
        ({"language": "de", "reading_model": "/models/large"}, "base", "/models/large"),
        ({"model": "base"}, "base", None),
        ({"reading_model": "none"}, "tiny.en", None),
    ],
)
def test_the_model_follows_the_language_where_none_is_named(settings, hears, reads):
    config = AsrConfig(**settings)
    assert (config.hears_with, config.reads_with) == (hears, reads)


@pytest.mark.parametrize("language", ["de", "auto"])
@pytest.mark.parametrize("key", ["model", "reading_model"])
def test_a_model_that_knows_english_only_is_refused_for_anything_else(language, key, capsys):
    assert run(["--language", language, "--set", f"asr.{key}=tiny.en"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"asr.{key} tiny.en knows English only; for asr.language {language}" in line
    assert "name base or the folder of a multilingual model" in line


@pytest.mark.parametrize("language", ["xx", "german", "DE", "en-us", ""])
def test_what_is_no_language_is_refused_with_what_is(language):
    with pytest.raises(UsageError, match=r"^config key asr\.language.*no language that Whisper knows; write auto"):
        load(sets=[f"asr.language='{language}'"], environ={})


def test_the_option_sets_the_language():
    assert options(parser().parse_args(["--language", "pt"])) == {"asr": {"language": "pt"}}


@pytest.mark.models
@pytest.mark.parametrize(("language", "wanted"), [("de", "German"), ("auto", "any language")])
def test_the_folder_of_an_english_model_is_refused_when_it_is_loaded(language, wanted, tmp_path):
    folder = tmp_path / "mine"
    folder.symlink_to(zoo.path("asr-tiny.en"))
    with pytest.raises(ModelError, match=rf"mine' does not know {wanted} \(asr.language {language}\): name base"):
        AsrModel(AsrConfig(model=str(folder), language=language, device="cpu"))


def plain(sentence):
    return sentence.lower().translate(str.maketrans("", "", ".,")).split()


def word(start_s, text="gut", *, sure=True):
    return Word(ns(start_s), ns(start_s + 0.3), text, 0.9, sure)


class NeverAsked:
    """A reader that must not be asked."""

    def read(self, words):
        raise AssertionError(f"{words} were scored")


class Glad:
    """A reader to whom everything is good."""

    def read(self, words):
        return np.full((len(words), TEXT_DIM), 2.0, np.float32)


def said(end_s, *words, language="de", **more):
    return Transcript(ns(end_s), tuple(words), (), language=language, **more)


def test_words_of_a_language_without_a_measured_model_are_not_read_at_all():
    extractor = TextExtractor(NeverAsked())
    words = [word(0.4 * number) for number in range(6)]
    (heard,) = extractor.feed(said(3, *words, ended=True))
    assert [each.text for each in heard.words] == ["gut"] * 6
    assert (heard.language, heard.ended) == ("de", ())
    assert not heard.values.any()
    (again,) = extractor.feed(Reading(0, 0, ns(3), tuple(words[:5])))
    assert len(again.read) == 5
    assert not again.values.any()


def test_what_was_made_of_first_words_in_a_language_taken_wrongly_is_forgotten():
    extractor = TextExtractor(Glad())
    first = [word(0.4 * number, "good") for number in range(6)]
    extractor.feed(said(3, *first, language="en", ended=True))
    (english,) = extractor.feed(said(7, *(word(5 + 0.4 * n, "good") for n in range(6)), language="en", utterance=1))
    assert english.ended
    (german,) = extractor.feed(said(11, *(word(9 + 0.4 * n) for n in range(6)), utterance=2))
    assert german.ended == ()


def test_such_words_are_off_and_say_so_and_weigh_nothing():
    scene = Scene().play(0, 5)
    spoken = tuple(word(2 + 0.4 * number) for number in range(6))
    loud = np.full((len(spoken), TEXT_DIM), np.nan, np.float32)
    scene.window.add_text(TextFeatures(ns(5), spoken, loud, opinion="final", language="de"))
    view = scene.window.close(ns(5))
    part = view.segments["text"]
    assert (part.state, part.cause, part.reliability, part.unsupported) == ("off", CAUSE, 0.0, True)
    assert (view.language, view.opinion, len(view.words)) == ("de", "listening", 6)
    assert view.segments["voice"].state == view.segments["face"].state == "ok"


def test_words_of_a_language_that_is_not_known_yet_wait():
    scene = Scene().play(0, 5)
    words = (word(2), word(3))
    scene.window.add_text(TextFeatures(ns(5), words, np.zeros((2, TEXT_DIM), np.float32), language=None))
    view = scene.window.close(ns(5))
    part = view.segments["text"]
    assert (part.state, part.cause, part.reliability) == ("stale", "the language is not known yet", 0.0)
    assert (part.unsupported, part.idle, view.language, view.opinion) == (False, True, None, "listening")
    (heard,) = TextExtractor(NeverAsked()).feed(said(5, *words, language=None))
    assert (heard.language, heard.values.any()) == (None, False)


@pytest.mark.parametrize(("sure", "believed"), [(0.69, None), (0.7, "pt")])
def test_a_language_is_believed_from_a_probability_on(sure, believed, speech):
    class Guessing:
        def decode(self, *_):
            return Hypothesis((Timed(0.1, 0.5, " olá", 0.9, (1,)),), language_p=sure), "pt"

    updates = recognise(Guessing(), np.concatenate([speech[:40_000], np.zeros(20_000, np.float32)]), language="auto")
    assert updates[-1].language == believed


def test_a_lost_microphone_is_told_before_a_language():
    scene = Scene().play(0, 5)
    scene.window.add_text(TextFeatures(ns(5), (word(4),), np.zeros((1, TEXT_DIM), np.float32), language="de"))
    scene.play(5, 6, mic=False)
    assert scene.segments(6)["text"].state == "lost"


def test_a_recording_keeps_the_language_and_an_older_one_is_english():
    item = TextFeatures(ns(5), (word(4),), np.zeros((1, TEXT_DIM), np.float32), language="de")
    body = TEXT_ITEM.write(item)
    assert TEXT_ITEM.read(body).language == "de"
    assert TEXT_ITEM.read(body | {"language": None}).language is None
    assert TEXT_ITEM.read({key: value for key, value in body.items() if key != "language"}).language == "en"
    with pytest.raises(ValueError, match="text in"):
        TEXT_ITEM.read(body | {"language": "<script>"})


@pytest.fixture(scope="module")
def base():
    return AsrModel(AsrConfig(language="auto", device="cpu"))


@pytest.mark.models
def test_a_language_is_detected_believed_and_kept_and_read_again_in(base):
    sentence, voice, language = GERMAN, "de", "de"
    utterances, decoded = [], []

    class Counted:
        """The model, and in which language it was asked to decode."""

        def decode(self, *arguments):
            decoded.append(arguments[-1])
            return base.decode(*arguments)

    sound = speak(sentence, voice=voice)
    updates = recognise(Counted(), sound, ended=utterances.append, language="auto", step_s=1.5)
    found = [update.language for update in updates]
    assert set(found) <= {None, language}
    assert found[-1] == language
    assert found == sorted(found, key=lambda each: each is not None)  # once it is known it stays so
    assert not any(update.committed for update in updates if update.language is None)
    assert decoded[0] is None
    said, heard = plain(sentence), plain(text(updates))
    assert sum(each in said for each in heard) >= 0.8 * len(said)
    assert len(heard) <= 1.2 * len(said)

    decoded.clear()
    again = [reading for each in utterances for reading in Reader(ready(Counted()), VirtualClock()).feed(each)]
    assert set(decoded) == {each.language for each in utterances} == {language}
    assert again


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The sentiment messages of the program over a German recording, with words let out."""
    folder = tmp_path_factory.mktemp("german")
    sound = speak(GERMAN, voice="de")
    room = np.random.default_rng(1).normal(0, 0.002, len(sound))  # else its last second counts as muted
    write_wav(folder / "german.wav", sound + room)
    command = ["--language", "de", "--source", str(folder / "german.wav"), "--pace", "fast", "--mqtt", "off"]
    command += ["--set", "asr.step_s=1.5"]
    assert run([*command, "--no-view", "--publish-text", "--output", str(folder / "out.jsonl")]) == 0
    messages = map(json.loads, (folder / "out.jsonl").read_text().splitlines())
    return [message for message in messages if message["schema"] == "agfn.sentiment/1"]


@pytest.mark.models
def test_the_program_publishes_german_words_unscored_and_marked(published):
    with_words = [message for message in published if message["text"]["committed"]]
    assert any("idee" in message["text"]["committed"].lower() for message in with_words)
    for message in with_words:
        part = message["modalities"]["text"]
        assert (part["state"], part["cause"], message["unsupported"]) == ("off", CAUSE, ["text"])
        assert part["weight"] == part["reliability"] == 0
        assert (message["language"], message["opinion"], message["context"]) == ("de", "listening", None)
    for message in published:
        assert message["modalities"]["text"]["weight"] == 0
    assert (published[0]["language"], published[0]["unsupported"]) == (None, [])
