"""What cannot work is refused with a message that says what came, what is allowed and how to mend it."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertLMHeadModel, BertModel, GPT2LMHeadModel, T5ForConditionalGeneration

from hf_lvm import TextVAEConfig, TextVAEModel
from tests.tiny_parts import batch_of, random_rows, tiny_config, tiny_vae


def parts():
    return {"encoder": tiny_config("bert"), "decoder": tiny_config("gpt2")}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"injection": "prefx"},
            "Unknown injection 'prefx': choose one or several of 'prefix', 'embedding', 'memory'",
        ),
        ({"injection": []}, "an empty list"),
        ({"injection": ["prefix", "prefix"]}, "named twice"),
        ({"pooling": "sum"}, "Unknown pooling 'sum': choose one of 'first'"),
        ({"posterior_type": "cauchy"}, "Unknown posterior_type 'cauchy': choose one of 'gaussian'"),
        ({"prior_type": "uniform"}, "Unknown prior_type 'uniform': choose one of 'standard_normal'"),
        ({"objective": "elbow"}, "Unknown objective 'elbow': choose one of 'elbo'"),
        ({"estimator": "vimco"}, "'elbo' does not take the estimator 'vimco'"),
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"latent_size": 0}, "latent_size must be at least 1"),
        ({"injection_length": 0}, "injection_length must be at least 1"),
        ({"posterior_initial_stddev": 0.0}, "posterior_initial_stddev must be positive"),
    ],
)
def test_settings(options, said):
    with pytest.raises(ValueError, match=said):
        TextVAEConfig(**parts(), **options)


@pytest.mark.parametrize("decoder", ["llama", "qwen3", "opt", "gpt_neox"])
def test_cross_attention_in_a_decoder_without_it(decoder):
    with pytest.raises(ValueError, match=f"'cross_attention' needs cross-attention layers, and this '{decoder}' .*'gpt2'"):
        tiny_vae("bert", decoder, injection="cross_attention")


def test_cross_attention_in_a_decoder_built_without_it():
    decoder = GPT2LMHeadModel(tiny_config("gpt2"))
    with pytest.raises(ValueError, match=r"build it with config.add_cross_attention=True"):
        TextVAEModel.from_encoder_decoder_pretrained(BertModel(tiny_config("bert")), decoder, injection="cross_attention")


@pytest.mark.parametrize("injection", ["prefix", "embedding", "memory", "logits", "cross_attention"])
def test_a_decoder_without_attention(injection):
    sizes = {"decoder_num_attention_heads": 2, "decoder_state_size": 4}
    sizes.pop("decoder_num_attention_heads")
    with pytest.raises(ValueError, match="A 'mamba' decoder cannot carry a latent variable: .*past_key_values"):
        tiny_vae("bert", "mamba", injection=injection, **sizes)


def test_a_family_that_cannot_generate():
    with pytest.raises(ValueError, match="A 'distilbert' model cannot be a decoder.*'gpt2', 'llama'"):
        TextVAEConfig(encoder=tiny_config("bert"), decoder=tiny_config("distilbert"))
    with pytest.raises(ValueError, match="BertModel cannot generate.*AutoModelForCausalLM"):
        TextVAEModel.from_encoder_decoder_pretrained(BertModel(tiny_config("bert")), BertModel(tiny_config("bert")))


def test_a_bert_decoder_is_causal_or_refused():
    model = tiny_vae("bert", "bert")
    ids, changed = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 6, 7, 9]])
    latents = torch.zeros(1, 4)
    one, other = (model(decoder_input_ids=tokens, labels=tokens, latents=latents).logits for tokens in (ids, changed))
    assert torch.equal(one[:, :3], other[:, :3]) and not torch.equal(one[:, 3], other[:, 3])
    seeing_both_ways = BertLMHeadModel(BertConfig(**tiny_config("bert").to_dict()))
    with pytest.raises(ValueError, match="looks at later tokens.*is_decoder=True"):
        TextVAEModel.from_encoder_decoder_pretrained(BertModel(tiny_config("bert")), seeing_both_ways)


def test_one_config_for_both_parts_is_not_mixed_up():
    config = tiny_config("bert")
    model = TextVAEModel(TextVAEConfig(encoder=config, decoder=config, latent_size=4))
    assert not model.encoder.config.is_decoder and model.decoder.config.is_decoder


@pytest.mark.parametrize("shape", [(2, 3), (2, 5), (4,), (2, 1, 4)])
def test_latents_of_the_wrong_size(shape):
    model = tiny_vae()
    with pytest.raises(ValueError, match=r"do not fit: this model takes \(batch, 4\)"):
        model.generate(latents=torch.zeros(shape))
    with pytest.raises(ValueError, match=r"\d latents for 7 sentences|do not fit"):
        model(labels=torch.full((7, 3), 5), latents=torch.zeros(shape))


def test_one_latent_for_several_sentences_is_not_spread_over_them():
    with pytest.raises(ValueError, match="Got 1 latents for 2 sentences"):
        tiny_vae(injection="embedding")(labels=torch.full((2, 3), 5), latents=torch.zeros(1, 4))


@pytest.mark.parametrize("injection", ["prefix", "memory", "embedding"])
def test_texts_beyond_the_positions(injection):
    model = tiny_vae(injection=injection)
    room = 32 if injection == "embedding" else 30
    assert model.positions_left == room
    fits, too_long = torch.full((1, room), 5), torch.full((1, room + 1), 5)
    model(labels=fits, latents=torch.zeros(1, 4))
    with pytest.raises(ValueError, match=f"{room + 1} tokens is longer than the decoder, a 'gpt2' model with room for {room}"):
        model(labels=too_long, latents=torch.zeros(1, 4))
    with pytest.raises(ValueError, match="longer than the encoder, a 'bert' model with room for 32"):
        model.encode(torch.full((1, 33), 5))
    assert model.generate(latents=torch.zeros(1, 4), max_new_tokens=room, eos_token_id=None).shape == (1, room + 1)
    with pytest.raises(ValueError, match="max_new_tokens"):
        model.generate(latents=torch.zeros(1, 4), max_new_tokens=room + 1, eos_token_id=None)


@pytest.mark.parametrize("family", ["roberta", "mpnet"])
def test_positions_that_begin_after_the_padding_token(family):
    model = tiny_vae(family, encoder_pad_token_id=1, encoder_bos_token_id=0)
    model.encode(torch.full((1, 30), 5))
    with pytest.raises(ValueError, match="room for 30"):
        model.encode(torch.full((1, 31), 5))


def test_a_gap_in_the_labels():
    with pytest.raises(ValueError, match="padded with -100 on the right only"):
        tiny_vae()(labels=torch.tensor([[5, -100, 6]]), latents=torch.zeros(1, 4))


def test_memory_with_gradient_checkpointing():
    model = tiny_vae(injection="memory").train()
    model.gradient_checkpointing_enable()
    with pytest.raises(ValueError, match="gradient checkpointing runs without one.*'prefix'"):
        model(**batch_of(random_rows(2)))
    assert model.eval()(**batch_of(random_rows(2))).loss.isfinite()


@pytest.mark.parametrize("injection", ["prefix", "embedding", "logits", "cross_attention"])
def test_gradient_checkpointing_changes_no_gradient(injection):
    gradients = []
    for checkpointing in (False, True):
        model = tiny_vae("bert", "gpt2", injection=injection).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.decoder.transformer.gradient_checkpointing
        model(**batch_of(random_rows(2)), generator=torch.Generator().manual_seed(0)).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


def test_calls_that_lack_something():
    model = tiny_vae()
    with pytest.raises(ValueError, match="Pass labels to score"):
        model(input_ids=torch.tensor([[5, 6]]))
    with pytest.raises(ValueError, match="Pass input_ids for the encoder, or latents"):
        model(labels=torch.tensor([[5, 6]]))
    with pytest.raises(ValueError, match="Unknown free_bits_mode 'other': choose one of 'none'"):
        model(**batch_of(random_rows(2)), free_bits_mode="other")
    with pytest.raises(ValueError, match="3 generators for a batch of 2 rows"):
        model(**batch_of(random_rows(2)), generator=[torch.Generator()] * 3)


def test_generation_that_cannot_be():
    model, latents = tiny_vae(), torch.zeros(2, 4)
    ragged = {
        "decoder_input_ids": torch.tensor([[5, 6], [7, 0]]),
        "decoder_attention_mask": torch.tensor([[1, 1], [1, 0]]),
    }
    with pytest.raises(ValueError, match="prompts of one length.*got 2 lengths"):
        model.generate(latents=latents, return_dict_in_generate=True, **ragged)
    with pytest.raises(ValueError, match="Got 1 prompts for 2 latents"):
        model.generate(latents=latents, decoder_input_ids=torch.tensor([[5]]))
    with pytest.raises(ValueError, match="differ in shape"):
        model.generate(latents=latents, decoder_input_ids=torch.ones(2, 2).long(), decoder_attention_mask=torch.ones(2, 3))
    with pytest.raises(ValueError, match="dynamic cache"):
        model.generate(latents=latents, cache_implementation="static")


def test_parts_that_are_no_parts():
    bert, gpt2 = BertModel(tiny_config("bert")), GPT2LMHeadModel(tiny_config("gpt2"))
    with pytest.raises(ValueError, match=r"T5ForConditionalGeneration is an encoder and a decoder: .*T5EncoderModel"):
        TextVAEModel.from_encoder_decoder_pretrained(T5ForConditionalGeneration(tiny_config("t5")), gpt2)
    with pytest.raises(ValueError, match="Unknown option 'latent_sise': .* encoder_ or decoder_"):
        TextVAEModel.from_encoder_decoder_pretrained(bert, gpt2, latent_sise=3)
    with pytest.raises(ValueError, match="decoder_n_layer cannot reach the decoder, which is already built"):
        TextVAEModel.from_encoder_decoder_pretrained(bert, gpt2, decoder_n_layer=3)
    with pytest.raises(ValueError, match=r"'gpt2' names a family .*'openai-community/gpt2'"):
        TextVAEModel.from_encoder_decoder_pretrained(bert, "gpt2")
    with pytest.raises(ValueError, match="'bert-base-uncased' is neither a folder nor a model type"):
        TextVAEModel.from_encoder_decoder_pretrained("bert-base-uncased", gpt2)
    with pytest.raises(ValueError, match="There is no folder '/no/such/folder'"):
        TextVAEModel.from_encoder_decoder_pretrained(bert, "/no/such/folder")


def test_tied_embeddings_of_different_shape():
    with pytest.raises(ValueError, match="needs one vocabulary, but the encoder has 23 tokens and the decoder 29"):
        tiny_vae(tie_encoder_decoder_embeddings=True, decoder_vocab_size=29)
    with pytest.raises(ValueError, match=r"embeddings of one shape .*\(23, 16\) and the decoder \(23, 8\)"):
        tiny_vae(tie_encoder_decoder_embeddings=True, decoder_hidden_size=8)


def test_half_a_checkpoint_is_no_checkpoint(tmp_path):
    tiny_vae().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["posterior_head.mean.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 of this model's tensors, the first is 'posterior_head.mean.weight'"):
        AutoModel.from_pretrained(tmp_path)
