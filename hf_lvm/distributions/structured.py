"""What the exact distributions over sequences of states, masks of words and trees have in common."""

from collections.abc import Sequence

import torch
from torch.distributions import Distribution, register_kl

from hf_lvm.distributions.lengths import may_look
from hf_lvm.distributions.noise import Generators

# The most values that are written down or looked at one by one.
ENUMERATION_LIMIT = 1_000_000


class StructuredDistribution(Distribution):
    """p(z) proportional to exp(score(z)), where z is a sequence of states, a mask of words or a tree: batch shape (B,).

    A subclass has `score`, `log_partition`, `argmax`, `sample`, `log_prob`, `entropy` and `cross_entropy`, all of them exact.
    """

    arg_constraints = {}

    @property
    def mode(self) -> torch.Tensor:
        """The same as `argmax`."""
        return self.argmax

    @property
    def max_score(self) -> torch.Tensor:
        """The score of the most probable value, with its gradient: (B,)."""
        return self.score(self.argmax)

    def sample_and_log_prob(
        self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples as of `sample`, and their log probabilities (*sample_shape, B), nats, with a gradient to the scores."""
        values = self.sample(sample_shape, generator)
        return values, self.log_prob(values)

    def _may_look(self, values: torch.Tensor) -> bool:
        """Whether values may be read: on a CPU it is free, elsewhere `validate_args` asks for it; see `may_look`."""
        return may_look(values, self._validate_args)


class RelaxableDistribution(StructuredDistribution):
    """A structured distribution over masks, which may be softened to numbers between 0 and 1."""

    def relaxed_sample(
        self,
        sample_shape: Sequence[int] = torch.Size(),
        temperature: float = 1.0,
        hard: bool = False,
        generator: Generators = None,
    ) -> torch.Tensor:
        """Values as a differentiable function of scores and noise: masks of `sample` with numbers in [0, 1] for True.

        Perturb and parse (Corro and Titov 2019): independent Gumbel noise is added to every score of every row, and the result
        is the marginals at this temperature. Towards temperature 0 they become the best value of the perturbed scores. That is
        not a sample of this distribution, whatever the temperature: exact samples would need noise for each value, not for
        each score (Papandreou and Yuille 2011). Use it where a gradient through z is wanted and its bias can be borne.

        Args:
            temperature: above 0; high ones give soft masks, low ones gradients that are large and rare.
            hard: whether the value is the best one of the perturbed scores, 0 and 1, with the gradient of the relaxed one
                (straight-through).
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).

        Raises:
            ValueError: a temperature that is not above 0.
        """
        if not temperature > 0:
            raise ValueError(f"The temperature of a relaxed sample must be above 0, not {temperature}.")
        shape = torch.Size(sample_shape)
        perturbed = self._perturbed(shape, temperature, generator)
        relaxed = perturbed.marginals
        if hard:
            relaxed = perturbed.argmax.to(relaxed.dtype) + (relaxed - relaxed.detach())
        return relaxed.view(shape + self._extended_shape())

    def _perturbed(self, shape: torch.Size, temperature: float, generator: Generators) -> "RelaxableDistribution":
        """With Gumbel noise on the scores, at a temperature: one row for each sample of each row."""
        raise NotImplementedError


def single_batch_dimension(batch_shape: Sequence[int], what: str) -> torch.Size:
    """The shape (B,) that `expand` may be given.

    Raises:
        ValueError: a shape with other dimensions; the message says what has only one.
    """
    shape = torch.Size(batch_shape)
    if len(shape) != 1:
        raise ValueError(f"The batch shape {tuple(shape)} is not (B,): {what} a single batch dimension.")
    return shape


def check_k_best(k: int) -> None:
    """Raise a `ValueError` for a number of best values that is less than 1."""
    if k < 1:
        raise ValueError(f"k_best needs a count of at least 1, but k={k}.")


@register_kl(StructuredDistribution, StructuredDistribution)
def _kl(posterior: StructuredDistribution, prior: StructuredDistribution) -> torch.Tensor:
    if type(posterior) is not type(prior):
        raise NotImplementedError(f"No KL of a {type(posterior).__name__} from a {type(prior).__name__}: they differ in kind.")
    return posterior.cross_entropy(prior) - posterior.entropy()
