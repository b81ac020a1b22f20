"""Every model goes to the hub whole and comes back the same in a process that knows nothing but its name."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from hf_lvm.training.publishing import publish_run
from tests.fresh_process import fingerprints
from tests.hub.conftest import CONTRACTS, USERS
from tests.local_hub import LocalHub

LOAD = Path(__file__).with_name("load_everything.py")


@dataclass(frozen=True)
class Shared:
    """A hub with every model, and what a new process found there."""

    hub: LocalHub
    first_commit: str
    found: dict


@pytest.fixture(scope="module")
def shared(saved_models, tmp_path_factory) -> Shared:
    """Every model as `tester/NAME` and, hidden, as `tester/private-NAME`; of the text VAE there is a later commit, too."""
    hub = LocalHub(USERS)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ENDPOINT": hub.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
            patch.setattr(f"huggingface_hub.constants.{name}", value)
        for name, saved in saved_models.items():
            publish_run(saved.folder, f"tester/{name}", token="hf_owner")
            publish_run(saved.folder, f"tester/private-{name}", token="hf_owner", private=True)
        first = hub.repository("tester/text_vae").history()[0].oid
        later = saved_models["text_vae"].model
        before = {name: value.clone() for name, value in later.state_dict().items()}
        with torch.no_grad():
            for parameter in later.parameters():
                parameter.add_(1.0)
        folder = tmp_path_factory.mktemp("later")
        later.save_pretrained(folder)
        publish_run(folder, "tester/text_vae", token="hf_owner", without_card=True)
        later.load_state_dict(before)
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1",
                   "HF_HOME": str(tmp_path_factory.mktemp("cache")), "REVISION": first}  # fmt: skip
    finished = subprocess.run(
        [sys.executable, str(LOAD), *CONTRACTS],
        env={key: value for key, value in os.environ.items() if key != "HF_TOKEN"} | environment,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    yield Shared(hub, first, json.loads(finished.stdout.splitlines()[-1]))
    hub.close()


@pytest.mark.parametrize("name", CONTRACTS)
def test_create_unchanged_and_interrupted_upload(hub, saved_models, name):
    saved, repository = saved_models[name], f"tester/{name}"
    first = publish_run(saved.folder, repository)
    history = hub.repository(repository).history()
    assert len(history) == 2, "one commit beside that of the empty repository"
    assert first.revision == history[0].oid and not first.unchanged
    content = hub.files(repository)
    del content[".gitattributes"]
    assert content == saved.contents()
    again = publish_run(saved.folder, repository)
    assert again.unchanged and again.revision == first.revision and hub.repository(repository).history() == history

    # The same into another repository, with the connection gone when all is sent and the commit should be made.
    hub.on_request = lambda path: hub.break_connection(0) if "/commit/" in path else None
    with pytest.raises(ConnectionError, match="nothing of the run was published"):
        publish_run(saved.folder, f"tester/other-{name}")
    hub.on_request = lambda path: None
    hub.mend_connection()
    assert list(hub.files(f"tester/other-{name}")) == [".gitattributes"]
    publish_run(saved.folder, f"tester/other-{name}")
    assert hub.files(f"tester/other-{name}") == hub.files(repository)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_fresh_process_loads_it_by_name_and_revision(shared, saved_models, name):
    saved, found = saved_models[name], shared.found["models"][name]
    assert found["class"] == found["config_class"].replace("Config", "Model") == type(saved.model).__name__
    assert found["tensors"] == fingerprints(saved.model)
    ours, theirs = json.loads((saved.folder / "config.json").read_text()), found["config"]
    assert {key: theirs[key] for key in ours} == ours
    if CONTRACTS[name][2]:
        assert found["processor"] == "LatentTextProcessor" and found["tokens"] == found["words"] == ["a", "b"]


def test_without_a_revision_it_is_the_newest_commit(shared, saved_models):
    assert shared.found["newest"] != fingerprints(saved_models["text_vae"].model)
    files = shared.hub.files("tester/text_vae")
    assert files["README.md"] == saved_models["text_vae"].contents()["README.md"], "a run without a card keeps the one there"
    assert "processor_config.json" not in files, "the later run had none, and the old one would be loaded with its model"


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_private_repository_is_refused_clearly_without_a_token(shared, name):
    error = shared.found["private"][name]
    assert error["class"] == "FileNotFoundError" and "\n" not in error["message"]
    assert f"no model 'tester/private-{name}'" in error["message"] and "hf auth login" in error["message"]


def test_a_private_repository_is_loaded_with_the_token_of_its_owner(shared):
    assert shared.found["private_with_token"] == "TextVAEModel"


def test_without_the_package_the_error_names_it(shared):
    # All that transformers prints of a config it does not know is its model type, which begins with the name to import.
    for name in ("AutoConfig", "AutoModel"):
        error = shared.found["not_imported"][name]
        assert "`hf_lvm_text_vae`" in error["message"] and "does not recognize" in error["message"]
    error = shared.found["not_imported"]["AutoProcessor"]
    assert error["class"] == "ValueError" and "processing class in tester/text_vae" in error["message"]


def test_push_to_hub_of_a_model_keeps_the_card_of_the_repository(shared, saved_models):
    # transformers writes the metadata of a card anew, without its comments; what it says is kept.
    kept, ours = shared.hub.files("tester/neural_hmm")["README.md"], saved_models["neural_hmm"].contents()["README.md"]
    (metadata, text), (own_metadata, own_text) = (card.decode()[4:].split("\n---\n") for card in (kept, ours))
    assert text == own_text and yaml.safe_load(metadata) == yaml.safe_load(own_metadata)
