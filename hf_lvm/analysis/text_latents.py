"""Sentences as objects: the posterior means that a trained text VAE gives them, held-out ones unlike all others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from scipy.sparse import csr_matrix

from hf_lvm.analysis.feature_extraction import reads_conditions, texts_by_length
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.data import LatentTextProcessor
from hf_lvm.layers.decoder_interface import in_evaluation_mode

HELD_OUT = ("validation", "test")
# Rows of a matrix of similarities that are held at once.
CHUNK = 512


@dataclass(frozen=True)
class TextLatents:
    """Texts and their latents.

    Attributes:
        vectors: split -> (N, D), means of q(z|x).
        texts: split -> N texts.
        left_out: split -> how many texts were left out: those without a word, and those equal or near to one before.
    """

    vectors: dict[str, torch.Tensor]
    texts: dict[str, list[str]]
    left_out: dict[str, int]


def text_latents(name: str, splits: Mapping[str, Dataset], near_duplicates: float = 0.6, batch_size: int = 64) -> TextLatents:
    """The means of q(z|x) of the texts of a corpus, without near-duplicates among those that are held out.

    Args:
        name: a trained text VAE: the output folder of a run, or a hub id.
        splits: train, validation and test, with the column `text`. Held-out texts should be held out from the VAE, too: take
            the corpus and the splits that it was trained on.
        near_duplicates: see `distinct_texts`.

    Raises:
        ValueError: a model without `encode_texts`, or latents that are no vectors.
    """
    model, processor = load_trained(name, "encode_texts")
    texts, left_out = distinct_texts({split: rows["text"][:] for split, rows in splits.items()}, near_duplicates)
    vectors = {split: encode_texts(model, own, processor, batch_size) for split, own in texts.items()}
    return TextLatents(vectors, texts, left_out)


@torch.no_grad()
def encode_texts(model, texts: Sequence[str], processor: LatentTextProcessor, batch_size: int = 64) -> torch.Tensor:
    """The means of q(z|x) of N texts, without dropout: (N, D) on the CPU.

    Raises:
        ValueError: a latent that is no vector, whose posterior has no mean, or one that depends on more than the text.
    """
    if reads_conditions(model):
        raise ValueError(
            f"prior_type {model.config.prior_type!r} reads a condition beside each text, and here are texts alone: give a "
            "text VAE without one."
        )
    order, parts = [], []
    with in_evaluation_mode(model):
        for rows, own in texts_by_length(texts, batch_size):
            posterior = model.encode_texts(own, processor=processor)
            if len(posterior.event_shape) != 1 or posterior.support.is_discrete:
                raise ValueError(
                    f"A {model.config.model_type!r} model has no latent vector to take the mean of: give a trained text VAE."
                )
            order += rows
            parts.append(posterior.mean.float().cpu())
    vectors = torch.cat(parts)
    return torch.empty_like(vectors).index_copy_(0, torch.tensor(order), vectors)


def distinct_texts(
    splits: Mapping[str, Sequence[str]], near_duplicates: float = 0.6
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Texts of the splits without repetition: of training texts those with other words, of held-out ones those unlike all.

    Texts without a word are left out. A validation or test text is left out where the Jaccard index of its set of words and
    that of a training text, of an earlier text of its split, or for the test of a validation text, is `near_duplicates` or
    more: words that both have, over words that one of them has. Capitals and punctuation do not count. All pairs are
    compared, without hashing.

    Args:
        splits: train, validation, test, in any order.
        near_duplicates: 0 to 1.

    Returns:
        The texts of each split, in their order, and how many of each were left out.
    """
    kept: dict[str, list[str]] = {}
    sets: dict[str, list[frozenset[str]]] = {}
    for split in ("train", *HELD_OUT):
        seen: set[frozenset[str]] = set()
        kept[split], sets[split] = [], []
        for text in splits[split]:
            words = frozenset(re.findall(r"\w+", text.lower()))
            if words and words not in seen:
                seen.add(words)
                kept[split].append(text)
                sets[split].append(words)
    numbers = {word: place for place, word in enumerate(sorted(set().union(*(own for each in sets.values() for own in each))))}
    known = sets["train"]
    for split in HELD_OUT:
        apart = ~(most_alike(sets[split], known, numbers) >= near_duplicates - 1e-9)
        rows = [row for row in range(len(sets[split])) if apart[row]]
        similar = jaccard([sets[split][row] for row in rows], [sets[split][row] for row in rows], numbers)
        chosen: list[int] = []
        for place in range(len(rows)):
            if not chosen or similar[place, chosen].max() < near_duplicates - 1e-9:
                chosen.append(place)
        rows = [rows[place] for place in chosen]
        kept[split], sets[split] = [kept[split][row] for row in rows], [sets[split][row] for row in rows]
        known = [*known, *sets[split]]
    return kept, {split: len(splits[split]) - len(kept[split]) for split in kept}


def most_alike(one: Sequence[frozenset[str]], other: Sequence[frozenset[str]], numbers: Mapping[str, int]) -> np.ndarray:
    """Of each set of words in `one` the largest Jaccard index with one in `other`: (N,); 0 where there is none."""
    if not other:
        return np.zeros(len(one))
    chunks = [jaccard(one[start : start + CHUNK], other, numbers).max(1) for start in range(0, len(one), CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros(0)


def jaccard(one: Sequence[frozenset[str]], other: Sequence[frozenset[str]], numbers: Mapping[str, int]) -> np.ndarray:
    """The Jaccard index of N sets of words with M: (N, M).

    Args:
        numbers: word -> its column in a matrix of words.
    """
    first, second = (_matrix(each, numbers) for each in (one, other))
    common = (first @ second.T).toarray()
    sizes = np.array([len(own) for own in one])[:, None] + np.array([len(own) for own in other])
    return common / np.maximum(sizes - common, 1)


def _matrix(sets: Sequence[frozenset[str]], numbers: Mapping[str, int]) -> csr_matrix:
    rows = [row for row, own in enumerate(sets) for _ in own]
    columns = [numbers[word] for own in sets for word in own]
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(sets), len(numbers)))
