"""`hf-lvm interpolate`: the texts between two texts."""

import argparse
from collections.abc import Sequence

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.options import add_model_options
from hf_lvm.distributions import INTERPOLATION_PATHS


def main(argv: Sequence[str], prog: str) -> None:
    """Encode two texts, walk from one latent to the other, print the text of each step."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Write the texts on the way from one text to another, through the latent space."
    )
    parser.add_argument("start", help="the text to begin with")
    parser.add_argument("end", help="the text to end with")
    add_model_options(parser)
    parser.add_argument("--steps", type=int, default=7, help="texts on the way, both ends included (default: 7)")
    parser.add_argument("--path", choices=INTERPOLATION_PATHS, default="linear", help="shape of the way (default: linear)")
    options = parser.parse_args(argv)
    model, processor = load_trained(options.model, "interpolate")
    texts = model.interpolate(options.start, options.end, processor=processor, steps=options.steps, path=options.path)
    print("\n".join(texts))
