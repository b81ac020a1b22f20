"""A grammar small enough to be enumerated, its trees, and derivations drawn from an automaton."""

import itertools
from collections.abc import Iterator, Sequence
from functools import cache

import torch

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl import Cardinality, Grammar, parse_asdl
from hf_lvm.grammars.transition_system import (
    END,
    ActionVocabulary,
    Automaton,
    ClosedLexicon,
    OpenLexicon,
    Source,
    actions_of,
)

# Every cardinality, of nodes and of values; a type inside itself; a constructor of two types.
TOY_ASDL = """
word, number
expr = Bind(word name, expr body) | Call(word function, expr* arguments) | Leaf | Maybe(expr? value, number? size)
     | Words(word+ words) | Pair(pair pair)
pair = (leaf left, expr+ right)
leaf = Leaf | Number(number value)
"""
# Three ways to cut "ab" and "aba" if nothing forbade two of them; "c" is in no piece.
PIECES = ["a", "b", "ab", "ba"]
NUMBERS = ["7", "8"]
SOURCE = ["ab", "c", "ab", "7", "a"]


def toy_grammar() -> Grammar:
    return parse_asdl(TOY_ASDL)


def toy_vocabulary(copy_slots: int = 0) -> ActionVocabulary:
    return ActionVocabulary(toy_grammar(), {"word": OpenLexicon(PIECES), "number": ClosedLexicon(NUMBERS)}, copy_slots)


def trees_within(vocabulary: ActionVocabulary, limit: int, source: Source | None = None) -> list[Node]:
    """Every tree of up to `limit` steps, a copied word counting as many as the shortest value: from the grammar alone."""
    grammar = vocabulary.grammar
    spelled = {"word": ["".join(row) for length in range(limit) for row in itertools.product("ab", repeat=length)]}
    spelled["number"] = NUMBERS

    @cache
    def of_type(type_: str, budget: int) -> list[tuple[int, Node | str]]:
        if grammar.is_primitive(type_):
            copied = source.slots.get(type_, {}) if source is not None else {}
            values = [(1, value) for value in copied]
            for value in spelled[type_]:
                if value not in copied:
                    pieces = vocabulary.lexicons[type_].segment(value)
                    values.append((len(pieces) + vocabulary.lexicons[type_].is_open, value))
            return [(steps, value) for steps, value in values if steps <= budget]
        found = []
        for name in grammar.types[type_]:
            for steps, children in of_fields(name, 0, budget - 1):
                found.append((steps + 1, Node(name, children)))
        return found

    @cache
    def of_fields(constructor: str, number: int, budget: int) -> list[tuple[int, tuple]]:
        if budget < 0:
            return []
        fields = grammar.constructors[constructor].fields
        if number == len(fields):
            return [(0, ())]
        return [
            (steps + more, (value, *others))
            for steps, value in of_field(fields[number].type, fields[number].cardinality, budget)
            for more, others in of_fields(constructor, number + 1, budget - steps)
        ]

    @cache
    def of_field(type_: str, cardinality: Cardinality, budget: int) -> list[tuple[int, object]]:
        if not cardinality.is_sequence:
            nothing = [(1, None)] if cardinality is Cardinality.OPTIONAL and budget > 0 else []
            return [*nothing, *of_type(type_, budget)]
        rows = [(1, ())] if budget > 0 else []
        agenda = [(0, ())]
        while agenda:
            steps, row = agenda.pop()
            for more, value in of_type(type_, budget - 1 - steps):
                rows.append((steps + more + 1, (*row, value)))
                agenda.append((steps + more, (*row, value)))
        return [(steps, row) for steps, row in rows if row or cardinality is Cardinality.SEQUENCE]

    return [tree for _, tree in of_type(grammar.root, limit)]


def derivations_within(automaton: Automaton, limit: int, source: Source | None = None) -> Iterator[list[int]]:
    """Every sequence of actions that the automaton lets through, step by step."""
    agenda = [(automaton.begin(limit, 1, None if source is None else [source]), [])]
    while agenda:
        states, actions = agenda.pop()
        legal = states.legal()[0].nonzero().flatten().tolist()
        assert legal, f"nothing may follow {actions}"
        if states.finished[0]:
            assert legal == [END]
            yield actions
            continue
        for action in legal:
            following = states.advance([action])
            assert not following.failed[0]
            agenda.append((following, [*actions, action]))


def drawn(
    automaton: Automaton,
    limit: int,
    count: int,
    weights: torch.Tensor | None = None,
    sources: Sequence[Source] | None = None,
) -> list[list[int]]:
    """Derivations drawn action by action among the legal ones, without END; by weights (A,)."""
    states, rows = automaton.begin(limit, count, sources), [[] for _ in range(count)]
    weights = torch.ones(len(automaton.vocabulary)) if weights is None else weights
    while not all(states.finished):
        noise = torch.empty(count, len(weights)).exponential_()
        actions = (states.legal() * weights / noise).argmax(1).tolist()
        for row, action in zip(rows, actions, strict=True):
            row.append(action)
        states = states.advance(actions)
    return [row[: row.index(END)] if END in row else row for row in rows]


def derivation(vocabulary: ActionVocabulary, tree: Node, source: Source | None = None) -> list[str]:
    return [vocabulary.name(action) for action in actions_of(vocabulary, tree, source)]
