"""Damaged configs and command lines: each is taken, or ends in one clear error. A traceback is a defect.

    python -m pytest tests/hardening/test_fuzz.py -m slow -s     # 10,000 cases, and how they ended

A case is named by its number, and the same in every run.
"""

import collections
import dataclasses
import importlib
import io
import random
import shutil
import time
from pathlib import Path

import pytest

import hf_lvm
from hf_lvm.cli.main import COMMANDS
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.mains import RECIPES
from tests.hardening.driving import Outcome, outcome, stopping_at, write_places
from tests.hardening.mutations import damaged_config, damaged_flags
from tests.recipes.test_recipes import CLASSES_OF

REPOSITORY = Path(__file__).parents[2]
PACKAGED = Path(hf_lvm.__file__).parent / "training" / "defaults"
CONFIGS = [
    path.read_text() for path in sorted([*(REPOSITORY / "recipes").glob("*/*.yaml"), *PACKAGED.glob("*.yaml")])
    if path.parent.name != "accelerate_configs"
]  # fmt: skip
# By itself it has no parser to begin with.
CONFIGS = [f"{text}model: somewhere\n" if "self_training: true" in text else text for text in CONFIGS]
FIELDS_OF = {
    model_type: [field.name for kind in kinds for field in dataclasses.fields(kind)]
    for model_type, kinds in CLASSES_OF.items()
}
FIELDS = sorted({name for names in FIELDS_OF.values() for name in names})
# As many keys of a model as of training.
OWN = {
    model_type: [
        name for kind in kinds if kind is not LatentTrainingArguments for name in (f.name for f in dataclasses.fields(kind))
    ]
    for model_type, kinds in CLASSES_OF.items()
}

