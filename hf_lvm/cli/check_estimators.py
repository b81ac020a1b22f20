"""`hf-lvm check-estimators`: bias, variance and time of every estimator of discrete latents, against the exact gradient."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from hf_lvm.analysis.estimator_check.check import EstimatorRow
from hf_lvm.analysis.estimator_check.figure import draw_estimators, is_biased, label
from hf_lvm.analysis.estimator_check.problems import PROBLEMS
from hf_lvm.analysis.estimator_check.suite import compare_estimators
from hf_lvm.training.results import run_description, write_results

TABLE_WIDTH = 150


def main(argv: Sequence[str], prog: str) -> None:
    """Compare estimators on the shipped problems; print a table, write it as JSON and as a picture."""
    options = _parser(prog).parse_args(argv)
    output = Path(options.output_dir)
    if output.is_file():
        raise ValueError(f"--output_dir {options.output_dir} is a file: give a folder.")
    output.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    with console.status("drawing gradients") as status:

        def on_row(row: EstimatorRow) -> None:
            status.update(f"{row.problem}: {label(row)} done")

        rows = compare_estimators(
            options.problems or tuple(PROBLEMS),
            options.estimators or (),
            num_samples=options.num_samples,
            draws=options.draws,
            seed=options.seed,
            on_row=on_row,
        )
    description = run_description([*prog.split(), *argv], vars(options), 0.0)
    description.pop("training_seconds")
    write_results(output / "estimators.json", {**description, "estimators": [row.as_dict() for row in rows]})
    picture = draw_estimators(rows, output / "estimators.png") if any(row.variance > 1e-12 for row in rows) else None
    _print_table(rows, options.num_samples, options.draws)
    print(f"All numbers are in {output / 'estimators.json'}" + (f", the picture is {picture}." if picture else "."))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Compare gradient estimators of discrete latents with the exact gradient, on small models in float64.",
    )
    parser.add_argument("--problems", nargs="+", metavar="NAME", help=f"some of {', '.join(PROBLEMS)} (default: all)")
    parser.add_argument(
        "--estimators", nargs="+", metavar="NAME", help="some estimators (default: all that go with a problem)"
    )
    parser.add_argument(
        "--num_samples", type=int, default=8, help="values of the latent that an estimator may score in a draw (default: 8)"
    )
    parser.add_argument("--draws", type=int, default=20_000, help="independent estimates of each (default: 20,000)")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch (default: its own choice)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw (default: 0)")
    parser.add_argument(
        "--output_dir", default="estimators", help="folder for the JSON file and the picture (default: estimators)"
    )
    return parser


def _print_table(rows: Sequence[EstimatorRow], num_samples: int, draws: int) -> None:
    table = Table(
        title=f"{draws:,} draws, {num_samples} values of z scored in each; relative to the norm of the exact gradient"
    )
    for column in ("problem", "objective", "estimator"):
        table.add_column(column)
    for column in ("scored", "bias", "standard error", "cosine", "variance", "ms for 1,000 draws"):
        table.add_column(column, justify="right")
    table.add_column("remark")
    for row in rows:
        table.add_row(
            row.problem,
            row.objective,
            "-" if row.estimator is None else row.estimator,
            str(row.scored_latents),
            f"{row.relative_bias:.4f}",
            f"{row.standard_error:.4f}",
            f"{row.cosine:.4f}",
            f"{row.variance:.4g}",
            f"{1000 * row.seconds:.1f}",
            _remark(row),
        )
    Console(width=TABLE_WIDTH).print(table)


def _remark(row: EstimatorRow) -> str:
    if is_biased(row):
        return "biased by nature"
    return "summed" if row.estimator == "exact" else ""
