import json
import os

import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer

from hf_lvm.data import LatentTextProcessor, cut_alike, train_bpe_tokenizer, train_word_tokenizer

TEXTS = ["the cat sat on the mat .", "dogs ran .", "it <unk> slept"]


@pytest.fixture(scope="module")
def two_sided():
    """Encoder BPE, decoder words: nothing of one side can pass for the other."""
    return LatentTextProcessor(train_bpe_tokenizer(TEXTS, 280), train_word_tokenizer(TEXTS))


def test_batch_has_inputs_and_labels_of_their_own_side(two_sided):
    batch = two_sided(TEXTS)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    for row, text in enumerate(TEXTS):
        kept = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][kept].tolist() == two_sided.tokenizer(text)["input_ids"]
        words = two_sided.decoder_tokenizer.convert_tokens_to_ids(text.split())
        padding = [-100] * (batch["labels"].shape[1] - len(words) - 1)
        assert batch["labels"][row].tolist() == [*words, two_sided.end_token_id, *padding]
        assert (batch["input_ids"][row][~kept] == two_sided.tokenizer.pad_token_id).all()


def test_left_padding_is_taken_from_the_tokenizer(two_sided):
    tokenizer = train_bpe_tokenizer(TEXTS, 280)
    tokenizer.padding_side = "left"
    left, right = LatentTextProcessor(tokenizer, two_sided.decoder_tokenizer)(TEXTS), two_sided(TEXTS)
    assert left["attention_mask"].tolist() == right["attention_mask"].flip(1).tolist()
    assert torch.equal(left["input_ids"][left["attention_mask"].bool()], right["input_ids"][right["attention_mask"].bool()])
    assert torch.equal(left["labels"], right["labels"])


def test_one_string_is_a_batch_of_one(two_sided):
    one, batch = two_sided(TEXTS[0]), two_sided([TEXTS[0]])
    assert all(torch.equal(one[name], batch[name]) and len(one[name]) == 1 for name in batch)


def test_decoder_texts_make_the_labels(two_sided):
    batch = two_sided(TEXTS[:2], decoder_texts=[TEXTS[2], TEXTS[1]])
    assert two_sided.batch_decode(batch["labels"]) == [TEXTS[2], TEXTS[1]]
    assert torch.equal(batch["input_ids"], two_sided(TEXTS[:2])["input_ids"])


def test_truncation_keeps_the_end_token(two_sided):
    batch = two_sided(TEXTS, truncation=True, max_length=4)
    assert batch["input_ids"].shape == (3, 4) and batch["labels"].shape == (3, 4)
    assert batch["input_ids"][0, [0, -1]].tolist() == [1, 2]
    assert (batch["labels"][:, -1] == two_sided.end_token_id).all()
    assert two_sided.batch_decode(batch["labels"])[:2] == ["the cat sat", "dogs ran ."]


def test_nothing_is_cut_silently(two_sided):
    with pytest.raises(ValueError, match="max_length=2 has no room for a word beside the 2 special tokens .* set it to 3"):
        two_sided(TEXTS, truncation=True, max_length=2)
    with pytest.raises(ValueError, match=r"Text 0 has \d+ tokens, more than max_length=4; .*truncation=True"):
        two_sided(TEXTS, max_length=4)
    with pytest.raises(ValueError, match="needs max_length"):
        two_sided(TEXTS, truncation=True)


def test_lists_without_padding(two_sided):
    batch = two_sided(TEXTS, padding=False, return_tensors=None)
    assert [len(row) for row in batch["labels"]] == [8, 4, 4]
    assert [len(row) for row in batch["input_ids"]] == [len(row) for row in batch["attention_mask"]]


def test_decoding_gives_texts_back(processor, corpus):
    texts = corpus["test"]["text"][:50]
    labels = processor(texts)["labels"]
    assert processor.batch_decode(labels) == texts
    assert [processor.decode(row) for row in labels] == texts
    assert processor.decode(labels) == processor.batch_decode(labels.numpy()) == texts


def test_decoding_drops_what_surrounds_a_generated_text(two_sided):
    words = two_sided.decoder_tokenizer.convert_tokens_to_ids(["dogs", "<unk>", "ran"])
    start, end, pad, mask = 1, 2, 0, 4
    generated = [pad, pad, start, words[0], mask, *words[1:], end, words[0], pad]
    # The unknown word stays: leaving it out would flatter the model.
    assert two_sided.decode(torch.tensor(generated)) == "dogs <unk> ran"
    assert two_sided.decode(generated, skip_special_tokens=False).startswith("<pad> <pad> <s> dogs <mask> <unk>")
    assert two_sided.decode([]) == "" and two_sided.decode([start, end]) == ""


