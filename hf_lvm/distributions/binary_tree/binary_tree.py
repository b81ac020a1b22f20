"""The conditional random field over binary trees: an exact distribution over the bracketings of a sentence."""

from collections.abc import Sequence

import torch
from torch.distributions import constraints
from torch.distributions.utils import lazy_property

from hf_lvm.distributions.binary_tree.checks import (
    check_masks,
    check_possible,
    check_required,
    check_same_lengths,
    check_scores,
    check_shape,
    check_trees,
)
from hf_lvm.distributions.binary_tree.constraints import constrained_scores, within
from hf_lvm.distributions.binary_tree.derivatives import Entropy, LogPartition, Marginals
from hf_lvm.distributions.binary_tree.distinct import DistinctTrees, sample_distinct_trees
from hf_lvm.distributions.binary_tree.inside_outside import FORBIDDEN, InsidePass, inside_pass, outside_pass
from hf_lvm.distributions.binary_tree.labels import label_entropy, label_log_probs, log_sum, sample_labels, with_labels
from hf_lvm.distributions.binary_tree.sampling import SplitWeights, sample_trees, split_weights
from hf_lvm.distributions.binary_tree.search import BestTrees, best_trees
from hf_lvm.distributions.lengths import check_lengths
from hf_lvm.distributions.noise import Generators, as_gumbel, noise_of_cells, noise_of_positions
from hf_lvm.distributions.structured import RelaxableDistribution, check_k_best, single_batch_dimension


