"""What each injection gives the decoder, and that decoding with a cache goes on where the pass before it ended."""

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from hf_lvm.backbones.decoders import as_decoder_config, build_decoder
from hf_lvm.layers.conditioning import LatentConditioning
from hf_lvm.layers.decoder_interface import DecoderInterface, in_evaluation_mode, own_memory
from hf_lvm.layers.injections import INJECTIONS
from tests.tiny_parts import tiny_config

LATENTS = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
TOKENS = torch.tensor([[1, 5, 6, 7], [1, 8, 9, 10]])


def conditioned(injection, decoder: str = "gpt2", length: int = 3, **sizes):
    cross_attention = "cross_attention" in injection
    part = build_decoder(as_decoder_config(tiny_config(decoder, num_hidden_layers=2, **sizes), cross_attention)).eval()
    conditioning = LatentConditioning(part, injection, 4, length)
    for layer in conditioning.injections.values():
        layer.init_weights()
    conditioning.calibrate(part, torch.randn(64, 4))
    return part, conditioning


@pytest.mark.parametrize(
    ("injection", "shape"),
    [
        ("prefix", (2, 3, 16)),
        ("embedding", (2, 1, 16)),
        ("memory", (2, 2 * 2 * 2 * 3 * 8)),
        ("cross_attention", (2, 3, 16)),
        ("logits", (2, 1, 23)),
    ],
)
def test_shapes(injection, shape):
    _, conditioning = conditioned(injection)
    assert {name: tuple(value.shape) for name, value in conditioning.condition(LATENTS).items()} == {injection: shape}


@pytest.mark.parametrize(("injection", "positions"), [("prefix", 3), ("memory", 3), ("embedding", 0), ("logits", 0)])
def test_positions_it_takes(injection, positions):
    assert conditioned(injection)[1].positions_used == positions
    assert conditioned(["prefix", "memory"])[1].positions_used == 6


@torch.no_grad()
def test_logits_are_a_bias_and_embedding_a_sum():
    part, conditioning = conditioned("logits")
    bias = conditioning.condition(LATENTS)
    torch.testing.assert_close(conditioning.decode(part, TOKENS, bias).logits, part(TOKENS).logits + bias["logits"])
    part, conditioning = conditioned("embedding")
    added = conditioning.condition(LATENTS)
    embeddings = part.get_input_embeddings()(TOKENS) + added["embedding"]
    torch.testing.assert_close(conditioning.decode(part, TOKENS, added).logits, part(inputs_embeds=embeddings).logits)


@torch.no_grad()
def test_memory_is_what_a_decoder_that_has_read_something_holds():
    """The keys and values of a real text, handed over as memory, give the logits of going on after that text."""
    part, conditioning = conditioned("memory", length=3)
    text = torch.tensor([[11, 12, 13], [14, 15, 16]])
    cache = DynamicCache(config=part.config)
    part(text, past_key_values=cache, use_cache=True)
    memory = torch.cat([states.flatten(1) for layer in cache.layers for states in (layer.keys, layer.values)], dim=1)
    continued = part(torch.cat([text, TOKENS], dim=1)).logits[:, 3:]
    torch.testing.assert_close(conditioning.decode(part, TOKENS, {"memory": memory}).logits, continued, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_filled_cache_is_continued(injection):
    # The last two are for decoders of this package only.
    own = {"decoder": "hf_lvm_lstm_decoder", "condition_size": 4 if injection == "concatenation" else 0}
    part, conditioning = conditioned(injection, **own if injection in ("concatenation", "initial_state") else {})
    conditions = conditioning.condition(LATENTS)
    whole = conditioning.decode(part, TOKENS, conditions).logits
    first = conditioning.decode(part, TOKENS[:, :2], conditions, use_cache=True)
    rest = conditioning.decode(part, TOKENS[:, 2:], conditions, first.past_key_values, use_cache=True)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole, rtol=1e-5, atol=1e-6)
    last = conditioning.decode(part, TOKENS, conditions, logits_to_keep=1).logits
    torch.testing.assert_close(last, whole[:, -1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoder", ["gpt2", "llama", "falcon", "t5"])
def test_the_shape_of_a_memory_is_read_off_the_decoder(decoder):
    sizes = {"num_key_value_heads": 1} if decoder == "llama" else {}
    part, conditioning = conditioned("memory", decoder, **sizes)
    keys = own_memory(part, conditioning.interface)[0][0]
    assert conditioning.memory_shape == [[keys.shape[1], keys.shape[3]]] * 2
    if decoder == "llama":
        assert conditioning.memory_shape == [[1, 8]] * 2


def test_the_interface_is_read_off_the_decoder():
    interface = DecoderInterface.of(AutoModelForCausalLM.from_config(tiny_config("opt", word_embed_proj_dim=12)))
    assert (interface.family, interface.embedding_dim, interface.hidden_size) == ("opt", 12, 16)
    assert not interface.has_cross_attention and interface.vocab_size == 23
    part, conditioning = conditioned("embedding", "opt", word_embed_proj_dim=12)
    assert conditioning.condition(LATENTS)["embedding"].shape == (2, 1, 12)
    conditioning.decode(part, TOKENS, conditioning.condition(LATENTS))


def test_evaluation_mode_ends_with_its_block_even_after_an_error():
    part, _ = conditioned("prefix")
    part.train()
    part.transformer.drop.eval()
    before = {name: module.training for name, module in part.named_modules()}
    with pytest.raises(RuntimeError, match="stop"), in_evaluation_mode(part):
        assert not any(module.training for module in part.modules()) and not torch.is_grad_enabled()
        raise RuntimeError("stop")
    assert {name: module.training for name, module in part.named_modules()} == before
    assert torch.is_grad_enabled()


def test_latents_in_float32_beside_a_decoder_in_bfloat16():
    part, conditioning = conditioned(["prefix", "embedding", "memory", "logits"])
    part, conditioning = part.bfloat16(), conditioning.bfloat16()
    logits = conditioning.decode(part, TOKENS, conditioning.condition(LATENTS)).logits
    assert logits.dtype == torch.bfloat16 and logits.isfinite().all()
