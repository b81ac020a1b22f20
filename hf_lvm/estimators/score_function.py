"""The score function, or REINFORCE: d E_q[f(z)] = E_q[(f(z) - b) d log q(z)] (Williams 1992).

It asks nothing of f, which may be a decoder, a parser or a game, and nothing of q but samples and their log-probability. Its
price is variance, which the baseline b brings down: none, a moving average, one learned from x, the score of the most probable
value, or the mean of the other samples. See `hf_lvm.estimators.baselines`.
"""

from typing import ClassVar

import torch
from torch.distributions import Distribution

from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.baselines import (
    LearnedBaseline,
    LeaveOneOutBaseline,
    LinearBaseline,
    MovingAverageBaseline,
    NoBaseline,
    SelfCriticalBaseline,
)
from hf_lvm.estimators.draws import Draws, value_and_gradient


class ScoreFunction(Estimator):
    """A score-function estimator with a baseline.

    Attributes:
        signal_clip: f(z) - b is raised to this where it is less, as in the code of Yin et al. (2018); the gradient is then a
            biased one. None for the signal as it is.
    """

    signal_clip: float | None = None

    def __init__(self, baseline: NoBaseline | None = None):
        super().__init__()
        self.baseline = NoBaseline() if baseline is None else baseline

    def sit_out(self) -> None:
        self.baseline.update(torch.empty(0))

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """K samples of q(z|x), and behind them its mode where the baseline needs its score."""
        latents = posterior.sample((num_samples,), generator)
        if self.baseline.uses_mode:
            latents = torch.cat([latents, posterior.mode.unsqueeze(0)])
        return ScoreFunctionDraws(latents, posterior, num_samples, self.baseline, features, self.signal_clip)


class ScoreFunctionDraws(Draws):
    """K samples, behind them the mode where it serves as the baseline."""

    def __init__(
        self,
        latents: torch.Tensor,
        posterior: Distribution,
        num_samples: int,
        baseline: NoBaseline,
        features: torch.Tensor | None,
        signal_clip: float | None = None,
    ):
        super().__init__(latents, posterior)
        self.num_samples = num_samples
        self.baseline = baseline
        self.features = features
        self.signal_clip = signal_clip

    @property
    def log_posterior(self) -> torch.Tensor:
        return self.log_prob.detach()

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values[: self.num_samples].mean(0)

    def expectation(self, scores: torch.Tensor) -> torch.Tensor:
        signal = scores[: self.num_samples].detach()
        mode_score = scores[-1].detach() if self.baseline.uses_mode else None
        baseline, error = self.baseline(signal, mode_score, self.features)
        centred = signal - baseline
        if self.signal_clip is not None:
            centred = centred.clamp(min=self.signal_clip)
        score_function = (centred * self.log_prob[: self.num_samples]).mean(0)
        if error is not None:
            score_function = score_function - error
        if self.baseline.training and torch.is_grad_enabled():
            self.baseline.update(signal)
        return value_and_gradient(self.mean(scores), score_function)


class Reinforce(ScoreFunction):
    """The estimator `reinforce`: no baseline."""

    name = "reinforce"


class ReinforceMovingAverage(ScoreFunction):
    """The estimator `reinforce_moving_average`."""

    name = "reinforce_moving_average"
    config_options: ClassVar[dict[str, str]] = {"baseline_decay": "decay"}

    def __init__(self, decay: float = 0.9):
        super().__init__(MovingAverageBaseline(decay))


class ReinforceLearned(ScoreFunction):
    """The estimator `reinforce_learned`."""

    name = "reinforce_learned"
    config_options: ClassVar[dict[str, str]] = {
        "baseline_decay": "decay",
        "feature_size": "feature_size",
        "baseline_slope": "slope",
        "baseline_intercept": "intercept",
    }

    def __init__(self, feature_size: int, decay: float = 0.9, slope: float | None = None, intercept: float | None = None):
        """A network of the features, or with a slope and an intercept a line through one feature."""
        if slope is None:
            super().__init__(LearnedBaseline(feature_size, decay))
        else:
            super().__init__(LinearBaseline(slope, intercept or 0.0, decay))


class ReinforceSelfCritical(ScoreFunction):
    """The estimator `reinforce_self_critical`."""

    name = "reinforce_self_critical"
    needs = ("mode",)

    def __init__(self):
        super().__init__(SelfCriticalBaseline())


class ReinforceLeaveOneOut(ScoreFunction):
    """The estimator `rloo`."""

    name = "rloo"
    min_samples = 2

    def __init__(self):
        super().__init__(LeaveOneOutBaseline())
