"""The universal contract: what holds for every model of the package, whatever its latent.

A test module of a model subclasses `ModelContract`, says how a tiny and a small instance are built, and inherits one
test a clause. A clause without meaning for a model is left out by its name and a reason. The hooks that describe the
latent are written here for a Gaussian vector; a model with another latent overrides them.
"""

import contextlib
import functools
import itertools
import math
from typing import ClassVar

import pytest
import torch
from transformers import AutoConfig, Trainer, TrainingArguments

from tests import fresh_process as fresh
from tests import two_processes as double
from tests.tiny_parts import batch_of, random_rows, row_generators
from tests.training_runs import BATCH, assert_same_run, collate, corpus, latent_batch, latent_run, stock_run

# Vocabulary of the enumerated model: two words and the end of the sentence.
WORDS, STOP = (0, 1), 2
LONGEST = 3


def complete_texts() -> list[list[int]]:
    """Every text of up to three words, its end included."""
    return [[*words, STOP] for length in range(LONGEST + 1) for words in itertools.product(WORDS, repeat=length)]


def beginnings_of_longer_texts() -> list[list[int]]:
    """What every longer text begins with: four words, no end."""
    return [list(words) for words in itertools.product(WORDS, repeat=LONGEST + 1)]


class ModelContract:
    """One test a clause of the contract. Subclasses have names that begin with `Test`.

    Attributes:
        left_out: name of a clause -> why it has no meaning for the model.
        latent_size: dimensions of the latent of the enumerated model, 1 or 2.
        falls_to: share of its first loss that a short training leaves at most.
    """

    left_out: ClassVar[dict[str, str]] = {}
    latent_size: ClassVar[int] = 1
    falls_to: ClassVar[float] = 0.8

    # ---- what a model says about itself ----------------------------------------------------------------------------

    def build_tiny(self):
        """A model over `WORDS` and `STOP` in float64 and evaluation mode, perturbed until z matters."""
        raise NotImplementedError

    def build_small(self):
        """A model over `VOCABULARY` tokens with dropout off, in evaluation mode; the same weights at each call."""
        raise NotImplementedError

    def log_conditional(self, model, rows: list[list[int]], latents: torch.Tensor) -> torch.Tensor:
        """log p(x|z), (N,), of N texts under N latents."""
        return -model(labels=batch_of(rows)["labels"], latents=latents).reconstruction

    def latent_grid(self, model, every: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Points and weights that integrate over p(z): (N, D) and (N,); a coarser grid takes one point in `every`."""
        # An even grid: as exact as Gauss-Hermite nodes where p(x|z) is smooth, and not misled where it bends sharply,
        # as it does behind a normalisation whose input passes near zero.
        count, size = (1001, self.latent_size) if self.latent_size == 1 else (49, self.latent_size)
        points = torch.linspace(-8, 8, count, dtype=torch.float64)[::every]
        grid = torch.cartesian_prod(*[points] * size).view(-1, size)
        with torch.no_grad():
            mass = model.prior_of(len(grid)).log_prob(grid).exp() * (points[1] - points[0]) ** size
        assert mass.sum().item() == pytest.approx(1, abs=1e-6), "the prior must be a density, and the grid must cover it"
        return grid, mass / mass.sum()

    def typical_latents(self, model, count: int) -> torch.Tensor:
        """Latents drawn from the prior, (count, D)."""
        generator = torch.Generator().manual_seed(7)
        size = model.config.latent_size
        return torch.randn(count, size, generator=generator, dtype=next(model.parameters()).dtype)

    def silence(self, model):
        """The model with a posterior so narrow that its noise does not show: for comparisons between batch shapes."""
        with torch.no_grad():
            model.posterior_head.log_variance.weight.zero_()
            model.posterior_head.log_variance.bias.fill_(-60.0)
        return model

    def small_batch(self) -> dict[str, torch.Tensor]:
        """A few sentences, or what else the small model takes."""
        return batch_of(random_rows(3, seed=2))

    # ---- shared by the clauses -------------------------------------------------------------------------------------

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("Test"):
            return  # not collected by pytest
        unknown = [name for name in cls.left_out if not hasattr(ModelContract, name)]
        if unknown:
            raise TypeError(f"{cls.__name__} leaves out clauses that do not exist: {', '.join(unknown)}.")
        if "test_a_fresh_process_loads_the_same_model" not in cls.left_out:
            fresh.register(cls.__name__, lambda: (cls().build_small(), cls().small_batch()))
        if "test_two_processes_equal_one" not in cls.left_out:
            double.register(cls.__name__, lambda: cls().build_small())

    @pytest.fixture(autouse=True)
    def _leave_out(self, request):
        name = request.function.__name__
        if name in self.left_out:
            pytest.skip(f"left out: {self.left_out[name]}")

    def exact(self, model, rows: list[list[int]], every: int = 1) -> torch.Tensor:
        """log p(x), (N,), with z integrated out."""
        points, weights = self.latent_grid(model, every)
        logs = [self.log_conditional(model, [row] * len(points), points) for row in rows]
        return torch.stack([(log + weights.log()).logsumexp(0) for log in logs])

    @classmethod
    @functools.cache
    @torch.no_grad()
    def enumerated(cls) -> torch.Tensor:
        """log p(x), (N,), of the complete texts and then of the beginnings of longer ones; three clauses compare with it."""
        test = cls()
        return test.exact(test.build_tiny(), complete_texts() + beginnings_of_longer_texts())

    # ---- probabilities ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def test_probabilities_of_all_texts_sum_to_one(self):
        model = self.build_tiny()
        rows = complete_texts() + beginnings_of_longer_texts()
        for latent in self.typical_latents(model, 3):
            total = self.log_conditional(model, rows, latent.expand(len(rows), -1)).exp().sum()
            assert total.item() == pytest.approx(1, abs=1e-10)
        log_likelihood = self.enumerated()
        assert log_likelihood.exp().sum().item() == pytest.approx(1, abs=1e-9)
        tail = log_likelihood[len(complete_texts()) :].exp().sum()
        assert 0.01 < tail < 0.99, "the longer texts must carry some of the mass, and not all of it"

    @torch.no_grad()
    def test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood(self):
        model, rows, repeats = self.build_tiny(), complete_texts(), 300
        batch = {name: value.repeat(repeats, 1) for name, value in batch_of(rows).items()}
        torch.manual_seed(11)
        output = model(**batch)
        elbo = -(output.reconstruction + output.kl).view(repeats, -1).mean(1)
        bounds = {
            count: model.estimate_log_likelihood(**batch, num_samples=count).log_likelihood.view(repeats, -1).mean(1)
            for count in (2, 5)
        }
        exact = self.enumerated()[: len(rows)].mean()
        steps = {
            "ELBO to 2 samples": bounds[2] - elbo,
            "2 samples to 5": bounds[5] - bounds[2],
            "5 samples to log p(x)": exact - bounds[5],
        }
        for name, gain in steps.items():
            # Above zero and visibly so: the posterior of a perturbed model is far from exact.
            error = gain.std() / math.sqrt(repeats)
            assert gain.mean() > 4 * error, (name, gain.mean().item(), error.item())

    @torch.no_grad()
    def test_the_estimate_converges_to_the_likelihood(self):
        model, rows = self.build_tiny(), complete_texts()
        torch.manual_seed(12)
        estimate = model.estimate_log_likelihood(**batch_of(rows), num_samples=3000)
        exact = self.enumerated()[: len(rows)]
        torch.testing.assert_close(exact, self.exact(model, rows, every=2), rtol=0, atol=1e-2)
        assert estimate.standard_error.median() < 0.06 and estimate.standard_error.max() < 0.25
        deviation = (estimate.log_likelihood - exact) / estimate.standard_error
        assert (deviation.abs() < 4).all(), deviation

    @torch.no_grad()
    def test_the_loss_is_the_negative_bound(self):
        model, batch = self.build_small(), batch_of(random_rows(5))
        model.config.num_samples = 1
        output = model(**batch, generator=row_generators(5))
        torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
        torch.testing.assert_close(
            output.reconstruction, -self.log_conditional(model, random_rows(5), output.latents), rtol=1e-5, atol=1e-5
        )

    # ---- saving ----------------------------------------------------------------------------------------------------

    def test_config_round_trip(self, tmp_path):
        config = self.build_small().config
        config.save_pretrained(tmp_path)
        loaded = AutoConfig.from_pretrained(tmp_path)
        assert type(loaded) is type(config)
        assert loaded.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}
        assert type(config)(**config.to_dict()).to_dict() == config.to_dict()

    def test_a_fresh_process_loads_the_same_model(self, fresh_process):
        reloaded = fresh_process[type(self).__name__]
        assert reloaded.tensors_before == reloaded.tensors_after
        assert reloaded.config_after["model_type"] == reloaded.config_before["model_type"]
        for name, value in reloaded.outputs_before.items():
            # A loss of tens of nats has no sixth decimal in float32.
            relative = 1e-6 if name == "loss" else 0
            torch.testing.assert_close(reloaded.outputs_after[name], value, rtol=relative, atol=1e-6, msg=name)

    # ---- the same numbers by another way ---------------------------------------------------------------------------

    @torch.no_grad()
    def test_eager_equals_sdpa(self):
        model, batch = self.build_small(), batch_of(random_rows(4))
        results = {}
        for implementation in ("sdpa", "eager"):
            model.set_attn_implementation(implementation)
            used = {module.config._attn_implementation for module in (model.encoder, model.decoder)}
            assert used == {implementation}
            results[implementation] = model(**batch, generator=row_generators(4))
        for field in ("logits", "kl", "reconstruction"):
            torch.testing.assert_close(results["sdpa"][field], results["eager"][field], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_side_and_amount_of_encoder_padding_do_not_matter(self):
        model, rows = self.build_small(), random_rows(4)
        results = [
            model(**batch_of(rows, padding_side=side, extra_padding=extra), generator=row_generators(4))
            for side, extra in (("right", 0), ("left", 0), ("right", 5), ("left", 5))
        ]
        for result in results[1:]:
            torch.testing.assert_close(result.kl, results[0].kl, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(result.logits, results[0].logits, rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_side_and_amount_of_prompt_padding_do_not_matter(self):
        model, latents = self.build_small(), self.typical_latents(self.build_small(), 3)
        prompts = [[5, 6, 7], [8], [9, 10]]
        alone = [
            model.generate(
                latents=latent[None], decoder_input_ids=torch.tensor([prompt]), max_new_tokens=5, eos_token_id=None
            )[0].tolist()
            for latent, prompt in zip(latents, prompts, strict=True)
        ]
        assert len({tuple(row[-5:]) for row in alone}) > 1
        for side, extra in itertools.product(("right", "left"), (0, 3)):
            padded = batch_of(prompts, padding_side=side, extra_padding=extra)
            together = model.generate(
                latents=latents,
                decoder_input_ids=padded["input_ids"],
                decoder_attention_mask=padded["attention_mask"],
                max_new_tokens=5,
                eos_token_id=None,
            )
            assert [row[: len(one)] for row, one in zip(together.tolist(), alone, strict=True)] == alone, (side, extra)

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, rows = self.build_small(), random_rows(5)
        latents = self.typical_latents(model, 5)
        together = model(**batch_of(rows), generator=row_generators(5))
        given = self.log_conditional(model, rows, latents)
        for index, (row, generator) in enumerate(zip(rows, row_generators(5), strict=True)):
            alone = model(**batch_of([row]), generator=[generator])
            for field in ("kl", "reconstruction", "latents"):
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(together.logits[index, : len(row)], alone.logits[0], rtol=1e-5, atol=1e-5)
            one = self.log_conditional(model, [row], latents[index : index + 1])
            torch.testing.assert_close(given[index], one[0], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_cached_generation_equals_teacher_forced_logits(self):
        model = self.build_small()
        latents = self.typical_latents(model, 3)
        written = model.generate(
            latents=latents, max_new_tokens=6, eos_token_id=None, output_logits=True, return_dict_in_generate=True
        )
        assert written.sequences.shape == (3, 7) and written.past_key_values.get_seq_length() > 0
        forced = model(labels=written.sequences[:, 1:], latents=latents).logits
        torch.testing.assert_close(torch.stack(written.logits, 1), forced, rtol=1e-5, atol=1e-5)

    # ---- training --------------------------------------------------------------------------------------------------

    def test_accumulation_equals_a_whole_batch(self, tmp_path):
        runs = [
            latent_run(self.build_small(), tmp_path / str(size), per_device=size, accumulation=BATCH // size)
            for size in (BATCH, 2)
        ]
        assert_same_run(*runs)

    def test_two_processes_equal_one(self, two_processes, tmp_path):
        whole = latent_run(self.build_small(), tmp_path, per_device=BATCH, accumulation=1)
        assert_same_run(whole, two_processes[type(self).__name__])

    def test_recomputing_changes_no_number(self):
        runs, recomputed = [], []
        for recomputes in (False, True):
            model = self.build_small().train()
            if recomputes:
                counted = {"context_fn": lambda: (recomputed.append(1) or contextlib.nullcontext(), contextlib.nullcontext())}
                model.gradient_checkpointing_enable({"use_reentrant": False, **counted})
            loss = model(**latent_batch(model), generator=row_generators(4)).loss
            loss.backward()
            runs.append((loss.detach(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}))
        (loss, gradients), (same_loss, same_gradients) = runs
        assert recomputed, "no layer of the model was recomputed"
        torch.testing.assert_close(same_loss, loss, rtol=1e-6, atol=0)
        size = max(gradient.abs().max().item() for gradient in gradients.values())
        torch.testing.assert_close(same_gradients, gradients, rtol=0, atol=1e-6 * size)

    def test_bfloat16_costs_little(self, tmp_path):
        model = self.build_small()
        model.save_pretrained(tmp_path)
        losses = []
        for loaded, autocast in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, False)):
            if loaded == torch.bfloat16:
                model = type(model).from_pretrained(tmp_path, dtype=loaded)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                output = model.train()(**latent_batch(model), generator=row_generators(4))
            output.loss.backward()
            assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
            for name, value in output.items():
                if isinstance(value, torch.Tensor) and value.is_floating_point() and name != "logits":
                    assert value.dtype == torch.float32, name
            losses.append(output.loss.detach())
            model.zero_grad()
        torch.testing.assert_close(torch.stack(losses[1:]), losses[0].expand(2), rtol=2e-3, atol=0)
        assert losses[0] not in losses[1:], "nothing was computed in bfloat16"

    def test_a_stock_trainer_trains_it(self, tmp_path):
        runs = [
            stock_run(self.silence(self.build_small()), tmp_path / str(size), per_device=size, accumulation=BATCH // size)
            for size in (BATCH, 2)
        ]
        assert_same_run(*runs)

    def test_a_stock_trainer_evaluates_it(self, tmp_path):
        model, dataset = self.silence(self.build_small()), corpus(11)
        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_eval_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True
        )
        seen = []
        trainer = Trainer(
            model=model,
            args=arguments,
            eval_dataset=dataset,
            data_collator=collate,
            compute_metrics=lambda results: seen.append(results) or {},
        )
        by_hand = torch.stack([model(**collate([row])).loss.detach() for row in dataset]).mean()
        assert trainer.evaluate()["eval_loss"] == pytest.approx(by_hand.item(), rel=1e-5)
        arrays = seen[0].predictions
        assert all(len(array) == 11 for array in arrays), "one row a sentence, and nothing that cannot be gathered"

    def test_the_latent_changes_the_output(self):
        model, rows = self.build_small(), random_rows(2)
        latents = self.typical_latents(model, 2).requires_grad_()
        logits = model(labels=batch_of(rows)["labels"], latents=latents).logits
        other = model(labels=batch_of(rows)["labels"], latents=latents.detach().flip(0)).logits
        moved = (logits - other).abs().amax(-1)
        assert (moved > 1e-4).all(), "every step must hear z"
        (gradient,) = torch.autograd.grad(logits.square().sum(), latents)
        assert (gradient.abs() > 0).all()

    def test_the_loss_falls(self, tmp_path):
        options = {"optim": "adamw_torch", "learning_rate": 1e-2, "max_steps": 30, "num_train_epochs": 30}
        run = latent_run(self.build_small(), tmp_path, per_device=BATCH, accumulation=1, **options)
        assert sum(run.losses[-3:]) < self.falls_to * sum(run.losses[:3]), run.losses
