"""Are shorter sentences good ones, and better than as many words that no model chose?"""

from collections import Counter
from collections.abc import Sequence

import evaluate
import numpy as np
from datasets import Features, List, Value
from numpy.typing import ArrayLike

from hf_lvm.metrics.columns import check_is_column
from hf_lvm.metrics.compression.scoring import MULTIPLE_REFERENCES, TextScorer
from hf_lvm.metrics.compression.words import WORD_RULES, control_texts, split_words

_DESCRIPTION = """\
ROUGE and token F1 of compressed sentences, in the same call with those of controls that need no model: the first words of
the source, as many as the prediction has; the first k words of every source; random words, as many; the whole source.
ROUGE F1 rewards length and news says what matters first, so that without controls of the same length a score says nothing:
the whole source has a token F1 of .58 on the usual 1,000 test sentences of the Google corpus and of .85 on broadcast news.
ROUGE is that of rouge-score with stemming, which lower-cases and keeps a-z and 0-9 only. Token F1 and all counts of words
are over words as they stand, case included: give predictions, references and sources in one tokenization and case."""

_INPUTS_DESCRIPTION = """
Args:
    predictions: compressed sentences, strings; an empty one scores 0.
    references: the compressions wanted, for each prediction one string or a list of strings.
    sources: the sentences that were compressed, strings.
    seed (defaults to 0): of random_k.
    reconstruction_nats: -log p(source | prediction) of each sentence. An argument of `compute`, not of `add_batch`.
    multiple_references (defaults to "best"): "best": of several references the best for each score; "mean": the mean over
        them, as published numbers on Broadcast news and DUC have it.
    limit_bytes: also gives recall of ROUGE for texts cut at so many bytes; 75 in DUC.
    words (defaults to "whitespace"): "whitespace" separates words; with "punctuation", each punctuation mark is a word too,
        for text that is not tokenized, where "end." is not the word "end".

Returns:
    rouge1, rouge2, rougeL: F1, mean over sentences, 0-100.
    rouge1_recall, rouge2_recall, rougeL_recall: 0-100, of the first limit_bytes bytes; only with limit_bytes.
    token_f1: F1 of the bags of words, mean over sentences, 0-1.
    compression_ratio, reference_compression_ratio: words of predictions, and of references / words of sources, over the
        corpus.
    copied_share, novel_share: words of predictions that stand in their source, as often as there, and the others, in 0-1
        over the corpus; None where no prediction has a word.
    prefix_share, whole_source_share, empty_share: share of the predictions that are the first words of their source or all
        of it, that are all of it, and that have no word.
    reconstruction_nats_per_word: nats / words of sources, over the corpus; None without reconstruction_nats.
    controls: for first_k, first_k_corpus, random_k and keep_all: the scores above and compression_ratio. Recall of keep_all is
        that of the source cut at limit_bytes.
    gain_over_first_k: the scores minus those of first_k.
    first_k_corpus_words: the k of first_k_corpus, which comes closest to the words of all predictions.
    sentences, predicted_words, source_words: how many there were.
    multiple_references, limit_bytes, words, seed: as given.

Examples:
    >>> metric = hf_lvm.metrics.load("compression")
    >>> source = "the old cat sat on the mat all day"
    >>> metric.compute(predictions=["the cat sat on the mat"], references=["a cat sat on a mat"], sources=[source])
"""

_CITATION = """\
@inproceedings{lin2004rouge,
  title     = {{ROUGE}: A Package for Automatic Evaluation of Summaries},
  author    = {Lin, Chin-Yew},
  booktitle = {Text Summarization Branches Out},
  year      = {2004},
}
@inproceedings{filippova2013overcoming,
  title     = {Overcoming the Lack of Parallel Data in Sentence Compression},
  author    = {Filippova, Katja and Altun, Yasemin},
  booktitle = {Proceedings of EMNLP},
  year      = {2013},
}
@inproceedings{ghalandari2022efficient,
  title     = {Efficient Unsupervised Sentence Compression by Fine-tuning Transformers with Reinforcement Learning},
  author    = {Ghalandari, Demian and Hokamp, Chris and Ifrim, Georgiana},
  booktitle = {Proceedings of ACL},
  year      = {2022},
}"""


