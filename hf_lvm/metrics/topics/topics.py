"""Do the words of a topic belong together, and does every topic say something of its own?"""

from collections.abc import Iterable, Sequence

import evaluate
import numpy as np
from datasets import Features, List, Value
from scipy.sparse import csr_matrix

_DESCRIPTION = """\
Coherence and diversity of the topics of a topic model. Coherence is the normalised pointwise mutual information (Bouma
2009) of two top words of a topic, averaged over the pairs of a topic and then over topics (Aletras and Stevenson 2013, Lau
et al. 2014). Probabilities are shares of reference documents that hold a word or both words, without smoothing; take
documents the model was not trained on. Diversity is the share of different words among the top words of all topics (Dieng
et al. 2020): a model can be coherent by repeating its one good topic. Both depend on the number of top words, and
coherence on the reference documents, their length and the vocabulary, so only numbers from equal ones can be compared."""

_INPUTS_DESCRIPTION = """
Args:
    topics: words of each topic, most probable first, strings.
    documents: words of each reference document, strings in any order; split and cased as those of the topics. They are
        an argument of `compute`, given once and not by `add_batch`, because there are not as many of them as of topics.
    top_words (defaults to 10): first words of each topic that count. Dieng et al. 2020 take 10 for coherence and 25 for
        diversity.

Returns:
    npmi: -1 to 1, mean over topics. 0 is what independent words get. A pair that no document holds counts as -1, so do
        all pairs of a word that is in no document; a pair that every document holds counts as 1.
    npmi_per_topic: list of the same, in the order of topics.
    unseen_pair_share: share of the pairs that no document holds, in 0-1. Some published values count these as 0 and not as
        -1; such a value is npmi + unseen_pair_share.
    diversity: different words / words among the top words of all topics, 1 / topics to 1.
    absent_words: how many different top words are in no document.
    topics, top_words, documents: how many there were.

Examples:
    >>> metric = hf_lvm.metrics.load("topics")
    >>> documents = [["open", "file", "path"], ["file", "path"], ["thread", "lock"], ["lock", "open", "thread"]]
    >>> metric.compute(topics=[["file", "path"], ["thread", "lock"]], documents=documents, top_words=2)
"""

_CITATION = """\
@inproceedings{bouma2009normalized,
  title     = {Normalized (Pointwise) Mutual Information in Collocation Extraction},
  author    = {Bouma, Gerlof},
  booktitle = {Proceedings of the Biennial GSCL Conference},
  year      = {2009},
}
@inproceedings{aletras2013evaluating,
  title     = {Evaluating Topic Coherence Using Distributional Semantics},
  author    = {Aletras, Nikolaos and Stevenson, Mark},
  booktitle = {Proceedings of the International Conference on Computational Semantics},
  year      = {2013},
}
@inproceedings{lau2014machine,
  title     = {Machine Reading Tea Leaves: Automatically Evaluating Topic Coherence and Topic Model Quality},
  author    = {Lau, Jey Han and Newman, David and Baldwin, Timothy},
  booktitle = {Proceedings of EACL},
  year      = {2014},
}
@article{dieng2020topic,
  title     = {Topic Modeling in Embedding Spaces},
  author    = {Dieng, Adji B. and Ruiz, Francisco J. R. and Blei, David M.},
  journal   = {Transactions of the Association for Computational Linguistics},
  year      = {2020},
}"""


def document_cooccurrence(words: Sequence[str], documents: Iterable[Iterable[str]]) -> np.ndarray:
    """Count the documents that hold each word and each pair of words.

    Args:
        words: W different words.
        documents: words of each document, in any order; how often a document says a word does not matter.

    Returns:
        (W, W) whole numbers: documents that hold both words, and on the diagonal those that hold the word.
    """
    column = {word: place for place, word in enumerate(words)}
    wanted = frozenset(column)
    columns: list[int] = []
    row_ends = [0]
    for document in documents:
        columns += [column[word] for word in wanted.intersection(document)]
        row_ends.append(len(columns))
    held = csr_matrix((np.ones(len(columns), np.int64), columns, row_ends), shape=(len(row_ends) - 1, len(words)))
    return (held.T @ held).toarray()


