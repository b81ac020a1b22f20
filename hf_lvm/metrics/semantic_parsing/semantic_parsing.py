"""Do the meanings that a semantic parser found agree with gold ones?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import evaluate
from datasets import Features, List, Value

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import Language, build_language
from hf_lvm.metrics.columns import check_is_column, check_pairs
from hf_lvm.metrics.compression.words import token_f1

_DESCRIPTION = """\
Exact match of predicted meanings with gold ones, in two columns that say what "exact" is: the published comparison of a
language (for lambda calculus that of Yin et al. 2018, where the parts of and/or are sorted by their predicate and variables
keep their names) and a full one, which takes the parts of and/or for multisets and looks through the names of bound variables.
Beside them whether one of the k best is right, the share of well-formed predictions, and token F1. Meanings are in lambda
calculus, in s-expressions, in Python or in a language given by EBNF; texts are parsed, never run."""

_INPUTS_DESCRIPTION = """
Args:
    predictions: for each sentence a meaning, a list of meanings with the best first, or None or an empty list where nothing
        was found.
    references: gold meanings, one a sentence, in the same order.
    language (defaults to "lambda_calculus"): "lambda_calculus", "s_expressions", "python" or "ebnf".
    language_options: of the language, such as {"prefix": "_"}; {"root": "expr"} for Python; {"text": ...}, the grammar, for
        EBNF.

Returns:
    exact_match_published, exact_match_canonical: share of sentences whose best prediction is the gold meaning, 0-100.
    oracle_at_k: "published" and "canonical", each a list whose k-th number is the share of sentences with the gold meaning
        among their k best, 0-100, up to the longest list of predictions.
    well_formed: share of sentences whose best prediction has a tree in the language, 0-1; nothing found is not well formed.
    well_formed_hypotheses: the same over all predictions; None where there are none.
    token_f1: F1 of the bags of tokens of the best prediction and the gold meaning, mean over sentences, 0-1.
    sentences, without_prediction, hypotheses: how many there were.
    language: as given.

Examples:
    >>> metric = hf_lvm.metrics.load("semantic_parsing")
    >>> gold = ["( lambda $0 e ( and ( flight $0 ) ( to $0 ci0 ) ) )"]
    >>> metric.compute(predictions=["( lambda $0 e ( and ( to $0 ci0 ) ( flight $0 ) ) )"], references=gold)
