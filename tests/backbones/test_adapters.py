"""LoRA inside a part, and around the whole model: trains only what it should, comes back bit-equal."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, BertModel, GPT2LMHeadModel

from hf_lvm import TextVAEModel
from hf_lvm.backbones.adapters import adapter_config
from tests.tiny_parts import batch_of, perturb, random_rows, tiny_config, tiny_vae
from tests.training_runs import latent_run

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


def saved_beside_its_bases(folder, **options) -> TextVAEModel:
    """A trained model with adapters in both parts, saved at folder/model without the parts, which are at folder/<part>."""
    torch.manual_seed(0)
    BertModel(tiny_config("bert"), add_pooling_layer=False).save_pretrained(folder / "encoder")
    GPT2LMHeadModel(tiny_config("gpt2")).save_pretrained(folder / "decoder")
    model = TextVAEModel.from_encoder_decoder_pretrained(
        peft.get_peft_model(BertModel.from_pretrained(folder / "encoder"), peft.LoraConfig(r=2, target_modules=["query"])),
        peft.get_peft_model(
            GPT2LMHeadModel.from_pretrained(folder / "decoder"), peft.LoraConfig(r=2, target_modules=["c_attn"], bias="all")
        ),
        latent_size=4,
        adapters_only=True,
        **options,
    )
    step(model.train())
    model.eval().save_pretrained(folder / "model")
    return model


def test_adapters_without_their_parts_come_back_bit_equal(tmp_path):
    model = saved_beside_its_bases(tmp_path)
    saved = load_file(tmp_path / "model" / "model.safetensors")
    kept = [name for name in saved if name.startswith(("encoder.", "decoder."))]
    assert kept and all("lora_" in name or name.endswith("bias") for name in kept)
    assert any(name.startswith("posterior_head") for name in saved)
    for _ in range(2):  # also what was loaded and saved again
        loaded, report = AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert not report["missing_keys"] and loaded.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
        assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
            n for n, p in model.named_parameters() if p.requires_grad
        }
        loaded.save_pretrained(tmp_path / "model")
    batch = batch_of(random_rows(2))
    assert torch.equal(*(m.eval()(**batch, sample_posterior=False).logits for m in (model, loaded)))


def test_adapters_beside_other_weights_or_none_are_refused(tmp_path):
    model = saved_beside_its_bases(tmp_path)
    with pytest.raises(
        ValueError, match="is one of the hub, and its config takes the encoder from '/.*nothing of this machine"
    ):
        model.with_bases(is_local=False)
    described = model.config.adapter_bases
    for wrong in ({"heart": described["encoder"]}, {"encoder": None}, {"encoder": {**described["encoder"], "dtype": "load"}}):
        model.config.adapter_bases = wrong
        with pytest.raises(ValueError, match="adapter_bases of config.json has .* needs for encoder or decoder"):
            model.with_bases()
    torch.manual_seed(1)
    GPT2LMHeadModel(tiny_config("gpt2")).save_pretrained(tmp_path / "decoder")
    with pytest.raises(ValueError, match="The decoder at .* has other weights than the one this adapter was trained beside"):
        AutoModel.from_pretrained(tmp_path / "model")
    (tmp_path / "decoder").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="holds adapters only, and its decoder could not be loaded from"):
        AutoModel.from_pretrained(tmp_path / "model")
    unnamed = with_lora("decoder")
    unnamed.config.adapters_only = True
    with pytest.raises(ValueError, match="came from no folder and no hub id"):
        unnamed.save_pretrained(tmp_path / "unnamed")
    whole = tiny_vae(adapters_only=True)
    with pytest.raises(ValueError, match="a model with a LoRA adapter in a part; this one has none"):
        whole.save_pretrained(tmp_path / "whole")


def test_a_run_keeps_its_adapters_only_and_goes_on_from_them(tmp_path):
    options = {"per_device": 8, "accumulation": 1, "save_strategy": "steps", "save_steps": 2, "learning_rate": 0.1}
    straight = saved_beside_its_bases(tmp_path)
    start = AutoModel.from_pretrained(tmp_path / "model")
    with torch.no_grad():  # what the checkpoint holds must replace
        for parameter in start.parameters():
            parameter.add_(parameter.requires_grad * 0.1)
    latent_run(straight, tmp_path / "run", **options)
    checkpoint = tmp_path / "run" / "checkpoint-2"
    kept = load_file(checkpoint / "model.safetensors")
    assert all("lora_" in name or name.endswith("bias") for name in kept if name.startswith(("encoder.", "decoder.")))
    latent_run(start, tmp_path / "run", resume_from_checkpoint=str(checkpoint), **options)
    final = straight.state_dict()
    assert all(torch.equal(value, start.state_dict()[name]) for name, value in final.items())
    loaded = AutoModel.from_pretrained(tmp_path / "run" / "checkpoint-3").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in final.items())
    assert not torch.equal(kept["posterior_head.mean.weight"], final["posterior_head.mean.weight"])
