"""One latent class model trained by every family of gradient estimator, on the documentation corpus.

Every row has the same parts, initial weights, batches in the same order and number of optimizer steps; only `objective` and
`estimator` differ. Those that sample score `--num_samples` values of z for a sentence, those that sum score all of them.

- Summed: `marginal` (log p(x) itself), `exact` (the ELBO); in part: `exact_topk`, half of its values the most probable ones.
- Score function: `rloo`, `reinforce_moving_average`, `reinforce_learned`, and `vimco`, of the K-sample bound.
- Relaxed: `gumbel_softmax`, `straight_through`, and `relax`, whose relaxation is a control variate of a score function.
- `minimum_risk` over sampled values.
- `one_class`: the same decoder without a choice, what any use of the classes is to be better than.

`disarm` is for bits, and these variables have more classes than two.

Whatever was trained, what is measured is the discrete model: -log p(x) summed over all classes, on a part of the validation
split during training and on the test split once at its end. The clock stands still meanwhile. Beside it stand I(x; z), of the
encoder's q(z|x) and of p(z|x) by Bayes' rule, and the nats that q loses against p(z|x).

    python recipes/benchmarks/class_estimators.py --output recipes/latent_class/results/estimators.json

A row that stands in the output file is not trained again, so a run that was stopped goes on; `--again` trains it anew.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from hf_lvm.analysis.corpus import batches
from hf_lvm.analysis.figure_style import GREY, INK, PALETTE, new_figure, save_figure, style_axes
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.clustering.clustering import compute_class_usage
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood
from hf_lvm.models.latent_class import LatentClassModel
from hf_lvm.training.building import build_composed
from hf_lvm.training.config_file import parse
from hf_lvm.training.latent_class import ARGUMENTS, prepare
from hf_lvm.training.results import changed_settings, run_description, write_results
from hf_lvm.training.run_parts import begin_run, build_trainer

RECIPE = Path(__file__).parents[1] / "latent_class" / "documentation.yaml"
ONE_CLASS = "one_class"


@dataclass(frozen=True)
class Family:
    """What a row is trained by, and how its curve looks: a colour a family, a dash inside of it."""

    objective: str
    estimator: str
    colour: str
    dash: str


ESTIMATORS = {
    "marginal": Family("marginal", "exact", PALETTE[0], "-"),
    "exact": Family("elbo", "exact", PALETTE[0], "--"),
    "exact_topk": Family("elbo", "exact_topk", PALETTE[0], ":"),
    "rloo": Family("elbo", "rloo", PALETTE[1], "-"),
    "reinforce_moving_average": Family("elbo", "reinforce_moving_average", PALETTE[1], "--"),
    "reinforce_learned": Family("elbo", "reinforce_learned", PALETTE[1], ":"),
    "vimco": Family("iwae", "vimco", PALETTE[1], "-."),
    "gumbel_softmax": Family("elbo", "gumbel_softmax", PALETTE[2], "-"),
    "straight_through": Family("elbo", "straight_through", PALETTE[2], "--"),
    "relax": Family("elbo", "relax", PALETTE[2], ":"),
    "minimum_risk": Family("minimum_risk", "none", PALETTE[3], "-"),
    ONE_CLASS: Family("marginal", "exact", GREY, "-"),
}


class Clock(TrainerCallback):
    """Seconds of training alone, and a measurement every few steps while they do not count."""

    def __init__(self, every: int, measure: Callable[[LatentClassModel], float]):
        self.every, self.measure = every, measure
        self.step_seconds: list[float] = []
        self.curve: list[dict[str, float]] = []

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        self._point(0, model)

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        self.step_seconds.append(time.perf_counter() - self._begin)
        self._begin = time.perf_counter()
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._point(state.global_step, model)

    def _point(self, step: int, model: LatentClassModel) -> None:
        self.curve.append({"step": step, "seconds": sum(self.step_seconds), "nats_per_sentence": self.measure(model)})
        self._begin = time.perf_counter()


class Task:
    """The sentences, and how a model is trained on them by an estimator and measured.

    Args:
        options: of the command line.
        folder: where the runs are written.
    """

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options, self.folder = options, folder
        trainer, prepared = prepare(*arguments_of(options, "marginal", options.seeds[0], folder))
        self.processor, self.corpus = trainer.processing_class, prepared["corpus"]
        self.encoded = prepared["encoded"]
        watched = self.encoded["validation"]
        watched = watched.select(range(min(options.validation_sentences, len(watched))))
        self.watched = [inputs for _, inputs in self._batches(watched)]

    def _batches(self, rows: Dataset) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        return batches(rows, self.processor, 64, torch.device("cpu"), "Scoring")

    def _new_model(self, name: str, seed: int) -> LatentClassModel:
        arguments, _, _, args = arguments_of(self.options, name, seed, self.folder)
        begin_run(args)
        return build_composed(LatentClassModel, arguments, self.processor)

    def train(self, name: str, seed: int) -> dict[str, Any]:
        """A row of the results."""
        arguments, _, _, args = arguments_of(self.options, name, seed, self.folder)
        model = self._new_model(name, seed)
        # All weights but those that the estimator learns for itself.
        model.load_state_dict(model.state_dict() | self._new_model("marginal", seed).state_dict())
        encoded = dict(self.encoded)
        if name == ONE_CLASS:
            encoded["train"] = encoded["train"].add_column("classes", [[0]] * len(encoded["train"]))
        trainer = build_trainer(model, args, encoded, self.processor)
        trainer.remove_callback(PrinterCallback)
        clock = Clock(self.options.every, lambda model: self.watched_nats(model, name))
        trainer.add_callback(clock)
        trainer.train()
        is_sampled = arguments.estimator != "exact"
        scored = arguments.num_samples if is_sampled else 1 if name == ONE_CLASS else model.config.support_size
        return {
            "name": name,
            "objective": arguments.objective,
            "estimator": arguments.estimator,
            "scored_latents": scored,
            "seed": seed,
            "steps": trainer.state.global_step,
            "seconds": sum(clock.step_seconds),
            "median_seconds_per_step": statistics.median(clock.step_seconds),
            "curve": clock.curve,
            "test": self.report(trainer.accelerator.unwrap_model(trainer.model), name, self.encoded["test"]),
        }

    @torch.no_grad()
    def _nll(self, model: LatentClassModel, inputs: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        """-log p(x) of a batch: (B,)."""
        if name != ONE_CLASS:
            return -model.estimate_log_likelihood(**inputs, method="exact").log_likelihood
        with in_evaluation_mode(model):
            latents = torch.zeros(len(inputs["labels"]), 1, dtype=torch.long)
            return model(labels=inputs["labels"], latents=latents).reconstruction.double()

    def watched_nats(self, model: LatentClassModel, name: str) -> float:
        """-log p(x) of the validation sentences that are watched, in nats per sentence."""
        return torch.cat([self._nll(model, inputs, name) for inputs in self.watched]).mean().item()

    @torch.no_grad()
    def report(self, model: LatentClassModel, name: str, rows: Dataset) -> dict[str, Any]:
        """The discrete model on a split."""
        nll = torch.zeros(len(rows), dtype=torch.float64)
        by_encoder = torch.zeros(len(rows), model.config.num_classes, dtype=torch.float64)
        by_bayes = torch.zeros_like(by_encoder)
        log_prior = model.prior_of(1).logits[0, 0].double()
        for numbers, inputs in self._batches(rows):
            nll[numbers] = self._nll(model, inputs, name)
            if name != ONE_CLASS:
                labels = inputs.pop("labels")
                by_encoder[numbers] = model.class_probabilities(**inputs)[:, 0].double()
                by_bayes[numbers] = model.class_probabilities(labels=labels, method="bayes")[:, 0].double()
        likelihood = compute_text_likelihood(
            nll.tolist(), num_tokens=[len(row) for row in rows["labels"]], num_words=rows["num_words"][:],
            num_bytes=rows["num_bytes"][:],
        )  # fmt: skip
        if name == ONE_CLASS:
            return {"likelihood": likelihood}
        found = {"likelihood": likelihood, "by_bayes": _usage(by_bayes, log_prior)}
        if model.config.objective != "marginal":  # which trains no encoder
            found["by_encoder"] = _usage(by_encoder, log_prior)
            # A class that is impossible by the rounding of float32 is one that is very improbable.
            log_bayes = by_bayes.clamp(min=torch.finfo(torch.float32).tiny).log()
            gaps = (torch.special.xlogy(by_encoder, by_encoder) - by_encoder * log_bayes).sum(-1)
            found["inference_gap"] = gaps.mean().item()
        return found


def _usage(probabilities: torch.Tensor, log_prior: torch.Tensor) -> dict[str, Any]:
    """What classes are used for, and the mean KL to the prior in nats, of probabilities (N, C)."""
    kl = (torch.special.xlogy(probabilities, probabilities) - probabilities * log_prior).sum(-1).mean().item()
    return compute_class_usage(probabilities.numpy()) | {"kl_nats_per_sentence": kl}


def arguments_of(options: argparse.Namespace, name: str, seed: int, folder: Path) -> tuple:
    """The settings of a row: those of the recipe, its estimator, and a run that is watched by nothing but its clock."""
    family = ESTIMATORS[name]
    flags = {
        "objective": family.objective, "estimator": family.estimator, "num_samples": options.num_samples,
        "max_steps": options.steps, "seed": seed, "output_dir": folder,
        "eval_strategy": "no", "save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": "true",
        "use_cpu": "true", "collapse_guard": "off",
    }  # fmt: skip
    if name == ONE_CLASS:
        flags["classification_weight"] = 0.0
    argv = [f"--{key}={value}" for key, value in flags.items()]
    return parse(ARGUMENTS, ["--config", str(options.config), *argv], "")


def settings_of(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What all rows have in common."""
    arguments, data, _, args = arguments_of(options, "marginal", options.seeds[0], folder)
    if arguments.num_variables != 1:
        raise ValueError(f"{options.config} has num_variables {arguments.num_variables}: what is compared here has one.")
    own = ("config", "steps", "num_samples", "every", "validation_sentences", "threads")
    varied = {"objective", "estimator", "seed"}
    settings = {key: getattr(options, key) for key in own} | {"config": Path(options.config).name}
    settings |= asdict(arguments) | asdict(data) | changed_settings(args)
    settings["per_device_train_batch_size"] = args.per_device_train_batch_size
    return json.loads(json.dumps({key: settings[key] for key in settings if key not in varied}, default=str))


