"""The linear-chain conditional random field, a distribution over sequences of states; hidden Markov models are among them."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch.distributions import constraints

from hf_lvm.distributions.lengths import check_lengths
from hf_lvm.distributions.linear_chain.checks import check_scores, check_states, check_value, checked_shape
from hf_lvm.distributions.linear_chain.marginals import (
    ForwardPass,
    LogPartition,
    Marginals,
    for_every_edge,
    forward_pass,
    weighted_marginals,
)
from hf_lvm.distributions.linear_chain.sampling import sample_paths
from hf_lvm.distributions.linear_chain.search import best_paths
from hf_lvm.distributions.noise import Generators, noise_of_positions
from hf_lvm.distributions.structured import (
    ENUMERATION_LIMIT,
    StructuredDistribution,
    check_k_best,
    single_batch_dimension,
)


class BestPaths(NamedTuple):
    """The K best sequences of B rows, best first.

    Attributes:
        paths: (K, B, n). All zeros where a row has fewer than K possible sequences.
        scores: (K, B), sums of scores, as `LinearChainCRF.score` gives them, with their gradient; -inf where there is no
            sequence. Less `log_partition` they are log probabilities.
    """

    paths: torch.Tensor
    scores: torch.Tensor


class LinearChainCRF(StructuredDistribution):
    """p(z) proportional to exp(sum_t unary[t, z_t] + sum_t transitions[t, z_t, z_t+1]): batch shape (B,), event shape (n,).

    A value is a sequence of n states in 0..C-1, as integers (Lafferty et al. 2001, equation 1). Everything is exact, runs over
    the batch at once, in one loop over positions, and waits for no result on the device. Numbers are float32 or, if the scores
    are wider, as wide as they are; under autocast too. All but samples and paths can be differentiated, as often as wished.

    A hidden Markov model given its words is such a field: log p(z_t+1 | z_t) as `transitions`, log p(word_t | z_t) as `unary`
    with log p(z_1) added at the first position. Then `log_partition` is the log-likelihood of the words.

    A score of -inf forbids a transition or a state. In a row that has no possible sequence left `log_partition` is -inf,
    `log_prob` is nan, and all marginals and gradients are 0; `validate_args` refuses such a row.

    Past the length of a row, scores count for nothing, whatever they are: there the argmax and samples are 0, marginals are 0,
    and `log_prob` and `score` ignore the value.

    Args:
        transitions: (B, n-1, C, C), or (C, C) for all rows and positions, as [from, to].
        unary: (B, n, C); None for zeros, if the transitions are those of each row.
        lengths: (B,), integers from 1 to n; None where all are n.
        validate_args: whether to check the scores. Shapes are always checked, lengths and values on a CPU always and on
            another device with `validate_args`, where it waits for the device.

    Raises:
        ValueError: shapes that do not go together, lengths out of range; with `validate_args`, scores that are nan or +inf,
            and rows without a possible sequence.
    """

    has_enumerate_support = True

    def __init__(
        self,
        transitions: torch.Tensor,
        unary: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        validate_args: bool | None = False,
    ):
        batch, length, states = checked_shape(transitions, unary)
        dtype = torch.promote_types(transitions.dtype, torch.float32)
        if unary is not None:
            dtype = torch.promote_types(unary.dtype, dtype)
        else:
            unary = transitions.new_zeros(()).expand(batch, length, states)
        self.transitions, self.unary, self.lengths = transitions.to(dtype), unary.to(dtype), lengths
        super().__init__(torch.Size((batch,)), torch.Size((length,)), validate_args=validate_args)
        if lengths is not None:
            check_lengths(lengths, batch, length, look=self._may_look(lengths))
        if self._validate_args:
            check_scores(self.transitions, self.unary, self._inside, self._forward.remainder)

    @property
    def num_states(self) -> int:
        """C."""
        return self.unary.shape[-1]

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(0, self.num_states - 1), 1)

    @cached_property
    def _inside(self) -> torch.Tensor | None:
        """Whether a position lies within the length of its row: (B, n); None where all do."""
        if self.lengths is None:
            return None
        positions = torch.arange(*self.event_shape, device=self.unary.device)
        return positions < self.lengths.to(self.unary.device).unsqueeze(-1)

    # Kept without gradients, which every use attaches anew: a backward pass through one use frees nothing of another.
    @cached_property
    def _forward(self) -> ForwardPass:
        return forward_pass(self.transitions, self.unary, self._inside)

    @cached_property
    def _marginal_values(self) -> tuple[torch.Tensor, torch.Tensor]:
        return weighted_marginals(self.transitions, self._forward, self._inside)

    # ---- sums over all sequences -------------------------------------------------------------------------------------

    @property
    def log_partition(self) -> torch.Tensor:
        """log of the sum of exp(score) over all sequences: (B,), nats. Its gradient is the marginals."""
        return self._log_partition_remainder() + self._forward.offsets.sum(-1)

    def _log_partition_remainder(self) -> torch.Tensor:
        """`log_partition` less the sum of the forward pass's offsets, with the same gradient: (B,)."""
        return LogPartition.apply(self.transitions, self.unary, self._inside, *self._forward)

    @property
    def marginals(self) -> torch.Tensor:
        """p(z_t = i, z_t+1 = j), differentiable: (B, n-1, C, C)."""
        return self._marginals()[0]

    @property
    def unary_marginals(self) -> torch.Tensor:
        """p(z_t = i), differentiable: (B, n, C)."""
        return self._marginals()[1]

    def _marginals(self) -> tuple[torch.Tensor, torch.Tensor]:
        return Marginals.apply(for_every_edge(self.transitions, self.unary), self.unary, *self._marginal_values)

    def entropy(self) -> torch.Tensor:
        """(B,), nats: H(z_1) + sum_t H(z_t+1 | z_t), each from the marginals, so that large scores do not cancel in it."""
        edges, nodes = self._marginals()
        # The pairs decide where a chain ends: past the length, both they and their sums are 0.
        given_previous = _surprise(edges).sum((1, 2, 3)) - _surprise(edges.sum(-1)).sum((1, 2))
        return _surprise(nodes[:, 0]).sum(-1) + given_previous

    def cross_entropy(self, other: "LinearChainCRF") -> torch.Tensor:
        """-E[log other(z)] under this distribution: (B,), nats; inf where `other` forbids what this allows.

        Differentiable in both.

        Raises:
            ValueError: chains of other shapes, or (on a CPU, or with `validate_args`) of other lengths.
        """
        self._check_same_sequences(other)
        edges, nodes = self._marginals()
        # 0 * -inf is 0 here, in the value and in the gradient.
        edge_scores = for_every_edge(other.transitions, other.unary).masked_fill(edges == 0, 0.0)
        node_scores = other.unary.masked_fill(nodes == 0, 0.0)
        return -other._log_prob_of((nodes * node_scores).sum(-1), (edges * edge_scores).sum((-1, -2)))

    # ---- single sequences --------------------------------------------------------------------------------------------

    def score(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of scores of sequences (..., B, n), which is log p(z) + log_partition: (..., B)."""
        of_states, of_edges = self._scores_of(value)
        return of_states.sum(-1) + of_edges.sum(-1)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Of sequences (..., B, n): (..., B), nats; -inf for a forbidden one.

        Raises:
            ValueError: a shape that does not fit, or (on a CPU, or with `validate_args`) numbers that are no states.
        """
        return self._log_prob_of(*self._scores_of(value))

    def _log_prob_of(self, of_states: torch.Tensor, of_edges: torch.Tensor) -> torch.Tensor:
        """From the scores (..., B, n) at each position and (..., B, n-1) between them, or their means over sequences."""
        # Position by position less what the forward pass subtracted there: two large sums would cancel.
        arriving = torch.nn.functional.pad(of_edges, (1, 0))
        return (of_states + arriving - self._forward.offsets).sum(-1) - self._log_partition_remainder()

    def _scores_of(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        check_value(value, *self.batch_shape, *self.event_shape)
        value, inside = value.long(), self._inside
        if inside is not None:
            value = value.masked_fill(~inside, 0)
        if self._may_look(self.unary):
            check_states(value, self.num_states)
        rows = torch.arange(*self.batch_shape, device=value.device).unsqueeze(-1)
        positions = torch.arange(*self.event_shape, device=value.device)
        edge = (value[..., :-1], value[..., 1:])
        if self.transitions.dim() == 4:
            edge = (rows, positions[:-1], *edge)
        of_states, of_edges = self.unary[rows, positions, value], self.transitions[edge]
        if inside is not None:
            of_states, of_edges = of_states.masked_fill(~inside, 0.0), of_edges.masked_fill(~inside[:, 1:], 0.0)
        return of_states, of_edges

    @cached_property
    def argmax(self) -> torch.Tensor:
        """The most probable sequence: (B, n)."""
        return best_paths(self.transitions, self.unary, self._inside, 1)[0][0]

    def k_best(self, k: int) -> BestPaths:
        """The `k` most probable sequences and their scores: see `BestPaths`.

        Raises:
            ValueError: k < 1.
        """
        check_k_best(k)
        paths, exists = best_paths(self.transitions, self.unary, self._inside, k)
        return BestPaths(paths, self.score(paths).masked_fill(~exists, -torch.inf))

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Exact samples (*sample_shape, B, n).

        What a row draws, and the state in which it leaves its generator, depends neither on how far the batch is padded nor,
        with a list of generators, on the other rows.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        shape = torch.Size(sample_shape)
        noise = noise_of_positions(shape, *self.batch_shape, *self.event_shape, generator, self.unary.device)
        noise = noise.view(shape.numel(), *noise.shape[-2:])
        return sample_paths(self.transitions, self._forward, self._inside, noise).view(shape + self._extended_shape())

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        """All sequences: (C^n, B, n), or (C^n, 1, n) without `expand`. Forbidden ones are among them, with a probability of 0.

        Raises:
            ValueError: more than a million sequences.
            NotImplementedError: rows of a length other than n, which have fewer sequences than the rest.
        """
        length, states = self.event_shape[0], self.num_states
        if states**length > ENUMERATION_LIMIT:
            raise ValueError(
                f"There are {states}^{length} sequences, and at most {ENUMERATION_LIMIT:,} are written down. Use what needs "
                "no list: log_partition, marginals, entropy, k_best or sample."
            )
        if self._inside is not None and not self._inside.all():
            raise NotImplementedError(
                "Rows of different lengths have different numbers of sequences: enumerate them one by one."
            )
        classes = torch.arange(states, device=self.unary.device)
        values = torch.cartesian_prod(*[classes] * length).view(-1, 1, length)
        return values.expand(-1, *self.batch_shape, -1) if expand else values

    # ---- the same with other parameters ------------------------------------------------------------------------------

    def detached(self) -> "LinearChainCRF":
        """The same distribution, with no gradient to its scores."""
        return LinearChainCRF(self.transitions.detach(), self.unary.detach(), self.lengths)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "LinearChainCRF":
        """One row for each of B: the batch shape may only become (B,)."""
        shape = single_batch_dimension(batch_shape, "a chain has")
        transitions = self.transitions
        if transitions.dim() == 4:
            transitions = transitions.expand(*shape, -1, -1, -1)
        lengths = None if self.lengths is None else self.lengths.expand(shape)
        return LinearChainCRF(transitions, self.unary.expand(*shape, -1, -1), lengths)

    def _check_same_sequences(self, other: "LinearChainCRF") -> None:
        if self.unary.shape != other.unary.shape:
            raise ValueError(
                f"The chains have (B, n, C) = {tuple(self.unary.shape)} and {tuple(other.unary.shape)}: they must be over the "
                "same sequences."
            )
        if (
            self._may_look(self.unary)
            and self.lengths is not other.lengths
            and not torch.equal(self._all_inside, other._all_inside)
        ):
            raise ValueError("The chains have rows of different lengths: they must be over the same sequences.")

    @property
    def _all_inside(self) -> torch.Tensor:
        return torch.ones_like(self.unary[..., 0], dtype=torch.bool) if self._inside is None else self._inside


def _surprise(probability: torch.Tensor) -> torch.Tensor:
    """-p log p, which is 0 at p = 0, with a gradient of 0 there: what is impossible stays so when a score moves."""
    return -probability * probability.masked_fill(probability == 0, 1.0).log()
