"""MiniLM: the published numbers, word vectors that do not depend on the batch, and adapters that merge exactly."""

import json
import threading

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer

from models import zoo
from models.minilm import DIM, HEADS, MiniLM
from models.wordpieces import MAX_PIECES, MAX_WORDS

WORDS = "i really liked this movie but the ending was not good".split()  # noqa: SIM905 - reads as the sentence it is


@pytest.fixture(scope="module")
def minilm():
    return MiniLM.load(zoo.path("text"))


def sentence(model, text):
    """As the authors pool: mean over all tokens, length 1."""
    tokens = model.tokenize([text.split()])
    return torch.nn.functional.normalize(model(tokens.ids, tokens.mask)[0].mean(0), dim=0)


def reference(minilm, ids):
    """The same weights in PyTorch's own encoder layer: an independent implementation of the forward pass."""
    weights = dict(minilm.named_parameters())
    x = weights["word.weight"][ids] + weights["position.weight"][: ids.shape[1]] + weights["kind.weight"][0]
    x = torch.nn.functional.layer_norm(x, (DIM,), weights["norm.weight"], weights["norm.bias"], 1e-12)
    for number in range(6):
        layer = torch.nn.TransformerEncoderLayer(
            DIM, HEADS, 1536, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        ).train()
        layer.dropout.p = layer.dropout1.p = layer.dropout2.p = layer.self_attn.dropout = 0.0
        own = {name.removeprefix(f"layers.{number}."): w for name, w in weights.items() if f"layers.{number}." in name}
        state = {
            f"self_attn.in_proj_{kind}": torch.cat([own[f"{part}.{kind}"] for part in ("query", "key", "value")])
            for kind in ("weight", "bias")
        }
        for theirs, ours in {
            "self_attn.out_proj": "out",
            "linear1": "wide",
            "linear2": "narrow",
            "norm1": "norm_attention",
            "norm2": "norm_out",
        }.items():
            state |= {f"{theirs}.{kind}": own[f"{ours}.{kind}"] for kind in ("weight", "bias")}
        layer.load_state_dict(state)
        x = layer(x)
    return x


@pytest.mark.models
def test_the_forward_pass_agrees_with_an_independent_implementation(minilm):
    tokens = minilm.tokenize([WORDS])
    with torch.no_grad():
        torch.testing.assert_close(minilm(tokens.ids, tokens.mask), reference(minilm, tokens.ids), atol=2e-5, rtol=1e-4)


@pytest.mark.models
@pytest.mark.parametrize(
    ("one", "other", "unrelated"),
    [
        ("how do i reset my password", "i forgot my login credentials", "the cat sits on the sofa"),
        ("a man is eating food", "a man eats something", "a woman plays the violin"),
    ],
)
def test_paraphrases_are_near_and_other_sentences_far(minilm, one, other, unrelated):
    assert float(sentence(minilm, one) @ sentence(minilm, other)) > 0.6
    assert float(sentence(minilm, one) @ sentence(minilm, unrelated)) < 0.2


@pytest.mark.models
def test_one_vector_per_word_whatever_its_number_of_pieces(minilm):
    vectors = minilm.encode(["unbelievably", "antidisestablishmentarianism", "ok"])
    assert vectors.shape == (3, DIM)
    assert minilm.encode([]).shape == (0, DIM)


@pytest.mark.models
def test_a_word_has_another_vector_in_another_context(minilm):
    bank, river = minilm.encode("money in the bank".split())[3], minilm.encode("reeds on the bank".split())[3]  # noqa: SIM905
    assert float(torch.nn.functional.cosine_similarity(torch.tensor(bank), torch.tensor(river), dim=0)) < 0.9


@pytest.mark.models
def test_a_padded_batch_gives_the_vectors_of_each_text_alone(minilm):
    texts = [WORDS, WORDS[:3], ["awful"]]
    with torch.inference_mode():
        batch = minilm.words(minilm.tokenize(texts))
    for row, words in zip(batch, texts, strict=True):
        torch.testing.assert_close(row[: len(words)], torch.from_numpy(minilm.encode(words)), atol=1e-5, rtol=1e-4)
        assert not row[len(words) :].any()


@pytest.mark.models
def test_the_longest_input_fits_and_a_longer_one_is_refused(minilm):
    endless = "x" * 99
    assert minilm.encode([endless] * MAX_WORDS).shape == (MAX_WORDS, DIM)
    assert minilm.tokenize([[endless]]).ids.shape[1] == MAX_PIECES + 2
    with pytest.raises(ValueError, match="keep the newest"):
        minilm.encode(["word"] * (MAX_WORDS + 1))


@pytest.mark.models
def test_threads_share_one_encoder_without_disturbing_each_other(minilm):
    alone = [minilm.encode(WORDS[:n]) for n in range(1, 9)]
    together = {}

    def work(n):
        together[n] = [minilm.encode(WORDS[:n]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((value == alone[n - 1]).all() for n, values in together.items() for value in values)


@pytest.mark.models
def test_an_adapter_starts_without_effect_trains_and_merges_to_the_same_vectors():
    model = MiniLM.load(zoo.path("text"))
    plain = model.encode(WORDS)
    trainable = model.add_adapter(rank=4, begin=0)
    assert sum(p.numel() for p in trainable) == 6 * 4 * (4 * 2 * DIM + 2 * (DIM + 1536))
    assert abs(model.encode(WORDS) - plain).max() == 0

    optimiser = torch.optim.AdamW(trainable, 1e-2)
    model.train()
    model.words(model.tokenize([WORDS])).square().mean().backward()
    optimiser.step()
    model.eval()
    adapted = model.encode(WORDS)
    assert abs(adapted - plain).max() > 1e-3

    merged = MiniLM.load(zoo.path("text"), model.adapter())
    assert abs(merged.encode(WORDS) - adapted).max() < 1e-4
    assert not merged.adapter()


def tiny_tokenizer():
    tokenizer = Tokenizer(WordPiece({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def test_an_adapter_of_another_model_is_refused():
    model = MiniLM(tiny_tokenizer())
    with pytest.raises(ValueError, match="another model"):
        model.merge({"layers.9.query.down": torch.zeros(4, DIM), "layers.9.query.up": torch.zeros(DIM, 4)})
    with pytest.raises(ValueError, match="shapes"):
        model.merge({"layers.0.query.down": torch.zeros(4, 7), "layers.0.query.up": torch.zeros(DIM, 4)})
    with pytest.raises(ValueError, match=r"only half of layers\.0\.query, layers\.1\.query"):
        model.merge({"layers.0.query.down": torch.zeros(4, DIM), "layers.1.query.up": torch.zeros(DIM, 4)})


def test_files_of_another_model_are_refused(tmp_path):
    from safetensors.torch import save_file  # noqa: PLC0415 - only here

    (tmp_path / "tokenizer.json").write_text(json.dumps(json.loads(tiny_tokenizer().to_str())))
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds no MiniLM-L6"):
        MiniLM.load(tmp_path)
