"""Games that are played through and measured, against the model by hand."""

import numpy as np
import pytest
import torch

from hf_lvm.analysis.game_report import play_games, report_games
from hf_lvm.data import GameCollator, draw_games
from tests.models.referential_game.tiny_games import OBJECTS, tiny_game

COLLATE = GameCollator(OBJECTS)


@pytest.fixture(scope="module")
def games():
    rows = draw_games(OBJECTS, 3, seed=2)
    # One game with fewer candidates than the others.
    return rows.add_item({"candidates": [1, 4], "labels": 1})


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [2, 100])
def test_playing_does_not_depend_on_the_batches(games, batch_size):
    model = tiny_game()
    played = play_games(model, games, COLLATE, batch_size)
    for row, game in enumerate(games):
        alone = model.play(**COLLATE([game]))
        assert played.messages[row] == model.symbols_of(alone.messages)[0]
        assert played.is_right[row] == alone.is_right.item() and played.labels[row] == game["labels"]
        own = played.log_probs[row][np.isfinite(played.log_probs[row])]
        np.testing.assert_allclose(own, alone.log_probs[0].numpy(), rtol=1e-5, atol=1e-6)
    assert played.lengths.tolist() == [len(message) for message in played.messages]
    drawn = [play_games(model, games, COLLATE, size, do_sample=True, seed=3).messages for size in (2, 100)]
    assert drawn[0] == drawn[1] != play_games(model, games, COLLATE, 100, do_sample=True, seed=4).messages
    best = play_games(model, games, COLLATE, batch_size, num_beams=10).messages
    assert best[0] == model.symbols_of(model.speak(OBJECTS[:1], num_beams=10))[0]


@torch.no_grad()
def test_the_report_is_what_the_model_says(games):
    model = tiny_game(estimator="exact")
    report = report_games(model, games, COLLATE, batch_size=3)
    output = model(**COLLATE(list(games)))
    assert report["bound"]["reconstruction"] == pytest.approx(output.reconstruction.mean().item(), rel=1e-5)
    assert report["bound"]["kl"] == pytest.approx(output.kl.mean().item(), rel=1e-5)
    exact = model.estimate_log_likelihood(**COLLATE(list(games))).log_likelihood
    assert report["likelihood"] == {"nats_per_game": pytest.approx(-exact.mean().item()), "exact": True}
    assert report["games"] == 7 and report["candidates"] == pytest.approx(26 / 7)
    assert report["chance"] == pytest.approx((6 / 4 + 1 / 2) / 7)
    assert report["accuracy"] == pytest.approx(model.play(**COLLATE(list(games))).is_right.float().mean().item())
    many = report_games(tiny_game(estimator="reinforce", enumeration_budget=2), games, COLLATE, num_importance_samples=400)
    assert many["likelihood"]["num_samples"] == 400 and not many["likelihood"]["exact"]
    assert many["likelihood"]["nats_per_game"] == pytest.approx(report["likelihood"]["nats_per_game"], abs=0.05)
    assert "likelihood" not in report_games(tiny_game(estimator="reinforce", enumeration_budget=2), games, COLLATE)


def test_a_hinge_reports_no_bound(games):
    report = report_games(tiny_game(game_loss="hinge", prior_type="none"), games, COLLATE)
    assert "bound" not in report and "likelihood" not in report and report["game_loss"] > 0
