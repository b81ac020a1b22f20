"""Parts in 4 and 8 bits, and `device_map`."""

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, BertModel, BitsAndBytesConfig, LlamaForCausalLM

from hf_lvm import TextVAEModel
from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_config, tiny_vae

CONFIGS = {
    "4 bits": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "8 bits": {"load_in_8bit": True},
}


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_a_device_map_of_one_place(device_map, tmp_path):
    model, batch = tiny_vae(), batch_of(random_rows(3))
    model.save_pretrained(tmp_path)
    # A GPU computes other last bits.
    loaded = AutoModel.from_pretrained(tmp_path, device_map=device_map).cpu()
    outputs = [each(**batch, generator=row_generators(3)) for each in (model, loaded)]
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, rtol=0, atol=1e-6)


def test_a_device_map_of_several_places_is_refused(tmp_path):
    tiny_vae().save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match=r"put the model on cpu and disk, .*device_map=\{'': 0\}"):
        AutoModel.from_pretrained(tmp_path / "vae", device_map="auto", max_memory={"cpu": 20_000},
                                  offload_folder=tmp_path / "offloaded")  # fmt: skip
    LlamaForCausalLM(tiny_config("llama")).save_pretrained(tmp_path / "llama")
    split = AutoModelForCausalLM.from_pretrained(
        tmp_path / "llama", device_map="auto", max_memory={"cpu": 5_000}, offload_folder=tmp_path / "offloaded"
    )
    with pytest.raises(ValueError, match="put the decoder on .*disk"):
        TextVAEModel.from_encoder_decoder_pretrained(BertModel(tiny_config("bert")), split, latent_size=4)


def test_the_layers_of_both_parts_stay_in_one_piece():
    assert {"BertLayer", "GPT2Block"} <= set(tiny_vae("bert", "gpt2")._no_split_modules)
    # accelerate does not start when one of the classes is not in the model.
    bart = tiny_vae("bert", "bart")._no_split_modules
    assert "BartDecoderLayer" in bart and "BartEncoderLayer" not in bart


@pytest.fixture(params=list(CONFIGS))
def quantized(request, tmp_path):
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    config = tiny_config("llama", hidden_size=64, intermediate_size=128)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    return AutoModelForCausalLM.from_pretrained(
        tmp_path / "llama", quantization_config=BitsAndBytesConfig(**CONFIGS[request.param]), device_map="cpu"
    )


def test_a_quantized_part_that_would_be_trained_is_refused(quantized):
    with pytest.raises(ValueError, match="The decoder is quantized, so its own weights cannot be trained.*LoRA.*freeze it"):
        TextVAEModel.from_encoder_decoder_pretrained(BertModel(tiny_config("bert")), quantized, latent_size=4)


@pytest.mark.parametrize("adapter", [False, True])
def test_what_is_learned_beside_a_quantized_part_comes_back(quantized, adapter, tmp_path):
    peft = pytest.importorskip("peft")
    if adapter:
        quantized = peft.get_peft_model(quantized, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    else:
        quantized.requires_grad_(False)
    torch.manual_seed(1)
    encoder = BertModel(tiny_config("bert"), add_pooling_layer=False)
    model = TextVAEModel.from_encoder_decoder_pretrained(encoder, quantized, latent_size=4)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    perturb(torch.nn.ParameterList(learned), 0.1)
    with pytest.raises(ValueError, match="The decoder of this model is quantized.*config.adapters_only = True"):
        model.save_pretrained(tmp_path / "model")
    model.config.adapters_only = True
    model.eval().save_pretrained(tmp_path / "model")
    assert model.config.decoder.quantization_config is not None
    loaded = AutoModel.from_pretrained(tmp_path / "model")
    assert type(loaded.decoder.model.layers[0].mlp.up_proj) is type(model.decoder.model.layers[0].mlp.up_proj)
    assert type(loaded.encoder.encoder.layer[0].output.dense) is torch.nn.Linear
    states = [each.state_dict() for each in (model, loaded)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    batch = batch_of(random_rows(3))
    outputs = [each(**batch, generator=row_generators(3)) for each in (model, loaded)]
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }
