"""Is the latent variable used? Active units and mutual information of a trained posterior.

A collapsed model has a good bound and a latent that says nothing; these two numbers tell the difference.

"Mutual information" names two quantities in the literature. `mutual_information` compares every latent with every
sentence of the data set (Li et al. 2019, Optimus) and cannot exceed log N. `batch_mutual_information` compares it
with the sentences of its own minibatch only (He et al. 2019) and cannot exceed log(batch size), 3.47 nats for 32.
Numbers of the one kind say nothing about numbers of the other, so each has a name of its own here.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from hf_lvm.distributions import CategoricalVector

# Elements of one (chunk, N, D) intermediate. Larger chunks leave the processor's cache and are three times slower.
CHUNK_ELEMENTS = 2**17
# Probabilities, of all values of z under all posteriors, that are summed over rather than sampled.
ENUMERATED_ELEMENTS = 2**22


def active_units(means: Tensor, threshold: float = 0.01) -> tuple[int, Tensor]:
    """Count the latent dimensions whose posterior mean varies over the data set.

    A dimension d is active when Var_x(E_q[z_d | x]) >= `threshold` (Burda et al. 2016, section 2, "activity"; the
    variance is the unbiased one and the threshold 0.01 that of He et al. 2019).

    Args:
        means: (N, D) posterior means of N >= 2 data points.
        threshold: smallest variance of an active dimension.

    Returns:
        The number of active dimensions and the variance of every dimension, (D,) in float32 or better.

    Raises:
        ValueError: `means` is not (N, D) with N >= 2, or holds a value that is not finite.
    """
    if means.dim() != 2 or means.shape[0] < 2:
        raise ValueError(
            f"means has shape {tuple(means.shape)}; active units need (N, D) with at least two data points, "
            "because they are a variance over the data set"
        )
    if not torch.isfinite(means).all():
        raise ValueError("means holds NaN or infinite values; look for a diverged encoder before counting active units")
    variance = means.detach().to(torch.promote_types(means.dtype, torch.float32)).var(dim=0, correction=1)
    return int((variance >= threshold).sum()), variance


@torch.no_grad()
def mutual_information(posterior: Distribution, latents: Tensor, chunk_size: int | None = None) -> float:
    """Estimate the mutual information I_q(x; z) between sentence and latent over the whole data set, in nats.

    With one z_i ~ q(z | x_i) per data point (Hoffman and Johnson 2016, "ELBO surgery"):

        I = 1/N sum_i [ log q(z_i | x_i) - log 1/N sum_j q(z_i | x_j) ]  <=  log N

    Args:
        posterior: q(z | x_1..x_N), batch shape (N,), event shape (D,). Its `log_prob` must broadcast, as that of every
            torch distribution does.
        latents: (N, D) in float32 or float64, or whole numbers of a discrete posterior, row i drawn from posterior i.
        chunk_size: latents compared at once with all N posteriors; memory grows with chunk_size * N * D. The default
            needs a few megabytes for N = 10,000 and D = 32.

    Returns:
        Nats. An estimate close to log N is at its ceiling and says only that the true value is not below it.

    Raises:
        ValueError: shapes do not fit, `latents` are in half precision or a density is not finite.
    """
    count, size = _check_latents(posterior, latents)
    if chunk_size is None:
        chunk_size = max(1, CHUNK_ELEMENTS // (count * size))
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; it must be at least 1")
    total = 0.0
    with torch.autocast(latents.device.type, enabled=False):
        for start in range(0, count, chunk_size):
            chunk = latents[start : start + chunk_size]
            log_density = posterior.log_prob(chunk.unsqueeze(1))  # (chunk, N): log q(z_i | x_j)
            own = log_density.diagonal(offset=start)
            total += float((own - log_density.logsumexp(dim=1)).sum())
    return _checked(total / count + math.log(count))


@torch.no_grad()
def joint_mutual_information(posterior: CategoricalVector, num_samples: int = 8, seed: int = 0) -> float:
    """I_q(x; z) in nats of all variables of a vector of categories together, over the whole data set.

    Summed over all values of z where they are few, and never below that of any variable alone; otherwise the mean of
    [`mutual_information`] over samples, which is 0 without noise where the posterior says the same of every sentence.

    Args:
        posterior: q(z | x_1..x_N), batch shape (N,), event shape (M,).
        num_samples: of each posterior, where values are sampled.
        seed: of these.
    """
    count = len(posterior.logits)
    if posterior.support_size * count <= ENUMERATED_ELEMENTS:
        log_probs = posterior.log_prob(posterior.enumerate_support()).double()  # (S, N)
        aggregate = log_probs.exp().mean(1)
        entropy = torch.special.entr(log_probs.exp()).sum(0).mean()
        return _checked(float(torch.special.entr(aggregate).sum() - entropy))
    generator = torch.Generator(posterior.logits.device).manual_seed(seed)
    samples = posterior.sample((num_samples,), generator)
    return sum(mutual_information(posterior, sample) for sample in samples) / num_samples


@torch.no_grad()
def batch_mutual_information(posterior: Distribution, latents: Tensor, batch_size: int = 32) -> float:
    """Estimate mutual information within minibatches, as He et al. 2019 report it, in nats.

    The estimator of [`mutual_information`] applied to consecutive groups of `batch_size` data points and averaged
    over data points, the last and smaller group included. The mixture over a small group stands in for the aggregate
    posterior, so the value cannot exceed log(batch_size) however much the latent knows. (He et al. put the
    closed-form entropy of the Gaussian in place of log q(z_i | x_i): the same expectation, without the hard ceiling.)

    Args:
        posterior: q(z | x_1..x_N), batch shape (N,), event shape (D,).
        latents: as of [`mutual_information`].
        batch_size: data points per group, in the order given.

    Raises:
        ValueError: shapes do not fit, `latents` are in half precision or a density is not finite.
    """
    count, _ = _check_latents(posterior, latents)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    batch_size = min(batch_size, count)
    rows = torch.arange(count, device=latents.device)
    place, first = rows % batch_size, rows - rows % batch_size
    batches = math.ceil(count / batch_size)
    # A torch distribution cannot be sliced, so the latents move instead: in round k every posterior scores the k-th
    # latent of its own group. Rounds past the end of the last group score some other latent and are dropped below.
    dtype = latents.dtype if latents.is_floating_point() else torch.get_default_dtype()
    log_density = latents.new_full((batch_size, batches * batch_size), -math.inf, dtype=dtype)
    with torch.autocast(latents.device.type, enabled=False):
        for k in range(batch_size):
            log_density[k, :count] = posterior.log_prob(latents[(first + k).clamp(max=count - 1)])
    own = log_density[place, rows]
    # (k, group, place in group) -> sum over the posteriors of the group -> one row per latent.
    mixture = log_density.view(batch_size, batches, batch_size).logsumexp(dim=2).T.reshape(-1)[:count]
    group_size = (count - first).clamp(max=batch_size)
    return _checked(float((own - mixture + group_size.to(dtype).log()).mean()))


def _check_latents(posterior: Distribution, latents: Tensor) -> tuple[int, int]:
    if len(posterior.batch_shape) != 1 or len(posterior.event_shape) != 1:
        raise ValueError(
            f"the posterior has batch shape {tuple(posterior.batch_shape)} and event shape "
            f"{tuple(posterior.event_shape)}; (N,) and (D,) are needed. "
            "torch.distributions.Independent(posterior, 1) turns the last batch dimension into the event"
        )
    shape = (*posterior.batch_shape, *posterior.event_shape)
    if tuple(latents.shape) != shape:
        raise ValueError(f"latents have shape {tuple(latents.shape)}; one sample per posterior is needed: {shape}")
    if latents.is_floating_point() and latents.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"latents are {latents.dtype}; densities need torch.float32 or better: build the posterior from "
            "`.float()` parameters and draw the latents from that"
        )
    if 0 in shape:
        raise ValueError(f"latents have shape {shape}; at least one data point and one dimension are needed")
    return shape


def _checked(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a density of the latents is not finite; look for NaN means or standard deviations of 0")
    return value
