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
    """K samples, followed by the mode where it serves as the baseline."""

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
        centred, error = self._centred(scores.detach())
        score_function = self.mean(centred * self.log_prob[: self.num_samples])
        if error is not None:
            score_function = score_function - error
        self._update_baseline(scores)
        return value_and_gradient(self.mean(scores), score_function)

    def expectation_by_steps(
        self, scores: torch.Tensor, step_scores: torch.Tensor, step_log_probs: torch.Tensor
    ) -> torch.Tensor:
        """An estimate of E_q[f(z) + sum over t of g_t(z_1..z_t)] of sequences: (B,), with credit for each step.

        Each step is judged by f and by the g of itself and of later steps. Earlier ones do not depend on it, and would only
        add to the variance. The gradient has the same mean as that of `expectation`.

            d E[...] = E[ sum over t of (f + sum over s >= t of g_s - b_t) d log q(z_t | z_<t) ]

        Baselines made of other samples or of the mode are those of the same step; a moving average or a learned one is that of
        the whole score for all steps. Steps behind an end have a log q of 0, and so no part in it.

        Args:
            scores: (R, B), f of each of `latents`.
            step_scores: (R, B, T), g of each step.
            step_log_probs: (R, B, T), log q of each step, whose sum over T is `log_prob`, with a gradient.
        """
        to_go = scores.unsqueeze(-1) + step_scores.flip(-1).cumsum(-1).flip(-1)
        score_function = torch.zeros_like(self.mean(scores))
        for step, signal in enumerate(to_go.detach().unbind(-1)):
            centred, error = self._centred(signal)
            score_function = score_function + self.mean(centred * step_log_probs[: self.num_samples, :, step])
            if error is not None and step == 0:
                score_function = score_function - error
        self._update_baseline(to_go[..., 0])
        return value_and_gradient(self.mean(to_go[..., 0]), score_function)

    def _centred(self, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the samples are judged by, (K, B), and how well the baseline fits, from signals (R, B)."""
        own = signal[: self.num_samples]
        baseline, error = self.baseline(own, signal[-1] if self.baseline.uses_mode else None, self.features)
        centred = own - baseline
        return (centred if self.signal_clip is None else centred.clamp(min=self.signal_clip)), error

    def _update_baseline(self, scores: torch.Tensor) -> None:
        if self.baseline.training and torch.is_grad_enabled():
            self.baseline.update(self._counted(scores.detach()))

    def _counted(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores (R, B) that a moving average takes in: those of samples."""
        return scores[: self.num_samples]


class Reinforce(ScoreFunction):
    """The estimator `reinforce`: no baseline."""

    name = "reinforce"


class ReinforceMovingAverage(ScoreFunction):
    """The estimator `reinforce_moving_average`."""

    name = "reinforce_moving_average"
    config_options: ClassVar[dict[str, str]] = {"baseline_decay": "decay", "baseline_groups": "num_groups"}

    def __init__(self, decay: float = 0.9, num_groups: int = 1):
        super().__init__(MovingAverageBaseline(decay, num_groups))


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
