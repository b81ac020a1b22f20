"""`hf-lvm check-estimators`: bias, variance, cosine and time of estimators of discrete latents, against the exact gradient."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from hf_lvm.analysis.estimator_check import EstimatorRow, check_model, compare_estimators, draw_estimators
from hf_lvm.analysis.estimator_check.exact import BUDGET
from hf_lvm.analysis.estimator_check.problems import PROBLEMS
from hf_lvm.analysis.estimator_check.row import MEASURE, variance_beside_rloo
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.cli.options import add_revision_option
from hf_lvm.data import LatentTextCollator, LatentTextProcessor, encode_dataset, load_texts
from hf_lvm.training.results import run_description, write_results

# Wide enough for a row a line where nobody's terminal sets the width.
TABLE_WIDTH = 140
# Of the toys, and of a model, where a draw is a pass of a real decoder.
TOY_DEFAULTS = {"num_samples": 8, "draws": 20_000}
MODEL_DEFAULTS = {"num_samples": 4, "draws": 400}
# What goes with --model only, and its defaults.
MODEL_OPTIONS: dict[str, Any] = {
    "revision": None,
    "dataset": None,
    "data_dir": None,
    "text_column": "text",
    "split": "train",
    "num_texts": 8,
    "max_words": None,
    "objective": None,
    "temperature": None,
    "enumeration_budget": BUDGET,
    "device": None,
}
COLUMNS = """\
what the table says, relative to the exact gradient:
  scored       values of z that the decoder scores in a draw, for a sentence
  bias         how far the mean of all draws is from the exact gradient, over its norm
  chance       what bias would be measured if there were none: bias beside it is no bias
  cosine       of the mean of all draws; of one: of a single draw, in the mean
  variance     of a single draw, over the squared norm; x scored: for a comparison at equal decoder calls
  / rloo       the variance over that of rloo
  ms           of a draw, forward and backward; with --model, of a training step
  remark       biased by nature; off by more than chance: an estimate that should not be biased and is further off than
               chance explains once in 10,000 times. Either something is wrong, or the gradient hangs on rare values of z:
               see whether it stays so with more --draws.
"""


def main(argv: Sequence[str], prog: str) -> None:
    """Compare estimators on the shipped toys or on a model; print a table, write it as JSON and as a picture."""
    options = _options(argv, prog)
    output = Path(options.output_dir)
    if output.is_file():
        raise ValueError(f"--output_dir {options.output_dir} is a file: give a folder.")
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    with console.status("drawing gradients") as status:

        def on_row(row: EstimatorRow) -> None:
            status.update(f"{row.problem}: {row.label} done")

        def on_progress(label: str, draws: int) -> None:
            status.update(f"{label}: {draws:,} of {options.draws:,} draws")

        if options.model is None:
            rows = compare_estimators(
                options.problems or tuple(PROBLEMS),
                options.estimators or (),
                num_samples=options.num_samples,
                draws=options.draws,
                seed=options.seed,
                on_row=on_row,
            )
            title = f"{options.draws:,} draws, up to {options.num_samples} values of z scored in each"
        else:
            model, batch = _model_and_batch(options)
            name = Path(options.model).resolve().name
            rows = check_model(
                model,
                batch,
                options.estimators or (),
                objective=options.objective,
                num_samples=options.num_samples,
                draws=options.draws,
                seed=options.seed,
                enumeration_budget=options.enumeration_budget,
                name=name,
                on_row=on_row,
                on_progress=on_progress,
                **({} if options.temperature is None else {"temperature": options.temperature}),
            )
            title = (
                f"{name}, {len(batch['labels'])} texts of the {options.split} split: gradient of {rows[0].objective} with "
                f"respect to the logits of q, {options.draws:,} draws"
            )
    output.mkdir(parents=True, exist_ok=True)
    description = run_description([*prog.split(), *argv], vars(options), 0.0)
    description.pop("training_seconds")
    numbers = [{**row.as_dict(), "variance_over_rloo": variance_beside_rloo(row, rows)} for row in rows]
    write_results(output / "estimators.json", {**description, "estimators": numbers})
    picture = draw_estimators(rows, output / "estimators.png") if any(row.has_variance for row in rows) else None
    _print_table(rows, title)
    print(f"All numbers are in {output / 'estimators.json'}" + (f", the picture is {picture}." if picture else "."))


def _options(argv: Sequence[str], prog: str) -> argparse.Namespace:
    """What was asked for, every default in its place.

    Raises:
        ValueError: options of the toys beside those of a model.
    """
    options = _parser(prog).parse_args(argv)
    given = [key for key in MODEL_OPTIONS if getattr(options, key) is not None]
    if options.model is None and given:
        raise ValueError(f"--{given[0]} goes with --model, the trained model to check: give both, or neither.")
    if options.model is not None and options.problems:
        raise ValueError("--problems names toys that ship, and --model a model of your own: give one of the two.")
    defaults = TOY_DEFAULTS if options.model is None else {**MODEL_DEFAULTS, **MODEL_OPTIONS}
    for key, value in defaults.items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    return options


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Compare gradient estimators of discrete latents with the exact gradient: on three small models that\n"
        "ship (in half a minute), or with --model on a trained model of your own and some of your texts.",
        epilog=COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--estimators",
        nargs="+",
        metavar="NAME",
        help="some estimators, such as rloo exact_topk (default: all that go together with the problem or the model)",
    )
    parser.add_argument(
        "--num_samples",
        metavar="K",
        type=int,
        help="values of z that an estimator may score in a draw (default: 8; with --model 4)",
    )
    parser.add_argument(
        "--draws", metavar="N", type=int, help="independent estimates of each (default: 20,000; with --model 400)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of every draw (default: 0)")
    parser.add_argument("--threads", metavar="N", type=int, default=0, help="threads of torch (default: its own choice)")
    parser.add_argument(
        "--output_dir",
        metavar="FOLDER",
        default="estimators",
        help="folder for estimators.json and estimators.png (default: estimators, in this folder)",
    )
    toys = parser.add_argument_group("on the models that ship")
    toys.add_argument("--problems", nargs="+", metavar="NAME", help=f"some of {', '.join(PROBLEMS)} (default: all)")
    own = parser.add_argument_group("on a model of your own")
    own.add_argument(
        "--model", metavar="FOLDER", help="folder of a trained model with categories (output_dir of a run), or a hub id"
    )
    add_revision_option(own)
    own.add_argument(
        "--dataset", metavar="FILE", help="a file, a folder or a datasets id (default: the documentation of Python)"
    )
    own.add_argument("--data_dir", metavar="FOLDER", help="a folder with train, validation and test files")
    own.add_argument("--text_column", metavar="NAME", help="column that holds the texts (default: text)")
    own.add_argument("--split", choices=("train", "validation", "test"), help="which texts (default: train)")
    own.add_argument(
        "--num_texts", metavar="N", type=int, help="texts of the batch, drawn from the split by the seed (default: 8)"
    )
    own.add_argument("--max_words", metavar="N", type=int, help="leave out texts with more words")
    own.add_argument(
        "--objective", metavar="NAME", help="elbo, iwae or minimum_risk (default: what the model was trained with)"
    )
    own.add_argument("--temperature", metavar="T", type=float, help="of relaxed samples (default: that of the model's config)")
    own.add_argument(
        "--enumeration_budget",
        metavar="N",
        type=int,
        help=f"values of z that may be summed for the exact gradient (default: {BUDGET:,})",
    )
    own.add_argument(
        "--device", metavar="NAME", help="where to compute, such as cpu or cuda:1 (default: a GPU where there is one)"
    )
    return parser


def _model_and_batch(options: argparse.Namespace) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The trained model, and a few texts as what its forward takes."""
    if options.num_texts < 1:
        raise ValueError(f"--num_texts must be at least 1, but is {options.num_texts}.")
    model, processor = load_trained(options.model, "forward", options.revision)
    if getattr(model.config, "prior_type", None) == "conditional":
        raise ValueError(
            f"{options.model} has the prior_type 'conditional', so each text goes with another that its z is about, and this "
            "command has one column of texts: call hf_lvm.analysis.estimator_check.check_model with a batch that has "
            "condition_input_ids."
        )
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return model, _batch(options, model, processor)


