"""Sentiment of review sentences from few labels: what a latent class model makes of the sentences that have none.

Four rows for each number of labels, all measured by accuracy:

- `bag_of_words`: logistic regression on TF-IDF, scikit-learn's;
- `encoder`: the encoder of the other rows, from random weights, on the labels alone;
- `pretrained`: the same, pretrained as a language model on all sentences;
- `semi_supervised`: that one, going on beside a decoder on the sentences without a label (`yelp_few_labels.yaml`).

Which sentences are labelled, and initial weights and batches, follow from the seed; with one seed the smaller number of
labels is a part of the larger. Settings are chosen on the validation split: those of supervised rows by the mean over all
seeds, those of the semi-supervised row, which costs a hundred times as much, by the first seed. Each run ends with the best of
its evaluations on that split. The settings chosen are then measured on the test split, once for each seed.

Last, `yelp_writer.yaml` gives each semi-supervised encoder a decoder that writes. A judge, logistic regression trained on all
labels, says whether sentences are of the sentiment that was asked for, and diversity is compared with that of real sentences;
the temperature of sampling is chosen so that it is theirs on the validation split.

    python recipes/train_language_model.py --config recipes/latent_class/yelp_language_model.yaml --data_dir path/to/yelp
    python recipes/benchmarks/few_labels.py --data_dir path/to/yelp --output recipes/latent_class/results/few_labels.json

`--data_dir` holds a train, a validation and a test file with columns `text` and `label` (0 or 1). What stands in the output
file is not trained again, so a run that was stopped goes on; models are kept in `--folder`.
"""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from transformers import AutoModel, AutoProcessor, PrinterCallback

from hf_lvm.analysis.corpus import batches
from hf_lvm.data import add_classes, class_names, hide_classes
from hf_lvm.data.classes import UNKNOWN
from hf_lvm.metrics.diversity.diversity import compute_diversity
from hf_lvm.training.building import load_run_texts
from hf_lvm.training.config_file import parse
from hf_lvm.training.latent_class import ARGUMENTS, prepare
from hf_lvm.training.results import describe_corpus, run_description, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import train_and_save

RECIPES = Path(__file__).parents[1] / "latent_class"
Settings = dict[str, Any]

