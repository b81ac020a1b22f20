"""Every sum over compressions against all of them written down, in float64, and what float32 leaves of it."""

from math import comb, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Bernoulli, kl_divergence

from hf_lvm.distributions.deletion import CanonicalDeletion
from tests.distributions.deletion.enumeration import (
    compressions,
    expected,
    gradients,
    mask_scores,
    masks_and_pairs,
    random_deletion,
    row_lengths,
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}
DELETIONS = {
    "batch": st.integers(1, 3),
    "length": st.integers(1, 6),
    "vocabulary": st.sampled_from([1, 2, 3, None]),
    "ragged": st.booleans(),
    "counted": st.booleans(),
    "allow_empty": st.booleans(),
    "forbidding": st.booleans(),
    "scale": st.sampled_from([1.0, 50.0]),
    "seed": st.integers(0, 10_000),
}


def check_sums(deletion: CanonicalDeletion) -> None:
    log_partition, entropy, sizes = [], [], []
    for row in range(*deletion.batch_shape):
        (masks, pairs), scores = masks_and_pairs(deletion, row), mask_scores(deletion, row)
        log_probs = scores.log_softmax(0)
        log_partition.append(scores.logsumexp(0))
        entropy.append(-expected(log_probs.exp(), log_probs))
        sizes.append((scores > -torch.inf).sum())
        torch.testing.assert_close(deletion.log_prob(masks.unsqueeze(1))[:, row], log_probs, **EXACT)
        torch.testing.assert_close(deletion.score(masks.unsqueeze(1))[:, row], scores, **EXACT)
        of_pairs, of_words = (torch.einsum("m,m...->...", log_probs.exp(), each.double()) for each in (pairs, masks))
        torch.testing.assert_close(deletion.pair_marginals[row], of_pairs, **EXACT)
        torch.testing.assert_close(deletion.marginals[row], of_words, **EXACT)
    assert torch.equal(deletion.support_size, torch.stack(sizes).double())
    # Different weights, so that a mixed-up row shows.
    weights = torch.arange(1, len(sizes) + 1)
    for ours, exact in ((deletion.log_partition, log_partition), (deletion.entropy(), entropy)):
        exact = torch.stack(exact)
        torch.testing.assert_close(ours, exact, **EXACT)
        torch.testing.assert_close(gradients(weights * ours, deletion), gradients(weights * exact, deletion), **EXACT)
    of_log_partition = gradients(deletion.log_partition, deletion)[0]
    torch.testing.assert_close(of_log_partition, deletion.pair_marginals, **EXACT)


@settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries(DELETIONS))
def test_log_partition_marginals_entropy_and_densities(options):
    check_sums(random_deletion(**options))


@pytest.mark.parametrize("counted", [False, True])
def test_twelve_words_with_repetitions(counted):
    check_sums(random_deletion(3, 12, 4, lengths=torch.tensor([12, 7, 9]), counted=counted, allow_empty=not counted))


@settings(max_examples=20, deadline=None)
@given(st.fixed_dictionaries(DELETIONS))
def test_divergence_cross_entropy_and_expected_values(options):
    posterior = random_deletion(**options)
    other = random_deletion(**options | {"seed": options["seed"] + 1, "forbidding": False})
    prior = CanonicalDeletion(other.pair_scores, posterior.words, posterior.lengths, options["allow_empty"], posterior.count)
    cross_entropy, divergence, mean = [], [], []
    for row in range(options["batch"]):
        values = mask_scores(posterior, row, prior.pair_scores)
        log_p, log_q = mask_scores(posterior, row).log_softmax(0), values.log_softmax(0)
        cross_entropy.append(-expected(log_p.exp(), log_q))
        divergence.append(expected(log_p.exp(), log_p - log_q))
        mean.append(expected(log_p.exp(), values))
    ours = (posterior.cross_entropy(prior), kl_divergence(posterior, prior), posterior.expected(prior.pair_scores))
    for value, exact in zip(ours, (cross_entropy, divergence, mean), strict=True):
        exact = torch.stack(exact)
        torch.testing.assert_close(value, exact, **EXACT)
        found, wanted = gradients(value, posterior, prior), gradients(exact, posterior, prior)
        torch.testing.assert_close(found, wanted, **EXACT)


