"""What a trained StructVAE is worth on held-out utterances: its parses beside controls, its bound, its likelihood."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import likelihood_in_units, row_generators
from hf_lvm.analysis.meaning_parsing import ExactMatch, meaning_batches, parse_rows
from hf_lvm.data import LatentTextProcessor
from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import Language
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.semantic_parsing.baselines import majority_template, nearest_neighbour
from hf_lvm.metrics.semantic_parsing.semantic_parsing import compute_semantic_parsing


@dataclass(frozen=True)
class MeaningReport:
    """Measured on N utterances.

    Attributes:
        metrics: for `results.json`: `parsing`, what `compute_semantic_parsing` gives of the parses, with `num_beams`,
            `mean_log_prob` of the best ones and `underivable`, meanings that the model cannot write; `controls`, the same of
            `nearest_neighbour` and `majority_template`; `bound`, its two terms, and `likelihood`.
        parses: N rows of texts, best first; of a tree without a text, how it is built.
        is_right: N, whether the best one is the meaning, by the published rule.
    """

    metrics: dict[str, Any]
    parses: list[list[str]]
    is_right: list[bool]


def report_meanings(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    language: Language,
    known: Sequence[tuple[str, str]],
    *,
    num_beams: int = 5,
    num_importance_samples: int = 20,
    batch_size: int = 64,
    seed: int = 0,
) -> MeaningReport:
    """Parses, bound and likelihood of a data set of `encode_meanings`.

    Args:
        model: a `StructVAEModel`.
        known: utterances and meanings that controls may use: those of labelled training rows.
        num_beams: of the parse, and k of the oracle.
        num_importance_samples: of log p(x); 0 leaves it out, and so does a prior that is no distribution.
        seed: of what is drawn.
    """
    found = parse_rows(model, dataset, processor, num_beams, batch_size=batch_size, description="Parses")
    best = [found[row] for row in range(len(dataset))]
    parses = [[written_tree(language, each.tree) for each in own] for own in best]
    meanings = dataset["meaning"][:]
    saved = language.to_dict()
    compared = {"references": meanings, "language": saved["name"], "language_options": saved["options"]}
    parsing = compute_semantic_parsing(parses, **compared)
    parsing |= {
        "num_beams": num_beams,
        "mean_log_prob": sum(own[0].log_prob for own in best if own) / max(sum(map(bool, best)), 1),
        "underivable": sum(not ids for ids in dataset["meaning_ids"][:]),
    }
    controls = {}
    if known:
        texts, told = zip(*known, strict=True)
        guesses = {
            "nearest_neighbour": nearest_neighbour(texts, told, dataset["text"][:]),
            "majority_template": [majority_template(language, told)] * len(dataset),
        }
        controls = {name: compute_semantic_parsing(own, **compared) for name, own in guesses.items()}
    metrics: dict[str, Any] = {"parsing": parsing, "controls": controls}
    if model.prior is not None:
        metrics |= _likelihoods(model, dataset, processor, num_importance_samples, batch_size, seed)
    match = ExactMatch(language)
    is_right = [bool(own) and match(own[0].tree, meaning) for own, meaning in zip(best, meanings, strict=True)]
    return MeaningReport(metrics, parses, is_right)


def written_tree(language: Language | None, tree: Node) -> str:
    """The text of a tree, or the tree as it is built where it has none or there is no language."""
    try:
        return str(tree) if language is None else language.write(tree)
    except ValueError:
        return str(tree)


def _likelihoods(
    model, dataset: Dataset, processor: LatentTextProcessor, num_samples: int, batch_size: int, seed: int
) -> dict[str, Any]:
    terms = torch.zeros(2, len(dataset), dtype=torch.float64)
    log_x = torch.zeros(len(dataset), dtype=torch.float64)
    for rows, batch in meaning_batches(dataset, processor, batch_size, model.device, "Bound"):
        with in_evaluation_mode(model):
            output = model(**batch, generator=row_generators(rows, seed))
        terms[:, rows] = torch.stack([output.reconstruction, output.kl]).double().cpu()
        if num_samples:
            estimate = model.estimate_log_likelihood(
                **batch, num_samples=num_samples, generator=row_generators(rows, seed + 1)
            )
            log_x[rows] = estimate.log_likelihood.double().cpu()
    reconstruction, kl = terms
    metrics: dict[str, Any] = {
        "bound": likelihood_in_units(reconstruction + kl, dataset),
        "reconstruction_nats_per_sentence": reconstruction.mean().item(),
        "kl_nats_per_sentence": kl.mean().item(),
    }
    if num_samples:
        metrics["likelihood"] = {**likelihood_in_units(-log_x, dataset), "num_samples": num_samples}
    return metrics
