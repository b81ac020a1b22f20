"""The universal contract, for games: a game sums to 1 over its candidates."""

import math
from typing import ClassVar

import pytest
import torch
from transformers import Trainer, TrainingArguments

from hf_lvm.data import GameCollator
from tests.contract import ModelContract
from tests.models.referential_game.tiny_games import every_message, tiny_game
from tests.tiny_parts import row_generators
from tests.training_runs import GAME_OBJECTS, games

TINY_OBJECTS = torch.tensor([[0, 0], [1, 2], [0, 1], [1, 1]])
# All games of three candidates: each of them is the target once.
TINY = {
    "objects": TINY_OBJECTS,
    "candidates": torch.tensor([[0, 1, 2]] * 3 + [[3, 2, 0]] * 3),
    "labels": torch.tensor([0, 1, 2] * 2),
}
SAME_FIELDS = ("kl", "reconstruction", "logits")


def some_games(rows: list[int]) -> dict[str, torch.Tensor]:
    return GameCollator(GAME_OBJECTS)([games()[row] for row in rows])


class TestReferentialGame(ModelContract):
    """GPT-2 speaks and BERT listens; z is a message."""

    left_out: ClassVar[dict[str, str]] = {
        "test_side_and_amount_of_encoder_padding_do_not_matter": "attributes are not padded; texts are, in test_games.py",
        "test_side_and_amount_of_prompt_padding_do_not_matter": "nothing is generated from a prompt",
        "test_cached_generation_equals_teacher_forced_logits": "compared in tests/layers/test_conditioned_decoder.py",
    }
    falls_to = 0.9

    def build_tiny(self):
        return tiny_game("gpt2", "bert", estimator="rloo", num_samples=2).double()

    def build_small(self):
        return tiny_game(
            "gpt2", "bert", attribute_sizes=[3, 4, 5], num_symbols=4, max_length=4, estimator="rloo", num_samples=2,
            perturbation=0.05,
        )  # fmt: skip

    def small_batch(self):
        return some_games([0, 5, 9])

    def silence(self, model):
        # So certain a q has gradients of any size.
        with torch.no_grad():
            model.sender.lm_head.weight.mul_(1e6)
        for _, parameter in model.inference_parameters():
            parameter.requires_grad_(False)
        return model

    @torch.no_grad()
    def test_probabilities_of_all_texts_sum_to_one(self):
        """Given each message, and with the message summed out: over the candidates of a game."""
        model = self.build_tiny()
        for message in every_message(model):
            given = model(**TINY, latents=message.expand(6, -1))
            total = (-given.reconstruction).exp().view(2, 3).sum(1)
            torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64))
        log_likelihood = model.estimate_log_likelihood(**TINY, method="exact").log_likelihood
        torch.testing.assert_close(log_likelihood.exp().view(2, 3).sum(1), torch.ones(2, dtype=torch.float64))

    @torch.no_grad()
    def test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood(self):
        model, repeats = self.build_tiny(), 300
        batch = {
            "objects": TINY_OBJECTS,
            **{name: TINY[name].repeat_interleave(repeats, 0) for name in ("candidates", "labels")},
        }
        torch.manual_seed(11)
        output = model(**batch)
        elbo = -(output.reconstruction + output.kl).view(6, repeats).mean(0)
        bounds = {
            count: model.estimate_log_likelihood(**batch, num_samples=count, method="importance")
            .log_likelihood.view(6, repeats)
            .mean(0)
            for count in (3, 8)
        }
        exact = model.estimate_log_likelihood(**TINY).log_likelihood.mean()
        # The output is of two samples already, each of which is an ELBO.
        for gain in (bounds[3] - elbo, bounds[8] - bounds[3], exact - bounds[8]):
            assert gain.mean() > 4 * gain.std() / math.sqrt(repeats)

    @torch.no_grad()
    def test_the_estimate_converges_to_the_likelihood(self):
        model = self.build_tiny()
        torch.manual_seed(12)
        estimate = model.estimate_log_likelihood(**TINY, num_samples=3000, method="importance")
        exact = model.estimate_log_likelihood(**TINY).log_likelihood
        assert estimate.standard_error.max() < 0.1
        assert ((estimate.log_likelihood - exact).abs() < 4 * estimate.standard_error).all()

    @torch.no_grad()
    def test_the_loss_is_the_negative_bound(self):
        model, batch = self.build_small(), some_games([1, 2, 3, 4, 5])
        output = model(**batch, generator=row_generators(5))
        torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
        given = model(**batch, latents=output.latents)
        torch.testing.assert_close(given.reconstruction, output.reconstruction)

    @torch.no_grad()
    def test_eager_equals_sdpa(self):
        model, batch, results = self.build_small(), some_games([1, 2, 3]), {}
        for implementation in ("sdpa", "eager"):
            for part in (model.sender, model.receiver):
                part.set_attn_implementation(implementation)
            results[implementation] = model(**batch, generator=row_generators(3))
        for field in SAME_FIELDS:
            torch.testing.assert_close(results["sdpa"][field], results["eager"][field], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, rows = self.build_small(), [3, 7, 8, 12, 20]
        together = model(**some_games(rows), generator=row_generators(5))
        for index, (row, generator) in enumerate(zip(rows, row_generators(5), strict=True)):
            alone = model(**some_games([row]), generator=[generator])
            for field in SAME_FIELDS:
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)
            assert torch.equal(together.latents[:, index], alone.latents[:, 0])

    def test_a_stock_trainer_evaluates_it(self, tmp_path):
        model, dataset = self.silence(self.build_small()), games(11)
        collate = GameCollator(GAME_OBJECTS)
        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_eval_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True
        )

        def accuracy(results) -> dict[str, float]:
            reconstruction, kl, logits = results.predictions
            assert all(len(array) == 11 for array in (reconstruction, kl, logits)) and logits.shape == (11, 4)
            return {"accuracy": float((logits.argmax(1) == results.label_ids).mean())}

        trainer = Trainer(model=model, args=arguments, eval_dataset=dataset, data_collator=collate, compute_metrics=accuracy)
        metrics = trainer.evaluate()
        output = model(**collate(list(dataset)))
        assert metrics["eval_loss"] == pytest.approx(output.loss.item(), rel=1e-5)
        assert metrics["eval_accuracy"] == pytest.approx(model.play(**collate(list(dataset))).is_right.float().mean().item())

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model = self.build_small()
        messages = every_message(model)
        batch = {
            "objects": GAME_OBJECTS[:4],
            "candidates": torch.arange(4).expand(len(messages), -1),
            "labels": torch.zeros(len(messages)).long(),
        }
        output = model(**batch, latents=messages)
        assert len(output.reconstruction.double().unique()) > 0.99 * len(messages)
