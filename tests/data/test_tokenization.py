import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertConfig

from hf_lvm.data import (
    check_special_tokens,
    end_token_id,
    load_tokenizer,
    start_token_id,
    train_bpe_tokenizer,
    train_topic_tokenizer,
    train_word_tokenizer,
)

TEXTS = ["the cat sat", "the dog <unk> sat", "the Cat ran ."]
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]


def without(tokenizer, *roles):
    """A copy of `tokenizer` in which these roles are not filled."""

    clone = copy.deepcopy(tokenizer)
    for role in roles:
        setattr(clone, role, None)
    return clone


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_bpe_gives_every_text_back(bpe_tokenizer, text):
    ids = bpe_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert bpe_tokenizer.decode(ids) == text


def test_bpe_keeps_sentences_without_their_special_tokens(bpe_tokenizer, corpus):
    for text in corpus["test"]["text"][:100]:
        ids = bpe_tokenizer(text)["input_ids"]
        assert (ids[0], ids[-1]) == (1, 2)
        assert bpe_tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("train", [lambda texts: train_bpe_tokenizer(texts, 300), train_word_tokenizer])
def test_special_tokens_have_the_first_ids(train):
    tokenizer = train(TEXTS)
    assert tokenizer.convert_ids_to_tokens(range(5)) == SPECIALS
    roles = ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "mask_token_id")
    assert [getattr(tokenizer, role) for role in roles] == [0, 1, 2, 3, 4]
    assert (start_token_id(tokenizer), end_token_id(tokenizer)) == (1, 2)
    check_special_tokens(tokenizer, "decoder")


def test_training_is_deterministic(bpe_tokenizer, corpus):
    again = train_bpe_tokenizer(iter(corpus["train"]["text"][:]), vocab_size=1000)
    assert again.backend_tokenizer.to_str() == bpe_tokenizer.backend_tokenizer.to_str()
    assert len(bpe_tokenizer) == 1000


def test_words_are_ranked_by_frequency_and_unknown_ones_are_unk():
    tokenizer = train_word_tokenizer(TEXTS)
    assert tokenizer.convert_ids_to_tokens(range(5, len(tokenizer))) == ["the", "sat", ".", "Cat", "cat", "dog", "ran"]
    assert tokenizer.tokenize("the fish sat .") == ["the", "<unk>", "sat", "."]
    assert tokenizer.tokenize("the mask<mask>s <mask> sat") == ["the", "<unk>", "<mask>", "sat"]
    assert tokenizer.decode(tokenizer("the  cat \t sat .")["input_ids"], skip_special_tokens=True) == "the cat sat ."


def test_unk_written_in_the_corpus_is_the_unknown_token():
    for tokenizer in (train_word_tokenizer(TEXTS), train_word_tokenizer(["a <UNK> <unk>"], lowercase=True)):
        assert tokenizer.convert_tokens_to_ids("<unk>") == 3
        assert tokenizer("<unk>", add_special_tokens=False)["input_ids"] == [3]
        assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_word_vocabulary_can_be_limited():
    assert len(train_word_tokenizer(TEXTS, vocab_size=7)) == 7
    assert set(train_word_tokenizer(TEXTS, min_frequency=2).get_vocab()) == {*SPECIALS, "the", "sat"}
    assert train_word_tokenizer(TEXTS, lowercase=True).tokenize("THE CAT") == ["the", "cat"]


def test_words_with_a_digit_are_one_word():
    tokenizer = train_word_tokenizer(["the A17 in 1984 .", "the ##"], vocab_size=7, lowercase=True, fold_numbers=True)
    assert tokenizer.tokenize("The 12-inch A3 in") == ["the", "##", "##", "<unk>"]
    assert tokenizer([["The", "A17"]], is_split_into_words=True, add_special_tokens=False)["input_ids"] == [[6, 5]]


