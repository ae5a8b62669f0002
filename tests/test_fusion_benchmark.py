import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts import evaluate
from scripts.evaluation import fusion, fusion_report, fusion_runs
from scripts.evaluation.baselines import Concat
from scripts.evaluation.ensemble import Ensemble, Recipe, Rows
from scripts.evaluation.fusion_damage import Condition, apply, augment, conditions, vector_curves
from scripts.evaluation.fusion_data import Fold, FusionData, by_group
from scripts.evaluation.fusion_methods import METHODS, plain_loss
from scripts.evaluation.fusion_runs import run
from scripts.evaluation.psc import psc

DOCS = Path(__file__).parent.parent / "docs"

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other


def toy(count=240, seed=0):
    """Two modalities that add up to the target."""
    generator = np.random.default_rng(seed)
    voice, face = generator.normal(size=(2, count, 4)).astype(np.float32)
    target = np.clip(voice[:, 0] + face[:, 0], -3, 3).astype(np.float32)
    group = np.array([f"s{row % 12:02d}" for row in range(count)])
    return FusionData("ravdess_av", {"voice": voice, "face": face}, target, group, by_group(group, 3))


FEW = [Condition("missing", "all", 0.0), Condition("missing", "voice", 0.5), Condition("noise", "face", 0.0)]


@pytest.fixture
def few_conditions(monkeypatch):
    monkeypatch.setattr(fusion_runs, "conditions", lambda _: FEW)


@pytest.fixture
def values():
    return {name: torch.from_numpy(value).unsqueeze(0) for name, value in toy().values.items()}


