"""Estimators on a model and a batch against sums over all values of z, in float64."""

import pytest
import torch

from hf_lvm import NeuralHMMConfig, NeuralHMMModel
from hf_lvm.analysis.estimator_check import check_model
from hf_lvm.estimators import ESTIMATORS
from hf_lvm.estimators.baselines import LeaveOneOutBaseline, MovingAverageBaseline
from hf_lvm.estimators.score_function import ScoreFunction
from hf_lvm.models.latent_class import LatentClassModel
from hf_lvm.objectives import OBJECTIVES
from tests.tiny_parts import END, VOCABULARY, batch_of, perturb, random_rows, tiny_classes, tiny_vae

BATCH = batch_of(random_rows(3))
BITS = {"num_variables": 2, "num_classes": 2, "prior_type": "learned", "estimator": "rloo", "num_samples": 2}


def model_of(scale: float = 0.3, **options) -> LatentClassModel:
    return perturb(tiny_classes(**{**BITS, **options}), scale).double()


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def rows(model):
    """Every estimator of the ELBO, two of four values of z scored in a draw."""
    return {row.estimator: row for row in check_model(model, BATCH, num_samples=2, draws=400, warm_up_steps=25, timed_steps=1)}


def test_all_that_go_with_the_objective_are_checked(rows):
    assert list(rows) == list(OBJECTIVES["discrete"]["elbo"])
    assert {name: row.scored_latents for name, row in rows.items()} == dict.fromkeys(rows, 2) | {"exact": 4}
    assert all(row.seconds > 0 and row.draws == (4 if name == "exact" else 400) for name, row in rows.items())


def test_the_sum_of_the_model_is_that_of_the_table(rows):
    """The forward with the estimator `exact` knows nothing of the table of log p(x|z) that it is compared with."""
    assert rows["exact"].relative_bias < 1e-10 and not rows["exact"].has_variance and not rows["exact"].is_off


@pytest.mark.parametrize("estimator", [name for name in OBJECTIVES["discrete"]["elbo"] if not ESTIMATORS[name].biased])
def test_an_unbiased_one_is_as_far_off_as_its_standard_error(rows, estimator):
    row = rows[estimator]
    assert not row.is_off and not row.is_biased
    assert row.relative_bias <= 3 * row.standard_error + 1e-10
    if estimator not in ("reinforce", "reinforce_moving_average"):
        # These two have no baseline for each sentence, and sentences differ by many nats.
        assert row.standard_error < 0.12 and row.cosine > 0.98


@pytest.mark.parametrize("estimator", ["gumbel_softmax", "straight_through"])
def test_a_relaxed_one_is_relaxed_and_biased(rows, estimator):
    row = rows[estimator]
    assert row.is_biased and row.is_off and row.standard_error < 0.05 < row.relative_bias


def test_baselines_lower_the_variance(rows):
    assert rows["rloo"].variance < 0.2 * rows["reinforce_moving_average"].variance < 0.2 * rows["reinforce"].variance
    assert rows["reinforce_learned"].variance < 0.2 * rows["reinforce_moving_average"].variance
    assert rows["rloo"].variance_per_latent == 2 * rows["rloo"].variance


@pytest.mark.parametrize(("objective", "estimator"), [("iwae", "vimco"), ("elbo", "rloo")])
def test_the_gradient_is_that_of_the_objective_and_the_weight_that_are_asked_for(model, objective, estimator):
    asked = {"objective": objective, "num_samples": 2, "draws": 600, "kl_weight": 0.5, "timed_steps": 1}
    (row,) = check_model(model, BATCH, [estimator], **asked)
    assert (row.objective, row.estimator) == (objective, estimator)
    assert not row.is_off and row.standard_error < 0.25


def test_minimum_risk_over_few_candidates_is_biased_and_over_nearly_all_less(model):
    few, many = (
        check_model(model, BATCH, objective="minimum_risk", num_samples=count, draws=60, timed_steps=1)[0] for count in (2, 30)
    )
    assert few.estimator is None and few.label == "minimum_risk" and few.is_biased
    assert few.is_off and few.relative_bias > 3 * many.relative_bias


class OwnSampleInItsBaseline(LeaveOneOutBaseline):
    def forward(self, scores, mode_score, features):
        return scores.mean(0), None


class Planted(ScoreFunction):
    """As good as halving what two samples say of the decoder."""

    def __init__(self):
        super().__init__(OwnSampleInItsBaseline())


def test_a_planted_bias_is_seen(model):
    (row,) = check_model(model, BATCH, [Planted()], num_samples=2, draws=400, timed_steps=1)
    assert row.estimator == "Planted" and not row.is_biased
    assert row.is_off and row.relative_bias > 5 * row.standard_error


