"""The demos, cut down to a few steps: what they print, and that every number has its place in results.json."""

import json

import pytest

from hf_lvm.cli.main import main

SHORT = ["--max_steps", "3", "--max_train_samples", "200", "--max_test_samples", "20", "--use_cpu", "true",
         "--disable_tqdm", "true", "--decoder_hidden_size", "16", "--encoder_hidden_size", "16",
         "--num_generated", "6"]  # fmt: skip


def test_latent_class_shows_its_classes_beside_a_model_of_one(tmp_path, capsys):
    assert main(["demo", "latent-class", "--output_dir", str(tmp_path), "--num_classes", "3", *SHORT]) == 0
    said = capsys.readouterr().out
    for number in range(3):
        assert f"class {number}" in said
    assert said.count("~ ") >= 6
    results = json.loads((tmp_path / "results.json").read_text())
    comparison, likelihood = results["comparison"], results["test"]["likelihood"]
    assert comparison["exact_nats_per_sentence"] == likelihood["nats_per_sentence"] and likelihood["exact"]
    for value in (likelihood["nats_per_sentence"], comparison["language_model_nats_per_sentence"]):
        assert f"{value:.2f}" in said.replace("\n", " ")
    assert f"I(x; z) = {results['test']['usage']['mutual_information'][0]:.2f}" in said
    assert results["command"].startswith("hf-lvm demo latent-class")
    assert "hf-lvm check-estimators --model" in said and (tmp_path / "classes.txt").exists()


def test_text_vae_shows_what_it_writes_beside_a_language_model(tmp_path, capsys):
    flags = [
        *SHORT,
        "--num_importance_samples",
        "2",
        "--encoder_num_attention_heads",
        "2",
        "--decoder_num_attention_heads",
        "2",
    ]
    assert main(["demo", "text-vae", "--compare", "--output_dir", str(tmp_path), *flags]) == 0
    said = capsys.readouterr().out
    comparison = json.loads((tmp_path / "results.json").read_text())["comparison"]
    assert f"{comparison['importance_weighted_nats_per_sentence']:.1f} (importance-weighted)" in said.replace("\n", " ")
    for part in ("Reconstructions", "Samples", "Interpolation", "What next"):
        assert part in said


def test_urnng_shows_its_trees_beside_those_that_need_no_parser(tmp_path, capsys):
    assert main(["demo", "urnng", "--output_dir", str(tmp_path), "--num_samples", "2", *SHORT[:-2]]) == 0
    said = capsys.readouterr().out
    test = json.loads((tmp_path / "results.json").read_text())["test"]
    scores = test["brackets"]["prpn"]
    for line in (
        f"found {scores['sentence_f1']:.1f}",
        f"left-branching {scores['baselines']['left_branching']['sentence_f1']:.1f}",
    ):
        assert line in " ".join(said.split())
    # Three trees are found, each that of the grammar or beside it.
    assert said.count("in the grammar that made the sentence") == 3
    assert f"{test['bound']['nats_per_sentence']:.2f} nats/sentence" in said
    assert "hf-lvm parse" in said and (tmp_path / "trees.txt").exists()


def test_latent_summarizer_shows_compressions_beside_first_words(tmp_path, capsys):
    assert main(["demo", "latent-summarizer", "--output_dir", str(tmp_path), *SHORT[:-2]]) == 0
    said = " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "results.json").read_text())
    scores = results["test"]["compression"]["8 words"]
    for line in (
        f"first words {scores['controls']['first_k']['rouge1']:.1f}",
        f"found {scores['rouge1']:.1f} {scores['gain_over_first_k']['rouge1']:+.1f} over as many first words",
        f"explains {scores['explained_nats_per_word']:.2f} nats",
    ):
        assert line in said
    # Each of five docstrings, what was found of it and what its summary line is.
    assert said.count("summary line ") >= 5 and said.count("found ") >= 5
    assert results["corpus"].startswith("documentation corpus of Python") and "without a summary" in results["corpus"]
    assert "hf-lvm summarize" in said and (tmp_path / "summaries.txt").exists()


def test_struct_vae_shows_signatures_beside_those_that_need_no_parser(tmp_path, capsys):
    flags = [*SHORT[:-2], "--parser_hidden_size", "16", "--reader_hidden_size", "16", "--prior_hidden_size", "16",
             "--num_labelled", "60", "--prior_epochs", "1", "--report_beams", "2",
             "--num_importance_samples", "2"]  # fmt: skip
    assert main(["demo", "struct-vae", "--output_dir", str(tmp_path), *flags]) == 0
    said = " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "results.json").read_text())
    test, first = results["test"], results["first_run"]["test"]
    for label, scores in (
        ("the usual signature", test["controls"]["majority_template"]),
        ("that of the nearest labelled line", test["controls"]["nearest_neighbour"]),
        ("found, by labels alone", first["parsing"]),
        ("found, by all lines", test["parsing"]),
    ):
        line = f"{label} {scores['token_f1']:.3f} {scores['exact_match_published']:.1f} {scores['well_formed']:.1%}"
        assert line in said
    # Only ever trees of the grammar, by models that have hardly learned anything.
    assert test["parsing"]["well_formed"] == first["parsing"]["well_formed"] == 1.0
    assert f"{test['bound']['nats_per_sentence']:.2f} nats, by labels alone {first['bound']['nats_per_sentence']:.2f}" in said
    # Six lines, each with what was found for it; what has learned hardly anything finds other statements than def.
    assert said.count(" known def ") == 6 and said.count(" found ") >= 6
    # The first run saw labels alone, the second one all lines.
    assert results["first_run"]["settings"]["unlabelled_weight"] == 0 and results["settings"]["unlabelled_weight"] > 0
    assert results["corpus"].startswith("documentation corpus of Python") and results["command"] == (
        "hf-lvm demo struct-vae " + " ".join(flags)
    )
    assert "hf-lvm parse" in said and (tmp_path / "parses.txt").exists()


def test_referential_game_shows_what_is_said_of_unseen_objects(tmp_path, capsys):
    flags = ["--max_steps", "3", "--use_cpu", "true", "--disable_tqdm", "true", "--attribute_sizes", "3", "4", "5",
             "--num_distractors", "3", "--per_device_train_batch_size", "8", "--sender_hidden_size", "16",
             "--receiver_hidden_size", "16"]  # fmt: skip
    assert main(["demo", "referential-game", "--output_dir", str(tmp_path), *flags]) == 0
    said = " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "results.json").read_text())
    test, language = results["test"], results["language"]
    for line in (
        f"{test['games']} games about unseen objects {test['accuracy']:.1%} are won; a guess wins {test['chance']:.1%}",
        f"topographic similarity {language['topographic_similarity']:.3f}",
        " ".join(results["lexicon"]["symbol"][1].split()),
    ):
        assert line in said
    # As many unseen objects as there are, each with its message.
    lines = [line.split("  ->  ") for line in (tmp_path / "messages.txt").read_text().splitlines()[2:]]
    assert len(lines) == test["games"] == 6
    for name, message in lines:
        assert f"{name} {message.split('   ')[0]}" in said
    assert results["command"].startswith("hf-lvm demo referential-game") and "hf-lvm train" in said


@pytest.mark.parametrize("name", ["latent-classes", "rnng"])
def test_an_unknown_demo_is_one_line(name, capsys):
    assert main(["demo", name]) == 2
    assert (
        "there are: text-vae, latent-class, urnng, latent-summarizer, struct-vae, referential-game" in capsys.readouterr().err
    )
