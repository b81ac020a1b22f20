"""Do the trees of an unsupervised parser have the brackets of gold trees?"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import evaluate
from datasets import Features, Value
from nltk import Tree

from hf_lvm.grammars.brackets import AnyTree, Bracketing, casefolded, read_tree
from hf_lvm.metrics.bracket_f1.baselines import (
    balanced,
    best_binary,
    left_branching,
    random_tree,
    right_branching,
    right_branching_last_on_top,
)
from hf_lvm.metrics.bracket_f1.protocols import PROTOCOLS, Protocol
from hf_lvm.metrics.columns import check_pairs

_DESCRIPTION = """\
Unlabelled F1 of the brackets of predicted trees, by one of the protocols that published numbers follow. They differ in
punctuation, in the brackets that count and in the mean (over brackets or over sentences), so that numbers of two protocols
cannot be compared: urnng-script, what the code of Kim et al. 2019 prints; urnng-evalb, evalb with the parameters of that
code; prpn (Shen et al. 2018); compound-pcfg (Kim, Dyer and Rush 2019). Left-branching, right-branching, balanced, random
and the best possible binary trees are scored in the same call: F1 says little without them."""

_INPUTS_DESCRIPTION = """
Args:
    predictions: trees, one a sentence, each in one of three forms:
        a bracketed string with a label right after each opening bracket, "(X (X the dog) barks)", or with tags
        "(X (X (DT the) (NN dog)) (VBZ barks))"; an nltk.Tree; or words with the spans of brackets, counted from 0 and with
        both ends inclusive, {"words": ["the", "dog", "barks"], "spans": [(0, 1)]}, and "tags" if there are any.
        Labels and tags do not matter. Where the protocol removes punctuation, trees may be over all words or over those
        that stay.
    references: gold trees in any of these forms, which need not be binary, in the same order and over the same words; case
        does not matter. All protocols but urnng-script need their tags. Traces and empty constituents removed. Spans hold
        no unary chains and no brackets of one word, which urnng-evalb counts: give it whole trees.
    protocol: "urnng-script", "urnng-evalb", "prpn" or "compound-pcfg".
    seed (defaults to 0): of the random trees.

Returns:
    corpus_f1, corpus_precision, corpus_recall: over the brackets of all sentences together, 0-100.
    sentence_f1: mean of the F1 of each sentence, 0-100; 100 for a sentence without a bracket on either side.
        urnng-evalb has published corpus F1 only, prpn sentence F1 only.
    baselines: corpus_f1 and sentence_f1 of left_branching, right_branching, right_branching_last_on_top (the last token,
        most often a full stop, attached to all before it), balanced, random and best_binary, the bound of any binary tree.
    protocol: as given.
    sentences, skipped_sentences: scored, and left out because too few words stay.
    removed_words: words of the scored sentences that go by their tag.
    matched_brackets, predicted_brackets, gold_brackets: how many counted.

Examples:
    >>> metric = hf_lvm.metrics.load("bracket_f1")
    >>> gold = "(S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .))"
    >>> metric.compute(predictions=["(X (X (X the dog) barks) .)"], references=[gold], protocol="urnng-script")
