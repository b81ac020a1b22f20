"""URNNGs small enough to be summed over, built from scratch without dropout."""

import torch

from hf_lvm import URNNGConfig, URNNGModel
from hf_lvm.backbones.tree_decoders import as_tree_decoder_config
from tests.tiny_parts import END, PAD, START, VOCABULARY, perturb, tiny_config


def tiny_urnng(
    encoder: str = "hf_lvm_lstm_encoder",
    decoder: str = "hf_lvm_rnng_decoder",
    *,
    seed: int = 0,
    perturbation: float = 0.1,
    vocab_size: int = VOCABULARY,
    subwords: bool = False,
    **options,
) -> URNNGModel:
    """In evaluation mode, all weights with noise, so that trees differ."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": vocab_size, "bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}
    bidirectional = {"bidirectional": True} if encoder == "hf_lvm_lstm_encoder" else {}
    own = {"subwords": subwords} if decoder == "hf_lvm_rnng_decoder" else {}
    part = tiny_config(decoder, **sizes | own)
    config = URNNGConfig(
        encoder=tiny_config(encoder, **sizes | bidirectional),
        decoder=part if own else as_tree_decoder_config(part, subwords=subwords),
        **{"num_samples": 4, **options},
    )
    return perturb(URNNGModel(config), perturbation).eval()


def trees_of_lengths(lengths: list[int], seed: int = 0) -> torch.Tensor:
    """A random tree for each length: (B, n, n)."""
    from hf_lvm.distributions import BinaryTreeCRF

    longest = max(lengths)
    scores = torch.randn(len(lengths), longest, longest, generator=torch.Generator().manual_seed(seed))
    return BinaryTreeCRF(scores, torch.tensor(lengths)).argmax
