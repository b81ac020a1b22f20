"""Scores of spans against the definition, span by span, and states of words against those of their pieces."""

import pytest
import torch

from hf_lvm.layers.span_scores import SPAN_SCORERS
from hf_lvm.layers.word_states import pool_words

SIZE, UNITS = 6, 5


def scorer(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    layer = SPAN_SCORERS[name](SIZE, UNITS).double()
    layer.init_weights()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter))
    return layer


def one_span(layer: torch.nn.Module, name: str, words: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """From the words (n, H) of one sentence."""
    nothing, half = torch.zeros(SIZE // 2, dtype=words.dtype), SIZE // 2

    def post(place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return words[place - 1, :half] if place > 0 else nothing, words[place, half:] if place < len(words) else nothing

    (left, right), (end_left, end_right) = post(first), post(last + 1)
    if name == "fencepost":
        return layer.score(layer.norm(layer.units(torch.cat([end_left - left, right - end_right])).relu()))[0]
    one = torch.ones(1, dtype=words.dtype)
    ends = []
    for part, states in ((layer.begin, (left, right)), (layer.end, (end_left, end_right))):
        ends.append(torch.cat([torch.nn.functional.leaky_relu(part(torch.cat(states)), 0.1), one]))
    return ends[0] @ layer.form @ ends[1]


@pytest.mark.parametrize("name", SPAN_SCORERS)
def test_every_span_by_its_two_ends(name):
    layer, lengths = scorer(name), (4, 2, 1)
    words = torch.randn(3, 4, SIZE, dtype=torch.float64)
    padded = words.masked_fill((torch.arange(4) >= torch.tensor(lengths).unsqueeze(1)).unsqueeze(-1), 0.0)
    scores = layer(padded)
    assert scores.shape == (3, 4, 4)
    for row, length in enumerate(lengths):
        for first in range(length):
            for last in range(first, length):
                expected = one_span(layer, name, words[row, :length], first, last)
                torch.testing.assert_close(scores[row, first, last], expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", SPAN_SCORERS)
def test_it_begins_with_trees_that_are_about_as_probable_and_stays_in_float32(name):
    layer = SPAN_SCORERS[name](SIZE, dropout=0.5)
    layer.init_weights()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = layer(torch.randn(2, 5, SIZE))
    assert scores.dtype == torch.float32 and scores.std() < 0.2
    assert not torch.equal(scores, layer(torch.zeros(2, 5, SIZE)))
    with pytest.raises(ValueError, match="hidden_size must be even, but is 5"):
        SPAN_SCORERS[name](5)


def test_states_of_words_are_those_of_their_last_and_first_pieces():
    hidden = torch.arange(2 * 6 * 4, dtype=torch.float32).view(2, 6, 4)
    word_ids = torch.tensor([[-1, 0, 1, 1, 1, -1], [-1, -1, 0, 0, -1, -1]])
    words = pool_words(hidden, word_ids, 3)
    expected = torch.zeros(2, 3, 4)
    expected[0, 0] = hidden[0, 1]
    expected[0, 1] = torch.cat([hidden[0, 4, :2], hidden[0, 2, 2:]])
    expected[1, 0] = torch.cat([hidden[1, 3, :2], hidden[1, 2, 2:]])
    assert torch.equal(words, expected)
