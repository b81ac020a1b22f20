import pytest

from hf_lvm.backbones.sources import check_exists, check_pretrained, config_from_scratch, is_from_scratch
from tests.tiny_parts import SIZES


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("bert", ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")),
        ("gpt2", ("n_embd", "n_layer", "n_head", "n_inner")),
        ("distilbert", ("dim", "n_layers", "n_heads", "hidden_dim")),
        ("t5", ("d_model", "num_layers", "num_heads", "d_ff")),
        ("bart", ("d_model", "decoder_layers", "encoder_attention_heads", "decoder_ffn_dim")),
        ("opt", ("hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_dim")),
    ],
)
def test_generic_sizes_reach_the_family_under_its_own_names(family, names):
    config = config_from_scratch(
        family, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40, vocab_size=50
    )
    assert [getattr(config, name) for name in names] == [24, 3, 4, 40]
    assert config.vocab_size == 50 and config.model_type == family


def test_sizes_that_follow():
    llama = config_from_scratch("llama", hidden_size=24, num_attention_heads=4)
    assert (llama.intermediate_size, llama.num_key_value_heads, llama.head_dim) == (96, 4, 6)
    assert config_from_scratch("llama", hidden_size=24, num_attention_heads=4, num_key_value_heads=2).num_key_value_heads == 2
    assert config_from_scratch("t5", hidden_size=24, num_attention_heads=4).d_kv == 6
    assert config_from_scratch("electra", hidden_size=24, num_attention_heads=4).embedding_size == 24


def test_defaults_are_dropped_where_a_family_has_no_such_thing_and_overridden_by_sizes():
    config = config_from_scratch("t5", SIZES, hidden_size=8)
    assert config.d_model == 8 and config.vocab_size == SIZES["vocab_size"]
    assert "max_position_embeddings" not in config.to_dict()


def test_a_size_the_family_does_not_have():
    with pytest.raises(ValueError, match="A 't5' config has no 'max_position_embeddings'. It has: .*d_model"):
        config_from_scratch("t5", max_position_embeddings=12)


def test_where_a_part_comes_from(tmp_path):
    assert is_from_scratch("bert") and not is_from_scratch("google/bert") and not is_from_scratch(str(tmp_path))
    check_exists("gpt2"), check_exists("owner/name"), check_exists(str(tmp_path))
    check_pretrained("owner/name"), check_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="'gtp2' is neither a folder nor a model type of transformers"):
        check_exists("gtp2")
    with pytest.raises(ValueError, match="There is no folder './nowhere'"):
        check_exists("./nowhere")
    with pytest.raises(ValueError, match="'gpt2' names a family of models, not a pretrained one"):
        check_pretrained("gpt2")
