"""The universal contract, for text VAEs whose parts and injections are far apart from each other."""

from typing import ClassVar

import torch

from tests.contract import STOP, WORDS, ModelContract
from tests.tiny_parts import perturb, tiny_vae

TINY = {"hidden_size": 8, "vocab_size": 3, "pad_token_id": 0, "bos_token_id": WORDS[0], "eos_token_id": STOP}


class TextVAEContract(ModelContract):
    """Parts, injection and further keys of the config as class attributes."""

    encoder: ClassVar[str] = "bert"
    decoder: ClassVar[str] = "gpt2"
    injection: ClassVar[str | list[str]] = "prefix"
    options: ClassVar[dict] = {}

    @torch.no_grad()
    def build_tiny(self):
        sizes = {f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in TINY.items()}
        model = tiny_vae(
            self.encoder,
            self.decoder,
            injection=self.injection,
            latent_size=self.latent_size,
            **sizes | self.options,
        )
        perturb(model, 0.4)
        # Wide and near the prior: a proposal that covers the posterior, so that its weights have a variance.
        model.posterior_head.mean.weight.mul_(0.3)
        model.posterior_head.log_variance.weight.mul_(0.1)
        model.posterior_head.log_variance.bias.fill_(0.5)
        return model.double()

    def build_small(self):
        model = tiny_vae(self.encoder, self.decoder, injection=self.injection, **self.options)
        return perturb(model, 0.05)


class TestBertToGPT2Prefix(TextVAEContract):
    options: ClassVar[dict] = {"pooling": "attention"}


class TestModernBertToLlamaEmbedding(TextVAEContract):
    encoder, decoder, injection = "modernbert", "llama", "embedding"
    options: ClassVar[dict] = {"encoder_num_hidden_layers": 2, "pooling": "first"}


class TestT5ToT5CrossAttention(TextVAEContract):
    encoder, decoder, injection = "t5", "t5", "cross_attention"
    options: ClassVar[dict] = {"pooling": "max"}


class TestBertToBartMemoryAndLogits(TextVAEContract):
    decoder, injection = "bart", ["memory", "logits"]
    options: ClassVar[dict] = {"pooling": "last", "num_samples": 2}
    latent_size = 2
