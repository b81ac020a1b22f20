"""The compression whose words agree best, in expectation, with those of a compression drawn from a distribution."""

import torch


def expected_f1_masks(
    marginals: torch.Tensor, lengths: torch.Tensor, counts: torch.Tensor | None = None, fewest: int = 1
) -> torch.Tensor:
    """The words (B, n) bool whose token F1 against a compression drawn from the distribution is largest in expectation.

    With m_i the probability that word i is kept, k words have an F1 of about 2 sum m_i / (k + sum of all m_j), the ratio of
    the expectations of both sides; for each k the best are the k most probable words. The most probable compression is often
    shorter: words that many compressions share, each of them improbable, are not in it (Lewis 1995, "Evaluating and optimizing
    autonomous text classification systems", has the decision theory).

    Args:
        marginals: (B, n), the probability that each word is kept; anything past a length.
        lengths: (B,).
        counts: (B,), keep so many; None for any number.
        fewest: 0 where nothing may be kept, which is best only where no word has any probability.
    """
    places = torch.arange(marginals.shape[-1], device=marginals.device)
    inside = places < lengths.unsqueeze(-1)
    marginals = marginals.masked_fill(~inside, -1.0)
    ordered, order = marginals.sort(dim=-1, descending=True, stable=True)
    rank = order.argsort(-1)
    if counts is None:
        agreement = ordered.clamp(min=0).cumsum(-1)
        size = places + 1 + agreement[..., -1:]
        score = (2 * agreement / size).masked_fill(places >= lengths.unsqueeze(-1), -torch.inf)
        counts = score.argmax(-1) + 1
        if fewest == 0:
            counts = torch.where(ordered[..., 0] <= 0, 0, counts)
    return (rank < counts.unsqueeze(-1)) & inside
