"""How long a sequence is: a table of probabilities for short ones, and a geometric tail for all others."""

import torch
from torch import nn
from torch.nn import functional


class LengthTable(nn.Module):
    """p(length): `size` lengths from `fewest` on have a cell each, and all longer ones share the last, ever less of it each.

    The probabilities of all lengths sum to one, so that nothing is cut off. Uniform over the cells at first.

    Args:
        size: lengths with a cell of their own.
        fewest: the shortest length, 0 or more.
    """

    def __init__(self, size: int, fewest: int = 1):
        super().__init__()
        self.size, self.fewest = size, fewest
        self.scores = nn.Parameter(torch.zeros(size + 1))
        self.stop = nn.Parameter(torch.zeros(()))

    def forward(self, most: int) -> torch.Tensor:
        """log p(length) of 0 to `most`: (most + 1,), nats; -inf below `fewest`."""
        lengths = torch.arange(most + 1, device=self.scores.device)
        cells = (lengths - self.fewest).clamp(0, self.size)
        beyond = (lengths - self.fewest - self.size).clamp(min=0)
        tail = functional.logsigmoid(self.stop) + beyond * functional.logsigmoid(-self.stop)
        log_probs = self.scores.log_softmax(0)[cells] + torch.where(cells == self.size, tail, 0.0)
        return log_probs.masked_fill(lengths < self.fewest, -torch.inf)

    @torch.no_grad()
    def fit(self, lengths: torch.Tensor) -> None:
        """Take the shares of lengths (N,), one of each cell added.

        Raises:
            ValueError: none, or lengths below `fewest`.
        """
        if not len(lengths):
            raise ValueError("There are no lengths to learn from: give one at least.")
        if (lengths < self.fewest).any():
            raise ValueError(f"The shortest length is {int(lengths.min())}, and {self.fewest} is the least that can be.")
        cells = (lengths.to(self.scores.device) - self.fewest).long()
        counts = cells.clamp(max=self.size).bincount(minlength=self.size + 1) + 1
        self.scores.copy_(counts.log())
        # Of a geometric tail the most likely: one stop a sequence, among all its steps; one of two steps added.
        beyond = (cells - self.size)[cells >= self.size]
        stops = torch.tensor(len(beyond) + 1.0)
        self.stop.copy_((stops / (stops + beyond.sum() + 1)).logit())
