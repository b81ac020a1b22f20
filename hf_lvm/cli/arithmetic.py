"""`hf-lvm arithmetic`: text + attribute - attribute, beside pushes that mean nothing."""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

from hf_lvm.analysis.attribute_arithmetic import AttributeArithmetic, measure_attribute_arithmetic
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.options import add_model_options, add_walk_options, count_of, refuse_conditions, write_walks
from hf_lvm.data import load_texts

SIDES = {"towards": "without the attribute, pushed towards it", "away": "with the attribute, pushed away from it"}
PUSHES = {
    "shift": "along the attribute",
    "random": "a random direction, as far",
    "none": "no push: reconstruction",
}


def main(argv: Sequence[str], prog: str) -> None:
    """Push texts along the difference of two means, print what share takes the attribute on, and examples."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Add to the latents of texts the mean of those with an attribute minus the mean of those without, and "
        "write the texts. An attribute is a regular expression that a text matches. How many texts change sides, and what "
        "stays of their words, stands beside a push of the same length in a random direction and beside no push.",
    )
    parser.add_argument("pattern", help=r"regular expression, such as '\?$' (questions) or '^Return' (texts that begin so)")
    add_model_options(parser)
    parser.add_argument("--dataset", help="a file, a folder or a datasets id (default: the documentation of Python)")
    parser.add_argument("--data_dir", help="a folder with train, validation and test files")
    parser.add_argument("--text_column", default="text", help="column that holds the texts (default: text)")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="which texts (default: test)")
    parser.add_argument("--max_samples", type=count_of("texts"), help="only the first so many texts")
    parser.add_argument("--strength", type=float, default=1.0, help="how many times the difference is added (default: 1)")
    parser.add_argument("--show", type=count_of("examples"), default=5, help="examples of each direction (default: 5)")
    add_walk_options(parser)
    options = parser.parse_args(argv)
    has_attribute = judge_of(options.pattern)
    model, processor = load_trained(options.model, "decode_latents", options.revision)
    refuse_conditions(options, model, "calculate")
    splits = load_texts(options.dataset, data_dir=options.data_dir, text_column=options.text_column)
    texts = splits[options.split]["text"][: options.max_samples]
    found = measure_attribute_arithmetic(
        model,
        texts,
        processor,
        has_attribute,
        strength=options.strength,
        seed=options.seed,
        max_new_tokens=options.max_new_tokens,
    )
    write_walks(_lines(found, options.show), {"pattern": options.pattern, **found.metrics}, options)


def judge_of(pattern: str) -> Callable[[str], bool]:
    """Whether a text matches a regular expression somewhere.

    Raises:
        ValueError: it is none.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return lambda text: compiled.search(text) is not None


def _lines(found: AttributeArithmetic, show: int) -> list[str]:
    """A table of both directions, each push a line, then examples of both."""
    metrics: dict[str, Any] = found.metrics
    lines = [f"the push is {metrics['norm']:.2f} long"]
    begin = 0
    for side, meaning in SIDES.items():
        scores = metrics[side]
        lines += ["", f"{scores['texts']} texts {meaning}", "  changes sides  content words that stay  similarity"]
        for push, name in PUSHES.items():
            recall = scores[push]["content_word_recall"]
            kept = "-" if recall is None else f"{recall:.0%}"
            lines.append(
                f"  {scores[push]['flipped_share']:13.0%}  {kept:>23}  {scores[push]['edit_similarity']:10.2f}  {name}"
            )
        for text, rebuilt, pushed in found.examples[begin : begin + min(show, scores["texts"])]:
            lines += ["", f"  text     {text}", f"  rebuilt  {rebuilt}", f"  pushed   {pushed}"]
        begin += scores["texts"]
    return lines
