"""ROUGE and token F1 of one text with its references."""

import functools
from collections.abc import Callable, Sequence
from statistics import fmean

from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer, tokenize, tokenizers

from hf_lvm.metrics.compression.words import split_words, token_f1

ROUGE = ("rouge1", "rouge2", "rougeL")

# How the scores with several references become one.
MULTIPLE_REFERENCES: dict[str, Callable[[Sequence[float]], float]] = {"best": max, "mean": fmean}


class _CachingTokenizer(tokenizers.Tokenizer):
    """The stemming tokenizer of rouge-score with a cache: references come again for each control, and most words often."""

    def __init__(self):
        self.stem = functools.cache(PorterStemmer().stem)
        self.tokenize = functools.cache(self.tokenize)

    def tokenize(self, text: str) -> list[str]:
        return tokenize.tokenize(text, self)


class TextScorer:
    """Scores texts with their references, equal pairs once.

    Args:
        multiple_references: `"best"`: the highest of each score by itself; `"mean"`: their mean.
        rule: what a word of `token_f1` is, see [`hf_lvm.metrics.compression.words.split_words`].
        limit_bytes: length in UTF-8 at which a text is cut for recall; None: no recall.
    """

    def __init__(self, multiple_references: str = "best", rule: str = "whitespace", limit_bytes: int | None = None):
        self.combine = MULTIPLE_REFERENCES[multiple_references]
        self.rule = rule
        self.limit_bytes = limit_bytes
        self.rouge = rouge_scorer.RougeScorer(list(ROUGE), use_stemmer=True, tokenizer=_CachingTokenizer())
        self._pairs: dict[tuple[str, str], dict[str, float]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the scores."""
        return [*ROUGE, "token_f1", *(f"{name}_recall" for name in ROUGE if self.limit_bytes is not None)]

    def score(self, text: str, references: Sequence[str]) -> dict[str, float]:
        """Each of `names`: ROUGE F1 and recall in 0-100, `token_f1` in 0-1; all 0 for a text without words."""
        pairs = [self._pair(text, reference) for reference in references]
        return {name: self.combine([pair[name] for pair in pairs]) for name in self.names}

    def _pair(self, text: str, reference: str) -> dict[str, float]:
        scores = self._pairs.get((text, reference))
        if scores is None:
            rouge = self.rouge.score(reference, text)
            scores = {name: 100 * float(rouge[name].fmeasure) for name in ROUGE}
            scores["token_f1"] = token_f1(split_words(text, self.rule), split_words(reference, self.rule))
            if self.limit_bytes is not None:
                cut = text.encode()[: self.limit_bytes].decode(errors="ignore")
                recall = rouge if cut == text else self.rouge.score(reference, cut)
                scores |= {f"{name}_recall": 100 * float(recall[name].recall) for name in ROUGE}
            self._pairs[text, reference] = scores
        return scores
