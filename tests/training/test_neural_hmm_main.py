"""A neural HMM trained by its recipe on a language with known tags."""

import json
import math
import random
from collections import Counter

import pytest
from transformers import AutoModel, AutoProcessor

from hf_lvm.cli.main import main as command
from hf_lvm.training.neural_hmm import main

CLASSES = {"D": ["the", "a", "every"], "N": ["cat", "dog", "bird", "fish"], "V": ["sees", "hears", "likes"], "R": ["often"]}
PATTERNS = ["D N V D N", "D N R V D N", "D N V"]


def corpus(folder, drop_a_tag: bool = False):
    chooser = random.Random(0)
    for name, count in (("train", 240), ("validation", 40), ("test", 40)):
        rows = []
        for _ in range(count):
            tags = chooser.choice(PATTERNS)
            text = " ".join(chooser.choice(CLASSES[tag]) for tag in tags.split())
            rows.append(json.dumps({"text": text, "tags": tags[:-2] if drop_a_tag else tags}))
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def arguments(folder, *more):
    return [
        "--data_dir", str(folder), "--output_dir", str(folder / "run"), "--num_states", "5", "--hidden_size", "16",
        "--num_train_epochs", "10", "--learning_rate", "3e-2", "--per_device_train_batch_size", "16", "--logging_steps", "10",
        "--use_cpu", "--disable_tqdm", "true", "--report_to", "none", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = corpus(tmp_path_factory.mktemp("neural_hmm"))
    return main(arguments(folder, "--tag_column", "tags"), prog="train_neural_hmm.py"), folder / "run"


def test_it_finds_the_tags_of_a_simple_language(run):
    results, _ = run
    for split in ("train", "test"):
        assert results[split]["tags"]["many_to_one"] > 0.9 > results[split]["tags"]["majority_share"]
        assert results[split]["tags"]["v_measure"] > 0.75
    assert 4 <= results["test"]["states"]["used"] <= 5


def test_the_likelihood_lies_between_the_entropy_of_the_language_and_that_of_its_single_words(run):
    results, folder = run
    sentences = [json.loads(line)["text"].split() for line in (folder.parent / "test.jsonl").read_text().splitlines()]
    # A pattern of three, and as many nats as the words of each class are free.
    free = {word: math.log(len(words)) for words in CLASSES.values() for word in words}
    entropy = math.log(len(PATTERNS)) + sum(free[word] for words in sentences for word in words) / len(sentences)
    counts = Counter(word for words in sentences for word in [*words, "end"])
    unigram = -sum(count * math.log(count / counts.total()) for count in counts.values()) / len(sentences)
    assert entropy - 0.3 < results["test"]["likelihood"]["nats_per_sentence"] < entropy + 0.5 * (unigram - entropy)


def test_what_is_written_is_the_model_its_states_and_its_curves(run):
    results, folder = run
    assert json.loads((folder / "results.json").read_text())["test"] == results["test"]
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    (tagged,) = model.parse("the cat sees a dog", processor=processor)
    assert [word for word, _ in tagged] == ["the", "cat", "sees", "a", "dog"]
    states = [state for _, state in tagged]
    assert states[1] not in (states[0], states[2]) and states[2] != states[0]
    assert all(set(text.split()) <= {word for words in CLASSES.values() for word in words} | {"<unk>", ""}
               for text in model.sample(5, processor=processor))  # fmt: skip
    described = (folder / "states.txt").read_text()
    assert "Sentences drawn from the model" in described and "often" in described
    assert (folder / "figures" / "training_curves.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tag_column", "pos"], "There is no column 'pos'; the columns are text, tags"),
        (["--decoding", "greedy"], "decoding is 'greedy': choose 'viterbi' or 'posterior'"),
        (["--num_states", "0"], "num_states must be at least 1, but is 0"),
        (["--free_bits", "0.5", "--free_bits_mode", "kingma"], "no KL term to hold up, and so no free_bits: leave it out"),
        (["--collapse_guard", "warn", "--kl_target", "3"], "and so no kl_target, collapse_guard"),
        (["--word_dropout", "0.3"], "neither an encoder nor a decoder that reads words, and so no word_dropout"),
        (["--aggressive", "true"], "and so no aggressive"),
    ],
)
def test_refusals(tmp_path, more, said):
    with pytest.raises(ValueError, match=said):
        main(arguments(corpus(tmp_path), "--max_steps", "2", *more))


def test_tags_that_do_not_fit_the_tokens_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Sentence 0 has \d tokens and \d gold tags"):
        main(arguments(corpus(tmp_path, drop_a_tag=True), "--max_steps", "2", "--tag_column", "tags"))


def test_commands_do_what_the_model_can_and_refuse_the_rest_in_one_line(run, capsys):
    _, folder = run
    capsys.readouterr()
    assert command(["sample", "--model", str(folder), "--num_texts", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for argv, said in (
        (["sample", "--temperature", "0.5"], "without temperature: leave it out"),
        (["interpolate", "the cat", "a dog"], "which cannot interpolate"),
        (["evaluate", "--dataset", str(folder.parent / "test.jsonl")], "which cannot encode texts"),
    ):
        assert command([*argv, "--model", str(folder)]) == 2
        errors = capsys.readouterr().err
        assert said in errors and len(errors.splitlines()) == 1
