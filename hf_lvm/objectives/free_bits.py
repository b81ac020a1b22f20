"""Free bits: a part of the KL term that costs nothing, so that the posterior may use it.

Two forms, which differ in where the average over the batch stands:

- `per_dimension`: sum over d of max(threshold, KL_d) for each sentence, then the batch mean. A sentence whose KL_d is
  below the threshold gets no gradient from that dimension.
- `kingma`: sum over d of max(threshold, batch mean of KL_d) (Kingma et al. 2016, equation 15, one group a dimension).
  A dimension is pressed only when it is above the threshold on average.

Both keep the *value* of the threshold where they clamp; implementations that zero the term instead have the same
gradient and a lower reported loss. Bounds are always reported without free bits.
"""

import torch
import torch.distributed

FREE_BITS_MODES = ("none", "per_dimension", "kingma")


def free_bits_kl(kl_per_dimension: torch.Tensor, threshold: float, mode: str) -> torch.Tensor:
    """The KL term of the loss under free bits.

    Args:
        kl_per_dimension: (..., B, D), nats.
        threshold: nats per dimension.
        mode: a name in `FREE_BITS_MODES`.

    Returns:
        (..., B), nats per sentence. Under `kingma` only the mean over B has a meaning. With several processes the batch
        is that of all of them: the mean over processes of the returned mean is the objective, and so is its gradient.

    Raises:
        ValueError: the mode has no such name.
    """
    check_free_bits_mode(mode)
    if mode == "none":
        return kl_per_dimension.sum(-1)
    if mode == "per_dimension":
        return kl_per_dimension.clamp(min=threshold).sum(-1)
    batch_mean = _mean_over_processes(kl_per_dimension.detach().mean(-2, keepdim=True))
    # Where the mean of the whole batch is above the threshold each process adds its own share of it: the average of
    # these over processes is max(threshold, mean) in value and in gradient, with no gradient through communication.
    return torch.where(batch_mean > threshold, kl_per_dimension, threshold).sum(-1)


def check_free_bits_mode(mode: str) -> None:
    """Raise a `ValueError` that lists the modes there are when `mode` is none of them."""
    if mode not in FREE_BITS_MODES:
        raise ValueError(f"Unknown free_bits_mode {mode!r}: choose one of {', '.join(map(repr, FREE_BITS_MODES))}.")


def _mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    value = value.clone()
    torch.distributed.all_reduce(value)
    return value / torch.distributed.get_world_size()
