"""Referential games trained by their recipe: what is written, what is measured, and what is refused."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_lvm.analysis.game_report import report_games
from hf_lvm.cli.main import main as command
from hf_lvm.data import GameCollator, draw_games
from hf_lvm.training.config_file import parse
from hf_lvm.training.referential_game import ARGUMENTS, language_of, main, prepare
from hf_lvm.training.referential_game_prior import messages_of_run

SMALL = [
    "--attribute_sizes", "3", "4", "5", "--num_distractors", "5", "--num_symbols", "6", "--max_message_length", "3",
    "--sender_hidden_size", "16", "--receiver_hidden_size", "16", "--object_size", "16", "--object_embedding_size", "8",
    "--per_device_train_batch_size", "12", "--per_device_eval_batch_size", "16", "--learning_rate", "1e-2",
    "--logging_steps", "2", "--use_cpu", "--disable_tqdm", "true", "--report_to", "none",
]  # fmt: skip


def arguments(folder, *more: str) -> list[str]:
    return [*SMALL, "--output_dir", str(folder), *more]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("game")
    flags = ["--max_steps", "12", "--eval_strategy", "steps", "--eval_steps", "6", "--save_strategy", "steps",
             "--save_steps", "6", "--test_fraction", "0.2", "--validation_fraction", "0.2"]  # fmt: skip
    return main(arguments(folder, *flags), prog="train_referential_game.py"), folder


def test_what_is_written(run):
    results, folder = run
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results, default=str))
    assert results["steps"] == 12 and results["command"].startswith("train_referential_game.py --attribute_sizes")
    assert results["corpus"].endswith("36 train, 12 validation, 12 test")
    assert [each["step"] for each in results["evaluations"]] == [6, 12]
    for each in results["evaluations"]:
        assert 0 <= each["accuracy"] <= 1 and each["bound"] == pytest.approx(-(each["reconstruction"] + each["kl"]))
    assert {"messages.txt", "lexicon.txt", "lexicon.json", "model.safetensors", "config.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert {"training_curves.png", "message_lengths.png"} <= {path.name for path in (folder / "figures").iterdir()}
    lines = (folder / "messages.txt").read_text().splitlines()[2:]
    assert len(lines) == 12 and all("  ->  " in line for line in lines)
    assert any("attribute" in line for line in results["lexicon"]["position"])


def test_what_is_measured_is_what_the_saved_model_does(run):
    results, folder = run
    model = AutoModel.from_pretrained(folder).eval()
    arguments_of_run = parse(ARGUMENTS, arguments(folder, "--test_fraction", "0.2", "--validation_fraction", "0.2"), "")
    _, told = prepare(*arguments_of_run)
    objects, games = told["objects"], told["encoded"]["test"]
    batch = GameCollator(objects.objects)(list(games))
    played = model.play(**batch)
    test = results["test"]
    assert test["accuracy"] == pytest.approx(played.is_right.float().mean().item())
    assert test["games"] == 12 and test["candidates"] == 6 and test["chance"] == pytest.approx(1 / 6)
    assert test["bound"]["nats_per_game"] == pytest.approx(test["bound"]["reconstruction"] + test["bound"]["kl"])
    # 6 + 36 + 216 messages and the empty one are few enough to be summed over.
    exact = model.estimate_log_likelihood(**batch, method="exact").log_likelihood
    assert test["likelihood"] == {"nats_per_game": pytest.approx(-exact.mean().item()), "exact": True}
    lengths = [len(symbols) for symbols in model.symbols_of(played.messages)]
    assert test["mean_length"] == pytest.approx(np.mean(lengths))
    # The language is measured on all objects there are, each once, in games among all of them.
    language = results["language"]
    assert language["messages"] == language["distinct_meanings"] == 60
    everyone = model.play(**GameCollator(objects.objects)(list(draw_games(objects.objects, 5))))
    assert language["accuracy"] == pytest.approx(everyone.is_right.float().mean().item())


def test_held_out_games_have_distractors_of_their_own_split(run):
    _, folder = run
    _, told = prepare(*parse(ARGUMENTS, arguments(folder, "--test_fraction", "0.2", "--validation_fraction", "0.2"), ""))
    rows = told["objects"].rows
    for split in ("validation", "test"):
        numbers = {number for game in told["encoded"][split] for number in game["candidates"]}
        assert numbers <= set(rows[split])
    assert set(told["encoded"]["train"]["objects"]) == set(rows["train"])


def test_resuming_is_the_same_run(run, tmp_path):
    results, folder = run
    flags = ["--max_steps", "12", "--eval_strategy", "steps", "--eval_steps", "6", "--save_strategy", "steps",
             "--save_steps", "6", "--test_fraction", "0.2", "--validation_fraction", "0.2"]  # fmt: skip
    again = main(arguments(tmp_path, *flags, "--resume_from_checkpoint", str(folder / "checkpoint-6")))
    assert again["test"] == results["test"] and again["steps"] == 12


def trained(folder, *flags: str):
    """A trainer after two steps and an evaluation, without the report, most of whose time goes into figures."""
    options = ["--max_steps", "2", "--eval_steps", "2", "--eval_strategy", "steps", "--save_strategy", "no"]
    trainer, told = prepare(*parse(ARGUMENTS, arguments(folder, *options, *flags), ""))
    trainer.train()
    return trainer, told


@pytest.mark.parametrize(
    ("flags", "has_bound"),
    [
        (["--game_loss", "hinge"], False),
        (["--estimator", "rloo", "--num_samples", "3", "--token_credit", "true", "--prior_type", "length"], True),
        (["--estimator", "gumbel_softmax", "--temperature_schedule", "exponential", "--temperature_end", "0.5"], True),
        (["--sender", "gpt2", "--injection", "prefix", "--sender_num_attention_heads", "2", "--receiver", "bert",
          "--pooling", "mean", "--receiver_num_attention_heads", "2", "--prior_type", "model", "--prior", "gpt2",
          "--prior_hidden_size", "16", "--prior_num_attention_heads", "2", "--train_prior", "true"], True),
        (["--objective", "iwae", "--estimator", "vimco", "--num_samples", "2", "--prior_type", "uniform"], True),
    ],
    ids=["hinge", "token_credit", "schedule", "transformers", "vimco"],
)  # fmt: skip
def test_other_settings(flags, has_bound, tmp_path):
    trainer, told = trained(tmp_path, *flags)
    logged = trainer.state.log_history
    assert any("eval_accuracy" in entry for entry in logged)
    assert any("eval_bound" in entry for entry in logged) == has_bound
    report = report_games(trainer.model, told["encoded"]["test"], told["objects"].collator(), num_importance_samples=3)
    assert ("bound" in report) == has_bound and (has_bound or report["game_loss"] > 0)
    if "--temperature_schedule" in flags:
        temperatures = [entry["temperature"] for entry in logged if "temperature" in entry]
        assert temperatures and temperatures[0] < 1.0


def test_features_of_a_file(tmp_path):
    generator = torch.Generator().manual_seed(0)
    np.save(tmp_path / "vectors.npy", torch.randn(40, 3, generator=generator).numpy())
    flags = ["--objects", "features", "--features", str(tmp_path / "vectors.npy"), "--num_distractors", "3",
             "--test_fraction", "0.2", "--validation_fraction", "0.2"]  # fmt: skip
    trainer, told = trained(tmp_path / "run", *flags)
    assert told["corpus"] == "vectors of vectors.npy: 24 train, 8 validation, 8 test"
    assert trainer.model.config.feature_size == 3
    train = told["objects"].of_split("train")
    torch.testing.assert_close(trainer.model.sender_objects.feature_mean, train.mean(0), rtol=1e-5, atol=1e-6)


def sentences(folder) -> str:
    things = (
        ("red", "blue", "green", "big", "small", "old", "new"),
        ("cat", "dog", "bird", "tree", "car"),
        ("runs", "sits", "is"),
    )
    rows = [f"the {a} {b} {c} here" for a in things[0] for b in things[1] for c in things[2]]
    for name, own in (("train", rows[:75]), ("validation", rows[75:90]), ("test", rows[90:])):
        (folder / f"{name}.txt").write_text("\n".join(own) + "\n")
    return str(folder)


def test_texts(tmp_path):
    """An encoder of sentences, and its tokenizer, which is saved beside the model; a lexicon in words."""
    flags = ["--objects", "text", "--data_dir", sentences(tmp_path), "--tokenizer", "words", "--near_duplicates", "1",
             "--object_encoder_hidden_size", "8", "--num_distractors", "3"]  # fmt: skip
    trainer, told = trained(tmp_path / "run", *flags)
    objects, games = told["objects"], parse(ARGUMENTS, arguments(tmp_path, *flags), "")[2]
    assert "texts; " in told["corpus"] and len(told["encoded"]["test"]) == 15
    language, played = language_of(trainer.model, objects, games, 40, 16, 1)
    assert language.metrics["messages"] == len(played.messages) == 40 and language.metrics["meaning_type"] == "vectors"
    words = {word for name in objects.names for word in name.split()}
    assert {row["value"] for row in language.lexicons["symbol"]} <= words
    trainer.save_model()
    processor = AutoProcessor.from_pretrained(tmp_path / "run")
    model = AutoModel.from_pretrained(tmp_path / "run").eval()
    assert model.speak(["the red cat sits here"], processor=processor).shape == (1, 4)


def test_a_prior_that_has_read_messages(tmp_path):
    """Words of the sentences become symbols; p(m) learns them before the agents meet, and stays as it is."""
    flags = ["--objects", "text", "--data_dir", sentences(tmp_path), "--tokenizer", "words", "--near_duplicates", "1",
             "--object_encoder_hidden_size", "8", "--num_distractors", "3", "--prior_type", "model", "--prior_hidden_size",
             "16", "--prior_weight", "0.1"]  # fmt: skip
    trainer, told = trained(tmp_path / "run", *flags, "--prior_messages", "texts", "--prior_epochs", "30")
    assert told["symbols"][:2] == ["here", "the"] and len(told["symbols"]) == 6
    model = trainer.model.eval()
    # Every sentence begins with "the", symbol 1.
    first = model.message_prior().messages
    log_probs = first.step_log_probs(first.decoder.begin().logits.unsqueeze(1), 0)[0, 0]
    assert log_probs.argmax() == 1 and log_probs[1].exp() > 0.25
    assert not any(parameter.requires_grad for parameter in model.prior.parameters())
    (tmp_path / "messages.txt").write_text("0 1 2\n3 1\n\n5 5 5 5\n")
    found = messages_of_run(str(tmp_path / "messages.txt"), None, model.config)
    assert found.rows == [[0, 1, 2], [3, 1], [5, 5, 5]] and found.covered == 1.0
    with pytest.raises(FileNotFoundError, match="there is no file"):
        messages_of_run(str(tmp_path / "nowhere.txt"), None, model.config)
    with pytest.raises(ValueError, match="the objects of this run are none"):
        messages_of_run("texts", None, model.config)


def test_latents_of_a_text_vae(trained_run, tmp_path):
    flags = ["--objects", "text_latents", "--text_vae", str(trained_run.folder), "--data_dir", sentences(tmp_path),
             "--near_duplicates", "1", "--num_distractors", "3"]  # fmt: skip
    trainer, told = trained(tmp_path / "run", *flags)
    objects, games = told["objects"], parse(ARGUMENTS, arguments(tmp_path, *flags), "")[2]
    assert told["corpus"].startswith("latents of ") and "75 train, 15 validation, 15 test" in told["corpus"]
    assert objects.objects.shape == (105, 4) and objects.names[0] == "the red cat runs here"
    language, _ = language_of(trainer.model, objects, games, 1000, 16, 1)
    assert language.metrics["messages"] == 105 and "symbol" in language.lexicons
    assert any("eval_accuracy" in entry for entry in trainer.state.log_history)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--num_distractors", "12"], "per_device_train_batch_size is 12, and a game has 12 distractors"),
        (["--num_distractors", "8"], "The validation split: num_distractors is 8, and there are 6 objects"),
        (["--per_device_train_batch_size", "60"], "There are 48 training objects, fewer than a batch of 60"),
        (["--num_symbols", "1"], "num_symbols is 1: a language needs 2 symbols or more"),
        (["--max_message_length", "0"], r"\(max_message_length of a run\) is 0: a message without a symbol says nothing"),
        (["--min_message_length", "4"], r"min_length is 4 and max_length 3 \(min_message_length and max_message_length of"),
        (["--objects", "pictures"], "objects is 'pictures'"),
        (["--features", "a.npy"], "features goes with objects: features"),
        (["--objects", "text_latents"], "objects is text_latents: name what they are read from by text_vae"),
        (["--near_duplicates", "0"], "near_duplicates is 0.0"),
        (["--language_objects", "1"], "language_objects is 1; it is 2 or more"),
        (["--prior_messages", "texts", "--prior_epochs", "1"], "prior_type is none: set it to model"),
        (["--prior_messages", "texts", "--prior_type", "model"], "give both, or neither"),
        (["--free_bits", "1"], "and so no free_bits"),
        (["--word_dropout", "0.1"], "and so no word_dropout"),
        (["--kl_schedule", "linear", "--kl_warmup_steps", "5"], "has no KL term .* and so no kl_schedule"),
        (["--prior_type", "uniform", "--prior_weight", "0", "--kl_end", "0.5"], "and so no kl_end"),
        (["--prior_hidden_size", "8"], "prior_hidden_size is for a part that this game does not have"),
        (["--temperature_schedule", "linear", "--temperature_end", "0.5", "--estimator", "rloo", "--num_samples", "2"],
         "has no temperature that falls"),
        (["--model_type", "hf_lvm_urnng"], "this recipe trains hf_lvm_referential_game"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_refusals(flags, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        main(arguments(tmp_path, *flags))


def test_a_mistake_is_one_line(tmp_path, capsys):
    flags = ["--model_type", "hf_lvm_referential_game", "--num_distractor", "3", "--output_dir", str(tmp_path)]
    assert command(["train", *flags]) == 2
    assert "Did you mean --num_distractors?" in capsys.readouterr().err
