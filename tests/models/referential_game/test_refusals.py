"""What a referential game does not take: one clear error each."""

import pytest
import torch

from hf_lvm import ReferentialGameConfig, ReferentialGameModel
from tests.models.referential_game.tiny_games import GAMES, OBJECTS, tiny_game
from tests.tiny_parts import tiny_config

CONFIGS = [
    ({"num_symbols": 1}, "num_symbols is 1: a language needs 2 symbols or more"),
    ({"max_length": 0}, r"max_length \(max_message_length of a run\) is 0: a message without a symbol says nothing"),
    ({"min_length": 3, "max_length": 2}, "min_length is 3 and max_length 2"),
    ({"num_distractors": 0}, "num_distractors is 0: set 1 or more"),
    ({"object_type": "images"}, "Unknown object_type 'images': choose one of 'attributes', 'features', 'text'"),
    ({"attribute_sizes": [3, 0]}, "give the number of values of each attribute"),
    ({"feature_size": 4}, "feature_size is for the object_type 'features'"),
    ({"object_type": "features", "attribute_sizes": None, "feature_size": 0}, "feature_size must be at least 1"),
    ({"object_encoder": {"model_type": "bert"}}, "object_encoder reads the object_type 'text'"),
    ({"prior_type": "words"}, "Unknown prior_type 'words'"),
    ({"prior": {"model_type": "gpt2"}}, "has no model and nothing to learn"),
    ({"prior_weight": -1.0}, "prior_weight must be 0 or more"),
    ({"game_loss": "margin"}, "Unknown game_loss 'margin'"),
    ({"score": "cosine"}, "Unknown score 'cosine'"),
    ({"game_loss": "hinge", "objective": "iwae", "estimator": "vimco", "num_samples": 2}, "'hinge' has no likelihood"),
    ({"objective": "marginal", "estimator": "exact", "max_length": 2}, "sums over messages by their p"),
    ({"estimator": "exact", "num_symbols": 30, "max_length": 3}, "scores all 27,931 messages"),
    ({"estimator": "relax"}, "does not take the estimator 'relax'"),
    ({"estimator": "vimco"}, "'vimco' goes with the objective 'iwae'"),
    ({"estimator": "rloo"}, "num_samples is 1"),
    ({"token_credit": True}, "token_credit shares out the signal of a score function"),
    ({"learned_temperature": True, "estimator": "reinforce"}, "learned_temperature is that of relaxed samples"),
    ({"temperature": 0.0}, "must be positive"),
    ({"injection": "telepathy"}, "Unknown injection 'telepathy'"),
    ({"pooling": "median"}, "Unknown pooling 'median'"),
    ({"object_size": 0}, "object_size must be at least 1"),
]


@pytest.mark.parametrize(("options", "said"), CONFIGS, ids=lambda value: str(value)[:40])
def test_settings(options, said):
    with pytest.raises(ValueError, match=said):
        ReferentialGameConfig(**{"attribute_sizes": [2, 3]} | options)


@pytest.mark.parametrize(
    ("options", "said"), [({}, "need attribute_sizes in the config"), ({"object_type": "features"}, "need feature_size")]
)
def test_a_config_may_leave_the_size_of_objects_open_and_a_model_may_not(options, said):
    with pytest.raises(ValueError, match=said):
        ReferentialGameModel(ReferentialGameConfig(**options))


@pytest.fixture(scope="module")
def model():
    return tiny_game()


def games(**changes) -> dict:
    return GAMES | changes