GRIDS: dict[str, list[Settings]] = {
    "bag_of_words": [{"C": strength, "words": words} for strength, words in itertools.product((1, 10, 100), (1, 2))],
    "encoder": [{"learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3, 3e-3)],
    "pretrained": [{"learning_rate": rate} for rate in (5e-5, 1e-4, 3e-4, 1e-3)],
    "semi_supervised": [{"kl_end": weight} for weight in (0.1, 0.25, 1.0)],
}
JUDGES = (1, 3, 10, 30, 100)
WRITTEN = 500
TEMPERATURES = (1.0, 1.025, 1.05, 1.075, 1.1)


class Task:
    """The sentences, and how each row is trained on them and measured.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace):
        self.options, self.folder = options, options.folder
        data = DataArguments(data_dir=str(options.data_dir))
        texts = load_run_texts(data)
        self.corpus = describe_corpus(data, texts)
        self.texts = add_classes(texts, ["label"], class_names(texts["train"], ["label"]))
        self.labels = {split: np.asarray(rows["classes"][:])[:, 0] for split, rows in self.texts.items()}

    # ---- rows --------------------------------------------------------------------------------------------------------

    def trial(self, row: str, labels: int, seed: int, settings: Settings) -> dict[str, Any]:
        """A row trained with some settings: its accuracy on the validation split, and the seconds it took."""
        started = time.perf_counter()
        if row == "bag_of_words":
            predict = self.bag_of_words(labels, seed, settings).predict
            accuracy = float((predict(self.texts["validation"]["text"][:]) == self.labels["validation"]).mean())
            return {"validation_accuracy": accuracy, "seconds": time.perf_counter() - started}
        trainer, texts = prepare(*self.arguments(row, labels, seed, settings))
        trainer.remove_callback(PrinterCallback)
        seconds = train_and_save(trainer)
        model, processor = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
        found = {"seconds": seconds, "validation_accuracy": self.accuracy(model, processor, texts["encoded"], "validation")}
        if row == "semi_supervised":
            found["validation_accuracy_by_bayes"] = self.accuracy(model, processor, texts["encoded"], "validation", "bayes")
        return found

    def test(self, row: str, labels: int, seed: int, settings: Settings) -> dict[str, float]:
        """A trained row on the test split."""
        if row == "bag_of_words":
            found = self.bag_of_words(labels, seed, settings).predict(self.texts["test"]["text"][:])
            return {"accuracy": float((found == self.labels["test"]).mean())}
        place = self.place(row, labels, seed, settings)
        model, processor = AutoModel.from_pretrained(place).eval(), AutoProcessor.from_pretrained(place)
        _, texts = prepare(*self.arguments(row, labels, seed, settings))
        found = {"accuracy": self.accuracy(model, processor, texts["encoded"], "test")}
        if row == "semi_supervised":
            found["accuracy_by_bayes"] = self.accuracy(model, processor, texts["encoded"], "test", "bayes")
        return found

    def bag_of_words(self, labels: int, seed: int, settings: Settings) -> Pipeline:
        """Logistic regression on the labelled sentences; how rare a word is, it may know from all of them."""
        known = np.asarray(hide_classes(self.texts["train"], labels, seed)["classes"][:])[:, 0]
        rows = np.flatnonzero(known != UNKNOWN)
        vectors = _vectorizer(settings["words"]).fit(self.texts["train"]["text"][:])
        chosen = self.texts["train"].select(rows)["text"][:]
        regression = LogisticRegression(C=settings["C"], max_iter=1000).fit(vectors.transform(chosen), known[rows])
        return Pipeline([("vectors", vectors), ("regression", regression)])

    def place(self, row: str, labels: int, seed: int, settings: Settings) -> Path:
        """Where a run is kept."""
        name = "_".join(f"{key}={value}" for key, value in settings.items()).replace(" ", "")
        return self.folder / f"{row}_{labels}_{seed}_{name}"

    def arguments(self, row: str, labels: int, seed: int, settings: Settings) -> tuple:
        """The arguments of a run: those of its recipe, and what is varied here."""
        recipe = "yelp_few_labels.yaml" if row == "semi_supervised" else "yelp_labels.yaml"
        flags: Settings = {
            "num_labelled": labels, "label_seed": seed, "seed": seed, **settings,
            "output_dir": self.place(row, labels, seed, settings),
        }  # fmt: skip
        if row == "encoder":
            flags |= {"encoder": "gpt2", "tokenizer": self.options.language_model} | _shape_of(self.options.language_model)
        elif row == "pretrained":
            flags["encoder"] = self.options.language_model
        else:
            flags["posterior"] = self.place("pretrained", labels, seed, self.supervised[labels])
        return self.parse(recipe, flags)

    def parse(self, recipe: str, flags: Settings) -> tuple:
        """A recipe with some of its keys changed."""
        flags = {
            "data_dir": self.options.data_dir, "use_cpu": "true", "disable_tqdm": "true", "logging_strategy": "no", **flags,
        }  # fmt: skip
        argv = [part for key, value in flags.items() for part in (f"--{key}", *map(str, np.atleast_1d(value)))]
        return parse(ARGUMENTS, ["--config", str(RECIPES / recipe), *argv], "")

    @torch.no_grad()
    def accuracy(self, model, processor, encoded, split: str, method: str = "encoder") -> float:
        """Share of the sentences of a split whose sentiment is right, by the encoder or by Bayes' rule from the decoder."""
        rows, right = encoded[split], 0
        known = torch.tensor(rows["classes"][:])[:, 0]
        for numbers, inputs in batches(rows, processor, 200, model.device, "Classifying"):
            inputs = {"labels": inputs["labels"]} if method == "bayes" else inputs
            found = model.class_probabilities(**inputs, method=method)[:, 0].argmax(-1).cpu()
            right += int((found == known[numbers]).sum())
        return right / len(rows)

    # ---- what is written ---------------------------------------------------------------------------------------------

    @cached_property
    def judge(self) -> tuple[Pipeline, float]:
        """Logistic regression on all labels, its strength chosen on the validation split, and its accuracy on the test."""
        train, best = self.texts["train"]["text"][:], (0.0, None)
        for strength in JUDGES:
            judge = make_pipeline(_vectorizer(2), LogisticRegression(C=strength, max_iter=1000))
            judge.fit(train, self.labels["train"])
            right = float((judge.predict(self.texts["validation"]["text"][:]) == self.labels["validation"]).mean())
            best = max(best, (right, judge), key=lambda pair: pair[0])
        return best[1], float((best[1].predict(self.texts["test"]["text"][:]) == self.labels["test"]).mean())

    def write(self, labels: int, seed: int, settings: Settings) -> dict[str, Any]:
        """Train a decoder that writes beside a semi-supervised encoder, and judge what it writes."""
        place = self.folder / f"writer_{labels}_{seed}"
        flags = {
            "posterior": self.place("semi_supervised", labels, seed, settings), "decoder": self.options.language_model,
            "seed": seed, "output_dir": place,
        }  # fmt: skip
        trainer, _ = prepare(*self.parse("yelp_writer.yaml", flags))
        trainer.remove_callback(PrinterCallback)
        seconds = train_and_save(trainer)
        model, processor = trainer.accelerator.unwrap_model(trainer.model).eval(), trainer.processing_class
        asked = np.repeat([0, 1], WRITTEN)
        temperature = self.temperature_of(model, processor, seed, asked)
        written = sample(model, processor, seed + 1, asked, temperature)
        real = self.real("test")
        judge, right = self.judge
        found = judge.predict(written)
        (place / "written.txt").write_text("\n".join(f"{value}\t{text}" for value, text in zip(asked, written, strict=True)))
        return {
            "temperature": temperature,
            "as_asked": float((found == asked).mean()),
            "as_asked_of_class": [float((found[asked == value] == value).mean()) for value in (0, 1)],
            "judge_on_test": right,
            "judge_on_real": float((judge.predict(real) == asked).mean()),
            "written": compute_diversity(written),
            "real": compute_diversity(real),
            "seconds": seconds,
        }

    def temperature_of(self, model, processor, seed: int, asked: np.ndarray) -> float:
        """The temperature at which what is written is as diverse as sentences of the validation split."""
        wanted, distance = compute_diversity(self.real("validation")), {}
        for temperature in TEMPERATURES:
            found = compute_diversity(sample(model, processor, seed, asked, temperature))
            distance[temperature] = max(abs(found[key] / wanted[key] - 1) for key in ("distinct_2", "self_bleu"))
        return min(distance, key=distance.get)

    def real(self, split: str) -> list[str]:
        """The first sentences of each sentiment in a split, as many as are written."""
        rows = [row for value in (0, 1) for row in np.flatnonzero(self.labels[split] == value)[:WRITTEN]]
        return self.texts[split].select(rows)["text"][:]


def sample(model, processor, seed: int, asked: np.ndarray, temperature: float) -> list[str]:
    """A sentence of each sentiment that is asked for."""
    torch.manual_seed(seed)
    written: list[str] = []
    for some in torch.tensor(asked).split(100):
        tokens = model.generate(classes=some, do_sample=True, top_k=0, temperature=temperature, max_new_tokens=40)
        written += processor.batch_decode(tokens)
    return written


def _vectorizer(words: int) -> TfidfVectorizer:
    return TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, words), sublinear_tf=True, min_df=2)


