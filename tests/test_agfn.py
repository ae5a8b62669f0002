import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.agfn import AGFN
from models.agfn_config import FULL, Ablation, AgfnConfig
from models.encoders import masked_softmax
from models.gates import CrossModal, EntropyGate, feature_entropy
from models.losses import LossWeights, agfn_loss

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other

INPUTS = {"text": 6, "voice": 5, "face": 4}
STEPS = {"text": 4, "voice": 7, "face": 9}
KINDS = ("mean", "tcn", "gru", "lstm")


def settings_of(encoder="tcn", **switches):
    return AgfnConfig(INPUTS, width=16, heads=2, encoder=encoder, ablation=replace(FULL, **switches))


def network(**changes):
    torch.manual_seed(0)
    return AGFN(settings_of(**changes)).eval()


def windows(count=3, seed=1, steps=STEPS):
    torch.manual_seed(seed)
    values = {name: torch.randn(count, steps[name], size) for name, size in INPUTS.items()}
    times = {name: -torch.rand(count, steps[name]).sort(descending=True).values for name in INPUTS}
    mask = {name: torch.ones(count, steps[name], dtype=torch.bool) for name in INPUTS}
    return values, times, mask, torch.rand(count, 3) * 0.9 + 0.1


def same_bits(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", ["literal", "robust"])
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_what_a_masked_modality_holds_changes_no_bit(kind, variant, name, garbage):
    model = network(encoder=kind, variant=variant)
    values, times, mask, reliability = windows()
    mask[name][:] = False
    reliability[:, list(INPUTS).index(name)] = 0
    before = model(values, times, mask, reliability)
    values[name] = torch.full_like(values[name], garbage)
    times[name] = torch.full_like(times[name], garbage)
    assert same_bits(before, model(values, times, mask, reliability))


@pytest.mark.parametrize("kind", KINDS)
def test_reliability_0_masks_a_modality_whose_steps_are_all_there(kind):
    model = network(encoder=kind)
    values, times, mask, reliability = windows()
    reliability[:, 1] = 0
    before = model(values, times, mask, reliability)
    values["voice"] = torch.full_like(values["voice"], math.nan)
    after = model(values, times, mask, reliability)
    assert same_bits(before, after)
    assert (after.weights[:, 1] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_step_changes_no_bit_and_a_step_with_nan_is_one(kind):
    model = network(encoder=kind)
    values, times, mask, reliability = windows()
    values["face"][:, 3] = math.nan
    unmasked = model(values, times, mask, reliability)
    mask["face"][:, 3] = False
    values["face"][:, 3] = 7.0
    assert same_bits(unmasked, model(values, times, mask, reliability))
    assert torch.isfinite(unmasked.score).all()


@settings(max_examples=30, deadline=None)
@given(
    reliability=st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1)), min_size=3, max_size=3),
    shown=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_weights_sum_to_1_over_what_is_present_and_are_0_elsewhere(reliability, shown):
    model = network()
    values, times, mask, _ = windows(1)
    for name, there in zip(INPUTS, shown, strict=True):
        mask[name][:] = there
    out = model(values, times, mask, torch.tensor([reliability]))
    used = [there and r > 0 for there, r in zip(shown, reliability, strict=True)]
    assert out.used.tolist() == [used]
    assert out.present.item() == any(used)
    for weights in (out.weights, out.ieg):
        assert weights.sum().item() == pytest.approx(float(any(used)), abs=1e-5)
        assert (weights[0, ~torch.tensor(used)] == 0).all()


def test_with_nothing_present_the_output_is_finite_and_says_so():
    values, times, mask, _ = windows()
    out = network()(values, times, mask, torch.zeros(3, 3))
    assert not out.present.any()
    assert all(torch.isfinite(field).all() for field in out)
    assert (out.score == 0).all()


