"""The data set of the fusion benchmark whose signals are damaged, on small made ones."""

import json

import numpy as np
import pytest
import torch

from scripts import evaluate
from scripts.evaluation import fusion, fusion_mixture, fusion_runs
from scripts.evaluation.ensemble import Recipe
from scripts.evaluation.fusion_damage import Condition, Damaged, alone, apply, augment, conditions
from scripts.evaluation.fusion_data import FusionData, Signal, by_group
from scripts.evaluation.fusion_methods import METHODS
from scripts.evaluation.fusion_mixture import SHOWN_AS, face_trust, paired, voice_trust
from scripts.evaluation.fusion_runs import run
from scripts.evaluation.fusion_stats import CLEAN, gates, measured, significance, summary
from scripts.training import corpora, expression
from scripts.training.damage import mixed

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other

SNRS_DB, BLURS_PX = (20.0, 10.0, 0.0), (1.0, 2.0, 3.0)


def toy(count=480, seed=0):
    """Voice and face each hold the target; what is damaged holds the less of it, and r falls."""
    random = np.random.default_rng(seed)
    target = random.uniform(-3, 3, count).astype(np.float32)
    group = np.array([f"a{row % 12:02d}" for row in range(count)])
    signals = {}
    for name, kind, levels in (("voice", "noise", SNRS_DB), ("face", "blur", BLURS_PX)):
        held = target[:, None] * random.choice((-1, 1), 6) + random.normal(0, 1.5, (count, 6))
        values = np.stack([held + level * random.normal(0, 2, held.shape) for level in range(1 + len(levels))])
        trust = np.stack([np.clip(1 - level / 3 + random.normal(0, 0.1, count), 0, 1) for level in range(4)])
        blocks = ((4, 2), (2, 2)) if name == "voice" else ()
        signals[name] = Signal(kind, levels, values.astype(np.float32), trust.astype(np.float32), blocks)
    values = {name: signal.values[0] for name, signal in signals.items()}
    return FusionData("mixture", values, target, group, by_group(group, 3), signals)


def test_components_know_the_training_rows_only_and_are_of_their_own_block():
    data = toy()
    scaled = data.standardised_signals[0]["voice"]
    assert scaled.shape == (4, 480, 4), "two components of each block"
    np.testing.assert_allclose(scaled[0][data.folds[0].train].std(0), 1, atol=1e-3)
    other = toy()
    other.signals["voice"].values[:, other.folds[0].test] += 50
    train = data.folds[0].train
    np.testing.assert_array_equal(other.standardised_signals[0]["voice"][:, train], scaled[:, train])
    other = toy()
    other.values["voice"][:, 4:] *= 9
    other.signals["voice"].values[..., 4:] += 1
    np.testing.assert_array_equal(other.standardised_signals[0]["voice"][..., :2], scaled[..., :2])


def damaged_of(data):
    values = {name: torch.from_numpy(signal.values[0])[None] for name, signal in data.signals.items()}
    signals = {
        name: Damaged(
            signal.kind,
            signal.levels,
            torch.from_numpy(signal.values).transpose(0, 1)[None],
            torch.from_numpy(signal.reliability).T[None],
        )
        for name, signal in data.signals.items()
    }
    return values, signals


def test_every_condition_takes_what_was_measured_and_leaves_the_other_modality_alone():
    data = toy()
    values, signals = damaged_of(data)
    assert alone(data.curves) == [("missing", "voice"), ("missing", "face"), ("noise", "voice"), ("blur", "face")]
    keys = [condition.key for condition in conditions(data.curves)]
    assert {"missing/all/0", "missing/voice/1", "noise/voice/0", "blur/face/3"} <= set(keys)
    assert not [key for key in keys if key.startswith("stale")]
    found, trust = apply(Condition("noise", "voice", 10.0), values, 3, signals)
    voice, face = data.signals["voice"], data.signals["face"]
    there = (voice.reliability[2] > 0)[:, None]
    np.testing.assert_array_equal(found["voice"][0].numpy(), voice.values[2] * there)
    np.testing.assert_array_equal(trust[0].numpy().T, [voice.reliability[2], face.reliability[0]])
    np.testing.assert_array_equal(found["face"][0].numpy(), face.values[0])


def test_training_with_damage_shows_every_level_with_its_reliability():
    data = toy()
    values, signals = damaged_of(data)
    plain, trust = augment("plain", values, torch.Generator().manual_seed(0), signals)
    assert torch.equal(plain["voice"], values["voice"])
    np.testing.assert_array_equal(trust[0, :, 0].numpy(), data.signals["voice"].reliability[0])
    seen, trust = augment("damage", values, torch.Generator().manual_seed(0), signals)
    level = [
        next(at for at in range(5) if at == 4 or np.array_equal(data.signals["voice"].values[at, row], sound))
        for row, sound in enumerate(seen["voice"][0].numpy())
        if trust[0, row, 0] > 0
    ]
    assert set(level) == {0, 1, 2, 3}, "undamaged, or what was damaged; nothing else"


