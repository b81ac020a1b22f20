"""Trees and words that fit each other: what does not would become indices that are not there."""

import torch

from hf_lvm.grammars.shift_reduce import Derivations, check_word_ids


def check_trees(spans: torch.Tensor, steps: Derivations, lengths: torch.Tensor) -> None:
    """Raise a `ValueError` that names the row unless every mask is a binary tree over all words of its sentence.

    Args:
        spans: (K, B, n, n).
        steps: of these trees, one after another.
        lengths: (B,), words of each sentence.
    """
    words = spans.diagonal(dim1=2, dim2=3)
    expected = torch.arange(words.shape[-1], device=spans.device) < lengths.unsqueeze(1)
    wrong = (words != expected).any(-1) | (spans.flatten(2).sum(-1) != 2 * lengths - 1) | (lengths < 1)
    # What a REDUCE finds on the stack must be what its span is made of.
    fits = (steps.first < steps.last) & (steps.last[steps.right] == steps.last)
    fits &= (steps.left >= 0) & (steps.first[steps.left] == steps.first)
    crossing = (~fits & ~steps.is_word).to(torch.long)
    wrong |= torch.zeros_like(wrong, dtype=torch.long).view(-1).index_add(0, steps.tree, crossing).view_as(wrong) > 0
    if wrong.any():
        tree, row = wrong.nonzero()[0].tolist()
        length = int(lengths[row])
        raise ValueError(
            f"spans of tree {tree} in row {row} are no binary tree over its {length} words: there must be one word at least, "
            "its single words and the whole sentence are spans, and spans may not cross."
        )


def pieces_of_words(
    input_ids: torch.Tensor, word_ids: torch.Tensor | None, lengths: torch.Tensor, num_words: int, subwords: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first piece of each word and how many it has: (B, n) each.

    Args:
        input_ids: (B, S), pieces.
        word_ids: (B, S), the word that each piece belongs to, -1 past the end; None where every word is one piece.
        lengths: (B,), words of each sentence.
        num_words: n.
        subwords: whether a word may be several pieces.

    Raises:
        ValueError: word_ids that are not the words of the trees, with the row, or in a model of whole words.
    """
    if word_ids is None:
        words = torch.arange(num_words, device=lengths.device).expand(len(lengths), -1)
        return words, torch.ones_like(words)
    if not subwords:
        raise ValueError("word_ids say which pieces make up a word: that needs a model whose config has subwords=True.")
    check_word_ids(word_ids, input_ids.shape, lengths, look=True)
    counts = lengths.new_zeros(len(lengths), num_words)
    counts = counts.scatter_add(1, word_ids.clamp(min=0).long(), (word_ids >= 0).long())
    return counts.cumsum(1) - counts, counts
