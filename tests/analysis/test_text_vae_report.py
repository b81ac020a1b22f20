import dataclasses
import json
import math

import pytest
import torch
from datasets import Dataset
from torch import nn

from hf_lvm.analysis.corpus import importance_weighted_likelihood
from hf_lvm.analysis.report_table import report_rows
from hf_lvm.analysis.reverse_perplexity import JudgeProtocol
from hf_lvm.analysis.text_vae_report import latent_metrics, report_on
from hf_lvm.data import encode_dataset
from hf_lvm.metrics.diversity.diversity import compute_diversity
from hf_lvm.metrics.reconstruction.reconstruction import compute_reconstruction
from tests.analysis.test_corpus import encoded, sensitive_vae, texts, with_dropout
from tests.tiny_parts import tiny_vae

OPTIONS = {"num_importance_samples": 6, "num_generated": 5, "num_interpolations": 2}


@pytest.fixture(scope="module")
def report(word_processor):
    return report_on(sensitive_vae(), encoded(word_processor), word_processor, **OPTIONS, seed=4)


def test_likelihoods_are_sums_over_sentences_with_the_end_counted(report, word_processor):
    dataset = encoded(word_processor)
    nats = report.corpus.negative_bound.double()
    words = sum(len(text.split()) + 1 for text in texts())
    tokens, size = sum(map(len, dataset["labels"])), sum(len(text.encode()) for text in texts())
    bound = report.metrics["bound"]
    assert bound["count_eos"] is True
    assert (bound["sentences"], bound["words"], bound["tokens"]) == (len(dataset), words, tokens)
    assert bound["nats_per_sentence"] == pytest.approx(nats.mean().item())
    assert bound["word_perplexity"] == pytest.approx(math.exp(nats.sum() / words))
    assert bound["token_perplexity"] == pytest.approx(math.exp(nats.sum() / tokens))
    assert bound["bits_per_byte"] == pytest.approx(nats.sum().item() / math.log(2) / bound["bytes"])
    assert size <= bound["bytes"] <= size + len(dataset)
    parts = report.metrics["reconstruction_nats_per_sentence"] + report.metrics["kl_nats_per_sentence"]
    assert bound["nats_per_sentence"] == pytest.approx(parts)


def test_importance_weighted_likelihood_is_that_of_the_corpus(report, word_processor):
    dataset = encoded(word_processor)
    estimate = importance_weighted_likelihood(sensitive_vae(), dataset, word_processor, num_samples=6, seed=4)
    weighted = report.metrics["importance_weighted"]
    assert weighted["num_samples"] == 6
    assert weighted["nats_per_sentence"] == pytest.approx(-estimate["log_likelihood"].mean().item())
    assert weighted["mean_effective_sample_size"] == pytest.approx(estimate["effective_sample_size"].mean().item())
    assert weighted["low_sample_size_share"] == 1.0  # fewer than 10 samples in all
    assert weighted["low_sample_size_sentences"] == weighted["sentences"] == len(dataset)
    error = estimate["standard_error"].square().sum().sqrt().item() / len(dataset)
    assert weighted["sampling_standard_error"] == pytest.approx(error)
    assert weighted["count_eos"] is True


def test_the_convergence_row_ends_with_the_estimate(report):
    first, last = report.metrics["importance_weighted_convergence"]
    assert (first["num_samples"], first["groups"], last["num_samples"], last["groups"]) == (1, 6, 6, 1)
    for name in ("nats_per_sentence", "word_perplexity", "sampling_standard_error"):
        assert last[name] == pytest.approx(report.metrics["importance_weighted"][name])
    assert first["nats_per_sentence"] > last["nats_per_sentence"]
    # One sample is the ELBO, here with 6 draws in place of one.
    assert first["nats_per_sentence"] == pytest.approx(report.metrics["bound"]["nats_per_sentence"], abs=2)


def test_without_importance_samples_that_number_is_left_out(word_processor):
    options = OPTIONS | {"num_importance_samples": 0}
    metrics = report_on(sensitive_vae(), encoded(word_processor), word_processor, **options).metrics
    assert "importance_weighted" not in metrics and metrics["bound"]["nats_per_sentence"] > 0


def test_permuted_latents_cost_is_the_difference_of_the_means(report):
    corpus = report.corpus
    cost = (corpus.permuted_reconstruction.mean() - corpus.reconstruction.mean()).item()
    assert report.metrics["permuted_latents_cost_nats_per_sentence"] == pytest.approx(cost, abs=1e-4)
    assert abs(cost) > 0.01
    assert report.metrics["permuted_latents_cost_standard_error"] > 0