INJECTION = {"sender": "prefix", "receiver": "embedding"}
BATCHES = [
    ({}, "Pass objects"),
    ({"objects": OBJECTS[:, :1]}, r"\(N, 2\) is needed"),
    ({"objects": OBJECTS.float()}, "is integers"),
    ({"objects": OBJECTS + 2}, r"Object\(s\) \[.*\] have values outside attribute_sizes, \[2, 3\]"),
    ({"objects": OBJECTS, "object_mask": torch.ones(6, 2)}, "object_mask is for texts"),
    (games(labels=None), "Pass labels beside candidates"),
    (games(labels=torch.tensor([0, 0])), r"\(B, C\) and \(B,\) are needed"),
    (games(labels=torch.tensor([0, 0, 2])), r"The labels of game\(s\) \[2\] are no candidate"),
    (games(labels=torch.tensor([0, 0, 7])), r"The labels of game\(s\) \[2\] are no candidate"),
    (games(candidates=torch.tensor([[0, 1, 6]] * 3)), "numbers of no object: there are 6"),
    (games(candidates=torch.tensor([[0, 1, 1], [0, 1, 2], [3, 4, 5]])), r"Game\(s\) \[0\] have identical candidates"),
    (
        {"objects": torch.cat([OBJECTS, OBJECTS[:1]]), "candidates": torch.tensor([[0, 1, 6]]), "labels": torch.tensor([0])},
        r"Game\(s\) \[0\] have identical candidates",
    ),
    (games(candidates=torch.tensor([[0, 1], [1, 0], [2, -1]]), labels=torch.tensor([0, 0, 0])), "have one candidate"),
    ({"objects": OBJECTS, "labels": torch.tensor([6])}, "numbers from 0 to 5"),
    ({"objects": OBJECTS[:1]}, "A game asks for 1 distractors, and a batch of 1 objects has 0"),
    ({"objects": OBJECTS, "free_bits_mode": "kingma"}, "set free_bits to 0"),
    ({"objects": OBJECTS, "latents": torch.tensor([[0, 1, 1]] * 6)}, "with the end 2 behind them; 6 of these are none"),
    ({"objects": OBJECTS, "latents": torch.tensor([[4, 2, 4]] * 6)}, "Messages are symbols 0 to 1"),
]


@pytest.mark.parametrize(("batch", "said"), BATCHES, ids=lambda value: str(value)[:40].replace("\n", " "))
def test_batches(model, batch, said):
    with pytest.raises(ValueError, match=said):
        model(**batch)


def test_fewer_objects_than_distractors():
    model = tiny_game(num_distractors=6)
    with pytest.raises(ValueError, match="A game asks for 6 distractors, and a batch of 6 objects has 5 that differ"):
        model(OBJECTS)
    with pytest.raises(ValueError, match="has 4 that differ"):
        tiny_game(num_distractors=5)(torch.cat([OBJECTS[:5], OBJECTS[:1]]))


def test_a_hinge_has_no_likelihood():
    with pytest.raises(ValueError, match="has no likelihood, and so no bound"):
        tiny_game(game_loss="hinge", prior_type="none").estimate_log_likelihood(OBJECTS)


def test_likelihoods(model):
    with pytest.raises(ValueError, match="Unknown method 'guess'"):
        model.estimate_log_likelihood(OBJECTS, method="guess")
    with pytest.raises(ValueError, match="There are 15 messages, and enumeration_budget is 10"):
        tiny_game(estimator="reinforce", max_length=3, enumeration_budget=10).estimate_log_likelihood(OBJECTS, method="exact")


def test_features_that_are_not_finite():
    model = tiny_game(object_type="features", feature_size=2)
    with pytest.raises(ValueError, match=r"features of object\(s\) \[1\] are not finite"):
        model(torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [1.0, 1.0]]))
    with pytest.raises(ValueError, match="is floats"):
        model(torch.tensor([[0, 1]]))


def test_texts_without_a_token():
    model = tiny_game(object_type="text", object_encoder=tiny_config("bert"))
    with pytest.raises(ValueError, match=r"Object\(s\) \[0\] have no token"):
        model(torch.tensor([[5, 6], [7, 8]]), torch.tensor([[0, 0], [1, 1]]))
    with pytest.raises(ValueError, match="has room for 32"):
        model(torch.ones(2, 40).long())


@pytest.mark.parametrize("part", ["sender", "receiver", "prior"])
def test_parts_over_other_symbols(part):
    config = {"prior_type": "model"} if part == "prior" else {}
    family = "bert" if part == "receiver" else "gpt2"
    wrong = {part: tiny_config(family), **({"injection": "prefix"} if part == "sender" else {})}
    with pytest.raises(ValueError, match=f"The {part} has a vocabulary of 23, and 2 symbols with EOS, BOS and PAD are 5"):
        from hf_lvm import ReferentialGameModel

        ReferentialGameModel(ReferentialGameConfig(attribute_sizes=[2, 3], num_symbols=2, pooling="mean", **wrong, **config))


@pytest.mark.parametrize(("part", "length", "taken"), [("sender", 31, 2), ("receiver", 32, 1)])
def test_parts_with_too_few_positions(part, length, taken):
    with pytest.raises(ValueError, match=f"The {part}, a '(gpt2|bert)' model, has"):
        tiny_game("gpt2", "bert", max_length=length, estimator="reinforce", injection_length=taken, injection=INJECTION[part])
