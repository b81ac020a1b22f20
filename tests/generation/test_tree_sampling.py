"""Sentences with trees drawn from a grammar step by step: whose noise it is, and where they are cut."""

import pytest
import torch

from hf_lvm.generation.tree_sampling import sample_trees
from tests.backbones.test_rnng_decoder import EOS, tiny


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("subwords", [False, True])
def test_a_row_with_a_generator_of_its_own_does_not_depend_on_the_others(subwords):
    model = tiny(subwords=subwords)
    together = sample_trees(model, 6, 8, generators(6))
    assert len(together.lengths.unique()) > 1
    for row in range(6):
        alone = sample_trees(model, 1, 8, generators(6)[row : row + 1])
        length, pieces = int(alone.lengths), alone.pieces.shape[1]
        assert length == int(together.lengths[row]) and alone.finished[0] == together.finished[row]
        assert torch.equal(alone.pieces[0], together.pieces[row, :pieces])
        assert torch.equal(alone.word_ids[0], together.word_ids[row, :pieces])
        assert (together.word_ids[row, pieces:] == -1).all()
        assert torch.equal(alone.spans[0], together.spans[row, :length, :length])


def test_sentences_are_cut_at_the_most_words_and_at_the_most_pieces():
    model = tiny(subwords=True)
    with torch.no_grad():
        model.lm_head.bias[EOS] -= 50.0
        sampled = sample_trees(model, 20, 3, torch.Generator().manual_seed(0))
        assert not sampled.finished.any() and (sampled.lengths == 3).all()
        # A word that never ends.
        model.continue_head.bias += 50.0
        sampled = sample_trees(model, 2, 3)
        assert sampled.pieces.shape == (2, 24) and (sampled.lengths == 1).all() and not sampled.word_ids.any()
        assert sample_trees(model, 2, 3, max_pieces=5).pieces.shape == (2, 5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="count 2, max_words 0 and max_pieces None must be at least 1"):
        sample_trees(tiny(), 2, 0)
    with pytest.raises(ValueError, match="Got 1 generators for a batch of 2 rows"):
        sample_trees(tiny(), 2, 3, generators(1))
