"""What a trained text VAE is worth: its likelihood, what its latent carries, and what it writes.

Every likelihood is in nats per sentence first; perplexities and bits per byte are derived and labelled.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import EncodedCorpus, derangement, encode_corpus, importance_weighted_likelihood
from hf_lvm.data import LatentTextProcessor
from hf_lvm.metrics.latent_diagnostics.latent_diagnostics import compute_latent_diagnostics
from hf_lvm.metrics.reconstruction.reconstruction import compute_reconstruction
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood


@dataclass(frozen=True)
class TextVAEReport:
    """Numbers, examples, and the encoded corpus that figures are drawn from.

    Attributes:
        metrics: nested, ready for JSON.
        reconstructions: (text, its reconstruction) pairs.
        samples: texts decoded from draws of the prior.
        interpolations: paths of texts, one list each.
        corpus: the test texts as the model sees them.
        texts: the test texts.
    """

    metrics: dict[str, Any]
    reconstructions: list[tuple[str, str]]
    samples: list[str]
    interpolations: list[list[str]]
    corpus: EncodedCorpus
    texts: list[str] = field(default_factory=list)


def report_on(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    *,
    num_importance_samples: int = 100,
    num_generated: int = 100,
    num_interpolations: int = 3,
    batch_size: int = 64,
    seed: int = 0,
) -> TextVAEReport:
    """Measure a text VAE on texts it was not trained on.

    Args:
        model: a text VAE.
        dataset: texts encoded by `encode_dataset`, with their `text`.
        num_importance_samples: samples of z for each text in the importance-weighted likelihood; 0 leaves it out.
        num_generated: texts to reconstruct (spread over the data set), and texts to sample.
        seed: of every draw.

    Raises:
        ValueError: fewer than 2 texts.
    """
    if len(dataset) < 2:
        raise ValueError(f"A report needs at least 2 texts, and this data set has {len(dataset)}.")
    texts = dataset["text"][:]
    counts = {
        "num_tokens": [len(row) for row in dataset["labels"]],
        "num_words": dataset["num_words"][:],
        "num_bytes": dataset["num_bytes"][:],
    }
    corpus = encode_corpus(model, dataset, processor, batch_size, seed)
    gap = corpus.permuted_reconstruction - corpus.reconstruction
    metrics: dict[str, Any] = {
        "bound": compute_text_likelihood(corpus.negative_bound.tolist(), **counts),
        "reconstruction_nats_per_sentence": corpus.reconstruction.mean().item(),
        "kl_nats_per_sentence": corpus.kl_per_dimension.sum(-1).mean().item(),
        "latent": compute_latent_diagnostics(
            corpus.means.numpy(),
            corpus.standard_deviations.numpy(),
            latents=corpus.latents.numpy(),
            kl_per_dimension=corpus.kl_per_dimension.numpy(),
        ),
        "permuted_latents_cost_nats_per_sentence": gap.mean().item(),
    }
    if num_importance_samples:
        estimate = importance_weighted_likelihood(model, dataset, processor, num_importance_samples, seed=seed)
        metrics["importance_weighted"] = {
            "num_samples": num_importance_samples,
            **compute_text_likelihood((-estimate["log_likelihood"]).tolist(), **counts),
            "mean_effective_sample_size": estimate["effective_sample_size"].mean().item(),
            "low_sample_size_share": estimate["low_sample_size"].mean().item(),
        }
    chosen = torch.linspace(0, len(texts) - 1, min(num_generated, len(texts))).long()
    originals = [texts[index] for index in chosen]
    means = corpus.means[chosen]
    reconstructed = _decode(model, means, processor, batch_size)
    shuffled = _decode(model, means[derangement(len(means), seed)], processor, batch_size)
    own, others = compute_reconstruction(reconstructed, originals), compute_reconstruction(shuffled, originals)
    metrics["num_reconstructions"] = len(originals)
    metrics["greedy_reconstruction"] = own
    metrics["greedy_reconstruction_from_shuffled_latents"] = others
    metrics["content_word_recovery_ratio"] = _ratio(own["content_word_recall"], others["content_word_recall"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        samples = model.sample(min(num_generated, 16), processor=processor, generator=torch.Generator().manual_seed(seed))
    ends = [index.item() for index in torch.linspace(0, len(originals) - 1, 2 * num_interpolations).long()]
    interpolations = [
        model.interpolate(originals[start], originals[end], processor=processor, steps=6)
        for start, end in zip(ends[::2], ends[1::2], strict=True)
    ]
    return TextVAEReport(metrics, list(zip(originals, reconstructed, strict=True)), samples, interpolations, corpus, texts)


def _decode(model, latents: torch.Tensor, processor: LatentTextProcessor, batch_size: int) -> list[str]:
    return [text for chunk in latents.split(batch_size) for text in model.decode_latents(chunk, processor=processor)]


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    """None where nothing can be compared."""
    if numerator is None or denominator is None:
        return None
    return numerator / denominator if denominator else None
