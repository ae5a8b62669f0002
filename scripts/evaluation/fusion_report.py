"""Markdown of the fusion benchmark. The findings above the marker are written by a person and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.metrics import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

MARKER = "<!-- below: written by scripts/evaluate.py fusion -->"
SETTING = (
    "one vector per modality, width 32, the same training budget, masks and seeds for every method; early stopping on "
    "speakers set aside from the training rows; figures are means over seeds. `+ r`: the method sees the reliabilities."
)
AREAS = (
    "AUILC of MAE (missing: mean over the rates 0 to 0.9; noise: over 20 to -10 dB; stale: another utterance's vector "
    "at a rate, unnoticed). `one damaged` is the mean over missing and noise of one modality, retention that over the "
    "clean MAE:"
)
SIGNAL_AREAS = (
    "AUILC of MAE (missing: mean over the rates 0 to 0.9; noise and blur: over the levels in the tables of weights, "
    "without the undamaged one). `one damaged` is the mean over missing, noise and blur, retention that over the clean "
    "MAE:"
)
GATES = (
    "Gates: Spearman correlation of the mean weight of the damaged modality with severity; `dead` is the largest "
    "weight that a missing modality ever had; `gone`: MAE without that modality:"
)
DIFFERENCES = (
    "Difference of AUILC MAE, negative where AGFN is better; paired bootstrap over speakers (10,000 draws), Holm over "
    "this table."
)
WEIGHTS = (
    "Mean weight of the {name} by the level of its {kind} ({unit}), nothing else damaged. `r` is what the live program "
    "measures there. `means` is the Spearman correlation of these means with severity, `rows` that over all rows and "
    "levels:"
)
UNITS = {"noise": "dB of SNR over the whole clip", "blur": "standard deviation in pixels of a picture of 48 x 48"}
COMMAND = "python -m scripts.evaluate fusion"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, numbers to the right."""
    return [
        f"| {' | '.join(head)} |",
        f"|---|{'---:|' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def number(value: float) -> str:
    """Three decimals, a dash for what there is none of."""
    return "-" if value != value else f"{value:.3f}"  # noqa: PLR0124 - only NaN differs from itself


def render(content: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    """Everything that is in the JSON; `titles` says of each data set what its tests are about."""
    lines = [f"`{content['command']}`: {SETTING}", ""]
    for name, part in content["data"].items():
        lines += data_set(name, part)
        lines += tests(f"{name}: is AGFN better with {titles[name]}?", part["tests"])
        lines += [f"![degradation](fusion-{name}.png)", "", f"![gates](fusion-{name}-gates.png)", ""]
    return lines + (psc_table(content["psc"]) if "psc" in content else [])


def data_set(name: str, part: Mapping[str, Any]) -> list[str]:
    """Tables of one data set: clean metrics, areas under the curves, gates, for each training regime."""
    lines = [f"## {name}", ""]
    if "added" in part:
        lines += [added(part["added"]), ""]
    for regime, methods in part["summaries"].items():
        lines += [f"### {name}, training: {regime}", "", "Clean:", ""]
        lines += table(
            ["method", *KEYS], ([method, *(number(s["clean"][key]) for key in KEYS)] for method, s in methods.items())
        )
        lines += areas(methods, SIGNAL_AREAS if "signals" in part else AREAS)
        gated = {method: s for method, s in methods.items() if s["gate"]}
        if gated:
            lines += gates(gated)
        for where, signal in part.get("signals", {}).items():
            lines += weights(where, signal, gated)
    return lines


def areas(methods: Mapping[str, Any], explained: str) -> list[str]:
    """Tables of the areas under the curves."""
    places = list(next(iter(methods.values()))["auilc"])
    lines = [explained, ""]
    lines += table(
        ["method", *places, "one damaged", "retention", "worst"],
        (
            [
                method,
                *(number(s["auilc"][place]["mae"]) for place in places),
                number(s["auilc_one_damaged"]),
                number(s["retention"]),
                number(s["worst_mae"]),
            ]
            for method, s in methods.items()
        ),
    )
    lines += ["All modalities missing at a rate, mean over 0 to 0.9; `+`: rows with at least one left:", ""]
    return lines + table(
        ["method", *KEYS, *(f"{key}+" for key in KEYS)],
        (
            [
                method,
                *(number(s["auilc"]["missing/all"][key]) for key in KEYS),
                *(number(s["auilc_present"]["missing/all"][key]) for key in KEYS),
            ]
            for method, s in methods.items()
        ),
    )


def gates(gated: Mapping[str, Any]) -> list[str]:
    """Table of what the gates do."""
    first = next(iter(gated.values()))
    kinds, names = list(first["gate"]), list(first["gone"])
    return [
        GATES,
        "",
        *table(
            ["method", *kinds, "dead", *(f"{where} gone" for where in names)],
            (
                [
                    method,
                    *(f"{s['gate'][kind]['spearman']:.2f}" for kind in kinds),
                    number(s["dead_share"]),
                    *(number(s["gone"][where]["mae"]) for where in names),
                ]
                for method, s in gated.items()
            ),
        ),
    ]


def weights(where: str, signal: Mapping[str, Any], gated: Mapping[str, Any]) -> list[str]:
    """Table of the weights of a modality by the level of the damage to its signal."""
    kind = signal["kind"]
    found = {method: s["gate"][f"{kind}/{where}"] for method, s in gated.items()}
    rows = [["r", *map(number, signal["reliability"]), "", ""]]
    rows += [
        [method, *map(number, gate["weights"]), f"{gate['spearman']:.2f}", f"{gate['rows']:.2f}"]
        for method, gate in found.items()
    ]
    levels = [f"{level:g}" for level in signal["levels"]]
    return [
        WEIGHTS.format(name=where, kind=kind, unit=UNITS[kind]),
        "",
        *table(["method", "clean", *levels, "means", "rows"], rows),
    ]


def tests(title: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Table of paired comparisons."""
    return [
        f"### {title}",
        "",
        DIFFERENCES,
        "",
        *table(
            ["training", "AGFN", "against", "difference", "95 %", "p", "p (Holm)"],
            (
                [
                    test["regime"],
                    test["ours"],
                    test["control"],
                    f"{test['difference']:+.4f}",
                    f"{test['interval'][0]:+.4f} .. {test['interval'][1]:+.4f}",
                    f"{test['p']:.4f}",
                    f"{test['p_holm']:.4f}",
                ]
                for test in found
            ),
        ),
    ]


def added(methods: Sequence[str]) -> str:
    """Say which rows were measured later than the others, with which command."""
    names = " ".join(f'"{method}"' for method in methods)
    return (
        f"Rows of {', '.join(methods)} were added later (`{COMMAND} --add {names}`): the same data, masks, seeds and "
        "budget. Holm's correction is over each table as it is now."
    )


def psc_table(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Table of the t-SNE diagnostic."""
    return [
        "### PSC (Eq. 8) on mosi_a, mean over t-SNE seeds",
        "",
        *table(
            ["method", "PSC", "its deviation over seeds", "multiple R"],
            ([name, number(s["psc"]), number(s["psc_std"]), number(s["multiple_r"])] for name, s in found.items()),
        ),
    ]


def write(path: Path, lines: Sequence[str]) -> None:
    """Replace what stands below the marker."""
    above = path.read_text(encoding="utf-8").split(MARKER)[0] if path.exists() else "# Fusion benchmark\n\n"
    path.write_text(above + MARKER + "\n\n" + "\n".join(lines).rstrip() + "\n", encoding="utf-8")