def say_nothing(model):
    """The model with every word equally probable and nothing in its latent: all that can be known of it is known."""
    for parameter in (*model.decoder.get_output_embeddings().parameters(), *model.posterior_head.parameters()):
        nn.init.zeros_(parameter)
    return model


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(word_processor):
    # Every token that is predicted costs log V, so any token too many or too few in a denominator shows: the start
    # token counted as one, padding scored, a sentence counted twice.
    model = say_nothing(tiny_vae(injection="prefix"))
    lines = ["a", "b c d e f g", "b c d e f g", "h i"]
    dataset = encode_dataset(Dataset.from_dict({"text": lines}), word_processor, keep_columns=("text",))
    metrics = report_on(model, dataset, word_processor, **OPTIONS).metrics
    size = model.config.decoder.vocab_size
    tokens = sum(len(line.split()) + 1 for line in lines)
    for name in ("bound", "importance_weighted"):
        assert metrics[name]["token_perplexity"] == pytest.approx(size, rel=1e-5)
        assert metrics[name]["word_perplexity"] == pytest.approx(size, rel=1e-5)
        assert metrics[name]["nats_per_sentence"] == pytest.approx(tokens * math.log(size) / len(lines), rel=1e-5)
        assert (metrics[name]["sentences"], metrics[name]["tokens"]) == (len(lines), tokens)
    assert metrics["latent"]["active_units"] == 0 and metrics["kl_nats_per_sentence"] == pytest.approx(0, abs=1e-6)
    assert metrics["latent"]["mutual_information"] == pytest.approx(0, abs=1e-6)
    assert metrics["permuted_latents_cost_nats_per_sentence"] == pytest.approx(0, abs=1e-5)
    assert metrics["importance_weighted"]["mean_effective_sample_size"] == pytest.approx(6)
    assert metrics["importance_weighted"]["sampling_standard_error"] == pytest.approx(0, abs=1e-5)


def test_token_accuracy_of_a_model_that_always_ends_the_sentence(word_processor):
    model = say_nothing(tiny_vae(injection="prefix"))
    with torch.no_grad():
        model.decoder.transformer.ln_f.weight.zero_()
        model.decoder.transformer.ln_f.bias.fill_(1.0)
        model.decoder.get_output_embeddings().weight[word_processor.end_token_id] = 1.0
    metrics = report_on(model, encoded(word_processor), word_processor, **OPTIONS).metrics
    assert metrics["teacher_forced_token_accuracy"] == pytest.approx(9 / metrics["bound"]["tokens"])


def test_samples_and_as_many_texts_are_measured_for_diversity(report):
    assert report.metrics["sample_diversity"] == compute_diversity(report.samples)
    assert report.metrics["text_diversity"] == compute_diversity([original for original, _ in report.reconstructions])
    assert report.metrics["sample_diversity"]["sentences"] == report.metrics["text_diversity"]["sentences"] == 5


def test_costly_instruments_on_request(report, word_processor):
    assert "inference_gap" not in report.metrics and "reverse_perplexity" not in report.metrics
    protocol = JudgeProtocol(num_texts=9, steps=1, embedding_size=8, hidden_size=8, max_new_tokens=4)
    costly = {"num_gap_sentences": 2, "judge_texts": encoded(word_processor), "judge_protocol": protocol}
    metrics = report_on(sensitive_vae(), encoded(word_processor), word_processor, **OPTIONS, **costly, seed=4).metrics
    assert metrics["inference_gap"]["sentences"] == 2
    assert metrics["reverse_perplexity"]["protocol"]["steps"] == 1
    assert {key: metrics[key] for key in report.metrics} == report.metrics
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.fixture(scope="module")
def spherical(word_processor):
    """The report of a model whose latent lives on the sphere."""
    model = sensitive_vae(posterior_type="von_mises_fisher", prior_type="uniform_sphere")
    return report_on(model, encoded(word_processor), word_processor, **OPTIONS, num_gap_sentences=2)


