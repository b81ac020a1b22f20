"""Python as a grammar: its own, from the interpreter that runs."""

from hf_lvm.grammars.python_syntax.grammar import interpreter_asdl, python_grammar
from hf_lvm.grammars.python_syntax.lexicons import python_lexicons
from hf_lvm.grammars.python_syntax.lines import complete_line
from hf_lvm.grammars.python_syntax.reading import from_ast, parse_python
from hf_lvm.grammars.python_syntax.writing import to_ast, write_python

__all__ = [
    "complete_line",
    "from_ast",
    "interpreter_asdl",
    "parse_python",
    "python_grammar",
    "python_lexicons",
    "to_ast",
    "write_python",
]
