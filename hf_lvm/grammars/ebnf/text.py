"""EBNF texts to rules.

    # what stands behind a hash is a comment
    query = "select" column { "," column } "from" table [ "where" test ] ;
    test  = Both: test_item "and" test | Single: test_item ;

Terminals stand in quotes; `[ ]` is once or not at all, `{ }` any number of times, `( )` a group; a name with a colon before an
alternative is the name of its constructor. Names that no rule defines are primitive types.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<space>\s+|#[^\n]*)|(?P<terminal>\"[^\"\n]*\"|'[^'\n]*')|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[=|;:,()\[\]{}])"
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Terminal:
    """A token of the text that is always the same."""

    token: str


@dataclass(frozen=True)
class Symbol:
    """A type: one that has a rule, or a primitive one."""

    name: str


@dataclass(frozen=True)
class Group:
    """Alternatives in brackets; `sign` is the opening one."""

    sign: str
    alternatives: "tuple[Alternative, ...]"


@dataclass(frozen=True)
class Alternative:
    """A row of items, with the name of its constructor where it has one."""

    items: tuple[Terminal | Symbol | Group, ...]
    label: str | None = None


def parse_rules(text: str, name: str) -> dict[str, tuple[Alternative, ...]]:
    """Rule -> its alternatives.

    Raises:
        ValueError: what is no EBNF, with the line; a rule that is defined twice; a terminal that is empty or holds a blank.
    """
    return _Reader(text, name).rules()


class _Reader:
    def __init__(self, text: str, name: str):
        self.name, self.place, self.tokens = name, 0, []
        place, line = 0, 1
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"{name} has {text[place]!r} in line {line}, which EBNF does not know.")
            if match.lastgroup != "space":
                self.tokens.append((match.group(), match.lastgroup, line))
            line += match.group().count("\n")
            place = match.end()

    def rules(self) -> dict[str, tuple[Alternative, ...]]:
        rules: dict[str, tuple[Alternative, ...]] = {}
        while self.place < len(self.tokens):
            line = self.line
            rule = self.take("name", "the name of a rule")
            if rule in rules:
                raise ValueError(f"{self.name} defines {rule!r} twice, the second time in line {line}.")
            self.take("=")
            rules[rule] = self.alternatives(";")
            self.take(";")
        if not rules:
            raise ValueError(f'{self.name} has no rule: write at least one, as in start = "go" place ;')
        return rules

    def alternatives(self, closing: str) -> tuple[Alternative, ...]:
        found = [self.alternative(closing)]
        while self.peek() == "|":
            self.place += 1
            found.append(self.alternative(closing))
        return tuple(found)

    def alternative(self, closing: str) -> Alternative:
        label = None
        if self.kind() == "name" and self.peek(1) == ":":
            label = self.take("name", "a name")
            self.take(":")
        items: list[Terminal | Symbol | Group] = []
        while self.peek() not in ("|", closing, None):
            kind, token = self.kind(), self.peek()
            if kind == "terminal":
                if not token[1:-1] or re.search(r"\s", token):
                    raise ValueError(
                        f"{self.name} has the terminal {token} in line {self.line}: it must be one token, without blanks."
                    )
                items.append(Terminal(token[1:-1]))
                self.place += 1
            elif kind == "name":
                items.append(Symbol(token))
                self.place += 1
            elif token in _CLOSING:
                self.place += 1
                items.append(Group(token, self.alternatives(_CLOSING[token])))
                self.take(_CLOSING[token])
            elif token == "," and items:
                self.place += 1
            else:
                self.refuse(f"{closing!r} or another item")
        return Alternative(tuple(items), label)

    @property
    def line(self) -> int:
        return self.tokens[min(self.place, len(self.tokens) - 1)][2] if self.tokens else 1

    def peek(self, ahead: int = 0) -> str | None:
        place = self.place + ahead
        return self.tokens[place][0] if place < len(self.tokens) else None

    def kind(self) -> str | None:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else None

    def take(self, what: str, expected: str | None = None) -> str:
        token = self.peek()
        if token is None or (self.kind() if what == "name" else token) != what:
            self.refuse(expected or repr(what))
        self.place += 1
        return token

    def refuse(self, expected: str):
        found = "the end" if self.peek() is None else repr(self.peek())
        raise ValueError(f"{self.name} has {found} in line {self.line}, where {expected} is expected.")
