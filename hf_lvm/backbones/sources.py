"""Where a part comes from: a folder, a hub id, or a family built from scratch."""

from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_lvm.data.hub import check_hub_repository, is_hub_id

# Generic size names, and what families that spell them differently call them.
_SYNONYMS = {
    "hidden_size": ("d_model", "n_embd", "dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "intermediate_size": ("d_ff", "hidden_dim", "ffn_dim", "n_inner"),
    "max_position_embeddings": ("n_positions",),
}
# Our own families by the short names that go with `encoder` and `decoder`.
_OWN_FAMILIES = {
    "encoder": {"bag_of_words": "hf_lvm_bag_of_words_encoder", "lstm": "hf_lvm_lstm_encoder"},
    "decoder": {
        "bigram": "hf_lvm_bigram_decoder",
        "dilated_cnn": "hf_lvm_dilated_cnn_decoder",
        "lstm": "hf_lvm_lstm_decoder",
        "rnng": "hf_lvm_rnng_decoder",
        "segments": "hf_lvm_segment_decoder",
    },
}
# Families with two stacks in one config: the sizes of one stack are meant for both, because only one is used.
_STACKS = ("encoder", "decoder")


def full_name(part: str, source: str) -> str:
    """The model type that a short name such as `lstm` stands for in a part; any other source as it is."""
    return source if Path(source).exists() else _OWN_FAMILIES[part].get(source, source)


def is_from_scratch(source: str) -> bool:
    """Whether a part is named by its family (`bert`, `gpt2`): a bare word that is no folder."""
    return "/" not in source and not Path(source).exists()


def check_exists(source: str) -> None:
    """Raise unless a part can be had: a `ValueError` for a bare word that is no family or a path that is not there, and what
    `check_hub_repository` raises for a hub id that cannot be reached."""
    if is_from_scratch(source) and source not in CONFIG_MAPPING:
        raise ValueError(
            f"{source!r} is neither a folder nor a model type of transformers. Name a type to build from scratch (such as "
            "'bert', 'gpt2' or 'llama'), a hub id with its owner (such as 'openai-community/gpt2'), or a folder."
        )
    if source.startswith(("/", "./", "../", "~")) and not Path(source).expanduser().exists():
        raise ValueError(f"There is no folder {source!r}.")
    if is_hub_id(source) and not Path(source).exists():
        # Asked once before anything is loaded: transformers would try again for most of a minute.
        check_hub_repository(source)


def check_pretrained(source: str) -> None:
    """Raise a `ValueError` unless a source is one that has weights: a folder that is there, or a hub id with its owner."""
    check_exists(source)
    if is_from_scratch(source):
        raise ValueError(
            f"{source!r} names a family of models, not a pretrained one. Give a hub id with its owner (such as "
            "'openai-community/gpt2') or a folder; for new weights, pass a model built from a config."
        )


def config_from_scratch(model_type: str, defaults: dict | None = None, /, **sizes) -> PreTrainedConfig:
    """A config of a family with the sizes given by their generic names.

    Args:
        model_type: a model type of transformers, such as `bert`, `gpt2`, `llama`, `t5`.
        sizes: any key of the family's config, or one of `hidden_size`, `num_hidden_layers`, `num_attention_heads`,
            `intermediate_size`, `max_position_embeddings`, `vocab_size`, translated to the family's own names. The sizes that
            follow from these (feed-forward width, key/value heads, head size) are set along with them unless given.
        defaults: sizes by the same names, used where the family has them and `sizes` does not say otherwise.

    Raises:
        ValueError: a key in `sizes` that the family does not have, or a value that it does not take.
    """
    check_exists(model_type)
    config_class = CONFIG_MAPPING[model_type]
    known = _known_keys(config_class)
    usable = {key: value for key, value in (defaults or {}).items() if _own_name(key, known, config_class)}
    sizes = usable | sizes
    values = {}
    for key, value in sizes.items():
        own = _own_name(key, known, config_class)
        if own is None:
            raise ValueError(f"A {model_type!r} config has no {key!r}. It has: {', '.join(sorted(known))}.")
        values.update(dict.fromkeys(own, value))
    try:
        for key, value in _derived_sizes(values | sizes, known).items():
            values.setdefault(key, value)
        return AutoConfig.for_model(model_type, **values)
    except Exception as error:  # whatever a family does with a word where it expects a number
        given = ", ".join(f"{key}={value!r}" for key, value in sizes.items() if key not in usable or usable[key] != value)
        raise ValueError(f"A {model_type!r} config takes other values than {given or 'its sizes'}: {error}") from error


def build_from_config(auto_class: type, config: PreTrainedConfig) -> PreTrainedModel:
    """A new model from a config.

    Args:
        auto_class: the class of transformers whose `from_config` knows the family.

    Raises:
        ValueError: sizes that no model can have, or a model too large for the memory.
    """
    try:
        return auto_class.from_config(config)
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:  # what torch or the family says of a negative size, or of one that is too large
        raise ValueError(f"No {config.model_type!r} model of these sizes can be built: {error}") from error


def _known_keys(config_class: type[PreTrainedConfig]) -> set[str]:
    internal = {"transformers_version", "architectures", "model_type", "output_attentions"}
    return {key for key in config_class().to_dict() if not key.startswith("_")} - internal


def _own_name(key: str, known: set[str], config_class: type[PreTrainedConfig]) -> list[str] | None:
    """The names a family has for a generic key: one, or that of each stack."""
    stacked = {"num_hidden_layers": "layers", "num_attention_heads": "attention_heads", "intermediate_size": "ffn_dim"}
    if key in stacked and f"encoder_{stacked[key]}" in known:
        return [f"{stack}_{stacked[key]}" for stack in _STACKS]
    mapped = config_class.attribute_map.get(key, key)
    for name in (mapped, key, *_SYNONYMS.get(key, ())):
        if name in known:
            return [name]
    return None


def _derived_sizes(values: dict, known: set[str]) -> dict:
    """Sizes that follow from the width and the heads, for the families that do not compute them."""
    width = next((values[key] for key in ("hidden_size", *_SYNONYMS["hidden_size"]) if key in values), None)
    heads = next((values[key] for key in ("num_attention_heads", *_SYNONYMS["num_attention_heads"]) if key in values), None)
    derived = {}
    if width is not None:
        feed_forward = values.get("intermediate_size", 4 * width)
        for key in ("intermediate_size", "d_ff", "hidden_dim", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner"):
            derived[key] = feed_forward
        derived |= {"word_embed_proj_dim": width, "embedding_size": width}
    if heads is not None:
        derived["num_key_value_heads"] = heads
    if width is not None and heads is not None:
        derived |= {"head_dim": width // heads, "d_kv": width // heads}
    return {key: value for key, value in derived.items() if key in known}
