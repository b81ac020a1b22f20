"""A logit depends on the last k tokens and the latent, and nothing else: through all layers, in one pass and from a cache."""

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from hf_lvm.backbones.decoders import as_decoder_config, build_decoder
from hf_lvm.layers.conditioning import LatentConditioning
from hf_lvm.layers.context_window import ContextWindow, window_sizes
from tests.tiny_parts import VOCABULARY, perturb, tiny_config

FAMILIES = ("gpt2", "llama", "qwen3", "gpt_neox", "opt", "t5", "bart")
TOKENS = torch.tensor([[1, 5, 6, 7, 8, 9, 10]])
LENGTH = TOKENS.shape[1]


def decoder_of(family: str, attention: str = "sdpa", layers: int = 2, cross_attention: bool = False, **sizes):
    config = as_decoder_config(tiny_config(family, num_hidden_layers=layers, **sizes), cross_attention)
    config._attn_implementation = attention
    return perturb(build_decoder(config).eval(), 0.3)


def changed_at(place: int) -> torch.Tensor:
    tokens = TOKENS.clone()
    tokens[0, place] += 10
    return tokens


class Windowed:
    """A decoder under a prefix and a memory, with windows."""

    def __init__(self, decoder, context_window: int, injection=("prefix", "memory")):
        self.decoder = decoder
        self.conditioning = LatentConditioning(decoder, list(injection), latent_size=4, length=2)
        for layer in self.conditioning.injections.values():
            layer.init_weights()
        self.window = ContextWindow.of(decoder, context_window, self.conditioning.positions_used)
        self.conditions = self.conditioning.condition(torch.ones(1, 4))

    def decode(self, tokens: torch.Tensor, cache=None, conditions=None) -> torch.Tensor:
        with self.window.over(self.decoder):
            return self.conditioning.decode(
                self.decoder, tokens, conditions or self.conditions, cache, use_cache=cache is not None
            ).logits

    def step_by_step(self, tokens: torch.Tensor) -> torch.Tensor:
        cache = DynamicCache(config=self.decoder.config)
        # Two tokens at first, as after a prompt, then one at a time.
        pieces = [tokens[:, :2], *tokens[:, 2:].split(1, dim=1)]
        return torch.cat([self.decode(piece, cache) for piece in pieces], dim=1)


@pytest.mark.parametrize(
    ("context_window", "layers", "sizes"),
    [(1, 3, [1, 1, 1]), (2, 3, [2, 1, 1]), (4, 3, [2, 2, 2]), (9, 3, [4, 4, 3]), (5, 1, [5]), (100, 2, [51, 50])],
)
def test_windows_add_up_to_the_context(context_window, layers, sizes):
    assert window_sizes(context_window, layers) == sizes
    assert 1 + sum(size - 1 for size in sizes) == context_window


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_logit_sees_exactly_the_last_k_tokens(family, attention):
    """Every token is changed in turn, and every logit looked at, at k of both parities: uneven windows, and one of 1."""
    decoder = decoder_of(family, attention)
    for context_window in (2, 4):
        model = Windowed(decoder, context_window)
        assert model.window.reach == context_window
        logits = model.decode(TOKENS)
        for place in range(LENGTH):
            moved = (model.decode(changed_at(place)) != logits).any(-1)[0].tolist()
            assert moved == [place <= query < place + context_window for query in range(LENGTH)]


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_cached_steps_see_the_same(family, attention):
    context_window = 3
    model = Windowed(decoder_of(family, attention), context_window)
    logits = model.step_by_step(TOKENS)
    torch.testing.assert_close(logits, model.decode(TOKENS), rtol=1e-5, atol=1e-5)
    outside, inside = LENGTH - 1 - context_window, LENGTH - context_window
    assert torch.equal(model.step_by_step(changed_at(outside))[:, -1], logits[:, -1])
    assert not torch.equal(model.step_by_step(changed_at(inside))[:, -1], logits[:, -1])


@torch.no_grad()
@pytest.mark.parametrize("injection", ["prefix", "memory"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_latent_is_seen_from_everywhere_even_through_windows_of_one_token(family, injection):
    model = Windowed(decoder_of(family), 1, [injection])
    other = model.conditioning.condition(torch.tensor([[2.0, -1.0, 0.5, 1.0]]))
    difference = (model.decode(TOKENS) - model.decode(TOKENS, conditions=other)).abs().amax(-1)
    assert (difference > 1e-4).all()


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "bart", "t5"])
def test_states_that_are_attended_to_across_are_not_windowed(family):
    decoder = decoder_of(family, cross_attention=True)
    window = ContextWindow.of(decoder, 1)
    states = torch.randn(1, 3, 16)
    with window.over(decoder):
        logits, other = (decoder(TOKENS, encoder_hidden_states=given).logits for given in (states, states.flip(-1)))
    assert ((logits - other).abs().amax(-1) > 1e-4).all()


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_context_longer_than_the_text_changes_nothing(family):
    decoder = decoder_of(family)
    with ContextWindow.of(decoder, 50).over(decoder):
        logits = decoder(TOKENS).logits
    assert torch.equal(logits, decoder(TOKENS).logits)


