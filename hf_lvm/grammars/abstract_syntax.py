"""Abstract syntax trees: the structure of a meaning, a statement or a formula, without the details of its text."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# What one field of a node holds: one thing, nothing, or a row of things.
Value = "Node | str | None | tuple[Node | str, ...]"


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its constructor and what its fields hold. Nodes with equal contents are equal.

    Attributes:
        constructor: the name of its constructor in the grammar.
        children: one value for each field of the constructor, in their order. A single field holds a `Node` or, of a primitive
            type, a string; an optional one may hold None; a sequence holds a tuple.
    """

    constructor: str
    children: tuple[Value, ...] = ()

    def __str__(self) -> str:
        if not self.children:
            return self.constructor
        return f"{self.constructor}({', '.join(map(_written, self.children))})"

    @property
    def nodes(self) -> Iterator["Node"]:
        """This node and all below it, parents first and from left to right."""
        agenda = [self]
        while agenda:
            node = agenda.pop()
            yield node
            below: list[Node] = []
            for child in node.children:
                below.extend(part for part in (child if isinstance(child, tuple) else (child,)) if isinstance(part, Node))
            agenda.extend(reversed(below))


@contextmanager
def refuse_deep_nesting(name: str) -> Iterator[None]:
    """Turns the recursion limit that reading a text meets into a `ValueError` about the text; `name` is what it is called."""
    try:
        yield
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply to be read: put fewer brackets inside each other.") from error


def _written(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value) if isinstance(value, str) else str(value)
