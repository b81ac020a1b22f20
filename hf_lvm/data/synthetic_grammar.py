"""Sentences with gold trees from a probabilistic grammar that is written down here: a small fragment of English.

No sentence is ambiguous under its grammar and all trees are binary, so that each sentence has exactly one tree to find. In
sentences of mixed branching the gold tree also helps to predict the words, so that a parser that has never seen a tree can
find it. There are four kinds of things, and words go together by kind: a verb has objects of its own kind (kings are thanked,
pumps repaired), and the adverb at the end belongs to the kind of the subject, however much stands between them:

    (((kings (driving (pumps (draining floods)))) (crossed tides)) politely)

A model that composes the gold constituents has the subject at hand when it comes to the adverb; one that reads word after word
has to carry the kind of the subject past all others. Subjects branch to the right, sentences to the left, so that trees that
need no parser score low (sentence F1 by the protocol `prpn`: left-branching trees 40, random 25, balanced 11, right-branching
2; right-branching with the last word on top 62).
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

# Kind of thing -> its words by symbol: nouns, the pronoun that asks for it, what such a thing does, and how it does it; and
# what is done to it, in three forms.
KINDS = {
    "person": {
        "NN": "girls bakers teachers farmers kings doctors",
        "WP": "who",
        "VBD": "laughed danced sang prayed",
        "RB": "politely proudly gladly kindly",
        "VBD_object": "thanked praised paid hired",
        "VB": "thank praise pay hire",
        "VBG": "thanking praising paying hiring",
    },
    "animal": {
        "NN": "dogs cats horses foxes wolves goats",
        "WP": "which",
        "VBD": "growled slept yawned sniffed",
        "RB": "wildly greedily playfully lazily",
        "VBD_object": "fed groomed tamed walked",
        "VB": "feed groom tame walk",
        "VBG": "feeding grooming taming walking",
    },
    "machine": {
        "NN": "engines lorries tractors cranes trains pumps",
        "WP": "what",
        "VBD": "stalled rattled hummed jammed",
        "RB": "smoothly noisily automatically reliably",
        "VBD_object": "repaired oiled drove parked",
        "VB": "repair oil drive park",
        "VBG": "repairing oiling driving parking",
    },
    "water": {
        "NN": "rivers storms waves floods lakes tides",
        "WP": "whatever",
        "VBD": "rose froze foamed dried",
        "RB": "steadily quietly calmly gently",
        "VBD_object": "crossed drained watched feared",
        "VB": "cross drain watch fear",
        "VBG": "crossing draining watching fearing",
    },
}
# The words of each symbol. What stands before an underscore is the part of speech, by the tags of the Penn Treebank.
WORDS = {f"{symbol}_{kind}": tuple(words.split()) for kind, symbols in KINDS.items() for symbol, words in symbols.items()} | {
    symbol: tuple(words.split())
    for symbol, words in {
        "UH": "please now",
        "DT": "the a this every",
        "NN": "girl boy teacher farmer doctor baker king queen dog cat horse bird",
        "NN_place": "garden house village forest kitchen tower",
        "NNP": "Anna Peter Maria Paul Julia Simon",
        "JJ": "old young small tall happy quiet clever strange",
        "VBD_object": "saw met helped followed liked called visited painted",
        "VBD": "slept laughed sang danced smiled waited",
        "VBD_clause": "said thought knew believed",
        "VB": "help follow call visit paint thank",
        "IN": "in near behind",
        "IN_that": "that",
        "WP": "who",
    }.items()
}

# What a constituent is made of, with weights. What stands before an underscore is its label; a symbol of words is one of them.
Rules = Mapping[str, Sequence[tuple[float, str]]]


def _of_each_kind(rules: Rules) -> Rules:
    """Rules for each kind of thing from rules in which KIND stands for the kind and OTHER for any other kind."""
    found: dict[str, list[tuple[float, str]]] = {}
    for symbol, choices in rules.items():
        for kind in KINDS if "KIND" in symbol else ("",):
            expanded = found.setdefault(symbol.replace("KIND", kind), [])
            for weight, parts in choices:
                # A rule without KIND on its left has no kind yet: KIND on its right then stands for any.
                marker = "OTHER" if kind else "KIND"
                which = [each for each in KINDS if each != kind] if marker in parts else [kind]
                for each in which:
                    expanded.append((weight / len(which), parts.replace(marker, each).replace("KIND", kind)))
    return found


_MIXED = _of_each_kind(
    {
        "statement": [(1, "S_KIND")],
        "question": [(1, "SBARQ_KIND")],
        "command": [(1, "S_command_KIND")],
        "S_KIND": [(8, "S_core_KIND RB_KIND"), (1, "S_core_KIND")],
        "S_core_KIND": [(1, "NP_subject_KIND VP_KIND")],
        "SBARQ_KIND": [(1, "SBARQ_core_KIND RB_KIND")],
        "SBARQ_core_KIND": [(1, "WP_KIND VP_KIND")],
        "S_command_KIND": [(1, "VP_command_KIND UH")],
        "VP_command_KIND": [(1, "VB_KIND NP_KIND")],
        "NP_subject_KIND": [(2, "NN_KIND"), (5, "NN_KIND VP_ing_KIND")],
        "NP_object_KIND": [(4, "NN_KIND"), (1, "NN_KIND VP_ing_KIND")],
        "NP_KIND": [(1, "NN_KIND"), (1, "NN_KIND VP_ing_KIND")],
        "VP_ing_KIND": [(1, "VBG_OTHER NP_OTHER")],
        "VP_KIND": [(2, "VBD_KIND"), (3, "VBD_object_OTHER NP_object_OTHER")],
    }
)
_RIGHT: Rules = {
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
    "NP_place": [(1, "DT NN_place")],
    "PP": [(1, "IN NP_place")],
    "SBAR_that": [(1, "IN_that S")],
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
            `"mixed"`: no direction prevails, and words tell what belongs together. `"right"`: nearly all trees branch to the
            right. `"left"`: the mirror images of those, as in a language whose heads come last.
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
