"""The expression network: shipped weights that read faces, a file trusted with nothing, one way to cut a face."""

import json
import zipfile

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from models import expression_net, zoo
from models.affect import EXPRESSIONS, VALENCE
from models.expression import GRAPH, ExpressionReader
from models.expression_net import MAX_BYTES, WEIGHTS
from models.graphs import GraphError
from models.weightsfile import CheckpointError
from realtime.config.schema import FaceConfig
from realtime.extract.face.aligned import SIDE_PX, TEMPLATE, aligned
from realtime.types import Frame
from scripts.evaluation.expression import judged, probabilities
from scripts.training.expression import DAMAGES, augmented, read

HAPPY = EXPRESSIONS.index("happy")


@pytest.fixture(scope="module")
def reader():
    return ExpressionReader()


@pytest.fixture(scope="module")
def portrait():
    """A smiling astronaut, 480 x 640."""
    image = cv2.imread(str(zoo.path("demo-face")))
    return cv2.copyMakeBorder(cv2.resize(image, (480, 480)), 0, 0, 80, 80, cv2.BORDER_REPLICATE)


def test_the_file_is_small_and_says_how_it_was_made_and_how_good_it_is(reader):
    assert WEIGHTS.stat().st_size < MAX_BYTES
    assert reader.metadata["command"].startswith("python -m scripts.train_expression")
    held = reader.metadata["metrics"]["all"]
    assert held["auc"] >= 0.94
    assert held["accuracy"] >= 0.6


def test_the_graph_says_what_the_network_does(reader):
    net, _ = expression_net.load()
    random = np.random.default_rng(0)
    for _ in range(4):
        picture = random.integers(0, 256, (SIDE_PX, SIDE_PX)).astype(np.uint8)
        shapes = random.uniform(-0.3, 0.8, 54).astype(np.float32)
        with torch.inference_mode():
            wanted = net(torch.from_numpy(picture[None]).float(), torch.from_numpy(shapes[None])).softmax(-1)[0]
        found = reader.read(picture, shapes)
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
        assert found.sum() == pytest.approx(1, abs=1e-5)


def test_any_picture_gives_probabilities(reader):
    for picture in (np.zeros((48, 48), np.uint8), np.full((48, 48), 255, np.uint8)):
        found = reader.read(picture, np.zeros(54, np.float32))
        assert np.isfinite(found).all()
        assert found.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.models
def test_a_smiling_portrait_is_happy_turned_dark_or_blurred(reader, portrait):
    from realtime.extract.face.extractor import FaceExtractor  # noqa: PLC0415 - MediaPipe only where it is used

    pictures = {
        "plain": portrait,
        "turned": cv2.warpAffine(portrait, cv2.getRotationMatrix2D((320, 140), 20, 1), (640, 480)),
        "dark": (portrait * 0.2).astype(np.uint8),
        "blurred": cv2.GaussianBlur(portrait, (0, 0), 3),
    }
    extractor = FaceExtractor(FaceConfig(), zoo.path("face"), reader, stills=True)
    for name, picture in pictures.items():
        [features] = extractor.feed(Frame(0, np.ascontiguousarray(picture)))
        assert features.likely is not None, name
        assert features.likely.argmax() == HAPPY, name
    extractor.close()


@pytest.mark.parametrize("angle", [-40, 0, 25])
@pytest.mark.parametrize("size", [0.5, 3.0])
def test_a_face_is_cut_the_same_however_it_is_turned_and_scaled(angle, size):
    random = np.random.default_rng(1)
    drawn = cv2.GaussianBlur(random.integers(0, 256, (SIDE_PX, SIDE_PX)).astype(np.uint8), (0, 0), 4)
    turn = cv2.getRotationMatrix2D((24, 24), angle, size) + np.array([[0, 0, 100], [0, 0, 120]])
    picture = cv2.warpAffine(drawn, turn, (400, 400), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_LINEAR)
    points = TEMPLATE @ turn[:, :2].T + turn[:, 2]
    inner = (slice(6, -6), slice(6, -6))
    found = aligned(picture, points.astype(np.float32))
    assert np.abs(found[inner].astype(int) - drawn[inner]).mean() < 4


