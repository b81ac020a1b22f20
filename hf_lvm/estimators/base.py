"""What every estimator is."""

from typing import ClassVar

import torch
from torch import nn
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators
from hf_lvm.estimators.draws import Draws


class Estimator(nn.Module):
    """A way to get the gradient of an expectation over a latent; a module, because some learn a baseline.

    Attributes:
        config_options: which keys of a model's config are arguments of the class, by the names they have there.
        min_samples: the fewest samples a draw can be made of.
        biased: whether the mean of its gradient is another than that of the objective.
    """

    config_options: ClassVar[dict[str, str]] = {}
    min_samples: ClassVar[int] = 1
    biased: ClassVar[bool] = False

    def draw(
        self,
        posterior: Distribution,
        num_samples: int,
        generator: Generators = None,
        features: torch.Tensor | None = None,
        temperature: float | None = None,
    ) -> Draws:
        """What the likelihood is to be computed for.

        Args:
            posterior: q(z|x), batch shape (B,).
            num_samples: K.
            generator: None, one generator, or a list of B generators, one a row.
            features: (B, H), what is known of x, for estimators that learn from it. They do not send it a gradient.
            temperature: of relaxed samples, instead of the estimator's own.
        """
        raise NotImplementedError


def check_methods(posterior: Distribution, estimator: str, *methods: str) -> None:
    """Raise a `ValueError` when a posterior lacks what an estimator asks of it."""
    for method in methods:
        if not hasattr(posterior, method):
            raise ValueError(
                f"The estimator {estimator!r} needs a posterior with {method}, and {type(posterior).__name__} has none: "
                "choose 'rloo', which needs samples and their log-probability only."
            )
