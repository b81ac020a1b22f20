"""A StructVAE trained by its recipe: on labelled questions, then with others, by a bound and by guesses."""

import json

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModel

from hf_lvm.analysis.meaning_parsing import parse_rows
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.main import main as command
from hf_lvm.data import synthetic_meanings
from hf_lvm.data.neighbour_vectors import neighbour_vectors
from hf_lvm.grammars.transition_system import tree_of
from hf_lvm.training.config_file import parse
from hf_lvm.training.struct_vae import ARGUMENTS, main, prepare

CONFIG = """
model_type: hf_lvm_struct_vae
tokenizer: words
encoder_hidden_size: 16
encoder_bidirectional: true
parser_hidden_size: 16
parser_input_feeding: true
parser_dropout: 0
parser_embedding_dropout: 0
parser_initializer_range: 0.1
reader_hidden_size: 8
decoder_hidden_size: 8
prior_hidden_size: 8
max_actions: 24
per_device_train_batch_size: 8
use_cpu: true
disable_tqdm: true
report_to: none
learning_rate: 1e-2
lr_scheduler_type: constant
logging_steps: 1
num_importance_samples: 2
max_test_samples: 6
report_beams: 2
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Questions with their meanings, and meanings alone, one of which a test row has."""
    folder = tmp_path_factory.mktemp("meanings")
    splits = synthetic_meanings.load(800, num_extra=6)
    for split in ("train", "validation", "test"):
        # Short ones, which are quickly parsed.
        rows = [row for row in splits[split] if len(row["meaning"].split()) < 20][: 48 if split == "train" else 6]
        splits[split] = Dataset.from_list(rows)
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    extra = [*splits["extra"]["meaning"], splits["test"]["meaning"][0]]
    (folder / "extra.jsonl").write_text("".join(json.dumps({"text": None, "meaning": each}) + "\n" for each in extra))
    (folder.parent / "config.yaml").write_text(CONFIG)
    return folder


def arguments(data, folder, *more: str) -> list[str]:
    config = ["--config", str(data.parent / "config.yaml")]
    return [*config, "--data_dir", str(data), "--output_dir", str(folder), *more]


