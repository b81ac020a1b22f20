"""The posteriors of a whole corpus as one distribution, whatever family they are of."""

from collections.abc import Sequence

import torch
from torch.distributions import Distribution

from hf_lvm.objectives.diagnostics import CHUNK_ELEMENTS


class CorpusPosterior:
    """q(z | x_1..x_N) from the posteriors of batches: as much of a distribution as the diagnostics need.

    A torch distribution can be neither sliced nor concatenated in general, and the parameters of one family say nothing
    about another. A density can: that of N posteriors is the densities of the batches side by side, each column put
    where its text stands in the corpus.

    Args:
        parts: posteriors of batches, batch shape (B_k,), event shape (D,) each.
        rows: for each part the B_k row numbers of its texts; together each of 0..N-1 once.

    Raises:
        ValueError: rows that do not number the texts of the parts, or parts of different event shapes.
    """

    def __init__(self, parts: Sequence[Distribution], rows: Sequence[Sequence[int]]):
        sizes = [len(part_rows) for part_rows in rows]
        if [tuple(part.batch_shape) for part in parts] != [(size,) for size in sizes]:
            raise ValueError(
                f"the posteriors have batch shapes {[tuple(part.batch_shape) for part in parts]} for {sizes} texts; "
                "each text needs one posterior"
            )
        order = torch.cat([torch.as_tensor(part_rows) for part_rows in rows])
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            raise ValueError(f"the row numbers must be 0 to {len(order) - 1}, each once; they are {order.tolist()}")
        if len({part.event_shape for part in parts}) != 1:
            raise ValueError(f"the posteriors have event shapes {[tuple(part.event_shape) for part in parts]}; one is needed")
        self.parts = list(parts)
        self.rows = [torch.as_tensor(part_rows) for part_rows in rows]
        self.place = order.argsort()

    @property
    def batch_shape(self) -> torch.Size:
        """(N,)."""
        return torch.Size([len(self.place)])

    @property
    def event_shape(self) -> torch.Size:
        """(D,)."""
        return self.parts[0].event_shape

    @property
    def device(self) -> torch.device:
        """Where the parameters are, and latents must be."""
        return self.parts[0].mean.device

    @property
    def chunk_size(self) -> int:
        """How many latents to compare with all texts at once: the intermediates are as wide as one part, not as the corpus."""
        return max(1, CHUNK_ELEMENTS // (max(map(len, self.rows)) * self.event_shape.numel()))

    def log_prob(self, latents: torch.Tensor) -> torch.Tensor:
        """log q(z | x_n) in nats: (..., N) from latents (..., N, D), one a text, or (..., 1, D), the same for all."""
        shared = latents.shape[-2] == 1
        densities = [
            part.log_prob(latents if shared else latents[..., rows.to(self.device), :])
            for part, rows in zip(self.parts, self.rows, strict=True)
        ]
        return torch.cat(densities, dim=-1)[..., self.place.to(self.device)]
