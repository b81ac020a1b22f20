"""A command reads a hub id at the revision that `--revision` names: model, processor and all."""

import json
import shutil

import pytest
import torch
from huggingface_hub import HfApi, constants
from transformers import AutoModel

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.main import COMMANDS, main

LOADING = ["evaluate", "sample", "parse", "summarize", "interpolate", "traverse", "arithmetic", "check-estimators"]


@pytest.fixture
def versions(hub, saved_models, tmp_path, monkeypatch):
    """tester/vae with a branch `first`, and another model and processor on main; the weights of both."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    source = saved_models["text_vae"].folder
    api = HfApi(endpoint=hub.url, token="hf_owner")
    api.create_repo("tester/vae")
    patterns = ["*.json", "model.safetensors", "decoder_tokenizer/*"]
    api.upload_folder(repo_id="tester/vae", folder_path=source, allow_patterns=patterns)
    api.create_branch("tester/vae", branch="first")
    newer = shutil.copytree(source, tmp_path / "newer")
    model = AutoModel.from_pretrained(newer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.save_pretrained(newer)
    for settings in (newer / "tokenizer_config.json", newer / "decoder_tokenizer" / "tokenizer_config.json"):
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 77}))
    api.upload_folder(repo_id="tester/vae", folder_path=newer, allow_patterns=patterns)
    return saved_models["text_vae"].model.state_dict(), model.state_dict()


def test_model_and_processor_are_of_one_revision(hub, versions):
    commit = hub.repository("tester/vae").branches["first"]
    for revision, state, is_newer in [("first", versions[0], False), (commit, versions[0], False), (None, versions[1], True)]:
        model, processor = load_trained("tester/vae", "sample", revision)
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        lengths = {each.model_max_length for each in (processor.tokenizer, processor.decoder_tokenizer)}
        assert (lengths == {77}) is is_newer


def test_a_command_takes_it(capsys, hub, versions):
    written = {}
    for revision in (None, "first"):
        argv = ["sample", "--model", "tester/vae", "--num_texts", "2", *([] if revision is None else ["--revision", revision])]
        assert main(argv) == 0
        written[revision] = {path for _, path in hub.requests if "/resolve/" in path}
        hub.requests.clear()
    assert written["first"] and not any("/resolve/main/" in path for path in written["first"])


def test_one_that_does_not_exist_and_one_of_a_folder_are_one_line(capsys, hub, versions, saved_models):
    assert main(["sample", "--model", "tester/vae", "--revision", "second"]) == 2
    error = capsys.readouterr().err
    assert "has no revision 'second': give the name of a branch or a tag" in error and error.count("\n") == 1
    assert main(["sample", "--model", str(saved_models["text_vae"].folder), "--revision", "first"]) == 2
    assert "is a version (branch, tag or commit) of a repository on the hub, and" in capsys.readouterr().err


@pytest.mark.parametrize("command", LOADING)
def test_every_command_that_loads_a_model_has_it(command, capsys):
    assert command in COMMANDS
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--revision" in capsys.readouterr().out
