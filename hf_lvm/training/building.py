"""From the arguments of a run to its processor, its data and its model."""

import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from datasets import DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import is_peft_available

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.composition import ComposedModel
from hf_lvm.backbones.decoders import as_decoder_config, build_decoder, load_decoder
from hf_lvm.backbones.encoders import build_encoder, encoder_positions, load_encoder
from hf_lvm.backbones.rnng_decoder import RNNGDecoderConfig
from hf_lvm.backbones.sources import check_exists, config_from_scratch, full_name, is_from_scratch
from hf_lvm.backbones.tree_decoders import as_tree_decoder, build_tree_decoder
from hf_lvm.data import (
    LatentTextProcessor,
    encode_dataset,
    load_texts,
    load_tokenizer,
    train_bpe_tokenizer,
    train_word_tokenizer,
)
from hf_lvm.training.run_arguments import ComposedArguments, DataArguments

# The shape of a transformer built from scratch where the run does not say otherwise: small enough for a laptop.
SCRATCH_SIZES = {
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}


def load_run_texts(data: DataArguments, condition_column: str | None = None) -> DatasetDict:
    """The texts of a run, with the splits train, validation and test.

    Args:
        condition_column: with the text that a conditional model reads beside each; it is named `condition` in the result.
    """
    texts = load_texts(
        data.dataset,
        data_dir=data.data_dir,
        text_column=data.text_column,
        config_name=data.dataset_config,
        min_words=data.min_words,
        max_words=data.max_words,
        condition_column=condition_column,
    )
    return limit_rows(texts, data)


def limit_rows(splits: DatasetDict, data: DataArguments) -> DatasetDict:
    """The splits with the first `max_train_samples` rows of train and `max_test_samples` rows of test, where these are set."""
    limits = {"train": data.max_train_samples, "test": data.max_test_samples}
    kept = {
        split: rows if limits.get(split) is None else rows.select(range(min(limits[split], len(rows))))
        for split, rows in splits.items()
    }
    return DatasetDict(kept)


def build_processor(
    data: DataArguments, encoder: str, decoder: str, texts: DatasetDict, columns: Sequence[str] = ("text",)
) -> LatentTextProcessor:
    """The tokenizers of both parts: named, those of pretrained parts, or trained on the texts.

    Args:
        columns: of the training split with what the tokenizers shall write.

    Raises:
        ValueError: two parts from scratch with different words, or a tokenizer without a token its part needs.
    """
    name = data.tokenizer or ("bpe" if is_from_scratch(encoder) else encoder)
    tokenizer = _tokenizer(name, data, texts, columns)
    other = data.decoder_tokenizer or (name if is_from_scratch(decoder) else decoder)
    if (data.lowercase or data.fold_numbers) and "words" not in (name, other):
        raise ValueError(
            "lowercase and fold_numbers are for a tokenizer of words that is trained here: set tokenizer to 'words'"
        )
    if other == name:
        return LatentTextProcessor(tokenizer, tokenizer)
    return LatentTextProcessor(tokenizer, _tokenizer(other, data, texts, columns))


def encode_texts(
    texts: DatasetDict,
    processor: LatentTextProcessor,
    model: ComposedModel,
    data: DataArguments,
    keep_columns: Sequence[str] = ("text",),
    condition_column: str | None = None,
) -> DatasetDict:
    """Tokens of every split, some columns beside them; a text that does not fit the model is an error."""
    return encode_dataset(
        texts,
        processor,
        max_length=data.max_length,
        max_positions=(encoder_positions(model.encoder), model.positions_left),
        keep_columns=keep_columns,
        condition_column=condition_column,
    )


