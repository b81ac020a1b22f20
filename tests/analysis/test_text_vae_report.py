import json
import math

import pytest
import torch

from hf_lvm.analysis.corpus import importance_weighted_likelihood
from hf_lvm.analysis.text_vae_report import report_on
from hf_lvm.metrics.reconstruction.reconstruction import compute_reconstruction
from tests.analysis.test_corpus import encoded, sensitive_vae, texts, with_dropout

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
    assert weighted["count_eos"] is True


def test_without_importance_samples_that_number_is_left_out(word_processor):
    options = OPTIONS | {"num_importance_samples": 0}
    metrics = report_on(sensitive_vae(), encoded(word_processor), word_processor, **options).metrics
    assert "importance_weighted" not in metrics and metrics["bound"]["nats_per_sentence"] > 0


def test_permuted_latents_cost_is_the_difference_of_the_means(report):
    corpus = report.corpus
    cost = (corpus.permuted_reconstruction.mean() - corpus.reconstruction.mean()).item()
    assert report.metrics["permuted_latents_cost_nats_per_sentence"] == pytest.approx(cost, abs=1e-4)
    assert abs(cost) > 0.01


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
