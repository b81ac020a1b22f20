"""The universal contract, for latent class models that sample z and for ones that sum over it."""

import itertools
from typing import ClassVar

import torch

from tests.contract import STOP, WORDS, ModelContract
from tests.tiny_parts import batch_of, perturb, random_rows, tiny_classes

TINY = {"hidden_size": 8, "vocab_size": 3, "pad_token_id": 0, "bos_token_id": WORDS[0], "eos_token_id": STOP}


class LatentClassContract(ModelContract):
    """Parts and keys of the config as class attributes; z is a vector of categories."""

    encoder: ClassVar[str] = "bert"
    decoder: ClassVar[str] = "gpt2"
    options: ClassVar[dict] = {}
    perturbation: ClassVar[tuple[float, float]] = (0.4, 0.05)

    @torch.no_grad()
    def build_tiny(self):
        sizes = {f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in TINY.items()}
        return perturb(tiny_classes(self.encoder, self.decoder, **sizes | self.options), self.perturbation[0]).double()

    def build_small(self):
        return perturb(tiny_classes(self.encoder, self.decoder, **self.options), self.perturbation[1])

    def latent_grid(self, model, every: int = 1):
        values = itertools.product(range(model.config.num_classes), repeat=model.config.num_variables)
        grid = torch.tensor(list(values))
        with torch.no_grad():
            return grid, model.prior_of(len(grid)).log_prob(grid).exp()

    def typical_latents(self, model, count: int) -> torch.Tensor:
        values = self.latent_grid(model)[0]
        return values[torch.arange(count) * 2 % len(values)]

    def silence(self, model):
        with torch.no_grad():
            for name, parameter in model.posterior_head.named_parameters():
                if not name.endswith("bias"):
                    parameter.zero_()
            model.posterior_head.logits.bias.copy_(torch.arange(len(model.posterior_head.logits.bias)) * 50.0)
        return model

    def test_the_latent_changes_the_output(self):
        model, labels = self.build_small(), batch_of(random_rows(2))["labels"]
        values = self.typical_latents(model, 2)
        corners = model.prior_of(2).one_hot(values).requires_grad_()
        logits = model(labels=labels, latents=corners).logits
        torch.testing.assert_close(logits, model(labels=labels, latents=values).logits)
        moved = (logits - model(labels=labels, latents=values.flip(0)).logits).abs().amax(-1)
        assert (moved > 1e-4).all(), "every step must hear z"
        (gradient,) = torch.autograd.grad(logits.square().sum(), corners)
        assert (gradient.abs() > 0).all()


class TestTwoVariablesSampled(LatentClassContract):
    """z drawn from q; a budget of one value keeps the likelihood an importance-weighted estimate."""

    options: ClassVar[dict] = {
        "num_variables": 2,
        "prior_type": "learned",
        "estimator": "reinforce",
        "enumeration_budget": 1,
        "injection": ["embedding", "prefix"],
    }
    falls_to = 0.9


class TestMixtureSummed(LatentClassContract):
    """One variable, summed over; codes that the decoder reads."""

    encoder, decoder = "hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder"
    options: ClassVar[dict] = {
        "posterior_type": "vector_quantized",
        "code_size": 4,
        "injection": ["concatenation", "initial_state"],
    }
    perturbation = (1.0, 0.2)
    falls_to = 0.9
    left_out: ClassVar[dict[str, str]] = {
        "test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood": "nothing is sampled; the order is tested "
        "in test_likelihood.py",
        "test_eager_equals_sdpa": "no part attends",
        "test_recomputing_changes_no_number": "no part has layers that are recomputed",
        "test_the_loss_is_the_negative_bound": "its reconstruction is a mean over all z; tested in test_objectives.py",
    }

    def test_the_estimate_converges_to_the_likelihood(self):
        model = self.build_tiny()
        rows = [[0, 1, STOP], [1, STOP], [STOP]]
        estimate = model.estimate_log_likelihood(**batch_of(rows))
        assert estimate.exact and not estimate.low_sample_size.any()
        torch.testing.assert_close(estimate.log_likelihood, self.exact(model, rows).detach(), rtol=0, atol=1e-10)

    def silence(self, model):
        return model  # nothing is drawn