COMMON = """\
output_dir: run
dataset: {texts}
use_cpu: true
report_to: none
disable_tqdm: true
max_steps: 3
per_device_train_batch_size: 8
eval_strategy: no
save_strategy: no
learning_rate: 1e-2
"""
LSTMS = "tokenizer: words\nencoder: lstm\nencoder_hidden_size: 8\ndecoder: lstm\ndecoder_hidden_size: 8\n"
# Runs so small that whatever is right with them is prepared in a moment.
SMALL = [
    "model_type: hf_lvm_text_vae\ntokenizer: words\nencoder: bert\nencoder_hidden_size: 8\nencoder_num_hidden_layers: 1\n"
    "decoder: gpt2\ndecoder_hidden_size: 8\ndecoder_num_hidden_layers: 1\nlatent_size: 2\ninjection: [prefix, embedding]\n",
    f"model_type: hf_lvm_text_vae\n{LSTMS}latent_size: 2\ninjection: [concatenation, initial_state]\nkl_schedule: linear\n"
    "kl_warmup_steps: 0.5\nfree_bits: 0.25\nword_dropout: 0.3\nposterior_type: gaussian\nprior_type: standard_normal\n",
    f"model_type: hf_lvm_latent_class\n{LSTMS}num_variables: 2\nnum_classes: 3\nestimator: exact\nobjective: elbo\n",
    "model_type: hf_lvm_neural_hmm\nnum_states: 3\nhidden_size: 8\n",
    "model_type: hf_lvm_neural_topic\nencoder: bag_of_words\nnum_topics: 3\nmin_documents: 1\nembedding_size: 4\n",
    "model_type: language_model\ntokenizer: words\ndecoder: lstm\ndecoder_hidden_size: 8\n",
    "model_type: hf_lvm_urnng\ntokenizer: words\nencoder: lstm\nencoder_hidden_size: 8\nencoder_embedding_size: 8\n"
    "decoder: rnng\ndecoder_hidden_size: 8\nnum_samples: 2\n",
    "model_type: hf_lvm_latent_summarizer\ntokenizer: words\nencoder: lstm\nencoder_hidden_size: 8\ndecoder: segments\n"
    "decoder_hidden_size: 8\nprior: bigram\nprior_hidden_size: 8\nposterior_type: delete\nestimator: exact\n"
    "target_ratio: 0.5\nmin_words: 2\nprior_epochs: 1\n",
    "model_type: hf_lvm_referential_game\nobjects: attributes\nattribute_sizes: [3, 4, 5]\nnum_distractors: 5\n"
    "num_symbols: 6\nmax_message_length: 3\nsender: lstm\nsender_hidden_size: 8\nreceiver: lstm\nreceiver_hidden_size: 8\n"
    "test_fraction: 0.2\nvalidation_fraction: 0.2\n",
    "model_type: hf_lvm_task_and_talk\nnum_runs: 2\n",
]  # fmt: skip
SMALL = [
    own + (COMMON if "game" not in own and "talk" not in own else COMMON.replace("dataset: {texts}\n", "")) for own in SMALL
]
TRAIN_FLAGS = [
    [],
    ["--output_dir", "run", "--use_cpu"],
    ["--model_type", "hf_lvm_urnng", "--output_dir", "run", "--dataset", "{texts}", "--use_cpu", "true"],
    ["--encoder", "bert", "--decoder=gpt2", "--latent_size", "8", "--injection", "prefix", "embedding", "--bf16", "false"],
    ["--model", "{folder}", "--learning_rate", "1e-3", "--max_steps", "10", "--free_bits=0.5"],
    ["--encoder_hidden_size", "8", "--decoder_num_hidden_layers", "1", "--tokenizer", "words", "--lowercase"],
]
MODEL = ["--model", "{model}"]
COMMAND_LINES = {
    "evaluate": [
        *MODEL, "--dataset", "{texts}", "--num_importance_samples", "2", "--num_generated", "2", "--max_samples", "3",
    ],
    "sample": [*MODEL, "--num_texts", "2", "--temperature", "0.5", "--max_new_tokens", "4", "--seed", "1"],
    "parse": ["the cat sees", *MODEL, "--format", "json", "--num_trees", "2", "--beam_size", "4"],
    "summarize": ["the cat sees", *MODEL, "--ratio", "0.5", "--num_summaries", "2"],
    "interpolate": ["the cat", "a dog", *MODEL, "--steps", "3", "--path", "linear"],
    "report": ["{model}", "--output", "report.html"],
    "card": ["{model}", "--model_id", "a/b", "--language", "en", "--license", "mit", "--tags", "x", "--overwrite"],
    "push": ["{model}", "a/b", "--private", "--exclude", "examples.txt", "--dry_run"],
    "demo": ["text-vae", "--output_dir", "demo", "--max_steps", "2"],
    "check-estimators": ["--problems", "mixture", "--estimators", "rloo", "--num_samples", "2", "--draws", "20"],
}  # fmt: skip


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder to run in, and what placeholders stand for in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return write_places(tmp_path) | {"{model}": str(tmp_path / "folder")}


