"""What an estimator draws, and how the scores of what it drew become a bound with a gradient.

A model goes through the same three steps whichever estimator it has:

```python
draws = estimator.draw(posterior, num_samples, generator)
log_likelihood = ...  # log p(x|z) of each of draws.latents: (R, B)
bound = draws.expectation(log_likelihood) - kl
```

The value of `expectation` estimates E_q[f(z)] for each row; its gradient is the estimator's. How many latents R there are to
score is the estimator's affair: all values of z, K samples, or K samples and one value more that serves as a baseline.
"""

from functools import cached_property

import torch
from torch.distributions import Distribution


class Draws:
    """Latents drawn from q(z|x), each counted alike. What differs by estimator is overridden.

    Args:
        latents: (R, B, *event shape), to be scored.
        posterior: q(z|x), with the gradient to its parameters that the estimator wants in `log_prob`.
    """

    def __init__(self, latents: torch.Tensor, posterior: Distribution):
        self.latents = latents
        self.posterior = posterior

    @cached_property
    def log_prob(self) -> torch.Tensor:
        """log q(z|x) of each latent: (R, B)."""
        return self.posterior.log_prob(self.latents)

    @property
    def log_posterior(self) -> torch.Tensor:
        """log q(z|x) of each latent as a part of f(z), with the gradient it should have there: (R, B).

        For samples of a discrete z it has none in an expectation: the estimator itself sees to the gradient of q, and
        E_q[d log q] is zero.
        """
        return self.log_prob

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """An estimate of E_q[values] for reports, values (R, B): (B,)."""
        return values.mean(0)

    def expectation(self, scores: torch.Tensor) -> torch.Tensor:
        """An estimate of E_q[f(z)] from scores f(z) (R, B): (B,), with the estimator's gradient.

        The gradient also flows into the scores, as it does in any tensor: to the decoder and the prior.
        """
        return self.mean(scores)

    def surrogate(self, log_weights: torch.Tensor, *, kl_weight: float = 1.0) -> torch.Tensor:
        """Log weights (K, B) of the same value, out of which the gradient of the K-sample bound becomes the estimator's.

        Args:
            log_weights: (K, B), of `latents`, computed with `log_posterior`.
            kl_weight: the weight of log p(z) - log q(z|x) that they were computed with.
        """
        return log_weights


def value_and_gradient(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A tensor with the value of the first and the sum of the gradients of both."""
    return value + (gradient - gradient.detach())