"""

_CITATION = """\
@inproceedings{kim2019unsupervised,
  title     = {Unsupervised Recurrent Neural Network Grammars},
  author    = {Kim, Yoon and Rush, Alexander M. and Yu, Lei and Kuncoro, Adhiguna and Dyer, Chris and Melis, G{\\'a}bor},
  booktitle = {Proceedings of NAACL-HLT},
  year      = {2019},
}
@inproceedings{shen2018neural,
  title     = {Neural Language Modeling by Jointly Learning Syntax and Lexicon},
  author    = {Shen, Yikang and Lin, Zhouhan and Huang, Chin-Wei and Courville, Aaron},
  booktitle = {International Conference on Learning Representations},
  year      = {2018},
}
@inproceedings{kim2019compound,
  title     = {Compound Probabilistic Context-Free Grammars for Grammar Induction},
  author    = {Kim, Yoon and Dyer, Chris and Rush, Alexander M.},
  booktitle = {Proceedings of ACL},
  year      = {2019},
}"""

_PREDICTION = "prediction"
_BRANCHING = {
    "left_branching": left_branching,
    "right_branching": right_branching,
    "right_branching_last_on_top": right_branching_last_on_top,
    "balanced": balanced,
}

# Matched, predicted and gold brackets of one sentence.
Counts = tuple[int, int, int]


def compute_bracket_f1(
    predictions: Sequence[AnyTree],
    references: Sequence[AnyTree],
    protocol: str | None = None,
    seed: int = 0,
) -> dict[str, float | int | str | dict[str, dict[str, float]]]:
    """Compare the brackets of N predicted trees with those of gold trees, beside trees that need no parser.

    Args:
        predictions: N trees, each a bracketed string, an `nltk.Tree` or a mapping of words and spans; see
            [`hf_lvm.grammars.brackets.read_tree`]; strings have labels. Tags are not used. Where the protocol removes words, a
            tree may be over all words or over those that stay.
        references: N gold trees over the same words, whatever their case. Punctuation goes by their tags.
        protocol: one of `PROTOCOLS`; [`hf_lvm.metrics.bracket_f1.protocols`] says what each counts and where it is from.
        seed: of the random trees.

    Returns:
        F1, precision and recall in 0-100:

        - `corpus_f1`, `corpus_precision`, `corpus_recall` over the brackets of all sentences;
        - `sentence_f1`, the mean over sentences of 2 matched / (predicted + gold), 100 where neither has a bracket. Where
          gold has none, recall is 100, and precision 100 if the prediction has none either, else 0; so also over a corpus;
        - `baselines`: for each name `corpus_f1` and `sentence_f1`. Trees are built over the words that the parser of the
          protocol sees. `best_binary` is the highest F1 that binary trees can get;
        - `protocol`; `sentences` scored and `skipped_sentences`; `removed_words` of the scored sentences;
        - `matched_brackets`, `predicted_brackets`, `gold_brackets` over the corpus.

    Raises:
        ValueError: an unknown protocol or none, no sentence, lengths that differ, or no sentence with words enough to score;
            and, with the row named, what is no tree (no word, brackets that are not balanced, spans that cross or do not
            fit the words), other words in a prediction than in its reference, or a missing tag where the protocol needs
            tags.

    Example:
        >>> gold = {"words": ["the", "dog", "barks", "."], "spans": [(0, 1)]}
        >>> compute_bracket_f1(["(X (X (X the dog) barks) .)"], [gold], protocol="urnng-script")["corpus_recall"]
        100.0
    """
    rules = _protocol(protocol)
    _refuse_one_tree(predictions, references)
    check_pairs(predictions, references)
    generator = random.Random(seed)
    counts: dict[str, list[Counts]] = {}
    skipped = removed_words = 0
    tags: set[str] = set()
    for row, pair in enumerate(zip(predictions, references, strict=True)):
        predicted, gold = _read(pair[0], f"predictions[{row}]"), _read(pair[1], f"references[{row}]")
        kept = rules.kept(gold, f"references[{row}]")
        seen = _words_under(predicted, gold, kept, row)
        if not rules.scores(kept):
            skipped += 1
            tags.update(tag for tag in gold.tags if tag is not None)
            continue
        removed_words += len(kept) - sum(kept)
        for name, sentence in _count_sentence(rules, predicted, gold, kept, seen, generator).items():
            counts.setdefault(name, []).append(sentence)
    if not counts:
        found = f"; tags found: {', '.join(sorted(tags)[:12])}" if rules.needs_tags else ""
        raise ValueError(f"none of the {skipped} sentences has words enough to be scored by protocol {rules.name!r}{found}")
    matched, predicted_brackets, gold_brackets = _totals(counts[_PREDICTION])
    return {
        **_f1s(counts[_PREDICTION]),
        "corpus_precision": 100 * matched / predicted_brackets if predicted_brackets else 100.0 * (gold_brackets == 0),
        "corpus_recall": 100 * matched / gold_brackets if gold_brackets else 100.0,
        "baselines": {name: _f1s(sentences) for name, sentences in counts.items() if name != _PREDICTION},
        "protocol": rules.name,
        "sentences": len(counts[_PREDICTION]),
        "skipped_sentences": skipped,
        "removed_words": removed_words,
        "matched_brackets": matched,
        "predicted_brackets": predicted_brackets,
        "gold_brackets": gold_brackets,
    }


def _read(tree: AnyTree, name: str) -> Bracketing:
    """Every bracket as it stands there, and that of the whole sentence, which spans may leave out."""
    return read_tree(tree, labelled=True, name=name, unary_chains=True).with_sentence()


def _protocol(name: str | None) -> Protocol:
    if name not in PROTOCOLS:
        what = "no protocol is given" if name is None else f"there is no protocol {name!r}"
        raise ValueError(f"{what}; choose one of {', '.join(PROTOCOLS)}, whose numbers cannot be compared with one another")
    return PROTOCOLS[name]


def _refuse_one_tree(*columns: Sequence) -> None:
    if any(isinstance(column, str | Tree | Mapping) for column in columns):
        raise ValueError("predictions and references are lists of trees, not one tree; write [tree]")


def _words_under(predicted: Bracketing, gold: Bracketing, kept: Sequence[bool], row: int) -> list[bool]:
    """Whether each word under the predicted tree stays, after checking that they are those of the gold tree."""
    found, words = casefolded(predicted.words), casefolded(gold.words)
    if found == words:
        return list(kept)
    staying = tuple(word for word, stays in zip(words, kept, strict=True) if stays)
    if found == staying:
        return [True] * len(found)
    expected = staying if len(staying) == len(found) else words
    differs = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
    where = "" if differs is None else f", first at word {differs}: {found[differs]!r} and {expected[differs]!r}"
    without = f", {len(staying)} of which the protocol keeps" if len(staying) < len(words) else ""
    raise ValueError(
        f"predictions[{row}] has {len(found)} words and references[{row}] {len(words)}{without}; "
        f"they are not the same sentence{where}. Give both in the same order and tokenization"
    )


def _count_sentence(
    rules: Protocol,
    predicted: Bracketing,
    gold: Bracketing,
    kept: Sequence[bool],
    seen: Sequence[bool],
    generator: random.Random,
) -> dict[str, Counts]:
    target = rules.count(gold.spans, kept)
    base = list(kept) if rules.parses_punctuation else [True] * sum(kept)  # the words that trees without a parser are over
    spans = {name: branching(len(base)) for name, branching in _BRANCHING.items()}
    spans["random"] = random_tree(len(base), generator)

    def compare(brackets: Sequence[tuple[int, int]], stays: Sequence[bool]) -> Counts:
        counted = rules.count(brackets, stays)
        return (counted & target).total(), counted.total(), target.total()

    return {
        _PREDICTION: compare(predicted.spans, seen),
        **{name: compare(brackets, base) for name, brackets in spans.items()},
        "best_binary": (*best_binary(target, base, rules.counts_all), target.total()),
    }


def _totals(sentences: Iterable[Counts]) -> Counts:
    matched, predicted, gold = (sum(column) for column in zip(*sentences, strict=True))
    return matched, predicted, gold


def _f1s(sentences: Sequence[Counts]) -> dict[str, float]:
    def f1(counts: Counts) -> float:
        matched, predicted, gold = counts
        # The harmonic mean of precision and recall, written so that it has a value where one of them has none.
        return 200 * matched / (predicted + gold) if predicted + gold else 100.0

    return {"corpus_f1": f1(_totals(sentences)), "sentence_f1": sum(map(f1, sentences)) / len(sentences)}


class BracketF1(evaluate.Metric):
    """`evaluate` module over [`compute_bracket_f1`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=Features({"predictions": Value("string"), "references": Value("string")}),
            reference_urls=[
                "https://github.com/harvardnlp/urnng",
                "https://github.com/yikangshen/PRPN",
                "https://github.com/harvardnlp/compound-pcfg",
                "https://nlp.cs.nyu.edu/evalb",
            ],
        )

    # Tables of `evaluate` hold strings, so that trees in the other forms are written before they are added.
    def add(self, *, prediction=None, reference=None, **others):
        """Add one predicted and one gold tree."""
        prediction, reference = _as_string(prediction, "prediction"), _as_string(reference, "reference")
        super().add(prediction=prediction, reference=reference, **others)

    def add_batch(self, *, predictions=None, references=None, **others):
        """Add predicted and gold trees."""
        _refuse_one_tree(predictions, references)
        predictions, references = (
            None if column is None else [_as_string(tree, f"{name}[{row}]") for row, tree in enumerate(column)]
            for name, column in (("predictions", predictions), ("references", references))
        )
        super().add_batch(predictions=predictions, references=references, **others)

    def _compute(self, predictions, references, protocol=None, seed=0):
        return compute_bracket_f1(predictions, references, protocol=protocol, seed=seed)


def _as_string(tree: AnyTree, name: str) -> str:
    return tree if isinstance(tree, str) else replace(_read(tree, name), labels=()).write(name=name)
