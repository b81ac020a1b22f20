"""Data: texts come back from their tokens, batches hold their rows alone, and no text is on two sides of a split."""

import random

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from hf_lvm.data import LatentTextCollator, LatentTextProcessor, LengthBucketedSampler, train_bpe_tokenizer
from hf_lvm.data.batching import LabelledShareSampler, padding_share
from hf_lvm.data.compressions import kept_words
from hf_lvm.data.game_objects import attribute_objects
from hf_lvm.data.processor import IGNORED_LABEL, pad_rows, split_texts
from hf_lvm.data.splits import SPLITS, split_dataset, split_of
from hf_lvm.data.symbol_messages import symbol_messages
from hf_lvm.data.tree_masks import mask_to_spans, mask_to_tree, spans_to_mask
from hf_lvm.data.word_alignment import tokenize_words
from hf_lvm.metrics.bracket_f1.baselines import random_tree
from tests.conftest import WORDS
from tests.hardening.examples import examples

SENTENCE = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7)
TEXTS = st.lists(SENTENCE.map(" ".join), min_size=1, max_size=5)
ANY_WORD = st.text(st.characters(exclude_categories=["C", "Z", "M"]), min_size=1, max_size=5)
FRACTIONS = st.tuples(st.floats(0, 0.45), st.floats(0, 0.45))


@pytest.fixture(scope="module")
def bpe():
    return train_bpe_tokenizer(["the cat sat on the mat", "a dog ran"] * 3, vocab_size=300)


@examples
@given(texts=TEXTS)
def test_words_come_back_from_their_tokens_and_labels_end_once(word_processor, texts):
    tokenizer, end = word_processor.tokenizer, word_processor.tokenizer.eos_token_id
    rows = tokenizer(texts)["input_ids"]
    assert tokenizer.batch_decode(rows, skip_special_tokens=True) == texts
    batch = word_processor(texts, return_tensors="pt")
    labels = batch["labels"]
    for row, text in enumerate(texts):
        scored = labels[row][labels[row] != IGNORED_LABEL].tolist()
        assert scored.count(end) == 1 and scored[-1] == end and len(scored) == len(text.split()) + 1
        assert word_processor.decode(scored, skip_special_tokens=True) == text
        alone = word_processor([text], return_tensors="pt")
        assert batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist() == alone["input_ids"][0].tolist()


@examples
@given(words=st.lists(ANY_WORD, min_size=1, max_size=5))
def test_any_text_comes_back_from_bytes(bpe, words):
    text = " ".join(words)
    ids = bpe(text, add_special_tokens=False)["input_ids"]
    assert bpe.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False).strip() == text.strip()


@examples
@given(sentences=st.lists(st.lists(st.text("abcdét", min_size=1, max_size=6), min_size=1, max_size=5), min_size=1, max_size=4))
def test_every_word_has_its_pieces_in_order(bpe, sentences):
    ids, words = tokenize_words(bpe, sentences)
    for own, numbered, sentence in zip(ids, words, sentences, strict=True):
        assert len(own) == len(numbered)
        inside = [number for number in numbered if number >= 0]
        assert inside == sorted(inside) and set(inside) == set(range(len(sentence)))
        for number, word in enumerate(sentence):
            pieces = [token for token, place in zip(own, numbered, strict=True) if place == number]
            assert bpe.decode(pieces).strip() == word
    row = len(sentences) - 1
    assert tokenize_words(bpe, sentences[row:]) == ([ids[row]], [words[row]])


@examples
@given(rows=st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=5), side=st.sampled_from(["left", "right"]))
def test_padding_fills_up_and_can_be_taken_away(rows, side):
    padded = pad_rows(rows, 0, side)
    assert len({len(row) for row in padded}) <= 1
    assert [[token for token in row if token] for row in padded] == rows
    for row, own in zip(padded, rows, strict=True):
        assert row[: len(own)] == own if side == "right" else row[len(row) - len(own) :] == own


@examples
@given(texts=TEXTS)
def test_a_collated_batch_is_its_rows(word_processor, texts):
    end = word_processor.tokenizer.eos_token_id
    features = [
        {"input_ids": ids, "labels": [*ids, end], "length": len(ids), "classes": [row]}
        for row, ids in enumerate(word_processor.tokenizer(texts, add_special_tokens=False)["input_ids"])
    ]
    batch = LatentTextCollator(word_processor)(features)
    assert batch.keys() == {"input_ids", "attention_mask", "labels", "classes"}
    for row, feature in enumerate(features):
        assert batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist() == feature["input_ids"]
        assert batch["labels"][row][batch["labels"][row] != IGNORED_LABEL].tolist() == feature["labels"]
    assert batch["classes"].flatten().tolist() == list(range(len(texts)))


