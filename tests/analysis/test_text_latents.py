"""Sentences as objects: which are left out as near to others, and what a text VAE makes of the rest."""

import itertools

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_lvm.analysis.text_latents import distinct_texts, encode_texts, jaccard, most_alike, text_latents
from hf_lvm.analysis.trained_model import load_trained
from tests.tiny_parts import tiny_classes


def index_by_hand(one: str, other: str) -> float:
    first, second = set(one.split()), set(other.split())
    return len(first & second) / len(first | second)


def test_jaccard_is_that_of_sets_of_words():
    texts = ["a b c", "a b d", "e", "c b a"]
    sets = [frozenset(text.split()) for text in texts]
    numbers = {word: place for place, word in enumerate("abcde")}
    found = jaccard(sets, sets, numbers)
    for row, column in itertools.product(range(4), repeat=2):
        assert found[row, column] == pytest.approx(index_by_hand(texts[row], texts[column]))
    assert most_alike(sets[:2], sets[2:], numbers).tolist() == pytest.approx([1.0, 0.5])
    assert most_alike(sets, [], numbers).tolist() == [0.0] * 4


def test_held_out_texts_are_unlike_all_others():
    splits = {
        "test": [
            "Return the name of a file.",
            "Close it now",
            "close, it now!",
            "quite another thing",
            "open a socket",
            "x y z w",
        ],
        "train": ["return the name of the file", "Return the name of the file!", "a list of words"],
        "validation": ["a list of numbers", "x y z", "words of a list"],
    }
    kept, left_out = distinct_texts(splits, near_duplicates=0.6)
    assert kept["train"] == ["return the name of the file", "a list of words"]
    # 3 of 5 words are shared: at the limit, it is out.
    assert kept["validation"] == ["x y z"]
    # Of two texts with the same words the first stays; one that is near to a validation text is out.
    assert kept["test"] == ["Close it now", "quite another thing", "open a socket"]
    assert left_out == {"train": 1, "validation": 2, "test": 3}
    every = [text for own in kept.values() for text in own]
    held_out = [*kept["validation"], *kept["test"]]
    for one, other in itertools.product(held_out, every):
        assert one == other or index_by_hand(one.lower(), other.lower()) < 0.6
    loose, _ = distinct_texts(splits, near_duplicates=1.0)
    assert len(loose["test"]) == 5 and loose["validation"] == ["a list of numbers", "x y z"]


def test_vectors_are_the_means_of_the_posterior_in_the_order_of_the_texts(trained_run):
    model, processor = load_trained(str(trained_run.folder), "encode_texts")
    texts = trained_run.texts.read_text().splitlines()[:7]
    vectors = encode_texts(model, texts, processor, batch_size=3)
    expected = torch.cat([model.encode_texts([text], processor=processor).mean for text in texts])
    torch.testing.assert_close(vectors, expected.detach(), rtol=1e-4, atol=1e-5)
    splits = {
        name: Dataset.from_dict({"text": own})
        for name, own in zip(("train", "validation", "test"), (texts[:4], texts[4:6], texts[6:]), strict=True)
    }
    found = text_latents(str(trained_run.folder), splits, near_duplicates=1.0)
    for split, own in found.texts.items():
        rows = [texts.index(text) for text in own]
        torch.testing.assert_close(found.vectors[split], expected.detach()[rows], rtol=1e-4, atol=1e-5)
    assert sum(map(len, found.texts.values())) + sum(found.left_out.values()) == 7
    assert np.isfinite(found.vectors["train"].numpy()).all()


def test_a_latent_that_is_no_vector_is_refused(word_processor):
    with pytest.raises(ValueError, match="has no latent vector"):
        encode_texts(tiny_classes(), ["a b"], word_processor)
