"""The vector-quantized posterior: a class is a place in the space of encodings, and the decoder is told that place."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init

from hf_lvm.distributions import CategoricalVector, count_classes
from hf_lvm.layers.precision import linear_at_least_float32


class VectorQuantizedPosterior(nn.Module):
    """q(z_m = c | x) in proportion to exp(-precision / 2 |h_m(x) - e_mc|^2), with code vectors e_mc.

    Vector quantization (van den Oord et al. 2017) with the uncertainty left in: their z is the nearest code and its KL a
    constant, log C a variable; here it is a distribution (Soenderby et al. 2017; Roy et al. 2018), which becomes theirs as
    the precision, which is learned, grows. So the bound is one, every estimator serves, and neither a codebook loss nor a
    commitment loss is needed: codes are learned as classes of the posterior and as what the decoder reads.

    Args:
        hidden_size: H, size of the pooled encoding.
        num_variables: M.
        num_classes: C codes of each variable, or a number for each; C is then the largest.
        code_size: E of each code.
    """

    latent_space: ClassVar[str] = "categories"
    config_options: ClassVar[dict[str, str]] = {"code_size": "code_size"}

    def __init__(self, hidden_size: int, num_variables: int, num_classes: int | Sequence[int], *, code_size: int = 32):
        super().__init__()
        self.class_counts = count_classes(num_variables, num_classes)
        self.code_size = code_size
        self.queries = nn.Linear(hidden_size, num_variables * code_size)
        self.codes = nn.Parameter(torch.empty(num_variables, max(self.class_counts), code_size))
        self.log_precision = nn.Parameter(torch.empty(()))

    @staticmethod
    def vector_size(num_variables: int, num_classes: int | Sequence[int], code_size: int) -> int:
        """Size of what `vectors` returns: M E."""
        return num_variables * code_size

    def forward(self, pooled: torch.Tensor) -> CategoricalVector:
        """pooled (B, H) -> a distribution over (B, M)."""
        queries = linear_at_least_float32(self.queries, pooled).unflatten(-1, (-1, self.code_size))
        codes = self.codes.to(queries.dtype)
        with torch.autocast(queries.device.type, enabled=False):
            # |h|^2 is the same for all codes: left out.
            distances = codes.square().sum(-1) - 2 * torch.einsum("bme,mce->bmc", queries, codes)
            logits = -0.5 * self.log_precision.to(queries.dtype).exp() * distances
            return CategoricalVector(logits, self.class_counts)

    def vectors(self, points: torch.Tensor) -> torch.Tensor:
        """Points of the simplices (B, M, C), corners for values, as the mean of their codes: (B, M E)."""
        with torch.autocast(points.device.type, enabled=False):
            return torch.einsum("bmc,mce->bme", points, self.codes.to(points.dtype)).flatten(1)

    def init_weights(self) -> None:
        """Codes and encodings of unit size, so that distances differ by a few nats from the first step."""
        init.normal_(self.queries.weight, std=(self.queries.in_features * self.code_size) ** -0.5)
        init.zeros_(self.queries.bias)
        init.normal_(self.codes, std=self.code_size**-0.5)
        init.zeros_(self.log_precision)
