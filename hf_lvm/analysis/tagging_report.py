"""What a model of tagged words has found: its likelihood, its tags beside gold ones, the words of each state."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import batches, likelihood_in_units
from hf_lvm.data import LatentTextProcessor
from hf_lvm.metrics.clustering.clustering import compute_clustering

TOP_WORDS = 8


@dataclass(frozen=True)
class TaggingReport:
    """A model measured on N sentences.

    Attributes:
        metrics: `likelihood` in all units; `states`, used and their perplexity; `tags`, the clustering metrics against gold
            tags, where there are any.
        top_words: for each used state, the most frequent first, its share of the words and its most frequent words.
        states: of each sentence, those of its words.
    """

    metrics: dict[str, Any]
    top_words: list[tuple[int, float, list[str]]]
    states: list[list[int]]


def report_tagging(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    gold: Sequence[Sequence[str]] | None = None,
    *,
    decoding: str = "viterbi",
    batch_size: int = 64,
) -> TaggingReport:
    """Score and tag every sentence.

    Args:
        model: with `estimate_log_likelihood` and `tag`, such as a `NeuralHMMModel`.
        dataset: of `encode_dataset`.
        gold: the gold tags of each sentence, one a token; None where there are none.
        decoding: see `NeuralHMMModel.tag`.

    Raises:
        ValueError: a sentence with another number of gold tags than of tokens.
    """
    nll = torch.zeros(len(dataset), dtype=torch.float64)
    states: list[list[int]] = [[] for _ in range(len(dataset))]
    for rows, inputs in batches(dataset, processor, batch_size, model.device, "Tagging"):
        nll[rows] = -model.estimate_log_likelihood(**inputs).log_likelihood.cpu()
        for row, tags in zip(rows, model.tag(inputs["labels"], decoding).tolist(), strict=True):
            states[row] = [state for state in tags if state >= 0]
    counts = Counter(state for sentence in states for state in sentence)
    shares = torch.tensor([count / counts.total() for count in counts.values()], dtype=torch.float64)
    metrics: dict[str, Any] = {
        "likelihood": likelihood_in_units(nll, dataset),
        "states": {"used": len(counts), "perplexity": (-(shares * shares.log()).sum()).exp().item(), "decoding": decoding},
    }
    if gold is not None:
        for number, (found, wanted) in enumerate(zip(states, gold, strict=True)):
            if len(found) != len(wanted):
                raise ValueError(
                    f"Sentence {number} has {len(found)} tokens and {len(wanted)} gold tags: tag scores need one tag a token. "
                    "Use the tokenizer 'words' on texts whose words are separated by blanks."
                )
        metrics["tags"] = compute_clustering(
            [state for sentence in states for state in sentence], [tag for sentence in gold for tag in sentence]
        )
    return TaggingReport(metrics, _top_words(dataset, states, processor), states)


def _top_words(
    dataset: Dataset, states: list[list[int]], processor: LatentTextProcessor
) -> list[tuple[int, float, list[str]]]:
    words: dict[int, Counter[int]] = {}
    for labels, sentence in zip(dataset["labels"], states, strict=True):
        # The end token has no state of its own here.
        for word, state in zip(labels, sentence, strict=False):
            words.setdefault(state, Counter())[word] += 1
    total = sum(counter.total() for counter in words.values())
    name = processor.decoder_tokenizer.convert_ids_to_tokens
    return [
        (state, counter.total() / total, [name(word) for word, _ in counter.most_common(TOP_WORDS)])
        for state, counter in sorted(words.items(), key=lambda item: -item[1].total())
    ]
