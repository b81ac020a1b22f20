"""The conditional random field over binary trees: an exact distribution over the bracketings of a sentence."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch.distributions import Distribution, constraints, register_kl

from hf_lvm.distributions.binary_tree.checks import (
    check_lengths,
    check_masks,
    check_required,
    check_scores,
    check_shape,
    check_trees,
)
from hf_lvm.distributions.binary_tree.constraints import crossing, within
from hf_lvm.distributions.binary_tree.derivatives import Entropy, LogPartition, Marginals
from hf_lvm.distributions.binary_tree.distinct import DistinctTrees, sample_distinct_trees
from hf_lvm.distributions.binary_tree.inside_outside import InsidePass, inside_pass, outside_pass
from hf_lvm.distributions.binary_tree.sampling import SplitWeights, sample_trees, split_weights
from hf_lvm.distributions.binary_tree.search import best_trees
from hf_lvm.distributions.noise import Generators, gumbel_noise_of_cells, noise_of_positions


class BestTrees(NamedTuple):
    """The K best trees of B rows, best first.

    Attributes:
        spans: (K, B, n, n), bool. All False where a row has fewer than K possible trees.
        scores: (K, B), sums of scores, as `BinaryTreeCRF.score` gives them, with their gradient; -inf where there is no tree.
            Less `log_partition` they are log probabilities.
    """

    spans: torch.Tensor
    scores: torch.Tensor


class BinaryTreeCRF(Distribution):
    """p(tree) proportional to exp(sum of the scores of its spans): batch shape (B,), event shape (n, n).

    A value is a mask of spans: True at [i, j] for each span i..j, both inclusive, of the tree. A binary tree over n words has
    2n - 1 of them: the n words, the whole sentence, and for every span of two words or more its two parts. The scores of
    single words count, though every tree has them. Everything is exact, runs over the batch at once in n - 1 steps, and waits
    for no result on the device. Numbers are float32 or, if the scores are wider, as wide as they are; under autocast too. log
    Z and its gradient keep O(B n^2) numbers and take O(B n^3) time. All but samples and masks can be differentiated, as often
    as wished.

    A score of -inf forbids a span. In a row that has no possible tree left `log_partition` is -inf, `log_prob` is nan, all
    marginals and gradients are 0, and masks are all False; `validate_args` refuses such a row.

    Scores below the diagonal and past the length of a row count for nothing, whatever they are: there masks are False,
    marginals are 0, and `log_prob` and `score` ignore the value.

    ```python
    >>> trees = BinaryTreeCRF(torch.zeros(1, 3, 3))
    >>> trees.log_partition.exp()                       # the two trees over three words
    tensor([2.0000])
    >>> trees.marginals[0]
    tensor([[1.0000, 0.5000, 1.0000],
            [0.0000, 1.0000, 0.5000],
            [0.0000, 0.0000, 1.0000]])

    ```

    Args:
        scores: (B, n, n), for the span i..j at [row, i, j].
        lengths: (B,), integers from 1 to n; None where all are n.
        validate_args: whether to look at values: scores, and whether what is given to `score` and `log_prob` is a tree. Shapes
            are always checked; lengths, and required spans that cross, on a CPU always, and on another device with
            `validate_args`, where it waits for the device.

    Raises:
        ValueError: scores or lengths of another shape or type, lengths out of range; with `validate_args`, scores that are nan
            or +inf, and rows without a possible tree.
    """

    arg_constraints = {}

    def __init__(self, scores: torch.Tensor, lengths: torch.Tensor | None = None, validate_args: bool | None = False):
        check_shape(scores)
        batch, length, _ = scores.shape
        self.scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        super().__init__(torch.Size((batch,)), torch.Size((length, length)), validate_args=validate_args)
        if lengths is not None:
            check_lengths(lengths, batch, length, look=self._may_look(lengths))
            lengths = lengths.to(scores.device, torch.long)
        self.lengths = lengths
        if self._validate_args:
            check_scores(self.scores, lengths, self._inside.log_partition)

    @property
    def support(self) -> constraints.Constraint:
        """Masks; that they are trees is checked by `log_prob` under `validate_args`."""
        return constraints.independent(constraints.boolean, 2)

    # Kept without gradients, which every use attaches anew: a backward pass through one use frees nothing of another.
    @cached_property
    def _inside(self) -> InsidePass:
        return inside_pass(self.scores.detach(), self.lengths)

    @cached_property
    def _packed_marginals(self) -> torch.Tensor:
        return outside_pass(self._inside, self.lengths)

    @cached_property
    def _split_weights(self) -> SplitWeights:
        return split_weights(self._inside.chart)

    @cached_property
    def _cells(self) -> torch.Tensor:
        """The spans within the lengths: (B, n, n), or (1, n, n) where all lengths are n."""
        return within(self.lengths, self.event_shape[0], self.scores.device)

    # ---- sums over all trees -----------------------------------------------------------------------------------------

    @property
    def log_partition(self) -> torch.Tensor:
        """log of the sum of exp(score) over all trees: (B,), nats. Its gradient is the marginals."""
        return LogPartition.apply(self.scores, self.lengths, *self._inside)

    @property
    def marginals(self) -> torch.Tensor:
        """p(i..j is in the tree), differentiable: (B, n, n)."""
        return Marginals.apply(self.scores, self.lengths, self._packed_marginals, *self._inside)

    def entropy(self) -> torch.Tensor:
        """(B,), nats: the mean of the entropy of each split, so that large scores do not cancel in it."""
        return Entropy.apply(self.scores, self.lengths, self._packed_marginals, *self._inside)

    def cross_entropy(self, other: "BinaryTreeCRF") -> torch.Tensor:
        """-E[log other(tree)] under this distribution: (B,), nats; inf where `other` forbids what this allows.

        Differentiable in both.

        Raises:
            ValueError: trees over sentences of other shapes, or (on a CPU, or with `validate_args`) of other lengths.
        """
        self._check_same_sentences(other)
        marginals = self.marginals
        # 0 * -inf is 0 here, in the value and in the gradient.
        scores = other.scores.masked_fill(marginals == 0, 0.0)
        return other.log_partition - (marginals * scores).sum((-1, -2))

    # ---- single trees ------------------------------------------------------------------------------------------------

    def score(self, spans: torch.Tensor) -> torch.Tensor:
        """The sum of scores of trees (..., B, n, n), which is log p(tree) + log_partition: (..., B).

        Raises:
            ValueError: a shape that does not fit; with `validate_args`, what is no binary tree.
        """
        check_masks(spans, *self.batch_shape, self.event_shape[0], "A value")
        spans = spans & self._cells
        if self._validate_args:
            check_trees(spans, self.lengths)
        return self.scores.masked_fill(~spans, 0.0).sum((-1, -2))

    def log_prob(self, spans: torch.Tensor) -> torch.Tensor:
        """Of trees (..., B, n, n): (..., B), nats; -inf for a forbidden one.

        Raises:
            ValueError: a shape that does not fit; with `validate_args`, what is no binary tree.
        """
        return self.score(spans) - self.log_partition

    @cached_property
    def argmax(self) -> torch.Tensor:
        """The most probable tree: (B, n, n), bool."""
        return best_trees(self.scores.detach(), self.lengths, 1)[0][0]

    @property
    def mode(self) -> torch.Tensor:
        """The same as `argmax`: (B, n, n)."""
        return self.argmax

    @property
    def max_score(self) -> torch.Tensor:
        """The score of the most probable tree, with its gradient: (B,)."""
        return self._best_scores(self.argmax, self._inside.log_partition > -torch.inf)

    def k_best(self, k: int) -> BestTrees:
        """The `k` most probable trees and their scores: see `BestTrees`.

        Raises:
            ValueError: k < 1.
        """
        if k < 1:
            raise ValueError(f"k_best needs a count of at least 1, but k={k}.")
        spans, exists = best_trees(self.scores.detach(), self.lengths, k)
        return BestTrees(spans, self._best_scores(spans, exists))

    def _best_scores(self, spans: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
        return self.scores.masked_fill(~spans, 0.0).sum((-1, -2)).masked_fill(~exists, -torch.inf)

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Exact samples (*sample_shape, B, n, n), bool.

        What a row draws, and the state in which it leaves its generator, depends neither on how far the batch is padded nor,
        with a list of generators, on the other rows.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        shape, steps = torch.Size(sample_shape), self.event_shape[0] - 1
        noise = noise_of_positions(shape, *self.batch_shape, steps, generator, self.scores.device)
        spans = sample_trees(self._split_weights, self.lengths, noise.view(shape.numel(), *self.batch_shape, steps))
        spans = spans & (self._inside.log_partition > -torch.inf)[:, None, None]
        return spans.view(shape + self._extended_shape())

    def sample_and_log_prob(
        self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples as of `sample`, and their log probabilities (*sample_shape, B), nats, with a gradient to the scores."""
        spans = self.sample(sample_shape, generator)
        return spans, self._best_scores(spans, spans[..., 0, 0]) - self.log_partition

    def sample_without_replacement(self, k: int, generator: Generators = None) -> DistinctTrees:
        """`k` different trees of each row, in the order in which they would be drawn one by one: see `DistinctTrees`.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).

        Raises:
            ValueError: k < 1.
        """
        if k < 1:
            raise ValueError(f"Samples without replacement need a count of at least 1, but k={k}.")
        noise = gumbel_noise_of_cells((k,), *self.batch_shape, self.event_shape[0], generator, self.scores.device)
        possible = self._inside.log_partition > -torch.inf
        return sample_distinct_trees(self._split_weights, self.lengths, possible, noise)

    def relaxed_sample(
        self,
        sample_shape: Sequence[int] = torch.Size(),
        temperature: float = 1.0,
        hard: bool = False,
        generator: Generators = None,
    ) -> torch.Tensor:
        """Trees that are a differentiable function of the scores and of noise: (*sample_shape, B, n, n), numbers in [0, 1].

        Perturb and parse (Corro and Titov 2019): independent Gumbel noise is added to every score of every sentence, and the
        result is the marginals at this temperature. Towards temperature 0 they become the best tree of the perturbed scores.
        That tree is not a sample of this distribution, whatever the temperature: exact samples would need noise for each tree,
        not for each span (Papandreou and Yuille 2011). Use it where a gradient through z is wanted and its bias can be borne.

        Args:
            temperature: above 0; high ones give soft trees, low ones gradients that are large and rare.
            hard: whether the value is the best tree of the perturbed scores, 0 and 1, with the gradient of the relaxed one
                (straight-through).
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).

        Raises:
            ValueError: a temperature that is not above 0.
        """
        if not temperature > 0:
            raise ValueError(f"The temperature of a relaxed sample must be above 0, not {temperature}.")
        shape = torch.Size(sample_shape)
        noise = gumbel_noise_of_cells(shape, *self.batch_shape, self.event_shape[0], generator, self.scores.device)
        scores = ((self.scores + noise.to(self.scores.dtype)) / temperature).view(-1, *self.event_shape)
        perturbed = BinaryTreeCRF(scores, None if self.lengths is None else self.lengths.repeat(shape.numel()))
        relaxed = perturbed.marginals
        if hard:
            relaxed = perturbed.argmax.to(relaxed.dtype) + (relaxed - relaxed.detach())
        return relaxed.view(shape + self._extended_shape())

    # ---- the same with other parameters ------------------------------------------------------------------------------

    def constrained(self, required: torch.Tensor | None = None, forbidden: torch.Tensor | None = None) -> "BinaryTreeCRF":
        """p(tree | all required spans are in it, no forbidden one is).

        Its `log_partition` less that of this distribution is the log probability of the condition. Partial brackets, as of a
        treebank, are required spans.

        Args:
            required, forbidden: masks (B, n, n), or (n, n) for all rows. Cells past a length and below the diagonal are
                ignored.

        Raises:
            ValueError: masks of other shapes; (on a CPU, or with `validate_args`) required spans that cross each other; with
                `validate_args`, conditions that leave a row without a tree.
        """
        scores = self.scores
        if required is not None:
            check_masks(required, *self.batch_shape, self.event_shape[0], "required")
            required = required & self._cells
            if self._may_look(scores):
                check_required(required)
            scores = scores.masked_fill(crossing(required), -torch.inf)
        if forbidden is not None:
            check_masks(forbidden, *self.batch_shape, self.event_shape[0], "forbidden")
            scores = scores.masked_fill(forbidden & self._cells, -torch.inf)
        return BinaryTreeCRF(scores, self.lengths, self._validate_args)

    def detached(self) -> "BinaryTreeCRF":
        """The same distribution, with no gradient to its scores."""
        return BinaryTreeCRF(self.scores.detach(), self.lengths)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "BinaryTreeCRF":
        """One row for each of B: the batch shape may only become (B,)."""
        shape = torch.Size(batch_shape)
        if len(shape) != 1:
            raise ValueError(f"The batch shape {tuple(shape)} is not (B,): trees have a single batch dimension.")
        lengths = None if self.lengths is None else self.lengths.expand(shape)
        return BinaryTreeCRF(self.scores.expand(*shape, -1, -1), lengths)

    def _check_same_sentences(self, other: "BinaryTreeCRF") -> None:
        if self.scores.shape != other.scores.shape:
            raise ValueError(
                f"The trees have scores {tuple(self.scores.shape)} and {tuple(other.scores.shape)}: they must be over the "
                "same sentences."
            )
        if self._may_look(self.scores) and self.lengths is not other.lengths:
            batch, length, _ = self.scores.shape
            ours, theirs = (
                torch.full((batch,), length) if each.lengths is None else each.lengths.cpu() for each in (self, other)
            )
            if not torch.equal(ours, theirs):
                raise ValueError(
                    f"The sentences have lengths {ours.tolist()} and {theirs.tolist()}: they must be the same sentences."
                )

    def _may_look(self, values: torch.Tensor) -> bool:
        """Whether a look at numbers is free, or asked for; a compiled graph has none to look at."""
        return (values.device.type == "cpu" or self._validate_args) and not torch.compiler.is_compiling()


@register_kl(BinaryTreeCRF, BinaryTreeCRF)
def _kl(posterior: BinaryTreeCRF, prior: BinaryTreeCRF) -> torch.Tensor:
    return posterior.cross_entropy(prior) - posterior.entropy()
