"""How much of a sentence its reconstruction keeps: exact and partial matches, content words, degenerate loops."""

import re
from collections.abc import Sequence

import evaluate
import sacrebleu
from datasets import Features, Value

from hf_lvm.metrics.columns import check_pairs, check_sentences

_DESCRIPTION = """\
Compares reconstructions with the sentences they came from. Words are separated by white space, and differences of
white space do not count. Content words are the lower-cased words of at least three characters, one of them a letter,
that are not function words of English; their recall says whether the latent carries what a sentence is about even
where its wording is lost. Triple repeats count the outputs that fell into a loop."""

_INPUTS_DESCRIPTION = """
Args:
    predictions: reconstructed sentences, strings.
    references: the sentences themselves, one per prediction.

Returns:
    exact_match: share of predictions equal to their reference.
    token_accuracy: share of positions that hold the same word in both, over the corpus; a position that only the
        longer sentence has counts as wrong.
    edit_similarity: 1 - word edit distance / length of the longer sentence, mean over sentences.
    content_word_recall: share of the distinct content words of each reference that stand in its prediction, over the
        corpus; None where no reference has any.
    bleu: corpus BLEU of sacrebleu in 0-100 (nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp).
    triple_repeats, triple_repeat_share: number and share of predictions that say a word three times in a row.
    All shares lie in 0-1.

Examples:
    >>> metric = hf_lvm.metrics.load("reconstruction")
    >>> metric.compute(predictions=["a cat sat on the mat"], references=["the cat sat on the mat"])
"""

_CITATION = """\
@inproceedings{post2018call,
  title     = {A Call for Clarity in Reporting {BLEU} Scores},
  author    = {Post, Matt},
  booktitle = {Proceedings of the Third Conference on Machine Translation: Research Papers},
  year      = {2018},
}"""

# Function words of three characters or more; shorter words never count as content.
_FUNCTION_WORDS = """
about above across after again against all almost along already also although always among and another any anyone
anything are aren't around because been before being below between both but can can't cannot could couldn't did didn't
does doesn't doing don't down during each either else enough etc even ever every everyone everything few for from
further had hadn't has hasn't have haven't having he'd he'll he's hence her here hers herself him himself his how
however i'd i'll i'm i've instead into isn't it'll it's its itself just less many may maybe might mine more moreover
most much must mustn't myself neither never nobody none nor not nothing now off often once one ones only onto other
others otherwise our ours ourselves out over own per perhaps quite rather really same shall she she'd she'll she's
should shouldn't since some someone something sometimes still such than that that's the their theirs them themselves
then there there's therefore these they they'd they'll they're they've this those though through throughout thus too
toward towards under unless until upon usually very via was wasn't we'd we'll we're we've were weren't what what's
when where whether which while who who's whom whose why will with within without won't would wouldn't yet you you'd
you'll you're you've your yours yourself yourselves
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())

# <unk> and the like stand for words and are not words themselves.
_PLACEHOLDER = re.compile(r"<\w+>")
_WORD = re.compile(r"\w+(?:'\w+)*")
_EDGE_PUNCTUATION = re.compile(r"^\W+|\W+$")


def content_words(text: str) -> set[str]:
    """The distinct words of `text` that carry content.

    A word is a run of letters, digits, underscores and inner apostrophes, in lower case; it counts when it has at
    least three characters, one of them a letter, and is not in `FUNCTION_WORDS`. Placeholders such as `<unk>` are no
    words.
    """
    words = _WORD.findall(_PLACEHOLDER.sub(" ", text.lower().replace("\u2019", "'")))
    return {
        word
        for word in words
        if len(word) >= 3 and word not in FUNCTION_WORDS and any(character.isalpha() for character in word)
    }


def repeats_a_word_three_times(text: str) -> bool:
    """Whether some word follows itself twice, such as "the the the".

    Words are separated by white space and compared in lower case without the punctuation around them; what is
    punctuation only is compared as it stands, so ", , ," repeats and "..." does not.
    """
    words = [_EDGE_PUNCTUATION.sub("", word) or word for word in text.lower().split()]
    return any(first == second == third for first, second, third in zip(words, words[1:], words[2:], strict=False))


def edit_similarity(prediction: str, reference: str) -> float:
    """1 - Levenshtein distance in words / words of the longer sentence; 1 for two empty sentences."""
    source, target = prediction.split(), reference.split()
    if source == target:
        return 1.0
    distances = list(range(len(target) + 1))  # from the words of `source` read so far to each prefix of `target`
    for row, source_word in enumerate(source, start=1):
        diagonal, distances[0] = distances[0], row
        for column, target_word in enumerate(target, start=1):
            substitution = diagonal + (source_word != target_word)
            diagonal = distances[column]
            distances[column] = min(substitution, diagonal + 1, distances[column - 1] + 1)
    return 1 - distances[-1] / max(len(source), len(target))


def compute_reconstruction(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float | int | None]:
    """Compare N reconstructed sentences with the N sentences they came from.

    Args:
        predictions: reconstructed sentences.
        references: the sentences themselves, one per prediction.

    Returns:
        Shares in 0-1 unless said otherwise:

        - `exact_match`: predictions equal to their reference up to white space.
        - `token_accuracy`: positions with the same word in both, over the corpus; a position that only the longer
          sentence has counts as wrong.
        - `edit_similarity`: mean of [`edit_similarity`] over sentences.
        - `content_word_recall`: distinct [`content_words`] of each reference found among those of its prediction, over
          the corpus; None where no reference has any.
        - `bleu`: corpus BLEU of sacrebleu with its defaults, in 0-100.
        - `triple_repeats`, `triple_repeat_share`: number and share of predictions of which
          [`repeats_a_word_three_times`] is true.

    Raises:
        ValueError: no sentence, lengths that differ, something that is not a string.
    """
    for name, texts in (("predictions", predictions), ("references", references)):
        check_sentences(name, texts)
    check_pairs(predictions, references)

    pairs = [(text.split(), reference.split()) for text, reference in zip(predictions, references, strict=True)]
    matches = sum(left == right for pair in pairs for left, right in zip(*pair, strict=False))
    positions = sum(max(map(len, pair)) for pair in pairs)
    wanted = [content_words(reference) for reference in references]
    found = [words & content_words(prediction) for words, prediction in zip(wanted, predictions, strict=True)]
    content_total = sum(map(len, wanted))
    repeats = sum(map(repeats_a_word_three_times, predictions))
    count = len(pairs)
    return {
        "exact_match": sum(prediction == reference for prediction, reference in pairs) / count,
        "token_accuracy": matches / positions if positions else 1.0,
        "edit_similarity": sum(map(edit_similarity, predictions, references)) / count,
        "content_word_recall": sum(map(len, found)) / content_total if content_total else None,
        # `force` only silences the warning that the text looks tokenized, which research corpora are.
        "bleu": sacrebleu.corpus_bleu(list(predictions), [list(references)], force=True).score,
        "triple_repeats": repeats,
        "triple_repeat_share": repeats / count,
    }


class Reconstruction(evaluate.Metric):
    """`evaluate` module over [`compute_reconstruction`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=Features({"predictions": Value("string"), "references": Value("string")}),
            reference_urls=["https://github.com/mjpost/sacrebleu"],
        )

    def _compute(self, predictions, references):
        return compute_reconstruction(predictions, references)
