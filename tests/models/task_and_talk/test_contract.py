"""The universal contract, for bots that talk: given task and object, the probabilities of all answers sum to 1."""

import math
from typing import ClassVar

import pytest
import torch
from transformers import AutoModel, Trainer, TrainingArguments, default_data_collator

from tests.contract import ModelContract
from tests.models.task_and_talk.tiny_games import all_dialogs, all_rows, tiny_game
from tests.tiny_parts import row_generators
from tests.training_runs import questions

ROWS = all_rows()
SAME_FIELDS = ("kl", "reconstruction", "logits")


def some_rows(numbers: list[int]) -> dict[str, torch.Tensor]:
    return {name: values[numbers] for name, values in ROWS.items()}


def every_answer(model) -> torch.Tensor:
    values = torch.arange(model.config.num_all_values)
    return torch.cartesian_prod(values, values)


class TestTaskAndTalk(ModelContract):
    """z is a dialog, x the answer."""

    left_out: ClassVar[dict[str, str]] = {
        "test_eager_equals_sdpa": "there is no attention",
        "test_recomputing_changes_no_number": "the bots have no layers that are recomputed",
        "test_side_and_amount_of_encoder_padding_do_not_matter": "nothing is padded",
        "test_side_and_amount_of_prompt_padding_do_not_matter": "nothing is generated from a prompt",
        "test_cached_generation_equals_teacher_forced_logits": "dialogs are sampled and scored by one loop",
    }
    falls_to = 0.9

    def build_tiny(self):
        return tiny_game(estimator="rloo", num_samples=2, enumeration_budget=1)

    def build_small(self):
        return tiny_game(
            torch.float32, num_values=[4, 3, 2], hidden_size=16, initial_scale=2.0, estimator="rloo", num_samples=2, seeds=[4]
        )

    def small_batch(self):
        return some_rows([0, 5, 9]) | {"objects": torch.tensor([[3, 0, 1], [0, 2, 0], [1, 1, 1]])}

    def silence(self, model):
        # So certain are the bots that all samples are the same.
        with torch.no_grad():
            for bot in (model.questioner, model.answerer):
                for parameter in bot.speaker.parameters():
                    parameter.mul_(1e6).requires_grad_(False)
        return model

    @torch.no_grad()
    def test_probabilities_of_all_texts_sum_to_one(self):
        """Behind each dialog, and with the dialog summed out."""
        model = self.build_tiny()
        answers = every_answer(model)
        rows = {name: values[:1].expand(len(answers), *values.shape[1:]) for name, values in ROWS.items()}
        for dialog in all_dialogs(model)[::5]:
            given = model(**rows, labels=answers, latents=torch.tensor([dialog]).expand(len(answers), -1))
            torch.testing.assert_close((-given.reconstruction).exp().sum(), torch.tensor(1.0, dtype=torch.float64))
        exact = tiny_game()
        for row in range(len(ROWS["tasks"])):
            rows = {name: values[row : row + 1].expand(len(answers), *values.shape[1:]) for name, values in ROWS.items()}
            likelihood = exact.estimate_log_likelihood(**rows, labels=answers).log_likelihood
            torch.testing.assert_close(likelihood.exp().sum(), torch.tensor(1.0, dtype=torch.float64))

    @torch.no_grad()
    def test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood(self):
        model, repeats = self.build_tiny(), 300
        batch = {name: values.repeat_interleave(repeats, 0) for name, values in ROWS.items()}
        torch.manual_seed(11)
        output = model(**batch)
        elbo = -(output.reconstruction + output.kl).view(-1, repeats).mean(0)
        bounds = {
            count: model.estimate_log_likelihood(**batch, num_samples=count).log_likelihood.view(-1, repeats).mean(0)
            for count in (3, 12)
        }
        exact = tiny_game().estimate_log_likelihood(**ROWS).log_likelihood.mean()
        for gain in (bounds[3] - elbo, bounds[12] - bounds[3], exact - bounds[12]):
            assert gain.mean() > 4 * gain.std() / math.sqrt(repeats)

    @torch.no_grad()
    def test_the_estimate_converges_to_the_likelihood(self):
        torch.manual_seed(12)
        estimate = self.build_tiny().estimate_log_likelihood(**ROWS, num_samples=4000)
        exact = tiny_game().estimate_log_likelihood(**ROWS)
        assert exact.exact and not estimate.exact and estimate.standard_error.max() < 0.1
        assert ((estimate.log_likelihood - exact.log_likelihood).abs() < 4 * estimate.standard_error).all()

    @torch.no_grad()
    def test_the_loss_is_the_negative_bound(self):
        model, batch = self.build_small(), self.small_batch()
        output = model(**batch, generator=row_generators(3))
        torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
        model.config.num_samples = 1
        model.estimator, model.config.estimator = tiny_game(estimator="reinforce").estimator, "reinforce"
        output = model(**batch, generator=row_generators(3))
        torch.testing.assert_close(model(**batch, latents=output.latents).reconstruction, output.reconstruction)

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, batch = self.build_small(), self.small_batch()
        together = model(**batch, generator=row_generators(3))
        for index, generator in enumerate(row_generators(3)):
            alone = model(**{name: values[index : index + 1] for name, values in batch.items()}, generator=[generator])
            for field in SAME_FIELDS:
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)
            assert torch.equal(together.latents[index], alone.latents[0])

    def test_a_stock_trainer_evaluates_it(self, tmp_path):
        model = self.silence(self.build_small())
        dataset = questions(model, 11)
        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_eval_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True
        )

        def accuracy(results) -> dict[str, float]:
            reconstruction, kl, logits = results.predictions
            assert len(reconstruction) == len(kl) == 11 and logits.shape == (11, 2, 9)
            return {"accuracy": float((logits.argmax(-1) == results.label_ids).all(-1).mean())}

        trainer = Trainer(
            model=model, args=arguments, eval_dataset=dataset, data_collator=default_data_collator, compute_metrics=accuracy
        )
        metrics = trainer.evaluate()
        batch = default_data_collator(list(dataset))
        assert metrics["eval_loss"] == pytest.approx(model(**batch).loss.item(), rel=1e-5)
        right = model.talk(batch["objects"], batch["tasks"]).right
        assert metrics["eval_accuracy"] == pytest.approx(right.all(-1).float().mean().item())

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model = tiny_game()
        dialogs = torch.tensor(all_dialogs(model))
        rows = {name: values[:1].expand(len(dialogs), *values.shape[1:]) for name, values in ROWS.items()}
        output = model(**rows, latents=dialogs)
        assert output.kl is None and len(output.reconstruction.unique()) == len(dialogs)


