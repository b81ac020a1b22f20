"""Vectors of tokens by what stands beside them: where embeddings may begin if few sentences have labels and many have none.

The positive pointwise mutual information of a token and its neighbours, each place apart, says where the token stands; its
leading singular vectors are good vectors of words (Levy and Goldberg 2014, "Neural word embedding as implicit matrix
factorization"; smoothed as Levy, Goldberg and Dagan 2015, section 3). A word that no labelled sentence has then begins beside
words of its kind.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import svds

# Neighbours count with their frequency to this power, so that a rare one does not look like a strong sign of every word.
SMOOTHING = 0.75


def neighbour_vectors(sentences: Iterable[Sequence[int]], vocab_size: int, size: int, window: int = 2) -> np.ndarray:
    """Vectors (V, size) of tokens, of length 1; zeros for those that no sentence has.

    Args:
        sentences: token ids.
        vocab_size: V.
        size: dimensions; those past the number of tokens that there are stay 0.
        window: neighbours on either side. The edges of a sentence count as one.

    Raises:
        ValueError: no neighbours to count, because the sentences are empty.
    """
    offsets = [offset for offset in range(-window, window + 1) if offset]
    edge, rows, columns = vocab_size, [], []
    for sentence in sentences:
        ids = np.asarray(sentence, dtype=np.int64)
        padded = np.pad(ids, window, constant_values=edge)
        for place, offset in enumerate(offsets):
            rows.append(ids)
            columns.append(padded[window + offset : window + offset + len(ids)] + place * (vocab_size + 1))
    rows = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    if not len(rows):
        raise ValueError("There are no sentences to count neighbours in: pass some with tokens.")
    shape = (vocab_size, len(offsets) * (vocab_size + 1))
    counts = coo_matrix((np.ones(len(rows)), (rows, np.concatenate(columns))), shape=shape).tocsr()
    matrix = _information(counts, vocab_size + 1)
    kept = min(size, min(shape) - 1, max(np.count_nonzero(np.diff(counts.indptr)) - 1, 1))
    # A fixed first vector: by default it is drawn from a generator that nobody seeds.
    left, values, _ = svds(matrix, k=kept, v0=np.ones(min(shape)))
    vectors = np.zeros((vocab_size, size))
    # The root of the singular values weighs both sides alike (Levy, Goldberg and Dagan 2015, section 3.3).
    vectors[:, :kept] = left * np.sqrt(values)
    vectors[np.diff(counts.indptr) == 0] = 0.0
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-6)


def _information(counts: csr_matrix, block: int) -> csr_matrix:
    """Positive pointwise mutual information of tokens and neighbours; each place is a block of columns, counted apart."""
    counts = counts.tocoo()
    place = counts.col // block
    total = np.bincount(place, counts.data)
    own = np.zeros((counts.shape[0], len(total)))
    np.add.at(own, (counts.row, place), counts.data)
    smoothed = np.bincount(counts.col, counts.data, minlength=counts.shape[1]) ** SMOOTHING
    share = smoothed / smoothed.reshape(-1, block).sum(1).repeat(block)
    expected = own[counts.row, place] * share[counts.col]
    information = np.log(counts.data / expected).clip(min=0)
    return coo_matrix((information, (counts.row, counts.col)), shape=counts.shape).tocsr()
