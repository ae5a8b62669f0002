"""The text line: what a weights file must be, the graph that is made from it, and what it reads."""

import json
import logging
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import text_graph, zoo
from models.text_net import LOG_SCALE_MAX, LOG_SCALE_MIN, TextHead, network
from models.text_weights import FORMAT, TextWeights
from models.textline import BASE, WEIGHTS, TextLine
from models.weightsfile import CheckpointError

GRAPHS = zoo.cache().parent / "graphs"


def words(text):
    return text.split()


@pytest.fixture(scope="module")
def line():
    return TextLine.load(zoo.path(BASE))


@pytest.fixture
def tampered(tmp_path):
    """Write the shipped weights with a change."""

    def write(change, **header):
        tensors = load_file(WEIGHTS)
        change(tensors)
        told = {"format": FORMAT, "base": "0" * 64, "training": "{}"} | header
        save_file(tensors, tmp_path / "w.safetensors", {key: value for key, value in told.items() if value})
        return tmp_path / "w.safetensors"

    return write


def nothing(_):
    """Leave the tensors as they are."""


def test_the_shipped_weights_say_how_they_were_made():
    learned = TextWeights.load(WEIGHTS)
    assert learned.base == next(f.sha256 for f in zoo.CATALOGUE[BASE].files if f.name == "model.safetensors")
    assert learned.metadata["command"].startswith("python scripts/train_text.py")
    assert learned.metadata["cross_validation"]["said"]["n"] == learned.metadata["reviews"]
    assert WEIGHTS.stat().st_size < 8_000_000


def test_saved_weights_are_read_back(tmp_path):
    learned = TextWeights.load(WEIGHTS)
    learned.save(tmp_path / "again.safetensors")
    again = TextWeights.load(tmp_path / "again.safetensors")
    assert (again.base, again.metadata) == (learned.base, learned.metadata)
    assert all((again.adapter[name] == array).all() for name, array in learned.adapter.items())


@pytest.mark.parametrize(
    ("change", "header", "said"),
    [
        (nothing, {"format": "agfn/1"}, "reads 'agfn.text/1'"),
        (nothing, {"training": ""}, "damaged"),
        (nothing, {"training": "{"}, "damaged"),
        (lambda tensors: tensors.update(other=torch.zeros(1)), {}, "unknown tensors"),
        (lambda tensors: tensors["head.count"].fill_(float("nan")), {}, "no finite|not a finite"),
        (lambda tensors: tensors.update({"adapter.x.down": torch.zeros(200, 200)}), {}, "rank above"),
    ],
)
def test_other_weights_files_are_refused(tampered, change, header, said):
    with pytest.raises(CheckpointError, match=said):
        TextWeights.load(tampered(change, **header))


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_weights_file_is_refused(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CheckpointError):
        TextWeights.load(tmp_path / "w")


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone: No such file"):
        TextWeights.load(tmp_path / "gone")


def test_a_head_of_another_shape_is_refused(tampered, tmp_path):
    file = tampered(lambda tensors: tensors.update({"head.out.weight": torch.zeros(3, 96)}))
    with pytest.raises(ValueError, match="text head is of another model"):
        network(TextWeights.load(file), tmp_path)


def test_the_head_stays_in_its_bounds():
    torch.manual_seed(0)
    with torch.no_grad():
        made = TextHead().eval()(1e4 * torch.randn(50, 2304), torch.full((50,), 64.0))
    assert float(made[:, 0].abs().max()) <= 3.0
    assert LOG_SCALE_MIN <= float(made[:, 1].min()) <= float(made[:, 1].max()) <= LOG_SCALE_MAX


@pytest.mark.models
def test_no_words_no_rows(line):
    assert line.read([]).shape == (0, 2)


@pytest.mark.models
def test_one_row_for_each_word(line):
    made = line.read(words("it was the best of times"))
    assert made.shape == (6, 2)
    assert made.dtype == np.float32


@pytest.mark.models
def test_opinions_have_their_sign_and_fragments_are_near_nothing_and_wide(line):
    def last(text):
        return line.read(words(text))[-1]

    good, bad = last("i thought the movie was really good"), last("i thought the movie was really bad")
    assert good[0] > 1.2
    assert bad[0] < -1.2
    for fragment in ("it", "i thought the movie was"):
        assert abs(last(fragment)[0]) < 0.3, fragment
        assert last(fragment)[1] > good[1] + 0.1, fragment
    assert abs(last("it was")[0]) < 0.7
    assert last("i did not like it")[0] < -0.7 < 0.7 < last("i liked it")[0]


@pytest.mark.models
def test_threads_share_a_line(line):
    texts = [words("i loved it"), words("i hated every minute of it"), words("it was okay")] * 4
    wanted = [line.read(text) for text in texts]
    made = [None] * len(texts)

    def read(index):
        made[index] = line.read(texts[index])

    threads = [threading.Thread(target=read, args=(index,)) for index in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(made, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.models
def test_the_graph_agrees_with_pytorch_and_is_made_once(line):
    graph = TextLine.load(zoo.path(BASE), graphs=GRAPHS)
    assert graph.engine == "onnx"
    name = TextWeights.load(WEIGHTS).name
    file = text_graph.find(GRAPHS, name)
    made = file.stat().st_mtime_ns
    TextLine.load(zoo.path(BASE), graphs=GRAPHS)
    assert text_graph.find(GRAPHS, name).stat().st_mtime_ns == made
    for text in ("it", "i would not recommend it to anybody", "the kids had a great time and so did we"):
        np.testing.assert_allclose(graph.read(words(text)), line.read(words(text)), atol=text_graph.TOLERANCE)


@pytest.mark.models
def test_without_the_exporter_the_text_runs_on_pytorch_and_says_so(tmp_path, monkeypatch, caplog, line):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with caplog.at_level(logging.WARNING):
        slow = TextLine.load(zoo.path(BASE), graphs=tmp_path)
    assert slow.engine == "torch"
    assert "slower" in caplog.text
    np.testing.assert_allclose(slow.read(["good"]), line.read(["good"]), atol=1e-5)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_graph_is_not_used(tmp_path, caplog):
    file = tmp_path / "made.onnx"
    file.write_bytes(b"graph")
    kept = text_graph.put_away(file, "weights")
    assert text_graph.find(tmp_path, "weights") == kept
    assert text_graph.find(tmp_path, "others") is None
    kept.write_bytes(b"grapH")
    with caplog.at_level(logging.WARNING):
        assert text_graph.find(tmp_path, "weights") is None
    assert "damaged" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_only_so_many_graphs_are_kept(tmp_path):
    for number in range(text_graph.KEPT + 3):
        (tmp_path / "made.onnx").write_bytes(bytes([number]))
        text_graph.put_away(tmp_path / "made.onnx", str(number))
    assert len(list(tmp_path.iterdir())) == text_graph.KEPT


def test_what_is_no_graph_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(json.dumps({}).encode())
    with pytest.raises(text_graph.GraphError, match="cannot be read"):
        text_graph.TextGraph(tmp_path / "x.onnx", "name")