@torch.no_grad()
def test_the_decoder_is_itself_again_after_a_call_even_one_that_fails():
    decoder = decoder_of("llama")
    before = decoder(TOKENS).logits
    window = ContextWindow.of(decoder, 1)
    with window.over(decoder):
        assert not torch.equal(decoder(TOKENS).logits, before)
    with pytest.raises(RuntimeError, match="stop"), window.over(decoder):
        raise RuntimeError("stop")
    assert torch.equal(decoder(TOKENS).logits, before)
    assert not any(module._forward_pre_hooks for module in decoder.modules())


def gradients_under(window: ContextWindow, decoder: nn.Module) -> list[torch.Tensor]:
    decoder.zero_grad()
    with window.over(decoder):
        loss = decoder(TOKENS, labels=TOKENS, use_cache=False).loss
    loss.backward()
    return [parameter.grad.clone() for parameter in decoder.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_gradient_checkpointing_recomputes_inside_the_windows_or_is_refused(family):
    decoder = decoder_of(family).train()
    window = ContextWindow.of(decoder, 2)
    expected = gradients_under(window, decoder)
    decoder.gradient_checkpointing_enable({"use_reentrant": False})
    layer = decoder.get_submodule(window.layers)[0]
    if type(layer).__call__ is not nn.Module.__call__:  # transformers that runs the hooks again as it recomputes
        with pytest.raises(ValueError, match="switch gradient checkpointing off"):
            gradients_under(window, decoder)
    else:
        for gradient, other in zip(gradients_under(window, decoder), expected, strict=True):
            torch.testing.assert_close(gradient, other)


def test_checkpointing_around_the_hooks_of_a_layer_is_refused():
    class OldLayer(nn.Module):
        """Checkpointed by its caller, as layers of several families are."""

        gradient_checkpointing = True

        def forward(self, hidden_states, attention_mask=None, past_key_values=None):
            return hidden_states

    decoder = decoder_of("llama").train()
    decoder.model.layers = nn.ModuleList(OldLayer() for _ in decoder.model.layers)
    with (
        pytest.raises(ValueError, match="gradient checkpointing do not go together"),
        ContextWindow.of(decoder, 2).over(decoder),
    ):
        decoder(TOKENS)
    assert not any(module._forward_pre_hooks for module in decoder.modules())


@pytest.mark.parametrize("context_window", [0, -3])
def test_a_window_without_the_token_just_read_is_refused(context_window):
    with pytest.raises(ValueError, match=f"at least 1, the token just read, but is {context_window}"):
        ContextWindow.of(decoder_of("gpt2"), context_window)


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("hf_lvm_lstm_decoder", {}),
        ("hf_lvm_dilated_cnn_decoder", {"dilations": [1, 2], "num_hidden_layers": 2}),
        ("mamba", {}),
        ("jamba", {"num_hidden_layers": 4, "attn_layer_offset": 1, "attn_layer_period": 2, "num_experts": 1}),
    ],
)
def test_decoders_that_remember_without_attention_are_refused(family, sizes):
    config = tiny_config(family, **sizes)
    with pytest.raises(ValueError, match="attention layers sees, and a .* decoder has (none|layers that remember)"):
        ContextWindow.of(build_decoder(config), 4)


@pytest.mark.parametrize("family", ["falcon_h1", "mpt"])
def test_a_decoder_that_does_not_keep_to_its_windows_is_found_out_by_running_it(family):
    """The one has a state beside its attention, the other reads True in a mask as hidden."""
    sizes = {"mamba_d_ssm": 32, "mamba_n_heads": 2, "mamba_d_head": 16} if family == "falcon_h1" else {"n_layers": 2}
    decoder = decoder_of(family, "eager", **sizes)
    with pytest.raises(ValueError, match="see more than the attention mask shows them"):
        ContextWindow.of(decoder, 3).check(decoder, VOCABULARY)
    attentive = decoder_of("gpt2")
    ContextWindow.of(attentive, 3).check(attentive, VOCABULARY)


def test_attention_that_takes_no_mask_of_queries_by_keys_is_refused():
    decoder = decoder_of("llama")
    window = ContextWindow.of(decoder, 3)
    decoder.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="'flash_attention_2' attention does not take: .* 'eager' or 'sdpa'"):
        ContextWindow.of(decoder, 3)
    with pytest.raises(ValueError, match="'flash_attention_2'"), window.over(decoder):
        decoder(TOKENS)


@torch.no_grad()
def test_a_decoder_keeps_its_own_sliding_window():
    decoder = decoder_of("mistral", layers=1, sliding_window=2)
    window = ContextWindow.of(decoder, 4)
    with window.over(decoder):
        logits, other = decoder(TOKENS).logits, decoder(changed_at(LENGTH - 3)).logits
        cache = DynamicCache(config=decoder.config)
        steps = [decoder(token, past_key_values=cache, use_cache=True).logits for token in TOKENS.split(1, dim=1)]
    assert torch.equal(logits[:, -1], other[:, -1])
    torch.testing.assert_close(torch.cat(steps, 1), logits, rtol=1e-5, atol=1e-5)
