"""How far a gradient estimator is from the exact gradient, and how much it scatters around it."""

import time
from collections.abc import Callable

import torch
from scipy.special import fdtrc

from hf_lvm.analysis.estimator_check.exact import BUDGET, exact_loss
from hf_lvm.analysis.estimator_check.learning import hold, warm_up
from hf_lvm.analysis.estimator_check.problems import Problem
from hf_lvm.analysis.estimator_check.row import EstimatorRow, is_biased_by_nature, name_of
from hf_lvm.estimators import Estimator, build_estimator
from hf_lvm.objectives import discrete_bound, draw_for


def check_estimator(
    problem: Problem,
    objective: str,
    estimator: str | Estimator | None,
    num_samples: int,
    *,
    draws: int = 100_000,
    chunk: int = 10_000,
    kl_weight: float = 1.0,
    seed: int = 0,
    posterior_only: bool = False,
    warm_up_draws: int = 0,
    warm_up_steps: int = 100,
    learning_rate: float = 0.01,
    on_progress: Callable[[int], None] | None = None,
    **options,
) -> EstimatorRow:
    """Compare the mean of many independent estimates of a toy with the exact gradient, in float64; see also `check_model`.

    The statistic of the row is Hotelling's T^2 over all parameters.

    Args:
        problem: what gradient.
        objective: `elbo`, `marginal`, `iwae` or `minimum_risk`; the exact gradient is that of this very objective.
        estimator: a name in `ESTIMATORS`, or one of your own; None for `minimum_risk`.
        num_samples: K.
        draws: independent estimates.
        chunk: estimates made at once.
        posterior_only: look at the parameters of q alone, whose gradient is what estimators differ in.
        warm_up_draws: estimates in each of `warm_up_steps` updates that an estimator with a baseline of its own, or a control
            variate, is given to learn first. Afterwards it is held fixed.
        options: of the estimator, by the keys of a model's config.

    Raises:
        ValueError: there is no exact gradient to compare with, or an unknown name.
    """
    if not isinstance(estimator, Estimator) and estimator is not None:
        estimator = build_estimator(estimator, **{"enumeration_budget": BUDGET, **options})
    generator = torch.Generator().manual_seed(seed)

    def estimates(rows: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        parameters = problem.start.repeat(rows, 1).requires_grad_()
        features = parameters.new_ones(rows, 1)
        loss, scored = _loss(problem, parameters, objective, estimator, num_samples, generator, kl_weight, features)
        return parameters, loss, scored

    if estimator is not None and warm_up_draws:
        warm_up(estimator, lambda: estimates(warm_up_draws)[1].mean(), warm_up_steps, learning_rate)
    if estimator is not None:
        hold(estimator)
    exact = exact_gradient(problem, objective, num_samples, kl_weight)
    kept = slice(0, problem.num_posterior_parameters) if posterior_only else slice(None)
    exact = exact[kept]
    total, outer, seconds, done = torch.zeros_like(exact), exact.new_zeros(len(exact), len(exact)), 0.0, 0
    scored, cosines = 0, 0.0
    while done < draws:
        rows = min(chunk, draws - done)
        started = time.perf_counter()
        parameters, loss, scored = estimates(rows)
        (gradient,) = torch.autograd.grad(loss.sum(), parameters)
        seconds += time.perf_counter() - started
        gradient = gradient[:, kept]
        cosines += torch.nn.functional.cosine_similarity(gradient, exact.unsqueeze(0)).sum().item()
        deviation = gradient - exact
        total += deviation.sum(0)
        outer += deviation.T @ deviation
        done += rows
        if on_progress is not None:
            on_progress(rows)
    mean = total / draws
    covariance = outer / draws - torch.outer(mean, mean)
    norm = exact.norm()
    # Directions without scatter and without bias (a shift of all logits) are no evidence for or against.
    values, vectors = torch.linalg.eigh(covariance)
    scatters = values > 1e-20 * norm**2
    along = vectors.T @ mean
    statistic = (draws * along[scatters].square() / values[scatters]).sum().item() if scatters.any() else 0.0
    degrees = int(scatters.sum())
    return EstimatorRow(
        problem=problem.name,
        objective=objective,
        estimator=name_of(estimator),
        num_samples=num_samples,
        scored_latents=scored,
        draws=draws,
        relative_bias=(mean.norm() / norm).item(),
        standard_error=((covariance.trace().clamp(min=0) / draws).sqrt() / norm).item(),
        cosine=torch.nn.functional.cosine_similarity(mean + exact, exact, dim=0).item(),
        cosine_of_one=cosines / draws,
        variance=(covariance.trace() / norm**2).item(),
        statistic=statistic,
        degrees_of_freedom=degrees,
        p_value=_p_value(statistic, degrees, draws),
        is_biased=is_biased_by_nature(estimator),
        seconds=1000 * seconds / draws,
    )


def exact_gradient(problem: Problem, objective: str, num_samples: int = 1, kl_weight: float = 1.0) -> torch.Tensor:
    """The gradient of the loss, summed over all values of z, or all sets of K samples: (P,) in float64.

    The risk is that of `minimum_risk` over the full support, at sharpness 1.

    Raises:
        ValueError: too many sets of samples to sum over.
    """
    parameters = problem.start.clone().unsqueeze(0).requires_grad_()
    posterior = problem.posterior(parameters)
    log_likelihood = problem.log_likelihood(parameters, posterior.enumerate_support())
    loss = exact_loss(
        objective, posterior, problem.prior(parameters), log_likelihood, num_samples=num_samples, kl_weight=kl_weight
    )
    return torch.autograd.grad(loss.sum(), parameters)[0].squeeze(0)


def _loss(problem, parameters, objective, estimator, num_samples, generator, kl_weight, features):
    posterior, prior = problem.posterior(parameters), problem.prior(parameters)
    draws = draw_for(objective, estimator, posterior, num_samples, generator, features=features)
    log_likelihood = problem.log_likelihood(parameters, draws.latents)
    terms = discrete_bound(objective, draws, log_likelihood, prior, kl_weight=kl_weight)
    return terms.loss, draws.latents.shape[0]


def _p_value(statistic: float, degrees: int, draws: int) -> float:
    """How often chance brings a `statistic` so large: Hotelling's, whose covariance is estimated from the same draws."""
    if degrees == 0 or draws <= degrees:
        return 1.0
    return float(fdtrc(degrees, draws - degrees, statistic * (draws - degrees) / (draws * degrees)))
