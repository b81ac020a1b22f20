"""How the values of Python's primitive types are written: names, numbers and strings."""

import string
from collections.abc import Mapping, Sequence

from hf_lvm.grammars.transition_system import AnyText, ClosedLexicon, Digits, Identifier, Lexicon, OpenLexicon
from hf_lvm.grammars.transition_system.lexicons import frequent_pieces

# The characters of `string.printable`, which programs are written in.
_PRINTABLE = string.printable
_NAME_CHARACTERS = string.ascii_letters + string.digits + "_"


def python_lexicons(values: Mapping[str, Sequence[str]], num_pieces: int = 2000) -> dict[str, Lexicon]:
    """Lexicons of the primitive types of `python_grammar`.

    Names, whole numbers and strings are spelled from pieces: the characters that occur and those of ASCII, and the most
    frequent values; a name is never a keyword. Other numbers have many ways to be written, of which `repr` takes one: they are
    those of `values`.

    Args:
        values: of a corpus: `python_grammar().values(trees)`.
        num_pieces: of names and of strings, each, at most.
    """
    names, numbers, strings = (values.get(type_, ()) for type_ in ("identifier", "integer", "string"))
    return {
        "identifier": OpenLexicon(frequent_pieces(names, num_pieces, _NAME_CHARACTERS), Identifier()),
        "integer": OpenLexicon(frequent_pieces(numbers, 200, string.digits), Digits()),
        "float": ClosedLexicon(values.get("float") or ["0.0"]),
        "complex": ClosedLexicon(values.get("complex") or ["1j"]),
        "string": OpenLexicon(frequent_pieces(strings, num_pieces, _PRINTABLE), AnyText()),
        "bytes": OpenLexicon(frequent_pieces(values.get("bytes", ()), num_pieces, _PRINTABLE), AnyText()),
    }
