"""Trees over words whose words are pieces of a tokenizer.

A word of several pieces is built as they come: each piece after the first is pushed and at once composed with the part of the
word before it, which makes a left-branching tree over its pieces. So a tree over words is a tree over pieces, whose steps
inside words cost nothing: the pieces decide them.
"""

import torch


def spans_of_pieces(spans: torch.Tensor, word_ids: torch.Tensor) -> torch.Tensor:
    """Trees over pieces, (R, S, S) bool, from trees over words.

    Args:
        spans: (R, n, n) bool, the spans of words.
        word_ids: (R, S), the word of each piece, -1 past the end.
    """
    word = word_ids.clamp(min=0)
    rows = torch.arange(len(spans), device=spans.device)[:, None, None]
    first, last = begins_word(word_ids), ends_word(word_ids)
    of_words = spans[rows, word.unsqueeze(2), word.unsqueeze(1)] & first.unsqueeze(2) & last.unsqueeze(1)
    place = torch.arange(word_ids.shape[1], device=spans.device)
    begins = first.unsqueeze(2) & (place.unsqueeze(1) <= place) | (place.unsqueeze(1) == place)
    inside_word = (word_ids.unsqueeze(2) == word_ids.unsqueeze(1)) & (word_ids >= 0).unsqueeze(1) & begins
    return of_words | inside_word


def begins_word(word_ids: torch.Tensor) -> torch.Tensor:
    """Whether a piece is the first of its word: (..., S) bool, False past the end."""
    before = torch.nn.functional.pad(word_ids, (1, 0), value=-1)[..., :-1]
    return (word_ids != before) & (word_ids >= 0)


def ends_word(word_ids: torch.Tensor) -> torch.Tensor:
    """Whether a piece is the last of its word: (..., S) bool, False past the end."""
    after = torch.nn.functional.pad(word_ids, (0, 1), value=-1)[..., 1:]
    return (word_ids != after) & (word_ids >= 0)


def check_word_ids(word_ids: torch.Tensor, shape: torch.Size, lengths: torch.Tensor, look: bool) -> None:
    """Raise a `ValueError` unless `word_ids` says for each piece to which word it belongs.

    Args:
        shape: (B, S), that of the pieces.
        lengths: (B,), how many words the trees have.
        look: whether there is leave to look at numbers.
    """
    if word_ids.shape != shape or word_ids.is_floating_point() or word_ids.dtype == torch.bool:
        raise ValueError(
            f"word_ids must be one integer for each piece, {tuple(shape)}, but is {tuple(word_ids.shape)} of {word_ids.dtype}."
        )
    if not look:
        return
    present = word_ids >= 0
    before = torch.nn.functional.pad(word_ids, (1, 0), value=-1)[:, :-1]
    step = word_ids - before
    # Each piece goes on with the word before it or begins the next one; nothing follows what is past the end.
    wrong = torch.where(present, (step < 0) | (step > 1), word_ids != -1)
    wrong[:, 1:] |= present[:, 1:] & ~present[:, :-1]
    rows = wrong.any(1)
    if rows.any():
        row = int(rows.nonzero()[0])
        raise ValueError(
            "word_ids must count the words of a row from 0 without a gap, -1 past the end, but those of row "
            f"{row} are {word_ids[row].tolist()}."
        )
    words = word_ids.amax(1) + 1
    rows = words != lengths
    if rows.any():
        row = int(rows.nonzero()[0])
        raise ValueError(f"word_ids of row {row} have {int(words[row])} words, but its trees {int(lengths[row])}.")