def compute_compression(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    sources: Sequence[str],
    seed: int = 0,
    reconstruction_nats: ArrayLike | None = None,
    multiple_references: str = "best",
    limit_bytes: int | None = None,
    words: str = "whitespace",
) -> dict[str, float | int | str | None | dict]:
    """Compare N compressions with references, beside controls of the same length.

    Definitions that published numbers follow:

    - Google corpus, first 1,000 of its evaluation pairs as raw text, `words="punctuation"`, case kept: token F1 of the first
      11 words is .577, of the first 10 .560, of the whole source .582. Over tokens by white space, with the kept ones as
      reference (known for 993 pairs), the same three are .597, .581 and .598: say which of them a number belongs to.
    - Broadcast news has 3 references and DUC 4, and numbers are means over them, `multiple_references="mean"`: token F1 of
      the whole source is .854 on Broadcast (.918 with the best reference) and .825 on BNC, over words by white space.
    - DUC: recall of 75 bytes, `limit_bytes=75`. Cutting the source there is the control `keep_all`.

    Args:
        predictions: N compressions. One without a word is legal and scores 0.
        references: N strings, or for each row one or more.
        sources: N sentences that were compressed, each with a word.
        seed: of `random_k`.
        reconstruction_nats: (N,) -log p(source | prediction) in nats.
        multiple_references: `"best"`, each score by itself, or `"mean"`.
        limit_bytes: bytes of UTF-8 after which texts are cut, for recall only.
        words: `"whitespace"` or `"punctuation"`, see [`hf_lvm.metrics.compression.words.split_words`]. Case counts; a model
            of lower-cased text is given lower-cased references and sources. White space between words never counts.

    Returns:
        - `rouge1`, `rouge2`, `rougeL`: F1 of rouge-score with stemming, mean over rows, 0-100; with `limit_bytes` also
          `rouge1_recall`, `rouge2_recall`, `rougeL_recall`. rouge-score lower-cases and keeps a-z and 0-9 only, so it gives 0
          for text in another alphabet;
        - `token_f1`, 0-1: F1 of the bags of words, mean over rows;
        - `compression_ratio`, `reference_compression_ratio`: words / words of sources, over the corpus; a row with several
          references has the mean of their words;
        - `copied_share`, `novel_share`, 0-1 over the corpus: words of predictions that stand in their source, each as often
          as there, and the others; None where no prediction has a word;
        - `prefix_share`, `whole_source_share`, `empty_share`, 0-1: predictions that are the first words of their source or
          all of it, that are all of it, that have no word;
        - `reconstruction_nats_per_word`: nats / words of sources over the corpus; None without `reconstruction_nats`;
        - `controls`: for each of [`hf_lvm.metrics.compression.words`] the scores and `compression_ratio`. Those matched in
          each sentence are shorter where a prediction is longer than its source;
        - `gain_over_first_k`: scores minus those of `first_k`; `first_k_corpus_words`: the k of `first_k_corpus`;
        - `sentences`, `predicted_words`, `source_words`, and `multiple_references`, `limit_bytes`, `words`, `seed`.

    Raises:
        ValueError: an unknown option, no row, lengths that differ; and, with the row named, what is no string, a source or
            reference without a word, a row without references, nats that are negative or not finite.

    Example:
        >>> compute_compression(["the cat sat"], ["the cat sat"], ["the old cat sat"])["controls"]["first_k"]["token_f1"]
        0.6666666666666666
    """
    _check_options(multiple_references, limit_bytes, words)
    _check_lengths(predictions, references, sources)
    predictions = _texts("predictions", predictions)
    sources = _texts("sources", sources)
    targets = [_references(row, given) for row, given in enumerate(references)]
    predicted = [split_words(text, words) for text in predictions]
    given = [split_words(text, words) for text in sources]
    for row, source in enumerate(given):
        if not source:
            raise ValueError(f"sources[{row}] holds no word; there is nothing to compress, so leave that row out")
    nats = None if reconstruction_nats is None else _nats(reconstruction_nats, len(sources))

    scorer = TextScorer(multiple_references, words, limit_bytes)
    count, source_words = len(sources), sum(map(len, given))

    def means(texts: Sequence[str]) -> dict[str, float]:
        rows = [scorer.score(text, row_targets) for text, row_targets in zip(texts, targets, strict=True)]
        ratio = sum(len(split_words(text, words)) for text in texts) / source_words
        return {**{name: sum(row[name] for row in rows) / count for name in scorer.names}, "compression_ratio": ratio}

    scores = means(predictions)
    texts, common = control_texts(sources, [len(row) for row in predicted], seed, words)
    controls = {name: means(control) for name, control in texts.items()}
    predicted_words = sum(map(len, predicted))
    reference_words = sum(sum(len(split_words(text, words)) for text in row) / len(row) for row in targets)
    pairs = list(zip(predicted, given, strict=True))
    copied = sum((Counter(row) & Counter(source)).total() for row, source in pairs)
    return {
        **scores,
        "reference_compression_ratio": reference_words / source_words,
        "copied_share": copied / predicted_words if predicted_words else None,
        "novel_share": 1 - copied / predicted_words if predicted_words else None,
        "prefix_share": sum(bool(row) and row == source[: len(row)] for row, source in pairs) / count,
        "whole_source_share": sum(row == source for row, source in pairs) / count,
        "empty_share": sum(not row for row in predicted) / count,
        "reconstruction_nats_per_word": None if nats is None else float(nats.sum()) / source_words,
        "controls": controls,
        "gain_over_first_k": {name: scores[name] - controls["first_k"][name] for name in scorer.names},
        "first_k_corpus_words": common,
        "sentences": count,
        "predicted_words": predicted_words,
        "source_words": source_words,
        "multiple_references": multiple_references,
        "limit_bytes": limit_bytes,
        "words": words,
        "seed": seed,
    }


