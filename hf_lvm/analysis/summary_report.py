"""What a trained latent summarizer is worth on held-out texts: its bound, and its compressions beside controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import likelihood_in_units, row_generators, tree_batches
from hf_lvm.analysis.summary_length import bonus_for_ratio
from hf_lvm.data import LatentTextProcessor
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.compression.compression import compute_compression


@dataclass(frozen=True)
class SummaryReport:
    """Measured on N texts.

    Attributes:
        metrics: for `results.json`: `bound`, `likelihood`, of a prior that reads texts `non_canonical_share`, that of the
            compressions in the bound that are charged for how they cut theirs, and under `compression` for each way to choose
            lengths what `compute_compression` gives, with `explained_nats_per_word` of the compression.
        summaries: name of a way -> N compressions.
    """

    metrics: dict[str, Any]
    summaries: dict[str, list[str]]


def report_summaries(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    *,
    ratios: Sequence[float] = (),
    words: Sequence[int] = (),
    corpus_ratios: Sequence[float] = (),
    length_texts: Sequence[str] = (),
    num_importance_samples: int = 20,
    metric_words: str = "whitespace",
    multiple_references: str = "best",
    limit_bytes: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> SummaryReport:
    """Bound, likelihood and compressions of a data set encoded by `encode_compressions`.

    Texts without a known compression count in the bound and not in the metric of compressions. A model that writes by a
    mixture and by its pointers alone is measured in both ways.

    Args:
        dataset: its column `summary` has a compression for each text, several in a list, or None or an empty list.
        ratios, words: lengths of compressions, besides those that the model chooses.
        corpus_ratios: ratios that the compressions of all texts together shall have, by a `word_bonus` found on
            `length_texts` (see `hf_lvm.analysis.summary_length`), other texts than these.
        num_importance_samples: where log p(x) is not exact; 0 leaves it out.
        metric_words, multiple_references, limit_bytes: of the metric, see `compute_compression`.
        seed: of what is drawn.
    """
    model.connect_prior(processor)
    count, charged = len(dataset), 0.0
    terms = torch.zeros(2, count, dtype=torch.float64)
    log_x, is_exact = torch.zeros(count, dtype=torch.float64), model.config.is_exact
    for rows, inputs in tree_batches(dataset, processor, batch_size, model.device, "Bound"):
        with in_evaluation_mode(model):
            output = model(**inputs, generator=row_generators(rows, seed))
        terms[:, rows] = torch.stack([output.reconstruction, output.kl]).double().cpu()
        if output.non_canonical is not None:
            charged += output.non_canonical.sum().item()
        if is_exact or num_importance_samples:
            estimate = model.estimate_log_likelihood(
                **inputs, num_samples=max(num_importance_samples, 1), generator=row_generators(rows, seed + 1)
            )
            log_x[rows] = estimate.log_likelihood.double().cpu()
    reconstruction, kl = terms
    metrics: dict[str, Any] = {
        "bound": likelihood_in_units(reconstruction + kl, dataset),
        "reconstruction_nats_per_sentence": reconstruction.mean().item(),
        "kl_nats_per_sentence": kl.mean().item(),
    }
    if model.config.prior_bridge == "text":
        metrics["non_canonical_share"] = charged / count
    if is_exact or num_importance_samples:
        metrics["likelihood"] = {
            **likelihood_in_units(-log_x, dataset),
            "exact": is_exact,
            "num_samples": num_importance_samples,
        }
    known = [row for row, summary in enumerate(dataset["summary"][:]) if summary]
    ways: dict[str, dict[str, Any]] = {"own length": {}}
    if model.config.posterior_type == "delete":
        ways["expected F1"] = {"decoding": "expected_f1"}
    ways |= {f"ratio {ratio:g}": {"ratio": ratio} for ratio in ratios} | {f"{each} words": {"words": each} for each in words}
    for ratio in corpus_ratios:
        for name, own in (("", {}), (", expected F1", {"decoding": "expected_f1"})):
            bonus = bonus_for_ratio(model, length_texts, processor, ratio, batch_size=batch_size, **own)
            ways[f"corpus ratio {ratio:g}{name}"] = {"word_bonus": bonus, **own}
    if model.config.bound_is_extractive:
        ways |= {f"{name}, words of the text": {**lengths, "extractive": True} for name, lengths in ways.items()}
    summaries: dict[str, list[str]] = {}
    metrics["compression"] = {}
    texts = dataset["text"][:]
    # Summarized in order of length, so that batches are padded little, and put back in their places.
    order = torch.tensor(dataset["num_words"][:]).argsort(stable=True)
    for name, lengths in ways.items():
        sorted_texts = [texts[row] for row in order.tolist()]
        found = model.summarize_n_best(sorted_texts, 1, processor=processor, batch_size=batch_size, **lengths)
        found = [found[place] for place in order.argsort().tolist()]
        summaries[name] = [own[0].text for own in found]
        if not known:
            continue
        scores = compute_compression(
            [summaries[name][row] for row in known],
            [dataset[row]["summary"] for row in known],
            [texts[row] for row in known],
            reconstruction_nats=[max(-found[row][0].reconstruction, 0.0) for row in known],
            multiple_references=multiple_references,
            limit_bytes=limit_bytes,
            words=metric_words,
        )
        total = sum(own[0].num_words for own in found)
        scores["explained_nats_per_word"] = sum(own[0].explained for own in found) / max(total, 1)
        if "word_bonus" in lengths:
            scores["word_bonus"] = lengths["word_bonus"]
        metrics["compression"][name] = scores
    return SummaryReport(metrics, summaries)
