import json
import math
import os
import socket
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from hf_lvm.cli.main import main as command_line
from hf_lvm.training.text_vae import main
from tests.child_processes import run, run_two
from tests.trained_text_vae import write_texts
from tests.training import text_vae_children

SPLITS = ("train", "validation", "test")


def flags(trained_run, folder, *more):
    return [
        "--config",
        str(trained_run.config),
        "--dataset",
        str(trained_run.texts),
        "--output_dir",
        str(folder),
        *more,
    ]


# ---- What a run leaves ----


def test_the_folder_holds_everything(trained_run):
    folder = trained_run.folder
    for name in ("model.safetensors", "config.json", "tokenizer.json", "decoder_tokenizer/tokenizer.json",
                 "processor_config.json", "results.json", "examples.txt", "trainer_state.json"):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    for name in ("latent_map", "latent_map_tsne", "kl_per_dimension", "training_curves"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(folder.glob("**/.incomplete*")) and not list(folder.glob("**/*.bin"))
    state = json.loads((folder / "trainer_state.json").read_text())
    assert state["global_step"] == 24
    logged = [entry for entry in state["log_history"] if "bound" in entry]
    assert [entry["step"] for entry in logged] == [4, 8, 12, 16, 20, 24]
    for key in ("reconstruction", "kl", "kl_weight", "active_units"):
        assert all(math.isfinite(entry[key]) for entry in logged)
    assert logged[0]["kl_weight"] < logged[-1]["kl_weight"] == 1.0
    assert logged[-1]["bound"] > logged[0]["bound"], "it learns"


def test_results_name_every_number_and_how_to_get_it_again(trained_run):
    results = json.loads((trained_run.folder / "results.json").read_text())
    assert results == trained_run.results
    assert results["command"].startswith("hf-lvm train --config ") and str(trained_run.texts) in results["command"]
    assert results["steps"] == 24 and results["training_seconds"] > 0 and "CPU" in results["hardware"]
    assert {"python", "torch", "transformers", "hf-lvm"} <= set(results["versions"])
    assert results["settings"]["learning_rate"] == 1e-2 and results["settings"]["latent_size"] == 4
    assert results["settings"]["part_options"]["decoder"]["max_position_embeddings"] == 32
    assert results["settings"]["seed"] == 42 and results["settings"]["use_cpu"] is True
    assert not {"output_dir", "weight_decay", "load_best_model_at_end"} & set(results["settings"])
    sizes = [int(word.replace(",", "")) for word in results["corpus"].replace(": ", " ").split() if word[0].isdigit()]
    assert "texts.txt" in results["corpus"] and sum(sizes) == 300
    test = results["test"]
    for name in ("bound", "importance_weighted"):
        likelihood = test[name]
        assert likelihood["count_eos"] is True and likelihood["sentences"] == sizes[-1]
        nats = likelihood["nats_per_sentence"] * likelihood["sentences"]
        assert likelihood["word_perplexity"] == pytest.approx(math.exp(nats / likelihood["words"]))
        assert likelihood["token_perplexity"] == pytest.approx(math.exp(nats / likelihood["tokens"]))
        assert likelihood["bits_per_byte"] == pytest.approx(nats / math.log(2) / likelihood["bytes"])
    assert test["importance_weighted"]["num_samples"] == 5
    assert test["importance_weighted"]["nats_per_sentence"] < test["bound"]["nats_per_sentence"] + 0.5
    assert test["latent"]["latent_size"] == 4


def test_examples_show_reconstructions_samples_and_interpolations(trained_run):
    examples = (trained_run.folder / "examples.txt").read_text()
    texts = trained_run.texts.read_text().splitlines()
    assert sum(f"  {text}\n  -> " in examples for text in texts) == 6
    assert "Samples from the prior" in examples and examples.count("Interpolation") == 3


@pytest.mark.slow  # one more process; the contract loads every model in one, tests/hub/ by name and revision
def test_a_new_process_loads_it_after_one_import_and_an_unreachable_hub_is_said_at_once(trained_run, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    script = f"""
import json, sys, time
import hf_lvm
from transformers import AutoModel, AutoProcessor, AutoTokenizer
model = AutoModel.from_pretrained({str(trained_run.folder)!r}).eval()
processor = AutoProcessor.from_pretrained({str(trained_run.folder)!r})
tokenizer = AutoTokenizer.from_pretrained({str(trained_run.folder)!r})
text = "the cat sees a house ."
batch = processor([text])
written = processor.batch_decode(model.generate(**{{key: batch[key] for key in ("input_ids", "attention_mask")}}))
print(json.dumps([type(model).__name__, written, tokenizer(text)["input_ids"] == batch["input_ids"][0].tolist()]))

from hf_lvm.cli.main import main
for part in ("encoder", "decoder", "dataset"):
    start = time.monotonic()
    status = main(["train", "--" + part, "someone/something", "--output_dir", {str(tmp_path / "out")!r},
                   *([] if part == "dataset" else ["--dataset", {str(trained_run.texts)!r}, "--tokenizer", "words",
                     "--decoder_tokenizer", "words"])])
    print(json.dumps([status, time.monotonic() - start]))
"""
    environment = os.environ | {"HF_ENDPOINT": closed, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    loaded, *attempts = map(json.loads, finished.stdout.splitlines())
    assert loaded[0] == "TextVAEModel" and loaded[2] is True
    words = set(trained_run.texts.read_text().split())
    assert loaded[1][0].split() and set(loaded[1][0].split()) <= words
    errors = [line for line in finished.stderr.splitlines() if "error:" in line]
    assert len(errors) == len(attempts) == 3 and "Traceback" not in finished.stderr
    for (status, seconds), line in zip(attempts, errors, strict=True):
        assert status == 2 and seconds < 20
        assert closed in line and "someone/something" in line
    assert not (tmp_path / "out").exists()


# ---- Flags, resuming, two processes ----


def test_flags_override_the_file(trained_run, tmp_path):
    more = ["--max_steps", "2", "--latent_size", "3", "--injection", "memory", "--encoder_hidden_size", "16",
            "--tokenizer", "bpe", "--vocab_size", "280", "--eval_strategy", "no", "--save_strategy", "no",
            "--num_importance_samples", "0", "--max_train_samples", "40",
            "--decoder_max_position_embeddings", "64"]  # fmt: skip
    results = main(flags(trained_run, tmp_path, *more), "hf-lvm train")
    config = json.loads((tmp_path / "config.json").read_text())
    assert results["steps"] == 2 and "importance_weighted" not in results["test"]
    assert (config["latent_size"], config["injection"], config["encoder"]["hidden_size"]) == (3, "memory", 16)
    assert config["decoder"]["n_embd"] == 32, "what no flag names stays as in the file"
    assert 261 < config["decoder"]["vocab_size"] <= 280 and "40 train" in results["corpus"]
    assert not list(tmp_path.glob("checkpoint-*"))
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"latent_map", "latent_map_tsne", "kl_per_dimension"}, (
        "two steps are too few for a line of the log, so for a curve"
    )


@pytest.mark.slow  # two more processes; a kill in the middle of a save is tested in test_checkpoints.py, twenty in hardening/
def test_a_killed_run_goes_on_and_ends_where_an_undisturbed_one_does(trained_run, tmp_path):
    folder = tmp_path / "run"
    status = run(text_vae_children.train_and_be_killed, tmp_path / "error", flags(trained_run, folder))
    assert status == -9, (tmp_path / "error").read_text() if (tmp_path / "error").exists() else status
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-8"]
    assert not (folder / "results.json").exists() and not (folder / "config.json").exists()
    results = main(flags(trained_run, folder, "--resume_from_checkpoint", "true"), "hf-lvm train")
    assert results["steps"] == 24
    state = json.loads((folder / "trainer_state.json").read_text())
    whole = json.loads((trained_run.folder / "trainer_state.json").read_text())
    bounds = [[entry["bound"] for entry in run["log_history"] if "bound" in entry] for run in (state, whole)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-4)
    resumed, undisturbed = (load_file(place / "model.safetensors") for place in (folder, trained_run.folder))
    assert resumed.keys() == undisturbed.keys()
    assert all((resumed[name] - undisturbed[name]).abs().max() < 1e-4 for name in resumed)
    assert results["test"]["bound"] == pytest.approx(trained_run.results["test"]["bound"], rel=1e-3)


def test_two_processes_make_one_folder(trained_run, tmp_path):
    folder = tmp_path / "run"
    argv = flags(trained_run, folder, "--max_steps", "8", "--per_device_train_batch_size", "8")
    run_two(text_vae_children.train, tmp_path, argv)
    results = json.loads((folder / "results.json").read_text())
    assert results["steps"] == 8
    assert results["test"]["bound"]["sentences"] == trained_run.results["test"]["bound"]["sentences"]
    assert len(list((folder / "figures").glob("*.png"))) == 4
    # 8 steps of 2 x 8 sentences are those of 8 steps of 16, but for dropout.
    logged = [
        [entry["bound"] for entry in json.loads((place / "trainer_state.json").read_text())["log_history"]
         if "bound" in entry][:2]
        for place in (folder, trained_run.folder)
    ]  # fmt: skip
    assert logged[0] == pytest.approx(logged[1], rel=0.05)


# ---- Bad input: one clear line, nothing left behind ----


def tokenizer_folder(place, **lacking):
    from hf_lvm.data import train_word_tokenizer

    tokenizer = train_word_tokenizer(["a b c"])
    for role in lacking:
        setattr(tokenizer, role, None)
    tokenizer.save_pretrained(place)
    return str(place)


BAD = {
    "no file": (["--dataset", "nowhere.txt"], ["nowhere.txt"]),
    "empty file": (["--dataset", "{empty}"], ["empty.txt"]),
    "column that does not exist": (["--dataset", "{table}", "--text_column", "nope"], ["'nope'", "review", "stars"]),
    "only one text to test on": (["--max_test_samples", "1"], ["at least 2 texts"]),
    "texts beyond the positions": (["--decoder_max_position_embeddings", "9"], ["positions", "max_length", "decoder"]),
    "a decoder with next to no positions": (["--decoder_max_position_embeddings", "6"], ["gpt2", "6 positions", "8"]),
    "texts beyond the encoder's": (["--encoder_max_position_embeddings", "6"], ["positions", "max_length", "encoder"]),
    "family without the injection": (
        ["--decoder", "llama", "--injection", "cross_attention"],
        ["llama", "cross_attention"],
    ),
    "unknown injection": (["--injection", "sideways"], ["'sideways'", "prefix", "memory"]),
    "unknown schedule": (["--kl_schedule", "sideways"], ["'sideways'", "linear", "constant"]),
    "unknown pooling": (["--pooling", "sideways"], ["'sideways'", "mean", "attention"]),
    "unknown family": (["--decoder", "gtp2"], ["'gtp2'", "gpt2"]),
    "family that cannot generate": (["--decoder", "distilbert"], ["distilbert", "gpt2"]),
    "size that the family does not have": (["--encoder_hidden_sizes", "8"], ["hidden_sizes", "hidden_size"]),
    "unknown flag": (["--latent_sise", "8"], ["--latent_sise", "Did you mean --latent_size?"]),
    "value of the wrong kind": (["--latent_size", "many"], ["latent_size", "many"]),
    "unknown part": (["--freeze", "head"], ["head", "encoder and decoder"]),
    "recipe of another model": (["--model_type", "hf_lvm_lstm_decoder"], ["hf_lvm_lstm_decoder", "hf_lvm_text_vae"]),
    "no padding token": (["--tokenizer", "{no_pad}"], ["padding token", "pad_token"]),
    "no token to start from": (["--decoder_tokenizer", "{no_start}"], ["token", "decoder"]),
    "no end token": (["--decoder_tokenizer", "{no_end}"], ["end token", "eos"]),
    "tied parts with two tokenizers": (
        ["--decoder_tokenizer", "bpe", "--vocab_size", "300", "--tie_encoder_decoder_embeddings", "true"],
        ["tie_encoder_decoder_embeddings", "tokenizer"],
    ),
    "tied and wide embeddings": (
        ["--tie_encoder_decoder_embeddings", "true", "--token_embedding_stddev", "0.7"],
        ["token_embedding_stddev", "tie_encoder_decoder_embeddings"],
    ),
    "nothing to compare": (["--num_generated", "1"], ["num_generated", "2"]),
    "no such checkpoint": (["--resume_from_checkpoint", "nowhere/checkpoint-3"], ["nowhere/checkpoint-3"]),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    place = tmp_path_factory.mktemp("bad")
    (place / "empty.txt").write_text("\n\n")
    (place / "table.csv").write_text("review,stars\n" + "".join(f"good {n},{n}\n" for n in range(60)))
    return {
        "empty": place / "empty.txt",
        "table": place / "table.csv",
        "no_pad": tokenizer_folder(place / "no_pad", pad_token=None),
        "no_start": tokenizer_folder(place / "no_start", pad_token=None, bos_token=None),
        "no_end": tokenizer_folder(place / "no_end", eos_token=None),
    }


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line_and_leaves_nothing(case, capsys, trained_run, tmp_path, bad_files, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more, expected = BAD[case]
    more = [flag.format(**bad_files) for flag in more]
    texts = [] if "--dataset" in more else ["--dataset", str(trained_run.texts)]
    argv = ["--config", str(trained_run.config), *texts, "--output_dir", "out", *more]
    status = command_line(["train", *argv])
    captured = capsys.readouterr()
    assert status == 2
    line = captured.err.removesuffix("\n")
    assert line.startswith("hf-lvm train: error: ") and "\n" not in line, captured.err
    assert all(words in line for words in expected), line
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not left


def test_nan_stops_the_run_and_the_last_good_checkpoint_stays(capsys, trained_run, tmp_path):
    argv = flags(trained_run, tmp_path / "out", "--learning_rate", "1e30", "--max_grad_norm", "0", "--warmup_steps", "9")
    status = command_line(["train", *argv])
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == 2 and "Training stopped at step" in line
    assert not (tmp_path / "out" / "results.json").exists() and not (tmp_path / "out" / "config.json").exists()


def test_texts_of_every_kind_of_file(trained_run, tmp_path):
    """A folder with its own splits and a column of another name."""
    rows = write_texts(tmp_path / "all.txt").read_text().splitlines()
    (tmp_path / "data").mkdir()
    for split, part in zip(SPLITS, (rows[:100], rows[100:120], rows[120:150]), strict=True):
        lines = "".join(json.dumps({"sentence": row, "label": 1}) + "\n" for row in part)
        (tmp_path / "data" / f"{split}.jsonl").write_text(lines)
    argv = ["--config", str(trained_run.config), "--data_dir", str(tmp_path / "data"), "--text_column", "sentence",
            "--output_dir", str(tmp_path / "out"), "--max_steps", "1", "--eval_strategy", "no",
            "--save_strategy", "no", "--num_importance_samples", "0"]  # fmt: skip
    results = main(argv, "hf-lvm train")
    assert results["corpus"] == "data: 100 train, 20 validation, 30 test"
    assert results["test"]["bound"]["sentences"] == 30


def test_a_trained_model_goes_on_with_its_own_parts_and_tokenizers(trained_run, tmp_path):
    before = load_file(trained_run.folder / "model.safetensors")
    unused = ["--decoder", "llama", "--latent_size", "9", "--injection", "memory"]
    more = flags(trained_run, tmp_path / "more", "--model", str(trained_run.folder), "--max_steps", "2", *unused)
    written, config = main(more)["settings"], json.loads((trained_run.folder / "config.json").read_text())
    assert (written["latent_size"], written["injection"]) == (config["latent_size"], config["injection"]) != (9, "memory")
    assert (written["encoder"], written["decoder"]) == (config["encoder"]["model_type"], config["decoder"]["model_type"])
    after = load_file(tmp_path / "more" / "model.safetensors")
    assert before.keys() == after.keys(), "the decoder is still the one it was trained with"
    moved = max((before[name] - after[name]).abs().max().item() for name in before)
    assert 0 < moved < 0.1, "it went on from the trained weights"
    assert (tmp_path / "more" / "tokenizer.json").read_text() == (trained_run.folder / "tokenizer.json").read_text()


def test_a_pretrained_decoder_does_not_begin_anew(tmp_path):
    flags = ["--decoder", "somebody/decoder", "--autoencoder_warmup_steps", "0.5", "--reset_decoder_after_warmup", "true"]
    with pytest.raises(ValueError, match="would throw away the weights of 'somebody/decoder'"):
        main([*flags, "--output_dir", str(tmp_path), "--use_cpu"])


def test_a_new_decoder_needs_a_trained_model_to_stand_beside(tmp_path):
    with pytest.raises(ValueError, match="reset_decoder is for a run that goes on from a trained model"):
        main(["--reset_decoder", "true", "--output_dir", str(tmp_path), "--use_cpu"])