def test_dropout_is_off_wherever_it_is():
    model = model_of(decoder="bart", decoder_dropout=0.3, decoder_attention_dropout=0.3, encoder_hidden_dropout_prob=0.3)
    for config in (model.config.encoder, model.config.decoder):
        for key in ("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"):
            setattr(config, key, 0.3)
    model = LatentClassModel(model.config).double()
    assert not torch.equal(model.train()(**BATCH).loss, model(**BATCH).loss)
    (row,) = check_model(model, BATCH, ["exact"], timed_steps=1)
    assert row.relative_bias < 1e-10 and not row.has_variance
    assert all(module.training for module in model.modules())


def test_the_model_comes_back_as_it_was():
    model = model_of(estimator="reinforce_learned")
    model.decoder.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config, estimator, modes = model.config, model.estimator, [module.training for module in model.modules()]
    check_model(
        model, BATCH, ["reinforce_learned", "gumbel_softmax"], draws=20, warm_up_steps=2, timed_steps=1, temperature=0.3
    )
    with pytest.raises(ValueError, match="even number"):
        check_model(model, BATCH, ["disarm"], num_samples=3)
    assert model.config is config and model.estimator is estimator
    assert (config.estimator, config.num_samples, config.temperature) == ("reinforce_learned", 2, 1.0)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_the_model_has_learned_is_where_its_own_estimator_begins():
    model = model_of(estimator="reinforce_moving_average")
    options = {"draws": 200, "timed_steps": 1, "warm_up_steps": 0}
    (new,) = check_model(model, BATCH, ["reinforce_moving_average"], **options)
    for _ in range(5):
        model.train()(**BATCH)
    (learned,) = check_model(model, BATCH, ["reinforce_moving_average"], **options)
    assert learned.variance < 0.5 * new.variance


def test_an_estimator_of_ones_own_learns_before_it_is_looked_at_and_keeps_what_it_was(model):
    updates = []

    class Counted(MovingAverageBaseline):
        def update(self, scores):
            updates.append(len(scores))
            super().update(scores)

    own = ScoreFunction(Counted())
    check_model(model, BATCH, [own], draws=20, warm_up_steps=7, timed_steps=1)
    # In the warm-up, in the step that is timed and in the one before it; not in draws.
    assert len(updates) == 7 + 2
    assert own.baseline.moments.tolist() == [0.0, 0.0, 0.0]


def test_keys_of_the_config_may_be_changed_for_the_check(model):
    cold, warm = (
        check_model(model, BATCH, ["straight_through"], draws=200, timed_steps=1, temperature=degree)[0]
        for degree in (0.2, 3.0)
    )
    assert cold.variance > 2 * warm.variance


class RandomBesides(LatentClassModel):
    """A model that drops out in its own forward."""

    def score(self, samples, decoder_input_ids, labels):
        nll, logits = super().score(samples, decoder_input_ids, labels)
        return torch.nn.functional.dropout(nll, 0.2, self.training), logits


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "marginal"}, "no gradient with respect to q.*such as objective 'elbo'"),
        ({"objective": "elbow"}, "Unknown objective 'elbow': choose one of 'elbo'"),
        ({"estimators": ["reinforec"]}, "Unknown estimator 'reinforec': the objective 'elbo' takes 'exact'"),
        ({"estimators": ["vimco"]}, "does not take the estimator 'vimco'.*goes with the objective 'iwae'"),
        ({"estimators": ["rloo"], "num_samples": 1}, "num_samples is 1: set it to 2 or more"),
        ({"estimators": [Planted()], "objective": "minimum_risk"}, "its own estimator"),
        ({"draws": 5}, "draws must be at least 20"),
        ({"enumeration_budget": 3}, r"2\^2 = 4 values.*at most 3: raise enumeration_budget"),
        ({"objective": "iwae", "num_samples": 20}, r"sums over 4\^20 sets of samples.*take fewer samples"),
        ({"temprature": 1.0}, "no key 'temprature'"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(model, options, said):
    with pytest.raises(ValueError, match=said):
        check_model(model, BATCH, **options)


def test_a_model_or_a_batch_that_cannot_be_checked_is_refused(model):
    with pytest.raises(ValueError, match="'hf_lvm_text_vae' model cannot be checked.*q.z.x. is a DiagonalGaussian"):
        check_model(tiny_vae(), BATCH)
    with pytest.raises(ValueError, match="'hf_lvm_neural_hmm' model cannot be checked.*it has no estimator"):
        check_model(
            NeuralHMMModel(NeuralHMMConfig(vocab_size=VOCABULARY, num_states=2, hidden_size=4, eos_token_id=END)), BATCH
        )
    with pytest.raises(ValueError, match="The batch has classes"):
        check_model(model, {**BATCH, "classes": torch.zeros(3, 2, dtype=torch.long)})
    with pytest.raises(ValueError, match="The batch has no 'labels'"):
        check_model(model, {"input_ids": BATCH["input_ids"]})
    with pytest.raises(ValueError, match="'disarm' is for binary latents"):
        check_model(model_of(num_classes=3), BATCH, ["disarm"])
    with pytest.raises(ValueError, match="Two passes with the same generator"):
        check_model(RandomBesides(model.config).double(), BATCH, ["rloo"])
