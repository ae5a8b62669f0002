"""The bars of a fleet: what was measured beside what is wanted; what was not measured says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `shown` says what was measured, `kept` whether it is enough; `keys` must all be known for that."""

    name: str
    wanted: str
    keys: tuple[str, ...]
    shown: Callable[[Mapping[str, Any]], str]
    kept: Callable[[Mapping[str, Any]], bool]


def _words_s(words_s: float | None) -> str:
    return "not heard any more" if words_s is None else f"after {words_s} s"


def _spread(cores: Mapping[str, float]) -> float:
    return max(cores.values()) / min(cores.values()) - 1


BARS = (
    Bar(
        "F1",
        "1,000 streams, 10 min: no gap, 0 drops, p99 <= 250 ms beyond the lateness, late < .1 %",
        ("streams", "minutes", "seq_gaps", "dropped", "p50_ms", "p99_ms", "late_share"),
        lambda f: (
            f"{f['streams']} streams, {f['minutes']:g} min: {f['seq_gaps']} gaps, {f['dropped']} dropped, "
            f"p50 {f['p50_ms']} ms, p99 {f['p99_ms']} ms, late {100 * f['late_share']:.2f} %"
        ),
        lambda f: (
            f["streams"] >= 1000
            and f["minutes"] >= 10
            and not f["seq_gaps"]
            and not f["dropped"]
            and f["p99_ms"] <= 250
            and f["late_share"] < 0.001
        ),
    ),
    Bar(
        "F2",
        "cores a stream at 100/250/500/1,000 within 15 %; <= 1 MB a stream",
        ("cores_by_streams", "rss_mb_per_stream"),
        lambda f: (
            ", ".join(f"{count}: {cores:.5f}" for count, cores in f["cores_by_streams"].items())
            + f" ({100 * _spread(f['cores_by_streams']):.0f} % apart); {f['rss_mb_per_stream']:.2f} MB a stream"
        ),
        lambda f: (
            {"100", "250", "500", "1000"} <= set(f["cores_by_streams"])
            and _spread(f["cores_by_streams"]) <= 0.15
            and f["rss_mb_per_stream"] <= 1
        ),
    ),
    Bar(
        "F3",
        "kill -9 of a host with 250: p95 <= 5 s, max 8 s; the others keep their p99",
        ("failover_streams", "failover_p95_s", "failover_max_s", "others_p99_ms"),
        lambda f: (
            f"{f['failover_streams']} streams: p95 {f['failover_p95_s']} s, max {f['failover_max_s']} s; "
            f"the others' p99 {f['others_p99_ms']} ms"
        ),
        lambda f: (
            f["failover_streams"] >= 250
            and f["failover_p95_s"] <= 5
            and f["failover_max_s"] <= 8
            and f["others_p99_ms"] <= 250
        ),
    ),
    Bar(
        "F4",
        "node killed: <= 10 s; score and context within .05 of the twin; epoch + 1; seq on the grid",
        ("node_max_s", "twin_score_diff_max", "twin_context_diff_max", "off_grid", "epoch_steps"),
        lambda f: (
            f"longest {f['node_max_s']} s; of {f['twins']} twins, where nothing was said in what was lost, the scores "
            f"differ by {f['twin_score_diff_max']} at most and the contexts by {f['twin_context_diff_max']} (scores of "
            f"{f['twins_spoken']}, where something was, by {f['twin_score_diff_max_spoken']}); "
            f"{f['off_grid']} windows off the grid; epoch + {f['epoch_steps']}"
        ),
        lambda f: (
            f["node_max_s"] <= 10
            and max(f["twin_score_diff_max"], f["twin_context_diff_max"]) <= 0.05
            and not f["off_grid"]
            and f["epoch_steps"] == "1"
        ),
    ),
    Bar(
        "F5",
        "host stopped for 15 s and continued: <= 2 stale messages a stream, no retained offline",
        ("stale_published", "stale_most", "retained_offline"),
        lambda f: (
            f"{f['stale_published']} stale in all, {f['stale_most']} of one stream at most; "
            f"{f['retained_offline']} streams offline"
        ),
        lambda f: f["stale_most"] <= 2 and not f["retained_offline"],
    ),
    Bar(
        "F6",
        "Ray head killed for 60 s: no gap on running streams; placement works again after",
        ("head_s", "head_gaps", "head_silent", "head_moved", "head_failover_s", "head_host_back_s"),
        lambda f: (
            f"gone for {f['head_s']:.0f} s: {f['head_gaps']} gaps, {f['head_silent']} streams silent, "
            f"{f['head_moved']} moved; a host killed then: its streams elsewhere after {f['head_failover_s']} s, "
            f"itself back after {f['head_host_back_s']} s"
        ),
        lambda f: f["head_s"] >= 60 and not f["head_gaps"] and not f["head_silent"],
    ),
    Bar(
        "F7",
        "ASR pool halved, hung, killed: windows' p99 <= 250 ms; words back within 10 s",
        ("pool_p99_ms", "pool_words_s"),
        lambda f: (
            f"p99 {f['pool_p99_ms']} ms; a word spoken after it was "
            + ", ".join(f"{what}: {_words_s(words_s)}" for what, words_s in f["pool_words_s"].items())
        ),
        lambda f: (
            f["pool_p99_ms"] <= 250
            and all(words_s is not None and words_s <= 10 for words_s in f["pool_words_s"].values())
        ),
    ),
    Bar(
        "F8",
        "host added: balanced within 60 s, at most N/nodes moves; gap <= 1 hop",
        ("joined_s", "joined_moves", "joined_most", "joined_gap_hops"),
        lambda f: (
            f"last move after {f['joined_s']} s, {f['joined_moves']} moves of {f['joined_most']} at most, "
            f"longest gap {f['joined_gap_hops']} hops"
        ),
        lambda f: f["joined_s"] <= 60 and f["joined_moves"] <= f["joined_most"] and f["joined_gap_hops"] <= 1,
    ),
    Bar("F9", "remote decode = local decode", ("decode_differs",), str, lambda _: False),
    Bar(
        "F10",
        "30 min of chaos, the broker restarted, >= 100 faults: 0 violations",
        ("chaos_minutes", "chaos_faults", "chaos_violations", "chaos_longest_s"),
        lambda f: (
            f"{f['chaos_minutes']:g} min, {f['chaos_faults']} faults: {f['chaos_violations']} violations; "
            f"longest silence {f['chaos_longest_s']:.1f} s"
        ),
        lambda f: f["chaos_minutes"] >= 30 and f["chaos_faults"] >= 100 and not f["chaos_violations"],
    ),
    Bar(
        "F11",
        "without the extra: no `ray` import",
        ("imports_ray",),
        lambda f: "imports ray" if f["imports_ray"] else "no import of ray",
        lambda f: not f["imports_ray"],
    ),
)


def table(found: Mapping[str, Any]) -> str:
    """Lay out the bars as Markdown."""
    lines = ["| | bar | measured | |", "| --- | --- | --- | --- |"]
    for bar in BARS:
        known = all(found.get(key) is not None for key in bar.keys)
        shown = bar.shown(found) if known else "not measured"
        kept = ("kept" if bar.kept(found) else "not kept") if known else ""
        lines.append(f"| {bar.name} | {bar.wanted} | {shown} | {kept} |")
    return "\n".join(lines)
