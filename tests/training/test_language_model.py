"""The line that text VAEs are read against: a decoder alone, by the same trainer and in the same units."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoProcessor

from hf_lvm.training.language_model import main, negative_log_likelihood

WORDS = ["the", "a", "small", "large", "cat", "dog", "bird", "sees", "hears", "likes"]


def corpus(folder):
    """Sentences in which every word is as likely as any other: log p is known."""
    generator = torch.Generator().manual_seed(0)
    for name, count in (("train", 200), ("valid", 40), ("test", 40)):
        draws = torch.randint(len(WORDS), (count, 5), generator=generator)
        (folder / f"{name}.txt").write_text("\n".join(" ".join(WORDS[word] for word in row) for row in draws.tolist()) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language_model")
    argv = [
        "--data_dir", str(corpus(folder)), "--output_dir", str(folder / "run"), "--decoder", "lstm",
        "--decoder_hidden_size", "16", "--decoder_num_hidden_layers", "1", "--decoder_dropout", "0",
        "--decoder_embedding_dropout", "0", "--tokenizer", "words", "--num_train_epochs", "6", "--learning_rate", "3e-2",
        "--per_device_train_batch_size", "8", "--use_cpu", "--disable_tqdm", "true", "--report_to", "none",
    ]  # fmt: skip
    return main(argv, prog="train_language_model.py"), folder / "run"


def test_it_learns_a_language_of_known_entropy(run):
    results, _ = run
    entropy = 5 * math.log(len(WORDS))
    likelihood = results["test"]["likelihood"]
    assert entropy - 0.5 < likelihood["nats_per_sentence"] < entropy + 1.0
    assert likelihood["count_eos"] and likelihood["words"] == 40 * 6
    assert likelihood["word_perplexity"] == pytest.approx(math.exp(likelihood["nats_per_sentence"] / 6))


def test_what_is_written_is_the_model_and_its_numbers(run):
    results, folder = run
    assert json.loads((folder / "results.json").read_text())["test"] == results["test"]
    model, processor = AutoModelForCausalLM.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    rows = [processor(line)["labels"] for line in (folder.parent / "test.txt").read_text().splitlines()]
    pad = processor.decoder_tokenizer.pad_token_id
    scores = [
        negative_log_likelihood(model.eval(), torch.as_tensor(row).view(1, -1), processor.start_token_id, pad)[0].item()
        for row in rows
    ]
    assert sum(scores) / len(scores) == pytest.approx(results["test"]["likelihood"]["nats_per_sentence"], rel=1e-5)


def test_the_evaluation_is_in_nats_per_sentence(run):
    _, folder = run
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    evaluations = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    assert len(evaluations) == 6
    assert evaluations[-1] == pytest.approx(5 * math.log(len(WORDS)), abs=1.0)


def test_options_of_an_encoder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has no encoder, but got hidden_size"):
        main(["--data_dir", str(corpus(tmp_path)), "--output_dir", str(tmp_path), "--encoder_hidden_size", "8", "--use_cpu"])


@pytest.mark.parametrize("key", [("--kl_target", "3"), ("--free_bits", "0.5"), ("--word_dropout", "0.3")])
def test_keys_about_a_latent_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=f"no latent variable, and so no {key[0][2:]}"):
        main(
            ["--data_dir", str(corpus(tmp_path)), "--output_dir", str(tmp_path), "--use_cpu", "--learning_rate", "1e-3", *key]
        )