def _shape_of(language_model: Path) -> Settings:
    """The shape of the language model, for an encoder of the same shape from random weights."""
    config = json.loads((language_model / "config.json").read_text(encoding="utf-8"))
    keys = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
    shape = {f"encoder_{key}": config[name] for key, name in keys.items()}
    return shape | {"encoder_activation_function": config["activation_function"]}


class Results:
    """What has been measured, in a file from the first trial on."""

    def __init__(self, path: Path | None):
        self.path = path
        there = path is not None and path.exists()
        read = json.loads(path.read_text(encoding="utf-8")) if there else {}
        self.trials: list[dict[str, Any]] = read.get("trials", [])
        self.rows: list[dict[str, Any]] = read.get("rows", [])
        self.writers: list[dict[str, Any]] = read.get("writers", [])

    def find(self, kind: str, **key: Any) -> dict[str, Any] | None:
        """The entry of a kind with these values."""
        return next((one for one in getattr(self, kind) if all(one.get(name) == value for name, value in key.items())), None)

    def add(self, kind: str, task: Task, entry: dict[str, Any]) -> dict[str, Any]:
        """A new entry, written at once."""
        getattr(self, kind).append(entry)
        if self.path is not None:
            options = task.options
            settings = {"labels": options.labels, "seeds": options.seeds, "threads": options.threads, "grids": GRIDS}
            seconds = sum(one["seconds"] for one in self.trials)
            description = run_description(["few_labels.py"], settings, seconds)
            kinds = {kind: getattr(self, kind) for kind in ("rows", "writers", "trials")}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_results(self.path, description | {"corpus": task.corpus} | kinds)
        return entry


