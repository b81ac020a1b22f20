"""Which masks of kept words are canonical, and the pairs of consecutive kept words that they are made of.

Where a word repeats, different masks leave the same words. The canonical one among them keeps the leftmost: no word that was
dropped between two kept ones, or before the first, is the same as the kept one that follows it. What was dropped after the
last may be anything. So whether a mask is canonical is decided pair by pair, and every compression has exactly one such mask.

Pairs stand in squares (B, S+1, S+1) as [row, from, to]: from 0 is the begin, and from i > 0 the word at i - 1; to j < S is the
word at j, and to S the end, for rows of any length. From 0 to S leads the empty mask. A place to come from is called a node.
"""

import torch


def allowed_pairs(
    batch: int,
    length: int,
    words: torch.Tensor | None,
    lengths: torch.Tensor | None,
    allow_empty: bool,
    device: torch.device,
) -> torch.Tensor:
    """Whether a pair can be in a canonical mask: (B, S+1, S+1), or (1, S+1, S+1) where all rows are alike.

    Args:
        words: (B, S), the same number for the same word; None where all words differ.
        lengths: (B,); None where all are S.
        allow_empty: whether the end may follow the begin.
    """
    nodes, positions = torch.arange(length + 1, device=device), torch.arange(length, device=device)
    to_word = nodes.unsqueeze(-1) <= positions
    to_end = torch.ones_like(nodes, dtype=torch.bool)
    to_end[0] = allow_empty
    to_word, to_end = to_word.unsqueeze(0), to_end.unsqueeze(0)
    if words is not None:
        to_word = to_word & (nodes.unsqueeze(-1) > _last_occurrence(words).unsqueeze(1))
    if lengths is not None:
        to_word = to_word & (positions < lengths.unsqueeze(-1)).unsqueeze(1)
        to_end = to_end & (nodes <= lengths.unsqueeze(-1))
    rows = max(len(to_word), len(to_end))
    return torch.cat([to_word.expand(rows, -1, -1), to_end.unsqueeze(-1).expand(rows, -1, -1)], dim=-1)


def _last_occurrence(words: torch.Tensor) -> torch.Tensor:
    """The last earlier position of the same word, -1 for none: (B, S)."""
    positions = torch.arange(words.shape[-1], device=words.device)
    earlier = (words.unsqueeze(-1) == words.unsqueeze(-2)) & (positions < positions.unsqueeze(-1))
    return torch.where(earlier, positions, -1).amax(-1)


def scores_of_pairs(scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The scores (B, S+1, S+1) of the pairs of masks (..., B, S), each where it leads to, 0 elsewhere: (..., B, S+1)."""
    length = masks.shape[-1]
    nodes = torch.arange(1, length + 1, device=masks.device)
    last_kept = torch.where(masks, nodes, 0).cummax(-1).values
    came_from = torch.nn.functional.pad(last_kept, (1, 0))
    rows = torch.arange(len(scores), device=masks.device).unsqueeze(-1)
    columns = torch.arange(length + 1, device=masks.device)
    reached = torch.nn.functional.pad(masks, (0, 1), value=True)
    return scores[rows, came_from, columns].masked_fill(~reached, 0.0)


def canonical_masks(masks: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """The canonical masks of the same compressions: of masks (..., B, S) over words (B, S).

    From left to right, a word is kept where it is the next of the compression.
    """
    count = masks.sum(-1)
    kept_first = (~masks).to(torch.uint8).argsort(dim=-1, stable=True)
    words = words.expand_as(kept_first)
    compression, found, kept = words.gather(-1, kept_first), torch.zeros_like(count), []
    for position in range(masks.shape[-1]):
        # Once all are found, `found` may point behind the last position.
        wanted = compression.gather(-1, found.clamp(max=masks.shape[-1] - 1).unsqueeze(-1)).squeeze(-1)
        kept.append((wanted == words[..., position]) & (found < count))
        found = found + kept[-1]
    return torch.stack(kept, dim=-1)
