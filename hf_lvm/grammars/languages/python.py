"""Python as a language of meanings."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl import Grammar
from hf_lvm.grammars.languages.language import Language, check_rule
from hf_lvm.grammars.python_syntax import complete_line, parse_python, python_grammar, python_lexicons, write_python
from hf_lvm.grammars.transition_system import Lexicon

# A string on one line, a number or a name, any other sign.
_TOKEN = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|\d+\.\d+|\w+|[^\w\s]""")


@dataclass(frozen=True)
class PythonMeanings(Language):
    """Python as a language: the grammar of the interpreter that runs. Texts are read, never run.

    Two texts are the same if their trees are, by both rules: blanks, comments, brackets that change nothing and how a string
    is quoted are not in a tree.

    Attributes:
        root: the type of a whole tree: `stmt`, one statement, `expr`, one expression, or `mod`, a file.
        complete_lines: whether a text of one line is one of a file, such as `else :`, and becomes a whole statement before it
            is read, see `complete_line`. What is written is the whole statement.
    """

    root: str = "stmt"
    complete_lines: bool = False

    language_name: ClassVar[str] = "python"
    copied: ClassVar[tuple[str, ...]] = ("identifier", "integer", "string")

    def __post_init__(self):
        if self.root not in ("stmt", "expr", "mod"):
            raise ValueError(f"root is {self.root!r}: a text of Python is a 'stmt', an 'expr' or a 'mod'.")
        if self.complete_lines and self.root != "stmt":
            raise ValueError(f"complete_lines makes statements of lines, and root is {self.root!r}: set it to 'stmt'.")

    @property
    def grammar(self) -> Grammar:
        """Of trees of the root."""
        return python_grammar(self.root)

    def parse(self, text: str, name: str = "The meaning") -> Node:
        """The tree of a text; see `Language.parse`."""
        # A line that was completed before may have become several.
        if self.complete_lines and "\n" not in text.strip():
            text = complete_line(text)
        return parse_python(text, self.root, name)

    def write(self, tree: Node) -> str:
        """The text of a tree, as `ast.unparse` has it; see `Language.write`."""
        return write_python(tree, self.root, "The meaning")

    def tokens(self, text: str) -> list[str]:
        """Names, numbers, strings in their quotes, and signs."""
        return _TOKEN.findall(text)

    def canonical(self, tree: Node, rule: str) -> Node:
        """The tree itself, by both rules."""
        check_rule(rule)
        return tree

    def lexicons(self, trees: Iterable[Node], num_pieces: int = 2000) -> dict[str, Lexicon]:
        """Open lexicons of names, whole numbers and strings, closed ones of other numbers; see `python_lexicons`."""
        lexicons = python_lexicons(self.grammar.values(trees), num_pieces)
        return {type_: lexicons[type_] for type_ in self.grammar.primitives}

    def to_dict(self) -> dict[str, Any]:
        """`name` and `options`."""
        return {"name": self.language_name, "options": {"root": self.root, "complete_lines": self.complete_lines}}