def build_composed(
    model_class: type[ComposedModel], arguments: ComposedArguments, processor: LatentTextProcessor, **settings
) -> ComposedModel:
    """The model of a run: each part loaded or built from scratch, the latent between them new.

    Args:
        settings: keys of the model's config that are no arguments of the run.
    """
    options = {part: dict(arguments.part_options.get(part, {})) for part in ("encoder", "decoder")}
    if arguments.token_embedding_stddev is not None:
        if not is_from_scratch(arguments.decoder):
            raise ValueError(
                f"token_embedding_stddev is for a decoder built from scratch, and {arguments.decoder!r} is "
                "pretrained: leave it out."
            )
        if arguments.tie_encoder_decoder_embeddings:
            raise ValueError(
                "token_embedding_stddev is for a decoder with embeddings of its own, and "
                "tie_encoder_decoder_embeddings gives it the encoder's: choose one of the two."
            )
        # Tied, the output layer would begin as wide as the embeddings, and the first losses would be enormous.
        options["decoder"].setdefault("tie_word_embeddings", False)
    # What the config does to a part that it builds, for parts that are built before it.
    shape = {
        "cross_attention": "cross_attention" in arguments.injection,
        "condition_size": arguments.vector_size if "concatenation" in arguments.injection else None,
    }
    trained = None if arguments.posterior is None else trained_posterior(model_class, arguments.posterior)
    parts = {
        "encoder": encoder_of_run(arguments.encoder, processor, **options["encoder"]) if trained is None else trained.encoder,
        "decoder": decoder_of_run(arguments.decoder, processor, **shape, **options["decoder"]),
    }
    if arguments.token_embedding_stddev is not None:
        with torch.no_grad():
            parts["decoder"].get_input_embeddings().weight.normal_(0.0, arguments.token_embedding_stddev)
    for part, tokenizer in zip(parts, (processor.tokenizer, processor.decoder_tokenizer), strict=True):
        _check_vocabulary(part, parts[part], tokenizer)
    for part in arguments.lora:
        _add_lora(parts, part, arguments.lora_rank)
    tokenizer = processor.decoder_tokenizer
    keys = model_class.config_class.own_keys()
    settings |= {item.name: getattr(arguments, item.name) for item in fields(arguments) if item.name in keys}
    settings |= {
        "injection": arguments.injection[0] if len(arguments.injection) == 1 else arguments.injection,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": processor.end_token_id,
        "bos_token_id": processor.start_token_id,
        "decoder_start_token_id": processor.start_token_id,
    }
    if trained is not None:
        settings["pooling"] = trained.config.pooling
    if arguments.tie_encoder_decoder_embeddings and not processor.shares_tokenizer():
        raise ValueError("tie_encoder_decoder_embeddings needs one tokenizer for both parts, and this run has two.")
    model = model_class.from_encoder_decoder_pretrained(parts["encoder"], parts["decoder"], **settings)
    if trained is not None:
        model.take_posterior(trained)
    freeze_parts(model, arguments.freeze)
    return model


def take_objective(model: PreTrainedModel, arguments: Any, keys: Sequence[str]) -> None:
    """Train a model that is there by the objective of this run.

    Args:
        arguments: of the run's model, with the attributes `keys`.
        keys: of the model's config that say how it is trained, not what it is.
    """
    for key in keys:
        setattr(model.config, key, getattr(arguments, key))
    model.renew_estimator()


def freeze_parts(model: PreTrainedModel, parts: Sequence[str]) -> None:
    """Keep the weights of these parts as they are, but for adapters in them."""
    for part in parts:
        frozen = getattr(model, part)
        adapted = {name for name, _ in frozen.named_parameters() if "lora_" in name}
        for name, parameter in frozen.named_parameters():
            parameter.requires_grad_(name in adapted)


def trained_posterior(model_class: type[ComposedModel], name: str) -> ComposedModel:
    """A trained model whose q(z|x) another begins with.

    Raises:
        ValueError: a model of another kind, or one whose encoder is an adapter beside other weights.
    """
    trained, _ = load_trained(name, "encode")
    if not isinstance(trained, model_class):
        raise ValueError(
            f"posterior is {name}, a {trained.config.model_type} model, and this recipe trains "
            f"{model_class.config_class.model_type}: name a model of that kind."
        )
    if trained.config.encoder_adapter is not None:
        raise ValueError(f"The encoder of {name} is an adapter beside weights of its own: go on from the whole by `model`.")
    return trained


