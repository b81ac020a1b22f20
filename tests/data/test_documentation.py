import platform
import re

import pytest
from datasets import Dataset, DatasetDict

from hf_lvm.data import documentation


def normalised(text):
    return re.sub(r"[\W_]+", " ", text).strip().lower()


def test_corpus_is_large_and_split_nine_to_one(corpus):
    sizes = {split: len(rows) for split, rows in corpus.items()}
    total = sum(sizes.values())
    assert total > 12_000
    assert 0.88 < sizes["train"] / total < 0.92
    assert min(sizes["validation"], sizes["test"]) > 0.04 * total


def test_no_sentence_stands_twice_not_even_with_other_punctuation(corpus):
    keys = [normalised(text) for rows in corpus.values() for text in rows["text"][:]]
    assert len(keys) == len(set(keys))


def test_sentences_are_whole_and_free_of_markup(corpus):
    for rows in corpus.values():
        for text in rows["text"][:]:
            assert re.fullmatch(r"[\"'(\w][^`{}<>=|\\]*[.!?][\"')]*", text), text
            assert text == " ".join(text.split())


def test_pairs_have_the_promised_columns_and_sizes():
    summaries, signatures = documentation.load("summaries"), documentation.load("signatures")
    assert summaries["train"].column_names == ["text", "summary"]
    assert signatures["train"].column_names == ["text", "signature"]
    assert sum(map(len, summaries.values())) > 1_500
    assert sum(map(len, signatures.values())) > 4_000
    assert all(re.match(r"(async )?def \w+\(.*\)", signature) for signature in signatures["test"]["signature"])


def test_documents_are_docstrings_made_of_the_sentences(corpus):
    documents = documentation.load("documents")
    sizes = {split: len(rows) for split, rows in documents.items()}
    assert documents["train"].column_names == ["text"]
    assert sum(sizes.values()) > 5_000 and 0.12 < sizes["test"] / sum(sizes.values()) < 0.18
    keys = [normalised(text) for rows in documents.values() for text in rows["text"][:]]
    assert len(keys) == len(set(keys))
    sentences = {text for rows in corpus.values() for text in rows["text"][:]}
    short = [text for text in documents["test"]["text"][:] if len(text.split()) < 12]
    # A document of one sentence is that sentence, unless the corpus has it with other punctuation.
    assert sum(text in sentences for text in short) > 0.8 * len(short)
    line = documentation.describe(documents, "documents")
    assert f"{sum(sizes.values()):,} documents" in line and documentation.fingerprint(documents) in line


def test_word_limits_select_without_moving_texts(corpus):
    short = documentation.load(min_words=4, max_words=14)
    for split, rows in short.items():
        assert all(4 <= len(text.split()) <= 14 for text in rows["text"][:])
        assert set(rows["text"][:]) <= set(corpus[split]["text"][:])
    assert sum(map(len, short.values())) > 7_000
    with pytest.raises(ValueError, match="min_words=100000"):
        documentation.load(min_words=100_000)


def test_reading_takes_seconds(corpus_seconds):
    assert corpus_seconds < 8


def test_fingerprint_sees_text_order_and_split():
    def build(train, test):
        return DatasetDict(train=Dataset.from_dict({"text": train}), test=Dataset.from_dict({"text": test}))

    variants = [build(["a", "b"], ["c"]), build(["b", "a"], ["c"]), build(["a"], ["b", "c"]), build(["ab", ""], ["c"])]
    assert len({documentation.fingerprint(variant) for variant in variants}) == len(variants)


def test_description_names_python_size_and_hash(corpus):
    line = documentation.describe(corpus)
    assert "\n" not in line
    assert platform.python_version() in line
    assert f"{sum(map(len, corpus.values())):,} sentences" in line
    assert documentation.fingerprint(corpus) in line


def test_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'poems'.*'sentences', 'documents', 'summaries', 'signatures'"):
        documentation.load("poems")
