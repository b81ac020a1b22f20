"""The texts of the summarizer's demo: what is told of them, and that nothing that is held out is among them."""

import json

import pytest

from hf_lvm.training.demo_summaries import MOST_WORDS, SENTENCES, shared_words, words_of, write_summaries


def test_words_and_punctuation_marks():
    assert words_of("Return the HTML-page, e.g. of `sys.path`; see find_class().") == [
        "return", "the", "HTML-page", ",", "e.g", ".", "of", "`", "sys.path", "`", ";", "see", "find_class()", ".",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "summary", "kept"),
    [
        # By stems, and the first of several.
        ("returns the list . the lists are new", "return a list", "10100000"),
        # As often as the summary has it.
        ("the cat and the dog and the bird", "the dog of the cat", "11011000"),
        ("nothing of that", "something else .", "000"),
        # A mark is no word.
        ("open , and close", "open , close", "1001"),
    ],
)
def test_shared_words(text, summary, kept):
    assert "".join("01"[each] for each in shared_words(text.split(), summary.split())) == kept


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    said = write_summaries(folder)
    splits = {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for split in ("train", "validation", "test")
    }
    return said, splits


def test_what_is_written(written):
    said, splits = written
    told = [row for row in splits["train"] if row["summary"]]
    assert len(splits["train"]) == len(told) + SENTENCES and f"{SENTENCES:,} sentences" in said
    for rows in splits.values():
        assert all(len(row["text"].split()) <= MOST_WORDS for row in rows)
        assert all(row["keep"] is None or len(row["keep"]) == len(row["text"].split()) for row in rows)
    assert all(row["summary"] and row["keep"] for split in ("validation", "test") for row in splits[split])


def test_nothing_that_is_held_out_is_trained_on(written):
    _, splits = written
    held_out = [row[column] for split in ("validation", "test") for row in splits[split] for column in ("text", "summary")]
    trained = {row["text"].rstrip(" .:") for row in splits["train"]}
    assert not trained & {text.rstrip(" .:") for text in held_out}
    sentences = [row["text"].rstrip(" .:") for row in splits["train"] if row["summary"] is None]
    everything = " ".join(held_out)
    assert not [sentence for sentence in sentences if sentence in everything]
    # The summary line is no part of the text: few, such as one word, are.
    pairs = [row for rows in splits.values() for row in rows if row["summary"]]
    assert sum(f" {row['summary']} " in f" {row['text']} " for row in pairs) < 0.03 * len(pairs)
