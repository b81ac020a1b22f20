"""Texts as messages of a few symbols: what a model of messages is trained on (Havrylov and Titov 2017, section 3.3)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SymbolMessages:
    """Messages over symbols 0 to V - 1.

    Attributes:
        rows: N lists of symbols, without the end.
        names: what each symbol is called: the word that it is, or its digits.
        covered: the share of the words of the texts that are symbols; 1 where the texts are symbols already.
        left_out: texts that were too short.
    """

    rows: list[list[int]]
    names: list[str]
    covered: float
    left_out: int


def symbol_messages(texts: Sequence[str], num_symbols: int, max_length: int, min_length: int = 0) -> SymbolMessages:
    """Texts as messages.

    Texts of numbers from 0 to V - 1, separated by blanks, are messages as they are. Of others the V most frequent words become
    the symbols, capitals and other letters alike; what else a text says is left out. Only the first `max_length` symbols of a
    text are kept, and texts with fewer than `min_length` are left out.

    Raises:
        ValueError: fewer different words than symbols, or no message left.
    """
    rows = [text.lower().split() for text in texts]
    counts = Counter(word for row in rows for word in row)
    numbers = {str(symbol): symbol for symbol in range(num_symbols)}
    if not counts or any(word not in numbers for word in counts):
        # Of equally frequent words the first by name, whatever the order of the texts.
        words = sorted(counts, key=lambda word: (-counts[word], word))[:num_symbols]
        if len(words) < num_symbols:
            raise ValueError(
                f"The texts have {len(words)} different words, and num_symbols is {num_symbols}: each symbol is a word, so "
                "lower it, or give more texts."
            )
        numbers = {word: symbol for symbol, word in enumerate(words)}
    messages = [[numbers[word] for word in row if word in numbers] for row in rows]
    covered = sum(map(len, messages)) / max(counts.total(), 1)
    kept = [message[:max_length] for message in messages if len(message) >= max(min_length, 1)]
    if not kept:
        raise ValueError(f"None of the {len(texts)} texts has {max(min_length, 1)} symbols: there is nothing to learn from.")
    return SymbolMessages(kept, list(numbers), covered, len(texts) - len(kept))
