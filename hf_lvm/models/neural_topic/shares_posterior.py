"""From the encoding of a document to q(shares of its topics | document)."""

import math

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from hf_lvm.distributions import Dirichlet
from hf_lvm.layers.posteriors import BatchNormPosterior, GaussianPosterior
from hf_lvm.layers.precision import linear_at_least_float32

# A concentration below this puts all of a share's mass where float32 has no numbers, and no gradient comes back from there.
SMALLEST_CONCENTRATION = 0.01


def laplace_stddev(concentration: float, num_topics: int) -> float:
    """Standard deviation of the Gaussian whose softmax is nearest to a symmetric Dirichlet, at its mode in the softmax basis.

    Its variance is (1 - 2 / K) / alpha + 1 / (K alpha), its mean 0 (Srivastava and Sutton 2017, equation 6; MacKay 1998).
    """
    return math.sqrt((1 - 2 / num_topics) / concentration + 1 / (num_topics * concentration))


class DirichletPosterior(nn.Module):
    """q = Dirichlet(0.01 + softplus(linear map of the pooled encoding)), in float32 or better even under autocast.

    Args:
        hidden_size: size of the pooled encoding.
        num_topics: K.
    """

    def __init__(self, hidden_size: int, num_topics: int):
        super().__init__()
        self.concentration = nn.Linear(hidden_size, num_topics)

    def forward(self, pooled: torch.Tensor) -> Dirichlet:
        """pooled (B, H) -> a distribution over (B, K)."""
        return dirichlet_of(linear_at_least_float32(self.concentration, pooled))

    def init_weights(self) -> None:
        """Logits as wide as the encoding itself."""
        init.normal_(self.concentration.weight, std=self.concentration.in_features**-0.5)
        init.zeros_(self.concentration.bias)


class BatchNormDirichletPosterior(BatchNormPosterior):
    """The same with logits that are normalised over the batch to a fixed standard deviation, each with a learned shift.

    A topic then has a large share in some documents and a small one in others, whatever the weights are. Without it training
    on short documents tends to end with one posterior for all of them, and topics that are all the same.
    """

    def __init__(self, hidden_size: int, num_topics: int, *, scale: float):
        super().__init__(hidden_size, num_topics, scale=scale)
        # A Dirichlet has no second parameter.
        del self.log_variance

    def forward(self, pooled: torch.Tensor) -> Dirichlet:
        """pooled (B, H) -> a distribution over (B, K)."""
        return dirichlet_of(self._normalise(linear_at_least_float32(self.mean, pooled)))

    def init_weights(self) -> None:
        """No shift, and no batch seen."""
        init.normal_(self.mean.weight, std=self.mean.in_features**-0.5)
        for zero in (self.shift, self.running_mean, self.batches_seen):
            init.zeros_(zero)
        init.ones_(self.running_variance)


def dirichlet_of(logits: torch.Tensor) -> Dirichlet:
    """The Dirichlet of concentrations 0.01 + softplus(logits), (B, K)."""
    return Dirichlet(SMALLEST_CONCENTRATION + functional.softplus(logits))


def build_posterior(
    posterior_type: str, hidden_size: int, num_topics: int, prior_stddev: float, batch_norm_scale: float | None
) -> nn.Module:
    """The head of a `posterior_type`.

    Args:
        prior_stddev: of the Gaussian prior, for `logistic_normal`; that of q is 0.6 times as large in a new model and always
            less than twice as large. Without a bound, runs whose KL weight begins at 0 end in numbers that overflow.
        batch_norm_scale: None for no batch norm.
    """
    if posterior_type == "dirichlet":
        if batch_norm_scale is None:
            return DirichletPosterior(hidden_size, num_topics)
        return BatchNormDirichletPosterior(hidden_size, num_topics, scale=batch_norm_scale)
    options = {"initial_stddev": 0.6 * prior_stddev, "largest_stddev": 2 * prior_stddev}
    if batch_norm_scale is None:
        return GaussianPosterior(hidden_size, num_topics, **options)
    return BatchNormPosterior(hidden_size, num_topics, scale=batch_norm_scale * prior_stddev, **options)
