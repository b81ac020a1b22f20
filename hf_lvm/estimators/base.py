"""What every estimator is."""

from typing import ClassVar

import torch
from torch import nn
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators
from hf_lvm.estimators.draws import Draws


class Estimator(nn.Module):
    """A way to get the gradient of an expectation over a latent; a module, because some learn a baseline.

    A subclass says in `needs` and `min_samples` what it asks for, and draws in `_draw`.

    Attributes:
        name: the string it is chosen by.
        config_options: which keys of a model's config are arguments of the class, by the names they have there.
        needs: attributes that a posterior must have.
        min_samples: the fewest samples a draw can be made of.
        biased: whether the mean of its gradient differs from the gradient of the objective.
    """

    name: ClassVar[str] = ""
    config_options: ClassVar[dict[str, str]] = {}
    needs: ClassVar[tuple[str, ...]] = ()
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

        Raises:
            ValueError: fewer samples than `min_samples`, a posterior that lacks what the estimator needs, or what the
                estimator's own class refuses.
        """
        self.check_num_samples(num_samples)
        for attribute in self.needs:
            if not _has(posterior, attribute):
                raise ValueError(
                    f"The estimator {self.name!r} needs a posterior with {attribute}, and {type(posterior).__name__} has "
                    "none: choose 'rloo', which needs samples and their log-probability only."
                )
        return self._draw(posterior, num_samples, generator, None if features is None else features.detach(), temperature)

    @classmethod
    def check_num_samples(cls, num_samples: int) -> None:
        """Raise a `ValueError` for a number of samples that no draw can be made of."""
        if num_samples < cls.min_samples:
            raise ValueError(
                f"The estimator {cls.name!r} needs num_samples of {cls.min_samples} or more, but has {num_samples}: set it "
                f"to {max(cls.min_samples, 4)}, or choose one for a single sample, such as 'reinforce_moving_average'."
            )

    def sit_out(self) -> None:
        """To be called in place of a draw when a process has nothing to draw in a training batch.

        Baselines are averaged over processes, and the others would wait for this one for ever.
        """

    def _draw(
        self,
        posterior: Distribution,
        num_samples: int,
        generator: Generators,
        features: torch.Tensor | None,
        temperature: float | None,
    ) -> Draws:
        """`draw`, once its arguments have been looked at."""
        raise NotImplementedError


def _has(posterior: Distribution, attribute: str) -> bool:
    """Whether a posterior has an attribute, told without asking for its value: a `mode` can be a whole greedy search.

    What torch's `Distribution` itself only declares, such as `mode` and `enumerate_support`, does not count.
    """
    of_class = getattr(type(posterior), attribute, None)
    declared_only = of_class is None or of_class is getattr(Distribution, attribute, None)
    return not declared_only or attribute in getattr(posterior, "__dict__", {})
