"""The actions that build trees of a grammar, as numbers.

Trees are built from the root, depth first and from left to right (Yin and Neubig 2017): ApplyRule makes a node, Reduce closes
a sequence or leaves an optional field empty, GenToken writes a value of a primitive type, by its pieces or by copying a word
of the source.
"""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from hf_lvm.grammars.asdl import Grammar, parse_asdl, write_asdl
from hf_lvm.grammars.transition_system.lexicons import Lexicon, lexicon_from_dict, lexicon_to_dict

# The first numbers are those that decoders and tokenizers of this package have for padding, start and end.
PAD, START, END, REDUCE, FINISH = range(5)
FIRST_RULE = 5


class ActionKind(Enum):
    """What an action does."""

    SPECIAL = "special"
    REDUCE = "reduce"
    FINISH = "finish"
    RULE = "rule"
    PIECE = "piece"
    COPY = "copy"


class ActionVocabulary:
    """Numbers for actions: padding, start, end, Reduce, the end of a value; rules; pieces of values; words of the source.

    A rule is a constructor, whatever the type of the node is; a piece is a string, whatever the type of the value is.

    Args:
        grammar: of the trees.
        lexicons: how the values of each primitive type are written.
        copy_slots: how many words of a source can be copied; those past it cannot.
        copied: the primitive types whose values may be copied; None: all.

    Raises:
        ValueError: a primitive type without a lexicon, or names that are no primitive types.
    """

    def __init__(
        self,
        grammar: Grammar,
        lexicons: Mapping[str, Lexicon],
        copy_slots: int = 0,
        copied: Collection[str] | None = None,
    ):
        if missing := [type_ for type_ in grammar.primitives if type_ not in lexicons]:
            raise ValueError(
                f"The primitive type {missing[0]!r} has no lexicon: say with a ClosedLexicon or an OpenLexicon how its values "
                "are written."
            )
        if unknown := [type_ for type_ in (*lexicons, *(copied or ())) if type_ not in grammar.primitives]:
            raise ValueError(f"{unknown[0]!r} is no primitive type of the grammar, which has {', '.join(grammar.primitives)}.")
        self.grammar, self.copy_slots = grammar, copy_slots
        self.lexicons = {type_: lexicons[type_] for type_ in grammar.primitives}
        self.copied = frozenset(grammar.primitives if copied is None else copied) if copy_slots else frozenset()
        self.rules = {name: FIRST_RULE + place for place, name in enumerate(grammar.constructors)}
        self.first_piece = FIRST_RULE + len(self.rules)
        pieces = dict.fromkeys(piece for lexicon in self.lexicons.values() for piece in lexicon.pieces)
        self.pieces = {piece: self.first_piece + place for place, piece in enumerate(pieces)}
        self.first_copy = self.first_piece + len(self.pieces)
        self._names = ["<pad>", "<start>", "<end>", "Reduce", "Finish", *self.rules, *self.pieces]
        # Action -> place of the piece in the lexicon of a type, and back.
        self.places = {
            type_: {self.pieces[piece]: place for place, piece in enumerate(lexicon.pieces)}
            for type_, lexicon in self.lexicons.items()
        }
        self.actions = {type_: list(places) for type_, places in self.places.items()}

    def to_dict(self) -> dict[str, Any]:
        """What [`from_dict`] makes the same vocabulary of, as JSON has it.

        Raises:
            ValueError: a lexicon or a rule that is none of this package.
        """
        return {
            "grammar": write_asdl(self.grammar),
            "lexicons": {type_: lexicon_to_dict(lexicon) for type_, lexicon in self.lexicons.items()},
            "copy_slots": self.copy_slots,
            "copied": sorted(self.copied) if self.copy_slots else None,
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "ActionVocabulary":
        """A vocabulary with the same numbers as the one that was saved."""
        lexicons = {type_: lexicon_from_dict(lexicon) for type_, lexicon in saved["lexicons"].items()}
        return cls(parse_asdl(saved["grammar"]), lexicons, saved["copy_slots"], saved["copied"])

    def spelled(self, type_: str, value: str) -> list[int] | None:
        """The actions that spell a value of a primitive type, its end included; None where the lexicon cannot write it."""
        lexicon = self.lexicons[type_]
        pieces = lexicon.segment(value)
        if pieces is None:
            return None
        actions = [self.actions[type_][piece] for piece in pieces]
        return [*actions, FINISH] if lexicon.is_open else actions

    def __len__(self) -> int:
        return self.first_copy + self.copy_slots

    def kind(self, action: int) -> ActionKind:
        """What an action does.

        Raises:
            ValueError: a number that is no action.
        """
        if not 0 <= action < len(self):
            raise ValueError(f"{action} is no action: they are numbered from 0 to {len(self) - 1}.")
        if action >= self.first_copy:
            return ActionKind.COPY
        if action >= self.first_piece:
            return ActionKind.PIECE
        if action >= FIRST_RULE:
            return ActionKind.RULE
        return {REDUCE: ActionKind.REDUCE, FINISH: ActionKind.FINISH}.get(action, ActionKind.SPECIAL)

    def name(self, action: int) -> str:
        """What an action does, to be read: the constructor, the piece, or which word is copied."""
        kind = self.kind(action)
        if kind is ActionKind.COPY:
            return f"copy {action - self.first_copy}"
        return repr(self._names[action]) if kind is ActionKind.PIECE else self._names[action]

    def constructor(self, action: int) -> str:
        """The name of the constructor of a rule."""
        return self._names[action]

    def piece(self, action: int) -> str:
        """The string of a piece."""
        return self._names[action]
