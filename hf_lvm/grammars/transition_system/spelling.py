"""Derivations that copy and derivations that spell: one tree, two sequences of actions.

What is written beside a sentence may copy its words. A reader that does not see the sentence needs the same tree spelled out.
"""

from collections.abc import Iterable

from hf_lvm.grammars.transition_system.automaton import Automaton
from hf_lvm.grammars.transition_system.lexicons import NEVER
from hf_lvm.grammars.transition_system.oracle import actions_of, tree_of
from hf_lvm.grammars.transition_system.sources import Source
from hf_lvm.grammars.transition_system.vocabulary import ActionKind


def spelled(automaton: Automaton, actions: Iterable[int], source: Source | None) -> list[int]:
    """The actions that build the same tree without copying.

    Args:
        automaton: of the vocabulary that copies.
        actions: that build a tree, without start and end.
        source: whose words they copy; None where they copy nothing.

    Raises:
        ValueError: a copy without a source, or of a word that it does not have or the lexicon cannot spell.
    """
    actions, vocabulary = list(actions), automaton.vocabulary
    if not any(action >= vocabulary.first_copy for action in actions):
        return actions
    stack, found = automaton.begin(NEVER - 1, 1).stacks[0], []
    for action in actions:
        following, _ = automaton.follow(stack, action)
        if vocabulary.kind(action) is ActionKind.COPY:
            found += _value(automaton, stack.frame.type, action - vocabulary.first_copy, source)
        else:
            found.append(action)
        stack = following
    return found


def _value(automaton: Automaton, type_: str, slot: int, source: Source | None) -> list[int]:
    words = () if source is None else source.words
    if slot >= len(words):
        raise ValueError(f"There is a copy of word {slot} of a source of {len(words)} words: pass the words it was made with.")
    actions = automaton.vocabulary.spelled(type_, words[slot])
    if actions is None:
        raise ValueError(
            f"The copied word {words[slot]!r} is none that the lexicon of the type {type_} can spell: make the Source with "
            "spelled_within."
        )
    return actions


def copied(
    automaton: Automaton, actions: Iterable[int], source: Source | None, limit: int, name: str = "The tree"
) -> list[int]:
    """The one sequence of actions that builds the same tree and copies what it can.

    Args:
        actions: that build a tree without copying, without start and end.
        limit: the most steps of a tree.
        name: what to call the tree in an error.

    Raises:
        ValueError: actions that build no tree, or more steps than the limit.
    """
    tree = tree_of(automaton.vocabulary, actions, name=name)
    found = actions_of(automaton.vocabulary, tree, source, name)
    steps = automaton.count_steps(found)
    if steps > limit:
        raise ValueError(f"{name} takes {steps} steps, and the limit is {limit}: raise it, or leave the tree out.")
    return found
