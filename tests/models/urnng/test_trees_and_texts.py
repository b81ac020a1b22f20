"""Text in, trees out, and the other way round: by every kind of tokenizer, and the numbers against sums over all trees."""

import math

import pytest
import torch
from nltk import Tree
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, AutoProcessor, PreTrainedTokenizerFast

from hf_lvm import LatentTextProcessor, URNNGConfig, URNNGModel
from hf_lvm.backbones.tree_decoders import as_tree_decoder_config
from hf_lvm.data import TreeCollator, mask_to_tree, read_tree, train_word_tokenizer
from hf_lvm.models.urnng.likelihood import all_trees
from tests.tiny_parts import perturb, tiny_config

TEXTS = ["the dog barks loudly .", "don't the cats sleep ?", "café 你好 the", "it 's the dog 's bone ."]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
ROLES = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))


def trained(model, trainer, around: str | None = None, **parts) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    if around is not None:
        ids = [("[CLS]", 2), ("[SEP]", 3)]
        tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **ROLES)


def word_piece():
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=60, special_tokens=SPECIAL, show_progress=False),
        around="[CLS] $A [SEP]",
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(cleanup=False),
    )


def byte_bpe():
    return trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=280,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=SPECIAL,
            show_progress=False,
        ),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoder=decoders.ByteLevel(),
    )


def unigram():
    return trained(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=50, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False),
        around="$A [SEP]",
        normalizer=normalizers.NFKC(),
        pre_tokenizer=pre_tokenizers.Metaspace(),
        decoder=decoders.Metaspace(),
    )


def few_bytes():
    """So few pieces that a sentence ends soon: a blank, a sign, a blank with a sign, and half a sign."""
    pieces = [*SPECIAL, "Ġ", "a", "Ġb", "Ã"]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **ROLES)


TOKENIZERS = {"WordPiece": word_piece, "byte BPE": byte_bpe, "Unigram": unigram}


def model_for(processor: LatentTextProcessor, encoder: str, decoder: str, subwords: bool = True) -> URNNGModel:
    """A small model, in evaluation mode, whose trees differ."""
    torch.manual_seed(0)
    sizes = {
        part: {"vocab_size": len(each), "pad_token_id": each.pad_token_id, "bos_token_id": each.bos_token_id}
        | {"eos_token_id": each.eos_token_id}
        for part, each in (("encoder", processor.tokenizer), ("decoder", processor.decoder_tokenizer))
    }
    of_encoder = {"bidirectional": True} if encoder == "hf_lvm_lstm_encoder" else {}
    if decoder == "hf_lvm_rnng_decoder":
        part = tiny_config(decoder, **sizes["decoder"], subwords=subwords)
    else:
        part = as_tree_decoder_config(tiny_config(decoder, **sizes["decoder"]), subwords=subwords)
    config = URNNGConfig(encoder=tiny_config(encoder, **sizes["encoder"], **of_encoder), decoder=part, num_samples=3)
    return perturb(URNNGModel(config), 0.2).eval()


@pytest.fixture(scope="module")
def of_words():
    """A model of whole words with its processor."""
    tokenizer = train_word_tokenizer(TEXTS)
    processor = LatentTextProcessor(tokenizer, tokenizer)
    return model_for(processor, "hf_lvm_lstm_encoder", "hf_lvm_rnng_decoder", subwords=False), processor


