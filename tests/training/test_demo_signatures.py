"""The texts of StructVAE's demo: words that can be copied, short rows to train on, and all that is held out."""

import json

import pytest

from hf_lvm.data import documentation_meanings
from hf_lvm.grammars.languages import build_language
from hf_lvm.training.demo_signatures import MOST_TOKENS, MOST_WORDS, words_of, write_signatures


def test_words_and_punctuation_marks_in_small_letters():
    assert words_of("Close the FILE, e.g. sys.path; see find_class().") == [
        "close", "the", "file", ",", "e", ".", "g", ".", "sys", ".", "path", ";", "see", "find_class", "(", ")", ".",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    said = write_signatures(folder)
    splits = {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for split in ("train", "validation", "test")
    }
    return said, splits


def test_training_rows_are_short_and_held_out_rows_are_all_there(written):
    said, splits = written
    language, whole = build_language("python"), documentation_meanings()
    for split in ("validation", "test"):
        assert [row["meaning"] for row in splits[split]] == whole[split]["meaning"][:]
    assert 0.8 * len(whole["train"]) < len(splits["train"]) < len(whole["train"])
    assert all(len(row["text"].split()) <= MOST_WORDS for row in splits["train"])
    assert all(len(language.tokens(row["meaning"])) <= MOST_TOKENS for row in splits["train"])
    assert f"{len(splits['train']):,} train" in said and said.startswith("documentation corpus of Python")


def test_no_line_is_on_both_sides(written):
    _, splits = written
    lines = {split: {row["text"] for row in rows} for split, rows in splits.items()}
    assert not lines["train"] & (lines["validation"] | lines["test"])