def _batch(options: argparse.Namespace, model: torch.nn.Module, processor: LatentTextProcessor) -> dict[str, torch.Tensor]:
    texts = load_texts(
        options.dataset, data_dir=options.data_dir, text_column=options.text_column, max_words=options.max_words
    )[options.split]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(options.seed)).tolist()
    encoder = getattr(model, "encoder", None)
    positions = (None if encoder is None else encoder_positions(encoder), getattr(model, "positions_left", None))
    encoded = encode_dataset(texts.select(order[: options.num_texts]), processor, max_positions=positions)
    inputs = LatentTextCollator(processor)([encoded[row] for row in range(len(encoded))])
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def _print_table(rows: Sequence[EstimatorRow], title: str) -> None:
    console = Console(highlight=False)
    # A terminal that is narrower breaks lines; numbers are not cut.
    console.width = TABLE_WIDTH if not console.is_terminal else max(TABLE_WIDTH, console.width)
    with_problem = len({row.problem for row in rows}) > 1
    with_measure = any(variance_beside_rloo(row, rows) is not None for row in rows)
    console.print(title, style="bold", markup=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in [*(["problem"] if with_problem else []), "estimator"]:
        table.add_column(name, no_wrap=True)
    numbers = ["scored", "bias", "chance", "cosine", "of one", "variance", "x scored"]
    for name in [*numbers, *([f"/ {MEASURE}"] if with_measure else []), "ms"]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remark", no_wrap=True)
    for row in rows:
        table.add_row(*([row.problem] if with_problem else []), *_cells(row, rows, with_measure))
    console.print(table)


def _cells(row: EstimatorRow, rows: Sequence[EstimatorRow], with_measure: bool) -> list[str]:
    name = f"{row.estimator} (iwae)" if row.objective == "iwae" else row.label
    beside = variance_beside_rloo(row, rows)
    cells = [
        name,
        f"{row.scored_latents:,}",
        f"{row.relative_bias:.4f}",
        f"{row.standard_error:.4f}",
        f"{row.cosine:.4f}",
        f"{row.cosine_of_one:.3f}",
        _short(row.variance if row.has_variance else 0),
        _short(row.variance_per_latent if row.has_variance else 0),
    ]
    if with_measure:
        cells.append("" if beside is None else _short(beside if row.has_variance else 0))
    return [*cells, _short(row.milliseconds), _remark(row)]


def _short(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if 100 <= value < 1e7 else f"{value:.3g}"


def _remark(row: EstimatorRow) -> str:
    if row.is_biased:
        return "biased by nature"
    if row.is_off:
        return "off by more than chance"
    return "" if row.has_variance else "summed"
