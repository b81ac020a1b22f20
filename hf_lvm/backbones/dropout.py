"""Dropout whose mask costs little on a CPU."""

import torch
from torch import nn


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a CPU the mask comes from uniform numbers, which torch draws four times as fast as Bernoulli ones.

    Each element is zero with probability p and otherwise divided by 1 - p, independently of all others.
    """

    @property
    def is_active(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.p > 0.0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.is_active or inputs.device.type != "cpu":
            return super().forward(inputs)
        # Uniform numbers of fewer bits would not have the probability asked for.
        kept = torch.rand(inputs.shape, dtype=torch.float32) >= self.p
        return inputs * kept.to(inputs.dtype).div_(1.0 - self.p)
