"""Every recipe is parsed strictly; the smallest one is run as its README says."""

import json
import runpy
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command, launch_command_parser

import hf_lvm
from hf_lvm.analysis.estimator_check import EstimatorRow
from hf_lvm.backbones.sources import check_exists, config_from_scratch, full_name, is_from_scratch
from hf_lvm.layers.injections import injection_names
from hf_lvm.training import latent_summarizer, referential_game, struct_vae, task_and_talk, urnng
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import _scratch_sizes
from hf_lvm.training.config_file import parse
from hf_lvm.training.language_model import LanguageModelArguments
from hf_lvm.training.latent_class_arguments import LatentClassArguments
from hf_lvm.training.mains import RECIPES, main_of_recipe
from hf_lvm.training.neural_hmm import NeuralHMMArguments
from hf_lvm.training.neural_topic import NeuralTopicArguments
from hf_lvm.training.run_arguments import DataArguments, ReportArguments, TextVAEArguments
from hf_lvm.training.text_vae import _defaults

REPOSITORY = Path(__file__).parents[2]
RECIPE_FOLDER = REPOSITORY / "recipes"
PACKAGED = Path(hf_lvm.__file__).parent / "training"
MODELS = (
    "text_vae",
    "latent_class",
    "neural_hmm",
    "neural_topic",
    "urnng",
    "latent_summarizer",
    "struct_vae",
    "referential_game",
    "task_and_talk",
)
CONFIGS = sorted([file for model in MODELS for file in (RECIPE_FOLDER / model).rglob("*.yaml")] + [*PACKAGED.rglob("*.yaml")])
CLASSES = (TextVAEArguments, DataArguments, ReportArguments, LatentTrainingArguments)
CLASSES_OF = {
    "hf_lvm_text_vae": CLASSES,
    "hf_lvm_latent_class": (LatentClassArguments, DataArguments, ReportArguments, LatentTrainingArguments),
    "hf_lvm_neural_hmm": (NeuralHMMArguments, DataArguments, LatentTrainingArguments),
    "hf_lvm_neural_topic": (NeuralTopicArguments, DataArguments, LatentTrainingArguments),
    "hf_lvm_urnng": urnng.ARGUMENTS,
    "hf_lvm_latent_summarizer": latent_summarizer.ARGUMENTS,
    "hf_lvm_struct_vae": struct_vae.ARGUMENTS,
    "hf_lvm_referential_game": referential_game.ARGUMENTS,
    "hf_lvm_task_and_talk": task_and_talk.ARGUMENTS,
    "language_model": (LanguageModelArguments, DataArguments, LatentTrainingArguments),
}


class TenWords:
    """As much of a tokenizer as the sizes of a part need."""

    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2

    def __len__(self) -> int:
        return 10


def test_on_each_toy_an_unbiased_estimator_was_measured_with_less_variance_than_rloo():
    file = RECIPE_FOLDER / "benchmarks" / "results" / "estimators.json"
    names = [field.name for field in fields(EstimatorRow)]
    rows = [EstimatorRow(**{name: row[name] for name in names}) for row in json.loads(file.read_text())["estimators"]]
    found = runpy.run_path(str(RECIPE_FOLDER / "benchmarks" / "estimators.py"))["best_rivals"](rows)
    assert len(found) == 3 and all(best.variance < rloo.variance for rloo, best in found.values())


@pytest.mark.parametrize("path", [file for file in CONFIGS if RECIPE_FOLDER in file.parents], ids=lambda path: path.stem)
def test_the_command_in_a_recipe_names_that_recipe(path):
    named = [
        word for line in path.read_text().splitlines() if line.startswith("#") for word in line.split() if ".yaml" in word
    ]
    commands = [word for word in named if word.startswith("recipes/") and "accelerate_configs" not in word]
    assert commands == [str(path.relative_to(REPOSITORY))]


def test_the_recipes_are_found():
    names = {path.stem for path in CONFIGS}
    assert {
        "tiny_cpu",
        "documentation",
        "bert_gpt2",
        "ptb_autoencoder_free_bits",
        "ptb_language_model",
        "wsj_words",
        "wsj_urnng",
        "text_vae",
        "text_vae_from_scratch",
    } <= names


