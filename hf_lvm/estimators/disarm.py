"""DisARM: antithetic pairs for binary latents (Dong et al. 2020, equation 7; also Yin et al. 2020, U2G).

A vector of bits z and its antithesis, drawn with the uniform noise u and 1 - u, differ where the bits are uncertain. With a_m
the log-odds of bit m, sigma the logistic function and (z, y) the pair,

    d E_q[f(z)] / d a_m  =  E[ 1/2 (f(z) - f(y)) (-1)^{y_m} 1[z_m != y_m] sigma(|a_m|) ],

unbiased, with two scores a pair and no baseline: the one is the other's.
"""

import torch

from hf_lvm.distributions.noise import uniform_noise
from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.draws import Draws, value_and_gradient


class Disarm(Estimator):
    """The estimator `disarm`, of a vector of variables with two classes each."""

    name = "disarm"
    needs = ("logits",)
    min_samples = 2

    @classmethod
    def check_num_samples(cls, num_samples: int) -> None:
        super().check_num_samples(num_samples)
        if num_samples % 2:
            raise ValueError(f"The estimator 'disarm' draws pairs: set num_samples to an even number, not {num_samples}.")

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """`num_samples` / 2 antithetic pairs: (num_samples, B, M), the first of each pair in the first half.

        Raises:
            ValueError: another number of classes than two.
        """
        if posterior.logits.shape[-1] != 2:
            raise ValueError(
                f"The estimator 'disarm' is for binary latents, and these have {posterior.logits.shape[-1]} classes: choose "
                "'rloo' or 'relax', or set num_classes to 2."
            )
        log_odds = posterior.logits[..., 1] - posterior.logits[..., 0]
        noise = uniform_noise(
            (num_samples // 2,),
            log_odds.shape[0],
            log_odds.shape[1:],
            generator=generator,
            device=log_odds.device,
            dtype=log_odds.dtype,
        )
        threshold = torch.sigmoid(-log_odds.detach())
        pairs = torch.stack([noise > threshold, 1.0 - noise > threshold]).long()
        return DisarmDraws(pairs.flatten(0, 1), posterior, log_odds)


class DisarmDraws(Draws):
    """Antithetic pairs, (2 * pairs, B, M)."""

    def __init__(self, latents, posterior, log_odds: torch.Tensor):
        super().__init__(latents, posterior)
        self.log_odds = log_odds

    @property
    def log_posterior(self) -> torch.Tensor:
        return self.log_prob.detach()

    def expectation(self, scores: torch.Tensor) -> torch.Tensor:
        first, second = self.latents.unflatten(0, (2, -1))
        score, antithetic_score = scores.detach().unflatten(0, (2, -1))
        half_difference = 0.5 * (score - antithetic_score).unsqueeze(-1)
        signs = (1 - 2 * second) * (first != second)
        gradient = (half_difference * signs * torch.sigmoid(self.log_odds.detach().abs())).mean(0)
        # A bit that is certain has infinite log-odds and no gradient.
        log_odds = self.log_odds.masked_fill(~self.log_odds.isfinite(), 0.0)
        return value_and_gradient(self.mean(scores), (gradient * log_odds).sum(-1))
