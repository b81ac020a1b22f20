"""An LSTM layer whose frozen weights cost nothing in the backward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.amp import custom_bwd, custom_fwd
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

LSTMState = tuple[torch.Tensor, torch.Tensor]


class LSTM(nn.LSTM):
    """`nn.LSTM` of one layer and one direction, batch first, which computes no gradient of frozen weights on a CPU either.

    torch's kernel for CPUs always computes the gradients of all weights, half of its backward pass, and where they are frozen
    nobody gets them. (The kernel for GPUs leaves them out.) So where inputs or state take a gradient and no weight does, as
    in the inner steps of aggressive training, `_FrozenLSTM` takes its place.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)

    def forward(
        self,
        inputs: torch.Tensor | PackedSequence,
        state: LSTMState | None = None,
        condition: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | PackedSequence, LSTMState]:
        """Outputs (B, T, H) and the last state, (1, B, H) each.

        Args:
            inputs: (B, T, I), or packed, then without a condition.
            condition: (B, 1 or T, C), concatenated to the inputs; I + C is the input size. Given by itself, because it may
                take a gradient where the inputs, embeddings of frozen words, take none.
        """
        if isinstance(inputs, PackedSequence) or not self._only_inputs_take_gradients(inputs, state, condition):
            return super().forward(inputs if condition is None else with_condition(inputs, condition), state)
        batch = len(inputs)
        if condition is None:
            condition = inputs.new_empty(batch, 1, 0)
        if state is None:
            state = inputs.new_zeros(2, batch, self.hidden_size)
        hidden, cell = (part.reshape(batch, self.hidden_size) for part in state)
        bias = self.bias_ih_l0 + self.bias_hh_l0
        outputs, cell = _frozen_lstm(inputs, condition, hidden, cell, self.weight_ih_l0, self.weight_hh_l0, bias)
        return outputs.transpose(0, 1), (outputs[-1].unsqueeze(0), cell.unsqueeze(0))

    def _only_inputs_take_gradients(
        self, inputs: torch.Tensor, state: LSTMState | None, condition: torch.Tensor | None
    ) -> bool:
        given = [part for part in (inputs, condition, *(state or ())) if part is not None]
        return (
            torch.is_grad_enabled()
            and any(part.requires_grad for part in given)
            and not any(weight.requires_grad for weight in self.parameters())
            and all(part.device.type == "cpu" and part.dtype in (torch.float32, torch.float64) for part in given)
            and not torch.is_autocast_enabled("cpu")
        )


