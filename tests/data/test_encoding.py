import pytest
from datasets import Dataset, DatasetDict

from hf_lvm.data import LatentTextProcessor, encode_dataset, train_bpe_tokenizer, train_word_tokenizer

TEXTS = ["a b c", "caf\u00e9  d", "a b c d e f g"]
COLUMNS = ["input_ids", "attention_mask", "labels", "num_words", "num_bytes", "length"]


@pytest.fixture(scope="module")
def words():
    return LatentTextProcessor(train_word_tokenizer(TEXTS))


@pytest.fixture
def dataset():
    return Dataset.from_dict({"text": TEXTS, "stars": [1, 2, 3]})


def test_rows_are_those_of_the_processor(words, dataset):
    encoded = encode_dataset(dataset, words)
    assert encoded.column_names == COLUMNS
    batch = words(TEXTS, padding=False, return_tensors=None)
    for name in ("input_ids", "attention_mask", "labels"):
        assert encoded[name][:] == batch[name]
    assert encoded["num_words"][:] == [3, 2, 7]
    assert encoded["num_bytes"][:] == [5, 8, 13]
    assert encoded["length"][:] == [5, 4, 9]


def test_length_is_that_of_the_longer_side(dataset):
    processor = LatentTextProcessor(train_word_tokenizer(TEXTS), train_bpe_tokenizer(TEXTS, 261))
    encoded = encode_dataset(dataset, processor)
    # Byte pairs that were never merged: one token a byte, and the end token.
    assert encoded["length"][:] == [bytes_ + 1 for bytes_ in encoded["num_bytes"]] == [6, 9, 14]


def test_long_texts_are_left_out_with_their_other_columns_and_counted(words, dataset, caplog):
    caplog.set_level("INFO")
    splits = encode_dataset(
        DatasetDict(train=dataset, test=dataset.select([0])), words, max_length=5, keep_columns=("text", "stars")
    )
    assert splits["train"]["text"][:] == TEXTS[:2]
    assert splits["train"]["stars"][:] == [1, 2]
    assert splits["train"].column_names == [*COLUMNS, "text", "stars"]
    assert len(splits["test"]) == 1
    assert "train: 1 of 3 texts are longer than max_length=5" in caplog.text
    assert "test" not in caplog.text


def test_text_beyond_the_positions_is_an_error_that_names_it(words, dataset):
    with pytest.raises(ValueError, match=r"text 2 has 9 tokens, but the encoder has positions for 8 .*max_length=8"):
        encode_dataset(dataset, words, max_positions=8)
    with pytest.raises(ValueError, match=r"text 2 has 8 tokens, but the decoder has positions for 7"):
        encode_dataset(dataset, words, max_positions=(None, 7))
    assert len(encode_dataset(dataset, words, max_positions=9)) == 3
    assert len(encode_dataset(dataset, words, max_positions=8, max_length=8)) == 2


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"text": []}, {}, "dataset is empty"),
        ({"body": ["a"]}, {}, "no column 'text'; its columns are body"),
        ({"text": ["a"]}, {"keep_columns": ["stars"]}, "no column 'stars'"),
        ({"text": ["a b c", "a b"]}, {"max_length": 3}, r"all 2 texts are longer than max_length=3 .*shortest has 4"),
    ],
)
def test_unusable_data_is_refused(words, rows, options, message):
    with pytest.raises(ValueError, match=message):
        encode_dataset(Dataset.from_dict(rows), words, **options)
