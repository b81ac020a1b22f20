import os
import re
import subprocess
import sys

import pytest

from hf_lvm.cli.main import COMMANDS, main


def run(capsys, *argv):
    """Status, standard output and standard error of a command; argparse leaves by SystemExit."""
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def assert_one_line_error(status, output, errors, prog, *expected):
    assert status == 2 and not output
    line, end = errors[:-1], errors[-1]
    assert end == "\n" and "\n" not in line, errors
    assert line.startswith(f"{prog}: error: ")
    for words in expected:
        assert words in line


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(capsys, argv):
    status, output, errors = run(capsys, *argv)
    assert status == 0 and not errors
    assert set(COMMANDS) == {
        "train", "evaluate", "sample", "parse", "summarize", "interpolate", "traverse", "arithmetic", "report", "card",
        "push", "demo", "check-estimators",
    }  # fmt: skip
    for name, (_, explanation) in COMMANDS.items():
        assert name in output and explanation in output


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_and_all_its_options(capsys, command):
    status, output, _ = run(capsys, command, "--help")
    assert status == 0
    assert output.startswith(f"usage: hf-lvm {command}")
    options = re.split(r"\n  (?=-)", output)[1:]
    assert len(options) > 2
    assert all(len(option.split()) > 3 for option in options), "an option without a help text"


def test_train_help_shows_the_keys_of_model_texts_objective_and_report(capsys):
    _, output, _ = run(capsys, "train", "--help")
    for key in ("encoder", "decoder", "latent_size", "injection", "dataset", "tokenizer", "kl_schedule", "free_bits",
                "word_dropout", "learning_rate", "num_importance_samples", "config"):  # fmt: skip
        assert f"--{key}" in output
    for injection in ("prefix", "embedding", "memory", "cross_attention", "logits"):
        assert injection in output


def test_version(capsys):
    assert run(capsys, "--version") == (0, "hf-lvm 0.1.0\n", "")


def test_unknown_command_and_no_traceback_from_the_installed_program():
    finished = subprocess.run(
        [sys.executable, "-m", "hf_lvm.cli.main", "trian"], capture_output=True, text=True, env=os.environ
    )
    assert_one_line_error(finished.returncode, finished.stdout, finished.stderr, "hf-lvm", "'trian'", *COMMANDS)


@pytest.mark.parametrize("command", ["sample", "evaluate", "interpolate", "parse"])
def test_no_model_there(capsys, tmp_path, command):
    texts = ("a", "b") if command in ("interpolate", "parse") else ()
    missing = run(capsys, command, *texts, "--model", tmp_path / "nowhere")
    assert_one_line_error(*missing, f"hf-lvm {command}", "no folder", "nowhere", "output_dir")
    empty = run(capsys, command, *texts, "--model", tmp_path)
    assert_one_line_error(*empty, f"hf-lvm {command}", "config.json", "output_dir")


def test_a_folder_without_weights_or_processor_is_no_trained_model(capsys, tmp_path, trained_run):
    (tmp_path / "config.json").write_text((trained_run.folder / "config.json").read_text())
    status, output, errors = run(capsys, "sample", "--model", tmp_path)
    assert_one_line_error(status, output, errors, "hf-lvm sample", "model.safetensors")


def test_the_traceback_can_be_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_LVM_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="no folder"):
        main(["sample", "--model", str(tmp_path / "nowhere")])


def test_sample_writes_the_number_of_texts_asked_for_and_the_same_for_one_seed(capsys, trained_run):
    argv = ["sample", "--model", trained_run.folder, "--num_texts", 3]
    status, first, errors = run(capsys, *argv)
    assert status == 0 and not errors
    texts = first.splitlines()
    assert len(texts) == 3
    words = set(trained_run.texts.read_text().split())
    assert any(texts) and all(word in words | {"<unk>"} for text in texts for word in text.split())
    assert run(capsys, *argv)[1] == first
    assert run(capsys, *argv, "--seed", 1)[1] != first


def test_temperature_0_is_greedy(capsys, trained_run):
    argv = ["sample", "--model", trained_run.folder, "--num_texts", 2, "--temperature", 0, "--max_new_tokens", 5]
    status, output, _ = run(capsys, *argv)
    assert status == 0
    assert all(len(text.split()) <= 5 for text in output.splitlines())


def test_interpolate_begins_and_ends_with_the_reconstructions(capsys, trained_run):
    from hf_lvm.analysis.trained_model import load_trained

    ends = ("the cat sees a house .", "this child does not see the river .")
    for path in ("linear", "spherical"):
        argv = ["interpolate", *ends, "--model", trained_run.folder, "--steps", 5, "--path", path]
        status, output, _ = run(capsys, *argv)
        steps = output.splitlines()
        assert status == 0 and len(steps) == 5
        model, processor = load_trained(str(trained_run.folder), "interpolate")
        assert [steps[0], steps[-1]] == model.reconstruct(list(ends), processor=processor)