def test_divergence_where_the_two_forbid_different_masks():
    open_one, closed = random_deletion(vocabulary=None), random_deletion(vocabulary=None, forbidding=True, seed=1)
    assert torch.isfinite(kl_divergence(closed, open_one)).all()
    assert (kl_divergence(open_one, closed) == torch.inf).all()
    torch.testing.assert_close(kl_divergence(closed, closed.detached()), torch.zeros(3).double(), atol=1e-12, rtol=0)
    with_empty = CanonicalDeletion(open_one.pair_scores, open_one.words, allow_empty=True)
    # What the prior has on the empty mask, this one lacks everywhere.
    lost = -torch.log1p(-with_empty.log_prob(torch.zeros(1, 4, dtype=torch.bool)).exp())
    torch.testing.assert_close(kl_divergence(open_one, with_empty), lost, **EXACT)
    assert (kl_divergence(with_empty, open_one) == torch.inf).all()
    of_two = open_one.given_count(2)
    torch.testing.assert_close(kl_divergence(of_two, open_one), -open_one.count_log_probs[:, 2], **EXACT)


@settings(max_examples=15, deadline=None)
@given(st.fixed_dictionaries(DELETIONS))
def test_how_many_words_are_kept(options):
    deletion = random_deletion(**options | {"counted": False})
    log_probs = []
    for row in range(options["batch"]):
        masks, scores = masks_and_pairs(deletion, row)[0], mask_scores(deletion, row)
        of_count = [scores[masks.sum(1) == count] for count in range(options["length"] + 1)]
        log_probs.append(torch.stack([each.logsumexp(0) for each in of_count]) - scores.logsumexp(0))
    exact, found = torch.stack(log_probs), deletion.count_log_probs
    torch.testing.assert_close(found, exact, **EXACT)
    weights = torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = (gradients(weights * each.exp(), deletion)[0] for each in (found, exact))
    torch.testing.assert_close(ours, theirs.nan_to_num(0.0), **EXACT)
    least, most = 1 - options["allow_empty"], min(row_lengths(deletion))
    for count in range(least, most + 1):
        given_count = deletion.given_count(count)
        difference = given_count.log_partition - deletion.log_partition
        torch.testing.assert_close(difference, found[:, count], **EXACT)
        certain = torch.full_like(found, -torch.inf).index_fill(1, torch.tensor(count), 0.0)
        assert torch.equal(given_count.count_log_probs, certain)


@pytest.mark.parametrize("count", [None, torch.tensor([2, 1])])
def test_derivatives_of_first_and_second_order(count):
    one, other = (random_deletion(2, 3, 2, seed=seed) for seed in (0, 1))
    words, lengths = torch.tensor([[0, 1, 0], [1, 1, 0]]), torch.tensor([3, 2])

    def quantities(scores, others_scores):
        deletion = CanonicalDeletion(scores, words, lengths, count=count)
        divergence = kl_divergence(deletion, CanonicalDeletion(others_scores, words, lengths))
        scored = deletion.log_prob(torch.tensor([[True, True, False], [True, False, False]]))
        # That of a given count is certain, and has no gradient.
        counts = deletion.count_log_probs.exp() if count is None else deletion.marginals
        mean = deletion.expected(others_scores)
        return deletion.log_partition, deletion.pair_marginals, deletion.entropy(), divergence, scored, counts, mean

    # By random directions, not one score after the other.
    assert gradcheck(quantities, (one.pair_scores, other.pair_scores), fast_mode=True)
    assert gradgradcheck(quantities, (one.pair_scores, other.pair_scores), fast_mode=True)


