"""What every command on a trained model takes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """`--model` and what every command on a trained model takes."""
    parser.add_argument("--model", required=True, help="folder of a trained model (output_dir of a run), or a hub id")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw (default: 0)")


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
