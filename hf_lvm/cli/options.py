"""What every command on a trained model takes."""

import argparse


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """`--model` and what every command on a trained model takes."""
    parser.add_argument("--model", required=True, help="folder of a trained model (output_dir of a run), or a hub id")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw (default: 0)")
