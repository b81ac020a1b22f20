"""Spans to masks as tree distributions have them, and masks of binary trees back to trees over words."""

from collections.abc import Iterable, Sequence

import torch
from nltk import Tree

from hf_lvm.grammars.brackets import Span, children_first


def spans_to_mask(spans: Iterable[Sequence[int]], num_words: int, whole_tree: bool = True) -> torch.Tensor:
    """A mask of spans, (n, n) bool: True at [first, last] for each span, as `BinaryTreeCRF` takes it.

    Args:
        spans: (first word, last word), inclusive.
        num_words: n.
        whole_tree: whether the n single words are in the mask too, as in that of a tree.
    """
    mask = torch.eye(num_words, dtype=torch.bool) if whole_tree else torch.zeros(num_words, num_words, dtype=torch.bool)
    pairs = torch.tensor([tuple(span) for span in spans], dtype=torch.long).view(-1, 2)
    mask[pairs[:, 0], pairs[:, 1]] = True
    return mask


def mask_to_spans(mask: torch.Tensor) -> list[Span]:
    """The spans of two words or more of a mask (n, n), children before parents."""
    first, last = torch.as_tensor(mask).bool().triu(1).nonzero(as_tuple=True)
    return sorted(zip(first.tolist(), last.tolist(), strict=True), key=children_first)


def mask_to_tree(mask: torch.Tensor, words: Sequence[str], label: str = "X", name: str = "tree") -> Tree:
    """The binary tree of a mask as an `nltk.Tree`, whose leaves are the words.

    nltk itself walks trees by recursion: one deeper than about 900 brackets can be made and read here, but not printed by it.

    Args:
        mask: (m, m) bool with m >= n, True at [first, last] for each span; single words may be there or not, and cells
            past the words are not looked at.
        words: n words.
        label: of every bracket.
        name: what to call the tree in an error.

    Raises:
        ValueError: no word, fewer cells than words, or a mask that is no binary tree over the words.
    """
    count = len(words)
    mask = torch.as_tensor(mask)
    if count == 0:
        raise ValueError(f"{name} has no word.")
    if mask.dim() != 2 or min(mask.shape) < count:
        raise ValueError(f"{name} is a mask of shape {tuple(mask.shape)}, which has no room for {count} words.")
    spans = mask_to_spans(mask[:count, :count])
    if count == 1:
        return Tree(label, [words[0]])
    parts: dict[int, tuple[int, Tree | str]] = {place: (place, word) for place, word in enumerate(words)}  # by their last word
    for first, last in spans:
        right = parts.pop(last)
        left = parts.pop(right[0] - 1, None)
        if left is None or left[0] != first:
            raise ValueError(f"{name} is no binary tree over its {count} words: the span ({first}, {last}) has not two parts.")
        parts[last] = (first, Tree(label, [left[1], right[1]]))
    if len(parts) > 1:
        raise ValueError(f"{name} is no binary tree over its {count} words: it has {len(spans)} spans, not {count - 1}.")
    return parts[count - 1][1]
