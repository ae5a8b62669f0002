"""A recording as annotations for ELAN: tier, begin, end, value; the annotations of a tier never overlap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from realtime.export.columns import EVENTS, SENTIMENT, WORDS
from realtime.system.format import signed
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime.export.columns import Column, Table

EVENT_S = 1.0
"""How long an event is shown; ELAN knows no moments."""
LEAST_S = 0.04
"""A recogniser gives words without any length too; ELAN does not."""
HEADER = ("tier", "begin_s", "end_s", "annotation")
TABLES: frozenset[Table] = frozenset({"sentiment", "events", "words"})


@dataclass
class Annotation:
    """A value over a span of time."""

    begin_s: float
    end_s: float
    value: str


@dataclass
class Tiers:
    """Collects rows of tables; equal values that follow each other become one annotation."""

    tiers: dict[str, list[Annotation]] = field(default_factory=dict)

    def take(self, table: Table, row: list[Any]) -> None:
        """Take a row of the tables sentiment, events and words."""
        if table == "sentiment":
            self._judged(_named(SENTIMENT, row))
        elif table == "events":
            self._happened(_named(EVENTS, row))
        elif table == "words":
            said = _named(WORDS, row)
            if said["word"]:
                self._add("words", said["begin_s"], said["end_s"], said["word"].strip())

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Tier, begin, end, value; tier by tier, moved apart where they would overlap or have no length."""
        for tier, found in self.tiers.items():
            found.sort(key=lambda each: each.begin_s)
            free_s = 0.0
            for index, each in enumerate(found):
                begin_s = max(each.begin_s, free_s)
                following_s = found[index + 1].begin_s if index + 1 < len(found) else each.end_s
                free_s = max(begin_s + LEAST_S, min(each.end_s, following_s))
                yield tier, f"{begin_s:.3f}", f"{free_s:.3f}", each.value

    def _judged(self, row: dict[str, Any]) -> None:
        begin_s, end_s = row["begin_s"], row["end_s"]
        if begin_s is None or end_s is None:
            return
        if row["score"] is not None:
            self._add("score", begin_s, end_s, signed(row["score"]), merge=False)
        self._add("label", begin_s, end_s, row["label"] or row["state"] or "")
        for name in MODALITIES:
            self._add(f"{name} gate", begin_s, end_s, row[f"{name}_state"] or "")

    def _happened(self, row: dict[str, Any]) -> None:
        if row["time_s"] is None:
            return
        begin_s = max(0.0, row["time_s"])
        said = f"{row['component']} {row['kind']}" + (f": {row['cause']}" if row["cause"] else "")
        last = self.tiers.get("events", [])[-1:]
        if last and begin_s - last[0].begin_s < 0.001:  # two at once share an annotation
            last[0].value += f" | {said}"
        else:
            self._add("events", begin_s, begin_s + EVENT_S, said, merge=False)

    def _add(self, tier: str, begin_s: float, end_s: float, value: str, *, merge: bool = True) -> None:
        found = self.tiers.setdefault(tier, [])
        if merge and tier != "words" and found and found[-1].value == value and begin_s - found[-1].end_s < 0.002:
            found[-1].end_s = end_s
        else:
            found.append(Annotation(begin_s, end_s, value))


def _named(columns: tuple[Column, ...], row: list[Any]) -> dict[str, Any]:
    return {column.name: value for column, value in zip(columns, row, strict=True)}