@pytest.mark.parametrize("counted", [False, True])
def test_no_derivative_meets_a_forbidden_score_as_nan(counted):
    deletion = random_deletion(forbidding=True, counted=counted)
    values = (
        deletion.log_partition,
        deletion.entropy(),
        deletion.marginals,
        deletion.max_score,
        deletion.count_log_probs.exp(),
    )
    for value in values:
        if value.requires_grad:
            (first,) = torch.autograd.grad(value.sum(), deletion.pair_scores, create_graph=True)
            assert first.isfinite().all()
            assert not first.requires_grad or gradients(first.square(), deletion)[0].isfinite().all()


def test_uses_of_one_distribution_can_be_differentiated_one_after_the_other():
    deletion = random_deletion()
    with torch.no_grad():
        assert not deletion.entropy().requires_grad and not deletion.log_partition.requires_grad
    uses = (
        lambda: deletion.log_partition,
        deletion.entropy,
        lambda: deletion.marginals,
        lambda: deletion.log_prob(deletion.argmax),
        lambda: deletion.count_log_probs.exp(),
    )
    for _ in range(2):
        for use in uses:
            use().square().sum().backward()
    once = gradients(sum(use().square().sum() for use in uses), deletion)[0]
    torch.testing.assert_close(deletion.pair_scores.grad, 2 * once, **EXACT)


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("count", [None, torch.tensor([3, 1, 2])])
def test_what_stands_past_the_length_of_a_row_counts_for_nothing(rubbish, count):
    deletion, lengths = random_deletion(length=5), torch.tensor([5, 1, 3])
    nodes, outside = torch.arange(6), torch.arange(5) >= lengths.unsqueeze(1)
    nothing = torch.nn.functional.pad(outside, (0, 1)).unsqueeze(1) | (nodes > lengths.unsqueeze(1)).unsqueeze(-1)
    nothing = nothing | (nodes.unsqueeze(1) > nodes)
    scores = deletion.pair_scores.detach().masked_fill(nothing, rubbish).requires_grad_()
    words = deletion.words.masked_fill(outside, int(deletion.words[1, 0]))
    together = CanonicalDeletion(scores, words, lengths, count=count, validate_args=True)
    for row, length in enumerate(lengths.tolist()):
        columns = torch.tensor([*range(length), 5])
        alone = CanonicalDeletion(
            deletion.pair_scores[row : row + 1, : length + 1, columns],
            words[row : row + 1, :length],
            count=None if count is None else count[row : row + 1],
        )
        for quantity in ("log_partition", "max_score", "support_size"):
            torch.testing.assert_close(getattr(together, quantity)[row], getattr(alone, quantity)[0], **EXACT)
        torch.testing.assert_close(together.entropy()[row], alone.entropy()[0], **EXACT)
        torch.testing.assert_close(together.marginals[row, :length], alone.marginals[0], **EXACT)
        assert torch.equal(together.argmax[row, :length], alone.argmax[0]) and not together.argmax[row, length:].any()
    value = together.argmax | outside
    torch.testing.assert_close(together.log_prob(value), together.max_score - together.log_partition, **EXACT)
    assert torch.equal(together.canonical(value), together.argmax)
    total = together.log_partition + together.entropy() + together.log_prob(value)
    gradient = gradients(total + together.cross_entropy(together.detached()), together)[0]
    assert gradient.isfinite().all() and not gradient[nothing].any()


def test_words_kept_on_their_own():
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    words = Bernoulli(logits=logits)
    deletion = CanonicalDeletion.from_unary(logits, allow_empty=True)
    torch.testing.assert_close(deletion.marginals, words.probs, **EXACT)
    torch.testing.assert_close(deletion.entropy(), words.entropy().sum(-1), **EXACT)
    value = torch.rand(20, 2, 5) < 0.5
    torch.testing.assert_close(deletion.log_prob(value), words.log_prob(value.double()).sum(-1), **EXACT)
    not_empty = 1 - (1 - words.probs).prod(-1, keepdim=True)
    torch.testing.assert_close(CanonicalDeletion.from_unary(logits).marginals, words.probs / not_empty, **EXACT)
    pairwise = torch.randn(6, 6, dtype=torch.float64)
    both = CanonicalDeletion.from_unary(logits, pairwise, lengths=torch.tensor([5, 3]))
    mask = torch.tensor([False, True, False, True, False])
    score = logits[0, 1] + logits[0, 3] + pairwise[0, 1] + pairwise[2, 3] + pairwise[4, 5]
    torch.testing.assert_close(both.score(mask.expand(2, 5))[0], score, **EXACT)


