"""What estimators of discrete latents draw, report and refuse."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from hf_lvm.distributions import CategoricalVector, NormalizingFlow
from hf_lvm.estimators import ESTIMATORS, build_estimator, check_temperature_schedule, temperature_at
from hf_lvm.estimators.relax import conditional_gumbels
from hf_lvm.estimators.vimco import what_each_adds

OPTIONS = {"feature_size": 2, "num_variables": 2, "num_classes": 2, "enumeration_budget": 16}
DISCRETE = [name for name in ESTIMATORS if name not in ("reparameterization", "dreg")]
FEATURES = torch.ones(3, 2)


def bits(*shape: int, seed: int = 0) -> CategoricalVector:
    return CategoricalVector(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_())


def scores_of(posterior: CategoricalVector, latents: torch.Tensor) -> torch.Tensor:
    points = latents if latents.is_floating_point() else posterior.one_hot(latents)
    return (points[..., 1] * torch.tensor([2.0, -1.0])).sum(-1) - 5.0


@pytest.mark.parametrize("name", DISCRETE)
def test_the_value_is_that_of_the_discrete_model(name):
    """Within four standard errors over many rows; in training too, except for relaxed samples."""
    posterior = CategoricalVector(bits(1, 2, 2).logits.detach().expand(4_000, -1, -1).clone().requires_grad_())
    estimator, features = build_estimator(name, **OPTIONS), FEATURES[:1].expand(4_000, -1)
    estimator.train(name != "gumbel_softmax")
    draws = estimator.draw(posterior, 2, torch.Generator().manual_seed(1), features=features)
    scores = scores_of(posterior, draws.latents)
    exact = build_estimator("exact").draw(posterior, 1)
    expected = exact.expectation(scores_of(posterior, exact.latents))
    for value in (draws.expectation(scores), draws.mean(scores)):
        assert value.shape == (4_000,)
        error = max((value.std() / 4_000**0.5).item(), 1e-5)
        assert abs((value - expected).mean().item()) < 4 * error


@pytest.mark.parametrize("name", ["gumbel_softmax", "straight_through"])
def test_relaxed_samples_are_relaxed_in_training_and_discrete_outside(name):
    posterior, estimator = bits(3, 2, 2), build_estimator(name, temperature=0.7)
    trained = estimator.draw(posterior, 4, torch.Generator().manual_seed(2)).latents
    estimator.eval()
    evaluated = estimator.draw(posterior, 4, torch.Generator().manual_seed(2)).latents
    assert set(evaluated.unique().tolist()) == {0.0, 1.0} and not evaluated.requires_grad
    assert trained.requires_grad and torch.equal(trained.argmax(-1), evaluated.argmax(-1))
    assert torch.equal(trained, evaluated) is (name == "straight_through")


def test_straight_through_has_the_gradient_of_the_relaxed_sample():
    posterior, weights = bits(3, 2, 2), torch.randn(4, 3, 2, 2)
    gradients = []
    for name in ("gumbel_softmax", "straight_through"):
        latents = build_estimator(name, temperature=0.7).draw(posterior, 4, torch.Generator().manual_seed(2)).latents
        gradients.append(torch.autograd.grad((latents * weights).sum(), posterior.logits, retain_graph=True)[0])
    torch.testing.assert_close(*gradients)


def test_a_learned_temperature_begins_where_it_is_told_and_gets_a_gradient():
    estimator = build_estimator("gumbel_softmax", temperature=0.6, learned_temperature=True, feature_size=2)
    torch.testing.assert_close(estimator.temperature_of(FEATURES), torch.full((3, 1, 1), 0.6))
    latents = estimator.draw(bits(3, 2, 2), 4, torch.Generator().manual_seed(0), features=FEATURES).latents
    (latents**2).sum().backward()
    assert estimator.inverse_temperature.weight.grad.abs().sum() > 0
    overruled = estimator.draw(bits(3, 2, 2), 4, torch.Generator().manual_seed(0), temperature=0.01).latents
    assert overruled.amax(-1).min() > 0.99


def test_exact_topk_with_room_for_all_values_is_exact():
    posterior = bits(3, 2, 2)
    exact = build_estimator("exact").draw(posterior, 1)
    draws = build_estimator("exact_topk").draw(posterior, 4)
    expected = exact.expectation(scores_of(posterior, exact.latents))
    torch.testing.assert_close(draws.expectation(scores_of(posterior, draws.latents)), expected)


def test_exact_topk_survives_a_posterior_that_is_certain():
    posterior = CategoricalVector(torch.tensor([[[0.0, -200.0, -300.0]]], requires_grad=True))
    draws = build_estimator("exact_topk", sampled_of_the_rest=1).draw(posterior, 2)
    value = draws.expectation(torch.tensor([[-3.0], [-90.0]]))
    (gradient,) = torch.autograd.grad(value.sum(), posterior.logits)
    assert value.item() == pytest.approx(-3.0) and gradient.isfinite().all()


def test_impossible_values_count_for_nothing():
    logits = torch.tensor([[[0.0, 0.5, -math.inf]]], requires_grad=True)
    draws = build_estimator("exact").draw(CategoricalVector(logits), 1)
    value = draws.expectation(torch.tensor([[-3.0], [-4.0], [-9.0]]) - draws.log_posterior)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.isfinite().all() and gradient.isfinite().all() and gradient[..., 2] == 0


def test_gumbels_given_their_argmax_are_distributed_as_gumbels_that_have_it():
    logits = torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64).log_softmax(-1)
    posterior, generator = CategoricalVector(logits), torch.Generator().manual_seed(4)
    free = posterior.gumbels((60_000,), generator)
    value = posterior.sample((60_000,), generator)
    noise = torch.rand(60_000, 1, 1, 4, generator=generator, dtype=torch.float64)
    given = conditional_gumbels(posterior.logits, value, noise)
    assert torch.equal(given.argmax(-1), value)
    # Averaged over the samples, the conditional distribution is the unconditional one.
    for moment in (1, 2, 3):
        ours, theirs = (given**moment).flatten(0, 2), (free**moment).flatten(0, 2)
        error = (ours.var(0) + theirs.var(0)).div(60_000).sqrt()
        assert ((ours.mean(0) - theirs.mean(0)).abs() < 4.5 * error).all()


def test_what_a_sample_adds_to_a_bound_is_its_share_against_the_others_geometric_mean():
    log_weights = torch.tensor([[-1.0], [-3.0], [-2.0]], dtype=torch.float64)
    adds = what_each_adds(log_weights)
    for own in range(3):
        others = [value.item() for index, value in enumerate(log_weights[:, 0]) if index != own]
        without = [*others, sum(others) / 2]
        expected = math.log(sum(map(math.exp, log_weights[:, 0].tolist()))) - math.log(sum(map(math.exp, without)))
        assert adds[own].item() == pytest.approx(expected)


def test_a_control_variate_is_trained_by_the_loss_and_leaves_its_value_alone():
    estimator, posterior = build_estimator("relax", **(OPTIONS | {"feature_size": 0})), bits(3, 2, 2)
    draws = estimator.draw(posterior, 4, torch.Generator().manual_seed(0))
    scores = scores_of(posterior, draws.latents)
    value = draws.expectation(scores)
    torch.testing.assert_close(value, scores.mean(0))
    value.sum().backward()
    assert estimator.network[-1].weight.grad.abs().sum() > 0
    with torch.no_grad():
        torch.testing.assert_close(draws.expectation(scores), scores.mean(0))


@pytest.mark.parametrize("schedule", ["linear", "exponential"])
def test_temperatures_fall_from_one_end_to_the_other(schedule):
    way = [temperature_at(step, 100, schedule=schedule, start=2.0, end=0.5) for step in range(0, 151, 25)]
    assert way[0] == 2.0 and way[-1] == way[-2] == way[-3] == 0.5
    assert way[:5] == sorted(way[:5], reverse=True)
    assert way[2] == pytest.approx(1.25 if schedule == "linear" else 1.0)
    assert temperature_at(70, 100, schedule="constant", start=0.9) == 0.9


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (lambda: build_estimator("reinforec"), "Unknown estimator 'reinforec': choose one of"),
        (
            lambda: build_estimator("exact", enumeration_budget=3).draw(bits(3, 2, 2), 1),
            "all 4 values .*_budget is 3: raise it",
        ),
        (lambda: build_estimator("exact", enumeration_budget=0), "enumeration_budget must be at least 1, but is 0"),
        (lambda: build_estimator("exact").draw(Independent(Normal(torch.zeros(2, 3), 1.0), 1), 1), "needs a posterior with"),
        (lambda: build_estimator("rloo").draw(bits(3, 2, 2), 1), "num_samples of 2 or more, but has 1"),
        (lambda: build_estimator("vimco").draw(bits(3, 2, 2), 1), "num_samples of 2 or more, but has 1"),
        (lambda: build_estimator("exact_topk").draw(bits(3, 2, 2), 1), "num_samples of 2 or more, but has 1"),
        (
            lambda: build_estimator("exact_topk", sampled_of_the_rest=3).draw(bits(3, 2, 2), 3),
            "draws 3 of the rest .* leaves none to sum",
        ),
        (lambda: build_estimator("disarm").draw(bits(3, 2, 3), 2), "is for binary latents, and these have 3 classes"),
        (lambda: build_estimator("disarm").draw(bits(3, 2, 2), 3), "set num_samples to an even number, not 3"),
        (lambda: build_estimator("gumbel_softmax", temperature=0.0), "must be positive, but is 0.0"),
        (lambda: build_estimator("straight_through").draw(bits(3, 2, 2), 1, temperature=-1.0), "must be positive, but is -1"),
        (lambda: build_estimator("relax", **OPTIONS).draw(bits(3, 2, 2), 1), "pass features"),
        (lambda: build_estimator("gumbel_softmax", learned_temperature=True), "give feature_size"),
        (lambda: build_estimator("gumbel_softmax").draw(bits(3, 2, 2), 1).log_posterior, "no probability under the discrete"),
        (lambda: check_temperature_schedule("cosine", 1.0, 0.5), "Unknown temperature_schedule 'cosine'"),
        (lambda: check_temperature_schedule("linear", 1.0, None), "needs a temperature_end"),
        (lambda: check_temperature_schedule("constant", 1.0, 0.5), "has no use for a temperature_end of 0.5"),
        (lambda: check_temperature_schedule("exponential", 1.0, 0.0), "must be positive, but is 0.0"),
        (lambda: temperature_at(0, 0, schedule="linear", start=1.0, end=0.5), "over 1 step or more, but got total_steps 0"),
    ],
)
def test_refusals(refused, said):
    with pytest.raises(ValueError, match=said):
        refused()


class CountedMode(CategoricalVector):
    """A posterior that counts how often its mode is looked for."""

    searches = 0

    @property
    def mode(self) -> torch.Tensor:
        self.searches += 1
        return super().mode


def test_the_mode_is_looked_for_once():
    """It may be a greedy search through a decoder; whether a posterior has one is asked without it."""
    posterior = CountedMode(torch.zeros(3, 2, 2))
    build_estimator("reinforce_self_critical").draw(posterior, 2)
    assert posterior.searches == 1


@pytest.mark.parametrize(
    ("name", "missing"), [("reinforce_self_critical", "mode"), ("exact", "enumerate_support"), ("relax", "logits")]
)
def test_what_torch_only_declares_is_missing(name, missing):
    with pytest.raises(ValueError, match=f"'{name}' needs a posterior with {missing}, and NormalizingFlow has none"):
        build_estimator(name, **OPTIONS).draw(NormalizingFlow([], 3, 2), 2)
