"""`hf-lvm report`: a run on one page."""

import argparse
import webbrowser
from collections.abc import Sequence

from hf_lvm.analysis.html_report import write_html_report


def main(argv: Sequence[str], prog: str) -> None:
    """Write the report of a run and print where it is."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Show a run on one page that opens without a network: its results, figures, examples, trees, lexicon, "
        "settings and command. Everything comes from the files in its folder. Training has written a report already; this "
        "makes it again, such as of a run by an earlier version or by somebody else.",
    )
    parser.add_argument("run", help="output_dir of a finished run")
    parser.add_argument("--output", help="HTML file to write (default: report.html in the folder of the run)")
    parser.add_argument("--open", action="store_true", help="show it in the browser, too")
    options = parser.parse_args(argv)
    path = write_html_report(options.run, options.output)
    print(path)
    if options.open:
        webbrowser.open(path.absolute().as_uri())