class BinaryTreeCRF(RelaxableDistribution):
    """p(tree) proportional to exp(sum of the scores of its spans): batch shape (B,), event shape (n, n) or (n, n, L).

    A value is a mask of spans: True at [i, j] for each span i..j, both inclusive, of the tree. A binary tree over n words has
    2n - 1 of them: the n words, the whole sentence, and for every span of two words or more its two parts. The scores of
    single words count, though every tree has them. With scores (B, n, n, L) each span of a tree has one of L labels too, and a
    value is True at [i, j, label].

    Everything is exact, runs over the batch at once in n - 1 steps, and waits for no result on the device. Numbers are float32
    or, if the scores are wider, as wide as they are; under autocast too. log Z and its gradient keep O(B n^2) numbers and take
    O(B n^3) time. All but samples and masks can be differentiated, as often as wished.

    A score of -inf forbids a span, or a label for it, and so does one below -1e30, such as the lowest number of a type. In a
    row that has no possible tree left `log_partition` is -inf, `log_prob` is nan, all marginals and gradients are 0, and masks
    are all False; `validate_args` refuses such a row.

    Scores below the diagonal and past the length of a row count for nothing, whatever they are: there masks are False,
    marginals are 0, and `log_prob` and `score` ignore the value.

    ```python
    >>> trees = BinaryTreeCRF(torch.zeros(1, 3, 3))
    >>> trees.log_partition                             # log 2: there are two trees over three words
    tensor([0.6931])
    >>> trees.marginals[0]
    tensor([[1.0000, 0.5000, 1.0000],
            [0.0000, 1.0000, 0.5000],
            [0.0000, 0.0000, 1.0000]])

    ```

    Args:
        scores: (B, n, n), for the span i..j at [row, i, j], or (B, n, n, L), for the span with each label.
        lengths: (B,), integers from 1 to n; None where all are n.
        validate_args: whether to look at values: scores, and whether what is given to `score` and `log_prob` is a tree. Shapes
            are always checked; lengths, and required spans that cross, on a CPU always, and on another device with
            `validate_args`, where it waits for the device.

    Raises:
        ValueError: scores or lengths of another shape or type, lengths out of range; with `validate_args`, scores that are nan
            or +inf, and rows without a possible tree.
    """

    def __init__(self, scores: torch.Tensor, lengths: torch.Tensor | None = None, validate_args: bool | None = False):
        check_shape(scores)
        batch, length = scores.shape[:2]
        self.scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        super().__init__(torch.Size((batch,)), scores.shape[1:], validate_args=validate_args)
        if lengths is not None:
            check_lengths(lengths, batch, length, look=self._may_look(lengths))
            lengths = lengths.to(scores.device, torch.long, non_blocking=True)
        self.lengths = lengths
        if self._validate_args:
            check_scores(self.scores, lengths)
            check_possible(self._inside.log_partition)

    @property
    def num_labels(self) -> int | None:
        """L; None for spans without labels."""
        return self.event_shape[2] if len(self.event_shape) == 3 else None

    @property
    def support(self) -> constraints.Constraint:
        """Masks; that they are trees is checked by `log_prob` under `validate_args`."""
        return constraints.independent(constraints.boolean, len(self.event_shape))

    @lazy_property
    def _cells(self) -> torch.Tensor:
        """The spans within the lengths: (B, n, n), or (1, n, n) where all lengths are n."""
        return within(self.lengths, self.event_shape[0], self.scores.device)

    @property
    def _event_cells(self) -> torch.Tensor:
        """The same, to go with scores and masks."""
        return self._cells if self.num_labels is None else self._cells.unsqueeze(-1)

    @property
    def _label_scores(self) -> torch.Tensor:
        """(B, n, n, L), with 0 for what is no span, and -inf for all that is forbidden."""
        scores = self.scores.masked_fill(~self._event_cells, 0.0)
        return scores.masked_fill(scores < FORBIDDEN, -torch.inf)

    @property
    def _span_scores(self) -> torch.Tensor:
        """The scores of spans whatever their label: (B, n, n)."""
        return self.scores if self.num_labels is None else log_sum(self._label_scores, -1)

    # Kept without gradients, which every use attaches anew: a backward pass through one use frees nothing of another.
    @lazy_property
    def _inside(self) -> InsidePass:
        return inside_pass(self._span_scores.detach(), self.lengths)

    @lazy_property
    def _packed_marginals(self) -> torch.Tensor:
        return outside_pass(self._inside, self.lengths)

    @lazy_property
    def _split_weights(self) -> SplitWeights:
        return split_weights(self._inside.chart)

    @property
    def _possible(self) -> torch.Tensor:
        """Whether a row has a tree: (B,)."""
        return self._inside.log_partition > -torch.inf

    # ---- sums over all trees -----------------------------------------------------------------------------------------

    @property
    def log_partition(self) -> torch.Tensor:
        """log of the sum of exp(score) over all trees: (B,), nats. Its gradient is the marginals."""
        return LogPartition.apply(self._span_scores, self.lengths, *self._inside)

    @property
    def marginals(self) -> torch.Tensor:
        """p(i..j is in the tree), differentiable: (B, n, n), or p(i..j is in it with that label), (B, n, n, L)."""
        if self.num_labels is None:
            return self._span_marginals
        return self._span_marginals.unsqueeze(-1) * label_log_probs(self._label_scores).exp()

    @property
    def _span_marginals(self) -> torch.Tensor:
        return Marginals.apply(self._span_scores, self.lengths, self._packed_marginals, *self._inside)

    def entropy(self) -> torch.Tensor:
        """(B,), nats: the mean of the entropy of each split and label, so that large scores do not cancel in it."""
        of_splits = Entropy.apply(self._span_scores, self.lengths, self._packed_marginals, *self._inside)
        if self.num_labels is None:
            return of_splits
        return of_splits + (self._span_marginals * label_entropy(self._label_scores)).sum((-1, -2))

    def cross_entropy(self, other: "BinaryTreeCRF") -> torch.Tensor:
        """-E[log other(tree)] under this distribution: (B,), nats; inf where `other` forbids what this allows.

        Differentiable in both.

        Raises:
            ValueError: trees over sentences of other shapes, or (on a CPU, or with `validate_args`) of other lengths.
        """
        if self.scores.shape != other.scores.shape:
            raise ValueError(
                f"The trees have scores {tuple(self.scores.shape)} and {tuple(other.scores.shape)}: they must be over the "
                "same sentences."
            )
        if self._may_look(self.scores) and self.lengths is not other.lengths:
            check_same_lengths(self.lengths, other.lengths, self.event_shape[0])
        marginals = self.marginals
        # 0 * -inf is 0 here, in the value and in the gradient.
        scores = other.scores.masked_fill(marginals == 0, 0.0)
        return other.log_partition - (marginals * scores).flatten(1).sum(1)

    # ---- single trees ------------------------------------------------------------------------------------------------

    def score(self, spans: torch.Tensor) -> torch.Tensor:
        """The sum of scores of trees (..., B, n, n) or (..., B, n, n, L), which is log p(tree) + log_partition: (..., B).

        Raises:
            ValueError: a shape that does not fit; with `validate_args`, what is no binary tree.
        """
        check_masks(spans, *self.batch_shape, self.event_shape, "A value")
        spans = spans & self._event_cells
        if self._validate_args:
            check_trees(spans, self.lengths, self.num_labels is not None)
        return self._sum_of_scores(spans)

    def log_prob(self, spans: torch.Tensor) -> torch.Tensor:
        """Of trees (..., B, n, n) or (..., B, n, n, L): (..., B), nats; -inf for a forbidden one.

        Raises:
            ValueError: a shape that does not fit; with `validate_args`, what is no binary tree.
        """
        return self.score(spans) - self.log_partition

    def _sum_of_scores(self, spans: torch.Tensor) -> torch.Tensor:
        return self.scores.masked_fill(~spans, 0.0).flatten(-len(self.event_shape)).sum(-1)

    @lazy_property
    def argmax(self) -> torch.Tensor:
        """The most probable tree: (B, n, n) or (B, n, n, L), bool."""
        return best_trees(self.scores.detach(), self.lengths, 1)[0][0]

    @property
    def max_score(self) -> torch.Tensor:
        """The score of the most probable tree, with its gradient: (B,)."""
        return self._sum_of_scores(self.argmax).masked_fill(~self._possible, -torch.inf)

    def k_best(self, k: int) -> BestTrees:
        """The `k` most probable trees and their scores: see `BestTrees`.

        Raises:
            ValueError: k < 1.
        """
        check_k_best(k)
        spans, exists = best_trees(self.scores.detach(), self.lengths, k)
        return BestTrees(spans, self._sum_of_scores(spans).masked_fill(~exists, -torch.inf))

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Exact samples (*sample_shape, B, n, n) or (*sample_shape, B, n, n, L), bool.

        What a row draws, and the state in which it leaves its generator, depends neither on how far the batch is padded nor,
        with a list of generators, on the other rows.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        shape, (batch,), length = torch.Size(sample_shape), self.batch_shape, self.event_shape[0]
        count = (shape.numel(),)
        noise = noise_of_positions(count, batch, length - 1, generator, self.scores.device)
        spans = sample_trees(self._split_weights, self.lengths, noise)
        spans = spans & self._possible[:, None, None]
        if self.num_labels is not None:
            noise = noise_of_cells(count, batch, length, generator, self.scores.device)
            spans = with_labels(spans, sample_labels(self._label_scores, noise), self.num_labels)
        return spans.view(shape + self._extended_shape())

    def sample_and_log_prob(
        self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples as of `sample`, and their log probabilities (*sample_shape, B), nats, with a gradient to the scores."""
        spans = self.sample(sample_shape, generator)
        return spans, self._sum_of_scores(spans).masked_fill(~self._possible, -torch.inf) - self.log_partition

    def sample_without_replacement(self, k: int, generator: Generators = None) -> DistinctTrees:
        """`k` different trees of each row, in the order in which they would be drawn one by one: see `DistinctTrees`.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).

        Raises:
            ValueError: k < 1.
        """
        if k < 1:
            raise ValueError(f"Samples without replacement need a count of at least 1, but k={k}.")
        (batch,), length, device = self.batch_shape, self.event_shape[0], self.scores.device
        noise, label_noise = as_gumbel(noise_of_cells((k,), batch, length, generator, device)), None
        if self.num_labels is not None:
            label_noise = noise_of_positions((k,), batch, 2 * length * self.num_labels, generator, device)
            label_noise = as_gumbel(label_noise).unflatten(-1, (2 * length, self.num_labels))
        scores = self._label_scores.detach()
        return sample_distinct_trees(self._split_weights, scores, self.lengths, self._possible, noise, label_noise)

    def _perturbed(self, shape: torch.Size, temperature: float, generator: Generators) -> "BinaryTreeCRF":
        (batch,), length = self.batch_shape, self.event_shape[0]
        noise = noise_of_cells(shape, batch, length, generator, self.scores.device, depth=self.num_labels)
        scores = (self.scores + as_gumbel(noise).to(self.scores.dtype)) / temperature
        lengths = None if self.lengths is None else self.lengths.repeat(shape.numel())
        return BinaryTreeCRF(scores.view(-1, *self.event_shape), lengths)

    # ---- the same with other parameters ------------------------------------------------------------------------------

    def constrained(self, required: torch.Tensor | None = None, forbidden: torch.Tensor | None = None) -> "BinaryTreeCRF":
        """p(tree | all required spans are in it, no forbidden one is).

        Its `log_partition` less that of this distribution is the log probability of the condition. Partial brackets, as of a
        treebank, are required spans. A required span that is given with several labels must be there with one of them: with
        all of them, it may have any.

        Args:
            required, forbidden: masks (B, n, n) or (B, n, n, L), like values, or without B for all rows. Cells past a length
                and below the diagonal are ignored.

        Raises:
            ValueError: masks of other shapes; (on a CPU, or with `validate_args`) required spans that cross each other; with
                `validate_args`, conditions that leave a row without a tree.
        """
        for name, masks in (("required", required), ("forbidden", forbidden)):
            if masks is not None:
                check_masks(masks, *self.batch_shape, self.event_shape, name)
        if required is not None and self._may_look(self.scores):
            needed = required & self._event_cells
            check_required(needed if self.num_labels is None else needed.any(-1))
        scores = constrained_scores(self.scores, self._cells, required, forbidden)
        return BinaryTreeCRF(scores, self.lengths, self._validate_args)

    def detached(self) -> "BinaryTreeCRF":
        """The same distribution, with no gradient to its scores."""
        return BinaryTreeCRF(self.scores.detach(), self.lengths)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "BinaryTreeCRF":
        """One row for each of B: the batch shape may only become (B,)."""
        shape = single_batch_dimension(batch_shape, "trees have")
        lengths = None if self.lengths is None else self.lengths.expand(shape)
        return BinaryTreeCRF(self.scores.expand(*shape, *self.event_shape), lengths)
