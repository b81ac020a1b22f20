"""Every estimator by name: what it draws has the right shape, its value is the bound, and a row's bound is its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_lvm.distributions import CategoricalVector, DiagonalGaussian
from hf_lvm.estimators import ESTIMATORS, TEMPERATURE_SCHEDULES, build_estimator, temperature_at
from hf_lvm.objectives import (
    closed_form_kl,
    discrete_bound,
    draw_for,
    estimate_from_log_weights,
    importance_weighted_bound,
    log_importance_weights,
)
from tests.hardening.examples import close, examples, few_examples

CONTINUOUS = {"reparameterization", "dreg"}
RELAXED = {"gumbel_softmax", "straight_through"}  # points of simplices, which have no log q
K_SAMPLES = {"vimco", "dreg"}
SEEDS = st.lists(st.integers(0, 10**6), min_size=1, max_size=4)
VARIABLES, FEATURES = 2, 3


def numbers(seeds: list[int], more: int, *shape: int) -> torch.Tensor:
    """(B, *shape), each row from its own seed."""
    rows = [
        torch.randn(shape, generator=torch.Generator().manual_seed(31 * seed + more), dtype=torch.float64) for seed in seeds
    ]
    return torch.stack(rows).requires_grad_()


def terms_of(name: str, seeds: list[int], samples: int, kl_weight: float = 1.0):
    """The loss of each row, what it is made of, and parameters of q, of the likelihood and of the prior."""
    classes = 2 if name == "disarm" else 3
    if name in CONTINUOUS:
        parameters = [numbers(seeds, place, VARIABLES) for place in range(4)]
        q, p = (DiagonalGaussian(mean, (0.3 * scale).exp()) for mean, scale in (parameters[:2], parameters[2:]))
    else:
        parameters = [numbers(seeds, place, VARIABLES, classes) for place in range(2)]
        q, p = map(CategoricalVector, parameters)
    torch.manual_seed(0)
    options = {"num_variables": VARIABLES, "num_classes": classes, "feature_size": FEATURES}
    estimator = build_estimator(name, **options).double()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    objective = "iwae" if name in K_SAMPLES else "elbo"
    features = numbers(seeds, 7, FEATURES).detach()
    draws = draw_for(objective, estimator, q, samples, generators, features=features)
    weights = numbers(seeds, 8, VARIABLES, *([] if name in CONTINUOUS else [classes]))
    points = draws.latents if draws.latents.is_floating_point() else q.one_hot(draws.latents)
    log_likelihood = (points * weights).tanh().flatten(2).sum(-1) - 3.0
    if name in CONTINUOUS and objective == "iwae":
        log_weights = log_importance_weights(log_likelihood, p.log_prob(draws.latents), draws.log_posterior)
        loss, reconstruction, kl = -importance_weighted_bound(draws.surrogate(log_weights)), None, None
    else:
        terms = discrete_bound(objective, draws, log_likelihood, p, kl_weight=kl_weight)
        loss, reconstruction, kl = terms.loss, terms.reconstruction, terms.kl
    return loss, reconstruction, kl, draws, (q, p, log_likelihood), [*parameters, weights]


@pytest.mark.parametrize("name", ESTIMATORS)
@few_examples
@given(seeds=SEEDS, samples=st.sampled_from([2, 4]), kl_weight=st.sampled_from([0.0, 0.5, 1.0]))
def test_the_value_is_the_bound_and_a_row_is_the_same_alone(name, seeds, samples, kl_weight):
    loss, reconstruction, kl, draws, (q, p, log_likelihood), parameters = terms_of(name, seeds, samples, kl_weight)
    assert loss.shape == (len(seeds),) and loss.isfinite().all() and loss.dtype == torch.float64
    assert draws.latents.shape[1] == len(seeds)
    assert name in RELAXED or draws.log_prob.shape == draws.latents.shape[:2]
    if name in K_SAMPLES:
        weight = 1.0 if name == "dreg" else kl_weight
        log_weights = log_likelihood + weight * (p.log_prob(draws.latents) - q.log_prob(draws.latents))
        close(loss, -importance_weighted_bound(log_weights), 1e-9)
    else:
        close(kl, closed_form_kl(q, p).kl, 1e-9)
        close(loss, reconstruction + kl_weight * kl, 1e-9)
        close(reconstruction, draws.mean(-log_likelihood), 1e-9)
    # A mean of what is the same everywhere is that.
    constant = torch.full(draws.latents.shape[:2], 2.5, dtype=torch.float64)
    close(draws.mean(constant), constant[0], 1e-9)
    close(draws.expectation(constant), constant[0], 1e-9)
    if name == "exact":
        probabilities = q.log_prob(draws.latents).exp()
        assert len(draws.latents) == q.support_size
        close(reconstruction, -(probabilities * log_likelihood).sum(0), 1e-9)
    gradients = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)
    assert gradients[0] is not None
    row = len(seeds) - 1
    alone = terms_of(name, seeds[row:], samples, kl_weight)
    close(alone[0][0], loss[row], 1e-9)
    if name not in ("relax", "reinforce_learned"):  # whose baselines add the gradient of what they learn from the batch
        (of_row,) = torch.autograd.grad(alone[0].sum(), alone[-1][:1])
        close(of_row[0], gradients[0][row], 1e-9)
    backwards = terms_of(name, seeds[::-1], samples, kl_weight)[0]
    close(backwards.flip(0), loss, 1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_too_few_samples_and_a_posterior_that_lacks_something_are_one_clear_error(name):
    kind = ESTIMATORS[name]
    if kind.min_samples > 1:
        with pytest.raises(ValueError, match="num_samples"):
            kind.check_num_samples(kind.min_samples - 1)
    if kind.needs:
        options = {"num_variables": 1, "num_classes": 2, "feature_size": 1}
        with pytest.raises(ValueError, match="needs a posterior with"):
            build_estimator(name, **options).draw(object(), max(2, kind.min_samples))


@examples
@given(seeds=SEEDS, samples=st.integers(1, 5), shift=st.floats(-50, 50))
def test_an_estimate_of_a_likelihood_lies_between_its_weights(seeds, samples, shift):
    log_weights = numbers(seeds, 0, samples).detach().T
    estimate = estimate_from_log_weights(log_weights, keep_log_weights=True)
    assert (
        (estimate.log_likelihood >= log_weights.mean(0) - 1e-9) & (estimate.log_likelihood <= log_weights.amax(0) + 1e-9)
    ).all()
    assert ((estimate.effective_sample_size >= 1 - 1e-9) & (estimate.effective_sample_size <= samples + 1e-9)).all()
    assert (estimate.standard_error.isinf() == (samples == 1)).all()
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seeds[0]))
    moved = estimate_from_log_weights(log_weights[order] + shift)
    close(moved.log_likelihood, estimate.log_likelihood + shift, 1e-9)
    close(moved.standard_error, estimate.standard_error, 1e-9)
    close(moved.effective_sample_size, estimate.effective_sample_size, 1e-9)


@examples
@given(
    total=st.integers(1, 50), start=st.floats(0.1, 5), end=st.floats(0.1, 5), schedule=st.sampled_from(TEMPERATURE_SCHEDULES)
)
def test_a_temperature_goes_from_start_to_end_and_never_back(total, start, end, schedule):
    end = start if schedule == "constant" else end
    way = [temperature_at(step, total, schedule=schedule, start=start, end=end) for step in range(total + 2)]
    assert way[0] == pytest.approx(start) and way[-1] == way[-2] == pytest.approx(end)
    assert all((later - earlier) * (end - start) >= -1e-12 for earlier, later in zip(way, way[1:], strict=False))
