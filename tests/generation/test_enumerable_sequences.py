"""All sequences of a few symbols, and log q symbol by symbol."""

import math

import pytest
import torch

from hf_lvm.distributions import UniformSymbols
from hf_lvm.generation.enumerable_sequences import (
    EnumerableSequences,
    every_sequence,
    number_of_sequences,
)
from tests.generation.decoders import tiny_decoder

# Symbols 0, 1 and 2, the end 4; 3 and 5 are none.
RULES = {"num_symbols": 3, "vocabulary": 6, "eos_token_id": 4, "pad_token_id": 5}


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "lstm"])
@pytest.mark.parametrize("lengths", [(0, 3), (2, 2)])
def test_all_sequences_are_there_once_and_sum_to_one(family, lengths):
    q = EnumerableSequences(
        tiny_decoder(family, vocabulary=6), max_length=lengths[1], min_length=lengths[0], **RULES, validate_args=True
    )
    values = q.enumerate_support()
    assert values.shape == (q.support_size, 2, lengths[1] + 1)
    assert q.support_size == sum(3**length for length in range(lengths[0], lengths[1] + 1))
    assert len(values[:, 0].unique(dim=0)) == q.support_size
    torch.testing.assert_close(q.log_prob(values).exp().sum(0), torch.ones(2, dtype=torch.float64), rtol=0.0, atol=1e-12)
    assert q.enumerate_support(expand=False).shape == (q.support_size, 1, lengths[1] + 1)


@pytest.mark.parametrize("family", ["gpt2", "lstm"])
def test_symbols_sum_to_the_sequence_and_the_end_is_counted_once(family):
    q = EnumerableSequences(tiny_decoder(family, vocabulary=6), max_length=3, **RULES)
    values = q.enumerate_support()
    by_symbol = q.symbol_log_probs(values)
    assert by_symbol.shape == values.shape and by_symbol.requires_grad
    torch.testing.assert_close(by_symbol.sum(-1), q.log_prob(values), rtol=0.0, atol=1e-12)
    lengths = q.lengths(values)
    # The end costs something where there could have been another symbol, nothing behind the last one, and comes once.
    at_end = by_symbol.gather(-1, lengths.unsqueeze(-1)).squeeze(-1)
    assert ((at_end < 0) == (lengths < 3)).all()
    behind = torch.arange(4) > lengths.unsqueeze(-1)
    assert (by_symbol[behind] == 0).all()
    # Each is the probability of a symbol given those before it: those of the same beginning sum to one.
    first = torch.stack([by_symbol[values[:, 0, 0] == symbol][0, :, 0] for symbol in (0, 1, 2, 4)]).exp().sum(0)
    torch.testing.assert_close(first, torch.ones(2, dtype=torch.float64))


def test_a_sequence_that_is_none_has_no_probability_symbol_by_symbol():
    q = EnumerableSequences(tiny_decoder("gpt2", vocabulary=6), max_length=2, **RULES)
    with pytest.raises(ValueError, match="has no EOS"):
        q.symbol_log_probs(torch.tensor([[0, 1, 2]] * 2))
    with pytest.raises(ValueError, match="L of up to 3"):
        q.symbol_log_probs(torch.zeros(2, 5, dtype=torch.long))
    assert (q.log_prob(torch.tensor([[3, 4, 5]] * 2)) == -torch.inf).all()


def test_how_many_there_are():
    assert number_of_sequences(2, 0, 2) == 7 and number_of_sequences(4, 2, 3) == 80
    assert every_sequence(2, 1, 2, 2, 3).tolist() == [[0, 2, 3], [1, 2, 3], [0, 0, 2], [0, 1, 2], [1, 0, 2], [1, 1, 2]]
    with pytest.raises(ValueError, match="it stands behind them"):
        EnumerableSequences(tiny_decoder("gpt2", vocabulary=6), 3, 6, 2, 3)


# ---- symbols that are drawn alike ---------------------------------------------------------------------------------------


def lengths_of(values: torch.Tensor) -> torch.Tensor:
    return (values == 3).cumsum(-1).eq(0).sum(-1)


@pytest.mark.parametrize("rate", [0.0, 0.7, -math.log(3)])
@pytest.mark.parametrize("limits", [(0, 3), (1, 2), (2, 2)])
def test_uniform_symbols_are_normalised_over_all_sequences(limits, rate):
    fewest, most = limits
    options = {"min_length": fewest, "length_rate": rate, "vocabulary": 6, "dtype": torch.float64}
    p = UniformSymbols(3, 3, most, pad_token_id=5, **options)
    values = every_sequence(3, fewest, most, 3, 5)
    log_prob = p.log_prob(values)
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)
    # By the definition: p(l) over its sum, then 3^-l.
    lengths = lengths_of(values)
    mass = {length: math.exp(-rate * length) for length in range(fewest, most + 1)}
    by_hand = [mass[length] / sum(mass.values()) / 3**length for length in lengths.tolist()]
    torch.testing.assert_close(log_prob.exp(), torch.tensor(by_hand, dtype=torch.float64))
    if rate < 0:
        assert log_prob.std() < 1e-12, "with a rate of -log V all are equally probable"
    by_symbol = p.symbol_log_probs(values)
    torch.testing.assert_close(by_symbol.sum(-1), log_prob)
    assert (by_symbol[torch.arange(most + 1) > lengths.unsqueeze(1)] == 0).all()
    # Every step is a distribution over symbols and the end, and what stands in the table is what sequences are scored by.
    steps = p.step_log_probs()
    torch.testing.assert_close(steps.exp().sum(-1), torch.ones(most, dtype=torch.float64))
    assert (steps[:, 4:] == -torch.inf).all() and (steps[:fewest, 3] == -torch.inf).all()


def test_uniform_symbols_come_as_often_as_they_should():
    p = UniformSymbols(2, 2, 2, length_rate=1.0, pad_token_id=4, dtype=torch.float64)
    values = every_sequence(2, 0, 2, 2, 4)
    drawn = p.sample((4000,), torch.Generator().manual_seed(0))
    counts = (drawn.unsqueeze(1) == values).all(-1).sum(0)
    assert counts.sum() == 4000
    expected = 4000 * p.log_prob(values).exp()
    assert (((counts - expected) ** 2) / expected).sum() < 30
    assert p.sample((2, 3)).shape == (2, 3, 3) and p.sample().shape == (3,)


def test_what_uniform_symbols_refuse():
    for wrong in ({"num_symbols": 0}, {"max_length": 0}, {"min_length": 3}, {"length_rate": float("nan")}):
        with pytest.raises(ValueError, match="at least one symbol"):
            UniformSymbols(**{"num_symbols": 2, "eos_token_id": 2, "max_length": 2} | wrong)
    with pytest.raises(ValueError, match="EOS is 1, and the symbols are 0 to 1"):
        UniformSymbols(2, 1, 2)
    with pytest.raises(ValueError, match="vocabulary of 2 ids has no EOS, which is 2"):
        UniformSymbols(2, 2, 2, vocabulary=2)
    p = UniformSymbols(2, 2, 2)
    assert p.log_prob(torch.tensor([0, 1, 0])) == -torch.inf, "no end"