def with_condition(inputs: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Inputs (B, T, I) with the condition (B, 1 or T, C) beside each: (B, T, I + C)."""
    return torch.cat([inputs, condition.expand(-1, inputs.shape[1], -1)], dim=-1)


@torch.compiler.disable(reason="torch.compile leaves out torch's own LSTM too")
def _frozen_lstm(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _FrozenLSTM.apply(*tensors)


class _FrozenLSTM(torch.autograd.Function):
    """Outputs (T, B, H) and the last cell state (B, H) of an LSTM whose weights get no gradient.

    Its inputs are the words (B, T, I), the condition (B, 1 or T, C), the first hidden and cell state, (B, H) each, and the
    weights of torch, with one bias: (4H, I + C), (4H, H) and (4H,), in the order input gate, forget gate, cell, output gate.
    """

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        condition: torch.Tensor,
        hidden: torch.Tensor,
        cell: torch.Tensor,
        weight: torch.Tensor,
        recurrent: torch.Tensor,
        bias: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        given = inputs, condition, hidden, cell, weight, recurrent, bias
        by_input, by_condition = weight.split([inputs.shape[-1], condition.shape[-1]], dim=1)
        gates = _product(inputs.transpose(0, 1), _fastest(by_input))
        gates += _product(condition.transpose(0, 1), by_condition) + bias
        outputs, cells, squashed = (inputs.new_empty(len(gates), *hidden.shape) for _ in range(3))
        by_hidden = _fastest(recurrent)
        for place, step in enumerate(gates):
            step += _product(hidden, by_hidden)
            i, f, g, o = step.chunk(4, dim=-1)
            for gate in (i, f, o):
                gate.sigmoid_()
            cell = torch.mul(f, cell, out=cells[place]).addcmul_(i, g.tanh_())
            hidden = torch.mul(o, torch.tanh(cell, out=squashed[place]), out=outputs[place])
        ctx.save_for_backward(*given, gates, cells, squashed)
        return outputs, cell.clone()

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, of_outputs: torch.Tensor, of_cell: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *given, gates, cells, squashed = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable_gradients(given, (of_outputs, of_cell)), None, None, None
        inputs, condition, _, first_cell, weight, recurrent, _ = given
        i, f, g, o = gates.chunk(4, dim=-1)
        cells_before = torch.cat([first_cell.unsqueeze(0), cells[:-1]])
        sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        # What a gate before its activation changes in its cell, the output gate in its output. In the loop this is multiplied
        # by the gradient of that cell or output, and so becomes the gradient of the gate before its activation.
        changes = torch.stack(
            [sigmoid_backward(g, i), sigmoid_backward(cells_before, f), tanh_backward(i, g), sigmoid_backward(squashed, o)],
            dim=2,
        )
        output_by_cell = tanh_backward(o, squashed)
        by_gates = _fastest(recurrent.t())
        of_hidden, of_cell = of_outputs[-1], of_cell.clone()
        for place in reversed(range(len(gates))):
            of_cell.addcmul_(of_hidden, output_by_cell[place])
            changes[place, :, :3].mul_(of_cell.unsqueeze(1))
            changes[place, :, 3].mul_(of_hidden)
            of_cell.mul_(f[place])
            of_hidden = _product(changes[place].flatten(1), by_gates)
            if place:
                of_hidden += of_outputs[place - 1]
        of_gates = changes.flatten(2)
        by_input, by_condition = weight.t().split([inputs.shape[-1], condition.shape[-1]])
        of_inputs = of_condition = None
        if ctx.needs_input_grad[0]:
            of_inputs = _product(of_gates, _fastest(by_input)).transpose(0, 1)
        if ctx.needs_input_grad[1]:
            if condition.shape[1] == 1:
                of_gates = of_gates.sum(0, keepdim=True)
            of_condition = _product(of_gates, by_condition).transpose(0, 1)
        return of_inputs, of_condition, of_hidden, of_cell, None, None, None


def _differentiable_gradients(
    given: Sequence[torch.Tensor], gradients: tuple[torch.Tensor, torch.Tensor]
) -> list[torch.Tensor | None]:
    """The gradients of `_FrozenLSTM` where they are differentiated again (a posterior refined by gradients)."""
    # Views, because one of the four may be a function of another one, whose gradient is then not to pass through it.
    taken = [part.view_as(part) for part in given[:4]]
    inputs, condition, hidden, cell = taken
    weight, recurrent, bias = (part.detach() for part in given[4:])
    outputs = []
    for step in functional.linear(with_condition(inputs, condition), weight, bias).unbind(1):
        i, f, g, o = (step + functional.linear(hidden, recurrent)).chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    found = torch.autograd.grad(
        (torch.stack(outputs), cell), [part for part in taken if part.requires_grad], gradients, create_graph=True
    )
    found = iter(found)
    return [next(found) if part.requires_grad else None for part in taken]


def _fastest(weight: torch.Tensor) -> torch.Tensor:
    """The weight in the layout with which `_product` is fastest.

    It is that of oneDNN, as in torch's own LSTM. Other matrices are multiplied by MKL, which takes twice the time on
    processors of AMD.
    """
    if weight.dtype == torch.float32 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled:
        return weight.contiguous().to_mkldnn()
    return weight


def _product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Rows (..., I) times the transpose of a weight (O, I): (..., O)."""
    rows = rows.contiguous()  # or torch would multiply them one by one
    if weight.is_mkldnn:
        return functional.linear(rows.to_mkldnn(), weight).to_dense()
    return functional.linear(rows, weight)