def test_the_weight_of_a_modality_falls_with_the_damage_to_its_signal(monkeypatch):
    data = toy(240)
    wanted = [each for each in conditions(data.curves) if each.kind != "missing" or each.key == CLEAN]
    monkeypatch.setattr(fusion_runs, "conditions", lambda _: wanted)
    made = run(data, METHODS["AGFN distributions"], "damage", [0], Recipe(epochs=6, learning_rate=0.01), None)
    monkeypatch.setattr(FusionData, "curves", {("noise", "voice"): SNRS_DB, ("blur", "face"): BLURS_PX})
    for gate in gates(made, data).values():
        assert len(gate["weights"]) == 4, "the undamaged one is the first"
        assert gate["weights"][0] > 0.3 > gate["weights"][-1] + 0.1
        assert gate["spearman"] == pytest.approx(-1)
        assert gate["rows"] < -0.3


def test_what_is_told_of_a_run_is_of_the_signals_and_each_actor_is_one_draw():
    data = toy(240)
    made = run(data, METHODS["late + r"], "damage", [0], Recipe(epochs=1), None)
    told = summary(made, data)
    assert list(told["auilc"]) == ["missing/voice", "missing/face", "missing/all", "noise/voice", "blur/face"]
    areas = [told["auilc"]["/".join(place)]["mae"] for place in alone(data.curves)]
    assert told["auilc_one_damaged"] == pytest.approx(np.mean(areas))
    assert told["dead_share"] == 0
    trust = measured(data.signals["voice"])["reliability"]
    assert trust == sorted(trust, reverse=True)
    both = {("damage", "AGFN distributions"): made, ("damage", "late + r"): made}
    (test,) = significance(both, data, ["damage"], ["AGFN distributions"], ["late + r"], "one")
    assert (test["difference"], test["p"]) == (0, 1), "no method is better than itself"


def test_the_command_prints_weights_by_level(tmp_path, monkeypatch):
    monkeypatch.setitem(fusion.DATA, "mixture", lambda _: toy(240))
    monkeypatch.setitem(fusion.PLAN, "mixture", {"damage": fusion.QUICK})
    monkeypatch.setattr(fusion, "QUICK", ("concat + r", "AGFN distributions"))
    options = ["fusion", "--quick", "--seeds", "1", "--data-sets", "mixture", "--cache", str(tmp_path / "cache")]
    evaluate.main([*options, "--out", str(tmp_path)])
    text = (tmp_path / "fusion.md").read_text(encoding="utf-8")
    assert "| method | clean | 20 | 10 | 0 | means | rows |" in text
    assert "| method | clean | 1 | 2 | 3 | means | rows |" in text
    part = json.loads((tmp_path / "fusion.json").read_text(encoding="utf-8"))["data"]["mixture"]
    assert part["signals"]["face"]["levels"] == list(BLURS_PX)
    assert [test["control"] for test in part["tests"]] == ["concat + r"]
    assert (tmp_path / "fusion-mixture-gates.png").stat().st_size > 10_000


def test_a_face_shows_what_the_voice_does_and_nobody_has_one_twice():
    random = np.random.default_rng(0)
    wanted = np.tile(np.arange(3), 80)
    group = np.array([f"a{row % 8}" for row in range(240)])
    home = np.array([int(name[1]) % 4 for name in group])
    label = random.integers(0, 4, 600)
    dealt = paired(wanted, group, home, label)
    assert (label[dealt] == wanted).all()
    for actor in np.unique(group):
        own = dealt[group == actor]
        assert len(set(own)) == len(own)
    folds = [set(dealt[home == fold]) for fold in range(4)]
    assert not any(folds[a] & folds[b] for a in range(4) for b in range(a)), "no face is trained on and tested"
    assert (paired(wanted, group, home, label, seed=1) != dealt).any()


def test_every_emotion_has_a_face():
    names = {SHOWN_AS.get(name, name) for name in corpora.RAVDESS.values()}
    assert names == set(expression.EXPRESSIONS)


def test_blur_and_darkness_are_what_the_live_program_trusts_less():
    checks = np.kron(np.indices((12, 12)).sum(0) % 2, np.ones((4, 4))).astype(np.uint8) * 160 + 40
    trust = [face_trust(fusion_mixture._blurred(checks, sigma)) for sigma in (0.0, 2.0, 4.0)]
    assert trust[0] == pytest.approx(1, abs=0.05)
    assert trust == sorted(trust, reverse=True)
    assert trust[-1] < 0.1
    assert face_trust(np.zeros((48, 48), np.uint8)) == 0


@pytest.mark.models
def test_noise_is_what_the_live_program_trusts_less(speech):
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    sounds = (speech, mixed(speech, noise, 5), mixed(speech, noise, -10))
    trust = [voice_trust(["a"] * 2, [sound] * 2)[1] for sound in sounds]
    assert trust[0] > 0.9 > trust[1] > 0.1 > trust[2]