def test_no_speaker_is_in_two_parts_of_a_fold_and_every_row_is_tested_once():
    data = toy()
    for fold in data.folds:
        parts = [set(data.group[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert not parts[0] & parts[1]
        assert not parts[2] & (parts[0] | parts[1])
    assert sorted(np.concatenate([fold.test for fold in data.folds])) == list(range(240))


def test_scaling_knows_the_training_rows_only():
    data = toy()
    rows = np.arange(100)
    before = data.standardised(Fold(rows, rows, rows))["voice"][:100]
    data.values["voice"][100:] += 50
    np.testing.assert_array_equal(before, data.standardised(Fold(rows, rows, rows))["voice"][:100])


@pytest.mark.parametrize("condition", conditions(vector_curves(["voice", "face"])), ids=lambda c: c.key)
def test_damage_is_the_same_for_every_method_and_leaves_the_other_modality_alone(values, condition):
    first, again = apply(condition, values, 3), apply(condition, values, 3)
    assert all(torch.equal(first[0][name], again[0][name]) for name in values)
    assert torch.equal(first[1], again[1])
    for index, name in enumerate(values):
        gone = first[1][..., index] == 0
        assert (first[0][name][gone] == 0).all()
        if condition.where not in (name, "all"):
            assert torch.equal(first[0][name], values[name])


def test_worse_damage_hits_the_same_rows_and_more(values):
    mild, hard = (apply(Condition("missing", "voice", rate), values, 5)[1][0, :, 0] for rate in (0.3, 0.7))
    assert ((hard == 0) >= (mild == 0)).all()
    assert (mild == 0).float().mean().item() == pytest.approx(0.3, abs=0.1)


def test_reliability_falls_with_the_snr(values):
    means = [apply(Condition("noise", "face", snr), values, 5)[1][..., 1].mean().item() for snr in (20, 5, -10)]
    assert means[0] > 0.95 > means[1] > 0.05 > means[2]


def test_training_damage_is_what_the_regime_says(values):
    generator = torch.Generator().manual_seed(0)
    assert (augment("plain", values, generator)[1] == 1).all()
    assert set(augment("dropout", values, generator)[1].unique().tolist()) == {0.0, 1.0}
    assert ((augment("damage", values, generator)[1] % 1) > 0).any()


def test_stacked_members_learn_as_each_would_alone():
    data = toy()
    names = {name: value.shape[1] for name, value in data.values.items()}
    rows = Rows(
        {name: torch.from_numpy(value).repeat(2, 1, 1) for name, value in data.values.items()},
        torch.from_numpy(data.target).repeat(2, 1),
        torch.ones(2, 240),
    )
    alone = Rows({k: v[:1] for k, v in rows.values.items()}, rows.target[:1], rows.weight[:1])
    make = lambda: Concat(names, 8, 0.0, informed=False)  # noqa: E731 - a factory
    recipe = Recipe(epochs=30, batch=32)
    both, one = Ensemble(make, [7, 7]), Ensemble(make, [7])
    errors = both.fit(plain_loss, rows, rows, "plain", recipe)
    error = one.fit(plain_loss, alone, alone, "plain", recipe)
    assert error.item() < 0.6 * float(np.abs(data.target).mean())
    assert errors[0].item() == pytest.approx(error.item(), abs=0.1)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "text only"])
@pytest.mark.usefixtures("few_conditions")
def test_every_method_of_the_benchmark_trains_and_predicts(name):
    made = run(toy(120), METHODS[name], "damage", [0], Recipe(epochs=1), None)
    assert all(np.isfinite(score).all() and score.shape == (1, 120) for score in made.score.values())


@pytest.mark.usefixtures("few_conditions")
def test_a_cached_run_is_the_run(tmp_path):
    first = run(toy(120), METHODS["AGFN robust"], "dropout", [0, 1], Recipe(epochs=1), tmp_path)
    again = run(toy(120), METHODS["AGFN robust"], "dropout", [0, 1], Recipe(epochs=1), tmp_path)
    assert (again.dead, again.validation, again.seconds) == (first.dead, first.validation, first.seconds)
    assert first.dead == 0
    for key, score in first.score.items():
        np.testing.assert_array_equal(score, again.score[key])


def test_the_command_writes_tables_tests_and_plots_and_keeps_what_a_person_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(fusion.DATA, "ravdess_av", lambda _: toy(120))
    monkeypatch.setitem(fusion.PLAN, "ravdess_av", {"damage": fusion.QUICK})
    (tmp_path / "fusion.md").write_text(f"# Mine\n\nWords.\n\n{fusion_report.MARKER}\nold\n", encoding="utf-8")
    options = ["fusion", "--quick", "--seeds", "2", "--data-sets", "ravdess_av", "--cache", str(tmp_path / "cache")]
    evaluate.main([*options, "--out", str(tmp_path)])
    assert "AGFN robust" in capsys.readouterr().err
    text = (tmp_path / "fusion.md").read_text(encoding="utf-8")
    assert text.startswith("# Mine\n\nWords.\n")
    assert "old" not in text
    content = json.loads((tmp_path / "fusion.json").read_text(encoding="utf-8"))
    found = content["data"]["ravdess_av"]
    assert found["summaries"]["damage"]["AGFN robust"]["dead_share"] == 0
    assert {test["control"] for test in found["tests"]} == {"concat + r", "late + r"}
    assert (tmp_path / "fusion-ravdess_av.png").stat().st_size > 10_000


def test_a_method_is_added_beside_the_rows_of_the_others_which_stay(tmp_path, monkeypatch):
    monkeypatch.setitem(fusion.DATA, "ravdess_av", lambda _: toy(120))
    monkeypatch.setitem(fusion.PLAN, "ravdess_av", {"damage": ("ridge", "concat + r", "AGFN distributions")})
    options = ["fusion", "--quick", "--seeds", "2", "--data-sets", "ravdess_av", "--out", str(tmp_path)]
    monkeypatch.setattr(fusion, "QUICK", ("ridge", "concat + r"))
    evaluate.main([*options, "--cache", str(tmp_path / "first")])
    before = json.loads((tmp_path / "fusion.json").read_text(encoding="utf-8"))["data"]["ravdess_av"]
    monkeypatch.setattr(fusion, "QUICK", ("ridge", "concat + r", "AGFN distributions"))
    evaluate.main([*options, "--cache", str(tmp_path / "second"), "--add", "AGFN distributions"])
    assert not list((tmp_path / "second").glob("*ridge*")), "nothing else is run"
    content = json.loads((tmp_path / "fusion.json").read_text(encoding="utf-8"))
    rows = content["data"]["ravdess_av"]["summaries"]["damage"]
    assert list(rows) == ["ridge", "concat + r", "AGFN distributions"]
    assert {name: rows[name] for name in ("ridge", "concat + r")} == before["summaries"]["damage"]
    assert rows["AGFN distributions"]["dead_share"] == 0
    text = (tmp_path / "fusion.md").read_text(encoding="utf-8")
    assert '--add "AGFN distributions"' in text
    assert content["data"]["ravdess_av"]["tests"] == [], "no control was run beside it"


def test_other_data_sets_stay_as_they_were(tmp_path, monkeypatch):
    for name in ("ravdess_av", "mosi_b"):
        monkeypatch.setitem(fusion.DATA, name, lambda _, name=name: replace(toy(120), name=name))
        monkeypatch.setitem(fusion.PLAN, name, {"plain": ("ridge",)})
    monkeypatch.setattr(fusion, "QUICK", ("ridge",))
    monkeypatch.setattr(fusion, "_draw", lambda *_: None)
    options = ["fusion", "--quick", "--seeds", "1", "--out", str(tmp_path), "--cache", str(tmp_path / "cache")]
    evaluate.main([*options, "--data-sets", "mosi_b"])
    before = json.loads((tmp_path / "fusion.json").read_text(encoding="utf-8"))["data"]["mosi_b"]
    evaluate.main([*options, "--data-sets", "ravdess_av"])
    content = json.loads((tmp_path / "fusion.json").read_text(encoding="utf-8"))["data"]
    assert list(content) == ["ravdess_av", "mosi_b"]
    assert content["mosi_b"] == before
    text = (tmp_path / "fusion.md").read_text(encoding="utf-8")
    assert text.index("## ravdess_av") < text.index("## mosi_b")
    with pytest.raises(SystemExit, match=r"other data sets of .* --seeds 1`"):
        evaluate.main([*options, "--data-sets", "ravdess_av", "--seeds", "2"])


def test_the_published_tables_are_those_of_the_published_figures():
    below = (DOCS / "fusion.md").read_text(encoding="utf-8").split(fusion_report.MARKER)[1]
    rendered = fusion_report.render(fusion.read(DOCS / "fusion.json"), fusion.TITLES)
    assert below.strip() == "\n".join(rendered).strip()


def test_psc_sees_an_error_along_an_axis_and_the_multiple_r_along_any_direction():
    generator = np.random.default_rng(0)
    xy = generator.normal(size=(500, 2))
    straight, multiple = psc(xy, xy[:, 0])
    assert straight == pytest.approx(0.5, abs=0.1)
    assert multiple == pytest.approx(1)
    turned, same = psc(xy, xy @ np.array([0.7, 0.7]))
    assert turned > straight
    assert same == pytest.approx(1)
