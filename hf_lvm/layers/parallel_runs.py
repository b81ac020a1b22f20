"""Layers of R independent copies: each run of an experiment has weights of its own, and all runs are one tensor program.

Features stand before positions, (R, features, *positions): the activations of a gate are then one block of memory, and what
runs and positions have in common is a product of matrices for each run. No copy ever sees another one, so a run computes, and
gets as its gradient, what it would alone.
"""

import torch
from torch import nn

LSTMState = tuple[torch.Tensor, torch.Tensor]


class ParallelLinear(nn.Module):
    """R linear layers: y_r = W_r^T x_r + b_r.

    Args:
        num_runs: R.
        in_size, out_size: features of x and y. The weights are (R, in_size, out_size), the biases (R, out_size).
        bias: whether there are biases.
    """

    def __init__(self, num_runs: int, in_size: int, out_size: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_runs, in_size, out_size))
        self.bias = nn.Parameter(torch.zeros(num_runs, out_size)) if bias else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(R, in_size, *positions) to (R, out_size, *positions)."""
        flat = inputs.flatten(2)
        if self.bias is None:
            outputs = torch.bmm(self.weight.mT, flat)
        else:
            outputs = torch.baddbmm(self.bias.unsqueeze(-1), self.weight.mT, flat)
        return outputs.view(*outputs.shape[:2], *inputs.shape[2:])


class ParallelLSTMCell(nn.Module):
    """R cells of a long short-term memory, with one bias, which is what the usual two come to.

    Args:
        num_runs: R.
        input_size, hidden_size: of the inputs and of the state, H.
        recurrent: whether there is ever a state before; a cell that always begins from zero needs no weights for it.
    """

    def __init__(self, num_runs: int, input_size: int, hidden_size: int, recurrent: bool = True) -> None:
        super().__init__()
        self.by_input = ParallelLinear(num_runs, input_size, 4 * hidden_size)
        self.by_hidden = ParallelLinear(num_runs, hidden_size, 4 * hidden_size, bias=False) if recurrent else None

    def gates_of(self, inputs: torch.Tensor) -> torch.Tensor:
        """What inputs (R, I, *positions) add to the gates before their activation, the bias included: (R, 4H, *positions)."""
        return self.by_input(inputs)

    def forward(self, gates: torch.Tensor, state: LSTMState | None = None) -> LSTMState:
        """The state after inputs whose `gates_of` is `gates` (R, 4H, *positions); without a state before them, from zero."""
        if state is None:
            return update_state(gates)
        hidden, cell = state
        return update_state(gates + self.by_hidden(hidden), cell)

    def after_each(self, gates: torch.Tensor, state: LSTMState) -> LSTMState:
        """The states after each of V inputs that may come next, where the matrix of each state is multiplied once.

        Args:
            gates: (R, 4H, V), `gates_of` the inputs; or (R, 4H, V, S or 1, C) where they differ by what came before.
            state: (R, H, S, C), of S histories in each of C contexts.

        Returns:
            (R, H, V * S, C): history s followed by input v has the index v * S + s.
        """
        hidden, cell = state
        if gates.dim() == 3:
            gates = gates[..., None, None]
        # What came last varies slowest, so that sums over it in the backward pass run along whole blocks.
        grown = update_state(gates + self.by_hidden(hidden).unsqueeze(2), cell.unsqueeze(2))
        return tuple(part.flatten(2, 3) for part in grown)


def update_state(gates: torch.Tensor, cell: torch.Tensor | None = None) -> LSTMState:
    """Hidden and cell state, (R, H, *positions) each, of an LSTM (Hochreiter and Schmidhuber 1997, with a forget gate).

    c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c')

    Args:
        gates: (R, 4H, *positions), before their activations: i, f, o and g one after the other.
        cell: c, broadcasting to (R, H, *positions); zero where it is None.
    """
    enters, stays, leaves, candidate = gates.chunk(4, dim=1)
    new_cell = enters.sigmoid() * candidate.tanh()
    if cell is not None:
        new_cell = new_cell + stays.sigmoid() * cell
    return leaves.sigmoid() * new_cell.tanh(), new_cell
