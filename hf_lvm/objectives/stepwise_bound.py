"""The ELBO of sequences, each step of which is judged by what comes of it, and not by what came before.

    E_q[log p(x|z)]  +  w sum over t of E_q[log p(z_t | z_<t) - log q(z_t | z_<t, x)]

The same value as that of `discrete_bound` and a gradient of the same mean; see `ScoreFunctionDraws.expectation_by_steps`.
"""

import torch

from hf_lvm.estimators.score_function import ScoreFunctionDraws
from hf_lvm.objectives.discrete_bound import BoundTerms


def stepwise_bound(
    draws: ScoreFunctionDraws,
    log_likelihood: torch.Tensor,
    step_log_prior: torch.Tensor,
    step_log_posterior: torch.Tensor,
    *,
    kl_weight: float = 1.0,
) -> BoundTerms:
    """The terms of the objective `elbo` from sequences that were drawn and scored.

    Args:
        draws: of an estimator with a score function.
        log_likelihood: (R, B), log p(x|z) of `draws.latents`.
        step_log_prior: (R, B, T), log p of each step; 0 behind an end.
        step_log_posterior: (R, B, T), log q of each step, likewise, with its gradient.
        kl_weight: of the KL term, in the loss and in the learning signal alike.

    Raises:
        ValueError: draws that have no score function.
    """
    if not isinstance(draws, ScoreFunctionDraws):
        raise ValueError(
            f"{type(draws).__name__} have no signal that steps could share: credit for each step is for a score function, "
            "such as 'rloo'."
        )
    log_ratio = step_log_prior - step_log_posterior.detach()
    loss = -draws.expectation_by_steps(log_likelihood, kl_weight * log_ratio, step_log_posterior)
    kl = -draws.mean(log_ratio.detach().sum(-1))
    return BoundTerms(loss, -draws.mean(log_likelihood.detach()), kl)
