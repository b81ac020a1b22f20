"""`hf-lvm traverse`: what single dimensions of the latent do to a text."""

import argparse
from collections.abc import Sequence
from typing import Any

import torch

from hf_lvm.analysis.latent_walks import GRID, Traversals, traverse
from hf_lvm.analysis.text_latents import encode_texts
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.options import add_model_options, add_walk_options, count_of, refuse_conditions, write_walks


def main(argv: Sequence[str], prog: str) -> None:
    """Move one dimension of z at a time, print the texts and how much and how smoothly they change."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Move one dimension of a text's latent over a grid, all others as they are, and write the text of each "
        "value: those dimensions first that change texts most. Beside them stand how far neighbouring texts are apart (edit "
        "distance in words, 0 to 1), the largest such step, and the rank correlation of the dimension with the text's length.",
    )
    parser.add_argument("texts", nargs="*", help="texts to begin with (default: draws of the prior)")
    add_model_options(parser)
    parser.add_argument("--origins", type=count_of("origins"), default=4, help="draws, where no text is given (default: 4)")
    parser.add_argument("--dimensions", type=int, nargs="+", help="dimensions to move, counted from 0 (default: all)")
    parser.add_argument(
        "--grid", type=float, nargs="+", default=list(GRID), help="values it takes, in rising order (default: -2 to 2)"
    )
    parser.add_argument(
        "--show", type=count_of("dimensions"), default=5, help="dimensions whose texts are printed (default: 5)"
    )
    add_walk_options(parser)
    options = parser.parse_args(argv)
    model, processor = load_trained(options.model, "decode_latents", options.revision)
    refuse_conditions(options, model, "move")
    if options.texts:
        origins = encode_texts(model, options.texts, processor)
    else:
        origins = model.prior(options.origins).sample(generator=torch.Generator().manual_seed(options.seed))
    found = traverse(
        model, origins, processor, dimensions=options.dimensions, grid=options.grid, max_new_tokens=options.max_new_tokens
    )
    write_walks(_lines(found, options), {"grid": options.grid, "dimensions": found.metrics}, options)


def _lines(found: Traversals, options: argparse.Namespace) -> list[str]:
    """A table of all dimensions, then the texts of the first ones."""
    order = sorted(found.texts, key=lambda dimension: -found.metrics[str(dimension)]["neighbour_distance"])
    lines = ["dimension  distance  largest step  different  with length"]
    moving = [dimension for dimension in order if found.metrics[str(dimension)]["neighbour_distance"]]
    for dimension in moving:
        scores: dict[str, Any] = found.metrics[str(dimension)]
        lines.append(
            f"{dimension:9}  {scores['neighbour_distance']:8.3f}  {scores['largest_step']:12.3f}  "
            f"{scores['distinct_share']:9.0%}  {scores['monotone']['length']['mean']:11.2f}"
        )
    if len(moving) < len(order):
        lines.append(f"{len(order) - len(moving)} of {len(order)} dimensions change no text")
    for dimension in moving[: options.show]:
        for place, walk in enumerate(found.texts[dimension]):
            begun = options.texts[place] if options.texts else f"draw {place}"
            lines += ["", f"dimension {dimension}, {begun}"]
            lines += [f"{value:+6.2f}  {text}" for value, text in zip(options.grid, walk, strict=True)]
    return lines
