"""Labels of spans: summed away for the passes over trees, and given back to what these find.

Each span of a labelled tree has one of L labels, and its score depends on that label alone. So the labels of a tree are
independent given its spans, a span weighs what its labels weigh together, and everything about the spans is as it would be
without labels (the zeroth-order case of Zhang et al. 2020, section 3).
"""

import torch

from hf_lvm.distributions.binary_tree.sampling import BELOW_ONE


def log_sum(logarithms: torch.Tensor, dim: int) -> torch.Tensor:
    """logsumexp, whose derivatives of every order are 0, not nan, where all are -inf."""
    highest = logarithms.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(logarithms.dtype).min)
    total = (logarithms - highest).exp().sum(dim)
    none = total == 0
    return (total.masked_fill(none, 1.0).log() + highest.squeeze(dim)).masked_fill(none, -torch.inf)


def label_log_probs(scores: torch.Tensor) -> torch.Tensor:
    """log p(label | span) from scores (..., L); -inf for all labels of a span that has none allowed."""
    total = log_sum(scores, -1)
    return scores - total.masked_fill(total == -torch.inf, 0.0).unsqueeze(-1)


def label_entropy(scores: torch.Tensor) -> torch.Tensor:
    """The entropy (...,) of p(label | span), nats, from scores (..., L)."""
    log_probs = label_log_probs(scores)
    # 0 * -inf is 0 here, in the value and in the gradient.
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(-1)


def with_labels(spans: torch.Tensor, labels: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Masks (..., n, n, L) of trees (..., n, n) and a label for each of their cells, (..., n, n)."""
    return spans.unsqueeze(-1) & (labels.unsqueeze(-1) == torch.arange(num_labels, device=labels.device))


@torch.no_grad()
def sample_labels(scores: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """A label for every cell, (K, B, n, n), from scores (B, n, n, L) and `noise` (K, B, n, n) uniform on [0, 1)."""
    cumulative = label_log_probs(scores).exp().double().cumsum(-1)
    # One table a cell, read by all samples.
    threshold = noise.movedim(0, -1).double().clamp(max=BELOW_ONE) * cumulative[..., -1:]
    labels = torch.searchsorted(cumulative, threshold.contiguous(), right=True)
    return labels.clamp_(max=scores.shape[-1] - 1).movedim(-1, 0)
