"""How different the sentences of a sample are from one another: self-BLEU, distinct n-grams, duplicates."""

import bisect
from collections import Counter
from collections.abc import Sequence

import evaluate
from datasets import Features, Value
from sacrebleu.metrics import BLEU

from hf_lvm.metrics.columns import check_sentences

_DESCRIPTION = """\
Says whether a model writes many different sentences or the same few again and again. Self-BLEU (Zhu et al. 2018) is the
BLEU of each sentence with all others as its references, averaged: 100 when all are one sentence, near 0 when they share
no words. It rises with the number of sentences, because each has more references, so only samples of one size can be
compared. Distinct-n (Li et al. 2016) is the share of n-grams that are different ones. None of them says whether a
sentence is good: random words are diverse. Give the same numbers for as many real sentences beside them."""

_INPUTS_DESCRIPTION = """
Args:
    predictions: sentences, strings; words are separated by white space.
    max_order (defaults to 4): longest n-gram of self-BLEU. Published values use 2 to 5.

Returns:
    self_bleu: 0-100, mean over sentences (words as they stand, the zero counts of a sentence set to 0.1 as in
        smoothing method 1 of Chen and Cherry 2014, n-grams no longer than the sentence, closest reference length).
    distinct_1, distinct_2: different words / words, and different pairs of neighbours / pairs, over all sentences;
        None where there is none.
    duplicate_share: share of sentences that stand in the sample before, up to white space.
    sentences, max_order: how many sentences there were, and the argument.
    All shares lie in 0-1.

Examples:
    >>> metric = hf_lvm.metrics.load("diversity")
    >>> metric.compute(predictions=["a cat sat on the mat", "a dog sat on the mat", "it rains"])
"""

_CITATION = """\
@inproceedings{zhu2018texygen,
  title     = {Texygen: A Benchmarking Platform for Text Generation Models},
  author    = {Zhu, Yaoming and Lu, Sidi and Zheng, Lei and Guo, Jiaxian and Zhang, Weinan and Wang, Jun and Yu, Yong},
  booktitle = {The 41st International ACM SIGIR Conference on Research and Development in Information Retrieval},
  year      = {2018},
}
@inproceedings{li2016diversity,
  title     = {A Diversity-Promoting Objective Function for Neural Conversation Models},
  author    = {Li, Jiwei and Galley, Michel and Brockett, Chris and Gao, Jianfeng and Dolan, Bill},
  booktitle = {Proceedings of NAACL-HLT},
  year      = {2016},
}"""


def self_bleu(sentences: Sequence[Sequence[str]], max_order: int = 4) -> float:
    """Mean BLEU of each sentence with all the others as references (Zhu et al. 2018), 0-100.

    The formula is sacrebleu's. Its counts are taken once for the whole sample: what an n-gram may match in the other
    sentences is the largest of its counts there, which is the largest over all sentences, or the second largest for the
    sentence that holds the largest. So the time grows with the words, not with the pairs of sentences.

    Args:
        sentences: words of N >= 2 sentences.
        max_order: longest n-gram.
    """
    counts = [_ngrams(words, max_order) for words in sentences]
    # n-gram -> its two largest counts in a sentence; equal when two sentences share the largest.
    largest: dict[tuple[str, ...], tuple[int, int]] = {}
    for own in counts:
        for ngram, count in own.items():
            first, second = largest.get(ngram, (0, 0))
            largest[ngram] = (count, first) if count > first else (first, max(count, second))
    lengths = Counter(map(len, sentences))
    sizes = sorted(lengths)
    total_score = 0.0
    for words, own in zip(sentences, counts, strict=True):
        correct, total = [0] * max_order, [0] * max_order
        for ngram, count in own.items():
            first, second = largest[ngram]
            total[len(ngram) - 1] += count
            correct[len(ngram) - 1] += min(count, second if count == first else first)
        total_score += BLEU.compute_bleu(
            correct,
            total,
            sys_len=len(words),
            ref_len=_closest_other_length(len(words), lengths, sizes),
            smooth_method="floor",
            smooth_value=0.1,
            effective_order=True,
            max_ngram_order=max_order,
        ).score
    return total_score / len(sentences)


def _ngrams(words: Sequence[str], max_order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for n in range(1, max_order + 1) for at in range(len(words) - n + 1))


def _closest_other_length(length: int, lengths: Counter[int], sizes: list[int]) -> int:
    """The length among the other sentences that is closest to `length`; the shorter of two."""
    if lengths[length] > 1:
        return length
    place = bisect.bisect_left(sizes, length)
    neighbours = sizes[max(0, place - 1) : place] + sizes[place + 1 : place + 2]
    return min(neighbours, key=lambda other: (abs(other - length), other))


def _distinct(sentences: Sequence[Sequence[str]], order: int) -> float | None:
    ngrams = [tuple(words[at : at + order]) for words in sentences for at in range(len(words) - order + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else None


def compute_diversity(predictions: Sequence[str], max_order: int = 4) -> dict[str, float | int | None]:
    """Measure how different N sentences are from one another.

    Args:
        predictions: N >= 2 sentences, words separated by white space.
        max_order: longest n-gram of self-BLEU.

    Returns:
        `self_bleu` in 0-100 (see [`self_bleu`]); `distinct_1` and `distinct_2`, different n-grams / n-grams over all
        sentences (Li et al. 2016), None where there is no n-gram; `duplicate_share`, sentences that occurred before /
        sentences; `sentences` N and `max_order`.

    Raises:
        ValueError: fewer than two sentences, something that is not a string, a `max_order` below 1.
    """
    check_sentences("predictions", predictions)
    if len(predictions) < 2:
        raise ValueError(
            f"there are {len(predictions)} predictions; diversity compares sentences with each other and needs at least two"
        )
    if max_order < 1:
        raise ValueError(f"max_order is {max_order}; the longest n-gram has at least 1 word")
    sentences = [text.split() for text in predictions]
    return {
        "self_bleu": self_bleu(sentences, max_order),
        "distinct_1": _distinct(sentences, 1),
        "distinct_2": _distinct(sentences, 2),
        "duplicate_share": 1 - len(set(map(tuple, sentences))) / len(sentences),
        "sentences": len(sentences),
        "max_order": max_order,
    }


class Diversity(evaluate.Metric):
    """`evaluate` module over [`compute_diversity`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=Features({"predictions": Value("string")}),
            reference_urls=["https://github.com/mjpost/sacrebleu"],
        )

    def _compute(self, predictions, max_order=4):
        return compute_diversity(predictions, max_order=max_order)
