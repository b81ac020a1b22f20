"""A neural topic model trained by its recipe on documents of three known topics."""

import json
import math
import random

import pytest
from transformers import AutoModel, AutoProcessor

from hf_lvm.cli.main import main as command
from hf_lvm.training.neural_topic import main

SUBJECTS = {
    "sea": ["wave", "ship", "sail", "harbour", "tide", "anchor"],
    "kitchen": ["pan", "oven", "flour", "spoon", "salt", "butter"],
    "music": ["chord", "melody", "drum", "choir", "tempo", "violin"],
}
EVERYWHERE = ["thing", "good", "new", "plain", "small", "large", "simple", "common"]
WORDS = {word for words in SUBJECTS.values() for word in words} | set(EVERYWHERE)


def corpus(folder, texts=None):
    chooser = random.Random(0)
    for name, count in (("train", 240), ("validation", 60), ("test", 60)):
        rows = []
        for _ in range(count):
            subject = chooser.choice(list(SUBJECTS))
            words = chooser.choices(SUBJECTS[subject], k=6) + chooser.choices(EVERYWHERE, k=2)
            rows.append(f"The {' and '.join(words)}, 12!")
        if name == "train":
            rows += ["of the and", "3 and 4"]
        (folder / f"{name}.txt").write_text("\n".join(texts or rows) + "\n")
    return folder


def arguments(folder, *more):
    return [
        "--data_dir", str(folder), "--output_dir", str(folder / "run"), "--num_topics", "3", "--embedding_size", "8",
        "--encoder_hidden_size", "16", "--prior_concentration", "0.1", "--background_share", "0.3", "--top_words", "4",
        "--num_train_epochs", "6", "--learning_rate", "1e-2", "--per_device_train_batch_size", "24", "--logging_steps", "10",
        "--num_importance_samples", "20", "--use_cpu", "--disable_tqdm", "true", "--report_to", "none", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = corpus(tmp_path_factory.mktemp("neural_topic"))
    return main(arguments(folder), prog="train_neural_topic.py"), folder / "run"


def test_it_finds_the_topics(run):
    results, folder = run
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    found = [frozenset(row) for row in model.topics(4, processor=processor)]
    assert {subject for words in found for subject, own in SUBJECTS.items() if words <= set(own)} == set(SUBJECTS)
    assert results["test"]["topics"]["diversity"] == 1 and results["test"]["topics"]["npmi"] > 0.3
    assert results["test"]["shares"]["used"] == 3 and results["vocabulary"] == len(WORDS)
    best = {subject: model.parse(" ".join(own), processor=processor)[0][0][0] for subject, own in SUBJECTS.items()}
    assert len(set(best.values())) == 3
    assert all(found[topic] <= set(SUBJECTS[subject]) for subject, topic in best.items())


def test_the_likelihood_is_better_than_that_of_single_words_and_than_the_bound(run):
    test = run[0]["test"]
    assert test["log_likelihood"]["nats_per_document"] < test["bound"]["nats_per_document"]
    # Words drawn alone have perplexity 26; with the subject known, one of 6 words three times of four, else one of 8.
    known = math.exp(-0.75 * math.log(0.75 / 6) - 0.25 * math.log(0.25 / 8))
    assert known < test["log_likelihood"]["word_perplexity"] < known + 0.6 * (26 - known)
    assert test["bound"]["words"] == 60 * 8


def test_what_is_written(run):
    results, folder = run
    assert json.loads((folder / "results.json").read_text())["test"] == results["test"]
    described = (folder / "topics.txt").read_text().splitlines()
    assert len(described) == 2 + 3 and "NPMI on held-out documents" in described[0]
    assert set(described[2].split()[3:]) <= WORDS
    assert (folder / "figures" / "training_curves.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--num_topics", "1"], "num_topics must be at least 2, but is 1"),
        (["--posterior_type", "beta"], "Unknown posterior_type 'beta'"),
        (["--stop_words", "german"], "stop_words is 'german': choose 'english' or 'none'"),
        (["--top_words", "1"], "top_words is 1"),
        (["--word_dropout", "0.3"], "no decoder that reads words, and so no word_dropout"),
        (["--decoder_hidden_size", "8"], "no decoder, and so no decoder_ keys"),
        (["--decoder_tokenizer", "words"], "leave out decoder_tokenizer"),
        (["--min_documents", "500"], "lower min_documents=500"),
        (["--encoder_depth", "8"], "has no 'depth'"),
    ],
)
def test_refusals(tmp_path, more, said):
    with pytest.raises(ValueError, match=said):
        main(arguments(corpus(tmp_path), "--max_steps", "2", *more))


def test_documents_without_a_word_are_refused(tmp_path):
    folder = corpus(tmp_path)
    (folder / "test.txt").write_text("12 and 13\nof the\n")
    with pytest.raises(ValueError, match="test: no document has a word of the vocabulary"):
        main(arguments(folder, "--max_steps", "2"))


def test_another_encoder_and_the_command(tmp_path):
    folder = corpus(tmp_path)
    argv = ["--encoder", "lstm", "--posterior_type", "logistic_normal", "--max_steps", "3", "--word_model", "product"]
    status = command(["train", "--model_type", "hf_lvm_neural_topic", *arguments(folder, *argv)])
    assert status == 0
    model = AutoModel.from_pretrained(folder / "run")
    assert model.config.encoder.model_type == "hf_lvm_lstm_encoder" and model.config.background_share == 0
