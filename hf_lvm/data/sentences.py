"""Cut clean English sentences out of docstrings and other lightly marked-up text.

Documentation is prose mixed with doctests, tables, parameter lists and reStructuredText. A language model trained on
the mixture learns to write the mixture, so only complete sentences are let through: they start with a capital, end
with a full stop (or ? or !), have balanced brackets and quotes, and are made mostly of plain words. What is in doubt
is dropped: there is plenty of text, and a wrong sentence is worse than a missing one.
"""

import inspect
import re
from collections.abc import Iterator

BLANK_LINES = re.compile(r"\n[ \t]*\n")
DOCTEST_OR_SHELL = re.compile(r"\s*(>>>|\.\.\. |\.\.\.$|[$%] |In \[\d+\])")
RULE_LINE = re.compile(r"\s*([=\-~^*#+_.'\"])\1{2,}[=\-~^*#+_.'\" ]*$")
TABLE_LINE = re.compile(r"\s*[|+]|.*\S {3,}\S|.*\t\S")
DIRECTIVE = re.compile(r"\s*(\.\. |:[\w ]+:|@\w+)")
LIST_MARKER = re.compile(r"\s*([-*+\u2022]|\(?\d{1,2}[.)]|\(?[a-z]\))\s+(?=\S)")
# `name: ...`, `name -- ...`, `name (type) - ...`, `-o, --option ...`: an entry of a parameter list.
LIST_ENTRY = re.compile(r"\s*(--?\w|[\w.*\[\]()'\",/]+(\s*\([^)]*\))?\s*(:|\s--?|\s=)(\s|$)|[\w.]+\s+--?\s)")
ADMONITION = re.compile(
    r"^\s*(note|notes|warning|caution|important|tip|hint|example|cpython implementation detail"
    r"|(?:changed|added|new|deprecated)(?: in version|since version)? [\d.]+(?: and [\d.]+)?)\s*[:,]\s*",
    re.IGNORECASE,
)

ROLE = re.compile(r":[a-z]+(?::[a-z]+)*:`(~?)!?([^`<]*?)(?:\s*<[^`>]*>)?`")
LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{1,2}")
LITERAL = re.compile(r"``([^`]+)``|`([^`']+)`(?:_{1,2}(?!\w))?")
OLD_STYLE_QUOTE = re.compile(r"`([^`'\n]+)'")
EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})([^\s*](?:[^*]*[^\s*])?)\1(?![\w*])")
UNDERSCORE_EMPHASIS = re.compile(r"(?<![\w.])_([A-Za-z]+)_(?![\w(.])")
REFERENCE_MARK = re.compile(r"\s*\[#?[\w.-]*\]_|\s*\[\d{1,2}\](?=[\s.,;:)]|$)")
TYPOGRAPHY = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u00a0": " ",
        "\u2026": "...",
        "\u2014": "-",
        "\u2013": "-",
    }
)

SENTENCE_END = re.compile(r"(?<=[.!?])([\"')\]]*)\s+")
ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:e\. ?g|i\. ?e|a\.k\.a|w\.r\.t|eg|ie|etc|vs|cf|viz|resp|approx|incl|ca|no|vol|sec|fig|ed|al|st"
    r"|dr|mr|mrs|ms|jr|inc|ltd|[a-z])\.$",
    re.IGNORECASE,
)
FIRST_CHARACTERS = re.compile(r"[\"'(]?[A-Z]|[\"']\w")
LAST_CHARACTERS = re.compile(r"[.!?][\"')]*$")
FOREIGN_TO_PROSE = re.compile(
    r"[^\x20-\x7e]|[\\{}<>=|~^$@#%`*]|\.\.|--|://|www\.|[.!?,;:]{2}|\s[.,;:!?)](?:\s|$)|\(\s"
    r"|['\"][.!?]['\"]|\b(?:eg|ie|e\.g|i\.e)\.$"
)
UNFINISHED_WORK = re.compile(r"\b(TODO|XXX|FIXME|TBD|Copyright|copyright|[Ll]icen[cs]e[ds]?|All rights)\b")
PLAIN_WORD = re.compile(
    r"[(\"']{0,2}(?:[A-Za-z]?[a-z]+(?:['/-][A-Za-z]?[a-z]+)*|[A-Z]{2,5}s?)[)\"']{0,2}[.,;:!?]?[)\"']{0,2}$"
)
LOWER_WORD = re.compile(r"[a-z]{2,}[.,;:!?)]?$")


def strip_markup(text: str) -> str:
    """Remove reStructuredText markup and keep the words: ``:func:`~os.path.join` `` becomes ``join``."""

    def name_of_role(match: re.Match) -> str:
        return match.group(2).rpartition(".")[2] if match.group(1) else match.group(2)

    text = text.translate(TYPOGRAPHY)
    if "`" in text:
        text = ROLE.sub(name_of_role, text)
        text = LINK.sub(r"\1", text)
        text = LITERAL.sub(lambda match: match.group(1) or match.group(2), text)
        text = OLD_STYLE_QUOTE.sub(r"'\1'", text)
    if "*" in text:
        text = EMPHASIS.sub(r"\2", text)
    if "_" in text:
        text = UNDERSCORE_EMPHASIS.sub(r"\1", text)
    if "[" in text:
        text = REFERENCE_MARK.sub("", text)
    return " ".join(text.split())


