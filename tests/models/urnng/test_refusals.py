"""What does not fit is one error that says what came, and in which row."""

import pytest
import torch
from datasets import Dataset

from hf_lvm import LatentTextProcessor, URNNGConfig
from hf_lvm.backbones.tree_decoders import as_tree_decoder_config
from hf_lvm.data import TreeCollator, encode_trees, train_word_tokenizer
from hf_lvm.distributions import BinaryTreeCRF
from tests.models.urnng.test_brackets import trainer_of
from tests.models.urnng.test_trees_and_texts import TEXTS, byte_bpe, model_for
from tests.models.urnng.tiny_grammars import tiny_urnng
from tests.tiny_parts import END, PAD, batch_of, tiny_config

ROWS = [[5, 6, 7, END], [8, 9, END], [5, END]]


# ---- tensors ---------------------------------------------------------------------------------------------------------


def test_sentences_that_are_not_there():
    model = tiny_urnng()
    with pytest.raises(ValueError, match="Pass labels"):
        model.estimate_log_likelihood(**{**batch_of(ROWS), "labels": None})
    with pytest.raises(ValueError, match="Pass labels"):
        model(**{**batch_of(ROWS), "labels": None})


def test_a_sentence_longer_than_the_encoders_positions():
    model = tiny_urnng("bert")
    rows = [ROWS[0], [5] * 40 + [END], ROWS[1]]
    with pytest.raises(ValueError, match="row 1 has 41 tokens, and the encoder, a 'bert' model, has room for 32"):
        model(**batch_of(rows))
    with pytest.raises(ValueError, match="row 1 has 41 tokens"):
        model.encode(batch_of(rows)["input_ids"], batch_of(rows)["attention_mask"])
    # Padding alone may be wider.
    wide, narrow = batch_of(ROWS, padding_side="left", extra_padding=40), batch_of(ROWS)
    found, expected = (model.encode(batch["input_ids"], batch["attention_mask"]).scores for batch in (wide, narrow))
    torch.testing.assert_close(found, expected)


def test_a_sentence_longer_than_the_decoders_positions():
    model = tiny_urnng("hf_lvm_lstm_encoder", "gpt2", num_samples=3)
    model.config.decoder.decoder.max_position_embeddings = 6
    right = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    right[..., torch.arange(8), torch.arange(8)] = right[..., torch.arange(8), 7] = True
    rows = [[5] * 8 + [END]]
    with pytest.raises(ValueError, match="Row 0 does not fit the decoder, a 'gpt2' model with room for 6 positions"):
        model(labels=batch_of(rows)["labels"], latents=right[0])
    # The trees of all samples are one batch for the decoder; the row is still that of the sentence.
    rows = [ROWS[1], [5] * 20 + [END]]
    with pytest.raises(ValueError, match="Row 1 does not fit the decoder"):
        model(**batch_of(rows), generator=torch.Generator().manual_seed(0))


def test_words_of_both_sides_that_do_not_fit():
    model, batch = tiny_urnng(), batch_of(ROWS)
    batch["input_ids"][1, 1] = END  # a word less
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] have \[1\] words for the encoder and \[2\] for the decoder"):
        model(**batch)
    with pytest.raises(ValueError, match=r"decoder_word_ids has shape \(3, 2\) and labels \(3, 4\)"):
        model(**batch_of(ROWS), decoder_word_ids=torch.zeros(3, 2, dtype=torch.long))


def test_sentences_without_a_word_or_an_end():
    model = tiny_urnng()
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] have no word"):
        model(**batch_of([ROWS[0], [END]]))
    with pytest.raises(ValueError, match=r"row\(s\) \[0, 2\] have no word"):
        model.encode(torch.tensor([[END, PAD], [5, END], [PAD, PAD]]), torch.tensor([[1, 0], [1, 1], [0, 0]]))
    nothing = batch_of(ROWS)
    nothing["labels"][1] = -100
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] have no word"):
        model(**nothing)
    batch = batch_of([ROWS[0], [8, 9, 10, 11]])
    with pytest.raises(ValueError, match=r"labels of row\(s\) \[1\] do not end with the end of the sentence, token 2"):
        model(**batch)


def test_words_of_several_pieces_for_a_decoder_of_whole_words():
    words = torch.tensor([[0, 1, 2, -1], [0, 0, -1, -1], [0, -1, -1, -1]])
    batch = batch_of(ROWS)
    for decoder in ("hf_lvm_rnng_decoder", "gpt2"):
        with pytest.raises(ValueError, match=r"Row\(s\) \[1\] have words of several pieces.*subwords=True"):
            tiny_urnng(decoder=decoder)(**batch, word_ids=words, decoder_word_ids=words)
        tiny_urnng(decoder=decoder, subwords=True)(**batch, word_ids=words, decoder_word_ids=words)


def test_brackets_that_cross_or_have_another_shape():
    model, known = tiny_urnng(), torch.zeros(3, 3, 3, dtype=torch.bool)
    known[0, 0, 1] = known[0, 1, 2] = True
    with pytest.raises(ValueError, match=r"Required spans of row\(s\) \[0\] cross each other"):
        model(**batch_of(ROWS), required_spans=known)
    with pytest.raises(
        ValueError, match=r"required_spans has shape \(3, 2, 2\) and type torch.bool: bool of shape \(3, 3, 3\)"
    ):
        model(**batch_of(ROWS), required_spans=known[:, :2, :2])
    with pytest.raises(ValueError, match="and type torch.float32: bool"):
        model(**batch_of(ROWS), required_spans=known.float())
    outside = torch.zeros(3, 3, 3, dtype=torch.bool)
    outside[1, 0, 2] = True
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] do not fit their sentences: a bracket ends past"):
        model(**batch_of(ROWS), required_spans=outside)


