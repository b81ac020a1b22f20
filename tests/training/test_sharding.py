"""Sharded parameters (`fully_shard`, FSDP2) on two CPU processes: one step equals that of the whole model."""

import pytest
import torch

from tests.child_processes import run_two
from tests.models.urnng.tiny_grammars import tiny_urnng
from tests.tiny_parts import perturb, tiny_vae
from tests.training import sharded_step

TEXT_VAE = {"injection": ["memory", "embedding"], "decoder_num_hidden_layers": 2}
MODELS = {
    "bert_gpt2": lambda: perturb(tiny_vae("bert", "gpt2", **TEXT_VAE), 0.05),
    "recomputed_llama": lambda: perturb(tiny_vae("modernbert", "llama", injection=["prefix", "logits"]), 0.05),
    "grammar": lambda: tiny_urnng("bert", "gpt2", perturbation=0.02),
}
UNITS = {
    "bert_gpt2": ["encoder.encoder.layer.0", "decoder.transformer.h.0", "decoder.transformer.h.1"],
    "recomputed_llama": ["encoder.layers.0", "decoder.model.layers.0"],
    "grammar": ["encoder.encoder.layer.0", "decoder.decoder.transformer.h.0"],
}


pytestmark = pytest.mark.slow  # two processes, each of which imports and builds everything


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sharded")
    for name, build in MODELS.items():
        build().save_pretrained(place / name)
    run_two(sharded_step.one_of_two, place, [place / name for name in MODELS])
    return place


@pytest.mark.parametrize("name", MODELS)
def test_a_sharded_step_is_that_of_the_whole_model(name, folder):
    sharded, model = torch.load(folder / name / "step.pt"), MODELS[name]()
    loss = sharded_step.step(model, slice(None))
    torch.testing.assert_close(sharded["loss"], loss, rtol=1e-6, atol=0)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    size = max(gradient.abs().max().item() for gradient in gradients.values())
    torch.testing.assert_close(sharded["gradients"], gradients, rtol=0, atol=1e-5 * size)
    assert [unit for unit in sharded["units"] if not unit.endswith("embeddings")] == UNITS[name]
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert sharded["held"] < 0.6 * whole, "each process holds about half"
