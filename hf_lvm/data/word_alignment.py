"""Cut sentences of words into pieces of any tokenizer and say which word each piece belongs to."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

NO_WORD = -1
ROWS_AT_ONCE = 1000


def tokenize_words(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    add_special_tokens: bool = True,
    name: str = "sentence",
) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of the pieces of N sentences, and the number of the word that each belongs to.

    The words are joined with one blank and cut as that text is, so that a pretrained model sees what it has seen in training.
    A piece that is nothing but a blank belongs to the word behind it.

    Args:
        tokenizer: any fast one.
        sentences: N lists of words.
        add_special_tokens: whether to add those that the tokenizer puts around a text.
        name: what a row is called in an error.

    Returns:
        Two lists of N lists: ids, and numbers from 0 that never fall along a sentence, with -1 at added special tokens.

    Raises:
        ValueError: a tokenizer that cannot tell where in the text its pieces are; a sentence without a word; a word that is
            empty or holds a blank, becomes no piece, or shares one with the next word. The row and the word are named.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} does not tell which word its pieces belong to: a fast tokenizer is needed. "
            "AutoTokenizer loads one wherever there is one."
        )
    sentences = [list(words) if not isinstance(words, str) else words for words in sentences]
    for row, words in enumerate(sentences):
        _check_words(words, f"{name} {row}")
    input_ids: list[list[int]] = []
    word_ids: list[list[int]] = []
    for start in range(0, len(sentences), ROWS_AT_ONCE):
        rows = sentences[start : start + ROWS_AT_ONCE]
        batch = tokenizer(
            [" ".join(words) for words in rows],
            add_special_tokens=add_special_tokens,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        input_ids += batch["input_ids"]
        word_ids += [
            _words_of_pieces(words, batch["offset_mapping"][row], batch.sequence_ids(row), f"{name} {start + row}")
            for row, words in enumerate(rows)
        ]
    return input_ids, word_ids


def _check_words(words: Sequence[str], name: str) -> None:
    if isinstance(words, str):
        raise ValueError(f"{name} is one string where a list of words is needed.")
    if not words:
        raise ValueError(f"{name} is empty: it needs at least one word.")
    for place, word in enumerate(words):
        if not isinstance(word, str) or word.split() != [word]:
            raise ValueError(f"{name}: word {place} is {word!r}, and a word is a string of at least one sign without blanks.")


def _words_of_pieces(
    words: Sequence[str], offsets: Sequence[tuple[int, int]], sources: Sequence[int | None], name: str
) -> list[int]:
    """The word of each of the pieces of one sentence, -1 where its source says that it stands for no text."""
    text = " ".join(words)
    # For every sign of the text; a blank goes with the word behind it.
    word_at = [number for number, word in enumerate(words) for _ in range(len(word) + (number > 0))]
    found: list[int] = []
    current = -1
    for (begin, end), source in zip(offsets, sources, strict=True):
        if source is None:
            found.append(NO_WORD)
            continue
        begin = min(begin, len(text) - 1)
        if end - begin > 1 and text[end - 1] == " ":
            end -= 1  # a blank at the right of a word does not make it a piece of the next
        first, last = word_at[begin], word_at[max(begin, end - 1)]
        if first < last:
            raise ValueError(
                f"{name}: the words {words[first]!r} and {words[first + 1]!r} ({first} and {first + 1}) share a piece, and a "
                "tree is over words: choose a tokenizer that cuts at blanks, or make them one word."
            )
        if not 0 <= first - current <= 1:
            raise ValueError(_unaligned(words, current + 1 if first > current else first, name))
        current = first
        found.append(first)
    if current < len(words) - 1:
        raise ValueError(_unaligned(words, current + 1, name))
    return found


def _unaligned(words: Sequence[str], number: int, name: str) -> str:
    return (
        f"{name}: the tokenizer makes no piece of the word {words[number]!r} ({number}), or none in its place, and a tree is "
        "over words: leave such words out, or choose a tokenizer that knows their signs."
    )