def batch_for(processor: LatentTextProcessor, texts: list[str]) -> dict[str, torch.Tensor]:
    columns = processor.tokenize_words([text.split() for text in texts])
    return TreeCollator(processor)([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


# ---- tokenizers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", ["hf_lvm_rnng_decoder", "gpt2"])
@pytest.mark.parametrize("tokenizers", [("WordPiece", "byte BPE"), ("byte BPE", "Unigram"), ("Unigram", "WordPiece")])
def test_trees_are_over_words_whatever_the_pieces(tokenizers, decoder):
    processor = LatentTextProcessor(*(TOKENIZERS[name]() for name in tokenizers))
    model = model_for(processor, "bert", decoder)
    batch = batch_for(processor, TEXTS)
    assert (batch["decoder_word_ids"] >= 0).sum() > sum(len(text.split()) for text in TEXTS), "some words have several pieces"
    output = model(**batch)
    assert output.loss.isfinite() and output.latents.shape[-1] == max(len(text.split()) for text in TEXTS)
    for text, tree in zip(TEXTS, model.parse(TEXTS, processor=processor), strict=True):
        assert tree.leaves() == text.split() and read_tree(tree).is_binary_tree
    # The first word's surprisal and so on: a word includes all its pieces.
    short = "the dog barks"
    (costs,) = model.surprisal(short, processor=processor, beam_size=50)
    assert [word for word, _ in costs] == [*short.split(), processor.decoder_tokenizer.eos_token]
    exact = model.estimate_log_likelihood(**batch_for(processor, [short]), method="exact").log_likelihood
    assert sum(nats for _, nats in costs) == pytest.approx(-exact.item(), rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("decoder", ["hf_lvm_rnng_decoder", "gpt2"])
def test_words_that_are_written_are_the_leaves_of_their_trees(decoder):
    """An untrained model of bytes writes halves of signs and blanks inside of words: still one leaf a word."""
    processor = LatentTextProcessor(word_piece(), few_bytes())
    model = model_for(processor, "bert", decoder)
    written = model.sample(30, processor=processor, max_words=7, generator=torch.Generator().manual_seed(1))
    assert {each.tree is None for each in written} == {True, False}
    for each in written:
        words = each.text.split()
        assert each.text == " ".join(words) and words
        if each.tree is None:
            assert len(words) <= 7
        else:
            assert each.tree.leaves() == words
            assert read_tree(each.tree).is_binary_tree


# ---- trees of sentences ----------------------------------------------------------------------------------------------


def test_sentences_come_as_strings_or_as_words(of_words):
    model, processor = of_words
    one = model.parse("the dog barks", processor=processor)
    assert len(one) == 1 and isinstance(one[0], Tree)
    assert model.parse([["the", "dog", "barks"]], processor=processor) == one
    assert model.parse(["the dog barks", ["sleep"]], processor=processor, batch_size=1) == [*one, Tree("X", ["sleep"])]
    assert model.parse([], processor=processor) == []


def test_the_best_trees_of_q_are_those_of_the_enumeration(of_words):
    model, processor = of_words
    texts = ["the dog barks loudly .", "the dog", "bone"]
    found = model.parse_n_best(texts, 20, processor=processor, batch_size=2)
    assert [len(trees) for trees in found] == [14, 1, 1], "no more than there are"
    for text, trees in zip(texts, found, strict=True):
        words, batch = text.split(), batch_for(processor, [text])
        posterior = model.encode(batch["input_ids"], batch["attention_mask"], batch["word_ids"])
        masks = all_trees(len(words))
        scores, order = posterior.log_prob(masks.unsqueeze(1)).squeeze(1).sort(descending=True)
        torch.testing.assert_close(torch.tensor([each.log_prob for each in trees]), scores.detach(), rtol=0, atol=1e-5)
        assert trees[0].tree == mask_to_tree(masks[order[0]], words)
        assert math.fsum(math.exp(each.log_prob) for each in trees) == pytest.approx(1, abs=1e-5)
    assert [trees[0].tree for trees in found] == model.parse(texts, processor=processor)


@torch.no_grad()
def test_the_best_trees_of_p_and_the_surprisals_are_those_of_the_enumeration(of_words):
    model, processor = of_words
    texts = ["the dog barks loudly .", "the dog", "bone"]
    found = model.parse_n_best(texts, 5, processor=processor, scored_by="joint", beam_size=60)
    costs = model.surprisal(texts, processor=processor, beam_size=60)
    for text, trees, cost in zip(texts, found, costs, strict=True):
        words, labels = text.split(), batch_for(processor, [text])["labels"]
        masks = all_trees(len(words))
        log_joint = model(labels=labels, latents=masks.unsqueeze(1)).log_joint[:, 0]
        scores, order = log_joint.sort(descending=True)
        assert len(trees) == min(5, len(masks))
        torch.testing.assert_close(torch.tensor([each.log_prob for each in trees]), scores[:5], rtol=0, atol=1e-4)
        assert trees[0].tree == mask_to_tree(masks[order[0]], words)
        assert sum(nats for _, nats in cost) == pytest.approx(-log_joint.logsumexp(0).item(), abs=1e-4)


def test_what_is_saved_parses_alike_through_the_auto_classes(tmp_path):
    processor = LatentTextProcessor(word_piece(), byte_bpe())
    for decoder in ("hf_lvm_rnng_decoder", "gpt2"):
        model = model_for(processor, "bert", decoder)
        model.save_pretrained(tmp_path / decoder)
        processor.save_pretrained(tmp_path / decoder)
        loaded, other = AutoModel.from_pretrained(tmp_path / decoder), AutoProcessor.from_pretrained(tmp_path / decoder)
        assert loaded.config.decoder.subwords
        one, two = (
            each.parse_n_best(TEXTS, 2, processor=reader, scored_by="joint", beam_size=5)
            for each, reader in ((model, processor), (loaded, other))
        )
        assert one == two
        assert loaded.surprisal("the dog", processor=other) == model.surprisal("the dog", processor=processor)
        twice = [
            each.sample(3, processor=reader, max_words=5, generator=torch.Generator().manual_seed(0))
            for each, reader in ((model, processor), (loaded, other))
        ]
        assert twice[0] == twice[1]