class GapModel:
    """A bigram model of compressions and one of the words left out, as pair scores of a batch of sentences."""

    stop = 0.8

    def __init__(self, vocabulary: int):
        generator = torch.Generator().manual_seed(0)
        # The last of these is the begin as what comes before, and the end as what follows.
        shape = (vocabulary + 1, vocabulary + 1)
        self.bigrams = torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1)
        self.gap_words = torch.randn(*shape, vocabulary, generator=generator, dtype=torch.float64)
        # A gap has anything but the kept word that follows it.
        following = torch.eye(vocabulary + 1, vocabulary, dtype=torch.bool)
        self.gap_words = self.gap_words.masked_fill(following, -torch.inf).log_softmax(-1)
        self.boundary = vocabulary

    def pair_scores(self, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """log p(next | word) and log p(words between | word, next) of sentences (N, S): (N, S+1, S+1) both."""
        batch, length = words.shape
        edge = torch.full((batch, 1), self.boundary)
        before, behind = torch.cat([edge, words], dim=1), torch.cat([words, edge], dim=1)
        prior = self.bigrams[before.unsqueeze(-1), behind.unsqueeze(-2)]
        likelihood = torch.zeros_like(prior)
        for i in range(length + 1):
            for j in range(i, length + 1):
                given = (before[:, i, None], behind[:, j, None], words[:, i:j])
                gap = self.gap_words[given].sum(1) + (j - i) * log(1 - self.stop)
                likelihood[:, i, j] = gap + log(self.stop)
        return prior, likelihood


def test_exact_marginal_likelihood_bound_and_posterior_of_a_model_of_gaps():
    words = torch.tensor([[0, 1, 0, 2, 1, 0, 1], [2, 2, 2, 0, 2, 1, 1], [1, 0, 1, 1, 1, 1, 1]])
    lengths = torch.tensor([7, 6, 1])
    prior, likelihood = GapModel(3).pair_scores(words)
    # A row's last column is its end; the scores of padded rows there are those of the shorter sentences.
    for row, length in enumerate(lengths.tolist()):
        alone = GapModel(3).pair_scores(words[row : row + 1, :length])
        for scores, own in zip((prior, likelihood), alone, strict=True):
            scores[row, : length + 1, -1] = own[0, :, -1]
    posterior = CanonicalDeletion(prior + likelihood, words, lengths, allow_empty=True)
    log_px = torch.stack([mask_scores(posterior, row).logsumexp(0) for row in range(3)])
    torch.testing.assert_close(posterior.log_partition, log_px, **EXACT)
    of_prior = CanonicalDeletion(prior, words, lengths, allow_empty=True)
    again = of_prior.reweighted(likelihood)
    torch.testing.assert_close(again.log_partition, log_px, **EXACT)
    given_c = torch.stack(
        [expected(mask_scores(of_prior, row).softmax(0), mask_scores(again, row, likelihood).exp()) for row in range(3)]
    )
    torch.testing.assert_close(again.log_partition - of_prior.log_partition, given_c.log(), **EXACT)
    for q, tight in ((posterior, True), (of_prior, False)):
        bound = q.entropy() + q.expected(prior + likelihood)
        assert torch.allclose(bound, log_px, rtol=1e-9) == tight and (bound <= log_px + 1e-9).all()


def test_a_compression_and_its_sentence_have_one_alignment():
    """So p(x | c) sums over all sentences of a length to the probability of that many words left out."""
    length, compression = 5, (0, 1, 0)
    sentences = torch.cartesian_prod(*[torch.arange(3)] * length)
    deletion = CanonicalDeletion(GapModel(3).pair_scores(sentences)[1], sentences)
    total = 0.0
    for row, sentence in enumerate(sentences.tolist()):
        positions = compressions(tuple(sentence)).get(compression)
        if positions is not None:
            mask = torch.zeros(len(sentences), length, dtype=torch.bool)
            mask[row, list(positions)] = True
            total += float(deletion.score(mask)[row].exp())
    gaps, left_out = len(compression) + 1, length - len(compression)
    stop = GapModel.stop
    assert abs(total - comb(left_out + gaps - 1, left_out) * (1 - stop) ** left_out * stop**gaps) < 1e-12


def test_float32_at_large_scores_and_many_words():
    exact = random_deletion(2, 200, 40, scale=25.0)
    single = CanonicalDeletion(exact.pair_scores.float(), exact.words)
    # The same numbers on both sides, so that only the arithmetic differs.
    exact = CanonicalDeletion(single.pair_scores.double(), exact.words)
    sample = exact.sample((8,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(single.log_partition.double(), exact.log_partition, rtol=1e-7, atol=0)
    torch.testing.assert_close(single.marginals.double(), exact.marginals, rtol=0, atol=1e-6)
    torch.testing.assert_close(single.entropy().double(), exact.entropy(), rtol=1e-6, atol=0)
    torch.testing.assert_close(single.log_prob(sample).double(), exact.log_prob(sample), rtol=1e-6, atol=0)
    assert torch.equal(single.sample((8,), torch.Generator().manual_seed(0)), sample)


def test_what_falls_far_behind_can_still_win():
    """Keeping a word loses 2,000 nats, but one that is kept must be followed by all others to reach the end."""
    scores = torch.full((1, 41, 41), -torch.inf)
    scores[0, torch.arange(40), torch.arange(40)] = -2000.0
    scores[0, 0] = torch.arange(41.0)
    scores[0, 40, 40] = 0.0
    deletion = CanonicalDeletion(scores)
    assert deletion.marginals[0, -1] == 1.0 and deletion.argmax.sum() == 1 and deletion.sample().sum() == 1
    everything = deletion.given_count(40)
    assert everything.log_partition.item() == -39 * 2000.0 and everything.sample((3,)).all() and everything.argmax.all()


def test_autocast_and_half_precision_scores():
    deletion = random_deletion(ragged=True)
    half = CanonicalDeletion(deletion.pair_scores.bfloat16(), deletion.words, deletion.lengths)
    wide = CanonicalDeletion(half.pair_scores.double(), deletion.words, deletion.lengths)
    for one, other in ((half, wide), (half.given_count(1), wide.given_count(1))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = [one.log_partition, one.entropy(), one.log_prob(one.argmax), *gradients(one.entropy(), one)]
        exact = [other.log_partition, other.entropy(), other.log_prob(other.argmax), *gradients(other.entropy(), other)]
        for narrow, full in zip(found, exact, strict=True):
            assert narrow.dtype == torch.float32
            torch.testing.assert_close(narrow.double(), full, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [None, 2])
def test_a_row_without_a_mask_says_so_and_leaves_the_others_alone(count):
    deletion = random_deletion(2)
    scores = deletion.pair_scores.detach().clone()
    scores[1, :, -1] = -torch.inf
    broken = CanonicalDeletion(scores.requires_grad_(), deletion.words, count=count)
    whole = CanonicalDeletion(deletion.pair_scores, deletion.words, count=count)
    assert broken.log_partition[1] == -torch.inf and not broken.marginals[1].any() and not broken.argmax[1].any()
    assert not broken.sample((4,))[:, 1].any() and broken.log_prob(broken.argmax)[1].isnan() and broken.support_size[1] == 0
    torch.testing.assert_close(broken.log_partition[0], whole.log_partition[0])
    gradient = gradients(broken.log_partition + broken.entropy(), broken)[0]
    assert gradient.isfinite().all() and not gradient[1].any()
    with pytest.raises(ValueError, match=r"No mask is possible in row\(s\) \[1\]"):
        CanonicalDeletion(scores, deletion.words, count=count, validate_args=True)
