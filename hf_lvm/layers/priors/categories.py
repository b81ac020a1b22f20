"""Priors over a vector of categories: uniform, learned, or learned from a text that z is about."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init

from hf_lvm.distributions import CategoricalVector, count_classes
from hf_lvm.layers.precision import linear_at_least_float32


class UniformCategoriesPrior(nn.Module):
    """p(z) the same for all values, with nothing to learn.

    Args:
        num_variables: M.
        num_classes: C of each variable, or a number for each; C is then the largest.
        hidden_size: not used.
    """

    latent_space: ClassVar[str] = "categories"
    needs_condition: ClassVar[bool] = False

    def __init__(self, num_variables: int, num_classes: int | Sequence[int], hidden_size: int):
        super().__init__()
        self.class_counts = count_classes(num_variables, num_classes)

    def forward(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        condition: torch.Tensor | None = None,
    ) -> CategoricalVector:
        """The prior of a batch: a distribution over (B, M)."""
        shape = (batch_size, len(self.class_counts), max(self.class_counts))
        return CategoricalVector(torch.zeros(shape, device=device, dtype=dtype), self.class_counts)


class LearnedCategoriesPrior(nn.Module):
    """p(z) = product over m of Categorical(z_m), with probabilities that are learned; uniform in a new model.

    Args:
        num_variables: M.
        num_classes: C of each variable, or a number for each; C is then the largest.
        hidden_size: not used.
    """

    latent_space: ClassVar[str] = "categories"
    needs_condition: ClassVar[bool] = False

    def __init__(self, num_variables: int, num_classes: int | Sequence[int], hidden_size: int):
        super().__init__()
        self.class_counts = count_classes(num_variables, num_classes)
        self.logits = nn.Parameter(torch.empty(num_variables, max(self.class_counts)))

    def forward(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        condition: torch.Tensor | None = None,
    ) -> CategoricalVector:
        """The prior of a batch: a distribution over (B, M)."""
        logits = self.logits.to(device=device, dtype=dtype).expand(batch_size, -1, -1)
        return CategoricalVector(logits, self.class_counts)

    def init_weights(self) -> None:
        """All values alike."""
        init.zeros_(self.logits)


class ConditionalCategoriesPrior(nn.Module):
    """p(z|c) = product over m of Categorical(z_m | c), from the pooled encoding of a text c; uniform in a new model.

    Args:
        num_variables: M.
        num_classes: C of each variable, or a number for each; C is then the largest.
        hidden_size: H, size of the pooled encoding.
    """

    latent_space: ClassVar[str] = "categories"
    needs_condition: ClassVar[bool] = True

    def __init__(self, num_variables: int, num_classes: int | Sequence[int], hidden_size: int):
        super().__init__()
        self.class_counts = count_classes(num_variables, num_classes)
        self.logits = nn.Linear(hidden_size, num_variables * max(self.class_counts))

    def forward(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        condition: torch.Tensor | None = None,
    ) -> CategoricalVector:
        """The prior of a batch whose conditions have encodings (B, H): a distribution over (B, M)."""
        logits = linear_at_least_float32(self.logits, condition).unflatten(-1, (-1, max(self.class_counts)))
        return CategoricalVector(logits, self.class_counts)

    def init_weights(self) -> None:
        """All values alike, whatever the text."""
        init.zeros_(self.logits.weight)
        init.zeros_(self.logits.bias)
