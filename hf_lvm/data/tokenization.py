"""Train small tokenizers, load existing ones, and find out which tokens start and end a text.

Trained tokenizers are ordinary `PreTrainedTokenizerFast` objects: `AutoTokenizer` loads what they save.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hf_lvm.data.hub import check_hub_repository, is_hub_id

# What stands for every word with a digit, where a tokenizer folds them.
FOLDED_NUMBER = "##"
# In this order, so that the ids are 0 to 4 in every tokenizer trained here.
SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
BYTES = 256


def train_bpe_tokenizer(texts: Iterable[str], vocab_size: int = 4000, min_frequency: int = 2) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; decoding gives every text back exactly, whatever its script.

    Called with `add_special_tokens=True` it writes `<s> ... </s>`. The same texts give the same tokenizer.

    Args:
        texts: The texts to train on, one string each.
        vocab_size: The size of the vocabulary, special tokens and the 256 bytes included; it is reached only when
            enough pairs occur `min_frequency` times.
        min_frequency: How often a pair must occur to be merged.

    Raises:
        ValueError: when there are no texts, or `vocab_size` has no room for the bytes and special tokens.
    """
    smallest = BYTES + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size={vocab_size} is too small: a byte-level tokenizer needs at least {smallest} entries "
            f"({BYTES} bytes and {len(SPECIAL_TOKENS)} special tokens)."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_at_least_one(texts), trainer=trainer)
    return _wrap(tokenizer)


def train_word_tokenizer(
    texts: Iterable[str],
    vocab_size: int | None = None,
    lowercase: bool = False,
    min_frequency: int = 1,
    fold_numbers: bool = False,
) -> PreTrainedTokenizerFast:
    """Collect a vocabulary of words, split at white space; words outside it become `<unk>`.

    A corpus that writes the word `<unk>` itself, as the Penn Treebank does, means the same token. Decoding joins the
    words with one blank. Called with `add_special_tokens=True` it writes `<s> ... </s>`.

    Args:
        texts: The texts to train on, one string each.
        vocab_size: The largest size of the vocabulary, special tokens included; `None` keeps every word.
        lowercase: Whether capitals are folded, here and whenever the tokenizer is used.
        min_frequency: How often a word must occur to be kept.
        fold_numbers: Whether every word with a digit is the word `##`, likewise.

    Raises:
        ValueError: when there are no texts, or `vocab_size` leaves no room for words.
    """
    if vocab_size is not None and vocab_size <= len(SPECIAL_TOKENS):
        raise ValueError(f"vocab_size={vocab_size} leaves no room for words beside the {len(SPECIAL_TOKENS)} special tokens.")
    # Counted here because the library's trainer gives a special token that stands in the text a second id.
    forms = [normalizers.Lowercase()] if lowercase else []
    forms += [normalizers.Replace(Regex(r"\S*\d\S*"), FOLDED_NUMBER)] if fold_numbers else []
    normalizer = normalizers.Sequence(forms) if forms else None
    texts = _at_least_one(texts)
    counts = Counter(word for text in texts for word in (normalizer.normalize_str(text) if normalizer else text).split())
    words = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= min_frequency]
    entries = list(dict.fromkeys([*SPECIAL_TOKENS.values(), *words]))[:vocab_size]
    vocabulary = {word: index for index, word in enumerate(entries)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS["unk_token"]))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(tokenizer, whole_words=True)


