"""At initialisation z neither drowns what it joins nor vanishes, in a fresh decoder and in one that was trained."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BertModel

from hf_lvm import TextVAEModel
from hf_lvm.backbones.decoders import as_decoder_config, build_decoder
from tests.tiny_parts import tiny_config, tiny_vae

DECODERS = ("gpt2", "llama", "qwen3", "opt", "gpt_neox", "bart", "t5")
LSTM = "hf_lvm_lstm_decoder"
INJECTIONS = ("prefix", "embedding", "memory", "logits", "cross_attention")
CASES = [
    (decoder, injection)
    for decoder in DECODERS
    for injection in INJECTIONS
    if injection != "cross_attention" or decoder in ("gpt2", "bart", "t5")
] + [(LSTM, "cross_attention")]


def ratios(model) -> torch.Tensor:
    """RMS of the injected part over that of what it joins, for latents of the prior that calibration did not see."""
    latents = torch.randn(256, model.config.latent_size, generator=torch.Generator().manual_seed(99))
    with torch.no_grad():
        return torch.cat(
            [
                injection.ratio(latents, model.decoder, model.conditioning.interface).reshape(-1)
                for injection in model.conditioning.injections.values()
            ]
        )


def trained(decoder: str, cross_attention: bool):
    """A decoder after some steps as a language model, its embeddings and matrices grown as in long training."""
    torch.manual_seed(0)
    config = as_decoder_config(tiny_config(decoder, num_hidden_layers=2), cross_attention)
    model = build_decoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10 if decoder != "t5" else 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    ids = torch.randint(3, 23, (8, 6))
    for _ in range(15):
        optimizer.zero_grad()
        logits = model(input_ids=ids).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize(("decoder", "injection"), CASES)
def test_in_a_fresh_decoder(decoder, injection):
    ratio = ratios(tiny_vae("bert", decoder, injection=injection, decoder_num_hidden_layers=2, latent_size=8))
    assert (ratio > 0.1).all() and (ratio < 1).all(), ratio


@pytest.mark.parametrize(("decoder", "injection"), CASES)
def test_in_a_trained_decoder(decoder, injection):
    part = trained(decoder, injection == "cross_attention")
    model = TextVAEModel.from_encoder_decoder_pretrained(
        BertModel(tiny_config("bert")), part, injection=injection, latent_size=8
    )
    assert model.decoder is part
    ratio = ratios(model)
    assert (ratio > 0.1).all() and (ratio < 1).all(), ratio


def test_a_combination_is_scaled_part_by_part():
    ratio = ratios(tiny_vae(injection=["prefix", "embedding", "memory", "logits", "cross_attention"], latent_size=8))
    assert len(ratio) == 4 + 2 and (ratio > 0.1).all() and (ratio < 1).all(), ratio


def test_loading_leaves_the_trained_scale_alone(tmp_path):
    model = tiny_vae(injection="embedding")
    with torch.no_grad():
        model.conditioning.injections["embedding"].projection.weight.mul_(40)
    model.save_pretrained(tmp_path)
    assert torch.allclose(ratios(TextVAEModel.from_pretrained(tmp_path)), ratios(model))
    assert ratios(model) > 4


def test_a_new_model_is_the_same_whatever_was_drawn_before():
    models = []
    for draws in (0, 5):
        decoder = AutoModelForCausalLM.from_config(tiny_config("gpt2"))
        decoder.load_state_dict(models[0].decoder.state_dict() if models else decoder.state_dict())
        torch.manual_seed(4)
        encoder = BertModel(tiny_config("bert"))
        models.append(TextVAEModel.from_encoder_decoder_pretrained(encoder, decoder, latent_size=4))
        torch.randn(draws)
    weights = [model.conditioning.injections["prefix"].projection.weight for model in models]
    assert torch.equal(*weights)


def test_initial_posterior():
    model = tiny_vae(posterior_initial_stddev=0.3, latent_size=16, encoder_hidden_size=32, pooling="first")
    posterior = model.encode(torch.randint(3, 23, (64, 6)))
    torch.testing.assert_close(posterior.stddev, torch.full((64, 16), 0.3), rtol=0.1, atol=0)
    assert 0.5 < posterior.mean.square().mean().sqrt() < 2, "means as wide as the prior"
    attention = tiny_vae(pooling="attention", seed=2)
    assert (attention.pooling.score.weight == 0).all()
