"""What every command on a trained model takes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hf_lvm.analysis.feature_extraction import reads_conditions
from hf_lvm.training.results import write_results


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """`--model` and what every command on a trained model takes."""
    parser.add_argument("--model", required=True, help="folder of a trained model (output_dir of a run), or a hub id")
    add_revision_option(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw (default: 0)")


def add_revision_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """`--revision`, for commands that load a model by `--model`."""
    parser.add_argument(
        "--revision", metavar="NAME", help="of a hub id: branch, tag or commit to read everything from (default: main)"
    )


def read_sentences(texts: Sequence[str], file: str | None, verb: str) -> list[str]:
    """The sentences of the command line, of a file, or of the standard input.

    Args:
        verb: what is done to them, for errors.

    Raises:
        ValueError: there is none.
    """
    if texts:
        return list(texts)
    if file is not None:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n")
    elif sys.stdin.isatty():
        raise ValueError(f"there is nothing to {verb}: give sentences, --file, or a pipe")
    else:
        lines = sys.stdin.read().split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if not lines:
        raise ValueError(f"{'the standard input' if file is None else file} is empty: there is no sentence to {verb}")
    return lines


def add_walk_options(parser: argparse.ArgumentParser) -> None:
    """What commands that write texts along ways through the latent space take."""
    parser.add_argument("--max_new_tokens", type=count_of("tokens"), default=64, help="longest text in tokens (default: 64)")
    parser.add_argument("--output", type=output_file, help="also write all numbers and what is printed to this JSON file")


def output_file(value: str) -> Path:
    """The type of an option that is a file to write; refused before anything is computed where it cannot be."""
    path = Path(value).expanduser()
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{value} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r} to write {path.name} into")
    return path


def count_of(what: str) -> Callable[[str], int]:
    """The type of an option that is a number of things, 1 or more."""

    def count(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            raise argparse.ArgumentTypeError(f"{value!r} is no number of {what}: give 1 or more")
        return number

    return count


def refuse_conditions(options: argparse.Namespace, model, verb: str) -> None:
    """Raise a `ValueError` for a conditional text VAE, where the command has no place for conditions."""
    if reads_conditions(model):
        raise ValueError(
            f"{options.model} reads a condition beside each text, and here there is none to {verb} by: use hf-lvm sample or "
            "interpolate, with --condition"
        )


def write_walks(lines: Sequence[str], metrics: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the lines, and write them with the numbers where `--output` says so."""
    print("\n".join(lines))
    if options.output is not None:
        write_results(options.output, {"model": options.model, "metrics": metrics, "lines": list(lines)})


def add_condition_option(parser: argparse.ArgumentParser, what: str) -> None:
    """`--condition`, for commands that a conditional text VAE answers.

    Args:
        what: what the conditions are to the command, for the help text.
    """
    parser.add_argument("--condition", nargs="+", metavar="TEXT", help=f"of a conditional text VAE: {what}")


def check_conditions(options: argparse.Namespace, model) -> None:
    """Raise a `ValueError` for `--condition` to a model that reads none, or none to one that does."""
    if options.condition is not None and not reads_conditions(model):
        raise ValueError(f"--condition is for a conditional text VAE, and {options.model} is none: leave it out")
    if options.condition is None and reads_conditions(model):
        raise ValueError(f"{options.model} reads a condition beside each text: give it with --condition TEXT")