def _tokenizer(name: str, data: DataArguments, texts: DatasetDict, columns: Sequence[str]) -> PreTrainedTokenizerBase:
    written = (text for column in columns for text in texts["train"][column])
    if name == "bpe":
        return train_bpe_tokenizer(written, vocab_size=data.vocab_size or 4000)
    if name == "words":
        return train_word_tokenizer(
            written,
            vocab_size=data.vocab_size,
            lowercase=data.lowercase,
            min_frequency=data.min_frequency,
            fold_numbers=data.fold_numbers,
        )
    tokenizer = load_tokenizer(name)
    lacking = {
        role: getattr(data, role)
        for role in ("pad_token", "bos_token")
        if getattr(data, role) is not None and getattr(tokenizer, role) is None
    }
    return load_tokenizer(name, **lacking) if lacking else tokenizer


def encoder_of_run(source: str, processor: LatentTextProcessor, **options) -> PreTrainedModel:
    """An encoder: loaded from a folder or the hub, or built from scratch in the size of a laptop."""
    source = full_name("encoder", source)
    check_exists(source)
    if not is_from_scratch(source):
        return load_encoder(source, **options)
    return build_encoder(config_from_scratch(source, _scratch_sizes(source, processor.tokenizer), **options))


def decoder_of_run(
    source: str,
    processor: LatentTextProcessor,
    cross_attention: bool = False,
    condition_size: int | None = None,
    **options,
) -> PreTrainedModel:
    """A decoder, likewise; see `as_decoder_config` for what shapes it."""
    source = full_name("decoder", source)
    check_exists(source)
    if not is_from_scratch(source):
        return load_decoder(source, cross_attention=cross_attention, **options)
    config = config_from_scratch(source, _scratch_sizes(source, processor.decoder_tokenizer), **options)
    return build_decoder(as_decoder_config(config, cross_attention, condition_size))


def tree_decoder_of_run(source: str, processor: LatentTextProcessor, subwords: bool, **options) -> PreTrainedModel:
    """A decoder of sentences with trees: a recurrent neural network grammar from scratch, or any causal language model.

    Args:
        subwords: whether a word may be several pieces.
    """
    source = full_name("decoder", source)
    if source != RNNGDecoderConfig.model_type:
        return as_tree_decoder(decoder_of_run(source, processor, **options), subwords=subwords)
    sizes = _scratch_sizes(source, processor.decoder_tokenizer) | {"subwords": subwords}
    return build_tree_decoder(config_from_scratch(source, sizes, **options))


def _scratch_sizes(family: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    # Backbones of this package have the sizes of the literature by themselves.
    sizes = {} if family.startswith("hf_lvm_") else SCRATCH_SIZES
    return sizes | {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _check_vocabulary(part: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise a `ValueError` when the tokenizer writes ids that a pretrained part has no embedding for."""
    known = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        raise ValueError(
            f"The tokenizer of the {part} has {len(tokenizer):,} tokens, but the {part} has embeddings for {known:,}: "
            "a pretrained part needs the tokenizer it was trained with."
        )


def _add_lora(parts: dict[str, PreTrainedModel], part: str, rank: int) -> None:
    if not is_peft_available():
        raise ImportError(f"lora: {part} needs the package peft: pip install 'hf-lvm[peft]'.")
    from peft import LoraConfig, get_peft_model

    # GPT-2 keeps its weights transposed, and peft warns when it has to find that out by itself.
    transposed = any(isinstance(module, Conv1D) for module in parts[part].modules())
    adapter = LoraConfig(r=rank, lora_alpha=2 * rank, fan_in_fan_out=transposed)
    with warnings.catch_warnings():
        # peft still asks for an attribute that transformers has renamed.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        parts[part] = get_peft_model(parts[part], adapter)
