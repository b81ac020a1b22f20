"""The report on sentences with trees against numbers computed by hand on a model small enough to be summed over."""

import math

import pytest
import torch
from datasets import Dataset

from hf_lvm.analysis.report_table import tree_report_rows
from hf_lvm.analysis.tree_report import bracket_scores, parse_dataset, published_perplexity, report_trees
from hf_lvm.data import LatentTextProcessor, encode_trees, train_word_tokenizer
from hf_lvm.metrics.bracket_f1.bracket_f1 import compute_bracket_f1
from hf_lvm.models.urnng.likelihood import all_trees
from tests.models.urnng.tiny_grammars import tiny_urnng

TEXTS = ["the dog saw a cat", "a cat slept", "dog", "the old cat saw the dog"]
GOLD = [
    "(S (NP (DT the) (NN dog)) (VP (VB saw) (NP (DT a) (NN cat))))",
    "(S (NP (DT a) (NN cat)) (VB slept))",
    None,
    "(S (NP (DT the) (NP (JJ old) (NN cat))) (VP (VB saw) (NP (DT the) (NN dog))))",
]


@pytest.fixture(scope="module")
def setting():
    """A model, sentences of one to six words, and their processor."""
    tokenizer = train_word_tokenizer(TEXTS)
    processor = LatentTextProcessor(tokenizer, tokenizer)
    model = tiny_urnng(perturbation=0.3, vocab_size=len(tokenizer), num_samples=4)
    for config in (model.config, model.config.encoder, model.config.decoder):
        config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, processor.end_token_id
    return (
        model,
        encode_trees(Dataset.from_dict({"text": TEXTS}), processor, tree_column=None, keep_columns=("text",)),
        processor,
    )


@pytest.fixture(scope="module")
def report(setting):
    return report_trees(*setting, GOLD, num_importance_samples=300, batch_size=3, exact_words=5)


@torch.no_grad()
def by_hand(model, labels: list[int], field: str) -> float:
    """-log p of one sentence, summed over all its trees."""
    trees = all_trees(len(labels) - 1).unsqueeze(1)
    return -model.decoder(torch.tensor([labels[:-1]]), trees)[field].double().logsumexp(0).item()


def test_both_conventions_are_those_of_a_sum_by_hand(setting, report):
    model, dataset, _ = setting
    words = sum(dataset["num_words"])
    likelihood = report.metrics["likelihood"]
    error = likelihood["sampling_standard_error"] * len(TEXTS)
    for convention, field, ends in (("normalized", "log_prob", len(TEXTS)), ("published", "published_log_prob", 0)):
        found, total = likelihood[convention], sum(by_hand(model, labels, field) for labels in dataset["labels"])
        assert found["words"] == words + ends and found["count_eos"] is bool(ends)
        assert found["nats_per_sentence"] * len(TEXTS) == pytest.approx(total, abs=4 * error)
        assert found["word_perplexity"] == pytest.approx(math.exp(found["nats_per_sentence"] * len(TEXTS) / found["words"]))
        size = sum(dataset["num_bytes"])
        assert found["bits_per_byte"] >= found["nats_per_sentence"] * len(TEXTS) / math.log(2) / (size + len(TEXTS)) - 1e-9
    assert 0 < error < 0.2 and likelihood["mean_effective_sample_size"] > 50
    assert (likelihood["num_samples"], likelihood["proposal_temperature"]) == (300, 2.0)


def test_short_sentences_are_summed_over_whatever_batch_they_are_in(setting, report):
    model, dataset, _ = setting
    short = [labels for labels in dataset["labels"] if len(labels) <= 6]
    exact = report.metrics["exact"]
    assert exact["sentences"] == len(short) == 3 and exact["most_words"] == 5
    total = sum(by_hand(model, labels, "log_prob") for labels in short)
    assert exact["nats_per_sentence"] == pytest.approx(total / 3, rel=1e-5)
    assert exact["importance_weighted_nats_per_sentence"] == pytest.approx(total / 3, abs=0.1)
    assert exact["bound_nats_per_sentence"] > exact["nats_per_sentence"] - 0.3


def test_the_bound_and_its_parts(report):
    metrics = report.metrics
    parts = metrics["reconstruction_nats_per_sentence"] + metrics["kl_nats_per_sentence"]
    assert metrics["bound"]["nats_per_sentence"] == pytest.approx(parts)
    assert metrics["bound"]["count_eos"] is True and metrics["posterior_entropy_nats_per_sentence"] > 0


def test_numbers_do_not_depend_on_the_batches(setting, report):
    other = report_trees(*setting, GOLD, num_importance_samples=300, batch_size=1, exact_words=5)
    assert other.trees == report.trees and other.metrics["brackets"] == report.metrics["brackets"]
    for name in ("bound", "exact"):
        assert other.metrics[name] == pytest.approx(report.metrics[name], rel=1e-5)
    assert other.metrics["likelihood"]["published"] == pytest.approx(report.metrics["likelihood"]["published"], rel=1e-5)


def test_f1_is_that_of_the_metric_on_the_trees_of_the_model(setting, report):
    model, dataset, processor = setting
    assert report.trees == parse_dataset(model, dataset, processor) == model.parse(TEXTS, processor=processor)
    known = [row for row, tree in enumerate(GOLD) if tree is not None]
    assert set(report.metrics["brackets"]) == {"urnng-script", "urnng-evalb", "prpn", "compound-pcfg"}
    for protocol, scores in report.metrics["brackets"].items():
        expected = compute_bracket_f1([report.trees[row] for row in known], [GOLD[row] for row in known], protocol=protocol)
        assert scores == expected and scores["sentences"] + scores["skipped_sentences"] == 3


def test_protocols_without_their_tags_and_sentences_without_trees_are_left_out(setting, report):
    untagged = ["((the dog) (saw (a cat)))", None, None, None]
    scores = bracket_scores(report.trees, untagged)
    assert set(scores) == {"urnng-script"} and scores["urnng-script"]["sentences"] == 1
    assert bracket_scores(report.trees, [None] * 4) == {}
    quick = {"num_importance_samples": 0, "exact_words": 0}
    metrics = report_trees(*setting, [None] * 4, **quick).metrics
    assert not {"brackets", "likelihood", "exact"} & metrics.keys()
    assert [name for name, _, _ in tree_report_rows(metrics)] == ["-ELBO", "  words", "  trees", "entropy of q(z|x)"]


def test_the_published_perplexity_approaches_its_exact_value(setting):
    model, dataset, processor = setting
    total = sum(by_hand(model, labels, "published_log_prob") for labels in dataset["labels"])
    found = published_perplexity(model, dataset, processor, num_samples=400)
    assert found == pytest.approx(math.exp(total / sum(dataset["num_words"])), rel=0.03)


def test_every_instrument_has_a_row(report):
    rows = {name: (value, meaning) for name, value, meaning in tree_report_rows(report.metrics)}
    likelihood = report.metrics["likelihood"]
    assert rows["-log p(x), 300 trees"][0] == f"{likelihood['normalized']['nats_per_sentence']:.2f} nats/sentence"
    assert f"{likelihood['published']['word_perplexity']:.2f} per word" in rows["  published convention"][1]
    assert "3 sentences of at most 5 words" in rows["  summed over all trees"][1]
    assert rows["F1 by prpn"][0] == f"{report.metrics['brackets']['prpn']['sentence_f1']:.1f}"