@examples
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=40), size=st.integers(1, 7), stretch=st.integers(1, 5),
    seed=st.integers(0, 99), epoch=st.integers(0, 3),
)  # fmt: skip
def test_a_sampler_gives_every_row_once_and_the_same_order_again(lengths, size, stretch, seed, epoch):
    def order_of(which: int) -> list[int]:
        sampler = LengthBucketedSampler(lengths, size, seed, stretch)
        sampler.set_epoch(which)
        assert len(sampler) == len(lengths)
        return list(sampler)

    order = order_of(epoch)
    assert sorted(order) == list(range(len(lengths))) and order_of(epoch) == order
    assert 0 <= padding_share(lengths, order, size) < 1 and padding_share(lengths, order, 1) == pytest.approx(0)
    if stretch * size >= len(lengths):
        full = [order[first : first + size] for first in range(0, len(order) - size + 1, size)]
        spans = sorted((min(own), max(own)) for own in ([lengths[row] for row in batch] for batch in full))
        assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))
    for wrong in ({"lengths": [], "batch_size": 1}, {"lengths": [1], "batch_size": 0}):
        with pytest.raises(ValueError):
            LengthBucketedSampler(**wrong)


@examples
@given(known=st.integers(1, 5), unknown=st.integers(1, 20), size=st.integers(2, 6), seed=st.integers(0, 99))
def test_every_batch_has_its_share_of_labelled_rows(known, unknown, size, seed):
    share = size // 2
    sampler = LabelledShareSampler([1] * (known + unknown), [True] * known + [False] * unknown, size, share, seed)
    order = list(sampler)
    assert len(order) == len(sampler)
    assert sorted(row for row in order if row >= known) == list(range(known, known + unknown))
    for first in range(0, len(order), size):
        assert sum(row < known for row in order[first : first + size]) == share


@examples
@given(texts=TEXTS, fractions=FRACTIONS)
def test_a_text_keeps_its_side_whatever_else_there_is(texts, fractions):
    splits = split_dataset(Dataset.from_dict({"text": texts}), texts, *fractions)
    assert sorted(text for split in SPLITS for text in splits[split]["text"]) == sorted(texts)
    for split in SPLITS:
        assert all(split_of(text, *fractions) == split for text in splits[split]["text"])
        assert splits[split]["text"] == [text for text in texts if split_of(text, *fractions) == split]
    wider = (fractions[0], min(fractions[1] + 0.05, 0.5))
    assert all(split_of(text, *wider) == "test" for text in texts if split_of(text, *fractions) == "test")
    with pytest.raises(ValueError, match="below 1"):
        split_dataset(Dataset.from_dict({"text": texts}), texts, 0.5, 0.5)


@examples
@given(text=SENTENCE, bits=st.integers(0, 127))
def test_a_summary_by_deletion_is_found_as_early_as_can_be(text, bits):
    summary = [word for place, word in enumerate(text) if bits >> place & 1]
    kept = kept_words(text, summary)
    if not summary:
        assert kept is None
        return
    assert [word for word, keep in zip(text, kept, strict=True) if keep] == summary
    last = max(place for place, keep in enumerate(kept) if keep)
    assert kept_words(text[:last], summary) is None
    assert kept_words(text, [*summary, *text]) is None


@examples
@given(words=st.integers(1, 8), seed=st.integers(0, 10**6), extra=st.integers(0, 2))
def test_a_tree_comes_back_from_its_mask(words, seed, extra):
    spans = [span for span in random_tree(words, random.Random(seed)) if span[0] < span[1]]
    mask = spans_to_mask(spans, words)
    assert mask.sum() == 2 * words - 1 and sorted(mask_to_spans(mask)) == sorted(spans)
    padded = torch.nn.functional.pad(mask, (0, extra, 0, extra), value=True)
    leaves = [f"w{place}" for place in range(words)]
    tree = mask_to_tree(padded, leaves)
    assert tree.leaves() == leaves and tree == mask_to_tree(mask, leaves)
    assert all(len(part) == 2 for part in tree.subtrees()) or words == 1
    if words > 2:
        with pytest.raises(ValueError, match="no binary tree"):
            mask_to_tree(spans_to_mask(spans[1:] if spans[0] == (0, words - 1) else [(0, words - 1)], words), leaves)


@examples
@given(rows=st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=5), most=st.integers(1, 6))
def test_messages_of_numbers_are_what_they_say(rows, most):
    texts = [" ".join(map(str, row)) for row in [*rows, [0]]]
    found = symbol_messages(texts, 4, most)
    assert all(len(row) <= most and set(row) <= set(range(4)) for row in found.rows)
    assert found.rows == [row[:most] for row in [*rows, [0]] if row] and found.covered == 1
    assert found.left_out == len(texts) - len(found.rows)
    assert split_texts(texts) == [text.split() for text in texts] == split_texts([text.split() for text in texts])


@examples
@given(sizes=st.lists(st.integers(2, 4), min_size=2, max_size=3), seed=st.integers(0, 99))
def test_objects_are_cut_in_three_and_every_value_is_trained_on(sizes, seed):
    splits = attribute_objects(sizes, seed=seed)
    rows = torch.cat([splits[split] for split in SPLITS])
    assert len(rows) == len(rows.unique(dim=0)) == torch.tensor(sizes).prod()
    for place, size in enumerate(sizes):
        assert splits["train"][:, place].unique().tolist() == list(range(size))


def test_an_empty_list_of_texts_is_one_clear_error(word_processor: LatentTextProcessor):
    with pytest.raises(ValueError, match="at least one string"):
        word_processor([])
