"""A hub of its own for every test, and every model saved as its run would save it."""

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from tests.local_hub import LocalHub, User

USERS = {"hf_owner": User("tester"), "hf_reader": User("tester", can_write=False), "hf_stranger": User("stranger")}
# One small model of each type, as its contract builds it, and whether a run of it has a processor.
CONTRACTS = {
    "text_vae": ("tests.models.text_vae.test_contract", "TestBertToGPT2Prefix", True),
    "latent_class": ("tests.models.latent_class.test_contract", "TestMixtureSummed", True),
    "neural_hmm": ("tests.models.neural_hmm.test_neural_hmm", "TestNeuralHMM", True),
    "neural_topic": ("tests.models.neural_topic.test_neural_topic", "TestLogisticNormal", True),
    "latent_summarizer": ("tests.models.latent_summarizer.test_contract", "TestExactDeletion", True),
    "urnng": ("tests.models.urnng.test_contract", "TestRecurrentGrammar", True),
    "struct_vae": ("tests.models.struct_vae.test_contract", "TestMeanings", True),
    "referential_game": ("tests.models.referential_game.test_contract", "TestReferentialGame", False),
    "task_and_talk": ("tests.models.task_and_talk.test_contract", "TestTaskAndTalk", False),
}
CARD = """---
license: apache-2.0   # kept to the last blank
tags:
- hf-lvm
- latent-variable-model
library_name: hf-lvm
model-index:
- name: NAME
  results:
  - task:
      type: text-generation
    dataset:
      name: a corpus
      type: text
    metrics:
    - type: nats_per_sentence
      value: 59.6
---
# NAME

A card that was made with care — and must not be lost.
"""


@dataclass(frozen=True)
class SavedModel:
    """A model and the folder of its run, beside files that no upload may take."""

    model: torch.nn.Module
    folder: Path

    def contents(self) -> dict[str, bytes]:
        """What an upload must bring: path -> bytes."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        found = {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}
        private = ("checkpoint-", "training_args", "trainer_state", "notes", "optimizer", ".cache")
        return {name: content for name, content in found.items() if not name.startswith(private)}


def as_run(folder: Path, name: str) -> Path:
    """Put beside a saved model what a run leaves there."""
    for path, content in {
        "README.md": CARD.replace("NAME", name),
        "results.json": '{"test": {"bound": 1.0}}',
        "examples.txt": "a b c\n",
        "figures/training_curves.png": "\x89PNG\0of curves",
        "training_args.json": "{}",
        "training_args.bin": "pickle",
        "trainer_state.json": "{}",
        "optimizer.pt": "state",
        "notes.txt": "not for others",
        ".cache/huggingface/x.json": "{}",
        "checkpoint-3/model.safetensors": "of an earlier step",
        "checkpoint-3/optimizer.pt": "state",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode("latin-1" if path.endswith("png") else "utf-8"))
    return folder


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory, word_processor) -> dict[str, SavedModel]:
    """Every model of the package, saved; nobody may write into the folders."""
    place, saved = tmp_path_factory.mktemp("models"), {}
    for name, (module, contract, has_processor) in CONTRACTS.items():
        model = getattr(importlib.import_module(module), contract)().build_small()
        model.save_pretrained(place / name)
        if has_processor:
            word_processor.save_pretrained(place / name)
        saved[name] = SavedModel(model, as_run(place / name, name))
    return saved


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty hub that this process takes for the real one, with the token of `tester`, and without waits for retries."""
    hub = LocalHub(USERS)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    # Which transformers makes once, for the address that it finds then.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    waiting = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", waiting)
    yield hub
    hub.close()
    huggingface_hub.close_session()
