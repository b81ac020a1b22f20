"""What is written symbol by symbol: lengths, ends and padding, the sampler against log q, relaxed points against corners."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.enumerable_sequences import EnumerableSequences, every_sequence, number_of_sequences
from hf_lvm.generation.prompts import groups_of_one_length, prompt_rows, stack_padded
from hf_lvm.generation.relaxed_sequences import (
    attention_bias,
    embed_sequences,
    end_weights,
    open_sequences,
    reading_weights,
    relaxed_sequences,
)
from tests.generation.decoders import inputs_of, tiny_model
from tests.hardening.examples import close, examples, few_examples

SYMBOLS, END_ID, PAD_ID, VOCABULARY = 3, 4, 5, 6  # 3 is an id that is never written
SHORTEST, LONGEST = st.integers(0, 2), st.integers(1, 3).map(lambda number: 4 - number)
LIMITS = st.tuples(SHORTEST, LONGEST).map(lambda each: (min(each), max(each)))
FAMILIES = ("gpt2", "lstm", "lstm_cross")
MODELS: dict = {}


def sequences_of(family: str, limits: tuple[int, int], batch: int = 3, first: int = 0) -> EnumerableSequences:
    """Of the rows from `first` on; a row has the same prompt and source in every batch."""
    model = MODELS.setdefault(family, tiny_model(family, VOCABULARY))

    def of_rows(given):
        return {name: of_rows(value) if isinstance(value, dict) else value[first:] for name, value in given.items()}

    decoder = CachedDecoder(model, **of_rows(inputs_of(family, model, batch)))
    least, most = limits
    return EnumerableSequences(
        decoder, SYMBOLS, VOCABULARY, END_ID, most, min_length=least, pad_token_id=PAD_ID, temperature=0.7
    )


def row_generators(count: int, seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + row) for row in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
@few_examples
@given(limits=LIMITS, seed=st.integers(0, 10**6))
@torch.no_grad()
def test_samples_are_values_and_a_row_is_the_same_alone(family, limits, seed):
    q = sequences_of(family, limits)
    drawn = q.draw((2,), row_generators(3, seed))
    values, lengths = drawn.sequences, q.lengths(drawn.sequences)
    assert values.shape == (2, 3, limits[1] + 1) and q.support.check(values).all()
    assert ((lengths >= limits[0]) & (lengths <= limits[1])).all()
    places = torch.arange(limits[1] + 1)
    assert (values[places < lengths.unsqueeze(-1)] < SYMBOLS).all()
    assert (values[places > lengths.unsqueeze(-1)] == PAD_ID).all()
    close(q.log_prob(values), drawn.log_prob, 1e-9)
    close(q.symbol_log_probs(values).sum(-1), drawn.log_prob, 1e-9)
    both = q.sample_and_log_prob((2,), row_generators(3, seed))
    assert torch.equal(both[0], values) and torch.equal(q.sample((2,), row_generators(3, seed)), values)
    close(both[1], drawn.log_prob, 1e-9)
    # Whatever stands behind an end, and how far the batch is padded.
    noisy = torch.where(places > lengths.unsqueeze(-1), torch.full_like(values, 1), values)
    close(q.log_prob(noisy), drawn.log_prob, 1e-9)
    longest = int(lengths.max()) + 1
    close(q.log_prob(values[..., :longest]), drawn.log_prob, 1e-9)
    alone = sequences_of(family, limits, first=2)
    assert torch.equal(alone.sample((2,), row_generators(3, seed)[2:])[:, 0], values[:, 2])
    close(alone.log_prob(values[:, 2:])[:, 0], drawn.log_prob[:, 2], 1e-9)
    with pytest.raises(ValueError, match="no EOS"):
        q.log_prob(torch.zeros(3, limits[1] + 1, dtype=torch.long))


@pytest.mark.parametrize("family", FAMILIES[:2])
@few_examples
@given(limits=LIMITS)
@torch.no_grad()
def test_all_values_sum_to_one(family, limits):
    q = sequences_of(family, limits)
    values = q.enumerate_support()
    assert len(values) == q.support_size == number_of_sequences(SYMBOLS, *limits)
    log_probs = q.log_prob(values)
    close(log_probs.exp().sum(0), torch.ones(3, dtype=torch.float64), 1e-9)
    assert torch.equal(every_sequence(SYMBOLS, *limits, END_ID, PAD_ID), values[:, 0])
    assert (q.log_prob(q.mode) <= log_probs.amax(0) + 1e-9).all()
    assert all((values[:, row] == q.mode[row]).all(-1).sum() == 1 for row in range(3))


@pytest.mark.parametrize("family", FAMILIES[:2])
@pytest.mark.parametrize("relaxed", [relaxed_sequences, open_sequences])
@few_examples
@given(limits=LIMITS, seed=st.integers(0, 10**6), temperature=st.floats(0.3, 2), corners=st.booleans())
def test_relaxed_samples_are_points_whose_corners_are_samples(family, relaxed, limits, seed, temperature, corners):
    q = sequences_of(family, limits)
    soft = relaxed(q, temperature, (2,), row_generators(3, seed), straight_through=corners)
    width = limits[1] + 1
    assert soft.points.shape == (2, 3, width, VOCABULARY) and soft.end_weights.shape == (2, 3, width)
    ones = torch.ones(2, 3, dtype=torch.float64)
    close(soft.points.sum(-1), ones.unsqueeze(-1).expand(-1, -1, width), 1e-9)
    close(soft.end_weights.sum(-1), ones, 1e-9)
    assert (soft.points >= -1e-12).all() and (soft.points[..., 3] == 0).all() and (soft.points[..., PAD_ID] == 0).all()
    assert (soft.points[:, :, : limits[0], END_ID] == 0).all()
    close(soft.log_probs.exp().sum(-1), ones.unsqueeze(-1).expand(-1, -1, limits[1]), 1e-9)
    if corners:
        values = soft.points.argmax(-1)
        lengths = q.lengths(values)
        chosen = soft.log_probs.gather(-1, values[..., :-1, None]).squeeze(-1)
        read = torch.arange(limits[1]) <= lengths.unsqueeze(-1)
        close((chosen * read).sum(-1), q.log_prob(values), 1e-9)
        assert torch.equal(soft.end_weights.argmax(-1), lengths)
    alone = relaxed(sequences_of(family, limits, first=2), temperature, (2,), row_generators(3, seed)[2:], corners)
    close(alone.points[:, 0], soft.points[:, 2], 1e-9)
    weights = list(q.decoder.decoder.parameters())
    embedded = embed_sequences(soft, torch.eye(VOCABULARY, dtype=torch.float64))
    close(embedded.embeds, soft.points, 1e-12)
    close(embedded.weights, reading_weights(soft.end_weights), 1e-12)
    value = (embedded.embeds * embedded.weights.unsqueeze(-1)).square().sum()
    gradients = torch.autograd.grad(value, weights, allow_unused=True)
    assert any(gradient is not None for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@examples
@given(ends=st.lists(st.floats(0, 1), min_size=1, max_size=5), corner=st.integers(0, 4))
def test_weights_of_ends_are_probabilities(ends, corner):
    weights = end_weights(torch.tensor([ends], dtype=torch.float64))
    close(weights.sum(-1), torch.ones(1, dtype=torch.float64), 1e-9)
    read, before = reading_weights(weights), reading_weights(weights, with_end=False)
    assert (read[0, 0] - 1).abs() < 1e-9 and (read.diff(dim=-1) <= 1e-12).all()
    close(read - before, weights, 1e-9)
    place = min(corner, len(ends) - 1)
    hard = reading_weights(end_weights(torch.eye(len(ends), dtype=torch.float64)[[place]]))
    assert hard.tolist() == [[1.0] * (place + 1) + [0.0] * (len(ends) - 1 - place)]
    bias = attention_bias(hard)
    assert bias.shape == (1, 1, 1, len(ends)) and (bias.flatten()[: place + 1] == 0).all()
    assert (bias.flatten()[place + 1 :] < -1e3).all()


@examples
@given(
    rows=st.lists(st.lists(st.integers(2, 9), max_size=4), min_size=1, max_size=4), side=st.sampled_from(["left", "right"]),
    extra=st.integers(0, 2),
)  # fmt: skip
def test_prompts_are_what_stands_between_their_padding(rows, side, extra):
    width = max(map(len, rows)) + extra
    sign = 1 if side == "right" else -1
    padded = [(row[::sign] + [0] * (width - len(row)))[::sign] for row in rows]
    prompt = torch.tensor(padded).view(len(rows), width)
    mask = (prompt != 0).long()
    found = prompt_rows(prompt, mask, 1, len(rows), "cpu")
    assert found == [[1, *row] for row in rows]
    # A start token that is there already is not written twice.
    started = torch.nn.functional.pad(stack_padded([torch.tensor(row) for row in found], 0), (0, extra))
    assert prompt_rows(started, (started != 0).long(), 1, len(rows), "cpu") == found
    groups = list(groups_of_one_length(found))
    assert sorted(sum(groups, [])) == list(range(len(rows)))
    assert all(len({len(found[row]) for row in group}) == 1 for group in groups)
    assert prompt_rows(None, None, 1, len(rows), "cpu") == [[1]] * len(rows)
    with pytest.raises(ValueError, match="one prompt a latent"):
        prompt_rows(prompt, mask, 1, len(rows) + 1, "cpu")
