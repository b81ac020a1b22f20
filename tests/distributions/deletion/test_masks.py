"""Canonical masks, the best of them, samples, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import kl_divergence

from hf_lvm.distributions import CanonicalDeletion
from tests.distributions.deletion.enumeration import (
    compressions,
    gradients,
    mask_scores,
    masks_and_pairs,
    random_deletion,
    row_lengths,
)
from tests.tiny_parts import row_generators

SCORES, WORDS = torch.zeros(2, 5, 5), torch.tensor([[0, 1, 0, 1], [2, 2, 3, 2]])
MASKS = torch.tensor([[True, False, True, False], [False, True, False, True]])


def all_masks(length: int) -> torch.Tensor:
    """Canonical or not: (2^S, S)."""
    return torch.cartesian_prod(*[torch.tensor([False, True])] * length).view(-1, length)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 6), vocabulary=st.integers(1, 4), ragged=st.booleans(), seed=st.integers(0, 10_000))
def test_canonical_masks_and_compressions_are_one_to_one(length, vocabulary, ragged, seed):
    deletion = random_deletion(2, length, vocabulary, ragged=ragged, allow_empty=True, seed=seed)
    masks = all_masks(length)
    canonical = deletion.canonical(masks.unsqueeze(1))
    possible = deletion.log_prob(masks.unsqueeze(1)) > -torch.inf
    assert torch.equal(deletion.canonical(canonical), canonical) and deletion.support.check(canonical).all()
    for row, size in enumerate(row_lengths(deletion)):
        words = tuple(deletion.words[row, :size].tolist())
        leftmost = compressions(words)
        assert len(leftmost) == deletion.support_size[row] == len(canonical[:, row].unique(dim=0))
        for mask, ours, canonical_itself in zip(masks[:, :size], canonical[:, row], possible[:, row], strict=True):
            kept = mask.nonzero().flatten().tolist()
            wanted = leftmost[tuple(words[position] for position in kept)]
            assert tuple(ours.nonzero().flatten().tolist()) == wanted
            assert canonical_itself == (tuple(kept) == wanted)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 5),
    vocabulary=st.sampled_from([1, 2, 3, None]),
    ragged=st.booleans(),
    counted=st.booleans(),
    allow_empty=st.booleans(),
    forbidding=st.booleans(),
    seed=st.integers(0, 10_000),
    count=st.integers(1, 12),
)
def test_the_k_best_masks(batch, length, count, **options):
    deletion = random_deletion(batch, length, **options)
    masks, scores = deletion.k_best(count)
    assert masks.shape == (count, batch, length) and scores.shape == (count, batch)
    for row in range(batch):
        exact, order = mask_scores(deletion, row).sort(descending=True)
        possible = min(count, int((exact > -torch.inf).sum()))
        torch.testing.assert_close(scores[:possible, row], exact[:possible], rtol=1e-9, atol=1e-9)
        assert torch.equal(masks[:possible, row], masks_and_pairs(deletion, row)[0][order[:possible]])
        assert (scores[possible:, row] == -torch.inf).all() and not masks[possible:, row].any()
    assert torch.equal(deletion.argmax, masks[0]) and torch.equal(deletion.mode, masks[0])
    torch.testing.assert_close(deletion.max_score, scores[0])


def test_the_gradient_of_the_best_score_is_its_pairs():
    deletion = random_deletion()
    pairs = gradients(deletion.max_score, deletion)[0]
    for row, mask in enumerate(deletion.argmax):
        masks, of_masks = masks_and_pairs(deletion, row)
        assert torch.equal(pairs[row], of_masks[(masks == mask).all(1)][0].double())


@pytest.mark.parametrize("count", [None, torch.tensor([2, 3, 1])])
@pytest.mark.parametrize("allow_empty", [False, True])
def test_samples_follow_the_probabilities(count, allow_empty):
    scores = random_deletion(3, 5, forbidding=True, seed=5).pair_scores
    words = torch.tensor([[0, 1, 0, 0, 1], [0, 1, 2, 0, 2], [1, 1, 0, 0, 0]])
    deletion = CanonicalDeletion(scores, words, torch.tensor([5, 4, 2]), allow_empty, count)
    draws, place = 20_000, 2 ** torch.arange(5)
    samples, log_probs = deletion.sample_and_log_prob((draws,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_probs, deletion.log_prob(samples))
    assert log_probs.isfinite().all() and log_probs.requires_grad
    for row in range(3):
        masks, probability = masks_and_pairs(deletion, row)[0], mask_scores(deletion, row).softmax(0).detach()
        found = torch.bincount((samples[:, row] * place).sum(-1), minlength=32)[(masks * place).sum(-1)].double()
        possible = probability > 0
        assert found[possible].sum() == draws
        wanted = draws * probability[possible]
        # Cells with fewer than 5 expected would not be close to normal.
        statistic = ((found[possible] - wanted).square() / wanted)[wanted >= 5].sum()
        freedom = int((wanted >= 5).sum())
        assert statistic < freedom + 4 * (2 * freedom) ** 0.5, (statistic, freedom)


@pytest.mark.parametrize("count", [None, torch.tensor([3, 1, 2])])
def test_what_a_row_draws_depends_on_neither_the_batch_nor_its_padding(count):
    deletion, lengths = random_deletion(3, 6), torch.tensor([6, 2, 4])
    together = CanonicalDeletion(deletion.pair_scores, deletion.words, lengths, count=count)
    generators, relaxed_generators = row_generators(3), row_generators(3)
    sample = together.sample((5, 2), generators)
    relaxed = together.relaxed_sample((5,), 0.5, generator=relaxed_generators)
    assert sample.shape == (5, 2, 3, 6) and len(sample[..., 0, :].flatten(0, 1).unique(dim=0)) > 4
    after = [torch.rand(3, generator=generator) for generator in generators]
    for row, length in enumerate(lengths.tolist()):
        alone = CanonicalDeletion(
            deletion.pair_scores[row : row + 1, : length + 1, [*range(length), 6]],
            deletion.words[row : row + 1, :length],
            count=None if count is None else count[row : row + 1],
        )
        generator = row_generators(3)[row]
        assert torch.equal(sample[..., row, :length], alone.sample((5, 2), [generator])[..., 0, :])
        assert not sample[..., row, length:].any()
        assert torch.equal(after[row], torch.rand(3, generator=generator))
        once_more = alone.relaxed_sample((5,), 0.5, generator=[row_generators(3)[row]])[..., 0, :]
        torch.testing.assert_close(relaxed[..., row, :length], once_more)
    draws = [together.sample((20,), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert together.sample().shape == (3, 6)


def test_relaxed_samples():
    deletion = random_deletion(2, 5, allow_empty=True)
    soft, cold, hard = (
        deletion.relaxed_sample((50,), temperature, hard, torch.Generator().manual_seed(0))
        for temperature, hard in ((1.0, False), (1e-3, False), (1.0, True))
    )
    assert soft.shape == (50, 2, 5) and ((soft >= 0) & (soft <= 1 + 1e-12)).all()
    torch.testing.assert_close((cold > 0.5).double(), hard)
    assert (deletion.log_prob(hard > 0.5) > -torch.inf).all()
    torch.testing.assert_close(
        gradients(soft.square()[..., 0] + soft[..., 1], deletion)[0].abs().sum() > 0, torch.tensor(True)
    )
    weights = torch.arange(5.0)
    torch.testing.assert_close(gradients(hard * weights, deletion), gradients(soft * weights, deletion))
    of_two = deletion.given_count(2).relaxed_sample((3,))
    torch.testing.assert_close(of_two.sum(-1), torch.full((3, 2), 2.0, dtype=torch.float64))
    assert CanonicalDeletion(SCORES, WORDS).relaxed_sample().dtype == torch.float32
    with pytest.raises(ValueError, match="above 0, not 0"):
        deletion.relaxed_sample(temperature=0)


def test_all_masks_of_a_sentence():
    deletion = random_deletion(2, 4, None)
    values = deletion.enumerate_support()
    assert values.shape == (15, 2, 4) and len(values[:, 0].unique(dim=0)) == 15
    torch.testing.assert_close(deletion.log_prob(values).exp().sum(0), torch.ones(2, dtype=torch.float64))
    of_row = CanonicalDeletion(SCORES[:1], WORDS[:1], torch.tensor([3])).enumerate_support()
    # a, b, ab, ba, aa, aba of the sentence a b a.
    assert of_row.shape == (6, 1, 4) and not of_row[..., 3].any()
    assert CanonicalDeletion(SCORES, WORDS, count=2).support_size.tolist() == [4, 3]
    with pytest.raises(ValueError, match=r"There are 1 \* 2\^40 masks"):
        CanonicalDeletion(torch.zeros(1, 41, 41)).enumerate_support()
    with pytest.raises(NotImplementedError, match=r"\[11, 3\] masks: .* k_best\(11\)"):
        CanonicalDeletion(SCORES, torch.tensor([[0, 1, 2, 2], [0, 0, 0, 0]]), torch.tensor([4, 3])).enumerate_support()


def test_a_single_word():
    for allow_empty, wanted in ((False, 1.0), (True, torch.sigmoid(torch.tensor(0.7)))):
        deletion = CanonicalDeletion.from_unary(
            torch.full((2, 1), 0.7), words=torch.zeros(2, 1).long(), allow_empty=allow_empty
        )
        torch.testing.assert_close(deletion.marginals, torch.full((2, 1), float(wanted)))
        assert deletion.argmax.all() and deletion.sample((3,)).shape == (3, 2, 1)
        assert deletion.support_size.tolist() == [1 + allow_empty] * 2
    assert not deletion.given_count(0).sample().any() and deletion.given_count(1).entropy().eq(0).all()


def test_expanded_detached_and_reweighted():
    deletion = random_deletion(1, ragged=True, counted=True)
    wide = deletion.expand((4,))
    assert wide.batch_shape == (4,) and wide.event_shape == deletion.event_shape and wide.sample((2,)).shape == (2, 4, 4)
    torch.testing.assert_close(wide.log_partition, deletion.log_partition.expand(4))
    torch.testing.assert_close(wide.entropy(), deletion.entropy().expand(4))
    assert not deletion.detached().log_partition.requires_grad
    torch.testing.assert_close(deletion.detached().entropy(), deletion.entropy())
    everywhere = deletion.reweighted(torch.full((5, 5), 2.0))
    # One pair more than there are words.
    torch.testing.assert_close(everywhere.log_partition, deletion.log_partition + 2 * (deletion.count + 1))
    torch.testing.assert_close(kl_divergence(everywhere, deletion), torch.zeros(1).double(), atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match=r"is not \(B,\)"):
        deletion.expand((2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(5, 5),), r"\(B, S\+1, S\+1\) are needed"),
        ((torch.zeros(2, 5, 4),), r"\(B, S\+1, S\+1\) are needed"),
        ((torch.zeros(2, 1, 1),), "of 1 or more"),
        ((SCORES.long(),), "floating point is needed"),
        ((SCORES, WORDS[:, :3]), r"integers \(2, 4\) are needed"),
        ((SCORES, WORDS.float()), r"integers \(2, 4\) are needed"),
        ((SCORES, WORDS, torch.tensor([4, 5])), r"\[5\] of row\(s\) \[1\] are not from 1 to 4"),
        ((SCORES, WORDS, torch.tensor([4])), r"one integer a row is needed, \(2,\)"),
        ((SCORES, WORDS, None, False, 0), r"No mask of row\(s\) \[0, 1\] keeps \[0, 0\] word\(s\).*allow_empty is False"),
        ((SCORES, WORDS, torch.tensor([4, 2]), True, 3), r"row\(s\) \[1\] keeps \[3\] word\(s\): they have \[2\]"),
        ((SCORES, WORDS, None, False, torch.tensor([1.0, 2.0])), "one integer is needed, or one a row"),
        ((SCORES, WORDS, None, False, torch.tensor([1])), "one integer is needed, or one a row"),
        ((SCORES * torch.nan, WORDS, None, False, None, True), r"nan or \+inf in row\(s\) \[0, 1\], first at \[0, 0, 0\]"),
    ],
)
def test_bad_scores_words_lengths_and_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        CanonicalDeletion(*arguments)


def test_bad_values_and_partners():
    deletion = CanonicalDeletion(SCORES, WORDS, torch.tensor([4, 2]))
    for value in (MASKS[:, :3], MASKS.repeat(2, 1), MASKS.long()):
        for use in (deletion.log_prob, deletion.canonical):
            with pytest.raises(ValueError, match=r"bool of shape \(\.\.\., 2, 4\) is needed"):
                use(value)
    with pytest.raises(ValueError, match="k=0"):
        deletion.k_best(0)
    with pytest.raises(ValueError, match="3 generators for a batch of 2"):
        deletion.sample((1,), row_generators(3))
    for use in (deletion.expected, deletion.reweighted):
        with pytest.raises(ValueError, match=r"like the scores \(2, 5, 5\), or \(5, 5\), are needed"):
            use(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="must be of the same sentences"):
        deletion.cross_entropy(CanonicalDeletion(torch.zeros(2, 6, 6)))
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] differ in length"):
        deletion.cross_entropy(CanonicalDeletion(SCORES, WORDS))
    with pytest.raises(ValueError, match="given none: condition both"):
        deletion.cross_entropy(deletion.given_count(2))
    with pytest.raises(ValueError, match="given another: condition both"):
        deletion.given_count(1).cross_entropy(deletion.given_count(2))
    with pytest.raises(ValueError, match="is given already"):
        deletion.given_count(1).given_count(1)
    with pytest.raises(ValueError, match=r"unary scores \(2,\)"):
        CanonicalDeletion.from_unary(torch.zeros(2))
    with pytest.raises(ValueError, match=r"must be \(B, S\+1, S\+1\) = \(2, 4, 4\), or \(4, 4\)"):
        CanonicalDeletion.from_unary(torch.zeros(2, 3), torch.zeros(3, 3))
