"""Single lines of Python files as whole statements: a block that a line opens gets a body, and one it continues a beginning.

Corpora of annotated lines (Oda et al. 2015) have `else :` and `for x in y :` for examples. Yin and Neubig (2017) complete them
in about this way, so that each is a tree; the completion is always the same, so that two lines are the same if their trees
are.
"""

import re

# For lines that begin so: what is put before the line, and what is put behind it.
_COMPLETIONS = (
    (r"elif\b", "if True:\n    pass\n", ""),
    (r"else\b", "if True:\n    pass\n", ""),
    (r"except\b", "try:\n    pass\n", ""),
    (r"finally\b", "try:\n    pass\n", ""),
    (r"try\b", "", "\nexcept:\n    pass"),
    (r"@", "", "\ndef decorated(): pass"),
    (r"case\b[^=]*:$", "match None:\n    ", "\n        pass"),
)


def complete_line(line: str) -> str:
    """The statement that a line of a file belongs to, with `pass` for what the line does not say.

    A line that is a whole statement comes back as it is, without its indentation.
    """
    line = line.strip()
    opens = line.endswith(":")
    for pattern, before, behind in _COMPLETIONS:
        if re.match(pattern, line) and (opens or pattern == "@"):
            if pattern.startswith("case"):
                return before + line + behind
            return before + line + (" pass" if opens else "") + behind
    return line + (" pass" if opens else "")
