import pytest
import torch

from scripts.evaluation.baselines import (
    Concat,
    EfLstm,
    LateFusion,
    Lmf,
    Misa,
    MulT,
    Single,
    Tfn,
    moment_discrepancy,
    orthogonality,
)

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other

INPUTS = {"text": 5, "voice": 4, "face": 3}
MAKERS = {
    "concat": lambda: Concat(INPUTS, 8, 0.1, informed=False),
    "concat + r": lambda: Concat(INPUTS, 8, 0.1, informed=True),
    "late": lambda: LateFusion(INPUTS, 8, 0.1, informed=False),
    "late + r": lambda: LateFusion(INPUTS, 8, 0.1, informed=True),
    "single": lambda: Single(INPUTS, 8, 0.1, name="voice"),
    "TFN": lambda: Tfn(INPUTS, 8, 0.1),
    "LMF": lambda: Lmf(INPUTS, 8, 0.1),
    "EF-LSTM": lambda: EfLstm(INPUTS, 8, 0.1),
    "MulT": lambda: MulT(INPUTS, 8, 0.1),
    "MISA": lambda: Misa(INPUTS, 8, 0.1),
}


def rows(count=6):
    torch.manual_seed(1)
    return {name: torch.randn(count, size) for name, size in INPUTS.items()}, torch.rand(count, 3)


@pytest.mark.parametrize("name", MAKERS)
def test_every_method_scores_each_row_on_the_scale_by_itself(name):
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    values, reliability = rows()
    out = model(values, reliability)
    assert out.score.shape == (6,)
    assert (out.score.abs() <= 3).all()
    assert out.penalty.shape == ()
    alone = model({key: value[2:3] for key, value in values.items()}, reliability[2:3])
    torch.testing.assert_close(alone.score, out.score[2:3])


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "single"])
def test_every_fusion_hears_every_modality(name):
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    values, reliability = rows()
    before = model(values, reliability).score
    for modality in INPUTS:
        changed = {**values, modality: values[modality] + 2}
        assert not torch.allclose(before, model(changed, reliability).score)


@pytest.mark.parametrize("name", ["concat + r", "late", "late + r"])
def test_a_method_with_masks_does_not_hear_what_is_missing(name):
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    values, reliability = rows()
    reliability[:, 1] = 0
    before = model(values, reliability).score
    after = model({**values, "voice": torch.full((6, 4), 5.0)}, reliability).score
    torch.testing.assert_close(before, after)


def test_late_fusion_weighs_by_mask_or_by_reliability():
    values, _ = rows(1)
    reliability = torch.tensor([[0.0, 0.2, 0.6]])
    torch.testing.assert_close(MAKERS["late"]()(values, reliability).weights, torch.tensor([[0.0, 0.5, 0.5]]))
    torch.testing.assert_close(MAKERS["late + r"]()(values, reliability).weights, torch.tensor([[0.0, 0.25, 0.75]]))


def test_tfn_is_the_outer_product_with_ones():
    model = Tfn({"a": 2, "b": 2}, 4, 0.0).eval()
    values = {"a": torch.randn(1, 2), "b": torch.randn(1, 2)}
    a, b = (torch.cat([model.encode[name](values[name])[0], torch.ones(1)]) for name in "ab")
    torch.testing.assert_close(model.fuse(values, torch.ones(1, 2))[0][0], torch.outer(a, b).flatten())


def test_lmf_is_a_tensor_in_factors():
    model = Lmf({"a": 2, "b": 2}, 4, 0.0, rank=3).eval()
    values = {"a": torch.randn(1, 2), "b": torch.randn(1, 2)}
    a, b = (torch.cat([model.encode[name](values[name])[0], torch.ones(1)]) for name in "ab")
    weight = torch.einsum("rij,rkj,r->ikj", model.factor[0], model.factor[1], model.mix)
    torch.testing.assert_close(
        model.fuse(values, torch.ones(1, 2))[0][0], torch.einsum("i,k,ikj->j", a, b, weight) + model.bias
    )


def test_moment_discrepancy_is_0_for_the_same_distribution_and_grows_with_distance():
    x = torch.rand(64, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    assert moment_discrepancy(x, x.flip(0)).item() < 1e-4
    assert moment_discrepancy(x, x + 0.4) > moment_discrepancy(x, x + 0.1) > 0.1


def test_orthogonality_is_0_for_vectors_that_share_nothing():
    a, b = torch.zeros(4, 2), torch.zeros(4, 2)
    a[0, 0], a[1, 0], b[2, 1], b[3, 1] = 1, -1, 1, -1
    assert orthogonality(a, b).item() == 0
    assert orthogonality(a, a).item() > 0
