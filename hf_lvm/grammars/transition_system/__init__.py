"""Trees of a grammar built action by action, and an automaton that says which actions may come next."""

from hf_lvm.grammars.transition_system.automaton import Automaton, DerivationStates
from hf_lvm.grammars.transition_system.characters import (
    CHARACTER_RULES,
    AnyText,
    AnyWord,
    CharacterRule,
    Digits,
    Identifier,
    WordExcept,
)
from hf_lvm.grammars.transition_system.lexicons import ClosedLexicon, Lexicon, OpenLexicon, frequent_pieces
from hf_lvm.grammars.transition_system.oracle import actions_of, tree_of
from hf_lvm.grammars.transition_system.sources import Source
from hf_lvm.grammars.transition_system.spelling import copied, spelled
from hf_lvm.grammars.transition_system.vocabulary import END, FINISH, PAD, REDUCE, START, ActionKind, ActionVocabulary

__all__ = [
    "CHARACTER_RULES",
    "END",
    "FINISH",
    "PAD",
    "REDUCE",
    "START",
    "ActionKind",
    "ActionVocabulary",
    "AnyText",
    "AnyWord",
    "Automaton",
    "CharacterRule",
    "ClosedLexicon",
    "DerivationStates",
    "Digits",
    "Identifier",
    "Lexicon",
    "OpenLexicon",
    "Source",
    "WordExcept",
    "actions_of",
    "copied",
    "frequent_pieces",
    "spelled",
    "tree_of",
]