def validation_accuracy(task: Task, results: Results, row: str, labels: int, seed: int, settings: Settings) -> float:
    """That of a trial, which is made where it is not there yet."""
    key = {"row": row, "labels": labels, "seed": seed, "settings": settings}
    trial = results.find("trials", **key)
    if trial is None:
        trial = results.add("trials", task, key | task.trial(row, labels, seed, settings))
        print(f"  {row} {labels} seed {seed} {settings}: validation {trial['validation_accuracy']:.4f}", flush=True)
    return trial["validation_accuracy"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder of the sentences")
    parser.add_argument("--language_model", type=Path, default=Path("runs/latent_class/yelp_language_model"))
    parser.add_argument("--folder", type=Path, default=Path("runs/latent_class/few_labels"), help="where runs are kept")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000], help="numbers of labels (default: 100 1000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of labels and weights (default: 0 1 2)")
    parser.add_argument("--rows", nargs="+", choices=[*GRIDS, "writer"], default=[*GRIDS, "writer"], help="default: all")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--output", type=Path, help="JSON file to write, after each trial")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    task, results = Task(options), Results(options.output)
    task.supervised = {}
    for labels in options.labels:
        for row in GRIDS:
            if row not in options.rows and not (row == "pretrained" and "semi_supervised" in options.rows):
                continue
            seeds = options.seeds[:1] if row == "semi_supervised" else options.seeds
            accuracy = {
                number: np.mean([validation_accuracy(task, results, row, labels, seed, settings) for seed in seeds])
                for number, settings in enumerate(GRIDS[row])
            }
            chosen = GRIDS[row][max(accuracy, key=accuracy.get)]
            if row == "pretrained":
                task.supervised[labels] = chosen
            for seed in options.seeds:
                validation = validation_accuracy(task, results, row, labels, seed, chosen)
                key = {"row": row, "labels": labels, "seed": seed, "settings": chosen}
                if results.find("rows", **key) is None:
                    measured = {"validation_accuracy": validation, **task.test(row, labels, seed, chosen)}
                    results.add("rows", task, key | measured)
                    print(f"{row} {labels} seed {seed} {chosen}: test {measured['accuracy']:.4f}", flush=True)
                if row == "semi_supervised" and "writer" in options.rows:
                    key = {"labels": labels, "seed": seed}
                    if results.find("writers", **key) is None:
                        written = results.add("writers", task, key | task.write(labels, seed, chosen))
                        print(f"writer {labels} seed {seed}: as asked {written['as_asked']:.3f}", flush=True)


if __name__ == "__main__":
    main()