@pytest.fixture(scope="module")
def supervised(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("supervised") / "run"
    more = ("--num_labelled", "24", "--unlabelled_weight", "0", "--num_train_epochs", "2", "--prior_epochs", "1",
            "--prior_meanings", "extra", "--extra", "extra.jsonl", "--metric_for_best_model", "exact_match",
            "--copy_slots", "20")  # fmt: skip
    return main(arguments(data, folder, *more)), folder


@pytest.fixture(scope="module")
def semi_supervised(data, supervised, tmp_path_factory):
    folder = tmp_path_factory.mktemp("semi") / "run"
    return main(going_on(data, supervised, folder)), folder


def going_on(data, supervised, folder, *more: str) -> list[str]:
    """From the supervised run, with a baseline log p(x)."""
    own = ("--model", str(supervised[1]), "--num_labelled", "24", "--labelled_share", "0.5", "--num_train_epochs", "2",
           "--estimator", "reinforce_learned", "--num_samples", "2", "--unlabelled_candidates", "beam",
           "--prior_weight", "0.1", "--language_model", "lstm", "--language_model_hidden_size", "8",
           "--language_model_epochs", "1", "--validation_beams", "0")  # fmt: skip
    return arguments(data, folder, *own, *more)


def test_what_is_written_is_the_model_its_parses_and_its_numbers(data, supervised):
    results, folder = supervised
    written = json.loads((folder / "results.json").read_text())
    assert written["steps"] == 6 and [entry["epoch"] for entry in written["evaluations"]] == [1, 2]
    assert all(0 <= entry["exact_match"] <= 100 for entry in written["evaluations"])
    counts = written["prior_meanings"]
    assert (counts["labelled"], counts["extra"], counts["extra_held_out"]) == (24, 6, 1)
    test = written["test"]
    assert test["parsing"]["sentences"] == 6 and test["parsing"]["well_formed"] == 1
    assert len(test["parsing"]["oracle_at_k"]["published"]) == 2
    assert test["controls"].keys() == {"nearest_neighbour", "majority_template"}
    assert test["likelihood"]["num_samples"] == 2 and 0 < test["likelihood"]["nats_per_sentence"] < 200
    bound = test["reconstruction_nats_per_sentence"] + test["kl_nats_per_sentence"]
    assert test["bound"]["nats_per_sentence"] == pytest.approx(bound)
    model = AutoModel.from_pretrained(folder)
    assert model.config.max_actions == 24 and model.grammar.copies
    assert not any(parameter.requires_grad for parameter in model.prior.parameters())
    assert (folder / "parses.txt").read_text().count("utterance") == 6
    assert (folder / "figures" / "training_curves.png").stat().st_size > 1000


def test_values_are_those_of_labelled_rows_and_what_the_prior_may_read(data, supervised):
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    held_out = {word for row in rows for word in row["meaning"].split() if word.startswith(("pier", "captain"))}
    lexicon = AutoModel.from_pretrained(supervised[1]).grammar.vocabulary.lexicons["entity"]
    known = (data / "train.jsonl").read_text() + (data / "extra.jsonl").read_text()
    assert set(lexicon.pieces) <= set(known.replace('"', " ").split())
    assert held_out


def test_a_report_on_the_validation_split_leaves_the_evaluations_alone(data, supervised, tmp_path):
    more = ("--report_split", "validation", "--max_steps", "2", "--eval_strategy", "steps", "--eval_steps", "1",
            "--save_strategy", "no", "--load_best_model_at_end", "false")  # fmt: skip
    results = main(going_on(data, supervised, tmp_path / "run", *more))
    assert [entry["step"] for entry in results["evaluations"]] == [1, 2] and "test" not in results
    assert results["validation"]["parsing"]["sentences"] == 6


def test_the_others_join_by_a_bound_with_a_baseline(semi_supervised):
    results, folder = semi_supervised
    model = AutoModel.from_pretrained(folder)
    assert model.config.unlabelled_candidates == "beam" and model.language_model is not None
    assert "exact_match" not in results["evaluations"][0]
    assert results["steps"] == 12  # 24 others, 4 of 8 rows of a batch, twice
    assert results["settings"]["prior_weight"] == 0.1


def test_a_run_with_a_learned_baseline_resumes_exactly(data, supervised, semi_supervised, tmp_path):
    checkpoint = sorted(semi_supervised[1].glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[0]
    main(going_on(data, supervised, tmp_path / "again", "--resume_from_checkpoint", str(checkpoint)))
    straight, again = (load_file(folder / "model.safetensors") for folder in (semi_supervised[1], tmp_path / "again"))
    assert straight.keys() == again.keys()
    assert all(torch.equal(straight[name], again[name]) for name in straight)


def test_self_training_learns_from_what_the_parser_guesses(data, supervised, tmp_path):
    own = ("--model", str(supervised[1]), "--num_labelled", "24", "--labelled_share", "0.5", "--num_train_epochs", "1",
           "--self_training", "true", "--self_training_beams", "2", "--unlabelled_weight", "0.5",
           "--num_importance_samples", "0", "--validation_beams", "0")  # fmt: skip
    results = main(arguments(data, tmp_path / "run", *own))
    assert results["steps"] == 6 and results["settings"]["self_training"]
    # Nothing was drawn, and so the parts that a bound would have moved are those that labels move, and no others.
    before, after = (load_file(folder / "model.safetensors") for folder in (supervised[1], tmp_path / "run"))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert {"encoder", "parser", "reader", "decoder"} <= moved and "prior" not in moved


def test_exact_match_counts_what_the_parser_finds(data, supervised, tmp_path):
    argv = arguments(data, tmp_path / "run", "--model", str(supervised[1]), "--unlabelled_weight", "0")
    trainer, told = prepare(*parse(ARGUMENTS, argv, ""))
    rows, language = told["encoded"]["validation"], told["language"]
    found = parse_rows(trainer.model, rows, trainer.processing_class)
    own = [language.write(found[row][0].tree) for row in range(len(rows))]
    for row in range(len(rows)):
        best = trainer.model.parse(rows[row]["text"], processor=trainer.processing_class, num_beams=1)[0]
        assert found[row][0].tree == best.tree
        assert tree_of(trainer.model.grammar.vocabulary, found[row][0].actions) == best.tree
    # Three as they are found, one otherwise, one of which nothing is known.
    meanings = [*own[:3], "( lambda $0 e ( fast $0 ) )", None, *own[5:]]
    known = rows.remove_columns("meaning").add_column("meaning", meanings)
    assert trainer.exact_match(known) == pytest.approx(100 * (len(rows) - 2) / (len(rows) - 1))


def test_guesses_are_the_best_trees_of_rows_without_a_meaning(data, supervised, tmp_path):
    own = ("--model", str(supervised[1]), "--num_labelled", "24", "--labelled_share", "0.5", "--self_training", "true",
           "--self_training_beams", "2")  # fmt: skip
    trainer, _ = prepare(*parse(ARGUMENTS, arguments(data, tmp_path / "run", *own), ""))
    rows, model = trainer.train_dataset, trainer.model.eval()
    assert [bool(guessed) for guessed in rows["guessed_ids"]] == [not known for known in rows["meaning_ids"]]
    row = next(row for row in rows if row["guessed_ids"])
    assert row["meaning"] is None
    best = model.parse(row["text"], processor=trainer.processing_class, num_beams=2)[0]
    assert tree_of(model.grammar.vocabulary, row["guessed_ids"]) == best.tree


def test_embeddings_begin_as_neighbours_say_in_utterances_with_and_without_a_meaning(data, tmp_path):
    own = ("--word_vectors", "encoder", "decoder", "--num_labelled", "4", "--unlabelled_weight", "0")
    trainer, _ = prepare(*parse(ARGUMENTS, arguments(data, tmp_path / "run", *own), ""))
    assert len(trainer.train_dataset) == 4
    rows = [json.loads(line)["text"] for line in (data / "train.jsonl").read_text().splitlines()]
    processor = trainer.processing_class
    columns = processor.tokenize_words([row.split() for row in rows])
    for part, ids in (("encoder", columns["input_ids"]), ("decoder", columns["labels"])):
        weight = getattr(trainer.model, part).get_input_embeddings().weight.detach()
        vectors = torch.from_numpy(neighbour_vectors(ids, *weight.shape)).float()
        known = vectors.norm(dim=1) > 0
        assert set(known.nonzero().flatten().tolist()) == {token for row in ids for token in row}
        alike = torch.cosine_similarity(weight[known], vectors[known], dim=1)
        torch.testing.assert_close(alike, torch.ones_like(alike))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (("--word_vectors", "parser"), "names 'parser'; it may name encoder, decoder, language_model"),
        (("--word_vectors", "language_model"), "the language_model, which is None"),
        (("--word_vectors", "encoder", "--encoder", "some/encoder"), "the encoder, which is 'some/encoder'"),
        (("--word_vectors", "encoder", "--model", "run"), "`model` names a trained one"),
    ],
)
def test_word_vectors_of_no_new_part(data, tmp_path, own, message, capsys):
    with pytest.raises((ValueError, SystemExit)) as error:
        parse(ARGUMENTS, arguments(data, tmp_path / "run", *own), "")
    assert message in str(error.value) + capsys.readouterr().err