@pytest.mark.parametrize(
    ("argv", "settings"),
    [
        ([], "text_vae_from_scratch"),
        (["--decoder", "llama", "--free_bits", "0.5"], "text_vae_from_scratch"),
        (["--encoder=google-bert/bert-base-uncased"], "text_vae_pretrained"),
        (["--model", "runs/somewhere"], "text_vae_pretrained"),
    ],
)
def test_a_run_without_a_config_begins_with_settings_that_fit_its_parts(argv, settings):
    assert _defaults(argv) == settings


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_key_and_value_of_a_recipe_is_known(path, tmp_path):
    argv = ["--config", str(path), "--output_dir", str(tmp_path), "--use_cpu"]
    module = main_of_recipe(argv).__module__
    classes = next(CLASSES_OF[model_type] for model_type, name in RECIPES.items() if name == module)
    model, data, *_, args = parse(classes, argv, "")
    assert module == RECIPES[model.model_type]
    if classes is CLASSES:
        assert injection_names(model.injection) == model.injection
    for part in ("encoder", "decoder"):
        if not hasattr(model, part):
            continue
        source = full_name(part, getattr(model, part))
        if is_from_scratch(source):
            check_exists(source)
            config_from_scratch(source, _scratch_sizes(source, TenWords()), **model.part_options[part])
    assert args.learning_rate != LatentTrainingArguments(output_dir=str(tmp_path), use_cpu=True).learning_rate or (
        "pretrained" in path.read_text()
    ), "a model from scratch needs a larger learning rate than the default"
    assert getattr(data, "data_dir", None) is None, "a corpus that is not ours is named on the command line"


def test_a_key_with_a_slip_of_the_pen_is_refused(tmp_path):
    text = (RECIPE_FOLDER / "text_vae" / "tiny_cpu.yaml").read_text().replace("free_bits:", "free_bit:")
    (tmp_path / "slip.yaml").write_text(text)
    with pytest.raises(ValueError, match="unknown key free_bit. Did you mean free_bits?"):
        parse(CLASSES, ["--config", str(tmp_path / "slip.yaml")], "")


@pytest.mark.parametrize("path", sorted((RECIPE_FOLDER / "accelerate_configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_configs(path):
    config = load_config_from_file(str(path))
    written = yaml.safe_load(path.read_text())
    assert config.num_processes == written["num_processes"] and config.use_cpu == written["use_cpu"]
    assert config.distributed_type.value == written["distributed_type"]
    assert config.mixed_precision == written["mixed_precision"]


@pytest.mark.slow  # three processes one in the other, 20 s; every main runs in tests/training/, and that of the demo in CI
def test_the_smallest_recipe_runs_through_accelerate(tmp_path, monkeypatch, capfd):
    more = ["--max_steps", 12, "--eval_steps", 6, "--save_steps", 6, "--max_test_samples", 20,
            "--num_importance_samples", 2, "--num_generated", 4]  # fmt: skip
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    # What a user sees, whose transformers is not told to be silent.
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    # `accelerate launch` without the interpreter that would import accelerate once more; it starts the recipe in one.
    launch_command(
        launch_command_parser().parse_args(
            ["--config_file", "recipes/accelerate_configs/cpu.yaml",
             "recipes/train_text_vae.py", "--config", "recipes/text_vae/tiny_cpu.yaml",
             "--output_dir", str(tmp_path / "run"), *map(str, more)]
        )
    )  # fmt: skip
    finished = capfd.readouterr()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["steps"] == 12 and results["test"]["bound"]["sentences"] == 20
    assert results["command"].startswith("train_text_vae.py --config recipes/text_vae/tiny_cpu.yaml")
    assert "documentation corpus of Python" in results["corpus"]
    assert {path.name for path in (tmp_path / "run").glob("checkpoint-*")} == {"checkpoint-6", "checkpoint-12"}
    for line in ("Validation at step 6: -ELBO", "On the test split, 20 sentences", "Everything is in"):
        assert line in finished.err
    for noise in ("pin_memory", "Writing model shards", "missing keys", "Traceback", "Warning"):
        assert noise not in finished.out + finished.err, finished.err[-3000:]


def test_a_mistake_in_a_recipe_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_text_vae.py", "--config", "recipes/text_vae/tiny.yaml"])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(RECIPE_FOLDER / "train_text_vae.py"), run_name="__main__")
    captured = capsys.readouterr()
    assert leaving.value.code == 2 and not captured.out
    expected = "train_text_vae.py: error: --config recipes/text_vae/tiny.yaml: there is no such file"
    assert captured.err.startswith(expected) and len(captured.err.splitlines()) == 1
