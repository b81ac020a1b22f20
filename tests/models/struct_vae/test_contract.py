"""The universal contract, for sentences and their meanings."""

import itertools
from typing import ClassVar

import torch

from tests.contract import ModelContract
from tests.models.struct_vae.tiny_meanings import every_derivation, tiny_struct_vae
from tests.tiny_parts import END, batch_of, random_rows, row_generators

SAME_FIELDS = ("kl", "reconstruction")


class TestMeanings(ModelContract):
    """BERT reads, GPT-2 parses, and so do they the other way round; z is a tree."""

    left_out: ClassVar[dict[str, str]] = {
        "test_side_and_amount_of_prompt_padding_do_not_matter": "nothing is generated from a prompt",
        "test_cached_generation_equals_teacher_forced_logits": "what is drawn step by step is compared in test_exact.py",
        "test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood": "the exact ones are in test_exact.py",
    }
    falls_to = 0.95

    def build_tiny(self):
        options = {"vocab_size": 3, "max_actions": 4, "max_spelled_actions": 4}
        model = tiny_struct_vae(**options, perturbation=0.3).double()
        # Both words are words, also that with the number of the start.
        model.encoder.config.bos_token_id = model.encoder.config.pad_token_id = None
        pieces = model.grammar.vocabulary.pieces
        return model.copy_actions({pieces["a"]: 0, pieces["b"]: 1})

    def build_small(self):
        return tiny_struct_vae(perturbation=0.02, estimator="rloo")

    def trees(self, model) -> torch.Tensor:
        return every_derivation(model, 0)

    def latent_grid(self, model, every: int = 1):
        trees = self.trees(model)
        with torch.no_grad():
            mass = model.log_prior(model.grammar.spelled_ids(trees.unsqueeze(1), None))[:, 0].exp()
        assert abs(mass.sum().item() - 1) < 1e-9
        return trees, mass

    def typical_latents(self, model, count: int) -> torch.Tensor:
        trees = self.trees(model)
        return trees[torch.linspace(0, len(trees) - 1, count).long()]

    def silence(self, model):
        # So certain a q has gradients of any size.
        with torch.no_grad():
            model.parser.lm_head.weight.mul_(1e6)
        for _, parameter in model.inference_parameters():
            parameter.requires_grad_(False)
        return model

    @torch.no_grad()
    def test_the_loss_is_the_negative_bound(self):
        model, batch = self.build_small(), batch_of(random_rows(5))
        output = model(**batch, generator=row_generators(5))
        torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
        given = model(labels=batch["labels"], latents=output.latents)
        torch.testing.assert_close(given.reconstruction, output.reconstruction)

    @torch.no_grad()
    def test_the_estimate_converges_to_the_likelihood(self):
        model = self.build_tiny()
        rows = [[*words, END] for words in itertools.product((0, 1), repeat=2)]
        estimate = model.estimate_log_likelihood(**batch_of(rows), num_samples=500)
        exact = self.exact(model, rows)
        assert ((estimate.log_likelihood - exact).abs() < 4 * estimate.standard_error + 1e-9).all()

    @torch.no_grad()
    def test_eager_equals_sdpa(self):
        model, batch, results = self.build_small(), batch_of(random_rows(4)), {}
        for implementation in ("sdpa", "eager"):
            for part in (model.encoder, model.parser, model.reader, model.decoder, model.prior):
                part.set_attn_implementation(implementation)
            results[implementation] = model(**batch, generator=row_generators(4))
        for field in SAME_FIELDS:
            torch.testing.assert_close(results["sdpa"][field], results["eager"][field], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_side_and_amount_of_encoder_padding_do_not_matter(self):
        model, rows = self.build_small(), random_rows(4)
        results = [
            model(**batch_of(rows, padding_side=side, extra_padding=extra), generator=row_generators(4))
            for side, extra in (("right", 0), ("left", 0), ("right", 5), ("left", 5))
        ]
        for result, field in itertools.product(results[1:], SAME_FIELDS):
            torch.testing.assert_close(result[field], results[0][field], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, rows = self.build_small(), random_rows(5)
        together = model(**batch_of(rows), generator=row_generators(5))
        for index, (row, generator) in enumerate(zip(rows, row_generators(5), strict=True)):
            alone = model(**batch_of([row]), generator=[generator])
            for field in SAME_FIELDS:
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)
            assert torch.equal(together.latents[:, index], alone.latents[:, 0])

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model = self.build_small()
        trees = self.trees(model)
        output = model(labels=batch_of([[5, 6, 7, 8, END]] * len(trees))["labels"], latents=trees)
        assert len(output.reconstruction.double().unique()) == len(trees)
