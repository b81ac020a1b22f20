"""The universal contract, for text VAEs whose parts and injections are far apart from each other."""

import math
from typing import ClassVar

import torch

from tests.contract import STOP, WORDS, ModelContract
from tests.tiny_parts import perturb, tiny_vae

TINY = {"hidden_size": 8, "vocab_size": 3, "pad_token_id": 0, "bos_token_id": WORDS[0], "eos_token_id": STOP}


class TextVAEContract(ModelContract):
    """Parts, injection and further keys of the config as class attributes.

    Attributes:
        perturbation: noise on the weights of the tiny and of the small model; the LSTMs begin too quiet for less.
    """

    encoder: ClassVar[str] = "bert"
    decoder: ClassVar[str] = "gpt2"
    injection: ClassVar[str | list[str]] = "prefix"
    options: ClassVar[dict] = {}
    perturbation: ClassVar[tuple[float, float]] = (0.4, 0.05)

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
        perturb(model, self.perturbation[0])
        self.widen(model)
        return model.double()

    def widen(self, model):
        """Wide and near the prior: a proposal that covers the posterior, so that its weights have a variance."""
        model.posterior_head.mean.weight.mul_(0.3)
        model.posterior_head.log_variance.weight.mul_(0.1)
        model.posterior_head.log_variance.bias.fill_(0.5)

    def build_small(self):
        model = tiny_vae(self.encoder, self.decoder, injection=self.injection, **self.options)
        return perturb(model, self.perturbation[1])


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
    left_out: ClassVar[dict[str, str]] = {"test_recomputing_changes_no_number": "refused with a memory; see test_refusals.py"}


NO_ATTENTION = {"test_eager_equals_sdpa": "no part attends"}
NO_LAYERS = NO_ATTENTION | {"test_recomputing_changes_no_number": "an LSTM has no layers that are recomputed"}


class TestBidirectionalLSTMToLSTM(TextVAEContract):
    """The two ways into an LSTM that other decoders do not have, and attention."""

    encoder, decoder = "hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder"
    injection: ClassVar[list[str]] = ["concatenation", "initial_state", "cross_attention"]
    options: ClassVar[dict] = {"encoder_bidirectional": True, "decoder_num_hidden_layers": 2, "pooling": "last"}
    perturbation = (1.0, 0.2)
    falls_to = 0.9
    left_out = NO_LAYERS


class TestBertToDilatedCNN(TextVAEContract):
    decoder, injection = "hf_lvm_dilated_cnn_decoder", ["concatenation", "logits"]
    options: ClassVar[dict] = {"decoder_dilations": [1, 2], "decoder_num_hidden_layers": 2, "decoder_internal_size": 8}
    left_out = NO_ATTENTION


class TestBertToLlamaOfLimitedContext(TextVAEContract):
    decoder, injection = "llama", ["prefix", "embedding"]
    options: ClassVar[dict] = {"context_window": 2, "decoder_num_hidden_layers": 2}


class TestLSTMOnTheSphere(TextVAEContract):
    """A latent that is a direction: in two dimensions a point on the circle."""

    encoder, decoder, injection = "hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder", "embedding"
    options: ClassVar[dict] = {"posterior_type": "von_mises_fisher", "prior_type": "uniform_sphere", "pooling": "last"}
    perturbation = (1.0, 0.2)
    falls_to = 0.9
    left_out = NO_LAYERS
    latent_size = 2

    def widen(self, model):
        model.posterior_head.concentration.weight.mul_(0.1)
        model.posterior_head.concentration.bias.fill_(-1.0)

    def latent_grid(self, model, every: int = 1):
        angles = torch.linspace(0, 2 * math.pi, 1001, dtype=torch.float64)[:-1:every]
        return torch.stack([angles.cos(), angles.sin()], -1), torch.full((len(angles),), 1 / len(angles), dtype=torch.float64)

    def typical_latents(self, model, count: int):
        return torch.nn.functional.normalize(super().typical_latents(model, count), dim=-1)

    def silence(self, model):
        with torch.no_grad():
            model.posterior_head.concentration.weight.zero_()
            model.posterior_head.concentration.bias.fill_(1e9)
        return model


class TestVampPriorTrainedByTheKSampleBound(TextVAEContract):
    injection = "embedding"
    falls_to = 0.9
    options: ClassVar[dict] = {
        "prior_type": "vamp", "prior_components": 3, "prior_pseudo_input_length": 4,
        "objective": "iwae", "estimator": "dreg", "num_samples": 3,
    }  # fmt: skip
    left_out: ClassVar[dict[str, str]] = {
        "test_the_loss_is_the_negative_bound": "the loss is the K-sample bound, tested in test_objectives.py",
        "test_a_stock_trainer_trains_it": "a silent posterior makes the prior of its pseudo-inputs infinitely narrow",
        "test_a_stock_trainer_evaluates_it": "the same",
    }
