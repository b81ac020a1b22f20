"""Vectors of words by the documents they share, and their clusters: where embedded topics begin.

A topic model learns from a few thousand short documents which words belong together. Much of that is already in the counts:
the leading eigenvectors of the positive pointwise mutual information of word pairs are good word vectors (Levy and Goldberg
2014), and clusters of such vectors are topics of a kind by themselves (Sia et al. 2020). Training that begins there has
topics that differ from one another from its first step on.
"""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans

# Pairs of words that share a single document do so by chance.
LEAST_DOCUMENTS = 2


def word_vectors(counts: csr_matrix, size: int) -> np.ndarray:
    """Unit vectors (W, size) of W words, from counts (N documents, W); of words that stand beside no other, zeros.

    Raises:
        ValueError: fewer words than dimensions.
    """
    documents, words = counts.shape
    if size >= words:
        raise ValueError(
            f"Vectors of {size} dimensions need more than {words} words: set embedding_size below the number of words."
        )
    held = (counts > 0).astype(np.float64)
    pairs = (held.T @ held).tocoo()
    alone = np.asarray(held.sum(0)).ravel()
    kept = (pairs.row != pairs.col) & (pairs.data >= LEAST_DOCUMENTS)
    rows, columns, together = pairs.row[kept], pairs.col[kept], pairs.data[kept]
    information = np.log(together * documents / (alone[rows] * alone[columns])).clip(min=0)
    matrix = csr_matrix((information, (rows, columns)), shape=(words, words))
    # A first vector of its own: otherwise it is drawn from a generator that nobody seeds.
    values, vectors = eigsh(matrix, k=size, which="LA", v0=np.ones(words))
    vectors = vectors * np.sqrt(values.clip(min=0))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-6)


def start_of_topics(counts: csr_matrix, num_topics: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of the words, (W, size), and of K clusters of them that are weighed by frequency, (K, size)."""
    vectors = word_vectors(counts, size)
    clusters = KMeans(num_topics, n_init=1, random_state=seed).fit(vectors, sample_weight=np.asarray(counts.sum(0)).ravel())
    centers = clusters.cluster_centers_
    centers = centers / np.linalg.norm(centers, axis=1, keepdims=True).clip(min=1e-6)
    return torch.from_numpy(vectors).float(), torch.from_numpy(centers).float()
