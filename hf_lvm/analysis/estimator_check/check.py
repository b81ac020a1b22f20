"""How far a gradient estimator is from the exact gradient, and how much it scatters around it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from hf_lvm.analysis.estimator_check.problems import Problem
from hf_lvm.estimators import Estimator, build_estimator
from hf_lvm.objectives import discrete_bound, draw_for

BUDGET = 10_000


@dataclass(frozen=True)
class EstimatorRow:
    """One estimator on one problem.

    Attributes:
        problem, objective, estimator: names.
        num_samples: K, as the estimator was asked.
        scored_latents: values of z that one draw has the decoder score.
        relative_bias: norm of (mean estimate - exact gradient) / norm of the exact gradient.
        standard_error: of `relative_bias`: what it would be about, were there no bias.
        cosine: between the mean estimate and the exact gradient.
        variance: of one draw, summed over parameters, over the squared norm of the exact gradient.
        statistic: Hotelling's T^2 of the mean estimate around the exact gradient; chi-squared if there is no bias.
        degrees_of_freedom: of `statistic`.
        seconds: for a thousand draws, forward and backward.
    """

    problem: str
    objective: str
    estimator: str | None
    num_samples: int
    scored_latents: int
    relative_bias: float
    standard_error: float
    cosine: float
    variance: float
    statistic: float
    degrees_of_freedom: int
    seconds: float

    def as_dict(self) -> dict:
        """The row as a plain dictionary, for JSON."""
        return asdict(self)


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
    """Compare the mean of many independent estimates with the exact gradient, in float64.

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
        _warm_up(estimator, lambda: estimates(warm_up_draws)[1].mean(), warm_up_steps, learning_rate)
    if estimator is not None:
        # Relaxed estimators draw discrete samples outside training; baselines learn inside it.
        estimator.train()
        for module in estimator.modules():
            if hasattr(module, "update"):
                module.eval()
    exact = exact_gradient(problem, objective, num_samples, kl_weight)
    kept = slice(0, problem.num_posterior_parameters) if posterior_only else slice(None)
    exact = exact[kept]
    total, outer, seconds, done = torch.zeros_like(exact), exact.new_zeros(len(exact), len(exact)), 0.0, 0
    scored = 0
    while done < draws:
        rows = min(chunk, draws - done)
        started = time.perf_counter()
        parameters, loss, scored = estimates(rows)
        (gradient,) = torch.autograd.grad(loss.sum(), parameters)
        seconds += time.perf_counter() - started
        deviation = gradient[:, kept] - exact
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
    return EstimatorRow(
        problem=problem.name,
        objective=objective,
        estimator=None if estimator is None else estimator.name,
        num_samples=num_samples,
        scored_latents=scored,
        relative_bias=(mean.norm() / norm).item(),
        standard_error=((covariance.trace().clamp(min=0) / draws).sqrt() / norm).item(),
        cosine=torch.nn.functional.cosine_similarity(mean + exact, exact, dim=0).item(),
        variance=(covariance.trace() / norm**2).item(),
        statistic=statistic,
        degrees_of_freedom=int(scatters.sum()),
        seconds=1000 * seconds / draws,
    )


def exact_gradient(problem: Problem, objective: str, num_samples: int = 1, kl_weight: float = 1.0) -> torch.Tensor:
    """The gradient of the loss, summed over all values of z, or all sets of K samples: (P,) in float64.

    The risk is that of `minimum_risk` over the full support, at sharpness 1.

    Raises:
        ValueError: too many sets of samples to sum over.
    """
    parameters = problem.start.clone().unsqueeze(0).requires_grad_()
    if objective == "iwae":
        loss = -_exact_k_sample_bound(problem, parameters, num_samples, kl_weight)
    else:
        exact = build_estimator("exact", enumeration_budget=BUDGET)
        summed = "elbo" if objective == "minimum_risk" else objective
        loss, _ = _loss(problem, parameters, summed, exact, 1, None, kl_weight)
    return torch.autograd.grad(loss.sum(), parameters)[0].squeeze(0)


def _exact_k_sample_bound(problem: Problem, parameters: torch.Tensor, num_samples: int, kl_weight: float) -> torch.Tensor:
    posterior, prior = problem.posterior(parameters), problem.prior(parameters)
    if posterior.support_size**num_samples > 10 * BUDGET:
        raise ValueError(
            f"The exact K-sample bound sums over {posterior.support_size:,}^{num_samples} sets of samples: take fewer samples."
        )
    values = posterior.enumerate_support()
    log_prob = posterior.log_prob(values)
    log_ratio = prior.log_prob(values) - log_prob
    log_weights = (problem.log_likelihood(parameters, values) + kl_weight * log_ratio).squeeze(-1)
    sets = torch.cartesian_prod(*[torch.arange(posterior.support_size)] * num_samples).view(-1, num_samples)
    bounds = torch.logsumexp(log_weights[sets], -1) - torch.tensor(float(num_samples), dtype=torch.float64).log()
    return (log_prob.squeeze(-1)[sets].sum(-1).exp() * bounds).sum().unsqueeze(0)


def _loss(problem, parameters, objective, estimator, num_samples, generator, kl_weight, features=None):
    posterior, prior = problem.posterior(parameters), problem.prior(parameters)
    draws = draw_for(objective, estimator, posterior, num_samples, generator, features=features)
    log_likelihood = problem.log_likelihood(parameters, draws.latents)
    terms = discrete_bound(objective, draws, log_likelihood, prior, kl_weight=kl_weight)
    return terms.loss, draws.latents.shape[0]


def _warm_up(estimator: Estimator, loss: Callable[[], torch.Tensor], steps: int, learning_rate: float) -> None:
    """Let what an estimator learns settle: buffers by being used, parameters by Adam."""
    estimator.train()
    parameters = list(estimator.parameters())
    optimizer = torch.optim.Adam(parameters, lr=learning_rate) if parameters else None
    for _ in range(steps):
        value = loss()
        if optimizer is not None:
            optimizer.zero_grad()
            value.backward(inputs=parameters)
            optimizer.step()
