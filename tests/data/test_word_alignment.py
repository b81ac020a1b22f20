import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hf_lvm.data import LatentTextProcessor, tokenize_words, train_bpe_tokenizer, train_word_tokenizer

TEXTS = ["the dog barks loudly .", "don't the cats sleep ?", "café 你好 x½ 😀 the", "it 's the dog 's bone ."]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
ROLES = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))


def trained(model, trainer, around=None, **parts):
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
        trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False),
        around="[CLS] $A [SEP]",
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(cleanup=False),
    )


def bpe():
    return trained(
        models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"),
        trainers.BpeTrainer(vocab_size=80, end_of_word_suffix="</w>", special_tokens=SPECIAL, show_progress=False),
        pre_tokenizer=pre_tokenizers.Whitespace(),
        decoder=decoders.BPEDecoder(),
    )


def byte_bpe(prefix=True, trim_offsets=True, use_regex=True):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(
        models.BPE(),
        trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex),
        post_processor=processors.ByteLevel(trim_offsets=trim_offsets),
        decoder=decoders.ByteLevel(),
    )


def unigram():
    return trained(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=60, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False),
        around="$A [SEP]",
        normalizer=normalizers.NFKC(),
        pre_tokenizer=pre_tokenizers.Metaspace(),
        decoder=decoders.Metaspace(),
    )


def byte_fallback():
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    return trained(
        models.BPE(unk_token="[UNK]", byte_fallback=True),
        trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL + fallback, show_progress=False, limit_alphabet=20),
        around="[CLS] $A",
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        pre_tokenizer=pre_tokenizers.Split("▁", "merged_with_next"),
        decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    )


# Each with whether it knows every sign.
TOKENIZERS = {
    "WordPiece": (word_piece, False),
    "BPE": (bpe, False),
    "byte BPE, blank in front": (byte_bpe, True),
    "byte BPE, no blank in front": (lambda: byte_bpe(prefix=False), True),
    "byte BPE, offsets with blanks": (lambda: byte_bpe(prefix=False, trim_offsets=False), True),
    "Unigram": (unigram, False),
    "BPE with bytes": (byte_fallback, True),
    "words": (lambda: train_word_tokenizer(TEXTS), False),
    "BPE of this package": (lambda: train_bpe_tokenizer(TEXTS * 3, 290), True),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def any_tokenizer(request):
    make, knows_all = TOKENIZERS[request.param]
    return make(), knows_all


WORDS = st.sampled_from(" ".join(TEXTS).split()) | st.text("abdeghortn'.é½你好😀-", min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(sentences=st.lists(st.lists(WORDS, min_size=1, max_size=7), min_size=1, max_size=3))
def test_every_piece_is_one_of_its_word(any_tokenizer, sentences):
    tokenizer, knows_all = any_tokenizer
    ids, word_ids = tokenize_words(tokenizer, sentences)
    # The segmentation is that of the text.
    assert ids == tokenizer([" ".join(words) for words in sentences])["input_ids"]
    bare_ids, bare_word_ids = tokenize_words(tokenizer, sentences, add_special_tokens=False)
    for row, words in enumerate(sentences):
        assert len(ids[row]) == len(word_ids[row])
        numbers = [number for number in word_ids[row] if number >= 0]
        assert bare_word_ids[row] == numbers == sorted(numbers)
        assert set(numbers) == set(range(len(words)))
        special = [index for index, number in zip(ids[row], word_ids[row], strict=True) if number < 0]
        assert set(special) <= set(tokenizer.all_special_ids)
        for number, word in enumerate(words):
            pieces = [index for index, of in zip(bare_ids[row], numbers, strict=True) if of == number]
            if tokenizer.unk_token_id in pieces:
                assert not knows_all
                continue
            decoded = tokenizer.decode(pieces).strip()
            normalizer = tokenizer.backend_tokenizer.normalizer
            plain = word if normalizer is None or knows_all else normalizer.normalize_str(word)
            assert decoded.replace(" ", "") == plain.replace(" ", "")


def test_both_sides_with_their_special_tokens():
    processor = LatentTextProcessor(word_piece(), byte_bpe(prefix=False))
    rows = processor.tokenize_words([["the", "dog"], ["café"]])
    assert rows["input_ids"] == processor.tokenize(["the dog", "café"])[0]
    assert rows["labels"] == processor.tokenize(["the dog", "café"])[1]
    for ids, numbers in zip(rows["input_ids"], rows["word_ids"], strict=True):
        assert numbers[0] == numbers[-1] == -1 and len(ids) == len(numbers)
    for ids, numbers in zip(rows["labels"], rows["decoder_word_ids"], strict=True):
        assert numbers[0] == 0 and numbers[-1] == -1 and ids[-1] == processor.end_token_id


def test_whole_words_are_numbered_too():
    processor = LatentTextProcessor(train_word_tokenizer(TEXTS))
    rows = processor.tokenize_words([["the", "<unk>", "zebra"]])
    assert rows["word_ids"] == [[-1, 0, 1, 2, -1]]
    assert rows["decoder_word_ids"] == [[0, 1, 2, -1]]
    assert processor.tokenize_words([]) == {"input_ids": [], "word_ids": [], "labels": [], "decoder_word_ids": []}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"sentence 1 is empty: it needs at least one word"),
        ("the dog", r"sentence 1 is one string where a list of words is needed"),
        (["the", ""], r"sentence 1: word 1 is ''"),
        (["the dog"], r"sentence 1: word 0 is 'the dog', and a word is .* without blanks"),
        (["the", None], r"sentence 1: word 1 is None"),
        (["the", "\u200b", "dog"], r"sentence 1: the tokenizer makes no piece of the word '\\u200b' \(1\)"),
        (["dog", "\u200b"], r"sentence 1: the tokenizer makes no piece of the word '\\u200b' \(1\)"),
    ],
)
def test_rows_that_are_no_words_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        tokenize_words(word_piece(), [["dog"], words])


def test_words_that_share_a_piece_are_named():
    tokenizer = byte_bpe(use_regex=False)  # nothing keeps merges from going over blanks
    with pytest.raises(ValueError, match=r"sentence 0: the words 'the' and 'dog' \(0 and 1\) share a piece"):
        tokenize_words(tokenizer, [["the", "dog", "barks"]])


def test_the_end_of_a_sentence_is_no_word():
    processor = LatentTextProcessor(train_word_tokenizer(TEXTS))
    with pytest.raises(ValueError, match=r"sentence 1: the word '</s>' is read as the token that ends a sentence"):
        processor.tokenize_words([["the"], ["dog", "</s>"]])


def test_slow_tokenizers_are_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="Slow does not tell which word its pieces belong to: a fast tokenizer is needed"):
        tokenize_words(Slow(), [["the"]])
