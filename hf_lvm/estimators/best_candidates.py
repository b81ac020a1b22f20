"""The K best values of q in the place of samples, as in the code of Yin et al. (2018), which calls the beam "samples".

    1/K sum over the K best z of  (f(z) - b) d log q(z|x)  +  d log p(x, z)

This is biased, both its value and its gradient. Each of the K best counts alike, however probable it is, and all other values
count nothing, so that the value estimates no expectation under q and is no bound. The gradient of q is that of a sum of log q
over a fixed set, times the signal: E_q[d log q] = 0 does not hold for it, so a baseline changes not only its variance but what
it is the gradient of; and where f - b > 0 for all K it is self-training, towards whatever the beam has found. With K no less
than the number of values q has, sum q d log q f becomes 1/K sum d log q f: the bias does not go away.

Measured without a baseline on the grammar of `tests/models/struct_vae/test_objectives.py`, which has 14 trees: 5 candidates
are off by 20 times the length of the exact gradient, at a cosine of .74 to it, and all of them by 26 times, at one of .06.
"""

import torch
from torch.distributions import Distribution

from hf_lvm.estimators.baselines import LeaveOneOutBaseline
from hf_lvm.estimators.score_function import ScoreFunction, ScoreFunctionDraws


def draw_best(
    estimator: ScoreFunction,
    posterior: Distribution,
    num_candidates: int,
    features: torch.Tensor | None = None,
) -> "BestDraws":
    """The K best values that a beam of K finds, with the baseline and the clip of a score function.

    Args:
        estimator: whose baseline is subtracted.
        posterior: q(z|x), with a `beam`.
        num_candidates: K. A row with fewer values has only these.
        features: (B, H), for a baseline that learns from them.

    Raises:
        ValueError: a baseline that is made of other samples, or of the most probable value.
    """
    if isinstance(estimator.baseline, LeaveOneOutBaseline) or estimator.baseline.uses_mode:
        raise ValueError(
            f"The estimator {estimator.name!r} judges samples by others or by the mode, and the best of a beam are no "
            "samples: choose 'reinforce_learned', 'reinforce_moving_average' or 'reinforce'."
        )
    found = posterior.beam(num_candidates)
    exists = found.log_prob > -torch.inf
    # What is not there is scored as the best one, and not counted.
    latents = torch.where(exists.unsqueeze(-1), found.sequences, found.sequences[:1])
    features = None if features is None else features.detach()
    return BestDraws(latents, posterior, exists, estimator, features)


class BestDraws(ScoreFunctionDraws):
    """The best values of each row, each that exists counted alike."""

    def __init__(
        self,
        latents: torch.Tensor,
        posterior: Distribution,
        exists: torch.Tensor,
        estimator: ScoreFunction,
        features: torch.Tensor | None,
    ):
        super().__init__(latents, posterior, len(latents), estimator.baseline, features, estimator.signal_clip)
        self.exists = exists

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values.masked_fill(~self.exists, 0.0).sum(0) / self.exists.sum(0)

    def _counted(self, scores: torch.Tensor) -> torch.Tensor:
        return scores[self.exists]