def test_what_is_missing_and_what_has_no_meaning():
    model = tiny_urnng()
    with pytest.raises(ValueError, match="Pass labels"):
        model(input_ids=batch_of(ROWS)["input_ids"])
    with pytest.raises(ValueError, match="Pass input_ids for the encoder, or latents"):
        model(labels=batch_of(ROWS)["labels"])
    with pytest.raises(ValueError, match="free bits cannot hold it up: set free_bits to 0"):
        model(**batch_of(ROWS), free_bits=0.5, free_bits_mode="kingma")
    for option, message in (
        ({"method": "exakt"}, "Unknown method 'exakt': choose one of 'importance', 'exact'"),
        ({"convention": "mine"}, "Unknown convention 'mine'"),
        ({"temperature": 0.0}, "must be above 0, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.estimate_log_likelihood(**batch_of(ROWS), **option)
    with pytest.raises(ValueError, match="A sentence of 11 words has too many trees to sum over: 10 words are the most"):
        model.estimate_log_likelihood(**batch_of([[5] * 11 + [END]]), method="exact")


# ---- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "exact"}, "does not take the estimator 'exact'.*'exact' is not for structured latents"),
        ({"estimator": "gumbel_softmax"}, "'gumbel_softmax' is not for structured latents"),
        ({"objective": "marginal", "estimator": "exact"}, "Unknown objective 'marginal'"),
        ({"num_samples": 1}, "judges each sample by the others, and num_samples is 1"),
        ({"span_scorer": "bilinear"}, "Unknown span_scorer 'bilinear': choose one of 'fencepost', 'biaffine'"),
        ({"unlabelled_weight": -1.0}, "unlabelled_weight must be 0 or more, but is -1"),
        ({"posterior_dropout": 1.0}, "posterior_dropout must be in"),
        ({"decoder_adapter": {"r": 2}}, "no pretrained part that an adapter could be bound to"),
    ],
)
def test_settings_that_go_with_nothing(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_urnng(**options)


@pytest.mark.parametrize("family", ["t5", "mamba", "xglm"])
def test_decoders_that_cannot_write_trees(family):
    with pytest.raises(ValueError, match=family):
        URNNGConfig(encoder=tiny_config("bert"), decoder=as_tree_decoder_config(tiny_config(family)))


# ---- scores that are no numbers --------------------------------------------------------------------------------------


def test_scores_that_are_nan_stop_a_run_at_its_loss(tmp_path):
    model = tiny_urnng()
    with torch.no_grad():
        model.posterior_head.score.weight.fill_(torch.nan)
    before = {name: value.clone() for name, value in model.decoder.state_dict().items()}
    with pytest.raises(FloatingPointError, match="Training stopped at step 1: the loss is nan"):
        trainer_of(model, tmp_path, is_told=False).train()
    assert all(torch.equal(value, before[name]) for name, value in model.decoder.state_dict().items())
    scores = model.encode(**{name: batch_of(ROWS)[name] for name in ("input_ids", "attention_mask")}).scores
    with pytest.raises(ValueError, match=r"scores holds nan or \+inf in row\(s\) \[0, 1, 2\]"):
        BinaryTreeCRF(scores, torch.tensor([3, 2, 1]), validate_args=True)


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_texts_that_cannot_be_cut_by_words_or_are_too_long():
    processor = LatentTextProcessor(byte_bpe())
    model = model_for(processor, "bert", "gpt2")
    for texts, message in (
        (["the dog", ""], "sentence 1 is empty"),
        (["the dog", ["the", "old dog"]], "sentence 1: word 1 is 'old dog'"),
        ([["the"], "the [SEP] dog"], r"sentence 1: the word '\[SEP\]' is read as the token that ends"),
        (["the dog", "dog " * 40], "sentence 1 has .* tokens, and the encoder, a 'bert' model, has room for 32"),
    ):
        for method in (model.parse, model.surprisal):
            with pytest.raises(ValueError, match=message):
                method(texts, processor=processor)
    with pytest.raises(ValueError, match="Unknown scored_by 'prior': choose one of 'posterior', 'joint'"):
        model.parse_n_best("the dog", processor=processor, scored_by="prior")
    with pytest.raises(ValueError, match="num_trees must be at least 1, but is 0"):
        model.parse_n_best("the dog", 0, processor=processor)


def test_rows_of_a_data_set_are_named():
    tokenizer = train_word_tokenizer(TEXTS)
    processor = LatentTextProcessor(tokenizer, tokenizer)
    texts = ["the dog barks", "a cat"]
    for tree, message in (
        ("((a dog))", "tree 1 does not fit its sentence"),
        ("(S (NP a cat", "tree 1 is not one bracketed sentence"),
    ):
        rows = Dataset.from_dict({"text": texts, "tree": ["((the dog) barks)", tree]})
        with pytest.raises(ValueError, match=message):
            encode_trees(rows, processor)
    encoded = encode_trees(Dataset.from_dict({"text": texts}), processor, tree_column=None)
    batch = TreeCollator(processor)(list(encoded))
    assert tiny_urnng(vocab_size=len(tokenizer))(**batch).loss.isfinite()