def train_topic_tokenizer(
    texts: Iterable[str],
    vocab_size: int | None = None,
    min_documents: int = 5,
    stop_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """Collect the vocabulary of a topic model: runs of two or more letters in lower case, without stop and rare words.

    Digits, signs and single letters are no words and become nothing; words outside the vocabulary become `<unk>`. The most
    frequent words (by the number of texts that hold them) come first.

    Args:
        texts: The texts to train on, one string each, each a document.
        vocab_size: The largest size of the vocabulary, special tokens included; `None` keeps every word.
        min_documents: How many texts must hold a word.
        stop_words: Words to leave out, in lower case.

    Raises:
        ValueError: when there are no texts, or no word is left.
    """
    # The tokenizer itself cuts, so that what is counted here is what it finds later.
    cut = Tokenizer(models.WordLevel({SPECIAL_TOKENS["unk_token"]: 0}, unk_token=SPECIAL_TOKENS["unk_token"]))
    cut.normalizer = normalizers.Lowercase()
    cut.pre_tokenizer = pre_tokenizers.Split(Regex(r"\p{L}{2,}"), behavior="removed", invert=True)
    left_out = frozenset(stop_words)
    counts: Counter[str] = Counter()
    for text in _at_least_one(texts):
        lowered = cut.normalizer.normalize_str(text)
        counts.update({word for word, _ in cut.pre_tokenizer.pre_tokenize_str(lowered)} - left_out)
    words = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= min_documents]
    entries = [*SPECIAL_TOKENS.values(), *words][:vocab_size]
    if len(entries) <= len(SPECIAL_TOKENS):
        raise ValueError(
            f"No word is left for the vocabulary: lower min_documents={min_documents} (the most frequent word is in "
            f"{max(counts.values(), default=0)} texts), or raise vocab_size={vocab_size}."
        )
    vocabulary = {word: index for index, word in enumerate(entries)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = cut.normalizer, cut.pre_tokenizer
    return _wrap(tokenizer, whole_words=True)


def _at_least_one(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str):
        raise ValueError("texts is one string; give a list of strings, one for each text.")
    empty = True
    for text in texts:
        empty = False
        yield text
    if empty:
        raise ValueError("There are no texts to train a tokenizer on.")


def _wrap(tokenizer: Tokenizer, whole_words: bool = False) -> PreTrainedTokenizerFast:
    """Add the post-processor and the special tokens; with `whole_words`, "<unk>" inside a word is just letters."""
    start, end = SPECIAL_TOKENS["bos_token"], SPECIAL_TOKENS["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (start, end)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        # Cleaning up would change the text that decoding gives back.
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **{
            role: AddedToken(token, single_word=whole_words, normalized=False, special=True)
            for role, token in SPECIAL_TOKENS.items()
        },
    )


def load_tokenizer(name_or_path: str | Path, **special_tokens: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a local folder or, when `name_or_path` is written `owner/name`, from the hub.

    Args:
        name_or_path: A folder that holds a tokenizer, or a hub id.
        special_tokens: `pad_token`, `bos_token`, `eos_token`, `unk_token`, `mask_token`, `sep_token` or
            `cls_token`: which existing token of the vocabulary plays that role, e.g.
            `pad_token="<|endoftext|>"` for GPT-2.

    Raises:
        FileNotFoundError: no such folder or hub repository, or no tokenizer in it.
        ConnectionError: the hub does not answer.
        ValueError: a special token that is not in the vocabulary, or a role that does not exist.
    """
    name = str(name_or_path)
    path = Path(name).expanduser()
    roles = [*SPECIAL_TOKENS, "sep_token", "cls_token"]
    unknown = [role for role in special_tokens if role not in roles]
    if unknown:
        raise ValueError(f"Unknown role {unknown[0]!r} for a special token; the roles are {', '.join(roles)}.")
    if path.is_dir():
        name = str(path)
    elif is_hub_id(name):
        check_hub_repository(name, kind="model")
    else:
        raise FileNotFoundError(
            f"There is no tokenizer folder {name!r} (looked from {Path.cwd()}). Give a folder saved by "
            "`save_pretrained`, or a hub id written as owner/name."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(f"{name!r} holds no tokenizer that could be loaded: {reason}") from error
    vocabulary = tokenizer.get_vocab()
    # A folder with a config.json but no tokenizer file makes transformers build a tokenizer without any words.
    if len(vocabulary) <= len(tokenizer.all_special_tokens):
        raise FileNotFoundError(f"{name!r} holds no tokenizer: no vocabulary was found beside its config.json.")
    for role, token in special_tokens.items():
        if token not in vocabulary:
            near = difflib.get_close_matches(token, [*tokenizer.all_special_tokens, *vocabulary], n=3)
            raise ValueError(
                f"{role}={token!r} is not in the vocabulary of {name!r}. Name a token that exists; its special tokens "
                f"are {', '.join(tokenizer.all_special_tokens) or '(none)'}"
                + (f"; near names: {', '.join(near)}." if near else ".")
            )
        setattr(tokenizer, role, token)
    return tokenizer


def start_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token a decoder starts from: bos, else cls, else pad (as T5 does).

    Raises:
        ValueError: when the tokenizer has none of them.
    """
    for token_id in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id):
        if token_id is not None:
            return token_id
    raise ValueError(_missing(tokenizer, "start token (bos, cls or pad)", "bos_token"))


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a text: eos, else sep.

    Raises:
        ValueError: when the tokenizer has neither.
    """
    for token_id in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token_id is not None:
            return token_id
    raise ValueError(_missing(tokenizer, "end token (eos or sep)", "eos_token"))


def check_special_tokens(tokenizer: PreTrainedTokenizerBase, role: Literal["encoder", "decoder"]) -> None:
    """Raise `ValueError` unless `tokenizer` has the special tokens its role needs, and say how to mend it.

    An encoder needs a padding token; a decoder also a token to start from (bos, else cls, else pad) and one to end
    with (eos, else sep).
    """
    if role not in ("encoder", "decoder"):
        raise ValueError(f"Unknown role {role!r} of a tokenizer; choose 'encoder' or 'decoder'.")
    if tokenizer.pad_token_id is None:
        raise ValueError(_missing(tokenizer, f"padding token, which the {role} needs", "pad_token"))
    if role == "decoder":
        start_token_id(tokenizer)
        end_token_id(tokenizer)


def _missing(tokenizer: PreTrainedTokenizerBase, what: str, option: str) -> str:
    example = tokenizer.eos_token or "..."
    return (
        f"The tokenizer {tokenizer.name_or_path or type(tokenizer).__name__!r} has no {what}. Name a token of its "
        f"vocabulary for it: load_tokenizer(..., {option}={example!r})."
    )
