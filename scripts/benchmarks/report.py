"""Figures of the benchmarks into the tables of a page, so that no figure is typed by hand."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.benchmarks import memory_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
QUEUES = ("voice", "speech", "fusion", "transcribe", "text")


class Row(NamedTuple):
    """One line of the budget: `value` finds the figure, None while it was not measured; `most` is the bar."""

    what: str
    unit: str
    value: Callable[[Mapping[str, Any]], float | None]
    bar: float
    most: bool = True


def _key(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda found: found.get(name)


def _of(name: str, key: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda found: found.get(name, {}).get(key)


def _stage(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return _of("stages_p50_ms", name)


def _dropped(found: Mapping[str, Any]) -> float | None:
    drops = found.get("streams8_dropped")
    return None if drops is None else sum(drops.get(name, 0) for name in QUEUES) + found["streams8_missing_messages"]


def _worst_mult(found: Mapping[str, Any]) -> float | None:
    return max(found.get("fusion_vs_mult", {}).values(), default=None)


BUDGET = (
    Row(
        "newest face or voice sample to the subscriber, median",
        "ms",
        _key("av_latency_p50_ms"),
        95,
    ),
    Row("the same, 95th percentile", "ms", _key("av_latency_p95_ms"), 190),
    Row("a committed opinion word to the message that has it, 95th percentile", "ms", _key("opinion_word_p95_ms"), 150),
    Row("one stream, camera 15/s, voice, words, somebody speaks", "cores", _key("cores_speaking"), 0.55),
    Row("the same in silence", "cores", _key("cores_silent"), 0.2),
    Row("8 streams, camera 5/s, voice: 95th percentile of the latency", "ms", _key("streams8_p95_ms"), 250),
    Row("cost of a stream of 8, over that of one alone", "", _key("streams8_cost_ratio"), 0.8),
    Row("messages or sound lost with 8 streams", "", _dropped, 0),
    Row("16 streams, likewise: 95th percentile of the latency", "ms", _of("latency_p95_ms_by_streams", "16"), 250),
    Row("6 streams with words: the same", "ms", _of("latency_p95_ms_by_streams_with_words", "6"), 250),
    Row("one window through AGFN", "ms", _key("fusion_ms_batch1"), 5),
    Row("windows a second at 32, over those at 1 (PyTorch)", "", _key("fusion_speedup_batch32"), 10, most=False),
    Row("time over MulT's on the same windows, worst of 1 to 512 windows", "", _worst_mult, 1),
    Row("growth of memory", "MB/h", _key("memory_slope_mb_per_h"), 2),
    Row("memory of one stream with words, on the CPU", "MB", _key("memory_mb_one_stream"), 700),
    Row("memory of a further stream", "MB", _key("memory_mb_further_stream"), 60),
    Row("from the command to the first message", "s", _key("first_message_s"), 3.5),
)
STAGES = (
    Row("capture: from the sample to the program", "ms", _stage("capture"), 10),
    Row("extract: to features", "ms", _stage("extract"), 60),
    Row("window: from its end to the message, the wait included", "ms", _stage("window"), 75),
    Row("fuse: from closing the window to the message", "ms", _stage("fuse"), 12),
    Row("deliver: to the subscriber, broker included", "ms", _stage("deliver"), 10),
)
PEER_COLUMNS = (("first_p50_s", "first_p95_s"), ("committed_p50_s", "committed_p95_s"), ("wer",), ("cores",))


def keep(file: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Add figures to those of a file and return all."""
    kept: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    kept |= found
    kept["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return kept


def tables(found: Mapping[str, Any]) -> str:
    """Return the tables of a page in Markdown."""
    runs = f"{found.get('runs', 0)}; of one and of eight in turns: {found.get('streams8_runs', 0)}"
    parts = [f"Measured on {found['machine']}; runs of one stream: {runs}.\n"]
    for title, rows in (("Bar", BUDGET), ("Stage of one stream, median", STAGES)):
        parts.append(f"| {title} | budget | measured | |\n| --- | --- | --- | --- |")
        for row in rows:
            value = row.value(found)
            sign = "≤" if row.most else "≥"
            kept = "" if value is None else "kept" if (value <= row.bar) == row.most or value == row.bar else "missed"
            shown = "not measured" if value is None else f"{value:g} {row.unit}".strip()
            parts.append(f"| {row.what} | {f'{sign} {row.bar:g} {row.unit}'.strip()} | {shown} | {kept} |")
        parts.append("")
    parts += _growth(found)
    if "memory_parts" in found:
        parts.append(memory_parts.table(found["memory_parts"]))
    if "peers" in found:
        parts.append(_peers(found))
    return "\n".join(parts).rstrip() + "\n"


def _growth(found: Mapping[str, Any]) -> list[str]:
    parts = []
    for title, name, unit in (
        ("streams, voice and face", "cost_by_streams", "cores a stream"),
        ("streams, with words", "cost_by_streams_with_words", "cores a stream"),
        ("windows in a batch", "fusion_windows_per_s", "windows/s"),
        ("windows in a batch", "fusion_vs_mult", "time over MulT's"),
        ("windows in a batch", "fusion_onnx_vs_torch", "ONNX Runtime's time over PyTorch's"),
        ("seconds of a window", "fusion_ms_by_window_s", "ms"),
    ):
        values = dict(sorted(found.get(name, {}).items(), key=lambda item: float(item[0])))
        if values:
            parts.append(f"| {title} | " + " | ".join(values) + " |\n| --- |" + " --- |" * len(values))
            parts.append(f"| {unit} | " + " | ".join(f"{value:g}" for value in values.values()) + " |\n")
    return parts


def _peers(found: Mapping[str, Any]) -> str:
    """Return our recogniser beside others, with the ratios to ours: how many times as late, as wrong, as dear."""
    ours = found["peers"]["ours"]

    def cell(row: Mapping[str, Any], keys: Sequence[str]) -> str:
        shown = " / ".join(f"{row[key]:.2f}" for key in keys)
        times = " / ".join(f"{row[key] / ours[key]:.1f}" for key in keys)
        return shown if row is ours else f"{shown} (x {times})"

    head = f"{found['peers_sound_s']:g} s of real clips, {found['peers_words']} words"
    lines = [f"| {head} | first seen, median / 95 %, s | committed, s | word errors | cores | all else meanwhile |"]
    lines.append("| --- |" + " --- |" * (len(PEER_COLUMNS) + 1))
    for row in (ours, *(row for name, row in found["peers"].items() if name != "ours")):
        if "missing" in row:
            lines.append(f"| {row['label']} | {row['missing']} |" + " |" * len(PEER_COLUMNS))
            continue
        cells = (cell(row, keys) for keys in PEER_COLUMNS)
        lines.append(f"| {row['label']} | {' | '.join(cells)} | {row['others']:.2f} |")
    return "\n".join(lines) + "\n"


def fill(page: Path, found: Mapping[str, Any]) -> None:
    """Replace what stands between the marks of a page.

    Raises:
        ValueError: the page has no marks.
    """
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: no {BEGIN} and {END}")
    page.write_text(f"{head}{BEGIN}\n{tables(found)}{END}{tail}")