def test_several_runs_are_saved_and_loaded_and_each_as_a_model_of_its_own(tmp_path):
    model = tiny_game(torch.float32, num_runs=3, seeds=[7, 2, 5], estimator="reinforce_moving_average").train()
    model(**ROWS, generator=torch.Generator().manual_seed(0)).loss.backward()  # the baselines have seen something
    model.save_pretrained(tmp_path / "all")
    model.run(1).save_pretrained(tmp_path / "one")
    loaded, one = AutoModel.from_pretrained(tmp_path / "all"), AutoModel.from_pretrained(tmp_path / "one")
    assert loaded.config.seeds == [7, 2, 5] and one.config.seeds == [2] and one.config.num_runs == 1
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    moments = model.estimator.baseline.moments
    assert moments.shape == (3, 3) and len(moments[1].unique()) == 3
    assert torch.equal(one.estimator.baseline.moments, moments[:, 1])
    assert torch.equal(one.run(0).estimator.baseline.moments, moments[:, 1])
    together = model.eval()(**ROWS, generator=torch.Generator().manual_seed(1))
    alone = one.eval()(**ROWS, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(together.reconstruction[1], alone.reconstruction)
    assert torch.equal(together.latents[1], alone.latents)


def test_the_first_weights_of_a_run_follow_from_its_seed_alone():
    several, one = tiny_game(num_runs=3, seeds=[7, 2, 5]), tiny_game(seeds=[2])
    for mine, own in zip(several.run_parameters(), one.run_parameters(), strict=True):
        if mine.dim() == 3:  # the tiny game has biases of its own
            assert torch.equal(mine[1], own[0]) and not torch.equal(mine[0], mine[1])
    torch.manual_seed(3)
    drawn = tiny_game(num_runs=2, seeds=None).config.seeds
    assert len(set(drawn)) == 2 and tiny_game(num_runs=2, seeds=None).config.seeds != drawn


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_question_symbols": 1}, "of one symbol nothing can be learned"),
        ({"num_rounds": 0}, "num_rounds must be at least 1"),
        ({"num_values": [4]}, "a task asks for two attributes"),
        ({"num_question_symbols": 64, "num_answer_symbols": 64}, r"\(64 \* 64\)\^2 = 16,777,216 dialogs"),
        ({"num_runs": 2, "seeds": [1, 1]}, "give each run a seed of its own"),
        ({"objective": "reward", "sample_guess": True}, "sample_guess is for"),
        ({"objective": "reward", "right_reward": -1.0, "wrong_reward": 0.0}, "must be above wrong_reward"),
        ({"hard_share": 1.0}, "hard_share must be at least 0 and below 1"),
        ({"objective": "marginal", "estimator": "rloo"}, "does not take the estimator 'rloo'"),
        ({"estimator": "relax"}, "not for dialog latents"),
        ({"estimator": "rloo"}, "set it to 2 or more"),
        ({"initial_scale": 0.0}, "initial_scale must be positive"),
    ],
)
def test_configs_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        tiny_game(**options)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objects": torch.tensor([[0, 3]] * 12)}, "values outside"),
        ({"objects": torch.tensor([[0, 1, 1]] * 12)}, r"\(B, 2\) is needed"),
        ({"tasks": torch.full((12,), 2)}, "outside of 0 to 1"),
        ({"tasks": torch.zeros(3, dtype=torch.long)}, "give each its task"),
        ({"labels": torch.full((12, 2), 5)}, "labels has numbers outside"),
        ({"latents": torch.tensor([[0, 0, 0, 3]] * 12)}, "latents has numbers outside"),
        ({"latents": torch.tensor([[0, 0]] * 12)}, "4 numbers a row are needed"),
        ({"temperature": 0.0}, "must be positive"),
        ({"free_bits_mode": "kingma", "free_bits": 0.1, "objective": "reward"}, "a reward has no KL term"),
        (
            {"answer_entropy": 0.5, "objective": "iwae", "estimator": "vimco", "num_samples": 2},
            "no expectation that an entropy",
        ),
    ],
)
def test_input_that_does_not_exist_is_refused(changed, said):
    options = {key: changed.pop(key) for key in ("objective", "estimator", "num_samples") if key in changed}
    with pytest.raises(ValueError, match=said):
        tiny_game(**options)(**ROWS | changed)
    if "labels" in changed:
        with pytest.raises(ValueError, match=said):
            tiny_game(**options).estimate_log_likelihood(**ROWS | changed)
    with pytest.raises(IndexError, match="There is no run 1"):
        tiny_game().run(1)