def fill(text: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        text = text.replace(name, place)
    return text


def keys_of(rng: random.Random, seed: str) -> list[str]:
    """Keys to draw from: of the model alone, of the model and its training, or, seldom, of all models."""
    model_type = next((kind for kind in CLASSES_OF if kind.removeprefix("hf_lvm_") in seed), "hf_lvm_text_vae")
    return rng.choice([OWN[model_type], OWN[model_type], FIELDS_OF[model_type], FIELDS_OF[model_type], FIELDS])


class Ledger:
    """How cases ended; the first of each kind of defect is kept with its case."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.defects: dict[str, str] = {}
        self.begin = time.perf_counter()

    def enter(self, name: str, ended: Outcome, case: object) -> None:
        self.counts[f"{name}: {ended.kind}"] += 1
        if ended.kind == "defect":
            lines = ended.said.strip().split("\n")
            self.defects.setdefault(f"{name}: {lines[-1][:200]}", f"{case}\n{ended.said[-3000:]}")

    def close(self, places: dict[str, str]) -> None:
        print(f"\n{sum(self.counts.values()):,} cases in {time.perf_counter() - self.begin:.0f} s")
        for name, count in sorted(self.counts.items()):
            print(f"  {count:6,}  {name}")
        assert not Path(places["{marker}"]).exists(), "a config has run code"
        assert not self.defects, f"{len(self.defects)} kinds of defects:\n\n" + "\n\n".join(
            f"==== {name}\n{case}" for name, case in self.defects.items()
        )


def fuzz_configs(ledger: Ledger, places: dict[str, str], seeds: list[str], cases: range, stage: str) -> None:
    with stopping_at(stage):
        for number in cases:
            rng = random.Random(number)
            seed = rng.choice(seeds)
            content = damaged_config(rng, seed, keys_of(rng, seed))
            for name, place in places.items():
                content = content.replace(name.encode(), place.encode())
            Path("case.yaml").write_bytes(content)
            ended = outcome(["train", "--config", "case.yaml", *(["--use_cpu"] if b"use_cpu" not in content else [])])
            ledger.enter(f"config, {stage}", ended, f"config {number}: {content[-1500:]!r}")


def fuzz_flags(ledger: Ledger, places: dict[str, str], cases: range) -> None:
    """Flags of every recipe's own script and of `hf-lvm train`."""
    mains = [None, *RECIPES.values()]
    with stopping_at("arguments"):
        for number in cases:
            rng = random.Random(number)
            recipe = rng.choice(mains)
            argv = [fill(token, places) for token in damaged_flags(rng, rng.choice(TRAIN_FLAGS), keys_of(rng, recipe or ""))]
            ended = outcome(argv, recipe) if recipe else outcome(["train", *argv])
            ledger.enter(
                "flags of a recipe" if recipe else "flags of train", ended, f"flags {number}: {recipe} {argv!r}"[:3000]
            )


def fuzz_commands(ledger: Ledger, places: dict[str, str], cases: range, models: list[Path] = ()) -> None:
    """Every other command, on a folder that holds no model, or on copies of some that do."""
    options = {
        command: [action.dest for action in _parser_of(command)._actions if action.option_strings] for command in COMMAND_LINES
    }
    with stopping_at("arguments"):
        for number in cases:
            rng = random.Random(number)
            command = rng.choice(list(COMMAND_LINES))
            if models:
                places = places | {"{model}": str(rng.choice(models))}
            keys = options[command] if rng.random() < 0.9 else FIELDS
            argv = [fill(token, places) for token in damaged_flags(rng, COMMAND_LINES[command], keys)]
            ended = outcome([command, *argv])
            ledger.enter(command, ended, f"command {number}: {command} {argv!r}"[:3000])


def _parser_of(command: str):
    """The parser of a command, as it is when it reads `--help`."""
    import argparse

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "print_help", lambda self, file=None: found.append(self))
        with pytest.raises(SystemExit):
            importlib.import_module(COMMANDS[command][0]).main(["--help"], "hf-lvm")
    return found[0]


def test_the_seeds_themselves_are_accepted(places):
    """Otherwise every damaged one would be refused for another reason than its damage."""
    with stopping_at("arguments"):
        for seed in CONFIGS:
            Path("case.yaml").write_text(seed)
            assert outcome(["train", "--config", "case.yaml", "--output_dir", "run", "--use_cpu"]).kind == "accepted", seed


def test_damaged_input_is_taken_or_refused_in_one_line(places):
    ledger = Ledger()
    fuzz_configs(ledger, places, CONFIGS, range(80), "arguments")
    fuzz_flags(ledger, places, range(40))
    fuzz_commands(ledger, places, range(30))
    ledger.close(places)


@pytest.mark.slow
def test_ten_thousand_damaged_inputs(places, tmp_path, trained_run, trained_urnng):
    models = [shutil.copytree(run.folder, tmp_path / run.folder.parent.name / "model") for run in (trained_run, trained_urnng)]
    with stopping_at("prepared"):
        for seed in SMALL:
            Path("case.yaml").write_text(fill(seed, places))
            assert outcome(["train", "--config", "case.yaml"]) == Outcome("accepted", ""), seed
    ledger = Ledger()
    fuzz_configs(ledger, places, CONFIGS, range(1_000, 5_000), "arguments")
    fuzz_configs(ledger, places, SMALL, range(5_000, 7_000), "prepared")
    fuzz_flags(ledger, places, range(7_000, 9_000))
    fuzz_commands(ledger, places, range(9_000, 10_000))
    fuzz_commands(ledger, places, range(10_000, 11_000), models)
    ledger.close(places)
