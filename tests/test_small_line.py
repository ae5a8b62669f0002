"""The small text line: MiniLM read at its depths, its weights with a judgement of their own, and the program on it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import lora, text_graph, zoo
from models.context import Context
from models.minilm import FROZEN, STATES, MiniLM
from models.text_net import TextHead, TextNet, so_far
from models.text_weights import FORMAT, TextWeights
from models.textline import SMALL_BASE, SMALL_WEIGHTS, TextLine
from models.weightsfile import CheckpointError
from realtime.clock import VirtualClock
from realtime.config.schema import Config
from realtime.fuse.worker import WEIGHTS, fuser_of
from realtime.publish.messages import Sentiment
from scripts.training.adapt import Sentence
from scripts.training.distil import Follow
from scripts.training.textline import Learner, loss_of

ROOT = Path(__file__).resolve().parent.parent
GRAPHS = zoo.cache().parent / "graphs"
WORDS = ["i", "did", "not", "like", "it"]


@pytest.fixture(scope="module")
def line():
    return TextLine.load(zoo.path(SMALL_BASE), SMALL_WEIGHTS)


@pytest.fixture
def small():
    torch.manual_seed(0)
    encoder = MiniLM.load(zoo.path(SMALL_BASE))
    encoder.add_adapter(4, FROZEN)
    return encoder


def test_the_shipped_weights_say_how_they_were_made_and_what_the_large_line_reads_of_the_same():
    learned = TextWeights.load(SMALL_WEIGHTS)
    assert learned.encoder == SMALL_BASE
    assert learned.base == next(f.sha256 for f in zoo.CATALOGUE[SMALL_BASE].files if f.name == "model.safetensors")
    assert learned.metadata["cross_validation"]["said"]["n"] == learned.metadata["large"]["said"]["n"] == 2092
    assert learned.metadata["fit"]["clips"] == 280
    assert learned.judgement is not None
    assert SMALL_WEIGHTS.stat().st_size < 4_000_000


@pytest.mark.models
def test_its_adapter_is_of_the_upper_layers_only(small):
    assert all(int(name.split(".")[1]) >= FROZEN for name in lora.adapter(small))
    assert set(TextWeights.load(SMALL_WEIGHTS).adapter) == set(lora.adapter(small))


@pytest.mark.models
def test_the_depths_end_with_what_the_encoder_says_and_padding_changes_nothing(small):
    small.eval()
    alone, beside = small.tokenize([["ok", "then"]]), small.tokenize([["ok", "then"], WORDS])
    with torch.no_grad():
        bias = small.bias(beside.mask)
        deep = small.upper(small.lower(beside.ids, bias), bias)
        one = small.upper(small.lower(alone.ids, small.bias(alone.mask)), small.bias(alone.mask))
        last = small(beside.ids, beside.mask)
    assert deep.shape[-1] == STATES
    torch.testing.assert_close(deep[1][..., -384:], last[1], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(one[0], deep[0, :4], atol=2e-5, rtol=1e-4)


@pytest.mark.models
def test_opinions_have_their_sign_and_fragments_are_near_nothing(line):
    def last(text):
        return line.read(text.split())[-1]

    good, bad = last("i thought the movie was really good"), last("i thought the movie was really bad")
    assert good[0] > 1.0
    assert bad[0] < -1.0
    assert last("i did not like it")[0] < -0.5 < 0.5 < last("i liked it")[0]
    for fragment in ("it", "it was", "i thought the movie was"):
        assert abs(last(fragment)[0]) < 0.8, fragment
    assert line.read([]).shape == (0, 2)


@pytest.mark.models
def test_the_graph_agrees_with_pytorch(line):
    graph = TextLine.load(zoo.path(SMALL_BASE), SMALL_WEIGHTS, graphs=GRAPHS)
    assert graph.engine == "onnx"
    for text in ("it", "i would not recommend it to anybody", "the kids had a great time and so did we"):
        wanted = line.read(text.split())
        np.testing.assert_allclose(graph.read(text.split()), wanted, atol=text_graph.TOLERANCE)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"encoder": "gpt"}, "unknown encoder"),
        ({"uncertainty": "{}", "context": "{}"}, "damaged"),
        ({"uncertainty": "{"}, "damaged"),
        ({"context": "nothing"}, "damaged"),
    ],
)
def test_a_judgement_that_is_none_is_refused(tmp_path, header, said):
    learned = TextWeights.load(SMALL_WEIGHTS)
    kept, sure = learned.judgement
    told = {
        "format": FORMAT,
        "base": learned.base,
        "training": "{}",
        "encoder": learned.encoder,
        "context": json.dumps(kept.to_dict()),
        "uncertainty": json.dumps(sure.to_dict()),
    }
    save_file(load_file(SMALL_WEIGHTS), tmp_path / "w.safetensors", told)
    assert TextWeights.load(tmp_path / "w.safetensors").judgement == learned.judgement
    save_file(load_file(SMALL_WEIGHTS), tmp_path / "w.safetensors", told | header)
    with pytest.raises(CheckpointError, match=said):
        TextWeights.load(tmp_path / "w.safetensors")


def test_the_interval_is_the_one_that_was_fitted_to_these_words():
    kept, sure = TextWeights.load(SMALL_WEIGHTS).judgement
    by_large, by_small, own = (
        fuser_of(Config.model_validate(values), VirtualClock()).checkpoint
        for values in (
            {},
            {"text": {"reader": "minilm"}},
            {"text": {"reader": "minilm"}, "fusion": {"weights": str(WEIGHTS)}},
        )
    )
    assert (by_small.context, by_small.uncertainty) == (kept, sure)
    assert by_large.uncertainty != sure
    assert own.uncertainty == by_large.uncertainty, "weights that somebody names keep their own"
    assert isinstance(by_small.context, Context)


@pytest.mark.models
@pytest.mark.real
def test_the_program_on_a_small_board_runs_and_publishes(clip, tmp_path):
    output = tmp_path / "out.jsonl"
    options = ["--config", ROOT / "configs" / "pi.yaml", "--source", clip, "--pace", "fast", "--mqtt", "off"]
    command = [sys.executable, "-m", "realtime.run", "--no-view", *map(str, options), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [line for line in output.read_text().splitlines() if '"agfn.sentiment/1"' in line]
    told = [Sentiment.model_validate_json(line) for line in lines]
    worded = [one for one in told if one.score is not None and one.modalities["text"].weight > 0]
    assert worded, "the words were read"
    for one in worded:
        assert one.interval[0] <= one.band[0] <= one.score <= one.band[1] <= one.interval[1]
    assert max(one.score for one in worded) > 1.0, "it was the best of times"
    assert worded[-1].score < 0.0, "it was the worst of times"


def test_what_is_followed_is_the_reading_after_the_same_words():
    taught = {("so", "good"): np.array([[0.2, 0.1], [1.5, -0.4]], np.float32)}
    part, rows = [Sentence(("so", "good"), 1.0)], torch.tensor([[2, 1]])
    same = torch.tensor([[[1.5, -0.4], [0.2, 0.1]]])
    assert float(Follow(taught, 0.0)(part, same, rows)) == 0
    assert float(Follow(taught, 0.0)(part, same.flip(1), rows)) > 1
    by_label = float(Follow(taught, 1.0)(part, same, rows))
    assert by_label == pytest.approx(float(loss_of(same, torch.tensor([1.0]))))


@pytest.mark.models
def test_readings_after_every_word_are_those_of_the_whole_network(small, tmp_path):
    learner = Learner(small, tmp_path / "states.npz")
    texts = [tuple(WORDS), ("it", "was", "fine"), ("good",)]
    found = learner.every(texts)
    net = TextNet(small, learner.net.head).eval()
    for words in texts:
        tokens = small.tokenize([words])
        with torch.no_grad():
            wanted = net(tokens.ids, tokens.mask, *so_far(tokens))[0].numpy()
        np.testing.assert_allclose(found[words], wanted, atol=5e-3)
    assert isinstance(learner.net.head, TextHead)
