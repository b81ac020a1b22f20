"""Log-probabilities of words under contexts: against the whole softmax, and one sum for contexts of the same word."""

import pytest
import torch

from hf_lvm.layers.word_softmax import WordSoftmax

HIDDEN, VOCABULARY, EXCLUDED = 4, 9, (0, 2)


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    softmax = WordSoftmax(HIDDEN, VOCABULARY, EXCLUDED).double()
    table = torch.randn(VOCABULARY, HIDDEN, dtype=torch.float64, requires_grad=True)
    read, words = torch.tensor([[5, 7, 5], [7, 7, 8]]), torch.tensor([[3, 4], [8, 1]])
    return softmax, table, read, words


def test_words_are_read_off_the_whole_softmax(drawn):
    softmax, table, read, words = drawn
    whole = softmax.logits(table[read]).log_softmax(-1)
    expected = whole.gather(-1, words.unsqueeze(1).expand(-1, read.shape[1], -1))
    torch.testing.assert_close(softmax(table[read], words), expected)


def test_contexts_of_the_same_word_share_their_sum_and_no_gradient_is_lost(drawn):
    softmax, table, read, words = drawn
    weights = torch.randn(2, 3, 2, dtype=torch.float64)
    parameters = [table, *softmax.parameters()]
    results = []
    for given in (None, read):
        log_probs = softmax(table[read], words, given)
        results.append((log_probs, *torch.autograd.grad((weights * log_probs).sum(), parameters)))
    for alone, shared in zip(*results, strict=True):
        torch.testing.assert_close(shared, alone)
