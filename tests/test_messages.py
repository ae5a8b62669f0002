import json
import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import ValidationError

from realtime.errors import UsageError
from realtime.publish.messages import (
    LABELS,
    MAX_COMMAND_BYTES,
    ChannelHealth,
    Command,
    ComponentHealth,
    EventMessage,
    Health,
    Latency,
    ModalityPart,
    ProcessHealth,
    Sentiment,
    Status,
    WindowSpan,
    Words,
    event_id,
    json_schema,
    label_of,
    parse_command,
    topic,
)

NOON = datetime(2026, 11, 23, 12, 0, 0, 250_999, tzinfo=timezone.utc)


def part(weight=0.0, reliability=0.0, state="ok", cause=None):
    return ModalityPart(weight=weight, reliability=reliability, age_ms=10, state=state, cause=cause)


def sentiment(**changes):
    values = {
        "stream": "desk",
        "seq": 1,
        "utc": NOON,
        "window": WindowSpan(start_s=99, end_s=103),
        "state": "degraded",
        "score": 1.24,
        "raw": 1.31,
        "label": label_of(1.24),
        "interval": (0.2, 2.1),
        "confidence": 0.74,
        "modalities": {
            "text": part(0.81, 0.9),
            "voice": part(0.19, 0.4, "noisy", "snr 3 dB"),
            "face": part(state="lost"),
        },
        "latency_ms": Latency(capture=12, extract=31, fuse=4, total=52, text_lag=480),
    }
    return Sentiment(**{**values, **changes})


def silent(**changes):
    nothing = dict.fromkeys(("score", "raw", "label", "interval"))
    masked = {name: part(state="lost") for name in ("text", "voice", "face")}
    return sentiment(**{"state": "no_signal", "confidence": 0, "modalities": masked, **nothing, **changes})


def event():
    return EventMessage(
        stream="desk",
        id=event_id("desk", NOON, 3),
        utc=NOON,
        time_s=4.5,
        component="camera 0",
        kind="lost",
        cause="gone",
    )


def health():
    channel = ChannelHealth(pushed=5, popped=3, dropped=1, pending=1)
    face = ComponentHealth(
        rate_hz=14.9, items=5, restarts=0, left_behind=0, delay_ms=31, cores=0.4, lost=False, channel=channel
    )
    return Health(
        stream="desk",
        utc=NOON,
        uptime_s=9,
        state="ok",
        messages=36,
        components={"face": face},
        process=ProcessHealth(rss_mb=700, cpu_cores=1.2, threads=14),
    )


def validator(name):
    document = json_schema()
    Draft202012Validator.check_schema(document)
    schema = {**document, "$ref": f"#/$defs/{name}"}
    return Draft202012Validator(schema, format_checker=FormatChecker())


def test_sentiment_has_the_keys_of_the_contract():
    said = json.loads(sentiment().to_json())

    assert list(said) == [
        *("schema", "stream", "seq", "utc", "window", "state", "score", "raw", "label", "interval", "confidence"),
        *("modalities", "latency_ms", "faces", "context", "p_positive", "band", "opinion", "epoch", "host"),
        *("language", "unsupported", "reason"),
    ]
    assert said["schema"] == "agfn.sentiment/1"
    assert said["utc"] == "2026-11-23T12:00:00.250Z"
    assert said["modalities"]["voice"] == {
        "weight": 0.19,
        "reliability": 0.4,
        "age_ms": 10,
        "state": "noisy",
        "cause": "snr 3 dB",
    }


@pytest.mark.parametrize("make", [sentiment, silent, event, health])
def test_a_message_fits_its_published_schema_and_survives_the_way_back(make):
    message = make()
    said = json.loads(message.to_json())

    validator(type(message).__name__).validate(said)
    Draft202012Validator(json_schema()).validate(said)
    assert type(message).model_validate_json(message.to_json()) == message