def _check_options(multiple_references: str, limit_bytes: int | None, words: str) -> None:
    for name, value, choices in (
        ("multiple_references", multiple_references, MULTIPLE_REFERENCES),
        ("words", words, WORD_RULES),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, choices))}")
    if limit_bytes is not None and limit_bytes < 1:
        raise ValueError(f"limit_bytes is {limit_bytes}; texts are cut after at least 1 byte, or not at all with None")


def _check_lengths(predictions: Sequence, references: Sequence, sources: Sequence) -> None:
    for name, column in (("predictions", predictions), ("references", references), ("sources", sources)):
        check_is_column(name, column)
    if not len(predictions) == len(references) == len(sources) or len(sources) == 0:
        raise ValueError(
            f"there are {len(predictions)} predictions, {len(references)} references and {len(sources)} sources; "
            "one of each for every sentence and at least one sentence is needed"
        )


def _texts(name: str, texts: Sequence[str]) -> list[str]:
    """Strings without white space around them and with one space wherever there was some, as lengths in bytes need it."""
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{place}] is a {type(text).__name__}; a string is needed")
    return [" ".join(text.split()) for text in texts]


def _references(row: int, given: str | Sequence[str]) -> list[str]:
    name = f"references[{row}]"
    if isinstance(given, str):
        given = [given]
    elif not isinstance(given, Sequence | np.ndarray) or len(given) == 0:
        what = "holds none" if isinstance(given, Sequence | np.ndarray) else f"is a {type(given).__name__}"
        raise ValueError(f"{name} {what}; one string or a list of at least one is needed")
    texts = _texts(name, given)
    for place, text in enumerate(texts):
        if not text:
            raise ValueError(f"{name}[{place}] holds no word; no prediction can match it, so leave that reference out")
    return texts


def _nats(values: ArrayLike, count: int) -> np.ndarray:
    nats = np.asarray(values, dtype=np.float64)
    if nats.shape != (count,):
        raise ValueError(f"reconstruction_nats has shape {nats.shape}; one number for each of the {count} sentences is needed")
    wrong = np.flatnonzero(~(np.isfinite(nats) & (nats >= 0)))
    if wrong.size:
        raise ValueError(
            f"reconstruction_nats[{wrong[0]}] is {nats[wrong[0]]}, and {wrong.size} of {count} are negative or not finite; "
            "pass -log p(source | prediction)"
        )
    return nats


class Compression(evaluate.Metric):
    """`evaluate` module over [`compute_compression`]."""

    def _info(self) -> evaluate.MetricInfo:
        texts = {"predictions": Value("string"), "sources": Value("string")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=[
                Features({**texts, "references": List(Value("string"))}),
                Features({**texts, "references": Value("string")}),
            ],
            reference_urls=["https://github.com/google-research/google-research/tree/master/rouge"],
        )

    # Columns of `evaluate` are always needed, so what may be left out comes as an option.
    def _compute(
        self,
        predictions,
        references,
        sources,
        seed=0,
        reconstruction_nats=None,
        multiple_references="best",
        limit_bytes=None,
        words="whitespace",
    ):
        return compute_compression(
            predictions, references, sources, seed, reconstruction_nats, multiple_references, limit_bytes, words
        )
