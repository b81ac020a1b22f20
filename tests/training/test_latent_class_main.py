"""A latent class model trained by its recipe: unsupervised, with a few known classes, and what it refuses."""

import json
import random

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_lvm.cli.main import main as command
from hf_lvm.training.latent_class import main, warn_of_heavy_labels

TOPICS = {
    "animals": ["cat", "dog", "bird", "fish"],
    "tools": ["saw", "drill", "file", "nail"],
    "food": ["bread", "rice", "egg"],
}


def corpus(folder):
    chooser = random.Random(0)
    for name, count in (("train", 240), ("validation", 40), ("test", 40)):
        rows = []
        for _ in range(count):
            topic = chooser.choice(list(TOPICS))
            words = [word for _ in range(chooser.choice([2, 3])) for word in ("the", chooser.choice(TOPICS[topic]))]
            rows.append(json.dumps({"text": " ".join(words), "topic": topic}))
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def arguments(folder, *more):
    return [
        "--data_dir", str(folder), "--output_dir", str(folder / "run"), "--encoder_hidden_size", "24",
        "--decoder_hidden_size", "24", "--num_train_epochs", "6", "--learning_rate", "2e-2", "--use_cpu",
        "--num_generated", "12", "--per_device_train_batch_size", "16", "--logging_steps", "15", "--disable_tqdm", "true",
        "--report_to", "none",
        "--injection", "logits", "embedding", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = corpus(tmp_path_factory.mktemp("latent_class"))
    known = ["--class_column", "topic", "--num_labelled", "12", "--labelled_share", "0.25"]
    return main(arguments(folder, *known), prog="train_latent_class.py"), folder / "run"


def test_a_few_known_classes_name_the_topics(run):
    results, folder = run
    (scores,) = results["test"]["classes"]
    assert scores["accuracy"] > 0.9 > scores["majority_share"] and scores["v_measure"] > 0.7
    assert results["test"]["classes_by_bayes"][0]["accuracy"] > 0.9
    assert results["test"]["likelihood"]["exact"]
    assert results["test"]["likelihood"]["nats_per_sentence"] <= results["test"]["bound"]["nats_per_sentence"] + 1e-6
    assert results["test"]["usage"]["used_classes"] == [3] and results["test"]["usage"]["mutual_information"][0] > 0.7
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    evaluations = [entry for entry in log if "eval_accuracy" in entry]
    assert len(evaluations) == 6 and evaluations[-1]["eval_accuracy"] > 0.9
    assert any("guard_used_classes" in entry and "guard_class_perplexity" in entry for entry in log)


def test_it_is_evaluated_like_any_other_model(run, tmp_path, capsys):
    results, folder = run
    data = ["--data_dir", str(folder.parent), "--seed", "42", "--num_generated", "12"]
    flags = ["evaluate", "--model", str(folder), *data, "--class_column", "topic", "--output", str(tmp_path / "numbers.json")]
    assert command(flags) == 0
    measured = json.loads((tmp_path / "numbers.json").read_text())["test"]
    assert measured["likelihood"] == pytest.approx(results["test"]["likelihood"], rel=1e-5)
    assert measured["classes"] == results["test"]["classes"]
    table = capsys.readouterr().out
    for instrument in ("-log p(x), summed over all classes", "I(x; z) of variable 0", "3 of 3 classes used", "V-measure"):
        assert instrument in table
    assert command([*flags, "--inference_gap", "3"]) == 2
    assert "--inference_gap is for a text VAE" in capsys.readouterr().err


def test_what_is_written_is_the_model_its_classes_and_its_curves(run):
    results, folder = run
    assert json.loads((folder / "results.json").read_text())["test"] == results["test"]
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    assert model.config.class_names == [sorted(TOPICS)]
    (found,) = model.classify("the saw the nail", processor=processor).tolist()
    assert model.config.name_of(0, found[0]) == "tools"
    torch.manual_seed(0)
    written = model.decode_latents(torch.tensor([[1]] * 8), processor=processor, do_sample=True)
    said = [word for text in written for word in text.split() if word != "the"]
    assert sum(word in TOPICS["food"] for word in said) > 0.7 * len(said)
    described = (folder / "classes.txt").read_text()
    assert "Class food" in described and "~ the" in described
    assert (folder / "figures" / "training_curves.png").stat().st_size > 5_000


def test_what_an_encoder_learned_from_labels_goes_on_beside_another_decoder(tmp_path, caplog):
    folder = corpus(tmp_path)
    known = ["--class_column", "topic", "--num_labelled", "12"]
    # An epoch is one step: evaluated and saved after each of them, the run would take four times as long.
    seldom = ["--logging_steps", "20", "--eval_strategy", "steps", "--save_strategy", "steps", "--save_steps", "20"]
    told = main(arguments(folder, *known, "--unlabelled_weight", "0", "--num_train_epochs", "60", *seldom))
    assert told["steps"] == 60, "twelve texts are a batch, and the others are left out"
    assert told["test"]["classes"][0]["accuracy"] > 0.8
    more = [
        "--posterior", str(folder / "run"), "--output_dir", str(tmp_path / "more"), "--injection", "logits",
        "--num_variables", "2", "--num_classes", "3", "2", "--summed_variables", "1",
        "--labelled_share", "0.25", "--unlabelled_weight", "20", "--num_train_epochs", "2",
    ]  # fmt: skip
    kept = main(arguments(folder, *known, *more, "--encoder_learning_rate", "0"))
    assert kept["test"]["classes"] == told["test"]["classes"]
    models = [AutoModel.from_pretrained(folder / "run"), AutoModel.from_pretrained(tmp_path / "more")]
    for (name, one), (_, other) in zip(*(model.inference_parameters() for model in models), strict=True):
        assert torch.equal(one, other), name
    assert [model.config.summed_variables for model in models] == [0, 1] and models[1].config.injection == "logits"
    assert len(kept["test"]["usage"]["used_classes"]) == 2, "the summed variable is reported too"
    moved = main(arguments(folder, *known, *more, "--fixed_encoder_steps", "0.5", "--encoder_learning_rate", "1e-3"))
    assert moved["test"]["classes"][0]["accuracy"] > 0.8


def test_a_posterior_of_another_form_does_not_fit(tmp_path):
    folder = corpus(tmp_path)
    small = ["--class_column", "topic", "--num_train_epochs", "1", "--max_train_samples", "32"]
    main(arguments(folder, *small))
    posterior = ["--posterior", str(folder / "run"), "--output_dir", str(tmp_path / "more")]
    with pytest.raises(ValueError, match="The posterior_head of the trained posterior does not fit"):
        main(arguments(folder, *small, *posterior, "--num_classes", "4"))


def test_a_learned_baseline_resumes_exactly(tmp_path):
    """With what it has learned, and the moving average of the scores, both of the checkpoint."""
    folder = corpus(tmp_path)
    options = ["--estimator", "reinforce_learned", "--num_train_epochs", "2", "--max_train_samples", "48"]
    straight = main(arguments(folder, *options))
    checkpoint = sorted((folder / "run").glob("checkpoint-*"))[0]
    more = ["--output_dir", str(tmp_path / "again"), "--resume_from_checkpoint", str(checkpoint)]
    again = main(arguments(folder, *options, *more))
    assert again["test"]["likelihood"] == straight["test"]["likelihood"]
    first, second = (AutoModel.from_pretrained(place).state_dict() for place in (folder / "run", tmp_path / "again"))
    moments = first["estimator.baseline.moments"]
    assert moments[0] > 0 and all(torch.equal(first[name], second[name]) for name in first)


def test_a_relaxed_estimator_with_a_falling_temperature_resumes_exactly(tmp_path):
    folder = corpus(tmp_path)
    options = [
        "--estimator", "straight_through", "--num_variables", "2", "--num_classes", "3", "2",
        "--temperature_schedule", "exponential", "--temperature_end", "0.5",
        "--num_train_epochs", "2", "--max_train_samples", "48", "--save_total_limit", "3", "--logging_steps", "1",
    ]  # fmt: skip
    straight = main(arguments(folder, *options))
    checkpoint = sorted((folder / "run").glob("checkpoint-*"))[0]
    again = main(
        arguments(folder, *options, "--output_dir", str(tmp_path / "again"), "--resume_from_checkpoint", str(checkpoint))
    )
    assert again["test"]["likelihood"] == straight["test"]["likelihood"]
    assert straight["test"]["usage"]["classes"] == [3, 2]
    described = (folder / "run" / "classes.txt").read_text()
    assert described.count("\nClass ") == 5 and "Variable 1" in described
    log = json.loads((folder / "run" / "trainer_state.json").read_text())["log_history"]
    log = [entry for entry in log if "loss" in entry]
    falling = [entry["temperature"] for entry in log]
    assert falling == sorted(falling, reverse=True) and 0.5 <= falling[-1] < falling[0] <= 1.0
    assert all("bound" in entry for entry in log) and "joint_mutual_information" in straight["test"]


def test_the_log_of_a_relaxed_model_calls_its_bound_by_another_name(tmp_path):
    folder = corpus(tmp_path)
    main(arguments(folder, "--estimator", "gumbel_softmax", "--num_train_epochs", "1", "--max_train_samples", "240"))
    log = json.loads((folder / "run" / "trainer_state.json").read_text())["log_history"]
    trained, evaluated = (next(entry for entry in log if key in entry) for key in ("loss", "eval_loss"))
    assert "relaxed_bound" in trained and "bound" not in trained and "eval_bound" in evaluated


def test_the_guard_knows_classes_that_are_used_from_ones_that_are_not(tmp_path, caplog):
    """Summed over all classes, so that no draw of z is looked at; a decoder that cannot hear z leaves them unused."""
    folder = corpus(tmp_path)
    guarded = ["--collapse_guard", "warn", "--collapse_guard_samples", "40", "--collapse_guard_patience_steps", "0.2"]
    for deaf in (False, True):
        caplog.clear()
        known = ["--class_column", "topic", "--num_labelled", "12", "--labelled_share", "0.25"]
        unheard = ["--unlabelled_weight", "1", "--num_classes", "3", "--learning_rate", "1e-3", "--num_train_epochs", "2"]
        main(arguments(folder, *guarded, *(unheard if deaf else known)))
        warned = [record.getMessage() for record in caplog.records if "posterior collapse" in record.getMessage()]
        assert len(warned) == deaf
        assert not deaf or "of 3 classes used" in warned[0]
        assert not deaf or ("kl_start: 0.3" in warned[0] and "aggressive" not in warned[0])


@pytest.mark.parametrize(("labelled", "weight", "warns"), [(2, 1.0, True), (2, 3.0, False), (3, 1.0, False), (0, 1.0, False)])
def test_few_labels_that_would_be_learned_by_heart_are_pointed_out(caplog, labelled, weight, warns):
    warn_of_heavy_labels([[0, -1]] * labelled + [[-1, -1]] * 110, weight)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == warns and (not warns or "counts as much as 55 of the 110 unlabelled ones" in said[0])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--class_column", "subject"], "There is no column 'subject'"),
        (["--class_column", "topic", "--num_labelled", "500"], "give 0 to 240"),
        (["--num_labelled", "5"], "no class_column says"),
        (["--class_column", "topic", "--num_classes", "2"], "raise num_classes"),
        (["--labelled_share", "0.5"], "or one that tells of a latent ('classes'"),
        (["--temperature_schedule", "linear", "--temperature_end", "0.5"], "has no temperature that falls"),
        (["--num_variables", "2", "--num_classes", "3", "2", "4"], "or one for each"),
        (["--temperature_end", "0.5"], "choose 'linear' or 'exponential'"),
        (["--prior_type", "conditional"], "choose 'uniform' or 'learned'"),
        (["--estimator", "exact", "--num_variables", "9"], "enumeration_budget is 1,024"),
        (["--aggressive", "true"], "no aggressive"),
        (["--posterior", "nowhere"], "there is no folder 'nowhere'"),
        (["--posterior", "nowhere", "--model", "nowhere"], "give one of the two"),
        (["--class_column", "topic", "--num_labelled", "0", "--unlabelled_weight", "0"], "there are none"),
        (["--num_variables", "2", "--summed_variables", "2"], "leave at least one for the encoder"),
        (["--objective", "marginal", "--collapse_guard", "act"], "choose the objective 'elbo'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, more, said):
    folder = corpus(tmp_path)
    argv = ["train", "--model_type", "hf_lvm_latent_class", *arguments(folder, *more)]
    assert command(argv) != 0
    written = capsys.readouterr().err
    assert said in written and "Traceback" not in written
