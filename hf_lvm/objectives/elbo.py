"""The evidence lower bound: log p(x) >= E_q[log p(x|z)] - KL(q(z|x) || p(z)) (Kingma and Welling 2014, equation 3)."""

import torch

from hf_lvm.objectives.free_bits import free_bits_kl


def negative_elbo(
    reconstruction: torch.Tensor,
    kl: torch.Tensor,
    kl_per_dimension: torch.Tensor | None = None,
    *,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
    free_bits_mode: str = "none",
) -> torch.Tensor:
    """The training loss: the weighted negative bound, nats per sentence, averaged over the batch.

    With weight 1 and no free bits its value is the negative bound itself; the stabilizers change only what is trained.

    Args:
        reconstruction: (B,), -log p(x|z) averaged over the samples of z.
        kl: (B,), KL(q(z|x) || p(z)).
        kl_per_dimension: (B, D), needed by the forms of free bits that stand by dimension.
        kl_weight: weight of the KL term.
        free_bits: nats that cost nothing, per dimension or in total; see `hf_lvm.objectives.free_bits`.
        free_bits_mode: a name in `FREE_BITS_MODES`.

    Raises:
        ValueError: unknown mode, a negative number of free bits, or a mode by dimension without a KL per dimension.
    """
    kl = free_bits_kl(kl_per_dimension, free_bits, free_bits_mode, kl=kl)
    return (reconstruction + kl_weight * kl).mean()
