"""Input feeding (Luong et al. 2015, section 3.3): each attentional vector is read beside the next word, so step by step."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.lstm import LSTM, LSTMState
from hf_lvm.backbones.lstm_decoder.source_attention import SourceAttention, SourceStates


def run_with_feeding(
    layers: Sequence[LSTM],
    attention: SourceAttention,
    dropout: Dropout,
    inputs: torch.Tensor,
    states: Sequence[LSTMState | None],
    fed: torch.Tensor,
    source: SourceStates | None,
    lengths: torch.Tensor | None,
) -> tuple[list[torch.Tensor], torch.Tensor | None, tuple[torch.Tensor, ...]]:
    """Run all layers over inputs (B, T, I), in the precision of their weights.

    Args:
        states: (h, c) of each layer before the first step, (1, B, H) each; None for zeros.
        fed: (B, H), the attentional vector before the first step.
        lengths: (B,), words of each row, which stand before its padding; None where nothing is padded.

    Returns:
        The outputs (B, T, H) of all layers but the last, and behind them the attentional vectors (B, T, H) after dropout; the
        weights (B, T, S), None without a source; and h and c of each layer and the attentional vector, (B, H) each, after the
        last word of each row.
    """
    dtype = layers[0].weight_ih_l0.dtype
    zeros = torch.zeros_like(fed)
    flat = [part.squeeze(0) for state in states for part in state or (zeros.unsqueeze(0),) * 2]
    with torch.autocast(inputs.device.type, enabled=False):
        steps, weights = _run(layers, attention, dropout, inputs.to(dtype), [part.to(dtype) for part in (*flat, fed)], source)
        sequences = [torch.stack(parts, dim=1) for parts in zip(*steps, strict=True)]
        last = steps[-1]
        if lengths is not None:
            rows = torch.arange(len(inputs), device=inputs.device)
            last = [sequence[rows, lengths.to(rows.device) - 1] for sequence in sequences]
        weights = source.without_padding(torch.cat(weights, dim=1)) if weights else None
    return [*sequences[:-3:2], sequences[-1]], weights, tuple(last)


def _run(
    layers: Sequence[LSTM],
    attention: SourceAttention,
    dropout: Dropout,
    inputs: torch.Tensor,
    states: list[torch.Tensor],
    source: SourceStates | None,
) -> tuple[list[list[torch.Tensor]], list[torch.Tensor]]:
    """h and c of each layer and the attentional vector after each step, (B, H) each, and the weights (B, 1, S) at each.

    Products that wait for no step are taken out of the loop: those of the words, and those of the source.

    Args:
        states: the same before the first step.
    """
    first, by_hidden = layers[0], attention.by_hidden.t()
    by_words, by_fed = first.weight_ih_l0.split([inputs.shape[-1], first.hidden_size], dim=1)
    of_words = functional.linear(inputs.transpose(0, 1), by_words, first.bias_ih_l0 + first.bias_hh_l0)
    # One product a step and layer, of what the layer reads and what it remembers beside each other.
    recurrent = [torch.cat([by_fed, first.weight_hh_l0], dim=1).t()]
    recurrent += [torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], dim=1).t() for layer in layers[1:]]
    biases = [layer.bias_ih_l0 + layer.bias_hh_l0 for layer in layers[1:]]
    if source is not None:
        keys = (source.states @ attention.query.weight).mT
        values = functional.linear(source.states, attention.by_context)
    steps, all_weights = [], []
    for words in of_words.unbind(0):
        *parts, below = states
        states = []
        for weight, bias, hidden, cell in zip(recurrent, [words, *biases], parts[::2], parts[1::2], strict=True):
            if states:
                below = dropout(states[-2])
            states += _cell(torch.addmm(bias, torch.cat([below, hidden], dim=1), weight), cell)
        hidden = states[-2]
        attentional = hidden @ by_hidden
        if source is not None:
            weights = torch.baddbmm(source.bias, hidden.unsqueeze(1), keys).softmax(-1)
            attentional = torch.baddbmm(attentional.unsqueeze(1), weights, values).squeeze(1)
            all_weights.append(weights)
        states.append(dropout(attentional.tanh()))
        steps.append(states)
    return steps, all_weights


def _cell(gates: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """h and c after a step, from the gates (B, 4H) before their activations, in the order of torch."""
    # All four at once, though the third is not needed: one call for a slice of the whole.
    i, f, _, o = gates.sigmoid().chunk(4, dim=1)
    cell = torch.addcmul(f * cell, i, gates.chunk(4, dim=1)[2].tanh())
    return o * cell.tanh(), cell
