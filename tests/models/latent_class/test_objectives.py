"""The loss of a latent class model against sums over all values of z, for what is known of z and what is not."""

import pytest
import torch

from hf_lvm.estimators.baselines import MovingAverageBaseline
from hf_lvm.objectives import OBJECTIVES, RowCounts
from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_classes

ROWS = random_rows(5)
BATCH = batch_of(ROWS)
# Nothing, a part, everything known of z.
CLASSES = torch.tensor([[-1, -1], [2, -1], [0, 1], [-1, 0], [1, 2]])


def model_of(dtype=torch.float64, **options):
    """Two variables of four and of three classes, of which no two values are alike."""
    shape = {"num_variables": 2, "num_classes": [4, 3]}
    return perturb(tiny_classes(**{**shape, "prior_type": "learned", **options}), 0.3).to(dtype)


@torch.no_grad()
def tables(model) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """All values of z (12, 2), and of every value and sentence log p(x|z), log p(z), log q(z|x), (12, 5) each."""
    prior = model.prior_of(len(ROWS))
    values = prior.enumerate_support()
    posterior = model.encode(BATCH["input_ids"], BATCH["attention_mask"])
    likelihood = torch.stack([-model(labels=BATCH["labels"], latents=value).reconstruction for value in values])
    return values[:, 0], likelihood, prior.log_prob(values), posterior.log_prob(values)


def consistent(values: torch.Tensor) -> torch.Tensor:
    """(12, 5), whether a value of z agrees with what is known of a sentence."""
    return ((values.unsqueeze(1) == CLASSES) | (CLASSES < 0)).all(-1)


@pytest.mark.parametrize("injection", ["embedding", "logits"])
def test_the_elbo_is_the_sum_over_all_values(injection):
    model = model_of(injection=injection)
    output = model(**BATCH)
    values, likelihood, prior, posterior = tables(model)
    weights = posterior.exp()
    torch.testing.assert_close(output.reconstruction, -(weights * likelihood).sum(0))
    torch.testing.assert_close(output.kl, (weights * (posterior - prior)).sum(0))
    torch.testing.assert_close(output.kl_per_dimension.sum(1), output.kl)
    torch.testing.assert_close(output.row_loss, output.reconstruction + output.kl)
    torch.testing.assert_close(output.loss, output.row_loss.mean())


