"""What a trained text VAE is worth: its likelihood, what its latent carries, and what it writes.

Every likelihood is in nats per sentence first; perplexities and bits per byte are derived and labelled.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.condition_report import ConditionExample, condition_examples, measure_conditions
from hf_lvm.analysis.corpus import (
    EncodedCorpus,
    derangement,
    encode_corpus,
    importance_weighted_likelihood,
    text_counts,
)
from hf_lvm.analysis.inference_gap import measure_inference_gap
from hf_lvm.analysis.latent_walks import decode, score_interpolations
from hf_lvm.analysis.noise_robustness import measure_noise_robustness
from hf_lvm.analysis.reverse_perplexity import JudgeProtocol, draw_samples, measure_reverse_perplexity
from hf_lvm.data import LatentTextProcessor
from hf_lvm.metrics.diversity.diversity import compute_diversity
from hf_lvm.metrics.importance_weighting.importance_weighting import compute_importance_weighting
from hf_lvm.metrics.latent_diagnostics.latent_diagnostics import compute_latent_diagnostics, diagnose_posterior
from hf_lvm.metrics.reconstruction.reconstruction import compute_reconstruction
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood

SHOWN_SAMPLES = 16


@dataclass(frozen=True)
class TextVAEReport:
    """Numbers, examples, and the encoded corpus that figures are drawn from.

    Attributes:
        metrics: nested, ready for JSON.
        reconstructions: (text, its reconstruction) pairs.
        samples: texts decoded from draws of the prior, a few of those that were measured; of a conditional model each from
            the condition of a text.
        interpolations: paths of texts, one list each.
        corpus: the test texts as the model sees them.
        texts: the test texts.
        conditions: of a conditional model, a few conditions with texts written from them; empty otherwise.
    """

    metrics: dict[str, Any]
    reconstructions: list[tuple[str, str]]
    samples: list[str]
    interpolations: list[list[str]]
    corpus: EncodedCorpus
    texts: list[str] = field(default_factory=list)
    conditions: list[ConditionExample] = field(default_factory=list)


def report_on(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    *,
    num_importance_samples: int = 100,
    num_generated: int = 100,
    num_interpolations: int = 3,
    num_gap_sentences: int = 0,
    dropped_words: float = 0.0,
    judge_texts: Dataset | None = None,
    judge_protocol: JudgeProtocol | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> TextVAEReport:
    """Measure a text VAE on texts it was not trained on.

    Args:
        model: a text VAE.
        dataset: texts encoded by `encode_dataset`, with their `text`; of a conditional model also with its
            `condition_column`, and the conditions as they stand in the column `condition`.
        num_importance_samples: samples of z for each text in the importance-weighted likelihood; 0 leaves it out.
        num_generated: texts to reconstruct (spread over the data set), and texts to sample; 0 leaves out everything that the
            model would write, interpolations and noise robustness too.
        num_gap_sentences: texts on which the inference gap is split; 0 leaves it out (see `measure_inference_gap`).
        dropped_words: share of the words that is left out of the texts to reconstruct, to see how robust latents are to such
            noise (see `measure_noise_robustness`); 0 leaves it out.
        judge_texts: encoded texts to train language models on that judge the samples, the training split; None leaves
            reverse perplexity out (see `measure_reverse_perplexity`).
        judge_protocol: how these language models are trained.
        seed: of every draw.

    Raises:
        ValueError: fewer than 2 texts, or none of the conditions that the model reads.
    """
    if len(dataset) < 2:
        raise ValueError(f"A report needs at least 2 texts, and this data set has {len(dataset)}.")
    texts, conditions = dataset["text"][:], _conditions_of(model, dataset)
    counts = text_counts(dataset)
    corpus = encode_corpus(model, dataset, processor, batch_size, seed)
    metrics: dict[str, Any] = {
        "bound": compute_text_likelihood(corpus.negative_bound.tolist(), **counts),
        **latent_metrics(corpus),
        "teacher_forced_token_accuracy": corpus.correct_tokens.sum().item() / sum(counts["num_tokens"]),
    }
    if num_importance_samples:
        columns = importance_weighted_likelihood(model, dataset, processor, num_importance_samples, seed=seed)
        metrics.update(likelihood_metrics(columns, counts))
    if conditions is not None:
        metrics["permuted_conditions"] = measure_conditions(
            model,
            dataset,
            processor,
            corpus,
            columns["log_likelihood"] if num_importance_samples else None,
            num_importance_samples=num_importance_samples,
            batch_size=batch_size,
            seed=seed,
        )
    if num_gap_sentences:
        metrics["inference_gap"] = _inference_gap(model, dataset, processor, num_gap_sentences, corpus, seed)
    if judge_texts is not None:
        judged = measure_reverse_perplexity(model, processor, judge_texts, dataset, judge_protocol, seed)
        metrics["reverse_perplexity"] = judged

    written = _Written()
    if num_generated:
        written = _write(
            model,
            processor,
            corpus,
            texts,
            conditions,
            num_generated=num_generated,
            num_interpolations=num_interpolations,
            dropped_words=dropped_words,
            batch_size=batch_size,
            seed=seed,
        )
        metrics.update(written.metrics)
    shown = [] if conditions is None else condition_examples(model, dataset, processor, seed=seed)
    samples = written.samples[:SHOWN_SAMPLES]
    return TextVAEReport(metrics, written.reconstructions, samples, written.interpolations, corpus, texts, shown)


@dataclass
class _Written:
    """What a model writes for its report, as of `TextVAEReport`; by default nothing."""

    metrics: dict[str, Any] = field(default_factory=dict)
    reconstructions: list[tuple[str, str]] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    interpolations: list[list[str]] = field(default_factory=list)


def _write(
    model,
    processor: LatentTextProcessor,
    corpus: EncodedCorpus,
    texts: list[str],
    conditions: list[str] | None,
    *,
    num_generated: int,
    num_interpolations: int,
    dropped_words: float,
    batch_size: int,
    seed: int,
) -> _Written:
    """Reconstructions, samples and interpolations, with their scores."""
    chosen = torch.linspace(0, len(texts) - 1, min(num_generated, len(texts))).long()
    originals = [texts[index] for index in chosen]
    modes = corpus.modes[chosen]
    reconstructed = decode(model, modes, processor, batch_size)
    shuffled = decode(model, modes[derangement(len(modes), seed)], processor, batch_size)
    own, others = compute_reconstruction(reconstructed, originals), compute_reconstruction(shuffled, originals)
    metrics: dict[str, Any] = {
        "num_reconstructions": len(originals),
        "greedy_reconstruction": own,
        "greedy_reconstruction_from_shuffled_latents": others,
        "content_word_recovery_ratio": _ratio(own["content_word_recall"], others["content_word_recall"]),
    }
    given = None if conditions is None else [conditions[index] for index in chosen]
    if dropped_words:
        noise = {"share": dropped_words, "conditions": given, "batch_size": batch_size, "seed": seed}
        metrics["noise_robustness"] = measure_noise_robustness(model, originals, processor, **noise)
    samples = draw_samples(model, processor, num_generated, seed=seed, conditions=given)
    if given is not None:
        others = [originals[index] for index in derangement(len(originals), seed)]
        metrics["samples_given_conditions"] = compute_reconstruction(samples[: len(originals)], originals)
        metrics["samples_given_other_conditions"] = compute_reconstruction(samples[: len(originals)], others)
    if num_generated > 1:
        # Self-BLEU grows with the number of sentences, so as many samples as real texts are compared.
        both = min(num_generated, len(originals))
        metrics["sample_diversity"] = compute_diversity(samples[:both])
        metrics["text_diversity"] = compute_diversity(originals)
    ends = [index.item() for index in torch.linspace(0, len(originals) - 1, 2 * num_interpolations).long()]
    interpolations = [
        model.interpolate(
            originals[start],
            originals[end],
            processor=processor,
            steps=6,
            **({} if given is None else {"conditions": [given[start], given[end]]}),
        )
        for start, end in zip(ends[::2], ends[1::2], strict=True)
    ]
    if interpolations:
        metrics["interpolation"] = score_interpolations(interpolations)
    return _Written(metrics, list(zip(originals, reconstructed, strict=True)), samples, interpolations)


def _conditions_of(model, dataset: Dataset) -> list[str] | None:
    """The conditions of the texts; None for a model that reads none."""
    if not model.prior.needs_condition:
        return None
    lacking = [column for column in ("condition_input_ids", "condition") if column not in dataset.column_names]
    if lacking:
        raise ValueError(
            f"prior_type {model.config.prior_type!r} reads a text beside each, and the data set has no column {lacking[0]!r}: "
            "encode it with encode_dataset(..., condition_column='condition', keep_columns=('text', 'condition'))."
        )
    return dataset["condition"][:]


def latent_metrics(corpus: EncodedCorpus) -> dict[str, Any]:
    """The two terms of the bound, what the latent carries, and what it costs to permute latents across texts."""
    if corpus.standard_deviations is None:
        latent = diagnose_posterior(
            corpus.posterior,
            corpus.latents.to(corpus.posterior.device),
            corpus.means,
            corpus.kl,
            kl_per_dimension=corpus.kl_per_dimension,
            chunk_size=corpus.posterior.chunk_size,
        )
    else:
        parts = corpus.kl_per_dimension
        latent = compute_latent_diagnostics(
            corpus.means.numpy(),
            corpus.standard_deviations.numpy(),
            latents=corpus.latents.numpy(),
            **({"kl": corpus.kl.numpy()} if parts is None else {"kl_per_dimension": parts.numpy()}),
        )
    gap = (corpus.permuted_reconstruction - corpus.reconstruction).double()
    return {
        "reconstruction_nats_per_sentence": corpus.reconstruction.mean().item(),
        "kl_nats_per_sentence": corpus.kl.mean().item(),
        "kl_estimate": "Monte Carlo" if corpus.monte_carlo_kl else "closed form",
        "latent": latent,
        "permuted_latents_cost_nats_per_sentence": gap.mean().item(),
        "permuted_latents_cost_standard_error": gap.std().item() / len(gap) ** 0.5,
    }


def likelihood_metrics(columns: dict[str, torch.Tensor], counts: dict[str, list[int]]) -> dict[str, Any]:
    """-log p(x) in four units and how sure it is, and the row that shows whether more samples would change it.

    Args:
        columns: what `importance_weighted_likelihood` returned.
        counts: `num_tokens`, `num_words` and `num_bytes` of each text.
    """
    weighting = compute_importance_weighting(columns["log_weights"].numpy())
    convergence = weighting.pop("convergence")
    for row in convergence:
        same_for_all = [row["nats_per_sentence"]] * weighting["sentences"]
        row["word_perplexity"] = compute_text_likelihood(same_for_all, **counts)["word_perplexity"]
    likelihood = compute_text_likelihood((-columns["log_likelihood"]).tolist(), **counts)
    return {"importance_weighted": weighting | likelihood, "importance_weighted_convergence": convergence}


def _inference_gap(model, dataset, processor, num_sentences: int, corpus: EncodedCorpus, seed: int) -> dict[str, Any]:
    if corpus.standard_deviations is None:
        return {"left_out": "it compares with the best diagonal Gaussian, and this posterior is of another family"}
    return measure_inference_gap(model, dataset, processor, num_sentences, seed=seed)


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    """None where nothing can be compared."""
    if numerator is None or denominator is None:
        return None
    return numerator / denominator if denominator else None