def test_a_posterior_that_is_no_gaussian(spherical, word_processor):
    corpus, latent = spherical.corpus, spherical.metrics["latent"]
    assert corpus.standard_deviations is None and corpus.kl_per_dimension is None and latent["kl_per_dimension"] is None
    assert spherical.metrics["kl_estimate"] == "closed form"
    assert latent["kl"] == pytest.approx(spherical.metrics["kl_nats_per_sentence"])
    bound = corpus.reconstruction.mean() + corpus.kl.mean()
    assert spherical.metrics["bound"]["nats_per_sentence"] == pytest.approx(bound.item())
    assert -0.5 < latent["mutual_information"] <= latent["mutual_information_ceiling"] == pytest.approx(math.log(9))
    assert 0 <= latent["active_units"] <= latent["latent_size"] == 4
    assert "another family" in spherical.metrics["inference_gap"]["left_out"]
    torch.testing.assert_close(corpus.modes.norm(dim=-1), torch.ones(9))
    model = sensitive_vae(posterior_type="von_mises_fisher", prior_type="uniform_sphere")
    originals, written = zip(*spherical.reconstructions, strict=True)
    assert list(written) == model.reconstruct(list(originals), processor=word_processor)
    assert json.loads(json.dumps(spherical.metrics, allow_nan=False)) == spherical.metrics


def test_a_prior_without_a_closed_form(word_processor):
    model = sensitive_vae(prior_type="gaussian_mixture")
    metrics = report_on(model, encoded(word_processor), word_processor, **OPTIONS, num_gap_sentences=2).metrics
    assert metrics["kl_estimate"] == "Monte Carlo" and metrics["latent"]["kl_per_dimension"] is None
    assert metrics["latent"]["kl"] == pytest.approx(metrics["kl_nats_per_sentence"])
    assert metrics["inference_gap"]["sentences"] == 2


def test_mutual_information_of_a_gaussian_is_the_same_by_both_ways(report):
    corpus = report.corpus
    general = latent_metrics(dataclasses.replace(corpus, standard_deviations=None))["latent"]
    by_dimension = general.pop("kl_per_dimension")
    expected = dict(report.metrics["latent"])
    assert by_dimension == pytest.approx(expected.pop("kl_per_dimension"))
    assert general == pytest.approx(expected, rel=1e-4)


def test_reconstructions_are_greedy_from_the_mean_and_spread_over_the_texts(report, word_processor):
    originals, written = zip(*report.reconstructions, strict=True)
    assert originals == tuple(texts()[index] for index in (0, 2, 4, 6, 8))
    assert list(written) == sensitive_vae().reconstruct(list(originals), processor=word_processor)
    own = compute_reconstruction(list(written), list(originals))
    assert report.metrics["greedy_reconstruction"] == own and report.metrics["num_reconstructions"] == 5
    model = sensitive_vae()
    means = report.corpus.means[[8, 0, 2, 4, 6]]
    shuffled = compute_reconstruction(model.decode_latents(means, processor=word_processor), list(originals))
    assert report.metrics["greedy_reconstruction_from_shuffled_latents"] == shuffled


def test_examples_and_json(report):
    assert len(report.samples) == 5 and len(report.interpolations) == 2
    assert all(len(path) == 6 for path in report.interpolations)
    assert report.texts == texts()
    assert json.loads(json.dumps(report.metrics, allow_nan=False)) == report.metrics


def test_the_same_whatever_the_state_of_model_and_generator(report, word_processor):
    model, dataset = with_dropout(sensitive_vae()), encoded(word_processor)
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    again = report_on(model, dataset, word_processor, **OPTIONS, seed=4, batch_size=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(module.training for module in model.modules())
    assert (again.samples, again.interpolations) == (report.samples, report.interpolations)
    assert again.reconstructions == report.reconstructions
    for name in ("bound", "importance_weighted"):
        assert again.metrics[name] == pytest.approx(report.metrics[name], rel=1e-4)


def test_one_text_is_not_enough(word_processor):
    with pytest.raises(ValueError, match="at least 2 texts, and this data set has 1"):
        report_on(sensitive_vae(), encoded(word_processor, count=1), word_processor)


def test_nothing_is_written_where_no_text_is_asked_for(report, word_processor):
    options = OPTIONS | {"num_generated": 0}
    measured = report_on(sensitive_vae(), encoded(word_processor), word_processor, **options, seed=4)
    assert (measured.reconstructions, measured.samples, measured.interpolations) == ([], [], [])
    of_texts = {"num_reconstructions", "greedy_reconstruction", "greedy_reconstruction_from_shuffled_latents",
                "content_word_recovery_ratio", "sample_diversity", "text_diversity", "interpolation"}  # fmt: skip
    assert measured.metrics == {name: value for name, value in report.metrics.items() if name not in of_texts}
    names = [row[0] for row in report_rows(measured.metrics)]
    assert names == [row[0] for row in report_rows(report.metrics) if row[0] in names] and "token accuracy" in names
