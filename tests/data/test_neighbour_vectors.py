"""Vectors of tokens by their neighbours."""

import numpy as np
import pytest

from hf_lvm.data.neighbour_vectors import SMOOTHING, neighbour_vectors

# 0 and 1 stand in the same places, 2 and 3 in others; 5 stands nowhere.
SENTENCES = [[4, 0, 2], [4, 1, 2], [4, 0, 3], [4, 1, 3], [0, 2], [1, 2], [2, 4], [3, 4]]


def information_by_hand(sentences, vocab_size, window):
    """The matrix by its definition, one token, place and neighbour at a time."""
    offsets = [*range(-window, 0), *range(1, window + 1)]
    counts = np.zeros((vocab_size, len(offsets), vocab_size + 1))
    for sentence in sentences:
        for at, token in enumerate(sentence):
            for place, offset in enumerate(offsets):
                there = at + offset
                counts[token, place, sentence[there] if 0 <= there < len(sentence) else vocab_size] += 1
    matrix = np.zeros_like(counts)
    for token, place, neighbour in np.argwhere(counts):
        power = counts[:, place].sum(0) ** SMOOTHING
        share = power[neighbour] / power.sum()
        joint = counts[token, place, neighbour] / counts[:, place].sum()
        alone = counts[token, place].sum() / counts[:, place].sum()
        matrix[token, place, neighbour] = max(np.log(joint / (alone * share)), 0)
    return matrix.reshape(vocab_size, -1)


@pytest.mark.parametrize("window", [1, 2])
def test_vectors_are_the_leading_part_of_the_information(window):
    vectors = neighbour_vectors(SENTENCES, vocab_size=6, size=8, window=window)
    left, values, _ = np.linalg.svd(information_by_hand(SENTENCES, 6, window), full_matrices=False)
    expected = (left * np.sqrt(values))[:5, :4]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[:5] @ vectors[:5].T, expected @ expected.T, atol=1e-8)


def test_tokens_in_the_same_places_are_alike_and_what_is_not_there_is_zero():
    vectors = neighbour_vectors(SENTENCES, vocab_size=6, size=3)
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.95 and alike[2, 3] > 0.5
    assert alike[0, 2] < alike[0, 1] - 0.3
    np.testing.assert_allclose(np.linalg.norm(vectors[:5], axis=1), 1)
    assert not vectors[5].any()
    np.testing.assert_array_equal(vectors, neighbour_vectors(SENTENCES, vocab_size=6, size=3))


@pytest.mark.parametrize("sentences", [[], [[]]])
def test_no_sentences(sentences):
    with pytest.raises(ValueError, match="no sentences to count neighbours in"):
        neighbour_vectors(sentences, vocab_size=6, size=3)
