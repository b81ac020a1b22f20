"""What both LSTM backbones share: how one is run, and how one begins."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from transformers import initialization as init

from hf_lvm.backbones.lstm import LSTM, LSTMState


def run_lstm(
    lstm: LSTM,
    inputs: torch.Tensor | PackedSequence,
    state: LSTMState | None = None,
    condition: torch.Tensor | None = None,
) -> tuple[torch.Tensor | PackedSequence, LSTMState]:
    """Outputs (B, T, H), packed where the inputs are, and the last state of one layer, in the precision of its weights.

    Not in that of autocast: a cell state that is rounded to 8 bits at every step forgets what small updates would tell it.
    """
    dtype, device = lstm.weight_ih_l0.dtype, lstm.weight_ih_l0.device
    with torch.autocast(device.type, enabled=False), _differentiable(lstm, device):
        return lstm(
            inputs.to(dtype),
            None if state is None else tuple(part.to(dtype) for part in state),
            None if condition is None else condition.to(dtype),
        )


def _differentiable(lstm: nn.LSTM, device: torch.device) -> AbstractContextManager:
    """cuDNN has no backward pass in evaluation mode, where a posterior may be refined by gradients."""
    cudnn = torch.backends.cudnn
    if device.type != "cuda" or lstm.training or not torch.is_grad_enabled():
        return nullcontext()
    return cudnn.flags(
        enabled=False, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=cudnn.allow_tf32
    )


def initialize_recurrent(module: nn.Module, weight_range: float, embedding_range: float) -> None:
    """Uniform weights, as text VAEs with LSTMs have had since He et al. (2019)."""
    if isinstance(module, nn.Embedding):
        init.uniform_(module.weight, -embedding_range, embedding_range)
    elif isinstance(module, (nn.LSTM, nn.Linear)):
        for parameter in module.parameters(recurse=False):
            init.uniform_(parameter, -weight_range, weight_range)