def test_words_are_absent_without_consent_and_there_with_it():
    words = Words(committed="it was", tentative="the best")

    assert "text" not in json.loads(sentiment().to_json())
    said = json.loads(sentiment(text=words).to_json())
    validator("Sentiment").validate(said)
    assert said["text"] == {"committed": "it was", "tentative": "the best", "reading": None}


@pytest.mark.parametrize("key", ["schema", "seq", "score", "interval", "modalities", "latency_ms", "faces"])
def test_the_schema_refuses_a_message_that_lacks_a_key(key):
    said = json.loads(sentiment().to_json())
    del said[key]

    assert not validator("Sentiment").is_valid(said)


def test_the_schema_lets_a_later_publisher_add_keys():
    assert validator("Sentiment").is_valid({**json.loads(sentiment().to_json()), "new": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"score": math.nan},
        {"raw": math.inf},
        {"score": 3.2},
        {"score": None},
        {"confidence": 1.1},
        {"state": "no_signal"},
        {"state": "paused"},
        {"modalities": {"text": part(1.0, 1.0)}},
        {"modalities": {"text": part(0.5, 0.9), "voice": part(0.1, 0.4), "face": part()}},
        {"utc": NOON.replace(tzinfo=None)},
        {"surprise": 1},
    ],
    ids=repr,
)
def test_a_message_that_contradicts_itself_cannot_be_made(changes):
    with pytest.raises(ValidationError):
        sentiment(**changes)


def test_without_a_signal_there_is_neither_score_nor_weight():
    assert silent().score is None
    with pytest.raises(ValidationError, match="no_signal"):
        silent(score=0.0)


def test_rounding_absorbs_what_a_float32_softmax_adds():
    weights = (1.0000001192, -0.0, 0.0)
    parts = {name: part(w, 0.9) for name, w in zip(("text", "voice", "face"), weights, strict=True)}
    said = sentiment(modalities=parts, score=-0.00001).to_json()

    assert '"weight":1.0,' in said
    assert "-0.0," not in said


def test_time_of_another_zone_is_published_as_utc():
    there = NOON.astimezone(timezone(timedelta(hours=9)))

    assert sentiment(utc=there) == sentiment()


@given(st.floats(-3, 3))
def test_the_label_is_the_class_nearest_to_the_score(score):
    place = LABELS.index(label_of(score)) - 3

    assert abs(place - score) <= 0.5


def test_labels_are_symmetric_about_neutral():
    assert [label_of(score) for score in (-3.0, -1.2, 0.0, 1.2, 2.0, 3.0)] == [
        *("strongly negative", "weakly negative", "neutral", "weakly positive", "positive", "strongly positive")
    ]


@pytest.mark.parametrize(
    "payload",
    [b"pause", b" pause\n", b'{"command": "pause"}', b'{"schema": "agfn.command/1", "command": "pause"}'],
)
def test_a_command_is_a_word_or_an_object(payload):
    assert parse_command(payload) == Command(command="pause")


@given(st.binary(max_size=MAX_COMMAND_BYTES * 2))
def test_any_other_command_is_refused_in_one_line(payload):
    if payload.strip() in (b"pause", b"resume"):
        return
    with pytest.raises(UsageError) as refusal:
        parse_command(payload)
    assert len(str(refusal.value)) < 300
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "payload", [b'{"command": "stop"}', b'{"command": "pause", "x": 1}', b"[]", b"{" * 200, b" " * 999]
)
def test_a_command_that_is_nearly_right_is_refused(payload):
    with pytest.raises(UsageError, match="refused"):
        parse_command(payload)


def test_status_is_a_bare_word():
    assert Status("offline").payload() == b"offline"
    assert topic("agfn", "desk", "status") == "agfn/desk/status"


def test_event_ids_of_two_runs_differ():
    assert event_id("desk", NOON, 0) != event_id("desk", NOON + timedelta(milliseconds=1), 0)
