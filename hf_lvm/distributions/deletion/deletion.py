"""A distribution over the compressions of a sentence that deletion leaves: which words are kept, given pair by pair."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch.distributions import constraints

from hf_lvm.distributions.deletion.canonical import allowed_pairs, canonical_masks, scores_of_pairs
from hf_lvm.distributions.deletion.checks import (
    check_count,
    check_enumerable,
    check_masks,
    check_pair_values,
    check_possible,
    check_same_count,
    check_same_sentences,
    check_same_size,
    check_scores,
    check_scores_shape,
    check_unary,
    check_words,
)
from hf_lvm.distributions.deletion.sampling import noise_of_pairs, sample_masks
from hf_lvm.distributions.deletion.search import best_masks
from hf_lvm.distributions.deletion.sums import Completions, backward_pass, step_log_probs, summed_over_layers, visits
from hf_lvm.distributions.lengths import check_lengths
from hf_lvm.distributions.logarithms import expectation
from hf_lvm.distributions.noise import Generators, as_gumbel, noise_of_positions
from hf_lvm.distributions.structured import RelaxableDistribution, check_k_best, single_batch_dimension


class BestMasks(NamedTuple):
    """The K best masks of B rows, best first.

    Attributes:
        masks: (K, B, S), bool. All False where a row has fewer than K possible masks.
        scores: (K, B), sums of scores, as `CanonicalDeletion.score` gives them, with their gradient; -inf where there is no
            mask. Less `log_partition` they are log probabilities.
    """

    masks: torch.Tensor
    scores: torch.Tensor


class CanonicalDeletion(RelaxableDistribution):
    """p(mask) proportional to exp(sum of the scores of consecutive kept pairs): batch shape (B,), event shape (S,), bool.

    A value tells which words of a sentence of S words are kept. Its pairs lead from the begin to the first kept word, from
    each to the next, and from the last to the end; `pair_scores[row, i, j]` is that of the pair

        from the begin (i = 0) or the word at i - 1,    to the word at j, or to the end (j = S, in rows of any length).

    Where a word repeats, several masks leave the same words. Only the canonical one has a probability, the leftmost: no word
    dropped between two kept ones, or before the first, is the same as the kept one that follows; after the last, anything may
    be dropped. So p(mask) is p(compression), and `canonical` finds the mask of a compression from any other.

    All sums over masks are exact, O(B S^2) in one loop over positions, run over the batch at once, and wait for no result on
    the device. They are taken in float64; results are float32 or, if the scores are wider, as wide as they are, under autocast
    too. All but samples and best masks can be differentiated, as often as wished.

    Whatever is a sum over consecutive kept pairs has an exact mean, `expected`. With log p(c_t | c_t-1) of a language model at
    [row, i, j] and its log p(end | c_t) in the last column, KL(q || p) is -q.entropy() - q.expected(log_p). So it is with a
    likelihood of the sentence by its gaps, p(x | c) = product of p(words between | pair), where no gap may have the word that
    follows it: q.entropy() + q.expected(log_p + log_likelihood) is the exact bound, and

        posterior = CanonicalDeletion(log_p + log_likelihood, words, lengths)

    is p(c | x) itself, with log p(x) as its `log_partition`.

    The empty mask has a probability only with `allow_empty`; without, the distribution is that given that a word is kept. A
    prior that allows what this does not is still one: of its mass, KL and bounds count only what this can reach.

    A score of -inf forbids a pair. In a row that has no possible mask left `log_partition` is -inf, `log_prob` is nan, samples
    are all False, and all marginals and gradients are 0; `validate_args` refuses such a row.

    Past the length of a row, words and scores count for nothing, whatever they are: there masks are False, marginals 0, and
    `log_prob` and `score` ignore the value.

    Args:
        pair_scores: (B, S+1, S+1). What stands below the diagonal is ignored.
        words: (B, S), integers, the same for the same word; None where all words of a sentence are taken as different.
        lengths: (B,), integers from 1 to S; None where all are S.
        allow_empty: whether all words may be dropped.
        count: how many words are kept, one number or (B,), see `given_count`; None for any number.
        validate_args: whether to check the scores. Shapes are always checked, lengths and counts on a CPU always and on
            another device with `validate_args`, where it waits for the device.

    Raises:
        ValueError: shapes that do not go together, lengths or counts out of range; with `validate_args`, scores that are nan
            or +inf, and rows without a possible mask.
    """

    has_enumerate_support = True

    def __init__(
        self,
        pair_scores: torch.Tensor,
        words: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        allow_empty: bool = False,
        count: int | torch.Tensor | None = None,
        validate_args: bool | None = False,
    ):
        check_scores_shape(pair_scores)
        batch, length, device = len(pair_scores), pair_scores.shape[1] - 1, pair_scores.device
        self.pair_scores = pair_scores.to(torch.promote_types(pair_scores.dtype, torch.float32))
        super().__init__(torch.Size((batch,)), torch.Size((length,)), validate_args=validate_args)
        if words is not None:
            check_words(words, batch, length)
            words = words.to(device, non_blocking=True)
        if lengths is not None:
            check_lengths(lengths, batch, length, look=self._may_look(lengths))
            lengths = lengths.to(device, torch.long, non_blocking=True)
        self.words, self.lengths, self.allow_empty, self._layers = words, lengths, allow_empty, None
        if count is not None:
            # The work grows with the highest count. Where reading that would wait for the device, the length stands for it.
            highest = count if isinstance(count, int) else None
            count = torch.full((batch,), count) if isinstance(count, int) else count
            check_count(count, batch, length, lengths, allow_empty, look=self._may_look(count))
            if highest is None:
                highest = int(count.max()) if self._may_look(count) else length
            self._layers = highest + 1
            count = count.to(device, torch.long, non_blocking=True)
        self.count = count
        if self._validate_args:
            check_scores(self.pair_scores, self._allowed)
            check_possible(self._log_partition)

    @classmethod
    def from_unary(
        cls, unary: torch.Tensor, pairwise: torch.Tensor | None = None, words: torch.Tensor | None = None, **options
    ) -> "CanonicalDeletion":
        """With the score `unary[row, j] + pairwise[row, i, j]` of a pair to word j, and `pairwise[row, i, S]` to the end.

        Without pairwise scores and repeated words every word is kept on its own, with log odds `unary`, given that one is.

        Args:
            unary: (B, S), log odds of keeping a word.
            pairwise: (B, S+1, S+1), or (S+1, S+1) for all rows, like `pair_scores`; None for zeros.
            words, options: as of the constructor.

        Raises:
            ValueError: as the constructor.
        """
        check_unary(unary, pairwise)
        length = unary.shape[-1]
        scores = torch.nn.functional.pad(unary, (0, 1)).unsqueeze(1).expand(-1, length + 1, -1)
        return cls(scores if pairwise is None else scores + pairwise, words, **options)

    @property
    def support(self) -> constraints.Constraint:
        """Masks; those that are not canonical have a `log_prob` of -inf."""
        return constraints.independent(constraints.boolean, 1)

    @cached_property
    def _allowed(self) -> torch.Tensor:
        """The pairs of canonical masks: (B, S+1, S+1), or (1, S+1, S+1) where all rows are alike."""
        shape = (*self.batch_shape, *self.event_shape)
        return allowed_pairs(*shape, self.words, self.lengths, self.allow_empty, self.pair_scores.device)

    @property
    def _weights(self) -> torch.Tensor:
        """The scores of these pairs, -inf elsewhere: (B, S+1, S+1), float64."""
        return self.pair_scores.double().masked_fill(~self._allowed, -torch.inf)

    @cached_property
    def _start(self) -> torch.Tensor:
        """1 for where every mask starts, at the begin with `count` words to keep: (B, R, S+1)."""
        (batch,), (length,), layers = self.batch_shape, self.event_shape, self._layers or 1
        start = self.pair_scores.new_zeros(batch, layers, length + 1, dtype=torch.float64)
        layer = 0 if self.count is None else self._layer.unsqueeze(-1)
        start[..., 0] = (torch.arange(layers, device=start.device) == layer).double()
        return start

    @property
    def _layer(self) -> torch.Tensor | None:
        # A count that could not be looked at may be out of range, and is then taken as the highest.
        return None if self.count is None else self.count.clamp(0, self._layers - 1)

    # Kept without gradients, which every use attaches anew: a backward pass through one use frees nothing of another.
    @cached_property
    def _completion_values(self) -> torch.Tensor:
        return backward_pass(self._weights, self._layers)

    def _completions(self, weights: torch.Tensor) -> torch.Tensor:
        return Completions.apply(weights, self._completion_values, self.count is not None)

    def _step_log_probs(self) -> list[torch.Tensor]:
        weights = self._weights
        return step_log_probs(weights, self._completions(weights), self.count is not None)

    def _visits(self, steps: list[torch.Tensor]) -> list[torch.Tensor]:
        return visits(steps, self._start, self.count is not None)

    # ---- sums over all masks -----------------------------------------------------------------------------------------

    @property
    def log_partition(self) -> torch.Tensor:
        """log of the sum of exp(score) over all masks: (B,), nats. Its gradient is `pair_marginals`."""
        return self._narrow(self._log_partition)

    @property
    def _log_partition(self) -> torch.Tensor:
        at_begin = self._completions(self._weights)[..., 0]
        return at_begin[:, 0] if self.count is None else at_begin.gather(1, self._layer.unsqueeze(1)).squeeze(1)

    @property
    def pair_marginals(self) -> torch.Tensor:
        """p(i and j are consecutive kept words), begin and end included as in `pair_scores`, differentiable: (B, S+1, S+1)."""
        return self._narrow(self._pair_marginals)

    @property
    def _pair_marginals(self) -> torch.Tensor:
        steps = [each.exp() for each in self._step_log_probs()]
        return summed_over_layers(steps, self._visits(steps))

    @property
    def marginals(self) -> torch.Tensor:
        """p(a word is kept), differentiable: (B, S). Where a word repeats, that it is kept here."""
        return self._narrow(self._pair_marginals[..., :-1].sum(1))

    def entropy(self) -> torch.Tensor:
        """(B,), nats: the mean of the entropy of each step to the next word, so that large scores do not cancel in it."""
        log_probs = self._step_log_probs()
        steps = [each.exp() for each in log_probs]
        surprise = [-expectation(*each) for each in zip(steps, log_probs, strict=True)]
        return self._narrow(sum((at * each).sum(-1) for at, each in zip(self._visits(steps), surprise, strict=True)))

    def expected(self, pair_values: torch.Tensor) -> torch.Tensor:
        """E[sum of `pair_values` over the pairs of a mask]: (B,), differentiable in both.

        Values of pairs that never occur count for nothing, so those may be -inf.

        Args:
            pair_values: (B, S+1, S+1), or (S+1, S+1) for all rows, like `pair_scores`.

        Raises:
            ValueError: another shape.
        """
        check_pair_values(pair_values, self.pair_scores)
        return self._narrow(self._expected(pair_values))

    def _expected(self, pair_values: torch.Tensor) -> torch.Tensor:
        marginals = self._pair_marginals
        values = pair_values.double().expand_as(marginals).masked_fill(marginals == 0, 0.0)
        return (marginals * values).sum((1, 2))

    def cross_entropy(self, other: "CanonicalDeletion") -> torch.Tensor:
        """-E[log other(mask)] under this distribution: (B,), nats; inf where `other` forbids what this allows.

        Differentiable in both.

        Raises:
            ValueError: sentences of other shapes; on a CPU, or with `validate_args`, of other lengths; another distribution
                that is given a number of words where this is not, or, on a CPU or with `validate_args`, is given another.
        """
        look = self._may_look(self.pair_scores)
        check_same_sentences(self.pair_scores, other.pair_scores, self.lengths, other.lengths, look)
        if other.count is not None:
            check_same_count(self.count, other.count, look)
        return self._narrow(other._log_partition - self._expected(other._weights))

    @property
    def count_log_probs(self) -> torch.Tensor:
        """log p(k words are kept) for k from 0 to S: (B, S+1), nats, differentiable; O(B S^3)."""
        numbers = torch.arange(self.event_shape[0] + 1, device=self.pair_scores.device)
        if self.count is not None:
            certain = self.pair_scores.new_zeros(*self.batch_shape, len(numbers))
            return certain.masked_fill(numbers != self.count.unsqueeze(-1), -torch.inf)
        weights = self._weights
        of_counts = Completions.apply(weights, self._counted_completion_values, True)[..., 0]
        return self._narrow(of_counts - self._log_partition.unsqueeze(-1))

    @cached_property
    def _counted_completion_values(self) -> torch.Tensor:
        return backward_pass(self._weights, self.event_shape[0] + 1)

    @property
    def support_size(self) -> torch.Tensor:
        """How many masks are possible: (B,), float64, exact up to 2^53. Different compressions, if no score is -inf."""
        possible = (self._weights > -torch.inf).double()
        return (self._visits([possible] * (self._layers or 1))[0] * possible[..., -1]).sum(-1)

    # ---- single masks ------------------------------------------------------------------------------------------------

    def canonical(self, value: torch.Tensor) -> torch.Tensor:
        """The canonical masks of the compressions that masks (..., B, S) leave, False past the lengths: (..., B, S).

        Raises:
            ValueError: a shape that does not fit.
        """
        value = self._within(value)
        value = value.expand(torch.broadcast_shapes(value.shape, (*self.batch_shape, *self.event_shape)))
        return value if self.words is None else canonical_masks(value, self.words)

    def score(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of scores of masks (..., B, S), which is log p(mask) + log_partition: (..., B).

        -inf for a mask that is not canonical, or does not keep as many words as it must.

        Raises:
            ValueError: a shape that does not fit.
        """
        return self._narrow(self._score(value))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Of masks (..., B, S): (..., B), nats; -inf for one that is not canonical, is forbidden or has another count.

        For a mask that may not be canonical, that of its compression is `log_prob(canonical(value))`.

        Raises:
            ValueError: a shape that does not fit.
        """
        return self._narrow(self._score(value) - self._log_partition)

    def _score(self, value: torch.Tensor) -> torch.Tensor:
        value = self._within(value)
        score = scores_of_pairs(self._weights, value).sum(-1)
        return score if self.count is None else score.masked_fill(value.sum(-1) != self.count, -torch.inf)

    @cached_property
    def argmax(self) -> torch.Tensor:
        """The most probable mask: (B, S), bool."""
        return best_masks(self._weights, self._layers, self._layer, 1)[0][0]

    def k_best(self, k: int) -> BestMasks:
        """The `k` most probable masks and their scores: see `BestMasks`.

        Raises:
            ValueError: k < 1.
        """
        check_k_best(k)
        masks, exists = best_masks(self._weights, self._layers, self._layer, k)
        return BestMasks(masks, self.score(masks).masked_fill(~exists, -torch.inf))

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Exact samples (*sample_shape, B, S), bool.

        What a row draws, and the state in which it leaves its generator, depends neither on how far the batch is padded nor,
        with a list of generators, on the other rows.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        shape = torch.Size(sample_shape)
        noise = noise_of_positions(shape, *self.batch_shape, *self.event_shape, generator, self.pair_scores.device)
        noise = noise.view(shape.numel(), *noise.shape[-2:])
        with torch.no_grad():
            masks = sample_masks(self._step_log_probs(), self._layer, noise)
        return masks.view(shape + self._extended_shape())

    def _perturbed(self, shape: torch.Size, temperature: float, generator: Generators) -> "CanonicalDeletion":
        (batch,), (length,) = self.batch_shape, self.event_shape
        noise = as_gumbel(noise_of_pairs(shape, batch, length, generator, self.pair_scores.device))
        scores = ((self.pair_scores + noise.to(self.pair_scores.dtype)) / temperature).reshape(-1, length + 1, length + 1)
        words, lengths, count = (
            None if each is None else each.repeat(shape.numel(), *[1] * (each.dim() - 1))
            for each in (self.words, self.lengths, self.count)
        )
        return CanonicalDeletion(scores, words, lengths, self.allow_empty, count)

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        """All possible masks: (M, B, S). As each row has its own, `expand` changes nothing.

        Raises:
            ValueError: more than a million masks to look at.
            NotImplementedError: rows that have different numbers of masks.
        """
        (batch,), (length,) = self.batch_shape, self.event_shape
        check_enumerable(batch, length)
        bits = torch.arange(length, device=self.pair_scores.device)
        masks = (torch.arange(2**length, device=bits.device).view(-1, 1, 1) >> bits) % 2 == 1
        possible = (self._score(masks) > -torch.inf) & (masks == self._within(masks)).all(-1)
        check_same_size(possible.sum(0))
        chosen = possible.T.nonzero()[:, 1].view(batch, -1)
        return masks[:, 0][chosen].transpose(0, 1)

    # ---- the same with other parameters ------------------------------------------------------------------------------

    def given_count(self, count: int | torch.Tensor) -> "CanonicalDeletion":
        """p(mask | exactly `count` words are kept), with all methods; its sums are O(B S^2 count).

        Its `log_partition` less that of this distribution is the log probability of that number.

        Args:
            count: one number, or (B,) integers.

        Raises:
            ValueError: (on a CPU, or with `validate_args`) a count that no mask of a row has; a distribution that is already
                given one.
        """
        if self.count is not None:
            raise ValueError("The number of kept words is given already: condition the distribution without it.")
        return self._with(self.pair_scores, count=count)

    def reweighted(self, pair_values: torch.Tensor) -> "CanonicalDeletion":
        """p(mask) exp(sum of `pair_values` over its pairs), normalised.

        Its `log_partition` less that of this distribution is log E[exp(sum of pair_values)]. So with log p(words between |
        pair) as values of a prior's pairs it is the posterior, and that difference log p(x).

        Args:
            pair_values: (B, S+1, S+1), or (S+1, S+1) for all rows, like `pair_scores`.

        Raises:
            ValueError: another shape.
        """
        check_pair_values(pair_values, self.pair_scores)
        return self._with(self.pair_scores + pair_values)

    def detached(self) -> "CanonicalDeletion":
        """The same distribution, with no gradient to its scores."""
        return self._with(self.pair_scores.detach())

    def _with(self, pair_scores: torch.Tensor, **changes) -> "CanonicalDeletion":
        same = {"words": self.words, "lengths": self.lengths, "allow_empty": self.allow_empty, "count": self.count}
        return CanonicalDeletion(pair_scores, **same | changes, validate_args=self._validate_args)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "CanonicalDeletion":
        """One row for each of B: the batch shape may only become (B,)."""
        shape = single_batch_dimension(batch_shape, "deletions have")
        words, lengths, count = (
            None if each is None else each.expand(*shape, *each.shape[1:]) for each in (self.words, self.lengths, self.count)
        )
        return self._with(self.pair_scores.expand(*shape, -1, -1), words=words, lengths=lengths, count=count)

    # ---- checks ------------------------------------------------------------------------------------------------------

    def _narrow(self, result: torch.Tensor) -> torch.Tensor:
        return result.to(self.pair_scores.dtype)

    def _within(self, value: torch.Tensor) -> torch.Tensor:
        """Masks, False past the lengths."""
        check_masks(value, *self.batch_shape, *self.event_shape)
        if self.lengths is None:
            return value
        return value & (torch.arange(*self.event_shape, device=value.device) < self.lengths.unsqueeze(-1))