def changed(path, header=None, change=None):
    content = WEIGHTS.read_bytes()
    tensors = load(content)
    size = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + size])["__metadata__"]
    if change is not None:
        change(tensors)
    path.write_bytes(save(tensors, about | (header or {})))
    return path


def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path):
    file = tmp_path / "own.safetensors"
    assert expression_net.load(changed(file))[1], "weights of one's own are read"
    with pytest.raises(CheckpointError, match=r"format 'agfn\.text/1'"):
        expression_net.load(changed(file, {"format": "agfn.text/1"}))
    name = "picture.out.bias"
    with pytest.raises(CheckpointError, match="not a finite number"):
        expression_net.load(changed(file, change=lambda tensors: tensors[name].fill_(float("nan"))))
    with pytest.raises(CheckpointError, match=r"missing or unknown weights picture\.out\.bias"):
        expression_net.load(changed(file, change=lambda tensors: tensors.pop(name)))
    with pytest.raises(CheckpointError, match="damaged"):
        expression_net.load(changed(file, change=lambda tensors: tensors.update({name: torch.zeros(9)})))
    file.write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(CheckpointError, match="at most"):
        expression_net.load(file)
    with pytest.raises(CheckpointError, match="No such file"):
        expression_net.load(tmp_path / "none.safetensors")


def test_a_graph_that_is_not_the_shipped_one_is_refused(tmp_path):
    file = tmp_path / "own.onnx"
    with pytest.raises(GraphError, match="No such file"):
        ExpressionReader(file)
    file.write_bytes(GRAPH.read_bytes()[:-100])
    with pytest.raises(GraphError, match=r"own\.onnx"):
        ExpressionReader(file)
    file.write_bytes((WEIGHTS.parent / "agfn.onnx").read_bytes())
    with pytest.raises(GraphError, match="format"):
        ExpressionReader(file)


def test_no_picture_is_in_two_parts_nor_twice(tmp_path):
    (tmp_path / "fer2013").mkdir()
    random = np.random.default_rng(2)
    with zipfile.ZipFile(tmp_path / "fer2013" / "fer2013_48.zip", "w") as archive:
        for number in range(120):
            picture = random.integers(0, 256, (48, 48)).astype(np.uint8)
            content = cv2.imencode(".jpg", picture)[1].tobytes()
            name = EXPRESSIONS[number % 7]
            archive.writestr(f"{name}/{number:05}.jpg", content)
            if number % 10 == 0:
                archive.writestr(f"{name}/{number + 500:05}.jpg", content)
    faces = read(tmp_path)
    assert len(faces.label) == 120
    parts = [set(faces.part(name).tolist()) for name in ("held", "dev", "train")]
    assert sorted(number for part in parts for number in part) == list(range(120))
    assert len(parts[0]) == 40
    assert (read(tmp_path).ids == faces.ids).all()


def test_every_damage_changes_pictures_and_keeps_them_pictures():
    random = torch.Generator().manual_seed(0)
    pictures = 255 * torch.rand(32, 48, 48, generator=random)
    for damage in (*DAMAGES.values(), augmented):
        found = damage(pictures, random)
        assert found.shape == pictures.shape
        assert float(found.min()) >= 0
        assert float(found.max()) <= 255
        assert float((found - pictures).abs().mean()) > 3


def test_figures_of_a_guess_and_of_the_truth():
    label = np.arange(700) % 7
    assert judged(np.eye(7)[label] * 0.94 + 0.01, label)["accuracy"] == 1
    guess = judged(np.full((700, 7), 1 / 7), label)
    assert guess["auc"] == 0.5
    assert guess["calibration_error"] < 0.01
    assert list(VALENCE) == list(EXPRESSIONS)


@pytest.mark.corpus
def test_faces_of_strangers_are_read_by_their_pictures_alone(data_dir):
    """A twelfth of FER2013's held-out third; all of it by scripts/evaluation/expression.py."""
    faces = read(data_dir)
    held = faces.part("held")[::12]
    pictures = torch.from_numpy(faces.pictures[held]).float()
    found = judged(
        probabilities(expression_net.load()[0], pictures, np.full((len(held), 54), np.nan)), faces.label[held]
    )
    assert found["auc"] > 0.94
    assert found["accuracy"] > 0.57
