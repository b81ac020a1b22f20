"""Variables that are summed over instead of inferred, against sums over all values of z in float64."""

import pytest
import torch

from hf_lvm.analysis.estimator_check import check_model
from tests.models.latent_class.test_objectives import BATCH, CLASSES, ROWS, model_of
from tests.tiny_parts import row_generators

# The first variable has four classes and an encoder, the second three and is summed over.
FIRST, SECOND = 4, 3


def summing_model(**options):
    return model_of(**{"summed_variables": 1, "injection": "logits", **options})


@torch.no_grad()
def joint_table(model) -> torch.Tensor:
    """log p(x, z) of all values: (4, 3, 5)."""
    prior = model.prior_of(len(ROWS))
    values = prior.enumerate_support()
    nll = torch.stack([model(labels=BATCH["labels"], latents=value).reconstruction for value in values])
    return (prior.log_prob(values) - nll).unflatten(0, (FIRST, SECOND))


@torch.no_grad()
def inferred_table(model) -> torch.Tensor:
    """log q(y|x): (4, 5)."""
    return model.encode(BATCH["input_ids"], BATCH["attention_mask"]).logits[:, 0].T


@pytest.mark.parametrize("injection", ["logits", "embedding"])
def test_the_elbo_sums_over_them_inside_of_the_logarithm(injection):
    model = summing_model(injection=injection)
    output = model(**BATCH)
    joint, log_q = joint_table(model), inferred_table(model)
    expected = -(log_q.exp() * (joint.logsumexp(1) - log_q)).sum(0)
    torch.testing.assert_close(output.row_loss, expected)
    torch.testing.assert_close(output.reconstruction + output.kl, expected)
    assert output.kl_per_dimension.shape == (len(ROWS), 1)
    assert (output.row_loss > -joint.flatten(0, 1).logsumexp(0)).all(), "it is a bound of log p(x)"


def test_what_they_are_of_a_sentence_follows_by_bayes_rule():
    model = summing_model()
    output = model(**BATCH)
    joint, log_q = joint_table(model), inferred_table(model)
    shares = (log_q.exp().unsqueeze(1) * joint.softmax(1)).sum(0)  # (3, 5)
    assert output.class_logits.shape == (len(ROWS), 2, FIRST)
    torch.testing.assert_close(output.class_logits[:, 1, :SECOND].exp(), shares.T)
    torch.testing.assert_close(output.class_logits[:, 0], log_q.T)
    assert output.posterior.event_shape == (1,)
    by_bayes = model.true_posterior(BATCH["labels"])
    torch.testing.assert_close(by_bayes[:, 1, :SECOND].T, joint.flatten(0, 1).softmax(0).unflatten(0, (4, 3)).sum(0))


def test_what_is_known_of_any_variable_is_conditioned_on():
    model = summing_model(classification_weight=2.0)
    output = model(**BATCH, classes=CLASSES)
    joint, log_q = joint_table(model), inferred_table(model)
    for row, (first, second) in enumerate(CLASSES.tolist()):
        table = joint[:, :, row] if second < 0 else joint[:, second, row].unsqueeze(1)
        scores = table.logsumexp(1)
        if first < 0:
            expected = -(log_q[:, row].exp() * (scores - log_q[:, row])).sum()
        else:
            expected = -scores[first] - 2.0 * log_q[first, row]
        torch.testing.assert_close(output.row_loss[row], expected)


@pytest.mark.parametrize("estimator", ["rloo", "exact_topk", "relax", "reinforce_learned"])
def test_estimators_of_the_others_stay_unbiased(estimator):
    model = summing_model(estimator=estimator, num_samples=2)
    (row,) = check_model(model, BATCH, [estimator], draws=600, timed_steps=1)
    assert not row.is_biased
    assert row.p_value > 1e-4


def test_the_exact_estimator_has_the_exact_gradient():
    (row,) = check_model(summing_model(), BATCH, ["exact"], draws=100, timed_steps=1)
    assert row.cosine > 1 - 1e-9


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "gumbel_softmax"},
        {"objective": "iwae", "estimator": "vimco", "num_samples": 3},
        {"objective": "minimum_risk", "estimator": None, "num_samples": 3},
        {"objective": "marginal"},
    ],
)
def test_other_objectives_sum_over_them_too(options):
    model = summing_model(**options)
    output = model.train()(**BATCH, generator=row_generators(len(ROWS)))
    output.loss.backward()
    assert model.conditioning.injections["logits"].projection.weight.grad.abs().sum() > 0
    assert output.class_logits.shape == (len(ROWS), 2, FIRST)
    if model.config.objective == "marginal":
        joint = joint_table(model.eval()).flatten(0, 1)
        torch.testing.assert_close(output.row_loss.detach(), -joint.logsumexp(0))
        torch.testing.assert_close(output.class_logits.exp(), model.true_posterior(BATCH["labels"]))


@torch.no_grad()
def test_the_sum_and_the_estimate_of_the_likelihood_agree():
    model = summing_model()
    model.posterior_head.logits.weight.mul_(0.3)
    exact = model.estimate_log_likelihood(**BATCH, method="exact")
    torch.testing.assert_close(exact.log_likelihood, joint_table(model).flatten(0, 1).logsumexp(0))
    sampled = model.estimate_log_likelihood(**BATCH, method="importance", num_samples=4000)
    deviation = (sampled.log_likelihood - exact.log_likelihood) / sampled.standard_error.clamp(min=1e-6)
    assert (deviation.abs() < 4).all()


@torch.no_grad()
def test_generation_draws_what_is_not_said_of_them():
    model = summing_model().float()
    whole = model.generate(classes=torch.tensor([[2, 0], [1, 2]]), max_new_tokens=4)
    told = model.generate(latents=torch.tensor([[2, 0], [1, 2]]), max_new_tokens=4)
    assert torch.equal(whole, told)
    for short in ({"classes": torch.tensor([2, 1])}, {"latents": torch.tensor([[2], [1]])}, dict(BATCH, labels=None)):
        short = {key: value for key, value in short.items() if key in ("classes", "latents", "input_ids", "attention_mask")}
        assert len(model.generate(**short, max_new_tokens=4)) == (len(ROWS) if "input_ids" in short else 2)
    torch.manual_seed(0)
    texts = model.generate(classes=torch.tensor([2] * 64), max_new_tokens=4)
    assert len(set(map(tuple, texts.tolist()))) > 1, "the greedy text of a class depends on the draw of the other variable"


def test_a_saved_model_sums_as_before(tmp_path):
    model = summing_model().float()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.config.summed_variables == 1
    torch.testing.assert_close(again(**BATCH).row_loss, model(**BATCH).row_loss)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"summed_variables": 2}, "leave at least one for the encoder"),
        ({"summed_variables": -1}, "leave at least one for the encoder"),
        ({"posterior_type": "vector_quantized"}, "set posterior_type to 'categorical'"),
        ({"estimator": "rloo", "num_samples": 2, "enumeration_budget": 2}, "enumeration_budget is 2: raise it"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        summing_model(**options)
