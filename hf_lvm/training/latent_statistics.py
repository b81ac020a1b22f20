"""What a latent variable model is watched by during training: its bound, the two terms of it, its active units."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from hf_lvm.objectives.diagnostics import active_units


class LatentStatistics:
    """Sums over sentences of reconstruction and KL, and the latest posterior means.

    Tensors stay where the model is until the numbers are asked for, so that adding a batch never waits for a GPU.

    Args:
        max_means: number of posterior means kept for the active units, the newest ones; `None` keeps all.
    """

    def __init__(self, max_means: int | None = None) -> None:
        self.max_means = max_means
        self._totals: Tensor | None = None
        self._means: deque[Tensor] = deque()

    def add(self, reconstruction: Tensor, kl: Tensor, means: Tensor | None) -> None:
        """Add a batch.

        Args:
            reconstruction: (B,) -log p(x|z), nats per sentence; (R, B) of R runs side by side.
            kl: (B,) KL from posterior to prior, nats per sentence; likewise.
            means: (B, D) posterior means, or `None` for a model whose posterior has none.
        """
        count = torch.tensor(float(kl.numel()), device=kl.device, dtype=torch.float64)
        totals = torch.stack([reconstruction.detach().double().sum(), kl.detach().double().sum(), count])
        self._totals = totals if self._totals is None else self._totals + totals
        if means is not None:
            self._means.append(means.detach().float())
            if self.max_means is not None:
                while sum(map(len, self._means)) - len(self._means[0]) >= self.max_means:
                    self._means.popleft()

    def reset_totals(self) -> None:
        """Forget reconstruction and KL, keep the posterior means."""
        self._totals = None

    def compute(
        self, total: Callable[[Tensor], Tensor] | None = None, gather: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, float]:
        """Averages over the sentences added, in nats per sentence, and the number of active units.

        Args:
            total: sums a tensor over processes, where each added its own sentences.
            gather: concatenates a tensor over processes, likewise.

        Returns:
            `bound` = -(`reconstruction` + `kl`), the evidence lower bound with KL weight 1 and no free bits, and
            `active_units` where posterior means were added. Empty when nothing was added.
        """
        if self._totals is None:
            return {}
        totals = self._totals if total is None else total(self._totals)
        reconstruction, kl = (totals[:2] / totals[2]).tolist()
        metrics = {"bound": -(reconstruction + kl), "reconstruction": reconstruction, "kl": kl}
        if self._means:
            means = torch.cat(list(self._means))
            means = means if gather is None else gather(means)
            # Active units are a variance over sentences: one sentence has none, and a diverged encoder no finite one.
            if len(means) > 1 and torch.isfinite(means).all():
                metrics["active_units"] = active_units(means)[0]
        return metrics


def posterior_means(posterior: Distribution | None) -> Tensor | None:
    """(B, D) means of a posterior over vectors; `None` for one over categories or none, whose means are not of vectors."""
    if posterior is None or len(posterior.event_shape) != 1 or posterior.support.is_discrete:
        return None
    return posterior.mean
