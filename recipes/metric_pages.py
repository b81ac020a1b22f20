"""The README.md of each metric, made from what its `evaluate` module says of itself.

python recipes/metric_pages.py            # writes hf_lvm/metrics/*/README.md
python recipes/metric_pages.py --check    # or says which of them are not as they would be made
"""

import argparse
import sys
from pathlib import Path
from textwrap import dedent

from hf_lvm import metrics

FOLDER = Path(__file__).parents[1] / "hf_lvm" / "metrics"
BEGIN, END = "<!-- made by recipes/metric_pages.py -->", "<!-- /made -->"


def page(name: str, standing: str) -> str:
    """A metric's page; what stands outside of the marks, before and after, is left as it is in `standing`."""
    info = metrics.load(name)
    before, after = f"# {name}\n\n", "\n"
    if BEGIN in standing:
        before, rest = standing.split(BEGIN)
        after = rest.split(END)[1]
    made = [
        BEGIN,
        info.description.strip(),
        _code("python", f'import hf_lvm\n\nmetric = hf_lvm.metrics.load("{name}")'),
        "`evaluate.load` takes the path of this folder, and `evaluate.combine` what `load` gives.",
        _code("text", dedent(info.inputs_description).strip()),
        *(["See also " + ", ".join(info.reference_urls) + "."] if info.reference_urls else []),
        _code("bibtex", info.citation.strip()),
    ]  # fmt: skip
    return before + "\n\n".join(made) + f"\n{END}" + after


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def stale_pages(write: bool = False) -> list[str]:
    """Names of the metrics whose page is not as it would be made; with `write` it is made."""
    stale = []
    for name in metrics.list_metrics():
        path = FOLDER / name / "README.md"
        standing = path.read_text(encoding="utf-8") if path.exists() else ""
        made = page(name, standing)
        if made != standing:
            stale.append(name)
            if write:
                path.write_text(made, encoding="utf-8")
    return stale


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="The README.md of each metric.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not as it would be made")
    check = parser.parse_args().check
    stale = stale_pages(write=not check)
    if check and stale:
        sys.exit(f"Run python recipes/metric_pages.py: the pages of {', '.join(stale)} are not up to date")


if __name__ == "__main__":
    main()
