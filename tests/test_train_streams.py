"""Training of what voices and faces say by themselves: whom it knows, what it subtracts, and that it learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models.calibrate import Calibration
from models.checkpoint import Checkpoint, save
from realtime.extract.schema import EMBEDDING_DIM, FACE_DIM, VOICE_DIM, VOICE_INPUT_DIM, schema_hash
from scripts.fit import ACTED, acted, network, together
from scripts.train_streams import (
    Collected,
    Windows,
    damaged,
    figures,
    fold_of,
    learn,
    rows_of,
    said,
    tensors,
    usual,
    weights,
    with_history,
)
from scripts.train_streams import network as untrained
from scripts.training.corpora import Example
from scripts.training.windows import face_view

SETTINGS = {
    "network": {"width": 16, "encoder": "mean", "layers": 1, "dropout": 0.0},
    "epochs": 40,
    "batch": 32,
    "lr": 0.01,
    "weight_decay": 0.0,
    "share": {"voice": {"ravdess": 0.5, "mosi_clips": 0.5}, "face": {"fer2013": 1.0}},
}


def windows(count=200, dim=FACE_DIM, corpus="fer2013", told=60):
    """Windows in which one column is what the label is."""
    rng = np.random.default_rng(0)
    target = rng.uniform(-2, 2, count)
    values = 0.1 * rng.standard_normal((count, 6, dim)).astype(np.float16)
    values[:, :, told] += target[:, None]
    mask = np.arange(6)[None] < rng.integers(2, 7, count)[:, None]
    clip = np.arange(count) // 2
    return Windows(
        values=values,
        times=np.zeros((count, 6), np.float32),
        mask=mask,
        decode=np.full(count, -1),
        reliability=np.full(count, 0.5),
        target=target,
        known=np.ones(count),
        fold=clip % 5,
        clip=clip,
        speaker=np.array([f"who-{number % 7}" for number in clip]),
        corpus=np.full(count, corpus, "U12"),
        last=np.arange(count) % 2 == 1,
    )


def test_it_learns_what_a_column_tells_and_how_sure_that_is():
    every = windows()
    model = untrained(SETTINGS, 0)
    learn(model, "face", every.take(every.fold != 0), SETTINGS, 0)
    unseen = every.take(every.fold == 0)
    score, log_spread = said(model, "face", unseen)
    assert np.corrcoef(score, unseen.target)[0, 1] > 0.8
    assert np.exp(log_spread).mean() < 1.0
    assert figures(unseen, score)["fer2013"]["auc"] > 0.95


def test_of_a_voice_the_mean_of_earlier_utterances_is_subtracted_where_there_is_an_embedding():
    every = windows(40, VOICE_INPUT_DIM, "ravdess", VOICE_DIM)
    every.values[..., -2] = 1
    every.values[:10, :, -2] = 0
    own = usual(every)
    assert {rows.shape[1] for rows in own.values()} == {EMBEDDING_DIM}
    rows = np.arange(40)
    values, _, _ = tensors(every, rows)
    before = values.clone()
    after = with_history(values, rows, every, own, 20, 0)
    assert torch.equal(after[:10], before[:10])
    assert not torch.allclose(after[10:, :, VOICE_DIM:-2], before[10:, :, VOICE_DIM:-2])
    assert torch.equal(after[..., :VOICE_DIM], before[..., :VOICE_DIM])
    assert torch.equal(with_history(before.clone(), rows, every, own, 0, 0), before)


def test_corpora_count_by_their_share_and_praise_as_much_as_complaint():
    both = windows(200, corpus="ravdess")
    both.corpus[:40] = "mosi_clips"
    both.target[60:] = np.abs(both.target[60:])
    found = weights(both, SETTINGS["share"]["voice"])
    assert found.mean() == pytest.approx(1)
    films = both.corpus == "mosi_clips"
    assert found[films].sum() == pytest.approx(found[~films].sum())
    acting = ~films
    assert found[acting & (both.target > 0)].sum() == pytest.approx(found[acting & (both.target < 0)].sum())


def test_how_far_a_face_is_known_is_as_much_as_is_shown_of_it():
    found, rng = Collected("face"), np.random.default_rng(0)
    smile = Example("fer2013", "smile", "somebody", 2.0)
    for seen_s in (0.0, 2.0):
        found.add(smile, 0, [(face_view(np.ones(FACE_DIM), rng, seen_s), False) for _ in range(50)])
    made = found.windows()
    assert made.known[:50].min() < 0.25
    assert (made.known[50:] == 1.0).all()
    newest = made.values[np.arange(100), made.mask.sum(1) - 1].mean(1)
    assert np.corrcoef(newest, made.known)[0, 1] > 0.95


def test_what_is_hardly_known_says_little_and_is_not_sure_of_it():
    every = windows()
    hardly = np.arange(200) % 2 == 0
    every = replace(every, known=np.where(hardly, 0.0, 1.0))
    every.values[hardly] = 0
    model = untrained(SETTINGS, 0)
    learn(model, "face", every, SETTINGS, 0)
    score, log_spread = said(model, "face", every)
    assert np.abs(score[hardly]).mean() < 0.3
    assert log_spread[hardly].mean() > log_spread[~hardly].mean() + 0.1


def test_what_is_not_always_there_is_taken_out_as_a_whole():
    values = torch.ones(400, 3, VOICE_INPUT_DIM)
    found = damaged("voice", values, torch.Generator().manual_seed(0))
    kept = found[:, :, VOICE_DIM:].mean((1, 2))
    assert set(kept.tolist()) == {0.0, 1.0}
    assert 0.7 < kept.mean() < 0.9
    assert (values == 1).all()


def test_an_actor_is_in_one_fold_and_all_folds_have_some():
    folds = [fold_of(f"ravdess-{number}") for number in range(1, 25)]
    assert folds == [fold_of(f"ravdess-{number}") for number in range(1, 25)]
    assert set(folds) == set(range(5))


def test_what_actors_say_is_handed_on_to_the_fit(tmp_path):
    voice, face = windows(20, VOICE_INPUT_DIM, "ravdess", VOICE_DIM), windows(20)
    score, log_spread = np.linspace(-1, 1, 20), np.full(20, -0.5)
    parts = [rows_of("voice", voice, score, log_spread), rows_of("face", face, score, log_spread)]
    np.savez(tmp_path / "acted.npz", **{key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    rows = acted(tmp_path / "acted.npz", "listening", 100)
    assert rows.own.shape == (40, 3)
    assert (rows.reliability[:20] == [0, 0.5, 0]).all()
    assert (rows.reliability[20:] == [0, 0, 0.5]).all()
    assert set(rows.state) == {"listening"}
    assert set(rows.damage) == {ACTED}
    assert rows.clip.min() == 100
    assert len(together([rows, rows]).own) == 80


def test_the_gate_of_a_fit_begins_at_its_beginning(tmp_path):
    settings = yaml.safe_load(Path("configs/training.yaml").read_text(encoding="utf-8"))["streams"]
    model = untrained(settings, 0)
    with torch.no_grad():
        model.gain.fill_(0.3)
    plain = Calibration("normalised", 2.3, 0.1, 1.0, (0.0, 0.0, 0.0), 3.0)
    save(tmp_path / "streams.safetensors", Checkpoint(model, schema_hash(), plain, {}))
    assert network(tmp_path / "streams.safetensors").gain.tolist() == [1.0, 1.0, 1.0]
