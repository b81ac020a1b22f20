"""A language given by EBNF: its grammar of abstract syntax, and texts to trees and back.

A text is a row of tokens with blanks between them. Terminals are not in the tree: they follow from its constructors.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hf_lvm.grammars.abstract_syntax import Node, Value, refuse_deep_nesting
from hf_lvm.grammars.asdl import Cardinality, Constructor, Field, Grammar
from hf_lvm.grammars.ebnf.text import Alternative, Group, Symbol, Terminal, parse_rules

_CARDINALITIES = {"(": Cardinality.SINGLE, "[": Cardinality.OPTIONAL, "{": Cardinality.SEQUENCE}


@dataclass(frozen=True)
class _Slot:
    """Where a field stands in the text, with the terminals that come and go with each thing in it."""

    field: Field
    before: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()


class EBNFLanguage:
    """A language of token texts.

    The first rule is the root. Each rule is a type, each alternative a constructor: with its label for a name, else that of
    the rule, numbered where there are several. `[ ]` and `{ }` around one type, with terminals or not, are an optional field
    and a sequence; around anything else they hold a type of their own.

    Args:
        text: of the rules, see `hf_lvm.grammars.ebnf.text`.
        patterns: primitive type -> a regular expression that its values match as a whole. A value is one token, and never a
            terminal of the language.
        name: what to call it in an error.

    Attributes:
        grammar: of the trees.
        terminals: all tokens of the texts that are no values.

    Raises:
        ValueError: what is no EBNF; a rule that begins with itself (left recursion), which reading from left to right would
            never get out of; a repetition of something that may be empty; patterns of other types, or that are no regular
            expressions; and what a `Grammar` refuses.
    """

    def __init__(self, text: str, patterns: Mapping[str, str] | None = None, name: str = "The grammar"):
        rules = parse_rules(text, name)
        self.name = name
        self._types: dict[str, list[Constructor]] = {}
        self._forms: dict[str, list[str | _Slot]] = {}
        for rule, alternatives in rules.items():
            self._add(rule, alternatives, rules)
        used = {field.type for row in self._types.values() for constructor in row for field in constructor.fields}
        primitives = sorted(used - self._types.keys())
        self.grammar = Grammar(self._types, primitives, next(iter(rules)), name)
        self._patterns = _compiled(patterns or {}, primitives, name)
        self.terminals = {token for form in self._forms.values() for item in form for token in _tokens(item)}
        self._empty = self._find_empty()
        self._check_repetitions(name)
        self._check_left_recursion(name)

    def parse(self, text: str, name: str = "The text") -> Node:
        """The tree of a text.

        Raises:
            ValueError: a text that the language does not have: the place among the tokens that reading came to is named, and
                what may stand there; one that has two trees, or too many things inside each other.
        """
        tokens = text.split()
        reading = _Reading(self, tokens)
        with refuse_deep_nesting(name):
            trees = list(dict.fromkeys(tree for tree, end in reading.of_type(self.grammar.root, 0) if end == len(tokens)))
        if not trees:
            found = repr(tokens[reading.furthest]) if reading.furthest < len(tokens) else "the end"
            raise ValueError(
                f"{name} cannot be derived: at token {reading.furthest} there is {found}, where "
                f"{' or '.join(sorted(reading.expected))} is expected."
            )
        if len(trees) > 1:
            raise ValueError(f"{name} has {len(trees)} trees, {trees[0]} and {trees[1]}: make the grammar unambiguous.")
        return trees[0]

    def write(self, tree: Node) -> str:
        """The text of a tree, which is read as the same tree again.

        Raises:
            ValueError: a tree that the grammar does not derive, or whose text has another tree.
        """
        self.grammar.check(tree)
        text = " ".join(self._written(tree))
        if self.parse(text) != tree:
            raise ValueError(f"The tree {tree} cannot be written: {text!r} is read as another one.")
        return text

    def admits(self, type_: str, token: str) -> bool:
        """Whether a token is a value of a primitive type."""
        return token not in self.terminals and self._patterns[type_].fullmatch(token) is not None

    def _written(self, tree: Node) -> Iterable[str]:
        children = iter(tree.children)
        for item in self._forms[tree.constructor]:
            if isinstance(item, str):
                yield item
                continue
            child = next(children)
            for part in child if isinstance(child, tuple) else () if child is None else (child,):
                yield from item.before
                yield from (part,) if isinstance(part, str) else self._written(part)
                yield from item.behind

    # ---- from rules to constructors ----------------------------------------------------------------------------------

    def _add(self, type_: str, alternatives: tuple[Alternative, ...], rules: Mapping[str, object]) -> None:
        constructors: list[Constructor] = []
        self._types[type_] = constructors
        for number, alternative in enumerate(alternatives):
            name = alternative.label or (type_ if len(alternatives) == 1 else f"{type_}_{number}")
            if name in self._forms:
                raise ValueError(f"{self.name} has two constructors {name!r}: give the alternatives other labels.")
            form: list[str | _Slot] = []
            self._forms[name] = form
            for place, item in enumerate(alternative.items):
                form.append(item.token if isinstance(item, Terminal) else self._slot(item, f"{name}_{place}", rules))
            constructors.append(Constructor(name, tuple(item.field for item in form if isinstance(item, _Slot))))

    def _slot(self, item: Symbol | Group, name: str, rules: Mapping[str, object]) -> _Slot:
        if isinstance(item, Symbol):
            return _Slot(Field(f"{item.name}_{name.rsplit('_', 1)[1]}", item.name))
        cardinality = _CARDINALITIES[item.sign]
        if len(item.alternatives) == 1 and item.alternatives[0].label is None:
            items = item.alternatives[0].items
            types = [place for place, each in enumerate(items) if not isinstance(each, Terminal)]
            if len(types) == 1 and isinstance(items[types[0]], Symbol):
                before, behind = items[: types[0]], items[types[0] + 1 :]
                field = Field(f"{items[types[0]].name}_{name.rsplit('_', 1)[1]}", items[types[0]].name, cardinality)
                return _Slot(field, tuple(each.token for each in before), tuple(each.token for each in behind))
        if name in rules:
            raise ValueError(f"{self.name} has a rule {name!r}, which is the name of a group: rename the rule.")
        self._add(name, item.alternatives, rules)
        return _Slot(Field(name, name, cardinality))

    # ---- left recursion ----------------------------------------------------------------------------------------------

    def _find_empty(self) -> set[str]:
        """The types that have a tree without a token."""
        empty: set[str] = set()
        while grown := {
            type_
            for type_, names in self.grammar.types.items()
            if type_ not in empty and any(all(_may_be_empty(item, empty) for item in self._forms[name]) for name in names)
        }:
            empty |= grown
        return empty

    def _check_repetitions(self, name: str) -> None:
        for constructor, form in self._forms.items():
            for item in form:
                if isinstance(item, str) or item.field.cardinality is not Cardinality.SEQUENCE or item.before + item.behind:
                    continue
                if item.field.type in self._empty:
                    raise ValueError(
                        f"{name} repeats {item.field.type!r} in {constructor!r}, which may be empty: any number of empty ones "
                        "would be the same text."
                    )

    def _check_left_recursion(self, name: str) -> None:
        begins: dict[str, set[str]] = {type_: set() for type_ in self.grammar.types}
        for type_, names in self.grammar.types.items():
            for constructor in names:
                for item in self._forms[constructor]:
                    if isinstance(item, _Slot) and not item.before and item.field.type in begins:
                        begins[type_].add(item.field.type)
                    if not _may_be_empty(item, self._empty):
                        break
        for type_ in begins:
            path = _way_back(type_, begins)
            if path:
                raise ValueError(
                    f"{name} is left-recursive: {' begins with '.join(path)}. Write what is repeated as a repetition, as in "
                    'sum = term { "+" term } ;'
                )


class _Reading:
    """All trees of the beginnings of a token row, each type at each place once."""

    def __init__(self, language: EBNFLanguage, tokens: list[str]):
        self.language, self.tokens = language, tokens
        self.known: dict[tuple[str, int], list[tuple[Node | str, int]]] = {}
        self.furthest, self.expected = 0, set()

    def of_type(self, type_: str, place: int) -> list[tuple[Node | str, int]]:
        if (type_, place) not in self.known:
            self.known[type_, place] = self._found(type_, place)
        return self.known[type_, place]

    def _found(self, type_: str, place: int) -> list[tuple[Node | str, int]]:
        language = self.language
        if language.grammar.is_primitive(type_):
            if place < len(self.tokens) and language.admits(type_, self.tokens[place]):
                return [(self.tokens[place], place + 1)]
            self._miss(place, type_)
            return []
        found = []
        for name in language.grammar.types[type_]:
            states: list[tuple[tuple[Value, ...], int]] = [((), place)]
            for item in language._forms[name]:
                states = [
                    ((*children, *new), following) for children, end in states for new, following in self._item(item, end)
                ]
            found += [(Node(name, children), end) for children, end in states]
        return found

    def _item(self, item: str | _Slot, place: int) -> list[tuple[tuple[Value, ...], int]]:
        if isinstance(item, str):
            end = self._terminals((item,), place)
            return [] if end is None else [((), end)]
        if item.field.cardinality is Cardinality.SINGLE:
            return [((value,), end) for value, end in self._once(item, place)]
        if item.field.cardinality is Cardinality.OPTIONAL:
            return [((None,), place), *(((value,), end) for value, end in self._once(item, place))]
        rows: list[tuple[tuple[Node | str, ...], int]] = [((), place)]
        for row, end in rows:  # grows as it is read
            rows += [((*row, value), following) for value, following in self._once(item, end)]
        return [((row,), end) for row, end in rows]

    def _once(self, slot: _Slot, place: int) -> list[tuple[Node | str, int]]:
        begin = self._terminals(slot.before, place)
        if begin is None:
            return []
        ends = ((value, self._terminals(slot.behind, end)) for value, end in self.of_type(slot.field.type, begin))
        return [(value, end) for value, end in ends if end is not None]

    def _terminals(self, tokens: tuple[str, ...], place: int) -> int | None:
        for token in tokens:
            if place >= len(self.tokens) or self.tokens[place] != token:
                self._miss(place, repr(token))
                return None
            place += 1
        return place

    def _miss(self, place: int, expected: str) -> None:
        if place > self.furthest:
            self.furthest, self.expected = place, set()
        if place == self.furthest:
            self.expected.add(expected)


def _compiled(patterns: Mapping[str, str], primitives: list[str], name: str) -> dict[str, re.Pattern[str]]:
    """Primitive type -> what its values match; any token where no pattern is given."""
    if not isinstance(patterns, Mapping):
        raise ValueError(f"patterns is {patterns!r}: a mapping from primitive types to regular expressions is needed.")
    if unknown := [type_ for type_ in patterns if type_ not in primitives]:
        raise ValueError(
            f"{name} has a pattern for {unknown[0]!r}, and the primitive types {', '.join(primitives)}: name one of these."
        )
    compiled = {}
    for type_ in primitives:
        pattern = patterns.get(type_, r"\S+")
        try:
            compiled[type_] = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"The pattern {pattern!r} of the type {type_!r} is no regular expression ({error}): write one such as [0-9]+."
            ) from error
    return compiled


def _tokens(item: str | _Slot) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else item.before + item.behind


def _may_be_empty(item: str | _Slot, empty: set[str]) -> bool:
    if isinstance(item, str):
        return False
    if item.field.cardinality is not Cardinality.SINGLE:
        return True
    return item.field.type in empty and not item.before + item.behind


def _way_back(type_: str, begins: Mapping[str, set[str]]) -> list[str]:
    """A way from a type to itself along what it may begin with; empty where there is none."""
    ways, seen = [[type_]], set()
    for way in ways:  # grows as it is read
        for following in sorted(begins[way[-1]]):
            if following == type_:
                return [*way, following]
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []
