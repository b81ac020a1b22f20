"""ASDL texts to grammars and back.

    -- whatever stands behind two hyphens is a comment
    variable, predicate            -- the primitive types, as in the files of tranX; or as an argument
    expr = Lambda(variable variable, expr body)
         | Apply(predicate predicate, expr* arguments)
         | Variable(variable name)
    clause = (expr left, expr right)

Cardinalities are those of ASDL, `?` and `*`, and `+` for at least one. A name without fields among the alternatives is a
constructor without fields, unless it is the name of a type, whose constructors the type then has too, or of a constructor that
has fields elsewhere, which both types then share.
"""

import re
from collections.abc import Collection

from hf_lvm.grammars.asdl.grammar import Cardinality, Constructor, Field, Grammar, reachable

# The primitive types of Python's grammar and of ASDL.
BUILTIN_TYPES = ("identifier", "int", "string", "constant")

_TOKEN = re.compile(r"(?P<space>\s+|--[^\n]*|#[^\n]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[=|(),?*+{}])")

_Alternative = tuple[str, "tuple[Field, ...] | None"]


def parse_asdl(
    text: str, primitives: Collection[str] | None = None, root: str | None = None, name: str = "The grammar"
) -> Grammar:
    """A grammar from its text.

    Args:
        text: definitions such as those above, with or without `module Name { ... }` around them. `attributes (...)` behind a
            type, by which ASDL records places in the text, are skipped.
        primitives: the primitive types. None: those in the first line of the text where it names them, else those of
            `BUILTIN_TYPES` that the text uses.
        root: the type of a whole tree; None: the first one that is defined.
        name: what to call the grammar in an error.

    Raises:
        ValueError: what is no ASDL, with the line, and what a `Grammar` refuses.
    """
    reader = _Reader(text, name)
    header = reader.header()
    types = reader.definitions()
    if not types:
        raise ValueError(f"{name} defines no type: write at least one, as in expr = Number(int value).")
    root = root or next(iter(types))
    expanded = _expanded(types, name)
    # A type that is only an alternative of others is a name for its constructors, and no field asks for it.
    alternatives = {alternative for row in types.values() for alternative, fields in row if fields is None}
    reached = reachable(expanded, root)
    expanded = {type_: row for type_, row in expanded.items() if type_ in reached or type_ not in alternatives}
    if primitives is None:
        used = {field.type for row in expanded.values() for constructor in row for field in constructor.fields}
        primitives = header or [builtin for builtin in BUILTIN_TYPES if builtin in used and builtin not in types]
    return Grammar(expanded, primitives, root, name)


def write_asdl(grammar: Grammar) -> str:
    """A text from which [`parse_asdl`] makes the same grammar."""
    lines = [", ".join(grammar.primitives)] if grammar.primitives else []
    written: set[str] = set()

    def shown(name: str) -> str:
        # What several types share is written with its fields once.
        if name in written and name not in grammar.types:
            return name
        written.add(name)
        return str(grammar.constructors[name])

    # The root comes first, and the first type is taken for it.
    for type_, names in grammar.types.items():
        if names == (type_,) and grammar.constructors[type_].fields:
            lines.append(f"{type_} = {str(grammar.constructors[type_])[len(type_) :]}")
        else:
            lines.append(f"{type_} = " + f"\n{' ' * len(type_)} | ".join(map(shown, names)))
    return "\n".join(lines) + "\n"


def _expanded(types: dict[str, list[_Alternative]], name: str) -> dict[str, list[Constructor]]:
    """Alternatives that are names of types, or of constructors that stand elsewhere, replaced by what they name."""
    with_fields = {constructor: fields for row in types.values() for constructor, fields in row if fields is not None}
    done: dict[str, list[Constructor]] = {}

    def of_type(type_: str, around: tuple[str, ...]) -> list[Constructor]:
        if type_ in around:
            raise ValueError(f"{name} has the type {type_!r} as an alternative of itself: {' = '.join((*around, type_))}.")
        if type_ not in done:
            found: dict[str, Constructor] = {}
            for constructor, fields in types[type_]:
                if fields is None and constructor in types and constructor != type_:
                    found |= {each.name: each for each in of_type(constructor, (*around, type_))}
                elif constructor in found:
                    raise ValueError(f"{name} gives the type {type_!r} the constructor {constructor!r} twice.")
                else:
                    found[constructor] = Constructor(
                        constructor, with_fields.get(constructor, ()) if fields is None else fields
                    )
            done[type_] = list(found.values())
        return done[type_]

    return {type_: of_type(type_, ()) for type_ in types}


