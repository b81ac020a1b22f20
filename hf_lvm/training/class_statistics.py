"""What a vector of categories is watched by during training: which classes are used, and how often they are right."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from hf_lvm.distributions import CategoricalVector


class ClassStatistics:
    """Sums over sentences, from which usage and accuracy follow exactly; nothing is kept of a sentence.

    Tensors stay where the model is until the numbers are asked for.
    """

    def __init__(self) -> None:
        self._totals: Tensor | None = None
        self._shape: torch.Size | None = None

    def add(self, probabilities: Tensor, classes: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            probabilities: (B, M, C), q(z_m|x).
            classes: (B, M), what is known of z, -1 where it is not; what stands behind the M variables is left aside.
        """
        probabilities = probabilities.detach().double()
        self._shape = probabilities.shape[1:]
        entropies = torch.special.entr(probabilities).sum(-1).sum(0)  # (M,)
        best = probabilities.argmax(-1)
        used = torch.nn.functional.one_hot(best, probabilities.shape[-1]).sum(0).double()
        classes = torch.full_like(best, -1) if classes is None else classes.view(len(best), -1)[:, : best.shape[1]]
        right = torch.stack([((best == classes) & (classes >= 0)).sum(), (classes >= 0).sum()]).double()
        count = right.new_tensor([float(len(probabilities))])
        totals = torch.cat([count, right, entropies, probabilities.sum(0).flatten(), used.flatten()])
        self._totals = totals if self._totals is None else self._totals + totals

    def reset(self) -> None:
        """Forget everything."""
        self._totals = None

    def compute(self, total: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """What is logged; empty when nothing was added.

        Args:
            total: sums a tensor over processes, where each added its own sentences.

        Returns:
            `mutual_information` I(x; z_m) in nats, of the variable that tells most (a lower bound of that of all variables
            together); `used_classes`, those that are the most probable one of some sentence, and `class_perplexity`, exp of
            the entropy of the aggregate posterior, both the mean over variables; and `accuracy`, the share of the known
            classes that are the most probable one, where some are known.
        """
        if self._totals is None:
            return {}
        totals = self._totals if total is None else total(self._totals)
        variables, classes = self._shape
        count, right, known = totals[:3].tolist()
        entropies, probabilities, used = totals[3:].split([variables, variables * classes, variables * classes])
        aggregate = torch.special.entr(probabilities.view(variables, classes) / count).sum(-1)
        values = {
            "mutual_information": (aggregate - entropies / count).clamp(min=0.0).max().item(),
            "used_classes": (used.view(variables, classes) > 0).sum(-1).double().mean().item(),
            "class_perplexity": aggregate.exp().mean().item(),
        }
        return values | ({"accuracy": right / known} if known else {})


def class_probabilities(posterior: Distribution | None) -> Tensor | None:
    """(B, M, C) of a posterior over a vector of categories; None for any other."""
    return posterior.probs if isinstance(posterior, CategoricalVector) else None
