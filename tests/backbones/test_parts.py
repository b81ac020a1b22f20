"""Whole models and folders as parts: what is taken, what is left behind."""

import pytest
import torch
from transformers import (
    AutoModel,
    BartForConditionalGeneration,
    BartModel,
    BertForMaskedLM,
    BertModel,
    GPT2LMHeadModel,
    GPT2Model,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from hf_lvm import TextVAEModel
from hf_lvm.backbones.encoders import encoder_part, load_encoder
from tests.tiny_parts import batch_of, perturb, random_rows, tiny_config, tiny_vae


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (lambda: BertModel(tiny_config("bert")), "BertModel"),
        (lambda: BertForMaskedLM(tiny_config("bert")), "BertModel"),
        (lambda: BartModel(tiny_config("bart")), "BartEncoder"),
        (lambda: BartModel(tiny_config("bart")).get_encoder(), "BartEncoder"),
        (lambda: T5EncoderModel(tiny_config("t5")), "T5EncoderModel"),
        (lambda: GPT2LMHeadModel(tiny_config("gpt2")), "GPT2Model"),
        (lambda: GPT2Model(tiny_config("gpt2")), "GPT2Model"),
    ],
)
def test_an_encoder_object_is_saved_and_loaded_as_what_it_became(given, kept, tmp_path):
    decoder = GPT2LMHeadModel(tiny_config("gpt2"))
    model = TextVAEModel.from_encoder_decoder_pretrained(given(), decoder, latent_size=4).eval()
    assert type(model.encoder).__name__ == kept and getattr(model.encoder, "pooler", None) is None
    model(**batch_of(random_rows(2))).loss.backward()
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
    model.save_pretrained(tmp_path)
    loaded, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["unexpected_keys"] and loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("families", "classes", "dropout"),
    [
        (("bert", "gpt2"), (BertForMaskedLM, GPT2LMHeadModel), "attention_probs_dropout_prob"),
        (("t5", "t5"), (T5ForConditionalGeneration,) * 2, "dropout_rate"),
        (("bart", "bart"), (BartForConditionalGeneration,) * 2, "attention_dropout"),
    ],
    ids=["bert-gpt2", "t5-t5", "bart-bart"],
)
def test_folders_of_pretrained_parts(families, classes, dropout, tmp_path):
    encoder, decoder = (perturb(build(tiny_config(family)), 0.1) for family, build in zip(families, classes, strict=True))
    encoder.save_pretrained(tmp_path / "encoder")
    decoder.save_pretrained(tmp_path / "decoder")
    model = TextVAEModel.from_encoder_decoder_pretrained(
        str(tmp_path / "encoder"), str(tmp_path / "decoder"), latent_size=4, **{f"encoder_{dropout}": 0.25}
    )
    ids = torch.tensor([[5, 6, 7]])
    base = encoder.get_encoder() if encoder.config.is_encoder_decoder else encoder.base_model
    expected = base.eval()(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    torch.testing.assert_close(model.encoder.eval()(ids).last_hidden_state, expected)
    assert getattr(model.config.encoder, dropout) == 0.25
    state = decoder.get_decoder().state_dict() if decoder.config.is_encoder_decoder else decoder.transformer.state_dict()
    kept = model.decoder.state_dict()
    found = {name: [key for key in kept if key.endswith(name)] for name in state if "embed_tokens" not in name}
    assert all(torch.equal(kept[keys[0]], state[name]) for name, keys in found.items()) and found


def test_a_pretrained_decoder_gains_cross_attention(tmp_path):
    GPT2LMHeadModel(tiny_config("gpt2")).save_pretrained(tmp_path)
    encoder = BertModel(tiny_config("bert"))
    model = TextVAEModel.from_encoder_decoder_pretrained(encoder, str(tmp_path), injection="cross_attention", latent_size=4)
    assert model.decoder.config.add_cross_attention
    model(**batch_of(random_rows(2))).loss.backward()
    assert model.decoder.transformer.h[0].crossattention.c_attn.weight.grad.abs().sum() > 0


def test_an_encoder_with_a_different_head_is_loaded_bare(tmp_path):
    BertForMaskedLM(tiny_config("bert")).save_pretrained(tmp_path)
    assert load_encoder(str(tmp_path)).pooler is None
    assert encoder_part(BertModel(tiny_config("bert"))).pooler is None


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [("bert", "gpt2"), ("roberta", "bart"), ("modernbert", "llama"), ("t5", "t5"), ("bert", "opt")],
)
def test_tied_embeddings_are_one_tensor_in_memory_in_the_file_and_after_training(encoder, decoder, tmp_path):
    from safetensors.torch import load_file

    model = tiny_vae(encoder, decoder, tie_encoder_decoder_embeddings=True)
    tables = [part.get_input_embeddings().weight for part in (model.encoder, model.decoder)]
    assert tables[0] is tables[1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(**batch_of(random_rows(3))).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path)
    untied = tiny_vae(encoder, decoder)
    untied.save_pretrained(tmp_path / "untied")
    count, more = (
        sum(value.shape == (23, 16) for value in load_file(folder / "model.safetensors").values())
        for folder in (tmp_path, tmp_path / "untied")
    )
    assert count == more - 1
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.encoder.get_input_embeddings().weight is loaded.decoder.get_input_embeddings().weight
    assert torch.equal(loaded.encoder.get_input_embeddings().weight, tables[0])
    torch.manual_seed(0)
    expected = model(**batch_of(random_rows(3))).loss
    torch.manual_seed(0)
    torch.testing.assert_close(loaded(**batch_of(random_rows(3))).loss, expected)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_frozen_part_stays_as_it_is_while_the_rest_learns(part, tmp_path):
    model = tiny_vae().train()
    getattr(model, part).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.1)
    model(**batch_of(random_rows(3))).loss.backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(f"{part}.") for name in moved)
    other = "decoder" if part == "encoder" else "encoder"
    assert any(name.startswith(f"{other}.") for name in moved) and "posterior_head.mean.weight" in moved
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
