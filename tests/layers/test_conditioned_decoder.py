"""A decoder under a latent, symbol by symbol, against one pass over the whole sequence."""

import pytest
import torch

from hf_lvm.backbones.decoders import as_decoder_config, build_decoder
from hf_lvm.generation.relaxed_sequences import relaxed_sequences
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.layers.conditioned_decoder import ConditionedDecoder
from hf_lvm.layers.conditioning import LatentConditioning
from tests.tiny_parts import END, START, perturb, row_generators, tiny_config

SIZE, VOCABULARY = 4, 7
TRANSFORMER = [
    "prefix",
    "embedding",
    "memory",
    "cross_attention",
    "logits",
    ["prefix", "embedding"],
    ["memory", "cross_attention"],
]
CASES = [
    *(("gpt2", injection) for injection in TRANSFORMER),
    *(("hf_lvm_lstm_decoder", name) for name in ("initial_state", "concatenation", "embedding", "prefix", "logits")),
    ("hf_lvm_lstm_decoder", ["initial_state", "cross_attention"]),
    ("llama", "memory"),
    ("roberta", ["prefix", "memory"]),
    ("bart", ["embedding", "cross_attention"]),
]


def conditioned(family: str, injection) -> tuple:
    names = [injection] if isinstance(injection, str) else injection
    torch.manual_seed(0)
    config = as_decoder_config(
        tiny_config(family, vocab_size=VOCABULARY, num_hidden_layers=2),
        cross_attention="cross_attention" in names,
        condition_size=SIZE if "concatenation" in names else 0,
    )
    decoder = perturb(build_decoder(config).eval(), 0.1).double()
    conditioning = LatentConditioning(decoder, injection, SIZE, 2).double()
    for layer in conditioning.injections.values():
        layer.init_weights()
    return decoder, conditioning


@pytest.mark.parametrize(("family", "injection"), CASES, ids=str)
def test_it_is_the_decoder_that_training_sees(family, injection):
    decoder, conditioning = conditioned(family, injection)
    latents = torch.randn(3, SIZE, dtype=torch.float64, requires_grad=True)
    q = SymbolSequences(ConditionedDecoder(decoder, conditioning, latents, START), END, 4)
    samples, of_sampler = q.draw((2,), row_generators(3))
    log_prob = q.log_prob(samples)
    torch.testing.assert_close(log_prob, of_sampler, rtol=0.0, atol=1e-9)
    for sample, expected in zip(samples, log_prob, strict=True):
        inputs = torch.cat([torch.full((3, 1), START), sample[:, :-1].clamp(min=0)], dim=1)
        logits = conditioning.decode(decoder, inputs, conditioning.condition(latents)).logits[:, :4].log_softmax(-1)
        inside = torch.arange(4) <= q.lengths(sample).unsqueeze(1)
        chosen = logits.gather(-1, sample[:, :4].clamp(min=0).unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close((chosen * inside).sum(-1), expected, rtol=1e-6, atol=1e-6)
    # The latent is heard, by each sequence, and has a gradient.
    (gradient,) = torch.autograd.grad(log_prob.sum(), latents)
    assert (gradient.abs().amax(1) > 1e-6).all()
    other = SymbolSequences(ConditionedDecoder(decoder, conditioning, latents.flip(0), START), END, 4)
    assert ((other.log_prob(samples) - log_prob)[:, [0, 2]].abs() > 1e-6).all()


@pytest.mark.parametrize(("family", "injection"), [CASES[1], CASES[2], CASES[7], CASES[9]], ids=str)
def test_corners_are_read_as_the_symbols_that_they_are(family, injection):
    decoder, conditioning = conditioned(family, injection)
    latents = torch.randn(2, SIZE, dtype=torch.float64)
    q = SymbolSequences(ConditionedDecoder(decoder, conditioning, latents, START), END, 3)
    relaxed = relaxed_sequences(q, 1.0, (4,), row_generators(2), straight_through=True)
    chosen = relaxed.points.argmax(-1)
    steps = relaxed.log_probs.gather(-1, chosen[..., :3].unsqueeze(-1)).squeeze(-1)
    inside = torch.arange(3) <= q.lengths(chosen).unsqueeze(-1)
    torch.testing.assert_close((steps * inside).sum(-1), q.log_prob(chosen), rtol=0.0, atol=1e-9)


def test_a_context_window_is_refused():
    config = as_decoder_config(tiny_config("gpt2", vocab_size=VOCABULARY))
    decoder = build_decoder(config).eval()
    conditioning = LatentConditioning(decoder, "embedding", SIZE, 1, context_window=2)
    with pytest.raises(ValueError, match="leave context_window out"):
        ConditionedDecoder(decoder, conditioning, torch.zeros(1, SIZE), START)
