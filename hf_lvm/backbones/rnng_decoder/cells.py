"""The two cells of a recurrent neural network grammar.

Under autocast their products alone are of few bits: a cell state rounded to 8 bits at every step forgets what small updates
would tell it.
"""

import torch
from torch import nn

State = tuple[torch.Tensor, torch.Tensor]


class TreeCell(nn.Module):
    """The TreeLSTM of binary trees (Tai et al. 2015, section 3.2; Kim et al. 2019, equation 3).

    Args:
        size: H.
    """

    def __init__(self, size: int):
        super().__init__()
        self.gates = nn.Linear(2 * size, 5 * size)

    def forward(self, left: torch.Tensor, left_cell: torch.Tensor, right: torch.Tensor, right_cell: torch.Tensor) -> State:
        """What two parts make up, hidden and cell state: (N, H) each from four tensors (N, H)."""
        gates = at_least_float32(self.gates(torch.cat([left, right], dim=-1)))
        i, of_left, of_right, o, g = gates.chunk(5, dim=-1)
        cell = of_left.sigmoid() * left_cell + of_right.sigmoid() * right_cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


class StackCell(nn.Module):
    """An LSTM cell whose inputs are multiplied by themselves, once for all, before its states are known.

    Args:
        size: H.
    """

    def __init__(self, size: int):
        super().__init__()
        self.input = nn.Linear(size, 4 * size)
        self.recurrent = nn.Linear(size, 4 * size, bias=False)

    def forward(self, gates: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor) -> State:
        """The next state, (N, H) each, from `self.input` of the inputs, (N, 4H), and the state before them."""
        i, f, o, g = at_least_float32(gates + self.recurrent(hidden)).chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Values in float32, or in their own dtype if that is wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
