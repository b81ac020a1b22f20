"""What a model of sentences with trees has learned: its likelihood in two conventions, and its trees beside gold ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from nltk import Tree

from hf_lvm.analysis.corpus import likelihood_in_units, row_generators, tree_batches
from hf_lvm.data import LatentTextProcessor, mask_to_tree, read_tree
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.bracket_f1.bracket_f1 import compute_bracket_f1
from hf_lvm.metrics.bracket_f1.protocols import PROTOCOLS
from hf_lvm.objectives import LikelihoodEstimate

CONVENTIONS = ("normalized", "published")


@dataclass(frozen=True)
class TreeReport:
    """A model measured on N sentences.

    Attributes:
        metrics: `likelihood` of both conventions, each in all units, with how far the samples carry it; `bound`, the negative
            ELBO, and its parts; `exact`, the sum over all trees of the short sentences beside their estimate; `brackets`, F1
            by each protocol, where there are gold trees.
        trees: the most probable tree of each sentence under q(z|x).
    """

    metrics: dict[str, Any]
    trees: list[Tree]


def report_trees(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    gold: Sequence[str | None] | None = None,
    *,
    num_importance_samples: int = 100,
    temperature: float = 2.0,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    exact_words: int = 8,
    batch_size: int = 16,
    seed: int = 0,
) -> TreeReport:
    """Score and parse every sentence.

    Args:
        model: a `URNNGModel`.
        dataset: of `encode_trees`, with the column `text`.
        gold: bracketed strings, one a sentence, or None where one is not known; None where there are none.
        num_importance_samples: K, trees drawn for each sentence; 0 leaves the likelihood out.
        temperature: of the proposal, see `estimate_log_likelihood`.
        protocols: of `bracket_f1`. One that needs tags is left out where the gold trees have none.
        exact_words: sentences of so many words or fewer are summed over all their trees too, as a check; 0 leaves it out.
        seed: of the trees that are drawn.
    """
    count = len(dataset)
    terms = torch.zeros(3, count, dtype=torch.float64)
    sums = {convention: torch.zeros(count, dtype=torch.float64) for convention in CONVENTIONS}
    errors, sizes = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    exact = torch.full((count,), torch.nan, dtype=torch.float64)
    trees: list[Tree | None] = [None] * count
    texts, lengths = dataset["text"][:], dataset["num_words"][:]
    for rows, inputs in tree_batches(dataset, processor, batch_size, model.device, "Trees"):
        with in_evaluation_mode(model):
            output = model(**inputs, generator=row_generators(rows, seed))
            spans = output.posterior.argmax.cpu()
        for row, mask in zip(rows, spans, strict=True):
            trees[row] = _tree(mask, texts[row])
        terms[:, rows] = torch.stack([output.reconstruction, output.kl, output.entropy]).double().cpu()
        if num_importance_samples:
            for convention, estimate in _estimates(model, inputs, rows, num_importance_samples, temperature, seed).items():
                sums[convention][rows] = -estimate.log_likelihood.cpu()
                if convention == "normalized":
                    errors[rows], sizes[rows] = estimate.standard_error.cpu(), estimate.effective_sample_size.cpu()
        # Rows come shortest first, so the short enough ones of a batch stand in front.
        short_rows = [row for row in rows if lengths[row] <= exact_words]
        if short_rows:
            some = {name: value[: len(short_rows)] for name, value in inputs.items()}
            exact[short_rows] = -model.estimate_log_likelihood(**some, method="exact").log_likelihood.cpu()
    reconstruction, kl, entropy = terms
    metrics: dict[str, Any] = {
        "bound": likelihood_in_units(reconstruction + kl, dataset),
        "reconstruction_nats_per_sentence": reconstruction.mean().item(),
        "kl_nats_per_sentence": kl.mean().item(),
        "posterior_entropy_nats_per_sentence": entropy.mean().item(),
    }
    if num_importance_samples:
        metrics["likelihood"] = {
            "normalized": likelihood_in_units(sums["normalized"], dataset),
            # The end of a sentence has no part in it, neither in the nats nor in the words.
            "published": likelihood_in_units(sums["published"], dataset, count_eos=False),
            "num_samples": num_importance_samples,
            "proposal_temperature": temperature,
            "sampling_standard_error": (errors.square().sum().sqrt() / count).item(),
            "mean_effective_sample_size": sizes.mean().item(),
            "low_sample_size_sentences": int((sizes < 10).sum()),
        }
    short = ~exact.isnan()
    if short.any():
        metrics["exact"] = {
            "sentences": int(short.sum()),
            "most_words": exact_words,
            "nats_per_sentence": exact[short].mean().item(),
            "bound_nats_per_sentence": (reconstruction + kl)[short].mean().item(),
        }
        if num_importance_samples:
            metrics["exact"]["importance_weighted_nats_per_sentence"] = sums["normalized"][short].mean().item()
    if gold is not None and any(tree is not None for tree in gold):
        metrics["brackets"] = bracket_scores(trees, gold, protocols)
    return TreeReport(metrics, trees)


def published_perplexity(
    model, dataset: Dataset, processor: LatentTextProcessor, *, num_samples: int = 5, batch_size: int = 16, seed: int = 0
) -> float:
    """Perplexity per word as the code of Kim et al. (2019) prints it after an epoch: K samples, the end not counted.

    exp(-sum of log 1/K sum_k p(x, z_k) / q(z_k|x)  /  words).
    """
    total = torch.zeros((), dtype=torch.float64)
    for rows, inputs in tree_batches(dataset, processor, batch_size, model.device, "Perplexity"):
        estimate = model.estimate_log_likelihood(
            **inputs, num_samples=num_samples, generator=row_generators(rows, seed), convention="published"
        )
        total -= estimate.log_likelihood.sum().cpu()
    return (total / sum(dataset["num_words"][:])).exp().item()


def parse_dataset(model, dataset: Dataset, processor: LatentTextProcessor, batch_size: int = 64) -> list[Tree]:
    """The most probable tree of each sentence under q(z|x)."""
    trees: list[Tree | None] = [None] * len(dataset)
    texts = dataset["text"][:]
    for rows, inputs in tree_batches(dataset, processor, batch_size, model.device, "Parsing"):
        with in_evaluation_mode(model):
            spans = model.encode(inputs["input_ids"], inputs["attention_mask"], inputs["word_ids"]).argmax.cpu()
        for row, mask in zip(rows, spans, strict=True):
            trees[row] = _tree(mask, texts[row])
    return trees


def bracket_scores(
    trees: Sequence[Tree], gold: Sequence[str | None], protocols: Sequence[str] = tuple(PROTOCOLS)
) -> dict[str, Any]:
    """F1 of the brackets by each protocol, with the baselines beside it; sentences without a gold tree are left out.

    A protocol that needs tags is left out where the gold trees have none, and all are where there is no gold tree.
    """
    pairs = [(tree, known) for tree, known in zip(trees, gold, strict=True) if known is not None]
    if not pairs:
        return {}
    predicted = [tree for tree, _ in pairs]
    known = [_labelled(tree, parsed.leaves()) for parsed, tree in pairs]
    tagged = _have_tags(known)
    possible = [name for name in protocols if tagged or not PROTOCOLS[name].needs_tags]
    return {name: compute_bracket_f1(predicted, known, protocol=name) for name in possible}


def _labelled(tree: str, words: Sequence[str]) -> str:
    """A bracketed string with labels, as the metric reads them: itself, or with some where it has none."""
    read = read_tree(tree, words)
    return tree if any(read.labels) or any(read.tags) else read.write()


def _have_tags(gold: Sequence[str]) -> bool:
    """Whether every word of every gold tree has a tag."""
    return all(None not in read_tree(tree).tags for tree in gold)


def _tree(mask: torch.Tensor, text: str) -> Tree:
    words = text.split()
    return mask_to_tree(mask[: len(words), : len(words)], words)


def _estimates(
    model, inputs: dict[str, torch.Tensor], rows: list[int], num_samples: int, temperature: float, seed: int
) -> dict[str, LikelihoodEstimate]:
    return {
        convention: model.estimate_log_likelihood(
            **inputs,
            num_samples=num_samples,
            temperature=temperature,
            generator=row_generators(rows, seed + 1),
            convention=convention,
        )
        for convention in CONVENTIONS
    }
