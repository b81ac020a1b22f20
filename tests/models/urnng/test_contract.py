"""The universal contract, for sentences with trees by a recurrent neural network grammar and by a transformer grammar."""

import itertools
from typing import ClassVar

import pytest
import torch

from tests.contract import ModelContract
from tests.models.urnng.tiny_grammars import tiny_urnng, trees_of_lengths
from tests.tiny_parts import END, batch_of, random_rows, row_generators

WORDS = (3, 4)


def short_texts() -> list[list[int]]:
    """Every text of one to three words; a tree is over one word at least."""
    return [[*words, END] for length in (1, 2, 3, 4) for words in itertools.product(WORDS, repeat=length)]


class TreeContract(ModelContract):
    """Parts as class attributes; z is a binary tree."""

    encoder: ClassVar[str] = "hf_lvm_lstm_encoder"
    decoder: ClassVar[str] = "hf_lvm_rnng_decoder"
    perturbation: ClassVar[float] = 0.1
    falls_to = 0.95
    left_out: ClassVar[dict[str, str]] = {
        "test_probabilities_of_all_texts_sum_to_one": "trees are written with the words; the sum over both, with the mass of "
        "longer ones, is tested in tests/backbones",
        "test_side_and_amount_of_prompt_padding_do_not_matter": "nothing is generated from a prompt",
        "test_cached_generation_equals_teacher_forced_logits": "what comes step by step is compared in tests/backbones",
        "test_eager_equals_sdpa": "the decoder is compared in tests/backbones",
    }

    def build_tiny(self):
        model = tiny_urnng(self.encoder, self.decoder, perturbation=0.4, vocab_size=5, num_samples=2).double()
        with torch.no_grad():
            model.posterior_head.score.weight.mul_(0.25)  # a proposal that leaves no tree out
        return model

    def build_small(self):
        return tiny_urnng(self.encoder, self.decoder, perturbation=self.perturbation)

    def silence(self, model):
        with torch.no_grad():
            model.posterior_head.score.weight.mul_(1e4)
        # So certain a q has gradients of any size.
        for _, parameter in model.inference_parameters():
            parameter.requires_grad_(False)
        return model

    @torch.no_grad()
    def test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood(self):
        model, rows, repeats = self.build_tiny(), [row for row in short_texts() if len(row) == 5][::5], 1500
        batch = {name: value.repeat(repeats, 1) for name, value in batch_of(rows).items()}
        torch.manual_seed(11)
        output = model(**batch)
        bounds = [-(output.reconstruction + output.kl)]
        bounds += [model.estimate_log_likelihood(**batch, num_samples=count).log_likelihood for count in (2, 5)]
        exact = model.estimate_log_likelihood(labels=batch_of(rows)["labels"], method="exact").log_likelihood
        bounds.append(exact.repeat(repeats))
        means = [bound.view(repeats, -1).mean(1) for bound in bounds]
        for looser, tighter in itertools.pairwise(means):
            gain = tighter - looser
            assert gain.mean() > 4 * gain.std() / repeats**0.5, "above zero, and visibly so"

    @torch.no_grad()
    @pytest.mark.parametrize("convention", ["normalized", "published"])
    def test_the_estimate_converges_to_the_likelihood(self, convention):
        model, batch = self.build_tiny(), batch_of(short_texts()[::4])
        exact = model.estimate_log_likelihood(labels=batch["labels"], method="exact", convention=convention)
        assert exact.exact
        for temperature in (1.0, 2.0):
            torch.manual_seed(12)
            estimate = model.estimate_log_likelihood(**batch, num_samples=1000, temperature=temperature, convention=convention)
            difference = (estimate.log_likelihood - exact.log_likelihood).abs()
            assert (difference <= 4 * estimate.standard_error + 1e-9).all(), temperature

    @torch.no_grad()
    def test_the_loss_is_the_negative_bound(self):
        model, batch = self.build_small(), batch_of(random_rows(5))
        output = model(**batch, generator=row_generators(5))
        torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
        torch.testing.assert_close(output.loss, -(output.log_joint.mean(0) + output.entropy).mean())
        given = model(labels=batch["labels"], latents=output.latents)
        torch.testing.assert_close(given.log_joint, output.log_joint)
        torch.testing.assert_close(given.reconstruction, output.reconstruction)
        assert given.kl is None

    @torch.no_grad()
    def test_side_and_amount_of_encoder_padding_do_not_matter(self):
        model, rows = self.build_small(), random_rows(4)
        results = [
            model(**batch_of(rows, padding_side=side, extra_padding=extra), generator=row_generators(4))
            for side, extra in (("right", 0), ("left", 0), ("right", 5), ("left", 5))
        ]
        for result in results[1:]:
            for field in ("kl", "reconstruction", "entropy"):
                torch.testing.assert_close(result[field], results[0][field], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, rows = self.build_small(), random_rows(5)
        together = model(**batch_of(rows), generator=row_generators(5))
        for index, (row, generator) in enumerate(zip(rows, row_generators(5), strict=True)):
            alone = model(**batch_of([row]), generator=[generator])
            for field in ("kl", "reconstruction", "entropy"):
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)
            words = len(row) - 1
            assert torch.equal(together.latents[:, index, :words, :words], alone.latents[:, 0])

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model, rows = self.build_small(), [[5, 6, 7, 8, 9, END]] * 6
        labels = batch_of(rows)["labels"]
        trees = torch.stack([trees_of_lengths([5], seed)[0] for seed in range(6)])
        output = model(labels=labels, latents=trees)
        different = {tuple(tree.flatten().tolist()) for tree in trees}
        assert len(different) > 2 and len(output.log_joint[0].double().unique()) == len(different)


class TestRecurrentGrammar(TreeContract):
    """Kim et al. (2019): a bidirectional LSTM, and a recurrent neural network grammar."""

    left_out: ClassVar[dict[str, str]] = TreeContract.left_out | {
        "test_recomputing_changes_no_number": "no part has layers that are recomputed",
        "test_bfloat16_costs_little": "weights of few bits are refused, autocast is not; both are in tests/backbones",
    }


class TestTransformerGrammar(TreeContract):
    """BERT and GPT-2."""

    encoder, decoder = "bert", "gpt2"
    perturbation = 0.02
