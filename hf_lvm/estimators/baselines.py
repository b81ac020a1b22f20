"""Baselines: what is subtracted from a score before it weighs the gradient of log q(z).

E_q[b d log q(z)] is zero for every b that does not depend on z itself, so a baseline changes the variance of a
score-function gradient and not its mean. That is why no baseline here ever contains the sample it is subtracted from, and
why the moving average of the scores takes in a batch only after it has served that batch.
"""

from typing import ClassVar

import torch
from torch import nn


class NoBaseline(nn.Module):
    """b = 0: the plain score function."""

    uses_mode: ClassVar[bool] = False

    def forward(
        self, scores: torch.Tensor, mode_score: torch.Tensor | None, features: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The baseline of each sample, and how well it fits.

        Args:
            scores: (K, B) of K independent samples, without a gradient.
            mode_score: (B,), that of the most probable value, where `uses_mode` says so.
            features: (B, H), without a gradient.

        Returns:
            The baseline, which broadcasts to (K, B), without a gradient; and a loss (B,) to train it by, or None.
        """
        return scores.new_zeros(()), None

    def update(self, scores: torch.Tensor) -> None:
        """Take in the scores of a training batch, after the baseline has served them.

        All processes must take part together: one without scores passes an empty tensor.
        """


class LeaveOneOutBaseline(NoBaseline):
    """The mean score of the other K - 1 samples of the same row (Kool et al. 2019; VIMCO's, without its bound)."""

    def forward(self, scores, mode_score, features):
        return (scores.sum(0) - scores) / (scores.shape[0] - 1), None


class SelfCriticalBaseline(NoBaseline):
    """The score of the most probable value, greedily decoded (Rennie et al. 2017, equation 8): one more latent to score."""

    uses_mode = True

    def forward(self, scores, mode_score, features):
        return mode_score, None


class MovingAverageBaseline(NoBaseline):
    """The average score of the training batches before this one, the latest counting most.

    The buffers are saved and resumed with the model, and averaged over processes at every update.

    Args:
        decay: weight of the past in an update. The weights are normalised, so that after the first batch the average is that
            batch's, and not a mean with zeros.
        num_groups: G. The rows of a batch are G groups of equal size, one after the other, each with an average of its own:
            models that train side by side and must not influence each other.
    """

    def __init__(self, decay: float = 0.9, num_groups: int = 1):
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"baseline_decay must be at least 0 and less than 1, but is {decay}.")
        self.decay = decay
        self.num_groups = num_groups
        # Decayed sums of weights, scores and squares: their ratios are averages from the first batch on.
        self.register_buffer("moments", torch.zeros(3) if num_groups == 1 else torch.zeros(3, num_groups))

    def forward(self, scores, mode_score, features):
        mean = self.mean.to(scores.dtype)
        if self.num_groups > 1:
            mean = mean.repeat_interleave(scores.shape[-1] // self.num_groups)
        return mean, None

    @property
    def mean(self) -> torch.Tensor:
        """Scalar, or (G,); 0 before the first batch."""
        return torch.where(self.moments[0] > 0, self.moments[1] / self.moments[0], 0.0)

    @property
    def stddev(self) -> torch.Tensor:
        """Scalar, or (G,); 1 before the first batch."""
        variance = self.moments[2] / self.moments[0] - self.mean.square()
        return torch.where(self.moments[0] > 0, variance.clamp(min=1e-8).sqrt(), 1.0)

    @torch.no_grad()
    def update(self, scores):
        scores = scores.to(self.moments.device, torch.float64)
        if self.num_groups == 1:
            scores = scores.flatten()
        elif scores.numel():
            scores = scores.unflatten(-1, (self.num_groups, -1)).movedim(-2, 0).flatten(1)  # (G, rows and samples)
        else:
            scores = scores.new_zeros(self.num_groups, 0)
        count = scores.new_full(scores.shape[:-1], scores.shape[-1])
        sums = torch.stack([count, scores.sum(-1), scores.square().sum(-1)])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        batch = (sums / sums[0]).to(self.moments.dtype)
        moments = self.decay * self.moments + (1.0 - self.decay) * batch
        self.moments.copy_(torch.where(sums[0] > 0, moments, self.moments))


class LinearBaseline(MovingAverageBaseline):
    """b = a f + c of one number f that is known of x, such as log p(x) of a language model (Yin et al. 2018, equation 8).

    Trained by least squares, whose loss is divided by the moving variance of the scores, so that it does not take over the
    gradient norm. That changes its scale and not where it is smallest.

    Args:
        slope: a to begin with.
        intercept: c to begin with.
        decay: of the moving variance.
    """

    def __init__(self, slope: float = 1.0, intercept: float = 0.0, decay: float = 0.9):
        super().__init__(decay)
        self.slope = nn.Parameter(torch.tensor(float(slope)))
        self.intercept = nn.Parameter(torch.tensor(float(intercept)))

    def forward(self, scores, mode_score, features):
        if features is None or features.shape[-1] != 1:
            shape = None if features is None else tuple(features.shape)
            raise ValueError(f"The linear baseline is of one number that is known of each x: features (B, 1), not {shape}.")
        predicted = self.slope * features.squeeze(-1).to(self.slope.dtype) + self.intercept
        error = ((scores - predicted) / self.stddev).square().mean(0)
        return predicted.detach().to(scores.dtype), error


class LearnedBaseline(MovingAverageBaseline):
    """A network of what is known of x, trained by least squares (Mnih and Gregor 2014, section 2.2).

    b(x) = mean + stddev * network(features), with the moving average and deviation of the scores: the network need not find
    out that a sentence costs a hundred nats, and its loss, in units of that deviation, does not take over the gradient norm.
    The last layer begins at zero, so the baseline begins as the moving average.

    Args:
        feature_size: H.
        decay: of the moving average.
        hidden_size: of the network.
    """

    def __init__(self, feature_size: int, decay: float = 0.9, hidden_size: int = 64):
        super().__init__(decay)
        self.network = nn.Sequential(nn.Linear(feature_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 1))
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def forward(self, scores, mode_score, features):
        if features is None:
            raise ValueError("The estimator 'reinforce_learned' predicts scores from features of x: pass features (B, H).")
        predicted = self.network(features.to(self.network[0].weight.dtype)).squeeze(-1)
        mean, stddev = self.mean, self.stddev
        error = ((scores - mean) / stddev - predicted).square().mean(0)
        return (mean + stddev * predicted.detach()).to(scores.dtype), error
