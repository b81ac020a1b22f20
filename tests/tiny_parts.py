"""Models small enough to be built hundreds of times: parts from scratch, without dropout, and models composed of them."""

import torch
from transformers import PreTrainedConfig

from hf_lvm import LatentClassConfig, LatentClassModel, TextVAEConfig, TextVAEModel
from hf_lvm.backbones.sources import config_from_scratch

PAD, START, END = 0, 1, 2
VOCABULARY = 23
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "pad_token_id": PAD,
    "bos_token_id": START,
    "eos_token_id": END,
}


def tiny_config(model_type: str, **sizes) -> PreTrainedConfig:
    """A config of the family with one small layer and no dropout; a size in `SIZES` is skipped where it has none."""
    usual = {key: sizes.pop(key, value) for key, value in SIZES.items()}
    config = config_from_scratch(model_type, usual, **sizes)
    for key, value in config.to_dict().items():
        if ("dropout" in key or "pdrop" in key or "layerdrop" in key) and isinstance(value, float):
            setattr(config, key, 0.0)
    return config


def tiny_vae(encoder: str = "bert", decoder: str = "gpt2", *, seed: int = 0, **options) -> TextVAEModel:
    """A text VAE in evaluation mode; options prefixed `encoder_` and `decoder_` are sizes of that part."""
    return _composed(TextVAEModel, TextVAEConfig, encoder, decoder, seed, {"latent_size": 4, **options})


def tiny_classes(encoder: str = "bert", decoder: str = "gpt2", *, seed: int = 0, **options) -> LatentClassModel:
    """A latent class model in evaluation mode; options prefixed `encoder_` and `decoder_` are sizes of that part."""
    return _composed(LatentClassModel, LatentClassConfig, encoder, decoder, seed, {"num_classes": 3, **options})


def _composed(model_class, config_class, encoder: str, decoder: str, seed: int, options: dict):
    sizes = {
        part: {key.removeprefix(f"{part}_"): options.pop(key) for key in list(options) if key.startswith(f"{part}_")}
        for part in ("encoder", "decoder")
    }
    torch.manual_seed(seed)
    config = config_class(
        encoder=tiny_config(encoder, **sizes["encoder"]),
        decoder=tiny_config(decoder, **sizes["decoder"]),
        **{"injection_length": 2, **options},
    )
    return model_class(config).eval()


@torch.no_grad()
def perturb(model: torch.nn.Module, scale: float, seed: int = 1) -> torch.nn.Module:
    """The model with noise on every weight, so that nothing is as harmless as at initialisation."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return model


def row_generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + row) for row in range(count)]


def batch_of(rows: list[list[int]], padding_side: str = "right", extra_padding: int = 0) -> dict[str, torch.Tensor]:
    """Rows of decoder tokens (EOS included) as what the model takes; the encoder reads the same tokens."""
    width = max(map(len, rows)) + extra_padding
    empty = [[PAD] * (width - len(row)) for row in rows]
    labels = [row + [-100] * (width - extra_padding - len(row)) for row in rows]
    if padding_side == "right":
        ids = [row + pad for row, pad in zip(rows, empty, strict=True)]
        mask = [[1] * len(row) + [0] * len(pad) for row, pad in zip(rows, empty, strict=True)]
    else:
        ids = [pad + row for row, pad in zip(rows, empty, strict=True)]
        mask = [[0] * len(pad) + [1] * len(row) for row, pad in zip(rows, empty, strict=True)]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def random_rows(count: int, seed: int = 0, shortest: int = 2, longest: int = 7) -> list[list[int]]:
    """Sentences of random words, each with its EOS."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() + [END] for length in lengths]
