"""`model.push_to_hub` shares the card of this package, and leaves one that is there alone."""

import pytest
from huggingface_hub import ModelCard
from transformers import AutoModel

from tests.hub.conftest import CONTRACTS


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_new_repository_has_a_card_of_the_config(name, hub, saved_models):
    model = saved_models[name].model
    assert not model.name_or_path
    model.push_to_hub(f"tester/{name}", tags=["mine"])
    text = hub.files(f"tester/{name}")["README.md"].decode()
    card = ModelCard(text).data
    assert card.library_name == "hf-lvm" and {"hf-lvm", "mine"} <= set(card.tags)
    assert f"`{type(model).__name__}`" in text and f'name = "tester/{name}"' in text
    assert "automatically generated" not in text and "More Information Needed" not in text


def test_a_model_of_a_run_has_the_card_of_the_run(hub, saved_models):
    saved = saved_models["urnng"]
    model = AutoModel.from_pretrained(saved.folder)
    model.push_to_hub("tester/run")
    assert hub.files("tester/run")["README.md"] == (saved.folder / "README.md").read_bytes()


@pytest.mark.parametrize("options", [{}, {"tags": ["mine"]}, {"revision": "draft"}])
def test_a_card_that_is_there_is_left_alone(options, hub, saved_models):
    written = b"---\nlicense: mit   # kept\ntags: [ a ]\n---\n# By hand\n"
    hub.add_repository("tester/there", {"README.md": written})
    saved_models["neural_hmm"].model.push_to_hub("tester/there", **options)
    files = hub.files("tester/there", options.get("revision", "main"))
    assert files["README.md"] == written and "model.safetensors" in files
