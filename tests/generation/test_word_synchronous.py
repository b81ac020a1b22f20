"""Word-synchronous beam search against all trees written down, and against the scores of the decoder."""

import pytest
import torch

from hf_lvm.generation.word_synchronous import word_synchronous_search
from tests.backbones.test_rnng_decoder import EOS, random_words, tiny
from tests.backbones.test_rnng_subwords import word_ids_of
from tests.distributions.binary_tree.enumeration import all_masks

LENGTHS = (5, 1, 4, 2)


def setting(subwords: bool):
    """A model with four sentences of different lengths, as arguments of a search and of the model."""
    model = tiny(subwords=subwords)
    word_ids = word_ids_of([2, 1, 1, 3, 1], [2], [1, 1, 2, 1], [1, 1], size=8) if subwords else None
    pieces = random_words(4, 8 if subwords else 5)
    return model, pieces, word_ids


@torch.no_grad()
def enumerated(model, pieces, word_ids, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All trees of a sentence, the most probable first, with log p of each."""
    length = LENGTHS[row]
    masks = all_masks(length, length)
    words = pieces[row : row + 1, :length] if word_ids is None else pieces[row : row + 1]
    log_prob = model(words, masks.unsqueeze(1), None if word_ids is None else word_ids[row : row + 1]).log_prob[:, 0]
    order = log_prob.argsort(descending=True)
    return masks[order], log_prob[order]


@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize("fast_track", [0, 3])
def test_a_beam_that_holds_everything_finds_every_tree(subwords, fast_track):
    model, pieces, word_ids = setting(subwords)
    lengths = torch.tensor(LENGTHS)
    found = word_synchronous_search(
        model, pieces, word_ids, lengths, num_trees=14, beam_size=200, word_beam_size=100, fast_track=fast_track
    )
    assert found.spans.shape == (14, 4, 5, 5) and found.log_prob.shape == (4, 14) and found.surprisal.shape == (4, 5)
    for row, length in enumerate(LENGTHS):
        masks, log_prob = enumerated(model, pieces, word_ids, row)
        count = len(masks)
        torch.testing.assert_close(found.log_prob[row, :count], log_prob, rtol=0.0, atol=1e-9)
        assert (found.log_prob[row, count:] == -torch.inf).all() and not found.spans[count:, row].any()
        assert torch.equal(found.spans[:count, row, :length, :length], masks)
        assert not found.spans[:, row, length:].any() and not found.spans[:, row, :, length:].any()
        total = found.surprisal[row].sum() + found.end_surprisal[row]
        torch.testing.assert_close(total, -log_prob.logsumexp(0), rtol=0.0, atol=1e-9)
        assert (found.surprisal[row, :length] > 0).all() and not found.surprisal[row, length:].any()


@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize("beams", [(1, 1, 0), (3, 2, 0), (4, 2, 1)])
def test_a_small_beam_finds_some_of_them_with_their_scores(subwords, beams):
    model, pieces, word_ids = setting(subwords)
    lengths = torch.tensor(LENGTHS)
    options = dict(zip(("beam_size", "word_beam_size", "fast_track"), beams, strict=True)) | {"num_trees": 4}
    found = word_synchronous_search(model, pieces, word_ids, lengths, **options)
    longest = pieces if subwords else pieces[:, :5]
    with torch.no_grad():
        scores = model(longest, found.spans[:1], word_ids).log_prob[0]
    torch.testing.assert_close(found.log_prob[:, 0], scores, rtol=0.0, atol=1e-9)
    exists = found.log_prob > -torch.inf
    assert exists[:, 0].all() and not exists[1, 1:].any()
    for row, length in enumerate(LENGTHS):
        masks, log_prob = enumerated(model, pieces, word_ids, row)
        for tree in exists[row].nonzero().flatten().tolist():
            same = (masks == found.spans[tree, row, :length, :length]).flatten(1).all(1)
            torch.testing.assert_close(found.log_prob[row, tree], log_prob[same][0], rtol=0.0, atol=1e-9)
        assert (found.log_prob[row].diff()[exists[row, 1:]] <= 0).all()
        total = found.surprisal[row].sum() + found.end_surprisal[row]
        assert total >= -log_prob.logsumexp(0) - 1e-9
        # A sentence finds the same alone.
        one = slice(row, row + 1)
        width = length if word_ids is None else int((word_ids[row] >= 0).sum())
        own = None if word_ids is None else word_ids[one, :width]
        alone = word_synchronous_search(model, pieces[one, :width], own, **options)
        torch.testing.assert_close(alone.log_prob[0], found.log_prob[row], rtol=0.0, atol=1e-9)
        torch.testing.assert_close(alone.surprisal[0], found.surprisal[row, :length], rtol=0.0, atol=1e-9)
        assert torch.equal(alone.spans[:, 0], found.spans[:, row, :length, :length])


def test_the_first_surprisals_are_those_of_the_words_where_no_tree_is_in_doubt():
    model, pieces, _ = setting(False)
    found = word_synchronous_search(model, pieces[:, :1], beam_size=1)
    step = model.next_step(model.begin(4))
    first = -step.shifts.gather(1, pieces[:, :1])
    torch.testing.assert_close(found.surprisal, first, rtol=0.0, atol=1e-12)


def test_a_sentence_that_goes_on_after_its_end_has_no_tree():
    model, pieces, _ = setting(False)
    pieces[0, 2] = EOS
    found = word_synchronous_search(model, pieces, num_trees=2, beam_size=10)
    assert (found.log_prob[0] == -torch.inf).all() and not found.spans[:, 0].any()
    assert found.surprisal[0].isinf().tolist() == [False, False, True, True, True] and found.end_surprisal[0] == torch.inf
    assert found.log_prob[1:].isfinite().all() and found.surprisal[1:].isfinite().all()
    pieces[:, 2] = EOS
    assert (word_synchronous_search(model, pieces).log_prob == -torch.inf).all()


def test_words_that_go_on_for_certain_have_no_tree_and_no_nan():
    model, pieces, _ = setting(True)
    with torch.no_grad():
        model.continue_head.bias.fill_(torch.inf)
    found = word_synchronous_search(model, pieces[:, :2], word_ids_of(*[[1, 1]] * 4, size=2))
    assert (found.log_prob == -torch.inf).all() and (found.surprisal == torch.inf).all()
    assert (found.end_surprisal == torch.inf).all()


def test_memory_follows_the_depth_of_the_stacks():
    model = tiny()
    deepest = []
    advance = model.advance

    def watched(state, actions, pieces):
        after = advance(state, actions, pieces)
        deepest.append((after.constituents.shape[1], int(after.size.max())))
        return after

    model.advance = watched
    with torch.no_grad():
        # REDUCE is nearly certain wherever there can be one.
        model.action_head.bias += 50.0
    word_synchronous_search(model, random_words(2, 12), beam_size=1)
    assert all(held == depth for held, depth in deepest) and max(held for held, _ in deepest) == 2


def test_what_cannot_be_is_refused():
    model, pieces, word_ids = setting(True)
    with pytest.raises(ValueError, match="beam_size .* must be at least 1 .* but are 1, 0, 0 and 0"):
        word_synchronous_search(model, pieces, word_ids, beam_size=0)
    with pytest.raises(ValueError, match="word_ids of row 1 have 1 words, but its trees 2"):
        word_synchronous_search(model, pieces, word_ids, torch.tensor([5, 2, 4, 2]))
    with pytest.raises(ValueError, match="Word 0 of row 0 is several pieces"):
        word_synchronous_search(tiny(), pieces, word_ids)
    with pytest.raises(ValueError, match=r"The length\(s\) \[9\] of row\(s\) \[0\]"):
        word_synchronous_search(tiny(), pieces, None, torch.tensor([9, 1, 1, 1]))
