"""What the encoder loses: the gap between log p(x) and the ELBO, split in approximation and amortization.

    log p(x) - ELBO(q)  =  [log p(x) - ELBO(q*)]  +  [ELBO(q*) - ELBO(q)]
       inference gap           approximation             amortization

(Cremer et al. 2018, section 3.) q is the encoder's posterior and q* the best diagonal Gaussian of each sentence, found by
gradient steps on its own mean and standard deviation. Where the model refines q itself (semi-amortized inference), q is the
refined one. Approximation is what no diagonal Gaussian can give; amortization is what the encoder could still learn, and
what a lagging encoder has not learned yet (He et al. 2019).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import batches, row_generators
from hf_lvm.data import LatentTextProcessor
from hf_lvm.data.batching import given_conditions
from hf_lvm.distributions import DiagonalGaussian, Generators
from hf_lvm.distributions.noise import normal_noise
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives.importance_weighting import estimate_from_log_weights

# log p(x, z) in nats, (S, B), of latents (S, B, D) for B sentences; differentiable in the latents.
LogJoint = Callable[[torch.Tensor], torch.Tensor]

CHECKPOINTS = 8


@dataclass(frozen=True)
class InferenceGap:
    """The inference gap of B sentences, (B,) each, in nats.

    Attributes:
        log_likelihood: importance-weighted by the samples of q and q* together; in the mean a lower bound of log p(x).
        fitted_bound, encoder_bound: the ELBO of q* and of the encoder's q, means over the same noise.
        log_likelihood_variance, amortization_variance: of the two estimates, over draws of the noise.
        effective_sample_size: of the importance weights.
    """

    log_likelihood: torch.Tensor
    fitted_bound: torch.Tensor
    encoder_bound: torch.Tensor
    log_likelihood_variance: torch.Tensor
    amortization_variance: torch.Tensor
    effective_sample_size: torch.Tensor

    @property
    def approximation(self) -> torch.Tensor:
        """(B,), log p(x) - ELBO(q*); negative only by the noise of its estimate."""
        return self.log_likelihood - self.fitted_bound

    @property
    def amortization(self) -> torch.Tensor:
        """(B,), ELBO(q*) - ELBO(q); negative only by the noise of its estimate."""
        return self.fitted_bound - self.encoder_bound


def fit_gaussian(
    log_joint: LogJoint,
    start: DiagonalGaussian,
    *,
    steps: int = 200,
    num_samples: int = 8,
    learning_rate: float = 0.2,
    num_selection_samples: int = 100,
    generator: Generators = None,
) -> DiagonalGaussian:
    """The diagonal Gaussian with the highest ELBO for each sentence, as far as gradient steps find it.

    Adam on shift and log scale, in units of the standard deviations begun with, at a rate that falls to 0, with new noise
    at every step. The gradient is the pathwise one without the score of q, whose mean is 0 and whose variance vanishes
    where q is exact (Roeder et al. 2017). Of the start and `CHECKPOINTS` points on the way each sentence keeps the one with
    the highest ELBO on noise that no step has seen.

    Args:
        log_joint: see `LogJoint`.
        start: where to begin, batch shape (B,), event shape (D,).
        steps: gradient steps.
        num_samples: samples of z a step and sentence.
        learning_rate: of the first step.
        num_selection_samples: samples that decide which point is kept.
        generator: None, one generator, or a list of B generators.
    """
    start = start.detached()
    mean, stddev = start.mean, start.stddev

    def noise(count: int) -> torch.Tensor:
        return normal_noise((count,), len(mean), mean.shape[1:], generator=generator, device=mean.device, dtype=mean.dtype)

    selection_noise = noise(num_selection_samples)
    best_mean, best_stddev = mean, stddev
    best = log_weights(log_joint, start, selection_noise, num_samples).mean(0)
    shift, log_scale = (torch.zeros_like(mean, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([shift, log_scale], lr=learning_rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        with torch.enable_grad():
            current = DiagonalGaussian(mean + stddev * shift, stddev * log_scale.exp())
            latents = current.mean + current.stddev * noise(num_samples)
            loss = (current.detached().log_prob(latents) - log_joint(latents)).mean(0).sum()
            # Of these two alone: the weights of the model get no gradient, and keep the one they have.
            shift.grad, log_scale.grad = torch.autograd.grad(loss, [shift, log_scale])
        optimizer.step()
        if (step + 1) * CHECKPOINTS // steps > step * CHECKPOINTS // steps:
            candidate = DiagonalGaussian(mean + stddev * shift.detach(), stddev * log_scale.detach().exp())
            bound = log_weights(log_joint, candidate, selection_noise, num_samples).mean(0)
            better = bound > best
            best = torch.where(better, bound, best)
            best_mean = torch.where(better.unsqueeze(-1), candidate.mean, best_mean)
            best_stddev = torch.where(better.unsqueeze(-1), candidate.stddev, best_stddev)
    return DiagonalGaussian(best_mean, best_stddev)


def log_weights(log_joint: LogJoint, posterior: DiagonalGaussian, noise: torch.Tensor, chunk_size: int) -> torch.Tensor:
    """log p(x, z) - log q(z) in nats, (K, B), of z = mean + stddev * noise, for noise (K, B, D); no gradient.

    Args:
        chunk_size: samples handed to `log_joint` at once.
    """
    latents = posterior.mean + posterior.stddev * noise
    return _in_chunks(log_joint, latents, chunk_size) - posterior.log_prob(latents)


@torch.no_grad()
def _in_chunks(log_joint: LogJoint, latents: torch.Tensor, chunk_size: int) -> torch.Tensor:
    return torch.cat([log_joint(part) for part in latents.split(chunk_size)])


@torch.no_grad()
def split_gap(
    log_joint: LogJoint,
    encoder: DiagonalGaussian,
    fitted: DiagonalGaussian,
    *,
    num_samples: int = 500,
    chunk_size: int = 8,
    generator: Generators = None,
) -> InferenceGap:
    """Measure the two parts of the gap between log p(x) and the ELBO of `encoder`.

    log p(x) comes from all 2 K samples with the weights p(x, z) / (q(z) / 2 + q*(z) / 2), the balance heuristic of Veach
    and Guibas (1995): q* alone may sit on one mode of several, q alone beside all of them, and either would then
    underestimate.

    Args:
        log_joint: see `LogJoint`.
        encoder, fitted: q and q*, batch shape (B,), event shape (D,).
        num_samples: K, the samples of each bound. Both posteriors use the same noise, so that most of it cancels in their
            difference.
        chunk_size: samples handed to `log_joint` at once.
        generator: None, one generator, or a list of B generators; noise that fitted q* must not come again.
    """
    mean = encoder.mean
    noise = normal_noise((num_samples,), len(mean), mean.shape[1:], generator=generator, device=mean.device, dtype=mean.dtype)
    latents = torch.cat([posterior.mean + posterior.stddev * noise for posterior in (encoder, fitted)])
    joint = _in_chunks(log_joint, latents, chunk_size).double()
    densities = torch.stack([posterior.log_prob(latents).double() for posterior in (encoder, fitted)])
    estimate = estimate_from_log_weights(joint - (densities.logsumexp(0) - math.log(2)))
    of_encoder = joint[:num_samples] - densities[0, :num_samples]
    of_fitted = joint[num_samples:] - densities[1, num_samples:]
    return InferenceGap(
        log_likelihood=estimate.log_likelihood,
        fitted_bound=of_fitted.mean(0),
        encoder_bound=of_encoder.mean(0),
        log_likelihood_variance=estimate.standard_error.square(),
        amortization_variance=(of_fitted - of_encoder).var(0) / num_samples,
        effective_sample_size=estimate.effective_sample_size,
    )


def measure_inference_gap(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    num_sentences: int,
    *,
    steps: int = 200,
    num_samples: int = 500,
    batch_size: int = 8,
    seed: int = 0,
) -> dict[str, Any]:
    """Split the inference gap of a text VAE on texts spread evenly over a data set, without dropout.

    A sentence costs 8 * `steps` decodings with gradients and 2 * `num_samples` + 900 without.

    Args:
        model: a text VAE whose posterior is a diagonal Gaussian, under any prior that has a density.
        dataset: texts encoded by `encode_dataset`.
        num_sentences: how many of them, at most.
        steps: gradient steps on the posterior of each.
        num_samples: samples of each bound and of the importance-weighted likelihood.
        seed: of the samples; a text's noise does not depend on the batch size.

    Returns:
        In nats per sentence, means over the sentences: `inference_gap`, its parts `approximation_gap` and
        `amortization_gap`, and the three terms `negative_log_likelihood`, `fitted_negative_bound`,
        `encoder_negative_bound`; `negative_log_likelihood_standard_error` and `amortization_gap_standard_error` (over
        draws of z); `mean_effective_sample_size`, `sentences`, `steps`, `num_samples`.

    Raises:
        ValueError: a posterior of another family, or fewer than one sentence.
    """
    if num_sentences < 1:
        raise ValueError(f"num_sentences is {num_sentences}; the inference gap needs at least one sentence")
    chosen = torch.linspace(0, len(dataset) - 1, min(num_sentences, len(dataset))).long().tolist()
    gaps = []
    with in_evaluation_mode(model):
        for rows, inputs in batches(dataset.select(chosen), processor, batch_size, model.device, "Inference gap"):
            generators = row_generators([chosen[row] for row in rows], seed)
            encoder = model.infer(**inputs, generator=generators)
            if not isinstance(encoder, DiagonalGaussian):
                raise ValueError(
                    f"the inference gap is measured against the best diagonal Gaussian of each sentence, and the posterior "
                    f"of this model is a {type(encoder).__name__}: leave it out for this model"
                )
            log_joint = _log_joint(model, inputs["labels"], given_conditions(inputs))
            # cuDNN has no backward pass for recurrent networks in evaluation mode.
            with torch.backends.cudnn.flags(enabled=False):
                fitted = fit_gaussian(log_joint, encoder, steps=steps, generator=generators)
            gaps.append(split_gap(log_joint, encoder, fitted, num_samples=num_samples, generator=generators))
    return _summary(gaps) | {"sentences": len(chosen), "steps": steps, "num_samples": num_samples}


def _log_joint(model, labels: torch.Tensor, conditions: dict[str, torch.Tensor]) -> LogJoint:
    decoder_input_ids, prior = model.shift_right(labels), model.prior_of(len(labels), **conditions)

    def log_joint(latents: torch.Tensor) -> torch.Tensor:
        nll, _ = model.score(latents, decoder_input_ids, labels)
        return prior.log_prob(latents) - nll

    return log_joint


def _summary(gaps: list[InferenceGap]) -> dict[str, float]:
    def mean_of(name: str) -> float:
        return torch.cat([getattr(gap, name) for gap in gaps]).mean().item()

    def error_of(name: str) -> float:
        variance = torch.cat([getattr(gap, name) for gap in gaps])
        return variance.sum().sqrt().item() / len(variance)

    approximation, amortization = mean_of("approximation"), mean_of("amortization")
    return {
        "inference_gap": approximation + amortization,
        "approximation_gap": approximation,
        "amortization_gap": amortization,
        "amortization_gap_standard_error": error_of("amortization_variance"),
        "negative_log_likelihood": -mean_of("log_likelihood"),
        "negative_log_likelihood_standard_error": error_of("log_likelihood_variance"),
        "fitted_negative_bound": -mean_of("fitted_bound"),
        "encoder_negative_bound": -mean_of("encoder_bound"),
        "mean_effective_sample_size": mean_of("effective_sample_size"),
    }
