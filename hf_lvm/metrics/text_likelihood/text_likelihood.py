"""Nats per sentence, perplexity per word and per token, bits per byte: one likelihood in four units.

Published perplexities mix words with subword tokens and count the end of sentence or not, so that numbers twofold
apart can describe equal models. Here every unit has a name and every denominator is returned with it.
"""

import math

import evaluate
import numpy as np
from datasets import Features, Value
from numpy.typing import ArrayLike

_DESCRIPTION = """\
Converts negative log-likelihoods in nats per sentence into perplexity per word, perplexity per token and bits per
byte. Perplexity is exp(sum of negative log-likelihoods / sum of words or tokens) over the corpus, not a mean over
sentences. The negative log-likelihoods may be exact, a bound (ELBO) or an importance-weighted estimate: which one is
for the caller to say."""

_INPUTS_DESCRIPTION = """
Args:
    negative_log_likelihoods: one per sentence, in nats, the cost of the end of sentence included.
    num_tokens: tokens the model predicts in each sentence, end of sentence included (so at least 1), start excluded.
    num_words: words in each sentence, end of sentence not included.
    num_bytes: bytes of each sentence in UTF-8. No newline is counted.
    count_eos (bool, defaults to True): whether the end of sentence counts as one word and one token per sentence, as
        in the literature on the Penn Treebank, Yahoo and Yelp. False divides the same nats by fewer words and tokens.

Returns:
    nats_per_sentence, nats_per_sentence_standard_error (over sentences; None for a single one), word_perplexity,
    token_perplexity, bits_per_byte; and the denominators: sentences, words, tokens, bytes, count_eos.

Examples:
    >>> metric = hf_lvm.metrics.load("text_likelihood")
    >>> metric.compute(negative_log_likelihoods=[20.0, 30.0], num_tokens=[6, 9], num_words=[4, 6], num_bytes=[20, 31])
"""

_CITATION = """\
@inproceedings{mikolov2011empirical,
  title     = {Empirical Evaluation and Combination of Advanced Language Modeling Techniques},
  author    = {Mikolov, Tomas and Deoras, Anoop and Kombrink, Stefan and Burget, Lukas and Cernocky, Jan},
  booktitle = {Interspeech},
  year      = {2011},
}"""


def compute_text_likelihood(
    negative_log_likelihoods: ArrayLike,
    num_tokens: ArrayLike,
    num_words: ArrayLike,
    num_bytes: ArrayLike,
    count_eos: bool = True,
) -> dict[str, float | int | bool | None]:
    """Express the likelihood of a corpus of N sentences per sentence, per word, per token and per byte.

    Args:
        negative_log_likelihoods: (N,) nats per sentence, the cost of the end of sentence included.
        num_tokens: (N,) tokens predicted in each sentence, end of sentence included, start excluded.
        num_words: (N,) words in each sentence, end of sentence not included.
        num_bytes: (N,) bytes of each sentence in UTF-8; no newline is counted.
        count_eos: whether the end of sentence is one word and one token of the denominators, as in the literature on
            the Penn Treebank. The nats are the same either way.

    Returns:
        `nats_per_sentence`, `nats_per_sentence_standard_error` (of the mean over sentences; None where N is 1),
        `word_perplexity`, `token_perplexity`, `bits_per_byte`, and the denominators `sentences`, `words`, `tokens`,
        `bytes`, `count_eos`.

    Raises:
        ValueError: no sentence, lengths that differ, values that are not finite, counts that are not whole or too
            small, log-likelihoods that were not negated.
    """
    nats = _column("negative_log_likelihoods", negative_log_likelihoods)
    counts = {
        "num_tokens": _counts("num_tokens", num_tokens, smallest=1),
        "num_words": _counts("num_words", num_words, smallest=0),
        "num_bytes": _counts("num_bytes", num_bytes, smallest=0),
    }
    for name, column in counts.items():
        if len(column) != len(nats):
            raise ValueError(
                f"{name} has {len(column)} entries and negative_log_likelihoods has {len(nats)}; "
                "each needs one entry per sentence"
            )
    total = float(nats.sum())
    if total < 0:
        raise ValueError(f"the negative log-likelihoods sum to {total:.6g}, below zero; pass -log p(x), not log p(x)")
    sentences = len(nats)
    words = int(counts["num_words"].sum()) + (sentences if count_eos else 0)
    tokens = int(counts["num_tokens"].sum()) - (0 if count_eos else sentences)
    size = int(counts["num_bytes"].sum())
    for name, denominator in (("words", words), ("tokens", tokens), ("bytes", size)):
        if denominator == 0:
            raise ValueError(f"the sentences hold no {name} (count_eos={count_eos}); there is nothing to divide by")
    return {
        "nats_per_sentence": total / sentences,
        "nats_per_sentence_standard_error": (float(nats.std(ddof=1)) / math.sqrt(sentences) if sentences > 1 else None),
        "word_perplexity": _exp(total / words),
        "token_perplexity": _exp(total / tokens),
        "bits_per_byte": total / math.log(2) / size,
        "sentences": sentences,
        "words": words,
        "tokens": tokens,
        "bytes": size,
        "count_eos": bool(count_eos),
    }


def _column(name: str, values: ArrayLike) -> np.ndarray:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or column.size == 0:
        raise ValueError(f"{name} has shape {column.shape}; one number per sentence and at least one sentence is needed")
    broken = np.flatnonzero(~np.isfinite(column))
    if broken.size:
        raise ValueError(
            f"{name} is not finite in {broken.size} of {column.size} sentences, first at index {broken[0]} "
            f"({column[broken[0]]}); find out why before averaging over the rest"
        )
    return column


def _counts(name: str, values: ArrayLike, smallest: int) -> np.ndarray:
    column = _column(name, values)
    wrong = np.flatnonzero((column < smallest) | (column != np.floor(column)))
    if wrong.size:
        end = " (the end of sentence is one of them)" if smallest == 1 else ""
        raise ValueError(
            f"{name} is {column[wrong[0]]:g} at index {wrong[0]}; it counts per sentence, in whole numbers of at "
            f"least {smallest}{end}"
        )
    return column.astype(np.int64)


def _exp(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(value))


class TextLikelihood(evaluate.Metric):
    """`evaluate` module over [`compute_text_likelihood`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=Features(
                {
                    "negative_log_likelihoods": Value("float64"),
                    "num_tokens": Value("int64"),
                    "num_words": Value("int64"),
                    "num_bytes": Value("int64"),
                }
            ),
        )

    def _compute(self, negative_log_likelihoods, num_tokens, num_words, num_bytes, count_eos=True):
        return compute_text_likelihood(negative_log_likelihoods, num_tokens, num_words, num_bytes, count_eos=count_eos)
