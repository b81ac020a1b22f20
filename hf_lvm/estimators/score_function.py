"""The score function, or REINFORCE: d E_q[f(z)] = E_q[(f(z) - b) d log q(z)] (Williams 1992).

It asks nothing of f, which may be a decoder, a parser or a game, and nothing of q but samples and their log-probability. Its
price is variance, which the baseline b brings down: none, a moving average, one learned from x, the score of the most probable
value, or the mean of the other samples. See `hf_lvm.estimators.baselines`.
"""

from typing import ClassVar

import torch
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators
from hf_lvm.estimators.base import Estimator, check_methods
from hf_lvm.estimators.baselines import (
    LearnedBaseline,
    LeaveOneOutBaseline,
    MovingAverageBaseline,
    NoBaseline,
    SelfCriticalBaseline,
)
from hf_lvm.estimators.draws import Draws, value_and_gradient


class ScoreFunction(Estimator):
    """A score-function estimator with a baseline."""

    def __init__(self, baseline: NoBaseline | None = None):
        super().__init__()
        self.baseline = NoBaseline() if baseline is None else baseline

    def draw(
        self,
        posterior: Distribution,
        num_samples: int,
        generator: Generators = None,
        features: torch.Tensor | None = None,
        temperature: float | None = None,
    ) -> Draws:
        """K samples of q(z|x), and behind them its mode where the baseline needs its score.

        Raises:
            ValueError: one sample for a baseline of the others, or a posterior without a mode where it is needed.
        """
        check_num_samples(self, num_samples)
        latents = posterior.sample((num_samples,), generator)
        if self.baseline.uses_mode:
            check_methods(posterior, "reinforce_self_critical", "mode")
            latents = torch.cat([latents, posterior.mode.unsqueeze(0)])
        features = None if features is None else features.detach()
        return ScoreFunctionDraws(latents, posterior, num_samples, self.baseline, features)


class ScoreFunctionDraws(Draws):
    """K samples, behind them the mode where it serves as the baseline."""

    def __init__(self, latents, posterior, num_samples: int, baseline: NoBaseline, features: torch.Tensor | None):
        super().__init__(latents, posterior)
        self.num_samples = num_samples
        self.baseline = baseline
        self.features = features

    @property
    def log_posterior(self) -> torch.Tensor:
        return self.log_prob.detach()

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values[: self.num_samples].mean(0)

    def expectation(self, scores: torch.Tensor) -> torch.Tensor:
        signal = scores[: self.num_samples].detach()
        mode_score = scores[-1].detach() if self.baseline.uses_mode else None
        baseline, error = self.baseline(signal, mode_score, self.features)
        score_function = ((signal - baseline) * self.log_prob[: self.num_samples]).mean(0)
        if error is not None:
            score_function = score_function - error
        if self.baseline.training and torch.is_grad_enabled():
            self.baseline.update(signal)
        return value_and_gradient(self.mean(scores), score_function)


def check_num_samples(estimator: Estimator, num_samples: int) -> None:
    """Raise a `ValueError` when there are fewer samples than the estimator needs."""
    needed = max(estimator.min_samples, getattr(getattr(estimator, "baseline", None), "min_samples", 1))
    if num_samples < needed:
        raise ValueError(
            f"{type(estimator).__name__} needs num_samples of {needed} or more, but has {num_samples}: set num_samples to "
            f"{max(needed, 4)}, or choose an estimator that goes with one sample, such as 'reinforce_moving_average'."
        )


class Reinforce(ScoreFunction):
    """The estimator `reinforce`: no baseline."""


class ReinforceMovingAverage(ScoreFunction):
    """The estimator `reinforce_moving_average`."""

    config_options: ClassVar[dict[str, str]] = {"baseline_decay": "decay"}

    def __init__(self, decay: float = 0.9):
        super().__init__(MovingAverageBaseline(decay))


class ReinforceLearned(ScoreFunction):
    """The estimator `reinforce_learned`."""

    config_options: ClassVar[dict[str, str]] = {"baseline_decay": "decay", "feature_size": "feature_size"}

    def __init__(self, feature_size: int, decay: float = 0.9):
        super().__init__(LearnedBaseline(feature_size, decay))


class ReinforceSelfCritical(ScoreFunction):
    """The estimator `reinforce_self_critical`."""

    def __init__(self):
        super().__init__(SelfCriticalBaseline())


class ReinforceLeaveOneOut(ScoreFunction):
    """The estimator `rloo`."""

    min_samples = 2

    def __init__(self):
        super().__init__(LeaveOneOutBaseline())
