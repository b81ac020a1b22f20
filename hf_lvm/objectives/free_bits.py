"""Free bits: a part of the KL term that costs nothing, so that the posterior may use it.

Seven forms, which answer three questions: is the threshold t one of a dimension's KL or of the whole; is it held against
each sentence or against the mean over the batch; and what stands in the loss where the KL is below it.

Notation: KL_bd of sentence b and dimension d, KL_b its sum over d, mean = over the batch of all processes, and
[condition] = 1 where it holds, else 0.

| name here              | term of the loss, mean over sentences  | t, nats of  | below t | called elsewhere               |
|------------------------|----------------------------------------|-------------|---------|--------------------------------|
| `per_dimension`        | sum_d max(KL_bd, t)                    | a dimension | t       | AdaVAE fb 3, CALM `kl_clamp`,  |
|                        |                                        |             |         | T5VAE `min_z`                  |
| `per_dimension_zeroed` | sum_d KL_bd [KL_bd > t]                | a dimension | 0       | Li et al. and BN-VAE `--fb 2`, |
|                        |                                        |             |         | Optimus `fb_mode 1`, AdaVAE    |
|                        |                                        |             |         | fb 2 and (t = target / D) fb 4 |
| `kingma`               | sum_d max(mean KL_d, t)                | a dimension | t       | Kingma et al. 2016, eq. 15     |
| `per_sentence`         | max(KL_b, t)                           | the whole   | t       |                                |
| `per_sentence_zeroed`  | KL_b [KL_b > t]                        | the whole   | 0       | Li et al. and BN-VAE `--fb 1`, |
|                        |                                        |             |         | LangVAE `target_kl`            |
| `per_batch`            | max(mean KL, t)                        | the whole   | t       | AdaVAE fb 1 (t = lambda D),    |
|                        |                                        |             |         | Kingma et al. with one group   |
| `per_batch_zeroed`     | mean KL [mean KL > t]                  | the whole   | 0       | Li et al. `--fb 3`             |

**Gradient.** The same in a form and in its zeroed twin: that of the KL where it is above t, none where it is not (nor
where it equals t). In the batch forms every sentence is pressed or none, also one whose own KL is below t.

**Value.** A form and its twin differ by t for every term that is not above it: dimensions of a sentence, sentences, or
the batch. Zeroed losses therefore look better by as much as the threshold, and jump by t where a KL crosses it: training
losses of the two kinds do not compare. Bounds are always reported without free bits.

A flag `target_kl` of Li et al. and BN-VAE means nats in total also under `--fb 2`, which divides it by D: their 8 with 32
dimensions is t = 0.25 here.

The forms of the whole also take a KL that has no parts by dimension, or that is a Monte Carlo estimate; such an estimate
is below t more often than the KL it estimates, and negative for some sentences.
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed


@dataclass(frozen=True)
class _Form:
    by_dimension: bool
    over_batch: bool = False
    zeroed: bool = False


_FORMS = {
    "per_dimension": _Form(by_dimension=True),
    "kingma": _Form(by_dimension=True, over_batch=True),
    "per_dimension_zeroed": _Form(by_dimension=True, zeroed=True),
    "per_sentence": _Form(by_dimension=False),
    "per_sentence_zeroed": _Form(by_dimension=False, zeroed=True),
    "per_batch": _Form(by_dimension=False, over_batch=True),
    "per_batch_zeroed": _Form(by_dimension=False, over_batch=True, zeroed=True),
}

FREE_BITS_MODES = ("none", *_FORMS)
#: Modes whose threshold is nats per dimension, and which need a KL per dimension.
PER_DIMENSION_MODES = tuple(name for name, form in _FORMS.items() if form.by_dimension)
#: Modes that look at the mean over the batch, so that the gradient of a batch is not the sum of those of its parts.
BATCH_MODES = tuple(name for name, form in _FORMS.items() if form.over_batch)


def free_bits_kl(
    kl_per_dimension: torch.Tensor | None, threshold: float, mode: str, *, kl: torch.Tensor | None = None
) -> torch.Tensor:
    """The KL term of the loss under free bits.

    Args:
        kl_per_dimension: (..., B, D), nats; None where the KL has no such parts.
        threshold: nats per dimension in `PER_DIMENSION_MODES`, in total in the others.
        mode: a name in `FREE_BITS_MODES`.
        kl: (..., B), nats; by default the sum over dimensions.

    Returns:
        (..., B), nats per sentence. In `BATCH_MODES` only the mean over B has a meaning. With several processes the batch
        is that of all of them, each with as many sentences: the mean over processes of the returned mean is the
        objective, and so is its gradient.

    Raises:
        ValueError: the mode has no such name, it needs a KL per dimension and there is none, no KL was passed at all, or
            the threshold is negative or not finite.
    """
    check_free_bits_mode(mode)
    if not (threshold >= 0.0 and math.isfinite(threshold)):
        raise ValueError(f"The free bits are {threshold}; give a number of nats, 0 or more.")
    if kl is None:
        if kl_per_dimension is None:
            raise ValueError("Free bits need a KL: pass kl, kl_per_dimension, or both.")
        kl = kl_per_dimension.sum(-1)
    if mode == "none":
        return kl
    form = _FORMS[mode]
    if form.by_dimension and kl_per_dimension is None:
        totals = ", ".join(repr(name) for name in _FORMS if name not in PER_DIMENSION_MODES)
        raise ValueError(
            f"free_bits_mode {mode!r} needs a KL per dimension, and this posterior and prior have none: choose one of "
            f"{totals}, whose threshold is nats in total."
        )
    terms = kl_per_dimension if form.by_dimension else kl.unsqueeze(-1)
    level = terms.detach()
    if form.over_batch:
        level = _mean_over_processes(level.mean(-2, keepdim=True))
    # Where the mean of the whole batch is above the threshold each process adds its own share of it: the average of
    # these over processes is the term of the common batch in value and in gradient, with no gradient through communication.
    # Asked this way round, a KL that is not a number stays one instead of hiding below the threshold.
    return torch.where(level <= threshold, 0.0 if form.zeroed else threshold, terms).sum(-1)


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
