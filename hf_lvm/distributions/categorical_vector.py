"""A vector of independent categorical variables, with everything an estimator of discrete gradients asks of it.

Its M variables have C classes each, or fewer, so there are up to C^M values. None of the methods but `enumerate_support`
writes them all down: the k most probable are found variable by variable, and so is a sample from all the others.
"""

import math
from collections.abc import Sequence

import torch
from torch.distributions import Distribution, constraints, register_kl

from hf_lvm.distributions.logarithms import expectation
from hf_lvm.distributions.noise import Generators, gumbel_of_uniform, uniform_noise


class CategoricalVector(Distribution):
    """q(z) = product over m of Categorical(z_m): batch shape (B,), event shape (M,), values 0..C-1 as integers.

    Args:
        logits: (B, M, C), unnormalised log-probabilities; -inf for a class that is impossible.
        class_counts: M numbers, how many classes each variable has; C for all by default. Where a variable has fewer than C,
            the columns behind its own are impossible, whatever their logits say, and nothing enumerates them.

    Raises:
        ValueError: another number of dimensions, or counts that do not fit.
    """

    arg_constraints = {"logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, logits: torch.Tensor, class_counts: Sequence[int] | None = None, validate_args: bool | None = False):
        if logits.dim() != 3:
            raise ValueError(
                f"logits has shape {tuple(logits.shape)}: a vector of categories takes (batch, variables, classes)."
            )
        variables, classes = logits.shape[1:]
        self.class_counts = (classes,) * variables if class_counts is None else tuple(class_counts)
        if len(self.class_counts) != variables or any(not 1 <= count <= classes for count in self.class_counts):
            raise ValueError(
                f"class_counts is {list(self.class_counts)}: logits of shape {tuple(logits.shape)} take {variables} numbers "
                f"from 1 to {classes}."
            )
        if min(self.class_counts, default=classes) < classes:
            counts = torch.tensor(self.class_counts, device=logits.device).unsqueeze(-1)
            logits = logits.masked_fill(torch.arange(classes, device=logits.device) >= counts, -torch.inf)
        # Rounded to the 8 bits of bfloat16, probabilities would not sum to one.
        self.logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        super().__init__(logits.shape[:1], logits.shape[1:2], validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(0, self.num_classes - 1), 1)

    @property
    def num_classes(self) -> int:
        """C, of the variable that has most."""
        return self.logits.shape[-1]

    @property
    def support_size(self) -> int:
        """How many values there are: the product of the variables' classes, C^M where all have C."""
        return math.prod(self.class_counts)

    @property
    def probs(self) -> torch.Tensor:
        """(B, M, C)."""
        return self.logits.exp()

    @property
    def mode(self) -> torch.Tensor:
        """The most probable value: (B, M)."""
        return self.logits.argmax(-1)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """log q(value) in nats, of values (..., B, M): (..., B)."""
        return self._log_probs_of(value).sum(-1)

    def _log_probs_of(self, value: torch.Tensor) -> torch.Tensor:
        """log q(z_m) of each variable of values (..., B, M): (..., B, M)."""
        shape = torch.broadcast_shapes(value.shape, self.logits.shape[:-1])
        logits = self.logits.expand(*shape, self.num_classes)
        return logits.gather(-1, value.expand(shape).unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> torch.Tensor:
        """(B,), nats."""
        return self.entropy_per_dimension().sum(-1)

    def entropy_per_dimension(self) -> torch.Tensor:
        """(B, M), nats."""
        return -expectation(self.probs, self.logits)

    def kl_per_dimension(self, prior: "CategoricalVector") -> torch.Tensor:
        """KL(self || prior) of each variable, nats: (B, M). Infinite where the prior excludes what this does not."""
        return expectation(self.probs, self.logits) - expectation(self.probs, prior.logits)

    # ---- samples -----------------------------------------------------------------------------------------------------

    def gumbels(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """log q(c) + standard Gumbel noise, (*sample_shape, B, M, C): its argmax over c is a sample (Gumbel 1954)."""
        noise = uniform_noise(
            sample_shape,
            self.logits.shape[0],
            self.logits.shape[1:],
            generator=generator,
            device=self.logits.device,
            dtype=self.logits.dtype,
        )
        return self.logits + gumbel_of_uniform(noise)

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Samples (*sample_shape, B, M).

        Args:
            generator: None, one generator, or a list of B generators (see `uniform_noise`).
        """
        with torch.no_grad():
            return self.gumbels(sample_shape, generator).argmax(-1)

    def relaxed_sample(
        self, temperature: torch.Tensor | float, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None
    ) -> torch.Tensor:
        """Points of the simplex (*sample_shape, B, M, C), differentiable: softmax(Gumbel-perturbed log q / temperature).

        The Concrete or Gumbel-softmax distribution (Maddison et al. 2017, equation 10; Jang et al. 2017, equation 2). With
        the same generator the argmax of each is what `sample` draws.
        """
        return (self.gumbels(sample_shape, generator) / temperature).softmax(-1)

    def one_hot(self, value: torch.Tensor) -> torch.Tensor:
        """Values (..., B, M) as corners of the simplex (..., B, M, C), which is where relaxed samples live."""
        return torch.nn.functional.one_hot(value, self.num_classes).to(self.logits.dtype)

    # ---- many values at once -----------------------------------------------------------------------------------------

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        """All values: (S, B, M), or (S, 1, M) without `expand`, with S = `support_size`."""
        classes = [torch.arange(count, device=self.logits.device) for count in self.class_counts]
        values = torch.cartesian_prod(*classes).view(-1, 1, self.event_shape[0])
        return values.expand(-1, self.logits.shape[0], -1) if expand else values

    def top_k(self, count: int) -> torch.Tensor:
        """The `count` most probable values of each row, best first: (min(count, S), B, M), with S = `support_size`.

        Exact, without writing down all values: of the beginnings of a value only the `count` best can go on.
        """
        with torch.no_grad():
            logits = self.logits.transpose(0, 1)  # (M, B, C)
            scores = logits.new_zeros(logits.shape[1], 1)
            values = torch.zeros(logits.shape[1], 1, 0, dtype=torch.long, device=logits.device)
            for classes, variable in zip(self.class_counts, logits, strict=True):
                extended = (scores.unsqueeze(-1) + variable[:, None, :classes]).flatten(1)  # (B, kept * its classes)
                scores, chosen = extended.topk(min(count, extended.shape[1]), dim=1)
                beginnings = (chosen // classes).unsqueeze(-1).expand(-1, -1, values.shape[-1])
                values = torch.cat([values.gather(1, beginnings), (chosen % classes).unsqueeze(-1)], dim=-1)
            return values.transpose(0, 1)

    def sample_excluding(
        self, excluded: torch.Tensor, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None
    ) -> torch.Tensor:
        """Samples (*sample_shape, B, M) from q restricted to all values but some, without rejecting any.

        Variable by variable: a class is drawn by its probability times the share of what follows it that is not excluded.

        Args:
            excluded: (K, B, M), different values. Where all others together are less probable than rounding errors, samples
                are arbitrary.
        """
        with torch.no_grad():
            count = math.prod(sample_shape)
            batch, variables = self.logits.shape[:2]
            noise = uniform_noise(
                (count,), batch, self.logits.shape[1:], generator=generator, device=self.logits.device, dtype=self.logits.dtype
            )
            gumbels = gumbel_of_uniform(noise)
            # Probability of the rest of each excluded value, from a variable on: (K, B, M), 1 behind the last.
            own = self._log_probs_of(excluded)
            rest = torch.cat([own.flip(-1).cumsum(-1).flip(-1)[..., 1:], torch.zeros_like(own[..., :1])], dim=-1).exp()
            # Whether an excluded value begins as the sample does: (count, K, B).
            alive = torch.ones(count, *excluded.shape[:2], dtype=rest.dtype, device=rest.device)
            chosen = []
            for variable in range(variables):
                classes = excluded[..., variable].expand(count, -1, -1)
                taken = torch.zeros(count, batch, self.num_classes, dtype=rest.dtype, device=rest.device)
                taken.scatter_add_(-1, classes.transpose(1, 2), (alive * rest[..., variable]).transpose(1, 2))
                log_weights = self.logits[:, variable] + (1.0 - taken).clamp(min=0.0).log()
                draw = (log_weights + gumbels[:, :, variable]).argmax(-1)  # (count, B)
                alive = alive * (classes == draw.unsqueeze(1))
                chosen.append(draw)
            return torch.stack(chosen, dim=-1).view(*sample_shape, batch, variables)

    # ---- what is observed of a value ---------------------------------------------------------------------------------

    def observed_log_prob(self, classes: torch.Tensor) -> torch.Tensor:
        """log q of the variables that are observed, each row its own: (B,), nats.

        Args:
            classes: (B, M), -1 where a variable is not observed.
        """
        return self._log_probs_of(classes.clamp(min=0)).masked_fill(classes < 0, 0.0).sum(-1)

    def given(self, classes: torch.Tensor) -> "CategoricalVector":
        """q(z | the observed variables): certain there, and unchanged elsewhere, as the variables are independent.

        Args:
            classes: (B, M), -1 where a variable is not observed. A class of probability 0 makes its variable nan.
        """
        others = torch.nn.functional.one_hot(classes.clamp(min=0), self.num_classes) == 0
        return self.with_logits(self.logits.masked_fill(others & (classes >= 0).unsqueeze(-1), -torch.inf))

    # ---- the same with other parameters ------------------------------------------------------------------------------

    def with_logits(self, logits: torch.Tensor) -> "CategoricalVector":
        """A distribution of the same kind with other logits (B, M, C)."""
        return CategoricalVector(logits, self.class_counts)

    def marginal(self, first: int, last: int) -> "CategoricalVector":
        """The distribution of the variables from `first` up to but not including `last` alone."""
        counts = self.class_counts[first:last]
        return CategoricalVector(self.logits[:, first:last, : max(counts)], counts)

    def detached(self) -> "CategoricalVector":
        """The same distribution, with no gradient to its parameters."""
        return self.with_logits(self.logits.detach())

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "CategoricalVector":
        return self.with_logits(self.logits.expand(*batch_shape, *self.logits.shape[1:]))


def count_classes(num_variables: int, num_classes: int | Sequence[int]) -> tuple[int, ...]:
    """How many classes each of M variables has: M numbers, the same one M times or those that are given.

    Raises:
        ValueError: several numbers, and not one a variable.
    """
    if isinstance(num_classes, int):
        return (num_classes,) * num_variables
    if len(num_classes) != num_variables:
        raise ValueError(
            f"num_classes is {list(num_classes)} and num_variables {num_variables}: give one number for all variables, or one "
            "for each."
        )
    return tuple(num_classes)


def support_in_words(class_counts: Sequence[int]) -> str:
    """The number of values as the product it is, for messages: `9^4` where all variables have nine classes, else `4 * 3`."""
    alike = len(set(class_counts)) == 1
    return f"{class_counts[0]}^{len(class_counts)}" if alike else " * ".join(map(str, class_counts))


@register_kl(CategoricalVector, CategoricalVector)
def _kl(posterior: CategoricalVector, prior: CategoricalVector) -> torch.Tensor:
    return posterior.kl_per_dimension(prior).sum(-1)
