"""Layers of several runs against torch's own, one run at a time."""

import pytest
import torch
from torch import nn

from hf_lvm.layers.parallel_runs import ParallelLinear, ParallelLSTMCell

RUNS, INPUTS, HIDDEN = 3, 4, 5


@pytest.fixture
def cell() -> ParallelLSTMCell:
    cell = ParallelLSTMCell(RUNS, INPUTS, HIDDEN).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    return cell


def torch_cell(cell: ParallelLSTMCell, run: int) -> nn.LSTMCell:
    """The cell of one run; torch has the gates in the order i, f, g, o."""
    order = torch.arange(4 * HIDDEN).view(4, HIDDEN)[[0, 1, 3, 2]].flatten()
    own = nn.LSTMCell(INPUTS, HIDDEN).double()
    own.weight_ih.data = cell.by_input.weight[run].T[order].detach()
    own.weight_hh.data = cell.by_hidden.weight[run].T[order].detach()
    own.bias_ih.data = cell.by_input.bias[run][order].detach()
    own.bias_hh.data.zero_()
    return own


def test_each_run_is_an_lstm_of_its_own(cell):
    first, second = torch.randn(2, RUNS, INPUTS, 7, dtype=torch.double)
    state = cell(cell.gates_of(second), cell(cell.gates_of(first)))
    for run in range(RUNS):
        own = torch_cell(cell, run)
        expected = own(second[run].T, own(first[run].T))
        for part, other in zip(state, expected, strict=True):
            torch.testing.assert_close(part[run].T, other)


def test_the_states_after_each_input_are_those_after_one_at_a_time(cell):
    state = cell(cell.gates_of(torch.randn(RUNS, INPUTS, 2, 6, dtype=torch.double)))
    gates = cell.gates_of(torch.randn(RUNS, INPUTS, 3, dtype=torch.double))
    grown = cell.after_each(gates, state)
    for number, own in enumerate(gates.unbind(-1)):
        one = cell(own[..., None, None].expand(-1, -1, 2, 6), state)
        for part, other in zip(grown, one, strict=True):
            torch.testing.assert_close(part[:, :, 2 * number : 2 * number + 2], other)


def test_a_linear_layer_multiplies_the_features_of_every_position():
    layer = ParallelLinear(RUNS, INPUTS, 2)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    inputs = torch.randn(RUNS, INPUTS, 5, 6)
    expected = torch.einsum("rio,rixy->roxy", layer.weight, inputs) + layer.bias[..., None, None]
    torch.testing.assert_close(layer(inputs), expected)
