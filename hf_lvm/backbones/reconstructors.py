"""Which models can write a sentence from its compression: built from their configs, loaded, and scored.

A segment decoder fills the gaps between kept words. Any causal language model writes the whole sentence, behind the
compression as its prompt or attending to the states of a reader.
"""

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from hf_lvm.backbones.decoders import as_decoder_config, build_decoder, decoder_part, load_decoder
from hf_lvm.backbones.segment_decoder import SegmentDecoderConfig, SegmentDecoderModel
from hf_lvm.backbones.sources import build_from_config
from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.objectives.likelihood import IGNORED, sentence_nll

# How a compression joins a causal language model.
INJECTIONS = ("prompt", "cross_attention")


def as_reconstructor_config(config: PreTrainedConfig, injection: str = "prompt") -> PreTrainedConfig:
    """The config of what writes sentences from compressions.

    Args:
        injection: how a compression joins a causal language model, `prompt` or `cross_attention`.

    Raises:
        ValueError: a family that cannot write; the message gives the reason.
    """
    if isinstance(config, SegmentDecoderConfig):
        return config
    return as_decoder_config(config, cross_attention=injection == "cross_attention")


def build_reconstructor(config: PreTrainedConfig) -> PreTrainedModel:
    """A new model that writes sentences from compressions, from a config prepared by `as_reconstructor_config`."""
    return build_from_config(AutoModel, config) if isinstance(config, SegmentDecoderConfig) else build_decoder(config)


def as_reconstructor(model: PreTrainedModel) -> PreTrainedModel:
    """A segment decoder as it is; of any other model the part that writes, see `decoder_part`."""
    return model if isinstance(model, SegmentDecoderModel) else decoder_part(model)


def load_reconstructor(source: str, injection: str = "prompt", **options) -> PreTrainedModel:
    """A pretrained causal language model from a folder or a hub id.

    Args:
        injection: how a compression joins it, `prompt` or `cross_attention`.
        options: see `load_decoder`.
    """
    return load_decoder(source, cross_attention=injection == "cross_attention", **options)


def continuation_log_prob(
    decoder: PreTrainedModel,
    labels: torch.Tensor,
    prompt: torch.Tensor | None,
    prompt_mask: torch.Tensor | None = None,
    *,
    prompt_embeds: torch.Tensor | None = None,
    read: torch.Tensor | None = None,
    encoder_hidden_states: torch.Tensor | None = None,
    encoder_attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """log p(labels | prompt) of N sequences in one teacher-forced pass: (N,), nats.

    Args:
        labels: (N, T), with the end last, -100 behind it.
        prompt: (N, P), at least a start token; padded on either side.
        prompt_mask: (N, P), nonzero at tokens.
        prompt_embeds: (N, P, E), in the place of `prompt`.
        read: (N, T), what stands in the place of the labels where they are read, for dropped words.
        encoder_hidden_states: (N, S, H), that the decoder attends to.
        encoder_attention_mask: (N, S), nonzero at states that count.
    """
    cached = CachedDecoder(
        decoder,
        prompt,
        prompt_mask,
        prompt_embeds=prompt_embeds,
        encoder_hidden_states=encoder_hidden_states,
        encoder_attention_mask=encoder_attention_mask,
    )
    return labels_log_prob(cached, labels, read)


def labels_log_prob(cached: CachedDecoder, labels: torch.Tensor, read: torch.Tensor | None = None) -> torch.Tensor:
    """log p(labels) of N sequences by what a decoder goes on from: (N,), nats; see `continuation_log_prob`."""
    state = cached.begin()
    nll = sentence_nll(state.logits.unsqueeze(1), labels[:, :1])
    if labels.shape[1] > 1:
        read = labels if read is None else read
        # What is read behind the end of a sequence changes nothing.
        logits, _ = cached.advance(state, read[:, :-1].masked_fill(labels[:, :-1] == IGNORED, 0))
        nll = nll + sentence_nll(logits, labels[:, 1:])
    return -nll
