"""What a topic model has found: the words of its topics, whether they belong together, and how likely documents are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import batches
from hf_lvm.data import LatentTextProcessor
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.topics.topics import compute_topics

TOP_WORDS = 10


@dataclass(frozen=True)
class TopicReport:
    """A topic model measured on N documents.

    Attributes:
        metrics: `topics` (NPMI and diversity of the top words), `bound`, `log_likelihood` where it was estimated, and
            `shares`: how many topics are the largest one of some document.
        topics: the top words of each topic.
        shares: (K,), the mean share of each topic over documents.
    """

    metrics: dict[str, Any]
    topics: list[list[str]]
    shares: list[float]


def report_topics(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    *,
    top_words: int = TOP_WORDS,
    num_importance_samples: int = 100,
    batch_size: int = 64,
    seed: int = 0,
) -> TopicReport:
    """Measure a topic model on documents it was not trained on.

    Args:
        model: a `NeuralTopicModel`.
        dataset: of `encode_dataset`; every document with a word at least.
        top_words: words of each topic that count.
        num_importance_samples: samples of the shares for each document in the likelihood; 0 leaves it out.
        seed: of the samples.
    """
    bounds, likelihoods, words, shares = [], [], [], []
    generator = torch.Generator().manual_seed(seed)
    for _, inputs in batches(dataset, processor, batch_size, model.device, "Documents"):
        with in_evaluation_mode(model):
            output = model(**inputs, generator=generator)
            bounds.append((output.reconstruction + output.kl).double().cpu())
            words.append(model.bag_of(inputs["labels"]).sum(1).double().cpu())
            shares.append(model.topic_shares(inputs["input_ids"], inputs["attention_mask"]).double().cpu())
        if num_importance_samples:
            estimate = model.estimate_log_likelihood(**inputs, num_samples=num_importance_samples, generator=generator)
            likelihoods.append(-estimate.log_likelihood.cpu())
    total, all_shares = torch.cat(words).sum(), torch.cat(shares)
    topics = model.topics(top_words, processor=processor)
    metrics: dict[str, Any] = {
        "topics": compute_topics(topics, words_of(model, dataset, processor), top_words),
        "bound": _in_units(torch.cat(bounds), total),
        "shares": {"used": len(all_shares.argmax(1).unique()), "topics": all_shares.shape[1]},
    }
    if num_importance_samples:
        metrics["log_likelihood"] = _in_units(torch.cat(likelihoods), total) | {"num_samples": num_importance_samples}
    return TopicReport(metrics, topics, all_shares.mean(0).tolist())


def words_of(model, dataset: Dataset, processor: LatentTextProcessor) -> list[list[str]]:
    """The words of each document that the model counts."""
    name = processor.decoder_tokenizer.convert_ids_to_tokens
    known = model.is_word.tolist()
    return [name([token for token in row if known[token]]) for row in dataset["labels"]]


def _in_units(nll: torch.Tensor, words: torch.Tensor) -> dict[str, float]:
    """Of -log p in nats, (N,): per document, and as perplexity per word."""
    return {
        "nats_per_document": nll.mean().item(),
        "word_perplexity": float(np.exp((nll.sum() / words).item())),
        "documents": len(nll),
        "words": int(words.item()),
    }