@pytest.mark.parametrize("train", [lambda texts: train_bpe_tokenizer(texts, 300), train_word_tokenizer])
def test_auto_tokenizer_reloads_everything(train, tmp_path):
    tokenizer = train(TEXTS)
    tokenizer.save_pretrained(tmp_path)
    for reloaded in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)):
        assert reloaded.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
        assert reloaded.special_tokens_map == tokenizer.special_tokens_map
        assert reloaded.model_input_names == ["input_ids", "attention_mask"]
        text = "the  dog , <mask> n't ."
        assert reloaded(text) == tokenizer(text)
        assert reloaded.decode(reloaded(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])


def test_bad_training_options_are_refused():
    for train in (train_bpe_tokenizer, train_word_tokenizer):
        with pytest.raises(ValueError, match="no texts"):
            train([])
        with pytest.raises(ValueError, match="one string"):
            train("the cat sat")
    with pytest.raises(ValueError, match="at least 261"):
        train_bpe_tokenizer(TEXTS, vocab_size=260)
    with pytest.raises(ValueError, match="no room for words"):
        train_word_tokenizer(TEXTS, vocab_size=5)


def test_missing_special_tokens_are_reported_with_the_mend(tmp_path):
    tokenizer = train_word_tokenizer(TEXTS)
    bare = without(tokenizer, "pad_token")
    for role in ("encoder", "decoder"):
        with pytest.raises(ValueError, match=rf"no padding token, which the {role} needs.*pad_token='</s>'"):
            check_special_tokens(bare, role)
    check_special_tokens(without(tokenizer, "eos_token", "bos_token"), "encoder")
    with pytest.raises(ValueError, match=r"no end token \(eos or sep\).*eos_token="):
        check_special_tokens(without(tokenizer, "eos_token"), "decoder")
    with pytest.raises(ValueError, match=r"no start token.*bos_token="):
        start_token_id(without(tokenizer, "bos_token", "pad_token"))
    with pytest.raises(ValueError, match="'encoder' or 'decoder'"):
        check_special_tokens(tokenizer, "reader")

    # The mend in the message works.
    bare.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).pad_token_id is None
    mended = load_tokenizer(tmp_path, pad_token="</s>")
    assert mended.pad_token_id == mended.eos_token_id == 2
    with pytest.raises(ValueError, match=r"pad_token='<padd>' is not in the vocabulary.*near names"):
        load_tokenizer(tmp_path, pad_token="<padd>")
    with pytest.raises(ValueError, match="Unknown role 'padding'"):
        load_tokenizer(tmp_path, padding="</s>")


def test_start_and_end_fall_back_as_documented():
    tokenizer = without(train_word_tokenizer(TEXTS), "bos_token", "eos_token")
    assert start_token_id(tokenizer) == tokenizer.pad_token_id  # as T5
    tokenizer.cls_token, tokenizer.sep_token = "<s>", "</s>"  # as BERT
    assert (start_token_id(tokenizer), end_token_id(tokenizer)) == (1, 2)


def test_places_without_a_tokenizer_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer folder 'bert'.*owner/name"):
        load_tokenizer("bert")
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no vocabulary was found"):
        load_tokenizer(tmp_path)


def test_a_topic_tokenizer_keeps_words_of_letters_that_several_texts_hold():
    texts = ["The FILE, the file: file_name (2 files).", "A file's path; naïve paths!", "Open the path x.", "the the"]
    tokenizer = train_topic_tokenizer(texts, min_documents=2, stop_words=["the"])
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    # By the number of texts that hold a word, then by the alphabet; "naïve", "name", "open" are in one text only.
    assert vocabulary == [*SPECIALS, "file", "path"]
    ids = tokenizer("A File_path, 3 files; x the PATH", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["file", "path", "<unk>", "<unk>", "path"]
    everything = train_topic_tokenizer(texts, min_documents=1)
    assert "naïve" in everything.get_vocab() and "x" not in everything.get_vocab()
    assert len(train_topic_tokenizer(texts, vocab_size=7, min_documents=1)) == 7


def test_a_topic_tokenizer_without_words_is_refused():
    with pytest.raises(ValueError, match="lower min_documents=5 .the most frequent word is in 1 texts"):
        train_topic_tokenizer(["one two", "three"])
