"""The gradients of q(z|x) clipped by a norm of their own."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hf_lvm.training.parameter_parts import trainable_parameters


class EncoderClipping:
    """Clips the gradients of the encoder and those of all other parameters apart from each other.

    Clipped together, the larger of the two decides how far both go: where an estimator gives q(z|x) a gradient of large
    variance, the words would wait for it (Kim et al. 2019 clip q to 1 and all the rest to 5).

    Args:
        model: names its part "encoder", see `hf_lvm.training.parameter_parts`.
        max_norm: the encoder's gradients are clipped to this norm; 0 means not at all.
    """

    def __init__(self, model: nn.Module, max_norm: float) -> None:
        self._encoder = trainable_parameters(model, "encoder")
        own = {id(parameter) for parameter in self._encoder}
        self._others = [parameter for parameter in model.parameters() if id(parameter) not in own]
        self._max_norm = max_norm or math.inf
        self._last_norm: Tensor | None = None

    def clip_others(self, accelerator: Accelerator, max_norm: float) -> Tensor:
        """Clip the gradients of all parameters but the encoder's; returns the norm that they had.

        It comes first: accelerate takes the scale of float16 off the gradients of all parameters here, once a step.
        """
        return accelerator.clip_grad_norm_(self._others, max_norm)

    def clip_encoder(self, norm_of_others: Tensor) -> Tensor:
        """Clip the gradients of the encoder; returns the norm that all gradients of the model had together."""
        if all(parameter.grad is None for parameter in self._encoder):  # a step that does not train it
            return norm_of_others
        self._last_norm = nn.utils.clip_grad_norm_(self._encoder, self._max_norm)
        return torch.stack([norm_of_others.to(self._last_norm), self._last_norm]).norm()

    def last_norm(self) -> dict[str, float]:
        """For the log: the norm at the last step that trained the encoder; empty when there was none since the last call."""
        norm, self._last_norm = self._last_norm, None
        return {} if norm is None else {"encoder_grad_norm": norm.item()}
