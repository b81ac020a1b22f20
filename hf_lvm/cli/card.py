"""`hf-lvm card`: the model card of a finished run."""

import argparse
from collections.abc import Sequence

from hf_lvm.cards import model_card, write_card


def main(argv: Sequence[str], prog: str) -> None:
    """Make the card from the files of a run, and write it as README.md into its folder or print it."""
    options = _parser(prog).parse_args(argv)
    card = model_card(
        options.run, model_id=options.model_id, language=options.language, license=options.license, tags=options.tags
    )
    if options.print:
        print(str(card).rstrip("\n"))
        return
    print(write_card(card, options.run, overwrite=options.overwrite))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write the model card of a run as README.md into its folder: what the model is, how to load and use it, "
        "data, command and settings, results, what the latent carries, figures, limits, citations. Everything comes from "
        "results.json, config.json, the weights' header and figures/; training has written a card already.",
    )
    parser.add_argument("run", help="output_dir of a finished run")
    parser.add_argument("--model_id", help="hub id (owner/name) for the code (default: that of the run, or its folder)")
    parser.add_argument(
        "--language", help="human language of the texts, such as en (default: none, unless the corpus is known)"
    )
    parser.add_argument("--license", help="licence of the model, such as apache-2.0 (default: none is claimed)")
    parser.add_argument("--tags", nargs="+", default=[], help="more tags of the hub, beside its own")
    parser.add_argument("--print", action="store_true", help="print the card instead of writing it")
    parser.add_argument("--overwrite", action="store_true", help="replace a README.md that was written or edited by hand")
    return parser
