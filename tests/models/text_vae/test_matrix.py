"""Any encoder with any decoder: every pair trains, saves, loads in a fresh process and generates."""

import itertools

import pytest
import torch

from tests import fresh_process as fresh
from tests.tiny_parts import batch_of, perturb, random_rows, tiny_vae

ENCODERS = ("bert", "roberta", "distilbert", "electra", "modernbert", "t5")
DECODERS = ("gpt2", "llama", "qwen3", "opt", "gpt_neox", "bart", "t5")
MORE_ENCODERS = ("deberta-v2", "albert", "bart", "gpt2", "mpnet")
MORE_DECODERS = ("qwen2", "mistral", "gemma2", "falcon", "bloom", "phi", "bert", "roberta")
INJECTIONS = ("prefix", "embedding", "memory", "logits", ["prefix", "embedding", "memory", "logits"])

PAIRS = [
    *itertools.product(ENCODERS, DECODERS),
    *((encoder, "gpt2") for encoder in MORE_ENCODERS),
    *(("bert", decoder) for decoder in MORE_DECODERS),
]


def build(encoder: str, decoder: str):
    """Injections take turns, so that each meets many families."""
    injection = INJECTIONS[PAIRS.index((encoder, decoder)) % len(INJECTIONS)]
    return perturb(tiny_vae(encoder, decoder, injection=injection), 0.02)


for pair in PAIRS:
    fresh.register("-".join(pair), lambda pair=pair: (build(*pair), batch_of(random_rows(2))))


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
def test_every_part_hears_the_loss(encoder, decoder):
    model = build(encoder, decoder).train()
    output = model(**batch_of(random_rows(3)))
    output.loss.backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    # BART and T5 have layers for cross-attention, which nothing enters here, and T5 a table that is read elsewhere.
    unused = ("encoder_attn", "EncDecAttention", "layer.1.layer_norm")
    assert [name for name in silent if not any(part in name for part in unused)] == []
    for part in (model.encoder, model.decoder, model.posterior_head, model.conditioning):
        gradients = [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        assert sum(gradient.abs().sum() for gradient in gradients) > 0
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
def test_a_fresh_process_loads_it(encoder, decoder, fresh_process):
    reloaded = fresh_process[f"{encoder}-{decoder}"]
    assert reloaded.tensors_before == reloaded.tensors_after
    assert set(reloaded.outputs_before) == {"loss", "logits", "generated"}
    for name, value in reloaded.outputs_before.items():
        torch.testing.assert_close(reloaded.outputs_after[name], value, rtol=0, atol=2e-6, msg=name)
    assert reloaded.outputs_after["generated"].shape == (2, 1 + fresh.NEW_TOKENS)
