"""Relaxed samples: Gumbel-softmax, or the Concrete distribution (Maddison et al. 2017; Jang et al. 2017).

A sample of a category is the argmax of its log-probabilities plus Gumbel noise. With a softmax in the place of the argmax it
becomes a point inside the simplex that can be differentiated. Both estimators are biased for the discrete model:

- `gumbel_softmax` trains another model, whose latents are such points, without bias; as the temperature falls it approaches
  the discrete one, and its gradient gets noisier. In training its value is that of the relaxed model.
- `straight_through` shows the decoder the discrete sample and differentiates as if it were the relaxed one. Its value is
  that of the discrete model, always.

Outside training both draw discrete samples, so that the bound they report is that of the discrete model.
"""

import math
from typing import ClassVar

import torch
from torch import nn

from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.draws import Draws
from hf_lvm.estimators.temperature import check_temperature


class GumbelSoftmax(Estimator):
    """The estimator `gumbel_softmax`. The latents it draws are corners or points of simplices: (K, B, M, C).

    Args:
        temperature: of the softmax, where `draw` is told no other.
        learned: predict it from x: 1 / temperature = softplus(w . features + b) + 1 / max_temperature, as Havrylov and Titov
            (2017, section 2.2) do; it begins at `temperature` for every x.
        feature_size: H, of the features it is predicted from.
        max_temperature: of a learned temperature.
    """

    config_options: ClassVar[dict[str, str]] = {
        "temperature": "temperature",
        "learned_temperature": "learned",
        "feature_size": "feature_size",
    }
    biased = True
    straight_through: ClassVar[bool] = False
    name = "gumbel_softmax"
    needs = ("relaxed_sample", "one_hot")

    def __init__(
        self,
        temperature: float = 1.0,
        learned: bool = False,
        feature_size: int | None = None,
        max_temperature: float = 10.0,
    ):
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        self.inverse_temperature = None
        if learned:
            if feature_size is None:
                raise ValueError("A learned temperature is predicted from features of x: give feature_size.")
            if temperature >= max_temperature:
                raise ValueError(
                    f"A learned temperature begins below its maximum of {max_temperature:g}, and temperature is "
                    f"{temperature:g}: lower it."
                )
            self.max_temperature = max_temperature
            self.inverse_temperature = nn.Linear(feature_size, 1)
            self.reset_temperature()

    @torch.no_grad()
    def reset_temperature(self) -> None:
        """Begin at `temperature` for every x."""
        start = math.log(math.expm1(1.0 / self.temperature - 1.0 / self.max_temperature))
        self.inverse_temperature.weight.zero_()
        self.inverse_temperature.bias.fill_(start)

    def temperature_of(self, features: torch.Tensor | None) -> torch.Tensor | float:
        """The temperature of each row, (B, 1, 1), or one for all."""
        if self.inverse_temperature is None:
            return self.temperature
        if features is None:
            raise ValueError("A learned temperature is predicted from features of x: pass features (B, H).")
        inverse = self.inverse_temperature(features.to(self.inverse_temperature.weight.dtype))
        return 1.0 / (nn.functional.softplus(inverse) + 1.0 / self.max_temperature).unsqueeze(-1)

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """K samples as points of simplices (K, B, M, C): inside them in the training of `gumbel_softmax`, else corners."""
        if not self.training:
            return RelaxedDraws(posterior.one_hot(posterior.sample((num_samples,), generator)), posterior)
        if temperature is None:
            temperature = self.temperature_of(features)
        else:
            check_temperature(temperature)
        relaxed = posterior.relaxed_sample(temperature, (num_samples,), generator)
        if not self.straight_through:
            return RelaxedDraws(relaxed, posterior)
        corners = posterior.one_hot(relaxed.argmax(-1))
        # In this order the value is a corner to the last bit.
        return RelaxedDraws(corners + (relaxed - relaxed.detach()), posterior)


class StraightThrough(GumbelSoftmax):
    """The estimator `straight_through`."""

    straight_through = True
    name = "straight_through"


class RelaxedDraws(Draws):
    """Points of simplices. Their probability under q is that of a category only at the corners."""

    @property
    def log_posterior(self) -> torch.Tensor:
        raise ValueError(
            "A relaxed sample has no probability under the discrete posterior: these estimators need a KL divergence in "
            "closed form. Choose 'rloo', which takes it from samples."
        )