def test_a_reliability_that_is_no_number_masks():
    values, times, mask, reliability = windows()
    reliability[:, 0] = math.nan
    out = network()(values, times, mask, reliability)
    assert (out.weights[:, 0] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_a_batch_permutes_the_output(kind):
    model = network(encoder=kind)
    values, times, mask, reliability = windows(4)
    mask["text"][2, 1:] = False
    order = torch.tensor([2, 0, 3, 1])
    out = model(values, times, mask, reliability)
    turned = model(*({k: v[order] for k, v in part.items()} for part in (values, times, mask)), reliability[order])
    for before, after in zip(out, turned, strict=True):
        torch.testing.assert_close(before if before.dim() == 0 else before[order], after, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [1, 13])
def test_the_length_of_the_padding_does_not_matter(kind, padding):
    model = network(encoder=kind)
    values, times, mask, reliability = windows()
    longer = [
        {k: torch.cat([v, torch.full((3, padding, *v.shape[2:]), 9).to(v.dtype)], 1) for k, v in part.items()}
        for part in (values, times)
    ]
    wider = {k: torch.cat([v, torch.zeros(3, padding, dtype=torch.bool)], 1) for k, v in mask.items()}
    before, after = model(values, times, mask, reliability), model(*longer, wider, reliability)
    torch.testing.assert_close(before.score, after.score, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(before.weights, after.weights, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_step_features_do_not_see_the_future(kind):
    encoder = network(encoder=kind).encoders["voice"]
    values, times, mask, _ = windows()
    before, _ = encoder(values["voice"], times["voice"], mask["voice"])
    values["voice"][:, 5:] += 3
    after, _ = encoder(values["voice"], times["voice"], mask["voice"])
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_features_are_standardised_by_the_buffers():
    model = network()
    values, times, mask, reliability = windows()
    before = model(values, times, mask, reliability)
    mean, std = torch.arange(5.0), torch.tensor([1.0, 2.0, 4.0, 8.0, 0.5])
    model.encoders["voice"].standardise_by(mean, std)
    values["voice"] = values["voice"] * std + mean
    torch.testing.assert_close(before.score, model(values, times, mask, reliability).score, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("predictive", [False, True])
@settings(max_examples=30, deadline=None)
@given(sharp=st.floats(1.5, 6), trust=st.floats(0.1, 1))
def test_lower_entropy_gives_a_larger_entropy_weight_all_else_equal(predictive, sharp, trust):
    gate = EntropyGate(2, 8, 1.0, robust=True, predictive=predictive)
    torch.nn.init.zeros_(gate.project.weight)
    torch.nn.init.ones_(gate.project.bias)
    pattern = torch.linspace(-1, 1, 8)
    h = torch.stack([pattern, pattern * sharp]).unsqueeze(0)
    spread = torch.tensor([[1.0, 1.0 / sharp]])
    weights, entropy = gate(h, torch.ones(1, 2, dtype=torch.bool), torch.full((1, 2), trust), spread)
    assert entropy[0, 1] < entropy[0, 0]
    assert weights[0, 1] > weights[0, 0]


@settings(max_examples=30, deadline=None)
@given(low=st.floats(0.001, 0.9), step=st.floats(0.01, 0.1))
def test_the_entropy_weight_rises_with_reliability(low, step):
    gate = EntropyGate(2, 8, 1.0, robust=True, predictive=False)
    h, on = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(0)), torch.ones(1, 2, dtype=torch.bool)
    less, more = (gate(h, on, torch.tensor([[r, 0.7]]), torch.ones(1, 2))[0][0, 0] for r in (low, low + step))
    assert more > less


def test_literal_matches_equations_4_to_6_by_hand():
    model = network(variant="literal", cross_modal=False, encoder="mean", tau=2.0)
    with torch.no_grad():
        model.mix.fill_(0.4)
    values, times, mask, reliability = windows(2)
    out = model(values, times, mask, reliability)
    h = torch.stack([model.encoders[name](values[name], times[name], mask[name])[1] for name in INPUTS], 1)
    for row in range(2):
        joined = h[row].reshape(-1)
        z = model.entropy_gate.project(joined)
        entropy = []
        for m in range(3):
            p = torch.exp(h[row, m]) / torch.exp(h[row, m]).sum()
            entropy.append(-(p * torch.log(p)).sum())
        scaled = torch.stack([z[m] * math.e ** (-entropy[m] / 2.0) for m in range(3)])
        w = torch.exp(scaled) / torch.exp(scaled).sum()  # Eq. 4
        h_entropy = sum(w[m] * h[row, m] for m in range(3))
        gate = (1 / (1 + torch.exp(-model.importance_gate.project(joined)))).reshape(3, 16)
        w_f = torch.cat(list(model.importance_gate.fuse), 0)  # (3 d, d)
        h_importance = torch.cat([gate[m] * h[row, m] for m in range(3)]) @ w_f + model.importance_gate.bias  # Eq. 5
        alpha = 1 / (1 + math.exp(-0.4))
        torch.testing.assert_close(out.h_fused[row], alpha * h_entropy + (1 - alpha) * h_importance)  # Eq. 6
        torch.testing.assert_close(out.ieg[row], w)


def test_literal_keeps_weight_on_a_dead_modality_where_robust_has_none():
    values, times, mask, reliability = windows()
    reliability[:, 2] = 0
    assert (network(variant="literal")(values, times, mask, reliability).ieg[:, 2] > 0.1).all()
    assert (network()(values, times, mask, reliability).ieg[:, 2] == 0).all()


@pytest.mark.parametrize(("changes", "alpha"), [({"mig": False}, 1.0), ({"ieg": False}, 0.0)])
def test_an_ablated_gate_takes_no_part(changes, alpha):
    assert network(**changes)(*windows()).alpha.item() == alpha


def test_without_any_gate_every_feature_passes():
    assert (network(ieg=False, mig=False)(*windows()).mig == 1).all()


def test_without_cross_modal_attention_the_weights_are_the_gates_own():
    out = network(cross_modal=False, mig=False)(*windows())
    torch.testing.assert_close(out.weights, out.ieg)


def test_feature_entropy_is_largest_for_a_flat_vector():
    assert feature_entropy(torch.zeros(16)).item() == pytest.approx(math.log(16))


def test_masked_softmax_of_nothing_is_nothing():
    assert masked_softmax(torch.randn(2, 3), torch.zeros(2, 3, dtype=torch.bool)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("variant", ["literal", "robust"])
@pytest.mark.parametrize("anchor", [False, True])
def test_the_score_stays_within_its_scale_and_the_loss_has_finite_gradients(variant, anchor):
    model = network(variant=variant, anchor=anchor, entropy="predictive").train()
    values, times, mask, reliability = windows(8)
    values["voice"] = values["voice"] * 1e6
    reliability[0] = 0
    reliability[1, :2] = 0
    out = model(values, times, mask, reliability)
    agfn_loss(model, out, torch.linspace(-3, 3, 8), LossWeights()).backward()
    assert (out.score.abs() <= 3).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_row_without_any_modality_does_not_enter_the_loss():
    model = network()
    values, times, mask, reliability = windows(4)
    reliability[3] = 0
    weights = LossWeights(vat=0)
    out = model(values, times, mask, reliability)
    one = agfn_loss(model, out, torch.tensor([1.0, 0.0, -1.0, 3.0]), weights)
    other = agfn_loss(model, out, torch.tensor([1.0, 0.0, -1.0, -3.0]), weights)
    assert one.item() == other.item()


def test_the_configuration_survives_json_and_refuses_what_it_does_not_know():
    config = settings_of("gru", variant="literal", tau=0.5)
    assert AgfnConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="colour"):
        AgfnConfig.from_json('{"inputs": {"a": 1}, "colour": 2}')
    with pytest.raises(ValueError, match="inputs"):
        AgfnConfig.from_json("{}")


def test_on_disk_the_switches_have_no_level_of_their_own_and_the_names_they_always_had():
    keys = list(json.loads(AgfnConfig(INPUTS).to_json()))
    assert keys[:6] == ["inputs", "width", "encoder", "layers", "heads", "dropout"]
    assert keys[6:] == [
        *["variant", "entropy", "tau", "anchor", "worth", "judgement", "columns", "compress", "given"],
        *["gain_beside", "ieg", "mig", "cross_modal"],
    ]


def test_a_file_that_is_older_than_a_switch_means_what_it_meant():
    old = AgfnConfig.from_json('{"inputs": {"text": 6}, "width": 32, "anchor": true, "worth": true}')
    assert old.ablation == replace(FULL, anchor=True, skill=True)
    assert Ablation("robust", "feature", 1.0, ieg=True, mig=True, cross_modal=True, given="", gain_beside=False) == FULL


ANCHORED = {
    "entropy": "predictive",
    "tau": 0.5,
    "anchor": True,
    "skill": True,
    "columns": {"text": [2, 5]},
    "judgement": {"text": 5},
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_anchored_what_a_masked_modality_holds_changes_no_bit(name, garbage):
    model = network(**ANCHORED)
    values, times, mask, reliability = windows()
    reliability[:, list(INPUTS).index(name)] = 0
    before = model(values, times, mask, reliability)
    values[name] = torch.full_like(values[name], garbage)
    after = model(values, times, mask, reliability)
    assert same_bits(before, after)
    assert (after.weights[:, list(INPUTS).index(name)] == 0).all()
    assert torch.allclose(after.weights.sum(-1), torch.ones(3))


def test_columns_that_are_not_looked_at_change_nothing():
    model = network(**ANCHORED)
    values, times, mask, reliability = windows()
    before = model(values, times, mask, reliability)
    values["text"][..., 0] += 3.0
    assert same_bits(before, model(values, times, mask, reliability))
    values["text"][..., 2] += 3.0
    assert not torch.equal(before.score, model(values, times, mask, reliability).score)


def test_the_newest_judgement_that_can_be_seen_is_where_the_own_score_starts():
    model = network(**ANCHORED)
    with torch.no_grad():
        model.own_head.zero_()
    values, times, mask, reliability = windows(2)
    values["text"][:, :, 5] = torch.tensor([0.5, 1.0, 1.5, 2.0])
    mask["text"][0, 3] = False
    values["text"][1, 3, 0] = math.nan
    own = model(values, times, mask, reliability).own_score[:, 0]
    assert own.tolist() == pytest.approx([3 * math.tanh(0.5)] * 2)


def test_who_knows_nothing_counts_next_to_nothing():
    model = network(**ANCHORED)
    with torch.no_grad():
        model.own_head[:, :, 1] = 0
        model.own_bias[:, 1] = torch.tensor([math.log(0.3), math.log(1.3), math.log(1.3)])
    model.set_prior_spread(1.3)
    values, times, mask, _ = windows(1)
    out = model(values, times, mask, torch.ones(1, 3))
    assert out.ieg[0, 0] > 0.98
    assert out.weights[0, 0] > 0.7


def test_columns_out_of_range_are_refused():
    with pytest.raises(ValueError, match="columns"):
        network(columns={"text": [6]})


def test_a_configuration_with_columns_travels_as_json():
    config = settings_of(**ANCHORED)
    assert AgfnConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="columns"):
        AgfnConfig.from_json('{"inputs": {"text": 3}, "columns": [1]}')


def test_cross_modal_attention_equals_plain_attention_written_out():
    torch.manual_seed(7)
    batch, count, width, heads = 4, 3, 16, 4
    cross = CrossModal(count, width, heads)
    steps = [torch.randn(batch, length, width) for length in (5, 2, 7)]
    seen = [torch.rand(batch, part.shape[1]) > 0.2 for part in steps]
    seen[0][:, 0] = True
    on = torch.stack([part.any(-1) for part in seen], 1)
    trust = torch.rand(batch, count) * on
    h = torch.randn(batch, count, width) * on.unsqueeze(-1)

    size = width // heads
    source = torch.cat([torch.full((part.shape[1],), index) for index, part in enumerate(steps)])
    listened_to = torch.cat([part + cross.kind[index] for index, part in enumerate(steps)], 1)
    query, key, value = (
        f(x).view(batch, -1, heads, size).transpose(1, 2)
        for f, x in ((cross.query, h + cross.kind), (cross.key, listened_to), (cross.value, listened_to))
    )
    logits = query @ key.transpose(2, 3) / size**0.5 + trust.clamp_min(1e-4).log()[:, None, None, source]
    allowed = torch.cat(seen, 1)[:, None, None] & (source != torch.arange(count)[:, None]) & on[:, None, :, None]
    attention = torch.nan_to_num(torch.softmax(logits.masked_fill(~allowed, -torch.inf), -1))
    attention = attention * trust[:, None, None, source]
    heard = cross.out((attention @ value).transpose(1, 2).reshape(batch, count, width))
    expected = cross.norm(h + heard) * on.unsqueeze(-1)

    torch.testing.assert_close(cross(h, steps, seen, on, trust)[0], expected, atol=1e-5, rtol=1e-5)