def read_rows(path: Path | None, description: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that an output file has.

    Raises:
        ValueError: they were measured with other settings, on another machine, or with other versions.
    """
    if path is None or not path.exists():
        return []
    results = json.loads(path.read_text(encoding="utf-8"))
    for key in ("settings", "hardware", "versions"):
        if results[key] != description[key]:
            raise ValueError(
                f"{path} has rows of other {key}, which do not stand beside new ones: give another --output, or remove it."
            )
    return results["rows"]


def draw_curves(rows: list[dict[str, Any]], path: Path) -> Path:
    """-log p(x) of the watched sentences against updates, and against seconds; of several seeds the first."""
    figure = new_figure(9.6, 3.9)
    panels = figure.subplots(1, 2, sharey=True)
    first = {row["name"]: row for row in reversed(rows)}
    shown = [first[name] for name in ESTIMATORS if name in first]
    finals = [row["curve"][-1]["nats_per_sentence"] for row in shown]
    for axes, key, label in zip(panels, ("step", "seconds"), ("updates", "seconds of training"), strict=True):
        style_axes(axes)
        for row in shown:
            family = ESTIMATORS[row["name"]]
            points = [[point[place] for point in row["curve"]] for place in (key, "nats_per_sentence")]
            axes.plot(*points, color=family.colour, linestyle=family.dash, linewidth=1.4, label=row["name"])
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
    # The first updates, which are the same for all, would leave the differences no room.
    panels[0].set_ylim(min(finals) - 0.3, max(finals) + 3.0)
    panels[0].set_ylabel("−log p(x), nats per sentence")
    panels[0].set_title("Validation sentences, summed over all classes", loc="left", fontsize=10.5, color=INK)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8.5)
    return save_figure(figure, path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=RECIPE, help="recipe of the model and the sentences")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps of each row (default: 1,000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="seeds of weights and batches (default: 42)")
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS), help="rows (default: all)")
    parser.add_argument("--num_samples", type=int, default=4, help="values of z that a sampling row scores (default: 4)")
    parser.add_argument("--every", type=int, default=50, help="steps between two points of a curve (default: 50)")
    parser.add_argument("--validation_sentences", type=int, default=256, help="sentences of a point (default: 256)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--again", action="store_true", help="train rows anew that stand in the output")
    parser.add_argument("--output", type=Path, help="JSON file to write, after each row")
    parser.add_argument("--figure", type=Path, help="PNG to draw")
    options = parser.parse_args(argv)
    if options.num_samples < 2:
        parser.error(f"num_samples is {options.num_samples}; rows that judge a sample by the others need 2 or more")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        try:
            settings = settings_of(options, Path(folder))
            rows = read_rows(options.output, run_description([""], settings, 0.0))
        except ValueError as error:
            parser.error(str(error))
        asked = [(name, seed) for seed in options.seeds for name in options.estimators]
        there = set() if options.again else {(row["name"], row["seed"]) for row in rows}
        missing = [pair for pair in asked if pair not in there]
        task = Task(options, Path(folder)) if missing else None
        for name, seed in missing:
            row = task.train(name, seed)
            rows = [other for other in rows if (other["name"], other["seed"]) != (name, seed)] + [row]
            rows.sort(key=lambda row: (row["seed"], list(ESTIMATORS).index(row["name"])))
            print(_line(row), flush=True)
            if options.output:
                seeds = sorted({row["seed"] for row in rows})
                command = ["class_estimators.py", "--steps", str(options.steps), "--seeds", *map(str, seeds)]
                options.output.parent.mkdir(parents=True, exist_ok=True)
                description = run_description(command, settings, sum(row["seconds"] for row in rows))
                write_results(options.output, description | {"corpus": task.corpus, "rows": rows})
    if options.figure:
        draw_curves(rows, options.figure)


def _line(row: dict[str, Any]) -> str:
    test = row["test"]
    known = [how for how in ("encoder", "bayes") if f"by_{how}" in test]
    information = [f"I(x; z) by {how} {test[f'by_{how}']['mutual_information']:.2f}" for how in known]
    nats = f"{test['likelihood']['nats_per_sentence']:.3f} nats on test, {row['curve'][-1]['nats_per_sentence']:.3f} watched"
    time_of = f"{row['seconds']:.0f} s, {1000 * row['median_seconds_per_step']:.1f} ms a step"
    return f"{row['name']:25} seed {row['seed']}: " + ", ".join([nats, *information, time_of])


if __name__ == "__main__":
    main()
