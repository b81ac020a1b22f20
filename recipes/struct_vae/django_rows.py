"""Rows of Django whose descriptions are cut into words: names, numbers and signs, which code can then copy.

    python recipes/struct_vae/django_rows.py FOLDER OUTPUT

FOLDER holds train, valid and test as JSON lines with the columns annotation and code; OUTPUT gets the same with annotations
cut. A string in quotes becomes its words and its quotes: of several words it cannot be copied whole.
"""

import json
import re
import sys
from pathlib import Path

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(annotation: str) -> str:
    """A description with a blank between words and signs; a name with dots is its parts."""
    return " ".join(_WORD.findall(annotation))


def main(source: str, output: str) -> None:
    """Write the rows of every split."""
    files = sorted(Path(source).glob("*.jsonl"))
    if not files:
        raise SystemExit(f"there is no .jsonl file in {source!r}")
    Path(output).mkdir(parents=True, exist_ok=True)
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        lines = [json.dumps({**row, "annotation": words_of(row["annotation"])}, ensure_ascii=False) for row in rows]
        (Path(output) / file.name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
