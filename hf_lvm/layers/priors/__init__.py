"""Priors: p(z). One family a file.

| name | p(z) | learned | KL from a Gaussian posterior |
|---|---|---|---|
| `standard_normal` | N(0, I) | nothing | closed form, for each dimension |
| `gaussian_mixture` | a mixture of Gaussians | weights, means, variances | from samples; may be negative for a sentence |
| `vamp` | a mixture of posteriors of pseudo-inputs | the pseudo-inputs | from samples; may be negative for a sentence |
| `flow` | a normalizing flow | its layers | from samples; may be negative for a sentence |
| `conditional_gaussian` | a Gaussian, from a text c (`needs_condition`) | two linear maps | closed form, for each dimension |
| `uniform_sphere` | all directions alike | nothing | (von Mises-Fisher posteriors only; closed form) |

Each class has `latent_space` (`vectors` or `sphere`), which the posterior must share; `config_options`, from keys of a model's
config to its own arguments; `needs_encoder`: whether it is called with the posterior of its pseudo-inputs; and
`needs_condition`: whether it is called with the encoding of a text, which q(z|x, c) then reads too.

Over vectors of categories (`CATEGORY_PRIORS`, latent space `categories`) the KL is always in closed form:

| name | p(z) | learned |
|---|---|---|
| `uniform` | all values alike | nothing |
| `learned` | a probability for each class of each variable | these |
| `conditional` | the same, from a text that z is about (`needs_condition`) | a linear map of its encoding |
"""

from torch import nn

from hf_lvm.layers.priors.categories import (
    ConditionalCategoriesPrior,
    LearnedCategoriesPrior,
    UniformCategoriesPrior,
)
from hf_lvm.layers.priors.conditional_gaussian import ConditionalGaussianPrior
from hf_lvm.layers.priors.flow import FlowPrior
from hf_lvm.layers.priors.gaussian_mixture import GaussianMixturePrior
from hf_lvm.layers.priors.standard_normal import StandardNormalPrior
from hf_lvm.layers.priors.uniform_sphere import UniformSpherePrior
from hf_lvm.layers.priors.vamp import VampPrior

PRIORS: dict[str, type[nn.Module]] = {
    "standard_normal": StandardNormalPrior,
    "gaussian_mixture": GaussianMixturePrior,
    "vamp": VampPrior,
    "flow": FlowPrior,
    "conditional_gaussian": ConditionalGaussianPrior,
    "uniform_sphere": UniformSpherePrior,
}
CATEGORY_PRIORS: dict[str, type[nn.Module]] = {
    "uniform": UniformCategoriesPrior,
    "learned": LearnedCategoriesPrior,
    "conditional": ConditionalCategoriesPrior,
}


def check_prior_type(name: str) -> None:
    """Raise a `ValueError` that lists the priors there are when `name` is none of them."""
    if name not in PRIORS:
        raise ValueError(f"Unknown prior_type {name!r}: choose one of {', '.join(map(repr, PRIORS))}.")


__all__ = [
    "CATEGORY_PRIORS",
    "PRIORS",
    "ConditionalCategoriesPrior",
    "ConditionalGaussianPrior",
    "FlowPrior",
    "GaussianMixturePrior",
    "LearnedCategoriesPrior",
    "StandardNormalPrior",
    "UniformCategoriesPrior",
    "UniformSpherePrior",
    "VampPrior",
    "check_prior_type",
]
