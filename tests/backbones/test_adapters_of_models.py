"""Every model with a pretrained part: LoRA inside it, a checkpoint beside its base, and the same model again or none."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, BertModel, PreTrainedModel

from hf_lvm import (
    LatentSummarizerModel,
    NeuralHMMConfig,
    NeuralHMMModel,
    NeuralTopicConfig,
    NeuralTopicModel,
    ReferentialGameConfig,
    ReferentialGameModel,
    StructVAEModel,
    TextVAEModel,
    URNNGConfig,
    URNNGModel,
)
from hf_lvm.backbones.decoders import as_decoder_config
from tests.models.struct_vae.tiny_meanings import batch as batch_of_meanings
from tests.models.struct_vae.tiny_meanings import tiny_struct_vae
from tests.tiny_parts import END, VOCABULARY, batch_of, perturb, random_rows, row_generators, tiny_config

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")
TARGETS = {"bert": ["query"], "gpt2": ["c_attn"], "bart": ["q_proj"]}


@pytest.fixture(scope="session")
def bases(tmp_path_factory) -> Path:
    """A folder with a pretrained model of each family."""
    place = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    BertModel(tiny_config("bert"), add_pooling_layer=False).save_pretrained(place / "bert")
    for family in ("gpt2", "bart"):
        AutoModelForCausalLM.from_config(as_decoder_config(tiny_config(family))).save_pretrained(place / family)
    return place


def adapted(bases: Path, family: str, attends: bool = False) -> PreTrainedModel:
    auto_class = AutoModel if family == "bert" else AutoModelForCausalLM
    options = {"add_cross_attention": True} if attends and family == "gpt2" else {}
    model = auto_class.from_pretrained(bases / family, **options)
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=TARGETS[family]))


def a_urnng(bases: Path) -> tuple[URNNGModel, dict, set[str]]:
    model = URNNGModel.from_encoder_decoder_pretrained(
        adapted(bases, "bert"), adapted(bases, "gpt2"), num_samples=2, adapters_only=True
    )
    return model, batch_of([[5, 6, 7, END], [8, 9, END]]), {"encoder", "decoder.decoder"}


def a_summarizer(bases: Path, family: str = "gpt2") -> tuple[LatentSummarizerModel, dict, set[str]]:
    model = LatentSummarizerModel.from_encoder_decoder_pretrained(
        adapted(bases, "bert"),
        adapted(bases, "gpt2"),
        compressor=adapted(bases, family, attends=True),
        posterior_type="vocab",
        prior_type="compressor",
        max_summary_words=3,
        estimator="rloo",
        num_samples=2,
        adapters_only=True,
    )
    return model, batch_of([[5, 6, 7, END], [8, 9, END]]), {"encoder", "decoder", "posterior_head.decoder"}


def a_struct_vae(bases: Path) -> tuple[StructVAEModel, dict, set[str]]:
    tiny = tiny_struct_vae(prior=None, prior_type="uniform", prior_weight=0.0)
    config = tiny.config
    keys = {
        key: getattr(config, key) for key in ("actions", "max_actions", "max_spelled_actions", "prior_type", "prior_weight")
    }
    model = StructVAEModel.from_encoder_decoder_pretrained(
        adapted(bases, "bert"),
        adapted(bases, "gpt2", attends=True),
        parser=config.parser,
        reader=config.reader,
        num_samples=2,
        adapters_only=True,
        **keys,
    )
    return model, batch_of_meanings(model), {"encoder", "decoder"}


def a_topic_model(bases: Path) -> tuple[NeuralTopicModel, dict, set[str]]:
    encoder = adapted(bases, "bert")
    config = NeuralTopicConfig(
        encoder=encoder.config, vocab_size=VOCABULARY, num_topics=3, ignored_token_ids=[0, 1, 2], adapters_only=True
    )
    return NeuralTopicModel(config, encoder=encoder), batch_of(random_rows(4)), {"encoder"}


def a_game(bases: Path) -> tuple[ReferentialGameModel, dict, set[str]]:
    encoder = adapted(bases, "bert")
    config = ReferentialGameConfig(
        object_type="text", object_encoder=encoder.config, object_size=8, num_symbols=2, max_length=2, adapters_only=True
    )
    objects = torch.tensor([[5, 6, 7], [8, 9, 4], [6, 6, 5]])
    return ReferentialGameModel(config, object_encoder=encoder), {"objects": objects}, {
        "sender_objects.encoder", "receiver_objects.encoder",
    }  # fmt: skip


BUILDERS: dict[str, Callable] = {
    "urnng": a_urnng,
    "summarizer": a_summarizer,
    "struct_vae": a_struct_vae,
    "topic_model": a_topic_model,
    "game": a_game,
}


def computed(model: PreTrainedModel, batch: dict) -> torch.Tensor:
    generator = None if "objects" in batch else row_generators(len(batch["labels"]))
    torch.manual_seed(0)
    with torch.no_grad():
        return model.eval()(**batch, generator=generator).reconstruction


@pytest.mark.parametrize("name", BUILDERS)
def test_it_comes_back_bit_equal_and_beside_other_weights_not_at_all(name, bases, tmp_path):
    model, batch, places = BUILDERS[name](bases)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    # As peft begins: an adapter without effect.
    assert all((value == 0).all() for key, value in before.items() if "lora_B" in key)
    perturb(torch.nn.ParameterList(each for each in model.parameters() if each.requires_grad), 0.1)
    model.save_pretrained(tmp_path / "model")
    saved = load_file(tmp_path / "model" / "model.safetensors")
    left_out = model.state_dict().keys() - saved.keys()
    left_out -= {key for key in model.all_tied_weights_keys if not key.startswith(tuple(places))}
    # All that a base has is left out, and nothing else; a layer that the base does not have is saved.
    assert all(key.startswith(tuple(f"{place}." for place in places)) for key in left_out)
    for place in places:
        kept = {key for key in saved if key.startswith(f"{place}.")}
        assert any("lora_" in key for key in kept) and any(key.startswith(f"{place}.") for key in left_out)
        assert all("lora_" in key or "cross" in key for key in kept)
    assert all(torch.equal(before[key], model.state_dict()[key]) for key in left_out)

    loaded, report = AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    learns = [{key for key, value in each.named_parameters() if value.requires_grad} for each in (model, loaded)]
    assert learns[0] == learns[1] and not learns[0] & left_out
    assert torch.equal(computed(model, batch), computed(loaded, batch))
    # No two of its frozen tensors lie in one place but those that one module ties.
    own = [value.data_ptr() for place in places for value in loaded.get_submodule(place).parameters()]
    assert len(own) == len(set(own))

    # Another version of a base, at the place that the config names.
    part, base = next(iter(loaded.config.adapter_bases.items()))
    other = tmp_path / part
    perturb(BertModel.from_pretrained(base["source"], add_pooling_layer=False), 1e-6).save_pretrained(other)
    here = {**loaded.config.adapter_bases, part: {**base, "source": str(other)}}
    config = type(loaded.config).from_pretrained(tmp_path / "model", adapter_bases=here)
    with pytest.raises(ValueError, match=f"The {part} at .* has other weights than the one this adapter was trained beside"):
        AutoModel.from_pretrained(tmp_path / "model", config=config)


def test_layers_that_the_base_lacks_learn_and_those_that_it_has_do_not(bases):
    model, _, _ = a_struct_vae(bases)
    new = {key: value for key, value in model.decoder.named_parameters() if "crossattention" in key}
    assert new and all(value.requires_grad for value in new.values())
    vae = TextVAEModel.from_encoder_decoder_pretrained(
        BertModel.from_pretrained(bases / "bert"), adapted(bases, "bart"), latent_size=4, injection="cross_attention"
    )
    own = {key: value for key, value in vae.decoder.named_parameters() if "encoder_attn" in key and "lora" not in key}
    assert own and not any(value.requires_grad for value in own.values())


def test_a_base_that_learns_is_not_left_out(bases, tmp_path):
    model, _, _ = a_topic_model(bases)
    model.encoder.embeddings.word_embeddings.weight.requires_grad_(True)
    with pytest.raises(ValueError, match="leaves the weights of the encoder out, and 1 of them learn, such as 'embeddings"):
        model.save_pretrained(tmp_path)


def test_where_there_is_nothing_to_bind_an_adapter_to(bases):
    adapter = {"r": 2, "target_modules": ["query"]}
    nothing = "has no pretrained part that an adapter could be bound to: leave it out"
    with pytest.raises(ValueError, match=f"adapters_only is set, and this NeuralHMMModel {nothing}"):
        NeuralHMMModel(NeuralHMMConfig(vocab_size=9, num_states=2, eos_token_id=2, adapters_only=True))
    with pytest.raises(ValueError, match=f"encoder_adapter is set, and this NeuralHMMModel {nothing}"):
        NeuralHMMModel(NeuralHMMConfig(vocab_size=9, num_states=2, eos_token_id=2, encoder_adapter=adapter))
    with pytest.raises(ValueError, match=f"object_encoder_adapter is set, and this ReferentialGameModel {nothing}"):
        ReferentialGameModel(ReferentialGameConfig(attribute_sizes=[2, 2], object_encoder_adapter=adapter))
    with pytest.raises(ValueError, match="'hf_lvm_rnng_decoder' decoder has no pretrained part that an adapter"):
        URNNGConfig(decoder_adapter=adapter)
    with pytest.raises(ValueError, match="The sender has an adapter of peft, and this model keeps none there: merge it first"):
        ReferentialGameModel(ReferentialGameConfig(attribute_sizes=[2, 2]), sender=adapted(bases, "gpt2"))
    with pytest.raises(ValueError, match="The prior has an adapter of peft"):
        LatentSummarizerModel.from_encoder_decoder_pretrained("encoder", "decoder", prior=adapted(bases, "gpt2"))
