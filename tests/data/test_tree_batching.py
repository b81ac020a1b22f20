import pytest
import torch
from datasets import Dataset, DatasetDict
from torch.utils.data import DataLoader

from hf_lvm.data import (
    LatentTextProcessor,
    TreeCollator,
    encode_trees,
    read_tree,
    spans_to_mask,
    train_bpe_tokenizer,
    train_word_tokenizer,
)

TEXTS = ["the dog barks", "café  dogs", "sit", "the old dog barks ."]
TREES = ["(S (NP the dog) barks)", None, "", "(S (NP the old dog) (VP barks) .)"]
COLUMNS = ["input_ids", "word_ids", "labels", "decoder_word_ids", "num_words", "num_bytes", "length"]


@pytest.fixture(scope="module")
def processor():
    return LatentTextProcessor(train_bpe_tokenizer(TEXTS, 270), train_word_tokenizer(TEXTS))


@pytest.fixture
def dataset():
    return Dataset.from_dict({"text": TEXTS, "tree": TREES, "stars": [1, 2, 3, 4]})


def test_columns_of_whole_trees(processor, dataset):
    encoded = encode_trees(dataset, processor, keep_columns=("tree", "stars"))
    assert encoded.column_names == [*COLUMNS, "required_spans", "whole_tree", "tree", "stars"]
    rows = processor.tokenize_words([text.split() for text in TEXTS])
    for column, values in rows.items():
        assert encoded[column][:] == values
    assert encoded["num_words"][:] == [3, 2, 1, 5]
    assert encoded["num_bytes"][:] == [13, 10, 3, 19]  # one blank between two words
    assert encoded["length"][:] == list(map(len, rows["input_ids"]))  # the longer side
    assert all(len(ids) > len(labels) for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True))
    assert encoded["required_spans"][:] == [[[0, 1], [0, 2]], [], [], [[1, 2], [0, 2], [3, 4], [0, 4]]]
    assert encoded["whole_tree"][:] == [True, False, True, True]
    assert encoded["tree"][:] == TREES and encoded["stars"][:] == [1, 2, 3, 4]


def test_partial_brackets_stay_partial(processor, dataset):
    encoded = encode_trees(dataset, processor, binarize=False)
    assert encoded["required_spans"][3] == [[0, 2], [0, 4]]
    assert encoded["whole_tree"][:] == [True, False, True, False]


def test_without_brackets(processor, dataset):
    encoded = encode_trees(DatasetDict(train=dataset, test=dataset.select([1])), processor, tree_column=None)
    assert encoded["train"].column_names == encoded["test"].column_names == COLUMNS
    assert "required_spans" not in TreeCollator(processor)(list(encoded["train"]))


def test_long_sentences_are_left_out_and_counted(processor, dataset, caplog):
    caplog.set_level("INFO")
    encoded = encode_trees(dataset, processor, max_words=3, max_length=8, keep_columns=["stars"])
    assert "dataset: 1 of 4 sentences are longer than max_words=3 words" in caplog.text
    assert "dataset: 1 of 3 sentences are longer than max_length=8 tokens" in caplog.text
    assert encoded["stars"][:] == [1, 3]
    assert encoded["required_spans"][:] == [[[0, 1], [0, 2]], []]


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_padded_with_what_is_no_word(processor, dataset, side):
    encoded = encode_trees(dataset, processor)
    processor.tokenizer.padding_side = side
    batch = next(iter(DataLoader(encoded, batch_size=4, collate_fn=TreeCollator(processor))))
    assert list(batch) == ["input_ids", "attention_mask", "labels", "word_ids", "decoder_word_ids", "required_spans"]
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["word_ids"].shape
    assert batch["labels"].shape == batch["decoder_word_ids"].shape
    for row in range(4):
        kept = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][kept].tolist() == encoded["input_ids"][row]
        assert batch["word_ids"][row][kept].tolist() == encoded["word_ids"][row]
        assert (batch["word_ids"][row][~kept] == -1).all()
        real = batch["labels"][row] != -100
        assert batch["labels"][row][real].tolist() == encoded["labels"][row]
        assert batch["decoder_word_ids"][row][real].tolist() == encoded["decoder_word_ids"][row]
        assert (batch["decoder_word_ids"][row][~real] == -1).all()
        assert batch["required_spans"][row].nonzero().tolist() == sorted(encoded["required_spans"][row])
    assert batch["required_spans"].shape == (4, 5, 5) and batch["required_spans"].dtype == torch.bool
    processor.tokenizer.padding_side = "right"


def test_required_spans_are_those_of_the_tree(processor):
    tree = "(X (X the (X old dog)) (X barks .))"
    encoded = encode_trees(Dataset.from_dict({"text": [TEXTS[3]], "tree": [tree]}), processor)
    required = TreeCollator(processor)(list(encoded))["required_spans"][0]
    assert torch.equal(required | torch.eye(5, dtype=torch.bool), spans_to_mask(read_tree(tree).spans, 5))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"text": [], "tree": []}, {}, "dataset is empty"),
        ({"text": ["a"]}, {}, r"no column 'tree'; its columns are text. Without trees, give tree_column=None"),
        ({"body": ["a"]}, {"tree_column": None}, r"no column 'text'; its columns are body\.$"),
        ({"text": ["the dog", " "]}, {"tree_column": None}, r"dataset, sentence 1 is empty"),
        ({"text": ["sit", "a b"], "tree": [None, "(S a c)"]}, {}, r"dataset, tree 1 does not fit its sentence: it has 'c'"),
        ({"text": ["sit", "a b"], "tree": [None, "(S a b"]}, {}, r"dataset, tree 1 is not one bracketed sentence"),
        ({"text": ["a </s>"]}, {"tree_column": None}, r"dataset, sentence 0: the word '</s>' is read as the token that ends"),
        ({"text": ["a b"]}, {"tree_column": None, "max_words": 1}, r"all 1 sentences are longer than max_words=1 words"),
        ({"text": ["a b"]}, {"tree_column": None, "max_length": 2}, r"all 1 sentences .* \(the shortest has 5\)"),
        ({"text": ["a", "a b"]}, {"tree_column": None, "max_positions": (None, 2)}, r"text 1 has 3 tokens, but the decoder"),
    ],
)
def test_unusable_data_is_refused(processor, rows, options, message):
    with pytest.raises(ValueError, match=message):
        encode_trees(Dataset.from_dict(rows), processor, **options)
