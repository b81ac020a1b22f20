"""The best sequences and samples of a chain, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.distributions.linear_chain import LinearChainCRF
from hf_lvm.distributions.noise import noise_of_positions
from tests.distributions.linear_chain.enumeration import all_paths, padded, path_scores, random_chain, row_lengths
from tests.tiny_parts import row_generators

TABLE, UNARY = torch.zeros(3, 3), torch.zeros(2, 4, 3)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 4),
    states=st.integers(1, 3),
    count=st.integers(1, 9),
    shared=st.booleans(),
    ragged=st.booleans(),
    forbidding=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_the_k_best_sequences(batch, length, states, count, **options):
    chain = random_chain(batch, length, states, **options)
    paths, scores = chain.k_best(count)
    assert paths.shape == (count, batch, length) and scores.shape == (count, batch)
    for row in range(batch):
        exact, order = path_scores(chain, row).sort(descending=True)
        possible = min(count, int((exact > -torch.inf).sum()))
        torch.testing.assert_close(scores[:possible, row], exact[:possible], rtol=1e-9, atol=1e-9)
        assert torch.equal(paths[:possible, row], padded(all_paths(chain, row)[order[:possible]], length))
        assert (scores[possible:, row] == -torch.inf).all() and not paths[possible:, row].any()
    assert torch.equal(chain.argmax, paths[0]) and torch.equal(chain.mode, paths[0])
    torch.testing.assert_close(chain.max_score, scores[0])
    torch.testing.assert_close(chain.log_prob(chain.argmax), scores[0] - chain.log_partition)


def test_the_gradient_of_the_best_score_is_the_best_sequence():
    chain = random_chain()
    (gradient,) = torch.autograd.grad(chain.max_score.sum(), chain.unary)
    assert torch.equal(gradient, torch.nn.functional.one_hot(chain.argmax, 3).double())


@pytest.mark.parametrize("shared", [False, True])
def test_samples_follow_the_probabilities(shared):
    chain = random_chain(3, 3, 3, shared=shared, forbidding=True, seed=5, lengths=torch.tensor([3, 2, 1]))
    count = 20_000
    samples = chain.sample((count,), torch.Generator().manual_seed(0))
    for row, length in enumerate(row_lengths(chain)):
        probability = path_scores(chain, row).softmax(0).detach()
        place = (samples[:, row, :length] * 3 ** torch.arange(length - 1, -1, -1)).sum(-1)
        found = torch.bincount(place, minlength=len(probability)).double()
        possible = probability > 0
        assert not found[~possible].any() and not samples[:, row, length:].any()
        wanted = count * probability[possible]
        # Cells with fewer than 5 expected would not be close to normal.
        statistic = ((found[possible] - wanted).square() / wanted)[wanted >= 5].sum()
        freedom = int((wanted >= 5).sum())
        assert statistic < freedom + 4 * (2 * freedom) ** 0.5, (statistic, freedom)


def test_what_a_row_draws_depends_on_neither_the_batch_nor_its_padding():
    chain, lengths = random_chain(3, 6), torch.tensor([6, 2, 4])
    together = LinearChainCRF(chain.transitions, chain.unary, lengths)
    generators = row_generators(3)
    sample = together.sample((5, 2), generators)
    assert sample.shape == (5, 2, 3, 6) and len(sample[..., 0, :].flatten(0, 1).unique(dim=0)) > 5
    after = [torch.rand(3, generator=generator) for generator in generators]
    for row, length in enumerate(lengths.tolist()):
        alone = LinearChainCRF(chain.transitions[row : row + 1, : length - 1], chain.unary[row : row + 1, :length])
        generator = row_generators(3)[row]
        assert torch.equal(sample[..., row, :length], alone.sample((5, 2), [generator])[..., 0, :])
        assert torch.equal(after[row], torch.rand(3, generator=generator))
    single = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    draws = [together.sample((20,), generator) for generator in single]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert together.sample().shape == (3, 6)


def test_the_noise_of_positions_is_uniform_and_independent():
    noise = noise_of_positions((2000,), 2, 50, torch.Generator().manual_seed(0))
    assert noise.shape == (2000, 2, 50) and 0 <= noise.min() < 1e-4 and 1 - 1e-4 < noise.max() < 1
    cells = torch.histc(noise.float(), 100, 0, 1)
    assert (cells - 2000).square().sum() / 2000 < 99 + 4 * (2 * 99) ** 0.5
    variables = noise.flatten(1).T
    correlation = torch.corrcoef(variables) - torch.eye(100, dtype=torch.float64)
    assert correlation.abs().max() < 5 * 2000**-0.5
    assert torch.equal(noise_of_positions((2000,), 2, 7, torch.Generator().manual_seed(0)), noise[..., :7])


def test_all_sequences():
    chain = random_chain(2, 3, 2)
    values = chain.enumerate_support()
    assert values.shape == (8, 2, 3) and len(values[:, 0].unique(dim=0)) == 8
    torch.testing.assert_close(chain.log_prob(values).exp().sum(0), torch.ones(2, dtype=torch.float64))
    assert torch.equal(chain.log_prob(chain.enumerate_support(expand=False)), chain.log_prob(values))
    assert chain.support.check(values).all() and not chain.support.check(values + 1).all()
    with pytest.raises(ValueError, match=r"There are 3\^40 sequences"):
        LinearChainCRF(TABLE, torch.zeros(1, 40, 3)).enumerate_support()
    with pytest.raises(NotImplementedError, match="enumerate them one by one"):
        LinearChainCRF(TABLE, UNARY, torch.tensor([4, 2])).enumerate_support()


def test_a_single_position_and_no_unary_scores():
    unary = torch.randn(2, 1, 3, dtype=torch.float64)
    for transitions in (torch.zeros(2, 0, 3, 3), TABLE):
        chain = LinearChainCRF(transitions, unary)
        reference = torch.distributions.Categorical(logits=unary[:, 0])
        torch.testing.assert_close(chain.unary_marginals[:, 0], reference.probs)
        torch.testing.assert_close(chain.entropy(), reference.entropy())
        assert chain.marginals.shape == (2, 0, 3, 3) and torch.equal(chain.argmax[:, 0], unary[:, 0].argmax(-1))
    transitions = torch.randn(2, 3, 3, 3)
    with_zeros = LinearChainCRF(transitions, torch.zeros(2, 4, 3))
    assert torch.equal(LinearChainCRF(transitions).log_partition, with_zeros.log_partition)


def test_expanded_and_detached():
    chain = random_chain(1, shared=True, ragged=True)
    wide = chain.expand((4,))
    assert wide.batch_shape == (4,) and wide.event_shape == chain.event_shape and wide.sample((2,)).shape == (2, 4, 4)
    torch.testing.assert_close(wide.log_partition, chain.log_partition.expand(4))
    torch.testing.assert_close(random_chain(1).expand((2,)).entropy(), random_chain(1).entropy().expand(2))
    assert not chain.detached().log_partition.requires_grad
    torch.testing.assert_close(chain.detached().entropy(), chain.entropy())
    with pytest.raises(ValueError, match=r"is not \(B,\)"):
        chain.expand((2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TABLE,), "do not tell B and n"),
        ((torch.zeros(2, 0, 3, 3),), "length 1 have no transitions"),
        ((torch.zeros(2, 3, 3, 4),), r"must be \(B, n-1, C, C\) = \(2, 3, 3, 3\)"),
        ((torch.zeros(2, 4, 3, 3), UNARY), r"must be \(B, n-1, C, C\) = \(2, 3, 3, 3\)"),
        ((torch.zeros(4, 3, 3), UNARY), r"or \(3, 3\) for all"),
        ((torch.zeros(3, 3, 3),), "are needed"),
        ((TABLE, torch.zeros(4, 3)), "are needed"),
        ((TABLE, torch.zeros(2, 0, 3)), "none of which may be 0"),
        ((TABLE, UNARY, torch.tensor([4, 5])), r"\[5\] of row\(s\) \[1\] are not from 1 to 4"),
        ((TABLE, UNARY, torch.tensor([0, 4])), r"\[0\] of row\(s\) \[0\] are not from 1 to 4"),
        ((TABLE, UNARY, torch.tensor([4])), r"one integer a row is needed, \(2,\)"),
        ((TABLE, UNARY, torch.tensor([4.0, 4.0])), "one integer a row is needed"),
        ((TABLE, UNARY * torch.nan, None, True), "unary holds nan"),
        ((TABLE + torch.inf, UNARY, None, True), "transitions holds nan"),
    ],
)
def test_bad_scores_and_lengths(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearChainCRF(*arguments)


def test_bad_values_and_partners():
    chain = LinearChainCRF(TABLE, UNARY, torch.tensor([4, 2]))
    for value, message in (
        (torch.zeros(2, 3).long(), r"\(\.\.\., 2, 4\) are needed"),
        (torch.zeros(3, 4).long(), r"\(\.\.\., 2, 4\) are needed"),
        (torch.zeros(2, 4), "torch.float32"),
        (torch.full((2, 4), 3), "from 0 to 3 within its length: states are 0 to 2"),
        (torch.full((2, 4), -1), "from -1 to 0 within"),
    ):
        with pytest.raises(ValueError, match=message):
            chain.log_prob(value)
    with pytest.raises(ValueError, match="k=0"):
        chain.k_best(0)
    with pytest.raises(ValueError, match="2 generators for a batch of 2|3 generators for a batch of 2"):
        chain.sample((1,), row_generators(3))
    with pytest.raises(ValueError, match="over the same sequences"):
        chain.cross_entropy(LinearChainCRF(TABLE, torch.zeros(2, 5, 3)))
    with pytest.raises(ValueError, match="rows of different lengths"):
        chain.cross_entropy(LinearChainCRF(TABLE, UNARY))