"""

_CITATION = """\
@inproceedings{yin2018structvae,
  title     = {{StructVAE}: Tree-structured Latent Variable Models for Semi-supervised Semantic Parsing},
  author    = {Yin, Pengcheng and Zhou, Chunting and He, Junxian and Neubig, Graham},
  booktitle = {Proceedings of ACL},
  year      = {2018},
}
@inproceedings{dong2016language,
  title     = {Language to Logical Form with Neural Attention},
  author    = {Dong, Li and Lapata, Mirella},
  booktitle = {Proceedings of ACL},
  year      = {2016},
}"""

# Column of exact match -> rule of canonical trees.
_RULES = {"published": "published", "canonical": "full"}

Prediction = str | Sequence[str] | None


@dataclass(frozen=True)
class _Read:
    """A meaning: its canonical tree in each column, None where it has no tree, and its tokens."""

    canonical: Mapping[str, Node] | None
    tokens: tuple[str, ...]


def compute_semantic_parsing(
    predictions: Sequence[Prediction],
    references: Sequence[str],
    language: str = "lambda_calculus",
    language_options: Mapping[str, Any] | None = None,
) -> dict[str, float | int | str | None | dict[str, list[float]]]:
    """Compare the meanings found for N sentences with gold ones.

    Args:
        predictions: N meanings, each a string, a list of strings with the best first, or None or an empty list where nothing
            was found, which counts as wrong.
        references: N meanings of the language.
        language: one of [`hf_lvm.grammars.languages.LANGUAGES`], which say what their two comparisons are: for lambda calculus
            see [`hf_lvm.grammars.languages.lambda_calculus`]. For Python both compare trees.
        language_options: of the language.

    Returns:
        - `exact_match_published`, `exact_match_canonical`, 0-100: sentences whose best prediction is the gold meaning by the
          rules `"published"` and `"full"`;
        - `oracle_at_k`: `published` and `canonical`, each K numbers in 0-100 where K is the longest list of predictions (1 at
          least): the k-th is the share of sentences whose gold meaning is among their k best. A prediction that has no tree
          takes its place like any other;
        - `well_formed`, 0-1: sentences whose best prediction has a tree; `well_formed_hypotheses`, 0-1, over all predictions,
          None where there are none;
        - `token_f1`, 0-1: F1 of the bags of tokens (`Language.tokens`) of the best prediction, well formed or not, and of the
          gold meaning, mean over sentences, 0 where nothing was found. What has a tree is compared as the language writes it,
          so that blanks and, in Python, quotes do not matter;
        - `sentences`, `without_prediction`, `hypotheses` (all predictions), and `language`.

    Raises:
        ValueError: an unknown language or option, no sentence, lengths that differ, one string in place of a list; and, with
            the row named, what is no string, or a reference that the language does not derive.

    Example:
        >>> compute_semantic_parsing(["( f b a )"], ["( f a b )"])["exact_match_canonical"]
        0.0
    """
    chosen = build_language(language, **(language_options or {}))
    _check_columns(predictions, references)
    ranked = [_ranked(given, f"predictions[{row}]") for row, given in enumerate(predictions)]

    @cache
    def read(text: str) -> _Read:
        return _read(text, chosen)

    places: dict[str, list[int | None]] = {column: [] for column in _RULES}
    overlaps = []
    for row, (hypotheses, reference) in enumerate(zip(ranked, references, strict=True)):
        if not isinstance(reference, str):
            raise ValueError(f"references[{row}] is a {type(reference).__name__}; a string is needed")
        gold = read(reference)
        if gold.canonical is None:
            _read(reference, chosen, f"references[{row}]")
        found = [read(text) for text in hypotheses]
        overlaps.append(token_f1(found[0].tokens, gold.tokens) if found else 0.0)
        for column, own in places.items():
            matches = (
                place
                for place, each in enumerate(found)
                if each.canonical is not None and each.canonical[column] == gold.canonical[column]
            )
            own.append(next(matches, None))
    count, longest = len(ranked), max([1, *map(len, ranked)])
    oracle = {
        column: [100 * sum(place is not None and place < k for place in own) / count for k in range(1, longest + 1)]
        for column, own in places.items()
    }
    everything = [text for hypotheses in ranked for text in hypotheses]
    derived = [read(text).canonical is not None for text in everything]
    best = [read(hypotheses[0]).canonical is not None for hypotheses in ranked if hypotheses]
    return {
        "exact_match_published": oracle["published"][0],
        "exact_match_canonical": oracle["canonical"][0],
        "oracle_at_k": oracle,
        "well_formed": sum(best) / count,
        "well_formed_hypotheses": sum(derived) / len(derived) if derived else None,
        "token_f1": sum(overlaps) / count,
        "sentences": count,
        "without_prediction": count - len(best),
        "hypotheses": len(everything),
        "language": language,
    }


def _read(text: str, language: Language, name: str | None = None) -> _Read:
    """A text as it is compared. What the language does not derive has no tree, or, if it has a name, is an error."""
    try:
        tree = language.parse(text, name or "The prediction")
        canonical = {column: language.canonical(tree, rule) for column, rule in _RULES.items()}
    except (ValueError, RecursionError) as error:
        if name is None:
            return _Read(None, tuple(language.tokens(text)))
        reason = error if isinstance(error, ValueError) else f"{name} has brackets in one another deeper than can be read."
        raise ValueError(f"{reason} References must be meanings of the language; leave out or mend that row") from error
    try:
        written = language.write(tree)
    except ValueError:
        # Python that can be read and not written, which some formatted strings are.
        written = text
    return _Read(canonical, tuple(language.tokens(written)))


def _check_columns(predictions: Sequence[Prediction], references: Sequence[str]) -> None:
    for name, column in (("predictions", predictions), ("references", references)):
        check_is_column(name, column)
    check_pairs(predictions, references)


def _ranked(given: Prediction, name: str) -> list[str]:
    """The meanings found for a sentence, best first."""
    if given is None:
        return []
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else [given]
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            where = name if texts == [given] else f"{name}[{place}]"
            raise ValueError(f"{where} is a {type(text).__name__}; a string, a list of strings or None is needed")
    return texts


class SemanticParsing(evaluate.Metric):
    """`evaluate` module over [`compute_semantic_parsing`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=Features({"predictions": List(Value("string")), "references": Value("string")}),
            reference_urls=["https://github.com/pcyin/structVAE", "https://github.com/pcyin/tranX"],
        )

    # Tables of `evaluate` hold one kind of thing, so that one meaning and none become lists before they are added.
    def add(self, *, prediction=None, reference=None, **others):
        """Add what was found for one sentence, and its gold meaning."""
        super().add(prediction=_ranked(prediction, "prediction"), reference=reference, **others)

    def add_batch(self, *, predictions=None, references=None, **others):
        """Add what was found for sentences, and their gold meanings."""
        _check_columns(predictions, references)
        predictions = [_ranked(given, f"predictions[{row}]") for row, given in enumerate(predictions)]
        super().add_batch(predictions=predictions, references=references, **others)

    def _compute(self, predictions, references, language="lambda_calculus", language_options=None):
        return compute_semantic_parsing(predictions, references, language, language_options)
