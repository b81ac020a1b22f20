"""LoRA inside a part, and around the whole model: trains only what it should, comes back bit-equal."""

import pytest
import torch
from transformers import AutoModel, BertModel, GPT2LMHeadModel

from hf_lvm import TextVAEModel
from hf_lvm.backbones.adapters import adapter_config
from tests.tiny_parts import batch_of, perturb, random_rows, tiny_config, tiny_vae

peft = pytest.importorskip("peft")
TARGETS = {"encoder": ["query", "value"], "decoder": ["c_attn"]}


def with_lora(*parts: str, **options) -> TextVAEModel:
    torch.manual_seed(0)
    models = {"encoder": BertModel(tiny_config("bert")), "decoder": GPT2LMHeadModel(tiny_config("gpt2"))}
    for part in parts:
        models[part] = peft.get_peft_model(models[part], peft.LoraConfig(r=2, target_modules=TARGETS[part], **options))
    return TextVAEModel.from_encoder_decoder_pretrained(models["encoder"], models["decoder"], latent_size=4).train()


def step(model) -> set[str]:
    """One step of SGD; the names of the tensors that moved."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):  # LoRA's A gets no gradient while B is zero
        optimizer.zero_grad()
        model(**batch_of(random_rows(4))).loss.backward()
        optimizer.step()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("parts", [("encoder",), ("decoder",), ("encoder", "decoder")])
def test_a_part_with_an_adapter_trains_only_adapter_and_heads_and_comes_back(parts, tmp_path):
    model = with_lora(*parts)
    moved = step(model)
    for part in parts:
        own = {name for name in moved if name.startswith(f"{part}.")}
        assert own and all("lora_" in name for name in own)
    for part in {"encoder", "decoder"} - set(parts):
        assert not any("lora_" in name for name in model.state_dict() if name.startswith(f"{part}."))
    assert any(name.startswith("posterior_head") for name in moved) and any(name.startswith("conditioning") for name in moved)

    model.eval().save_pretrained(tmp_path)
    loaded, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(
        *(m(**batch_of(random_rows(2)), sample_posterior=False).logits for m in (model, loaded)), rtol=0, atol=1e-6
    )
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen and frozen == {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad}


def test_the_settings_of_an_adapter_survive(tmp_path):
    model = with_lora("decoder", lora_alpha=7, use_rslora=True, bias="lora_only")
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    scalings = [m.decoder.transformer.h[0].attn.c_attn.scaling for m in (model, loaded)]
    assert scalings[0] == scalings[1] == {"default": 7 / 2**0.5}
    biases = [m.decoder.transformer.h[0].attn.c_attn.base_layer.bias for m in (model, loaded)]
    assert all(bias.requires_grad for bias in biases)


def test_an_adapter_around_the_whole_model(tmp_path):
    model = perturb(tiny_vae(), 0.05).train()
    heads = ["posterior_head", "conditioning"]
    config = peft.LoraConfig(r=2, target_modules=["query", "value", "c_attn"], modules_to_save=heads)
    wrapped = peft.get_peft_model(model, config)
    moved = step(wrapped)
    assert moved and all("lora_" in name or "modules_to_save" in name for name in moved)
    wrapped.eval().save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(perturb(tiny_vae(), 0.05), tmp_path).eval()
    batch = batch_of(random_rows(2))
    torch.testing.assert_close(*(m(**batch, sample_posterior=False).logits for m in (wrapped, again)), rtol=0, atol=1e-6)
    assert torch.equal(*(m.generate(latents=torch.ones(1, 4), max_new_tokens=4, eos_token_id=None) for m in (wrapped, again)))


def test_adapters_that_cannot_be_kept_are_refused():
    bert = BertModel(tiny_config("bert"))
    assert adapter_config(bert) == (bert, None)
    prompt = peft.get_peft_model(bert, peft.PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2))
    with pytest.raises(ValueError, match="LoRA adapter without modules_to_save.*merge_and_unload"):
        adapter_config(prompt)
    named = peft.get_peft_model(BertModel(tiny_config("bert")), peft.LoraConfig(target_modules=["query"]), "mine")
    with pytest.raises(ValueError, match="one adapter named 'default'; this one has 'mine'"):
        adapter_config(named)