def test_word_vectors_of_a_file_are_switched_off_by_none(data, tmp_path):
    own = ("--word_vectors", "none", "--model", "run")
    assert parse(ARGUMENTS, arguments(data, tmp_path / "run", *own), "")[0].word_vectors == []


def test_signatures_of_python_and_a_uniform_prior(tmp_path):
    lines = [("return the sum of x and y", "def add(x, y): pass"), ("say hello", "def hello(): pass"),
             ("count words of text", "def count(text, words=None): pass"), ("what is it", "def what(self): pass")]  # fmt: skip
    for split in ("train", "validation", "test"):
        rows = [json.dumps({"text": f"{text} {split}", "meaning": meaning}) for text, meaning in lines]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "run.yaml").write_text(
        CONFIG.replace("max_actions: 24\n", "language: python\nlanguage_options: {root: stmt}\nprior_type: uniform\n")
    )
    own = ("--config", str(tmp_path / "run.yaml"), "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "run"))
    results = main([*own, "--num_labelled", "2", "--max_steps", "2", "--copy_slots", "6", "--num_samples", "2",
                    "--validation_beams", "0"])  # fmt: skip
    assert results["test"].keys() == {"parsing", "controls"}
    assert results["test"]["parsing"]["language"] == "python" and results["test"]["parsing"]["underivable"] == 0
    assert results["test"]["controls"]["nearest_neighbour"]["exact_match_published"] == 50
    # Copied names may take eight times the steps where they are spelled.
    grammar = AutoModel.from_pretrained(tmp_path / "run").grammar
    assert grammar.max_spelled == 8 * grammar.max_actions


SENTENCES = ["which red boats are in pier2", "how many ferries are there"]


def test_commands_find_meanings_with_a_trained_model(data, supervised, tmp_path, capsys):
    folder = str(supervised[1])
    model, processor = load_trained(folder, "verbalize")
    best = model.parse_n_best(SENTENCES, 2, processor=processor)
    capsys.readouterr()
    assert command(["parse", *SENTENCES, "--model", folder]) == 0
    assert capsys.readouterr().out.splitlines() == [own[0].text for own in best]
    assert command(["parse", *SENTENCES, "--model", folder, "--num_trees", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{best[0][0].log_prob:.4f}\t{best[0][0].text}" and lines[2] == ""
    assert (
        command(["parse", *SENTENCES, "--model", folder, "--num_trees", "2", "--format", "json", "--scored_by", "joint"]) == 0
    )
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["text"] for each in found] == SENTENCES and found[0]["scored_by"] == "joint"
    assert found[0]["meanings"][0]["log_prob"] >= found[0]["meanings"][1]["log_prob"]
    assert command(["sample", "--model", folder, "--num_texts", "3"]) == 0
    drawn = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(drawn) == 3 and all(model.language.parse(meaning) for _, meaning in drawn)
    evaluation = tmp_path / "evaluation.json"
    options = ["--data_dir", str(data), "--seed", "42", "--report_beams", "2", "--num_importance_samples", "2"]
    assert command(["evaluate", "--model", folder, *options, "--output", str(evaluation)]) == 0
    assert "exact match, published rule" in capsys.readouterr().out
    measured, trained = json.loads(evaluation.read_text())["test"], supervised[0]["test"]
    for name, key in (("parsing", "mean_log_prob"), ("parsing", "token_f1"), ("bound", "nats_per_sentence")):
        assert measured[name][key] == pytest.approx(trained[name][key], rel=1e-4), key
    assert command(["parse", *SENTENCES, "--model", folder, "--surprisal"]) == 2
    assert "--surprisal is for trees over words" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--self_training", "true"], "self_training begins with a parser"),
        (["--num_labelled", "0"], "num_labelled is 0; it is -1"),
        (["--num_labelled", "1000"], "num_labelled is 1000, and 48 training rows have a label"),
        (["--prior_meanings", "extra"], "there are none: name a file"),
        (["--prior_meanings", "test"], "prior_meanings is 'test'; it is one of"),
        (["--meaning_column", "mr"], "has no column 'mr'"),
        (["--language", "latin"], "There is no language 'latin'"),
        (["--language", "python"], "row 0"),
        (["--language_options", "prefix"], "language_options is no JSON"),
        (["--parser_input_feed", "true"], "has no 'input_feed'"),
        (["--parser", "bert-base"], "neither a folder nor a model type"),
        (["--max_actions", "3"], "None of the 48 meanings to train on can be written"),
        (["--estimator", "exact"], "'exact' is not for structured latents"),
        (["--language_model", "lstm"], "is the baseline of the estimator 'reinforce_learned'"),
        (["--metric_for_best_model", "exact_match", "--validation_beams", "0"], "validation_beams 0 parses nothing"),
        (["--extra", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_bad_input_is_one_line(data, tmp_path, capsys, more, said):
    argv = ["train", *arguments(data, tmp_path / "run", *more)]
    assert command(argv) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
