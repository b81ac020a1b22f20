"""Sentences with compressions: what is read of the columns, what is known, and how it is batched."""

import json

import pytest
import torch
from datasets import Dataset, DatasetDict

from hf_lvm.data import CompressionCollator, encode_compressions, load_compressions
from hf_lvm.data.compressions import kept_words

ROWS = [
    {"text": "a b c b", "summary": "b b"},
    {"text": "a b c", "summary": "c a"},
    {"text": "d e", "summary": None},
    {"text": "f", "summary": ""},
]


def written(folder, rows):
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_summaries_say_which_words_are_kept_where_deletion_makes_them(tmp_path):
    train = load_compressions(data_dir=written(tmp_path, ROWS))["train"]
    assert train["summary"][:] == ["b b", "c a", None, None]
    assert train["keep"][:] == [[False, True, False, True], None, None, None]


def test_kept_words_are_a_summary(tmp_path):
    rows = [{"tokens": "a b a", "keep": "011"}, {"tokens": "c d", "keep": None}, {"tokens": "e", "keep": "0"}]
    options = {"text_column": "tokens", "keep_column": "keep"}
    train = load_compressions(data_dir=written(tmp_path, rows), **options)["train"]
    assert train["summary"][:] == ["b a", None, None] and train["keep"][0] == [False, True, True]
    with pytest.raises(ValueError, match=r"row 0: 2 signs say what is kept of 3 words"):
        load_compressions(data_dir=written(tmp_path, [{"tokens": "a b a", "keep": "01"}]), **options)
    with pytest.raises(ValueError, match="has no column 'kept'; its columns are tokens, keep|text, keep"):
        load_compressions(data_dir=written(tmp_path, rows), text_column="tokens", keep_column="kept")


def test_a_summary_in_a_column_text(tmp_path):
    folder = written(tmp_path, [{"document": "a b c", "text": "a c"}, {"document": "d e", "text": None}])
    train = load_compressions(data_dir=folder, text_column="document", summary_column="text")["train"]
    assert train["text"][:] == ["a b c", "d e"] and train["summary"][:] == ["a c", None]
    with pytest.raises(ValueError, match="text_column='text' and summary_column='text' name one column twice"):
        load_compressions(data_dir=folder, summary_column="text")


def test_signs_that_a_csv_file_made_numbers_of(tmp_path):
    (tmp_path / "train.csv").write_text("text,keep\na b c,101\n")
    with pytest.raises(ValueError, match="row 0: 101 is a number where .* csv .*: give jsonl or parquet"):
        load_compressions(data_dir=tmp_path, keep_column="keep", validation_fraction=0, test_fraction=0)


def test_leftmost_words():
    assert kept_words(["a", "b", "a", "b"], ["a", "b"]) == [True, True, False, False]
    assert kept_words(["a", "b"], ["b", "a"]) is None and kept_words(["a"], []) is None


def test_encoding_and_batches(word_processor):
    rows = Dataset.from_list(
        [
            {"text": "a b c b", "summary": "b b", "keep": [False, True, False, True]},
            {"text": "a b c", "summary": "c a", "keep": None},
            {"text": "d", "summary": None, "keep": None},
        ]
    )
    encoded = encode_compressions(DatasetDict(train=rows), word_processor)["train"]
    vocabulary, end = word_processor.decoder_tokenizer.get_vocab(), word_processor.end_token_id
    assert encoded["summary_ids"][:] == [[vocabulary["b"]] * 2 + [end], [vocabulary["c"], vocabulary["a"], end], []]
    features = [encoded[row] for row in range(3)]
    batch = CompressionCollator(word_processor)(features)
    assert batch["kept"].tolist() == [[False, True, False, True], [False] * 4, [False] * 4] and "summary_ids" not in batch
    batch = CompressionCollator(word_processor, "summary_ids")(features)
    assert batch["summary_ids"][2].tolist() == [-100] * 3 and "kept" not in batch
    assert batch["summary_ids"].dtype == torch.long
    assert "kept" not in CompressionCollator(word_processor)(
        [{k: v for k, v in each.items() if k != "kept"} for each in features]
    )
