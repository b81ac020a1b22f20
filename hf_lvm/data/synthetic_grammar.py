"""Sentences with gold trees from a probabilistic grammar that is written down here: a small fragment of English.

No sentence is ambiguous under its grammar and all trees are binary, so that the gold tree is the only one there is to find. A
parser that has never seen a tree can find it by what stands in place of what. Trees that need no parser do not come near, as
no direction of branching prevails (sentence F1 by the protocol `prpn`: right-branching trees 37, balanced 30, random 26,
left-branching 13):

- to the left branch possessives `(((the girl) 's) dog)`, degrees `((really very) old)`, and what is added to a verb phrase,
  `(((saw Anna) yesterday) (in (the garden)))`;
- to the right, clauses, `(said (that (Peter slept)))`, `((the boy) (who (met Maria)))`;
- coordinations are balanced, `((the king) (and (a horse)))`.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset, DatasetDict

from hf_lvm.data.splits import split_dataset

BRANCHING = ("mixed", "left", "right")
# The names that `load_texts` knows, and the branching of each.
NAMES = {"synthetic_grammar": "mixed", "synthetic_grammar_left": "left", "synthetic_grammar_right": "right"}
MIN_WORDS, MAX_WORDS = 4, 14

# The words of each kind. What stands before an underscore is the part of speech, by the tags of the Penn Treebank.
WORDS = {
    kind: tuple(words.split())
    for kind, words in {
        "DT": "the a this every",
        "NN": "girl boy teacher farmer doctor baker king queen dog cat horse bird",
        "NN_place": "garden house village forest kitchen tower",
        "NNP": "Anna Peter Maria Paul Julia Simon",
        "NNS_time": "days weeks years",
        "JJ": "old young small tall happy quiet clever strange",
        "RB_degree": "very quite rather really",
        "RB": "yesterday today again often quietly slowly",
        "CD": "two three four ten",
        "RB_ago": "ago",
        "VBD_object": "saw met helped followed liked called visited painted",
        "VBD": "slept laughed sang danced smiled waited",
        "VBD_clause": "said thought knew believed",
        "VB": "help follow call visit paint thank",
        "IN": "in near behind",
        "IN_that": "that",
        "WP": "who",
        "CC": "and or",
        "CC_but": "but",
        "POS": "'s",
        "UH": "please",
    }.items()
}

# What a constituent is made of, with weights. What stands before an underscore is its label; a kind of words is one of them.
Rules = Mapping[str, Sequence[tuple[float, str]]]
_COMMON: Rules = {
    "PP": [(1, "IN NP_place")],
    "NP_place": [(1, "DT NN_place")],
    "SBAR_that": [(1, "IN_that S")],
}
_MIXED: Rules = {
    **_COMMON,
    "statement": [(5, "S"), (1, "S_two")],
    "question": [(1, "SBARQ")],
    "command": [(1, "S_command")],
    "S": [(1, "NP VP")],
    "S_two": [(1, "S S_but")],
    "S_but": [(1, "CC_but S")],
    "SBARQ": [(1, "WP VP_added")],
    "S_command": [(1, "UH VP_command")],
    "VP_command": [(2, "VB NP"), (2, "VP_command ADVP"), (1, "VP_command PP")],
    "NP": [(6, "NP_base"), (1, "NP_who"), (2, "NP_two")],
    "NP_base": [(3, "NNP"), (4, "DT NP_noun"), (4, "NP_owner NP_noun")],
    "NP_owner": [(1, "NP_base POS")],
    "NP_noun": [(6, "NN"), (3, "ADJP NP_noun")],
    "ADJP": [(2, "JJ"), (2, "RB_degree JJ"), (2, "ADVP_degree JJ")],
    "ADVP_degree": [(1, "RB_degree RB_degree")],
    "NP_who": [(1, "NP_base SBAR_who")],
    "SBAR_who": [(1, "WP VP_plain")],
    "NP_two": [(1, "NP_base NP_and")],
    "NP_and": [(1, "CC NP_base")],
    "VP": [(6, "VP_added"), (1, "VBD_clause SBAR_that")],
    "VP_plain": [(2, "VBD"), (3, "VBD_object NP")],
    "VP_added": [(3, "VP_plain"), (3, "VP_added ADVP"), (2, "VP_added PP")],
    "ADVP": [(3, "RB"), (1, "NP_time RB_ago")],
    "NP_time": [(1, "CD NNS_time")],
}
_RIGHT: Rules = {
    **_COMMON,
    "statement": [(1, "S")],
    "question": [(1, "SBARQ")],
    "command": [(1, "S_command")],
    "S": [(1, "NP_short VP")],
    "SBARQ": [(1, "WP VP")],
    "S_command": [(1, "UH VP_command")],
    "VP_command": [(1, "VB NP")],
    "NP_short": [(1, "NNP"), (1, "DT NN")],
    "VP": [(1, "VBD"), (4, "VBD_object NP"), (2, "VBD_clause SBAR_that")],
    "NP": [(1, "NNP"), (3, "DT NP_noun")],
    "NP_noun": [(2, "NN"), (2, "JJ NP_noun"), (2, "NN SBAR_who"), (1, "NN PP")],
    "SBAR_who": [(1, "WP VP")],
}
SENTENCE_TYPES = {"statement": 6, "question": 2, "command": 2}


@dataclass(frozen=True)
class Phrase:
    """A constituent of a sentence: a word under its part of speech, or two parts under a label."""

    label: str
    word: str | None = None
    parts: tuple["Phrase", ...] = ()

    def words(self) -> list[str]:
        """Its words, in order."""
        return [self.word] if self.word is not None else [word for part in self.parts for word in part.words()]

    def write(self) -> str:
        """A bracketed string with labels and tags."""
        return f"({self.label} {self.word or ' '.join(part.write() for part in self.parts)})"

    def mirrored(self) -> "Phrase":
        """The same phrase from its end to its beginning."""
        return Phrase(self.label, self.word, tuple(part.mirrored() for part in reversed(self.parts)))


def rules_of(branching: str) -> Rules:
    """The grammar whose sentences have trees of one kind; for `"left"` that of their mirror images.

    Raises:
        ValueError: another kind than "mixed", "left" or "right".
    """
    if branching not in BRANCHING:
        raise ValueError(f"There is no grammar with branching {branching!r}; choose one of {', '.join(map(repr, BRANCHING))}.")
    return _MIXED if branching == "mixed" else _RIGHT


def generate(branching: str = "mixed", seed: int = 0) -> Iterator[tuple[str, Phrase]]:
    """Draw sentences of `MIN_WORDS` to `MAX_WORDS` words without end: the type of each and its tree.

    The same seed gives the same sentences.

    Args:
        branching: See `load`.
        seed: Of the draws.
    """
    rules, generator = rules_of(branching), random.Random(seed)
    types, weights = list(SENTENCE_TYPES), list(SENTENCE_TYPES.values())
    while True:
        kind = generator.choices(types, weights)[0]
        phrase = _draw(kind, rules, generator, MAX_WORDS)
        if phrase is not None and len(phrase.words()) >= MIN_WORDS:
            yield kind, phrase.mirrored() if branching == "left" else phrase


def load(branching: str = "mixed", num_sentences: int = 6000, seed: int = 0) -> DatasetDict:
    """Sentences with gold trees, all different, in the splits `train`, `validation` and `test` (about 90%, 5%, 5%).

    Args:
        branching (`str`, *optional*, defaults to `"mixed"`):
            `"mixed"`: no direction prevails. `"right"`: nearly all trees branch to the right. `"left"`: the mirror images of
            those, as in a language whose heads come last.
        num_sentences (`int`, *optional*, defaults to 6000):
            How many there are in all splits together. Fewer are a part of more.
        seed (`int`, *optional*, defaults to 0):
            Of the draws.

    Returns:
        `DatasetDict` with the columns `text` (4 to 14 words), `tree` (a bracketed string with labels and tags, binary) and
        `sentence_type` ("statement", "question" or "command"), in memory.

    Raises:
        ValueError: an unknown `branching`, or no sentence.
    """
    if num_sentences < 1:
        raise ValueError(f"num_sentences={num_sentences}: at least one sentence is needed.")
    rows: dict[str, dict[str, str]] = {}
    for kind, phrase in generate(branching, seed):
        text = " ".join(phrase.words())
        rows.setdefault(text, {"text": text, "tree": phrase.write(), "sentence_type": kind})
        if len(rows) == num_sentences:
            break
    return split_dataset(Dataset.from_list(list(rows.values())), list(rows))


def _draw(symbol: str, rules: Rules, generator: random.Random, room: int) -> Phrase | None:
    """One phrase, or None as soon as it has more words than there is room for."""
    if symbol in WORDS:
        return Phrase(_label(symbol), generator.choice(WORDS[symbol])) if room > 0 else None
    if room < 1:
        return None
    weights, choices = zip(*rules[symbol], strict=True)
    first, *second = generator.choices(choices, weights)[0].split()
    left = _draw(first, rules, generator, room - len(second))
    if not second or left is None:
        return left
    right = _draw(second[0], rules, generator, room - len(left.words()))
    return None if right is None else Phrase(_label(symbol), parts=(left, right))


def _label(symbol: str) -> str:
    return symbol.partition("_")[0]
