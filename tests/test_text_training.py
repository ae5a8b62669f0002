"""Training of the text line: texts as they are read, recognition errors, folds, losses."""

import numpy as np
import pytest
import torch

from models.mpnet import DIM, ENDS
from models.tokens import Tokens
from scripts.training.misheard import Misheard, sound
from scripts.training.sentences import goemotions, plain, sst
from scripts.training.textline import States, folds_of, judged, loss_of


@pytest.mark.parametrize(
    ("treebank", "said"),
    [
        ("it does n't work", "it doesn't work"),
        ("you ca n't go and wo n't stay", "you can't go and won't stay"),
        ("the film 's best scene -LRB- ever -RRB-", "the film's best scene   ever  "),
        ("i 'm sure they 're here", "i'm sure they're here"),
    ],
)
def test_treebank_tokens_are_written_as_people_do(treebank, said):
    assert plain(treebank) == said


@pytest.mark.parametrize(("one", "other"), [("buck", "biz"), ("laugh", "lake"), ("hate", "had")])
def test_words_that_sound_alike_share_a_code(one, other):
    assert sound(one) == sound(other)
    assert sound(one) != sound("terrible")


def test_recognition_errors_are_made_of_known_words_and_leave_something():
    said = "i really liked it but this movie is not so good and it is long".split()  # noqa: SIM905 - as above
    misheard = Misheard([*said, "locked"])
    heard = {misheard(said, np.random.default_rng(seed)) for seed in range(300)}
    assert len(heard) > 30
    assert all(heard)
    assert {word for text in heard for word in text} <= {*said, "locked", "it's", "isn't"}
    assert any("not" not in text for text in heard), "a lost negation"
    assert any(text[0] != "i" for text in heard), "lost first words"
    assert any("locked" in text for text in heard), "a word that sounds alike"
    assert any("it's" in text for text in heard), "a contraction"


def test_a_single_word_is_left_alone_or_misheard():
    misheard = Misheard(["great", "crate"])
    assert {len(misheard(["great"], np.random.default_rng(seed))) for seed in range(50)} == {1}


def test_missing_corpora_are_skipped(tmp_path):
    assert list(sst(tmp_path, "train")) == []
    assert list(goemotions(tmp_path, {})) == []


def test_comments_are_the_mean_of_their_emotions(tmp_path):
    (tmp_path / "goemotions").mkdir()
    (tmp_path / "goemotions" / "labels.txt").write_text("joy\nanger\nsurprise\n")
    rows = ["Great stuff!\t0,1\ta", "Oh\t2\tb", "[NAME] is great\t0\tc"]
    (tmp_path / "goemotions" / "train.tsv").write_text("\n".join(rows))
    (made,) = goemotions(tmp_path, {"joy": 2.0, "anger": -1.0})
    assert made.words == ("great", "stuff")
    assert made.label == 0.5


def test_folds_keep_speakers_whole_and_spread_the_named_ones():
    videos = [f"v{number}" for number in range(20) for _ in range(1 + number)]
    folds = folds_of(videos, {f"v{number}" for number in range(10)}, 5)
    assert set(folds) == set(videos)
    sizes = [sum(folds[video] == fold for video in videos) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 10
    assert [sum(folds[f"v{number}"] == fold for number in range(10)) for fold in range(5)] == [2] * 5


def test_the_scale_learns_from_the_error_but_does_not_move_the_location():
    labels = torch.tensor([1.0, -1.0])
    made = torch.zeros(2, 2, 2, requires_grad=True)
    loss_of(made, labels).backward()
    assert made.grad[0, 0, 0] < 0 < made.grad[1, 0, 0]
    wide = torch.zeros(2, 2, 2)
    wide[..., 1] = 1.0
    wide.requires_grad_()
    loss_of(wide, labels).backward()
    torch.testing.assert_close(wide.grad[..., 0], made.grad[..., 0])
    assert bool((wide.grad[..., 1] > 0).all()), "too wide for errors of 1"


def test_figures_of_readings():
    readings = np.array([[1.0, -1.0], [-2.0, 0.5], [0.4, 0.0], [2.0, 0.2]], np.float32)
    labels = np.array([1.0, -1.0, -0.2, 1.4], np.float32)
    figures = judged(readings, labels)
    assert figures["n"] == 4
    assert figures["mae"] == pytest.approx((0 + 1 + 0.6 + 0.6) / 4, abs=1e-4)
    assert figures["has0"] == 0.75
    assert figures["rank_scale_error"] > 0.9


class Counting:
    """Stands in for the encoder: a token's state is its id, and it counts the texts that it is given."""

    seen, dim, ends = 0, DIM, ENDS

    def tokenize(self, texts):
        rows = [[0, *(len(piece) + 2 for word in words for piece in word.split()), 2] for words in texts]
        ids = torch.full((len(rows), max(map(len, rows))), 1)
        for row, one in zip(ids, rows, strict=True):
            row[: len(one)] = torch.tensor(one)
        return Tokens(ids, ids != 1, torch.zeros(0))

    def bias(self, mask):
        return mask

    def lower(self, ids, bias):
        assert bool(bias.all()) or len(set(bias.sum(1).tolist())) > 1
        self.seen += len(ids)
        return ids[..., None].expand(-1, -1, DIM).float()


def test_kept_states_stay_with_their_texts_over_runs(tmp_path):
    first, more = [("t mobile",), ("good",), ("t", "mobile"), ("a", "bad", "film")], [("so", "very", "good"), ("no",)]
    encoder, file = Counting(), tmp_path / "states.npz"
    states = States(encoder, file)
    states.ensure(first)
    states.save()
    again = States(encoder, file)
    again.ensure([*first, *more])
    again.save()
    assert encoder.seen == 3 + 2, "the same tokens, whatever their words, are computed once"
    last = States(encoder, file)
    for text in [*first, *more]:
        wanted = encoder.tokenize([text]).ids[0].float()
        torch.testing.assert_close(last.padded([text])[0, :, 0], wanted)
    both = last.padded([("good",), ("a", "bad", "film")])
    assert both.shape == (2, 5, DIM)
    assert both[0, 3:].abs().max() == 0
