"""The universal contract, for sentences and their compressions."""

import itertools
from typing import ClassVar

import torch

from tests.contract import ModelContract
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import END, batch_of, random_rows, row_generators

NO_LAYERS = {
    "test_eager_equals_sdpa": "no part attends",
    "test_recomputing_changes_no_number": "no part has layers that are recomputed",
}


class SummaryContract(ModelContract):
    """Parts and settings as class attributes; z is a compression."""

    parts: ClassVar[dict] = {}
    settings: ClassVar[dict] = {}
    perturbation: ClassVar[float] = 0.1
    falls_to = 0.95
    left_out: ClassVar[dict[str, str]] = {
        "test_probabilities_of_all_texts_sum_to_one": "the sum over compressions and texts is taken in test_exact.py",
        "test_side_and_amount_of_prompt_padding_do_not_matter": "nothing is generated from a prompt",
        "test_cached_generation_equals_teacher_forced_logits": "what is drawn step by step is compared in tests/generation",
    }

    def build_tiny(self):
        model = tiny_summarizer(**self.parts, perturbation=0.3, **self.settings).double()
        return self.narrow(model, 0.3)

    def build_small(self):
        return tiny_summarizer(**self.parts, perturbation=self.perturbation, **self.settings)

    def narrow(self, model, factor: float):
        with torch.no_grad():
            model.posterior_head.scores.keep.weight.mul_(factor)
        return model

    def silence(self, model):
        # What is summed over has no noise.
        return model

    @torch.no_grad()
    def test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood(self):
        model, rows, repeats = self.build_tiny(), [[5, 9, 5, 7, END], [6, 7, 7, 8, END]], 1000
        batch = {name: value.repeat(repeats, 1) for name, value in batch_of(rows).items()}
        torch.manual_seed(11)
        output = model(**batch)
        bounds = [-(output.reconstruction + output.kl)]
        bounds += [
            model.estimate_log_likelihood(**batch, num_samples=count, method="importance").log_likelihood for count in (2, 5)
        ]
        if model.config.is_exact:
            bounds.append(model.estimate_log_likelihood(labels=batch["labels"]).log_likelihood)
        means = [bound.view(repeats, -1).mean(1) for bound in bounds]
        for looser, tighter in zip(means, means[1:], strict=False):
            gain = tighter - looser
            assert gain.mean() > 4 * gain.std() / repeats**0.5, "above zero, and visibly so"

    @torch.no_grad()
    def test_the_estimate_converges_to_the_likelihood(self):
        model, batch = self.build_tiny(), batch_of([[5, 9, 5, END], [6, 7, END], [8, END]])
        many = model.estimate_log_likelihood(**batch, num_samples=3000, method="importance")
        if model.config.is_exact:
            exact = model.estimate_log_likelihood(labels=batch["labels"]).log_likelihood
        else:
            values = self.every_value(model, batch)
            source = model.source_of(batch["labels"], None)
            joint = model.log_likelihood(source, values) + model.log_prior(source, values)
            possible = (model.encode(**batch).log_prob(values) > -torch.inf) & ~self.is_repeated(values, source)
            exact = joint.masked_fill(~possible, -torch.inf).logsumexp(0)
        difference = (many.log_likelihood - exact).abs()
        assert (difference <= 4 * many.standard_error + 1e-9).all()

    def is_repeated(self, values, source) -> torch.Tensor:
        """Whether a value (R, B, ...) is another one with something behind the end of the sentence: (R, B)."""
        return torch.zeros(values.shape[:2], dtype=torch.bool)

    def every_value(self, model, batch) -> torch.Tensor:
        """All compressions of the sentences, (R, B, ...)."""
        raise NotImplementedError

    @torch.no_grad()
    def test_the_loss_is_the_negative_bound(self):
        model, batch = self.build_small(), batch_of(random_rows(5))
        output = model(**batch, generator=row_generators(5))
        torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
        if output.latents is not None:
            given = model(labels=batch["labels"], latents=output.latents)
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
            for field in ("kl", "reconstruction"):
                torch.testing.assert_close(result[field], results[0][field], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, rows = self.build_small(), random_rows(5)
        together = model(**batch_of(rows), generator=row_generators(5))
        for index, (row, generator) in enumerate(zip(rows, row_generators(5), strict=True)):
            alone = model(**batch_of([row]), generator=[generator])
            for field in ("kl", "reconstruction"):
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model, words = self.build_small(), [5, 6, 7, 8, 9]
        masks = torch.eye(5, dtype=torch.bool)
        output = model(labels=batch_of([[*words, END]] * 5)["labels"], latents=masks)
        assert len(output.reconstruction.double().unique()) == 5


class TestExactDeletion(SummaryContract):
    """A bidirectional LSTM, segments and bigrams: everything is summed over."""

    left_out: ClassVar[dict[str, str]] = SummaryContract.left_out | NO_LAYERS


class TestExactDeletionByATransformer(SummaryContract):
    """BERT, segments and bigrams."""

    parts: ClassVar[dict] = {"encoder": "bert"}
    perturbation = 0.02

    @torch.no_grad()
    def test_eager_equals_sdpa(self):
        model, batch, results = self.build_small(), batch_of(random_rows(4)), {}
        for implementation in ("sdpa", "eager"):
            model.encoder.set_attn_implementation(implementation)
            results[implementation] = model(**batch)
        for field in ("kl", "reconstruction"):
            torch.testing.assert_close(results["sdpa"][field], results["eager"][field], rtol=1e-5, atol=1e-5)


class TestSampledDeletion(SummaryContract):
    """BERT compresses, GPT-2 writes behind what is left, and an LSTM judges it."""

    parts: ClassVar[dict] = {"encoder": "bert", "decoder": "gpt2", "prior": "hf_lvm_lstm_decoder"}
    settings: ClassVar[dict] = {"estimator": "rloo"}
    perturbation = 0.02

    def silence(self, model):
        with torch.no_grad():
            model.posterior_head.scores.keep.weight.mul_(1e6)
        # So certain a q has gradients of any size.
        for _, parameter in model.inference_parameters():
            parameter.requires_grad_(False)
        return model

    def is_repeated(self, values, source):
        return (values & ~source.inside).any(-1)

    def every_value(self, model, batch):
        width = batch["labels"].shape[1] - 1
        return torch.tensor(list(itertools.product([False, True], repeat=width))).unsqueeze(1).expand(-1, 3, -1)

    @torch.no_grad()
    def test_eager_equals_sdpa(self):
        model, batch, results = self.build_small(), batch_of(random_rows(4)), {}
        for implementation in ("sdpa", "eager"):
            for part in (model.encoder, model.decoder):
                part.set_attn_implementation(implementation)
            results[implementation] = model(**batch, generator=row_generators(4))
        for field in ("kl", "reconstruction"):
            torch.testing.assert_close(results["sdpa"][field], results["eager"][field], rtol=1e-5, atol=1e-5)


class TestPointer(SummaryContract):
    """An LSTM reads, points and writes, and bigrams judge: auto-encoding sentence compression."""

    parts: ClassVar[dict] = {"decoder": "hf_lvm_lstm_decoder"}
    settings: ClassVar[dict] = {"estimator": "rloo", "posterior_type": "pointer"}
    left_out: ClassVar[dict[str, str]] = SummaryContract.left_out | NO_LAYERS

    def narrow(self, model, factor: float):
        with torch.no_grad():
            model.posterior_head.network.query.weight.mul_(factor)
        return model

    def silence(self, model):
        with torch.no_grad():
            model.posterior_head.network.query.weight.mul_(1e6)
        # So certain a q has gradients of any size.
        for _, parameter in model.inference_parameters():
            parameter.requires_grad_(False)
        return model

    def every_value(self, model, batch):
        source = model.source_of(batch["labels"], None)
        end, symbols = source.num_words, range(source.num_words)
        sequences = [each for length in range(end + 1) for each in itertools.product(symbols, repeat=length)]
        values = torch.tensor([[*each, *[end] * (end + 1 - len(each))] for each in sequences])
        return values.unsqueeze(1).expand(-1, len(source.words), -1)

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model, words = self.build_small(), [5, 6, 7, 8, 9]
        values = torch.tensor([[place, 5] for place in range(5)])
        output = model(labels=batch_of([[*words, END]] * 5)["labels"], latents=values)
        assert len(output.reconstruction.double().unique()) == 5


class TestMixture(TestPointer):
    """The same with words of the vocabulary, and a decoder that attends to the states of what is left."""

    settings: ClassVar[dict] = {"estimator": "rloo", "posterior_type": "pointer_vocab", "injection": "cross_attention"}
    left_out: ClassVar[dict[str, str]] = TestPointer.left_out | {
        "test_the_estimate_converges_to_the_likelihood": "compressions are of any words: too many to list",
        "test_a_stock_trainer_trains_it": "a softmax over words is not made certain by a factor",
        "test_a_stock_trainer_evaluates_it": "likewise",
    }

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model, words = self.build_small(), [5, 6, 7, 8, 9]
        values = torch.tensor([[word, END] for word in words])
        output = model(labels=batch_of([[*words, END]] * 5)["labels"], latents=values)
        assert len(output.reconstruction.double().unique()) == 5
