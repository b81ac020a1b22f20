"""Latent summarizers small enough to be summed over, built from scratch without dropout."""

import itertools

import torch

from hf_lvm import LatentSummarizerConfig, LatentSummarizerModel
from tests.tiny_parts import END, PAD, START, VOCABULARY, perturb, tiny_config


def tiny_summarizer(
    encoder: str = "hf_lvm_lstm_encoder",
    decoder: str = "hf_lvm_segment_decoder",
    prior: str = "hf_lvm_bigram_decoder",
    *,
    reader: str | None = None,
    seed: int = 0,
    perturbation: float = 0.1,
    vocab_size: int = VOCABULARY,
    **options,
) -> LatentSummarizerModel:
    """In evaluation mode, all weights with noise, so that compressions differ."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": vocab_size, "bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}

    def part(family: str):
        more = {"bidirectional": True} if family == "hf_lvm_lstm_encoder" else {}
        return tiny_config(family, **sizes | more)

    config = LatentSummarizerConfig(
        encoder=part(encoder),
        decoder=part(decoder),
        prior=part(prior),
        reader=reader if reader in (None, "compressor") else part(reader),
        **{"num_samples": 3, **options},
    )
    return perturb(LatentSummarizerModel(config), perturbation).eval()


def all_masks(length: int) -> torch.Tensor:
    """Every mask but the empty one: (2^n - 1, n) bool."""
    return torch.tensor(list(itertools.product([False, True], repeat=length)))[1:]


def leftmost(words: list[int]) -> dict[tuple[int, ...], torch.Tensor]:
    """Each compression of a sentence and the mask that finds its words as early as it can, word by word."""
    found = {}
    for mask in all_masks(len(words)).tolist():
        wanted = [word for word, kept in zip(words, mask, strict=True) if kept]
        own, left = [], list(wanted)
        for word in words:
            own.append(bool(left) and word == left[0])
            left = left[1:] if own[-1] else left
        found[tuple(wanted)] = torch.tensor(own)
    return found
