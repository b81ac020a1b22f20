"""Texts to train on: corpora, tokenizers, the processor of a latent-variable model, batches with little padding; trees."""

from hf_lvm.data import documentation, synthetic_grammar, synthetic_meanings
from hf_lvm.data.batching import LabelledShareSampler, LatentTextCollator, LengthBucketedSampler, padding_share
from hf_lvm.data.classes import add_classes, class_names, hide_classes
from hf_lvm.data.compressions import CompressionCollator, encode_compressions, load_compressions
from hf_lvm.data.encoding import encode_dataset
from hf_lvm.data.game_objects import attribute_objects, load_feature_objects, split_objects
from hf_lvm.data.hub import check_hub_repository, is_hub_id
from hf_lvm.data.labelled_choice import choose_labelled
from hf_lvm.data.loading import load_texts
from hf_lvm.data.meaning_batching import (
    MeaningCollator,
    PriorMeanings,
    encode_meanings,
    meaning_actions,
    prior_meanings,
    rows_with_meanings,
    trees_of,
)
from hf_lvm.data.meanings import (
    MeaningReport,
    SkippedMeaning,
    canonical_meaning,
    documentation_meanings,
    load_meanings,
    meaning_overlap,
    without_held_out,
)
from hf_lvm.data.processor import LatentTextProcessor, cut_alike
from hf_lvm.data.referential_games import GameCollator, draw_games, games_in_batch
from hf_lvm.data.symbol_messages import SymbolMessages, symbol_messages
from hf_lvm.data.tokenization import (
    check_special_tokens,
    end_token_id,
    load_tokenizer,
    start_token_id,
    train_bpe_tokenizer,
    train_topic_tokenizer,
    train_word_tokenizer,
)
from hf_lvm.data.tree_batching import TreeCollator, encode_trees
from hf_lvm.data.tree_files import load_bracketings, load_trees
from hf_lvm.data.tree_masks import mask_to_spans, mask_to_tree, spans_to_mask
from hf_lvm.data.word_alignment import tokenize_words
from hf_lvm.grammars.brackets import Bracketing, binarized, read_tree, read_trees

__all__ = [
    "Bracketing",
    "CompressionCollator",
    "GameCollator",
    "LabelledShareSampler",
    "LatentTextCollator",
    "LatentTextProcessor",
    "LengthBucketedSampler",
    "MeaningCollator",
    "MeaningReport",
    "PriorMeanings",
    "SkippedMeaning",
    "SymbolMessages",
    "TreeCollator",
    "add_classes",
    "attribute_objects",
    "binarized",
    "canonical_meaning",
    "check_hub_repository",
    "check_special_tokens",
    "choose_labelled",
    "class_names",
    "cut_alike",
    "documentation",
    "documentation_meanings",
    "draw_games",
    "encode_compressions",
    "encode_dataset",
    "encode_meanings",
    "encode_trees",
    "end_token_id",
    "games_in_batch",
    "hide_classes",
    "is_hub_id",
    "load_bracketings",
    "load_compressions",
    "load_feature_objects",
    "load_meanings",
    "load_texts",
    "load_tokenizer",
    "load_trees",
    "mask_to_spans",
    "mask_to_tree",
    "meaning_actions",
    "meaning_overlap",
    "padding_share",
    "prior_meanings",
    "read_tree",
    "read_trees",
    "rows_with_meanings",
    "spans_to_mask",
    "split_objects",
    "start_token_id",
    "symbol_messages",
    "synthetic_grammar",
    "synthetic_meanings",
    "tokenize_words",
    "train_bpe_tokenizer",
    "train_topic_tokenizer",
    "train_word_tokenizer",
    "trees_of",
    "without_held_out",
]
