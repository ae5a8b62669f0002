"""MPNet: the published numbers, an independent forward pass, and adapters of the upper layers."""

import pytest
import torch
from safetensors.torch import save_file

from models import lora, zoo
from models.mpnet import BUCKETS, DIM, FROZEN, HEADS, LAYERS, MPNet, bucket_of
from models.textline import BASE

WORDS = "i really liked this movie but the ending was not good".split()  # noqa: SIM905 - reads as the sentence it is
PUBLISHED = {
    6: [0.30207, 0.63392, 0.15497, 0.13534, 0.37451],
    8: [0.29346, 0.67874, 0.04005, -0.05972, 0.1883],
    10: [0.10443, 0.6926, 0.23746, -0.10247, 0.11022],
}
"""First channels of `movie` after some layers, from transformers 5.24 with the same weights."""


@pytest.fixture(scope="module")
def mpnet():
    return MPNet.load(zoo.path(BASE))


@pytest.mark.models
def test_the_hidden_states_are_those_of_the_authors_implementation(mpnet):
    tokens = mpnet.tokenize([WORDS])
    with torch.no_grad():
        made = mpnet(tokens.ids, tokens.mask)[0, 5]
    for place, wanted in enumerate(PUBLISHED.values()):
        torch.testing.assert_close(made[place * DIM :][:5], torch.tensor(wanted), atol=1e-4, rtol=0)


def expected_bucket(key_minus_query):
    """As Raffel et al. (2020) number relative positions, written as a loop."""
    n, half = abs(key_minus_query), BUCKETS // 2
    near, side = half // 2, half if key_minus_query > 0 else 0
    if n < near:
        return side + n
    far, edges = near, [8, 12, 16, 23, 32, 46, 64, 91]  # 8 * 2 ** (i / 2), rounded up
    while far + 1 < half and n >= edges[far + 1 - near]:
        far += 1
    return side + far


def test_distances_fall_into_the_buckets_of_t5():
    reach = torch.arange(-300, 301)
    assert bucket_of(reach).tolist() == [expected_bucket(int(at)) for at in reach]


@pytest.mark.models
def test_padding_changes_nothing(mpnet):
    alone, beside = mpnet.tokenize([["ok", "then"]]), mpnet.tokenize([["ok", "then"], WORDS])
    with torch.no_grad():
        one, two = mpnet(alone.ids, alone.mask)[0], mpnet(beside.ids, beside.mask)[0, :4]
    torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)


@pytest.mark.models
def test_frozen_states_that_were_kept_give_the_same_as_the_whole(mpnet):
    tokens = mpnet.tokenize([WORDS])
    with torch.no_grad():
        bias = mpnet.bias(tokens.mask)
        made = mpnet.upper(mpnet.lower(tokens.ids, bias), bias)
        torch.testing.assert_close(made, mpnet(tokens.ids, tokens.mask))


@pytest.mark.models
def test_an_adapter_of_the_upper_layers_merges_exactly():
    trained = MPNet.load(zoo.path(BASE))
    parameters = trained.add_adapter(3, FROZEN)
    assert len(parameters) == 2 * 6 * (LAYERS - FROZEN)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.05 * torch.randn_like(parameter))
    tokens = trained.tokenize([WORDS])
    merged = MPNet.load(zoo.path(BASE), lora.adapter(trained))
    with torch.no_grad():
        before, wanted = MPNet.load(zoo.path(BASE))(tokens.ids, tokens.mask), trained(tokens.ids, tokens.mask)
        made = merged(tokens.ids, tokens.mask)
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-4)
    assert (before - wanted).abs().max() > 0.1


@pytest.mark.models
def test_files_of_another_model_are_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((zoo.path(BASE) / "tokenizer.json").read_bytes())
    save_file({"embeddings.word_embeddings.weight": torch.zeros(5, DIM)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds no MPNet"):
        MPNet.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"what")
    with pytest.raises(ValueError, match="holds no MPNet"):
        MPNet.load(tmp_path)


def toy(rank, seed):
    """An update of one linear map of HEADS to DIM channels."""
    random = torch.Generator().manual_seed(seed)
    return {
        "a.down": torch.randn(rank, HEADS, generator=random),
        "a.up": torch.randn(DIM, rank, generator=random),
    }


def product(tensors):
    return tensors["a.up"] @ tensors["a.down"]


def test_the_mean_of_updates_is_the_mean_of_their_products():
    one, other = toy(2, 0), toy(2, 1)
    torch.testing.assert_close(product(lora.mean([one, other])), (product(one) + product(other)) / 2)


def test_a_truncated_update_is_the_nearest_of_its_rank():
    update = toy(6, 0)
    u, values, v = torch.linalg.svd(product(update), full_matrices=False)
    wanted = (u[:, :2] * values[:2]) @ v[:2]
    made = lora.truncate(update, 2)
    assert made["a.down"].shape == (2, HEADS)
    torch.testing.assert_close(product(made), wanted, atol=1e-3, rtol=1e-3)