def test_decoding_with_one_token_for_start_end_and_padding():
    tokenizer = train_word_tokenizer(TEXTS)  # as GPT-2, whose only special token plays every role
    tokenizer.pad_token = tokenizer.bos_token = tokenizer.unk_token = tokenizer.eos_token
    processor = LatentTextProcessor(tokenizer)
    dogs, ran = tokenizer.convert_tokens_to_ids(["dogs", "ran"])
    assert processor.decode([2, 2, dogs, ran, 2, 2]) == "dogs ran"


def test_second_tokenizer_defaults_to_the_first(bpe_tokenizer, two_sided):
    processor = LatentTextProcessor(bpe_tokenizer)
    assert processor.decoder_tokenizer is processor.tokenizer is bpe_tokenizer
    assert processor.shares_tokenizer()
    assert not two_sided.shares_tokenizer()


def test_a_reloaded_processor_with_two_tokenizers_is_equal(two_sided, tmp_path):
    two_sided.save_pretrained(tmp_path)
    reloaded = AutoProcessor.from_pretrained(tmp_path)  # in a new process: tests/hub
    assert isinstance(reloaded, LatentTextProcessor) and not reloaded.shares_tokenizer()
    batch, expected = reloaded(TEXTS), two_sided(TEXTS)
    assert batch.keys() == expected.keys() and all(torch.equal(batch[name], expected[name]) for name in expected)
    assert reloaded.batch_decode(batch["labels"]) == TEXTS


@pytest.mark.parametrize("model_type", [None, "hf_lvm_text_vae", "bert"])
def test_auto_classes_find_both_tokenizers_whatever_the_model(processor, tmp_path, model_type):
    processor(TEXTS, truncation=True, max_length=3)  # leaves its padding and truncation in the tokenizer
    processor.save_pretrained(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert os.path.isdir(tmp_path / "decoder_tokenizer")
    reloaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(reloaded, LatentTextProcessor)
    assert reloaded.shares_tokenizer()
    assert reloaded.tokenizer.get_vocab() == AutoTokenizer.from_pretrained(tmp_path).get_vocab()
    expected = processor(TEXTS)
    assert all(torch.equal(value, expected[name]) for name, value in reloaded(TEXTS).items())


def test_a_tokenizer_of_a_prior_is_saved_in_a_folder_of_its_own(two_sided, tmp_path):
    prior = train_bpe_tokenizer([*TEXTS, "cats sat on mats"] * 3, 290)
    processor = LatentTextProcessor(two_sided.tokenizer, two_sided.decoder_tokenizer, prior)
    assert processor.prior_tokenizer is prior and two_sided.prior_tokenizer is None
    processor.save_pretrained(tmp_path)
    reloaded = AutoProcessor.from_pretrained(tmp_path)
    assert cut_alike(reloaded.prior_tokenizer, prior) and not cut_alike(prior, reloaded.tokenizer)
    assert cut_alike(reloaded.decoder_tokenizer, two_sided.decoder_tokenizer)
    assert cut_alike(AutoTokenizer.from_pretrained(tmp_path / "prior_tokenizer"), prior)
    assert all(torch.equal(value, reloaded(TEXTS)[name]) for name, value in processor(TEXTS).items())
    # Another one in the same folder does not find what is left there.
    two_sided.save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).prior_tokenizer is None
    assert json.loads((tmp_path / "processor_config.json").read_text()) == {"processor_class": "LatentTextProcessor"}


def test_the_tokenizer_of_a_prior_needs_an_end(two_sided):
    prior = train_word_tokenizer(TEXTS)
    prior.eos_token = None
    with pytest.raises(ValueError, match="no end token"):
        LatentTextProcessor(two_sided.tokenizer, None, prior)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": ["a", None]}, r"texts\[1\] is NoneType, not a string"),
        ({"texts": ["a"], "decoder_texts": ["a", "b"]}, "1 texts but 2 decoder_texts"),
        ({"texts": ["a"], "return_tensors": "np"}, "choose 'pt' or None"),
    ],
)
def test_wrong_input_is_refused(two_sided, arguments, message):
    with pytest.raises(ValueError, match=message):
        two_sided(**arguments)


def test_tokenizers_without_their_special_tokens_are_refused():
    tokenizer = train_word_tokenizer(TEXTS)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        LatentTextProcessor(tokenizer)
    with pytest.raises(ValueError, match="needs a tokenizer"):
        LatentTextProcessor()