def paragraphs(text: str) -> Iterator[str]:
    """Yield the running prose of `text` paragraph by paragraph, as one line each, code, tables and lists left out.

    `text` is a docstring as it stands in the source: its indentation is removed first. The items of a bulleted list
    are paragraphs of their own, without the bullet.
    """
    literal_deeper_than = None
    for block in BLANK_LINES.split(inspect.cleandoc(text)):
        lines = block.splitlines()
        if not lines:
            continue
        indent = len(lines[0]) - len(lines[0].lstrip())
        if literal_deeper_than is not None:
            if indent > literal_deeper_than:
                continue
            literal_deeper_than = None
        yield from _paragraphs_of_block(lines)
        if lines[-1].rstrip().endswith("::"):
            literal_deeper_than = len(lines[-1]) - len(lines[-1].lstrip())


def _paragraphs_of_block(lines: list[str]) -> Iterator[str]:
    """Cut one block (no blank line inside) where a list item starts or the indentation says that a new text begins."""
    headings = {n - 1 for n, line in enumerate(lines) if RULE_LINE.match(line)}
    chunk: list[str] = []
    dropping = after_rule = False
    previous_indent = 0
    for number, line in enumerate(lines):
        if DOCTEST_OR_SHELL.match(line):
            break  # what a doctest prints runs to the end of its block
        indent = len(line) - len(line.lstrip())
        marker = LIST_MARKER.match(line)
        entry = not marker and LIST_ENTRY.match(line) and not ADMONITION.match(line)
        dropped_line = bool(
            entry or number in headings or RULE_LINE.match(line) or DIRECTIVE.match(line) or TABLE_LINE.match(line)
        )
        after_full_stop = bool(chunk) and chunk[-1][-1:] in ".!?:"
        begins = (
            marker
            or dropped_line
            or after_rule
            or ADMONITION.match(line)
            or indent < previous_indent
            or (indent > previous_indent and after_full_stop)
        )
        if begins:
            if chunk and not dropping:
                yield " ".join(chunk)
            # What is indented below a dropped entry belongs to it.
            dropping = dropped_line or (dropping and indent > previous_indent and not marker)
            chunk = []
        chunk.append((line[marker.end() :] if marker else line).strip())
        after_rule = RULE_LINE.match(line) is not None
        previous_indent = indent
    if chunk and not dropping:
        yield " ".join(chunk)


def split_sentences(paragraph: str) -> Iterator[str]:
    """Cut a one-line paragraph after `.`, `!` and `?`, not after abbreviations such as "e.g."."""
    start = 0
    for match in SENTENCE_END.finditer(paragraph):
        candidate = paragraph[start : match.end(1)]
        if ABBREVIATION.search(candidate):
            continue
        yield candidate
        start = match.end()
    if start < len(paragraph):
        yield paragraph[start:]


def is_clean_sentence(sentence: str, min_words: int = 3, max_words: int = 60) -> bool:
    """Whether `sentence` is a complete sentence in plain English with `min_words` to `max_words` words."""
    if not (FIRST_CHARACTERS.match(sentence) and LAST_CHARACTERS.search(sentence)):
        return False
    if FOREIGN_TO_PROSE.search(sentence) or UNFINISHED_WORK.search(sentence):
        return False
    if sentence.count("(") != sentence.count(")") or sentence.count("[") != sentence.count("]"):
        return False
    if sentence.count('"') % 2:
        return False
    words = sentence.split()
    if not min_words <= len(words) <= max_words:
        return False
    plain = sum(1 for word in words if PLAIN_WORD.match(word))
    lower = sum(1 for word in words if LOWER_WORD.match(word))
    return plain >= 0.65 * len(words) and lower >= 1


def sentence_candidates(text: str) -> Iterator[str]:
    """Everything in the prose of a docstring that looks like a sentence, clean or not, in order."""
    for position, paragraph in enumerate(paragraphs(text)):
        prose = strip_markup(ADMONITION.sub("", paragraph, count=1))
        # Many one-line summaries are sentences written without their full stop.
        if position == 0 and prose[-1:].isalnum():
            prose += "."
        yield from split_sentences(prose)


def clean_sentences(text: str) -> list[str]:
    """The clean sentences of a docstring, in order; an empty list when it has none."""
    return [sentence for sentence in sentence_candidates(text) if is_clean_sentence(sentence)]


def summary_and_body(text: str) -> tuple[str, str]:
    """The first sentence of a docstring and the clean rest of it; the summary is "" where it is not clean."""
    candidates = list(sentence_candidates(text))
    # What opens the docstring may have been dropped as code; the next sentence is then no summary.
    opens = bool(candidates) and strip_markup(text.split(None, 1)[0]).startswith(candidates[0].split(None, 1)[0])
    body = " ".join(sentence for sentence in candidates[opens:] if is_clean_sentence(sentence))
    return (candidates[0] if opens and is_clean_sentence(candidates[0]) else ""), body
