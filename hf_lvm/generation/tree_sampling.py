"""Sentences with their trees by ancestral sampling, from any `StepwiseGrammar`."""

from dataclasses import dataclass

import torch

from hf_lvm.distributions.inversion import drawn_by_inversion
from hf_lvm.distributions.noise import Generators, generators_of_rows, uniform_noise
from hf_lvm.grammars.shift_reduce import Action, NextStep, StepwiseGrammar, trees_of_reduces

# An untrained model of sub-words could continue a word for ever.
MOST_PIECES_A_WORD = 8
STOPPED = -1


@dataclass(frozen=True)
class SampledTrees:
    """B sentences with their trees, of at most n words and S pieces.

    Attributes:
        pieces: (B, S), without the end of the sentence; 0 past it. They are the words where every word is one piece.
        word_ids: (B, S), the word that each piece belongs to, -1 past the end.
        lengths: (B,), in words.
        spans: (B, n, n) bool, the spans of the trees over words, as `BinaryTreeCRF` has them.
        finished: (B,), whether the sentence came to its end; otherwise it was cut, and its spans are those of several trees.
    """

    pieces: torch.Tensor
    word_ids: torch.Tensor
    lengths: torch.Tensor
    spans: torch.Tensor
    finished: torch.Tensor


@torch.no_grad()
def sample_trees(
    decoder: StepwiseGrammar,
    count: int,
    max_words: int = 100,
    generator: Generators = None,
    *,
    max_pieces: int | None = None,
) -> SampledTrees:
    """B sentences with their trees, from the model as it is: in evaluation mode without dropout.

    Args:
        count: B.
        max_words: longer sentences are cut there, and their `finished` is False.
        generator: None for torch's own, one of all rows, or a list of B, one a row, which makes a row's sample independent of
            the others.
        max_pieces: sentences of more pieces are cut too; 8 for each of `max_words` if it is None.

    Raises:
        ValueError: nothing to be drawn, or a list of generators whose length is not B.
    """
    if min(count, max_words, 1 if max_pieces is None else max_pieces) < 1:
        raise ValueError(f"count {count}, max_words {max_words} and max_pieces {max_pieces} must be at least 1.")
    max_pieces = max_words * MOST_PIECES_A_WORD if max_pieces is None else max_pieces
    state = decoder.begin(count)
    device = state.size.device
    rows = torch.arange(count, device=device)
    num_words, num_pieces = (torch.zeros(count, dtype=torch.long, device=device) for _ in range(2))
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    steps = []
    while len(rows):
        actions, pieces = draw_step(decoder.next_step(state), generators_of_rows(generator, rows, count))
        shifts, reduces = actions == Action.SHIFT, actions == Action.REDUCE
        ends = shifts & (pieces == decoder.config.eos_token_id)
        finished[rows[ends]] = True
        cut = ~reduces & (num_pieces[rows] >= max_pieces) | shifts & (num_words[rows] >= max_words)
        stays = (~ends & ~cut).nonzero().squeeze(1)
        if len(stays) < len(rows):
            rows, actions, pieces, state = rows[stays], actions[stays], pieces[stays], state.select(stays)
        num_words[rows] += actions == Action.SHIFT
        num_pieces[rows] += actions != Action.REDUCE
        steps.append(
            (
                torch.full_like(num_words, STOPPED).index_put((rows,), actions),
                torch.zeros_like(num_words).index_put((rows,), pieces),
            )
        )
        if len(rows):
            state = decoder.advance(state, actions, pieces)
    return _written(*(torch.stack(each, dim=1) for each in zip(*steps, strict=True)), finished)


def draw_step(step: NextStep, generator: Generators = None) -> tuple[torch.Tensor, torch.Tensor]:
    """One of all that may come next: actions and pieces, (B,) each; the piece of a REDUCE means nothing."""
    vocabulary = step.shifts.shape[1]
    options = [step.reduces.unsqueeze(1), step.shifts, *([] if step.continues is None else [step.continues])]
    log_probs = torch.cat(options, dim=1)
    noise = uniform_noise((), len(log_probs), (), generator=generator, device=log_probs.device, dtype=torch.float64)
    choice = drawn_by_inversion(log_probs, noise)
    actions = torch.where(choice > vocabulary, Action.CONTINUE, torch.where(choice > 0, Action.SHIFT, Action.REDUCE))
    return actions, (choice - 1) % vocabulary


def _written(actions: torch.Tensor, pieces: torch.Tensor, finished: torch.Tensor) -> SampledTrees:
    """The sentences and trees of all steps, (B, T) both, that were taken."""
    word = (actions == Action.SHIFT).cumsum(1) - 1
    is_piece = (actions == Action.SHIFT) | (actions == Action.CONTINUE)
    lengths, num_pieces = word[:, -1] + 1, is_piece.sum(1)
    # The last column takes what is no piece and no REDUCE.
    longest, most = int(lengths.max()), int(num_pieces.max())
    place = torch.where(is_piece, is_piece.cumsum(1) - 1, most)
    written = pieces.new_zeros(len(pieces), most + 1).scatter(1, place, pieces)[:, :most]
    word_ids = pieces.new_full((len(pieces), most + 1), -1).scatter(1, place, word)[:, :most]
    is_reduce = actions == Action.REDUCE
    reduces = lengths.new_zeros(len(lengths), longest).scatter_add(1, word.clamp(min=0), is_reduce.long())
    return SampledTrees(written, word_ids, lengths, trees_of_reduces(reduces, lengths), finished)
