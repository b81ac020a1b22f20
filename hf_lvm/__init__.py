"""Latent-variable language models for transformers: any encoder, any decoder, a latent variable between them.

Importing the package costs next to nothing: the public names are loaded when they are first used, and the models are known to
transformers' Auto classes without being imported.
"""

import importlib

from hf_lvm import auto_classes

__version__ = "0.1.0"

_PUBLIC = {
    "BagOfWordsEncoderConfig": "hf_lvm.backbones.bag_of_words_encoder",
    "BagOfWordsEncoderModel": "hf_lvm.backbones.bag_of_words_encoder",
    "BigramDecoderConfig": "hf_lvm.backbones.bigram_decoder",
    "BigramDecoderModel": "hf_lvm.backbones.bigram_decoder",
    "DilatedCNNDecoderConfig": "hf_lvm.backbones.dilated_cnn_decoder",
    "DilatedCNNDecoderModel": "hf_lvm.backbones.dilated_cnn_decoder",
    "LSTMDecoderConfig": "hf_lvm.backbones.lstm_decoder",
    "LSTMDecoderModel": "hf_lvm.backbones.lstm_decoder",
    "LSTMEncoderConfig": "hf_lvm.backbones.lstm_encoder",
    "LSTMEncoderModel": "hf_lvm.backbones.lstm_encoder",
    "LatentClassConfig": "hf_lvm.models.latent_class",
    "LatentClassModel": "hf_lvm.models.latent_class",
    "LatentExtractor": "hf_lvm.analysis.feature_extraction",
    "LatentFeatures": "hf_lvm.analysis.latent_features",
    "LatentSummarizerConfig": "hf_lvm.models.latent_summarizer",
    "LatentSummarizerModel": "hf_lvm.models.latent_summarizer",
    "LatentTextProcessor": "hf_lvm.data",
    "LatentTrainer": "hf_lvm.training",
    "LatentTrainingArguments": "hf_lvm.training",
    "NeuralHMMConfig": "hf_lvm.models.neural_hmm",
    "NeuralHMMModel": "hf_lvm.models.neural_hmm",
    "NeuralTopicConfig": "hf_lvm.models.neural_topic",
    "NeuralTopicModel": "hf_lvm.models.neural_topic",
    "RNNGDecoderConfig": "hf_lvm.backbones.rnng_decoder",
    "RNNGDecoderModel": "hf_lvm.backbones.rnng_decoder",
    "ReferentialGameConfig": "hf_lvm.models.referential_game",
    "ReferentialGameModel": "hf_lvm.models.referential_game",
    "SegmentDecoderConfig": "hf_lvm.backbones.segment_decoder",
    "SegmentDecoderModel": "hf_lvm.backbones.segment_decoder",
    "StructVAEConfig": "hf_lvm.models.struct_vae",
    "StructVAEModel": "hf_lvm.models.struct_vae",
    "TaskAndTalkConfig": "hf_lvm.models.task_and_talk",
    "TaskAndTalkModel": "hf_lvm.models.task_and_talk",
    "T5DecoderConfig": "hf_lvm.backbones.t5_decoder",
    "T5DecoderForCausalLM": "hf_lvm.backbones.t5_decoder",
    "TextVAEConfig": "hf_lvm.models.text_vae",
    "TextVAEModel": "hf_lvm.models.text_vae",
    "URNNGConfig": "hf_lvm.models.urnng",
    "URNNGModel": "hf_lvm.models.urnng",
    "TransformerGrammarDecoderConfig": "hf_lvm.backbones.transformer_grammar_decoder",
    "TransformerGrammarDecoderModel": "hf_lvm.backbones.transformer_grammar_decoder",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hf_lvm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


auto_classes.install()
