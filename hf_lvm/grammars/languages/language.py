"""What a model, a metric or a data set asks of a language that meanings are written in."""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, runtime_checkable

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl import Grammar
from hf_lvm.grammars.transition_system import Lexicon

CANONICAL_RULES = ("published", "full")


@runtime_checkable
class Language(Protocol):
    """A language that meanings are written in: texts to trees and back, and when two trees mean the same.

    Attributes:
        language_name: by which [`build_language`] knows it.
        copied: the primitive types whose values may be copied from a sentence.
        grammar: of the trees.
    """

    language_name: ClassVar[str]
    copied: tuple[str, ...]
    grammar: Grammar

    def parse(self, text: str, name: str = "The meaning") -> Node:
        """The tree of a text; `name` is what an error calls it, such as `row 3`.

        Raises:
            ValueError: what the grammar does not derive, with its place and what is expected there.
        """

    def write(self, tree: Node) -> str:
        """The text of a tree, which is read as the same tree again.

        Raises:
            ValueError: a tree that the grammar does not derive, or that has no text.
        """

    def tokens(self, text: str) -> list[str]:
        """What a text is made of, whether it has a tree or not: what counts where a meaning is partly right."""

    def canonical(self, tree: Node, rule: str) -> Node:
        """The one tree that stands for all that mean the same as this one by a rule; itself a tree of the language.

        Args:
            tree: of the language.
            rule: `"published"`, the comparison of the literature, or `"full"`. Each language says what they are.

        Raises:
            ValueError: another rule.
        """

    def lexicons(self, trees: Iterable[Node], num_pieces: int = 2000) -> dict[str, Lexicon]:
        """How the values of each primitive type are written, made from the values in trees: those of the training set.

        Args:
            trees: of the language.
            num_pieces: of each open lexicon, at most; closed ones have a piece for each value.
        """

    def to_dict(self) -> dict[str, Any]:
        """What [`language_from_dict`] makes the same language of, as JSON has it: `name` and `options`."""


def check_rule(rule: str) -> None:
    """Raise a `ValueError` unless there is such a rule."""
    if rule not in CANONICAL_RULES:
        raise ValueError(
            f"There is no rule {rule!r} for canonical trees: {' and '.join(map(repr, CANONICAL_RULES))} are there."
        )
