"""RELAX: a learned control variate on relaxed samples (Grathwohl et al. 2018, equation 8; Tucker et al. 2017 for REBAR).

With the log-probabilities a of q, a sample z, the relaxed sample s it is the argmax of, and a second relaxed sample s' drawn
given z, a network c gives

    d/da E_q[f(z)] = E[ (f(z) - c(s')) d log q(z)/da  +  d c(s)/da  -  d c(s')/da ],

unbiased for every c. The network and its temperature are trained to lower the variance of this very gradient: since its mean
does not depend on c, the gradient of its squared norm is that of the variance.

With several samples the others are a baseline beside it: (f - c) of each is reduced by the mean of the others.
"""

from typing import ClassVar

import torch
from torch import nn

from hf_lvm.distributions.noise import gumbel_of_uniform, uniform_noise
from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.baselines import MovingAverageBaseline
from hf_lvm.estimators.draws import Draws, value_and_gradient
from hf_lvm.estimators.temperature import check_temperature

# An impossible class is relaxed as one this improbable, since nothing can be differentiated at minus infinity.
LEAST_LOG_PROB = -60.0


class Relax(Estimator):
    """The estimator `relax`.

    c(s, x) = mean + stddev * network(s, features), with the moving average and deviation of the scores. The last layer of the
    network begins at zero, so the estimator begins as the score function with a moving average, or as `rloo`.

    Args:
        num_variables: M.
        num_classes: C.
        feature_size: H, of the features the network reads beside the relaxed sample; 0 for none.
        temperature: of the relaxed samples at the start; it is learned with the network.
        hidden_size: of the network.
        decay: of the moving average.
    """

    name = "relax"
    needs = ("logits", "with_logits")
    config_options: ClassVar[dict[str, str]] = {
        "num_variables": "num_variables",
        "num_classes": "num_classes",
        "feature_size": "feature_size",
        "temperature": "temperature",
        "baseline_decay": "decay",
    }

    def __init__(
        self,
        num_variables: int,
        num_classes: int,
        feature_size: int = 0,
        temperature: float = 0.5,
        hidden_size: int = 64,
        decay: float = 0.9,
    ):
        super().__init__()
        check_temperature(temperature)
        self.feature_size = feature_size
        self.scale = MovingAverageBaseline(decay)
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())
        inputs = num_variables * num_classes + feature_size
        self.network = nn.Sequential(nn.Linear(inputs, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 1))
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def sit_out(self) -> None:
        self.scale.update(torch.empty(0))

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """K samples of q(z|x): (K, B, M).

        Raises:
            ValueError: features are missing.
        """
        if self.feature_size and features is None:
            raise ValueError("The control variate of 'relax' was built to read features of x: pass features (B, H).")
        logits = posterior.logits
        noise = uniform_noise(
            (2 * num_samples,),
            logits.shape[0],
            logits.shape[1:],
            generator=generator,
            device=logits.device,
            dtype=logits.dtype,
        )
        noise, second_noise = noise.split(num_samples)
        latents = (logits.detach() + gumbel_of_uniform(noise)).argmax(-1)
        features = features if self.feature_size else None
        return RelaxDraws(latents, posterior, self, noise, second_noise, features)

    def control(self, relaxed: torch.Tensor, features: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
        """c of relaxed samples (K, B, M, C): (K, B)."""
        inputs = relaxed.flatten(-2)
        if features is not None:
            inputs = torch.cat([inputs, features.to(inputs.dtype).expand(inputs.shape[0], -1, -1)], dim=-1)
        predicted = self.network(inputs.to(self.network[0].weight.dtype)).squeeze(-1)
        return (self.scale.mean + self.scale.stddev * predicted).to(dtype)


class RelaxDraws(Draws):
    """Samples, and the noise that their relaxations are made of."""

    def __init__(self, latents, posterior, estimator: Relax, noise, second_noise, features: torch.Tensor | None):
        super().__init__(latents, posterior)
        self.estimator = estimator
        self.noise, self.second_noise = noise, second_noise
        self.features = features

    @property
    def log_posterior(self) -> torch.Tensor:
        return self.log_prob.detach()

    def expectation(self, scores: torch.Tensor) -> torch.Tensor:
        value = self.mean(scores)
        if not torch.is_grad_enabled():
            return value
        gradient = self._gradient(scores.detach())  # (B, M, C), of the log-probabilities
        # An impossible class has no gradient.
        logits = self.posterior.logits.masked_fill(self.posterior.logits == -torch.inf, 0.0)
        expectation = value_and_gradient(value, (gradient.detach() * logits).flatten(1).sum(-1))
        if self.estimator.training:
            # In units of the scores' variance, so that it does not dominate the gradient norm. Subtracted from the bound, as
            # it is to be minimised.
            variance = gradient.square().flatten(1).sum(-1) / self.estimator.scale.stddev.square()
            expectation = value_and_gradient(expectation, -variance.to(expectation.dtype))
            self.estimator.scale.update(scores.detach())
        return expectation

    def _gradient(self, scores: torch.Tensor) -> torch.Tensor:
        """The estimate of the gradient, itself differentiable in the control variate's parameters."""
        logits = self.posterior.logits.detach().clamp(min=LEAST_LOG_PROB).requires_grad_()
        posterior = self.posterior.with_logits(logits)
        temperature = self.estimator.log_temperature.exp().to(logits.dtype)
        # Clamped again: `with_logits` sets the missing classes of variables that have fewer than others back to -inf.
        log_probs = posterior.logits.clamp(min=LEAST_LOG_PROB)
        relaxed = log_probs + gumbel_of_uniform(self.noise)
        relaxed_given_sample = conditional_gumbels(log_probs, self.latents, self.second_noise)
        control, given_sample = (
            self.estimator.control((perturbed / temperature).softmax(-1), self.features, scores.dtype)
            for perturbed in (relaxed, relaxed_given_sample)
        )
        paths = torch.autograd.grad((control - given_sample).mean(0).sum(), logits, create_graph=True)[0]
        residual = scores - given_sample
        if len(residual) > 1:
            residual = residual - (residual.sum(0) - residual) / (len(residual) - 1)
        score_function = posterior.one_hot(self.latents) - posterior.probs.detach()  # d log q(z) / d logits
        return (residual[..., None, None] * score_function).mean(0) + paths


def conditional_gumbels(logits: torch.Tensor, value: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Gumbel-perturbed log-probabilities given that their argmax is `value` (Tucker et al. 2017, appendix C).

    Args:
        logits: (B, M, C), normalised.
        value: (K, B, M).
        noise: (K, B, M, C), uniform on [0, 1).
    """
    tiny = torch.finfo(noise.dtype).tiny
    exponential = -noise.clamp(min=tiny).log()  # standard exponential
    chosen = value.unsqueeze(-1)
    # The largest of all has the Gumbel distribution itself, since the log-probabilities are normalised; the others are
    # Gumbel-distributed below it.
    top = exponential.gather(-1, chosen)
    # Logarithms throughout: the second derivative of exponential / exp(logits) has squares of what float32 cannot hold.
    others = -torch.logaddexp(exponential.log() - logits, top.log())
    is_chosen = torch.zeros_like(noise, dtype=torch.bool).scatter_(-1, chosen, True)
    return torch.where(is_chosen, -top.log(), others)