@pytest.mark.parametrize(
    ("options", "values_read"),
    [({"estimator": "exact"}, 1), ({"estimator": "rloo", "num_samples": 3}, 1), ({"injection": "embedding"}, 12)],
    ids=["all values", "samples", "not in the logits alone"],
)
def test_a_decoder_that_hears_z_in_its_logits_alone_reads_each_sentence_once(options, values_read):
    model = model_of(**{"injection": "logits", **options}).train()
    rows_read = []
    hook = model.decoder.register_forward_pre_hook(
        lambda _, args, kwargs: rows_read.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    output = model(**BATCH, generator=row_generators(len(ROWS)))
    hook.remove()
    assert rows_read == [values_read * len(ROWS)]
    torch.testing.assert_close(output.logits, model.eval()(labels=BATCH["labels"], latents=output.latents).logits)


def test_samples_scored_from_one_reading_are_those_scored_one_by_one():
    model = model_of(injection="logits")
    samples = model.encode(BATCH["input_ids"], BATCH["attention_mask"]).sample((3,))
    nll, _ = model.score(samples, model.shift_right(BATCH["labels"]), BATCH["labels"])
    one_by_one = torch.stack([model(labels=BATCH["labels"], latents=sample).reconstruction for sample in samples])
    torch.testing.assert_close(nll, one_by_one)


def test_the_marginal_likelihood_is_that_of_the_estimate():
    model = model_of(objective="marginal")
    output = model(**BATCH)
    _, likelihood, prior, _ = tables(model)
    torch.testing.assert_close(output.loss, -(likelihood + prior).logsumexp(0).mean())
    torch.testing.assert_close(output.reconstruction + output.kl, output.row_loss)
    by_bayes = model.class_probabilities(labels=BATCH["labels"], method="bayes")
    torch.testing.assert_close(output.class_logits.exp(), by_bayes)
    estimate = model.estimate_log_likelihood(**BATCH)
    assert estimate.exact
    torch.testing.assert_close(-estimate.log_likelihood, output.row_loss.detach())


@pytest.mark.parametrize("objective", ["elbo", "marginal"])
def test_what_is_known_of_z_is_part_of_what_is_explained(objective):
    """A bound of log p(x, y), and -alpha log q(y|x) beside it: by sums over the values that agree with y."""
    model = model_of(objective=objective, classification_weight=0.7)
    output = model(**BATCH, classes=CLASSES)
    values, likelihood, prior, posterior = tables(model)
    agrees = consistent(values)
    joint = (likelihood + prior).masked_fill(~agrees, -torch.inf)
    log_known = posterior.masked_fill(~agrees, -torch.inf).logsumexp(0)
    restricted = (posterior - log_known).masked_fill(~agrees, -torch.inf)
    gap = 0.0
    if objective == "elbo":
        true_posterior = joint.log_softmax(0)
        gap = torch.where(agrees, restricted.exp() * (restricted - true_posterior).masked_fill(~agrees, 0.0), 0.0).sum(0)
    torch.testing.assert_close(output.row_loss, -joint.logsumexp(0) + gap - 0.7 * log_known)
    torch.testing.assert_close(output.reconstruction + output.kl, -joint.logsumexp(0) + gap)


def test_labelled_and_unlabelled_rows_are_averaged_apart():
    model = model_of(unlabelled_weight=0.5)
    output = model(**BATCH, classes=CLASSES)
    rows = output.row_loss
    torch.testing.assert_close(output.loss, rows[1:].mean() + 0.5 * rows[:1].mean())
    torch.testing.assert_close(model(**BATCH, classes=torch.full_like(CLASSES, -1)).loss, 0.5 * model(**BATCH).loss)
    parts = [
        model(**{name: value[part] for name, value in BATCH.items()}, classes=CLASSES[part], row_counts=RowCounts(4, 1)).loss
        for part in (slice(0, 3), slice(3, 5))
    ]
    torch.testing.assert_close(sum(parts), output.loss)


def test_a_batch_whose_classes_are_all_known_is_decoded_once(monkeypatch):
    model, seen = model_of(), []
    decode = type(model.conditioning).decode

    def watched(self, decoder, input_ids, *args, **kwargs):
        seen.append(len(input_ids))
        return decode(self, decoder, input_ids, *args, **kwargs)

    monkeypatch.setattr(type(model.conditioning), "decode", watched)
    known = torch.tensor([[0, 1]]).expand(5, -1)
    output = model(**BATCH, classes=known)
    assert seen == [5]
    values, likelihood, prior, posterior = tables(model)
    at = int((values == known[0]).all(1).nonzero())
    torch.testing.assert_close(output.row_loss, -likelihood[at] - prior[at] - posterior[at])


ESTIMATORS = [
    (objective, estimator)
    for objective, estimators in OBJECTIVES["discrete"].items()
    for estimator in estimators
    if (objective, estimator) != ("elbo", "exact")
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("objective", "estimator"), ESTIMATORS)
def test_every_estimator_trains_it_by_its_string_with_and_without_classes(objective, estimator, dtype):
    bits = {"num_classes": 2} if estimator == "disarm" else {}
    model = model_of(dtype, objective=objective, estimator=estimator, num_samples=4, **bits).train()
    some = CLASSES.clamp(max=1) if bits else CLASSES
    for classes in (None, some, torch.zeros_like(CLASSES)):
        output = model(**BATCH, classes=classes, generator=row_generators(5))
        model.zero_grad()
        output.loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert torch.isfinite(output.loss) and all(torch.isfinite(gradient).all() for gradient in gradients.values())
        heard = gradients.get("posterior_head.logits.weight")
        # By the marginal likelihood alone no encoder is trained; known classes train it.
        assert (objective == "marginal" and classes is None) == (heard is None or not heard.any())
    assert output.logits.shape == (5, BATCH["labels"].shape[1], 23)


@pytest.mark.parametrize("estimator", ["reinforce_moving_average", "reinforce_learned", "relax"])
def test_a_batch_whose_classes_are_all_known_still_takes_part_in_the_average_over_processes(estimator, monkeypatch):
    model, served = model_of(estimator=estimator, num_samples=2).train(), []
    average = next(module for module in model.estimator.modules() if isinstance(module, MovingAverageBaseline))
    monkeypatch.setattr(average, "update", lambda scores: served.append(scores.numel()))
    for classes in (CLASSES, torch.zeros_like(CLASSES)):
        model(**BATCH, classes=classes, generator=row_generators(5))
    model.eval()(**BATCH, classes=torch.zeros_like(CLASSES))
    assert served == [2 * 5, 0]


@torch.no_grad()
@pytest.mark.parametrize("estimator", ["gumbel_softmax", "straight_through"])
def test_in_evaluation_a_relaxed_model_reports_the_discrete_bound(estimator):
    model = model_of(estimator=estimator, num_samples=400)
    output = model(**BATCH)
    assert not output.latents.is_floating_point()
    exact = model_of()(**BATCH)
    torch.testing.assert_close(output.kl, exact.kl)
    torch.testing.assert_close(output.reconstruction, exact.reconstruction, rtol=0.02, atol=0)
    assert model.train()(**BATCH).latents.shape == (5, 2, 4)


@torch.no_grad()
def test_what_is_reported_under_minimum_risk_is_the_elbo_of_q_in_the_mean():
    """Two samples of twelve values, equal ones counted twice: renormalised they would be above log p(x)."""
    model, times = model_of(objective="minimum_risk", estimator=None, num_samples=2), 2000
    many = {name: value.repeat(times, 1) for name, value in BATCH.items()}
    found, exact = model(**many, generator=torch.Generator().manual_seed(0)), model_of()(**BATCH)
    each = found.reconstruction.view(times, -1)
    error = each.std(0) / times**0.5
    assert ((each.mean(0) - exact.reconstruction).abs() < 4 * error).all()
    torch.testing.assert_close(found.kl.view(times, -1)[0], exact.kl)
    reference = torch.tensor([[3, 2]]).expand(5, -1)
    beside = model(**BATCH, reference=reference, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(beside.latents, reference)


def test_settings_that_go_with_nothing_are_refused():
    model = model_of(objective="elbo")
    with pytest.raises(ValueError, match="A reference is a candidate of 'minimum_risk'"):
        model(**BATCH, reference=torch.zeros(5, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="must be positive, but is -1"):
        model(**BATCH, temperature=-1.0)
    with pytest.raises(ValueError, match="no value of z"):
        model_of(objective="minimum_risk", estimator=None, num_samples=2)(**BATCH, reference=CLASSES)


@torch.no_grad()
def test_the_mode_of_q_on_request():
    model = model_of(estimator="rloo", num_samples=2)
    output = model(**BATCH, sample_posterior=False)
    torch.testing.assert_close(output.latents, output.posterior.mode)


def test_free_bits_hold_up_the_kl_of_each_variable():
    model = model_of()
    plain = model(**BATCH)
    held = model(**BATCH, free_bits=0.5, free_bits_mode="per_dimension")
    expected = plain.reconstruction + plain.kl_per_dimension.clamp(min=0.5).sum(1)
    torch.testing.assert_close(held.loss, expected.mean())
    torch.testing.assert_close(held.kl, plain.kl)
