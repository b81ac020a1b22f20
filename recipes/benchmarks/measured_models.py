"""The text VAE that the benchmarks measure, and the bare decoder of the same shape."""

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from hf_lvm.backbones.sources import config_from_scratch
from hf_lvm.models.text_vae import TextVAEConfig, TextVAEModel

# The ids that the tokenizers of this package give to padding, start and end.
PAD, START, END = 0, 1, 2
# Of each part, by the generic names of `config_from_scratch`. `base` is the shape of BERT-base and of GPT-2.
SHAPES = {
    "small": {
        "num_hidden_layers": 4,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "vocab_size": 8000,
        "max_position_embeddings": 256,
    },
    "base": {
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "vocab_size": 50257,
        "max_position_embeddings": 1024,
    },
}


def build_text_vae(encoder: str, decoder: str, injection: str, latent_size: int, sizes: dict[str, int]) -> TextVAEModel:
    """A text VAE from scratch over two families.

    Args:
        encoder, decoder: model types of transformers.
        sizes: of each part, by the generic names of `config_from_scratch`.
    """
    torch.manual_seed(0)
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    config = TextVAEConfig(
        encoder=config_from_scratch(encoder, special, **sizes),
        decoder=config_from_scratch(decoder, special, **sizes),
        latent_size=latent_size,
        injection=injection,
        **special,
    )
    return TextVAEModel(config)


def build_bare_decoder(decoder: str, sizes: dict[str, int]) -> PreTrainedModel:
    """The decoder as transformers builds it, without cross-attention and without anything of ours."""
    torch.manual_seed(0)
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    return AutoModelForCausalLM.from_config(config_from_scratch(decoder, special, **sizes))
