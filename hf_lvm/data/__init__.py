"""Texts to train on: corpora, tokenizers, the processor of a latent-variable model, batches with little padding."""

from hf_lvm.data import documentation
from hf_lvm.data.batching import LabelledShareSampler, LatentTextCollator, LengthBucketedSampler, padding_share
from hf_lvm.data.classes import add_classes, class_names, hide_classes
from hf_lvm.data.encoding import encode_dataset
from hf_lvm.data.hub import check_hub_repository, is_hub_id
from hf_lvm.data.loading import load_texts
from hf_lvm.data.processor import LatentTextProcessor
from hf_lvm.data.tokenization import (
    check_special_tokens,
    end_token_id,
    load_tokenizer,
    start_token_id,
    train_bpe_tokenizer,
    train_topic_tokenizer,
    train_word_tokenizer,
)

__all__ = [
    "LabelledShareSampler",
    "LatentTextCollator",
    "LatentTextProcessor",
    "LengthBucketedSampler",
    "add_classes",
    "check_hub_repository",
    "check_special_tokens",
    "class_names",
    "documentation",
    "encode_dataset",
    "end_token_id",
    "hide_classes",
    "is_hub_id",
    "load_texts",
    "load_tokenizer",
    "padding_share",
    "start_token_id",
    "train_bpe_tokenizer",
    "train_topic_tokenizer",
    "train_word_tokenizer",
]
