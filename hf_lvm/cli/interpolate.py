"""`hf-lvm interpolate`: the texts between two texts."""

import argparse
from collections.abc import Sequence

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.options import add_condition_option, add_model_options, check_conditions
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
    add_condition_option(parser, "that of both texts, or one for each")
    options = parser.parse_args(argv)
    model, processor = load_trained(options.model, "interpolate", options.revision)
    check_conditions(options, model)
    if options.condition is not None and len(options.condition) > 2:
        raise ValueError(f"--condition names {len(options.condition)} conditions for two texts: give one, or one for each")
    conditions = None if options.condition is None else (options.condition * 2)[:2]
    texts = model.interpolate(
        options.start,
        options.end,
        processor=processor,
        steps=options.steps,
        path=options.path,
        **({} if conditions is None else {"conditions": conditions}),
    )
    print("\n".join(texts))
