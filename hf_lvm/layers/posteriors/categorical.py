"""The posterior of a vector of categories, and what the decoder is told of a value."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init

from hf_lvm.distributions import CategoricalVector, count_classes
from hf_lvm.layers.precision import linear_at_least_float32


class CategoricalPosterior(nn.Module):
    """q(z|x) = product over m of Categorical(z_m | x): one linear map of the pooled encoding, a softmax for each variable.

    The decoder is told a value by its corners of the simplex side by side; what it makes of a class is its own affair, a
    column of each injection.

    Args:
        hidden_size: H, size of the pooled encoding.
        num_variables: M.
        num_classes: C of each variable, or a number for each; C is then the largest.
    """

    latent_space: ClassVar[str] = "categories"
    config_options: ClassVar[dict[str, str]] = {}

    def __init__(self, hidden_size: int, num_variables: int, num_classes: int | Sequence[int]):
        super().__init__()
        self.class_counts = count_classes(num_variables, num_classes)
        self.num_classes = max(self.class_counts)
        self.logits = nn.Linear(hidden_size, num_variables * self.num_classes)

    @staticmethod
    def vector_size(num_variables: int, num_classes: int | Sequence[int], code_size: int) -> int:
        """Size of what `vectors` returns: M C."""
        return num_variables * max(count_classes(num_variables, num_classes))

    def forward(self, pooled: torch.Tensor) -> CategoricalVector:
        """pooled (B, H) -> a distribution over (B, M)."""
        logits = linear_at_least_float32(self.logits, pooled).unflatten(-1, (-1, self.num_classes))
        return CategoricalVector(logits, self.class_counts)

    def vectors(self, points: torch.Tensor) -> torch.Tensor:
        """Points of the simplices (B, M, C), corners for values, as the decoder is told them: (B, M C)."""
        return points.flatten(1)

    def init_weights(self) -> None:
        """Different for different sentences from the first step, and far from certain."""
        init.normal_(self.logits.weight, std=self.logits.in_features**-0.5)
        init.zeros_(self.logits.bias)