def npmi_matrix(cooccurrence: np.ndarray, num_documents: int) -> np.ndarray:
    """Normalised pointwise mutual information of every pair of words (Bouma 2009).

    With P(i) and P(i, j) the shares of documents that hold word i, and both words,

        NPMI(i, j) = log[ P(i, j) / (P(i) P(j)) ] / -log P(i, j)

    lies in -1 to 1: 0 for independent words, 1 for words that only occur together. Its limits stand where the formula has
    no value: -1 for words that never occur together (so for a word in no document), 1 for a pair that all documents hold.

    Args:
        cooccurrence: (W, W) documents that hold both words, on the diagonal those that hold one.
        num_documents: documents in all.

    Returns:
        (W, W), symmetric, float64.
    """
    counts = np.asarray(cooccurrence, dtype=np.float64)
    npmi = np.full(counts.shape, -1.0)
    first, second = np.nonzero(counts)
    log_all = np.log(num_documents)
    log_single = np.log(np.diagonal(counts)[first]) + np.log(np.diagonal(counts)[second])
    log_both = np.log(counts[first, second])
    information, normalizer = log_both + log_all - log_single, log_all - log_both
    npmi[first, second] = np.divide(information, normalizer, out=np.ones_like(information), where=normalizer > 0)
    return npmi


def compute_topics(
    topics: Sequence[Sequence[str]], documents: Sequence[Sequence[str]], top_words: int = 10
) -> dict[str, float | int | list[float]]:
    """Measure the coherence of K topics on N reference documents, and their diversity.

    Args:
        topics: at least `top_words` different words of each topic, most probable first.
        documents: words of each document, split and cased as those of the topics. Documents without a word count in N.
        top_words: words of each topic that count, at least 2.

    Returns:
        - `npmi`, -1 to 1: mean over topics of `npmi_per_topic`, a list of K means over the pairs of top words of
          [`npmi_matrix`];
        - `unseen_pair_share`, 0-1: pairs that no document holds, each of which counts as -1. Code that counts them as 0,
          as that of Lau et al. 2014, gives `npmi` + `unseen_pair_share`;
        - `diversity`: different words / words among the top words of all topics, 1/K to 1 (Dieng et al. 2020);
        - `absent_words`: how many different top words are in no document;
        - `topics` K, `top_words`, `documents` N.

    Raises:
        ValueError: no topic, fewer than two documents, a topic that is too short or says a word twice, a topic or document
            that is a string, `top_words` below 2, documents that hold none of the words.
    """
    if top_words < 2:
        raise ValueError(f"top_words is {top_words}; coherence compares pairs of words and needs at least 2")
    if len(topics) == 0 or len(documents) < 2:
        raise ValueError(
            f"there are {len(topics)} topics and {len(documents)} documents; at least one topic and two documents are needed"
        )
    _check_lists_of_words("topics", topics)
    _check_lists_of_words("documents", documents)
    tops = [_top(number, topic, top_words) for number, topic in enumerate(topics)]
    place: dict[str, int] = {}
    for top in tops:
        for word in top:
            place.setdefault(word, len(place))
    cooccurrence = document_cooccurrence(list(place), documents)
    absent_words = int((np.diagonal(cooccurrence) == 0).sum())
    if absent_words == len(place):
        raise ValueError(
            f"none of the {len(place)} top words is in a document; split and case the documents as the vocabulary of the model"
        )
    indices = np.array([[place[word] for word in top] for top in tops])
    first, second = np.triu_indices(top_words, k=1)
    pairs = indices[:, first], indices[:, second]
    npmi_per_topic = npmi_matrix(cooccurrence, len(documents))[pairs].mean(axis=1)
    return {
        "npmi": float(npmi_per_topic.mean()),
        "npmi_per_topic": npmi_per_topic.tolist(),
        "unseen_pair_share": float((cooccurrence[pairs] == 0).mean()),
        "diversity": len(place) / indices.size,
        "absent_words": absent_words,
        "topics": len(topics),
        "top_words": top_words,
        "documents": len(documents),
    }


def _check_lists_of_words(name: str, lists: Sequence[Sequence[str]]) -> None:
    for number, words in enumerate(lists):
        if isinstance(words, str):
            raise ValueError(
                f"{name}[{number}] is one string; a list of words is needed, split as the vocabulary of the model is"
            )


def _top(number: int, topic: Sequence[str], top_words: int) -> list[str]:
    words = list(topic[:top_words])
    others = sorted({type(word).__name__ for word in words if not isinstance(word, str)})
    if others:
        raise ValueError(f"topics[{number}] holds {', '.join(others)}; words are strings, not their ids")
    if len(words) < top_words:
        raise ValueError(f"topics[{number}] has {len(words)} words; give at least top_words = {top_words}, or lower top_words")
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise ValueError(f"topics[{number}] says {', '.join(map(repr, twice))} more than once; top words are different ones")
    return words


class Topics(evaluate.Metric):
    """`evaluate` module over [`compute_topics`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            # Columns of `evaluate` have one length, so the documents, as many as there are, come as an option.
            features=Features({"topics": List(Value("string"))}),
        )

    def _compute(self, topics, documents=None, top_words=10):
        if documents is None:
            raise ValueError("there are no documents; pass them to compute, as in metric.compute(topics=..., documents=...)")
        return compute_topics(topics, documents, top_words=top_words)