class _Reader:
    """Reads an ASDL text token by token."""

    def __init__(self, text: str, name: str):
        self.name, self.tokens = name, []
        place, line = 0, 1
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError(
                    f"{name} has {text[place]!r} in line {line}, which ASDL does not know: names, = | ( ) , ? * + and {'{ }'} "
                    "are what it is written in."
                )
            if match.lastgroup != "space":
                self.tokens.append((match.group(), line))
            line += match.group().count("\n")
            place = match.end()
        self.place = 0

    def header(self) -> list[str]:
        """The primitive types that a text begins with: names before the one that the first definition begins with."""
        if self.peek() == "module":
            return []
        if self.peek(1) not in (",", None) and not (self.peek(1).isidentifier() and self.peek(2) == "="):
            return []
        names = [self.take_name("a type")]
        while self.peek() == ",":
            self.place += 1
            names.append(self.take_name("a type"))
        return names

    def definitions(self) -> dict[str, list[_Alternative]]:
        in_module = self.peek() == "module"
        if in_module:
            self.place += 1
            self.take_name("the name of the module")
            self.take("{")
        types: dict[str, list[_Alternative]] = {}
        while self.peek() not in (None, "}"):
            line = self.line
            type_ = self.take_name("a type")
            if type_ in types:
                raise ValueError(f"{self.name} defines the type {type_!r} twice, the second time in line {line}.")
            self.take("=")
            types[type_] = [(type_, self.fields())] if self.peek() == "(" else self.alternatives()
            if self.peek() == "attributes":
                self.place += 1
                self.fields()
        if in_module:
            self.take("}")
        if self.peek() is not None:
            self.refuse("the end")
        return types

    def alternatives(self) -> list[_Alternative]:
        found: list[_Alternative] = []
        while not found or self.peek() == "|":
            if found:
                self.place += 1
            constructor = self.take_name("a constructor")
            found.append((constructor, self.fields() if self.peek() == "(" else None))
        return found

    def fields(self) -> tuple[Field, ...]:
        self.take("(")
        fields: list[Field] = []
        while self.peek() != ")":
            if fields:
                self.take(",")
            type_ = self.take_name("a type")
            cardinality = Cardinality.SINGLE
            if self.peek() in ("?", "*", "+"):
                cardinality = Cardinality(self.peek())
                self.place += 1
                if self.peek() in ("?", "*", "+"):
                    raise ValueError(
                        f"{self.name} has {type_}{cardinality.value}{self.peek()} in line {self.line}: a row of things of "
                        "which some are missing is written as a type of its own, as in item = (expr? value)."
                    )
            # ASDL lets a field go without a name.
            named = self.peek() not in (",", ")", None) and self.peek().isidentifier()
            fields.append(Field(self.take_name("a field") if named else f"{type_}_{len(fields)}", type_, cardinality))
        self.take(")")
        return tuple(fields)

    @property
    def line(self) -> int:
        return self.tokens[min(self.place, len(self.tokens) - 1)][1] if self.tokens else 1

    def peek(self, ahead: int = 0) -> str | None:
        place = self.place + ahead
        return self.tokens[place][0] if place < len(self.tokens) else None

    def take(self, sign: str) -> None:
        if self.peek() != sign:
            self.refuse(repr(sign))
        self.place += 1

    def take_name(self, what: str) -> str:
        token = self.peek()
        if token is None or not token.isidentifier():
            self.refuse(what)
        self.place += 1
        return token

    def refuse(self, expected: str) -> None:
        found = "the end" if self.peek() is None else repr(self.peek())
        raise ValueError(f"{self.name} has {found} in line {self.line}, where {expected} is expected.")
