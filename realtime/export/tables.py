"""A recording as the rows of tables, in one pass over its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime.config.schema import WindowConfig
from realtime.errors import SourceError
from realtime.export.columns import (
    CHANNELS,
    COMPONENTS,
    EVENTS,
    FACE_FIELDS,
    HEALTH,
    PEOPLE,
    SENTIMENT,
    SPEECH_FIELDS,
    Table,
)
from realtime.recording.journal import decode
from realtime.types import NS_PER_S, SpeechFrame, VoiceFeatures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime.recording.reader import Recording
    from realtime.types import FaceFeatures, TextFeatures, Word

Row = list[Any]


class Tables:
    """Reads one recording.

    Args:
        recording: to read.
        wanted: the tables to give rows of.

    Raises:
        SourceError: the recording does not say how long its hops were.
    """

    def __init__(self, recording: Recording, wanted: frozenset[Table]) -> None:
        self._recording, self._wanted = recording, wanted
        self._t0_ns = 0
        self._words: dict[tuple[int, int], tuple[Word, float]] = {}
        self._tentative: list[tuple[Word, float]] = []
        self._last_end_s = 0.0
        try:
            self.hop_s = WindowConfig.model_validate(recording.about["window"]).hop_s
        except (KeyError, ValueError):
            raise SourceError(f"{recording.path}: damaged: it does not say how it was made") from None

    def rows(self) -> Iterator[tuple[Table, Row]]:
        """Every row with its table, in the order of the file; words come last.

        Raises:
            SourceError: something in the file is damaged.
        """
        for at_ns, topic, data in self._recording.raw():
            if topic == "begin":
                self._t0_ns = decode(at_ns, topic, data).item
            elif topic in {"sentiment", "event", "health"}:
                yield from self._of_message(at_ns, topic, data)
            elif topic == "text" and "words" in self._wanted:
                self._hear(decode(at_ns, topic, data).item)
            elif topic in {"face", "voice", "speech"} and topic in self._wanted:
                yield self._features(decode(at_ns, topic, data).item)
        if "words" in self._wanted:
            kept = [*self._words.values(), *self._tentative]
            for word, sentiment in sorted(kept, key=lambda pair: pair[0].start_ns):
                times = [self._seconds(word.start_ns), self._seconds(word.end_ns)]
                yield "words", [*times, word.text or None, word.probability, word.committed, sentiment]

    def _of_message(self, at_ns: int, topic: str, data: bytes) -> Iterator[tuple[Table, Row]]:
        try:
            body = self._recording.message(topic, data)
            if topic == "sentiment":
                yield from self._of_window(body)
            elif topic == "event" and "events" in self._wanted:
                yield "events", [column.value(body) for column in EVENTS]
            elif topic == "health":
                time_s = self._seconds(at_ns)
                if "health" in self._wanted:
                    yield "health", [time_s, *(column.value(body) for column in HEALTH[1:])]
                if "components" in self._wanted:
                    for name, part in body["components"].items():
                        yield "components", [time_s, name, *(column.value(part) for column in COMPONENTS[2:])]
        except ValueError as error:
            raise SourceError(f"{self._recording.path}: damaged {topic} message: {error}"[:200]) from None

    def _of_window(self, body: dict[str, Any]) -> Iterator[tuple[Table, Row]]:
        end_s = SENTIMENT[1].value(body)
        if "sentiment" in self._wanted:
            begin_s = None if end_s is None else max(0.0, round(end_s - self.hop_s, 3), self._last_end_s)
            self._last_end_s = end_s or 0.0
            yield "sentiment", [begin_s, *(column.value(body) for column in SENTIMENT[1:])]
        if "channels" in self._wanted and body.get("channels") is not None:
            yield "channels", [end_s, *(column.value(body) for column in CHANNELS[1:])]
        for person in body.get("people") or () if "people" in self._wanted else ():
            yield "people", [end_s, *(column.value(person) for column in PEOPLE[1:])]

    def _features(self, item: FaceFeatures | VoiceFeatures | SpeechFrame) -> tuple[Table, Row]:
        time_s = self._seconds(item.t_ns)
        if isinstance(item, SpeechFrame):
            end_s = self._seconds(item.end_ns)
            return "speech", [time_s, end_s, *(getattr(item, name) for name in SPEECH_FIELDS)]
        if isinstance(item, VoiceFeatures):
            return "voice", [time_s, *item.values.tolist()]
        values = item.values.tolist() if item.found else [None] * len(item.values)
        return "face", [time_s, item.found, *(getattr(item, name) for name in FACE_FIELDS), *values]

    def _hear(self, text: TextFeatures) -> None:
        """Keep the words: a committed one for good, a tentative one until the next text."""
        judged = list(zip(text.words, text.values[:, -1].tolist(), strict=True))
        for word, sentiment in judged:
            if word.committed:
                self._words[word.start_ns, word.end_ns] = word, sentiment
        self._tentative = [(word, sentiment) for word, sentiment in judged if not word.committed]

    def _seconds(self, t_ns: int) -> float:
        return round((t_ns - self._t0_ns) / NS_PER_S, 4)
