"""A URNNG trained by its recipe: without trees, with some, with those of another parser, and going on from another run."""

import json
import re

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_lvm.cli.main import main as command
from hf_lvm.training.urnng import main
from tests.trained_urnng import arguments

ONE_EPOCH = ("--num_train_epochs", "1")
QUICK = (*ONE_EPOCH, "--max_train_samples", "32", "--num_importance_samples", "0", "--epoch_samples", "0")


@pytest.fixture(scope="module")
def supervised(trained_urnng, tmp_path_factory):
    """Results and folder of a run that sees all brackets."""
    folder = tmp_path_factory.mktemp("supervised") / "run"
    more = ("--num_bracketed", "-1", "--num_train_epochs", "6", "--tie_encoder_decoder_embeddings", "true")
    return main(arguments(trained_urnng.data, folder, *more, "--epoch_samples", "0")), folder


def losses(folder) -> list[float]:
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in log if "loss" in entry]


# ---- what a run leaves behind ----------------------------------------------------------------------------------------


def test_what_is_written_is_the_model_its_trees_and_its_numbers(trained_urnng):
    results, folder = trained_urnng.results, trained_urnng.folder
    written = json.loads((folder / "results.json").read_text())
    assert written["test"]["brackets"] == results["test"]["brackets"]
    for key in ("command", "settings", "training_seconds", "hardware", "versions", "corpus", "steps", "epochs"):
        assert key in written
    assert written["steps"] == 16 and re.fullmatch(r"data: \d+ train, \d+ validation, \d+ test", written["corpus"])
    assert written["settings"]["num_samples"] == 4 and written["settings"]["tree_column"] == "tree"
    assert [entry["epoch"] for entry in written["evaluations"]] == [1, 2, 3, 4]
    assert {"bound", "kl", "published_perplexity", "corpus_f1", "sentence_f1"} <= written["evaluations"][-1].keys()
    assert {"bound", "likelihood", "brackets", "exact"} <= written["test"].keys()
    assert written["evaluations"][-1]["bound"] > written["evaluations"][0]["bound"]
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    assert type(model).__name__ == "URNNGModel"
    (tree,) = model.parse("the girl saw Anna", processor=processor)
    assert tree.leaves() == ["the", "girl", "saw", "Anna"]
    drawn = (folder / "trees.txt").read_text()
    assert "The most probable tree of each sentence under q(z|x), and the gold one" in drawn and "  gold  (S" in drawn
    assert (folder / "figures" / "tree_0.svg").read_text().startswith("<svg")
    assert (folder / "figures" / "training_curves.png").stat().st_size > 5_000


def test_it_resumes_to_the_same_weights(trained_urnng, tmp_path):
    more = (*QUICK, "--num_train_epochs", "2", "--encoder_epochs", "1")
    main(arguments(trained_urnng.data, tmp_path / "straight", *more))
    checkpoint = sorted((tmp_path / "straight").glob("checkpoint-*"))[0]
    main(arguments(trained_urnng.data, tmp_path / "again", *more, "--resume_from_checkpoint", str(checkpoint)))
    one, other = (AutoModel.from_pretrained(tmp_path / name).state_dict() for name in ("straight", "again"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    # q(z|x) learned in the first epoch and stayed as it was in the second.
    first = AutoModel.from_pretrained(checkpoint).state_dict()
    moved = {name for name in one if not torch.equal(one[name], first[name])}
    assert moved and all(name.startswith("decoder.") for name in moved)


# ---- with trees ------------------------------------------------------------------------------------------------------


def test_a_run_that_sees_brackets_learns_them(supervised, trained_urnng):
    results, folder = supervised
    scores = results["test"]["brackets"]["prpn"]
    best = max(value["sentence_f1"] for name, value in scores["baselines"].items() if name != "best_binary")
    assert scores["sentence_f1"] > best
    assert scores["sentence_f1"] > trained_urnng.results["test"]["brackets"]["prpn"]["sentence_f1"]
    assert losses(folder)[-1] < losses(folder)[0]


def test_supervised_then_unsupervised(supervised, trained_urnng, tmp_path):
    told, folder = supervised
    more = ("--model", str(folder), "--estimator", "reinforce_moving_average", "--num_samples", "2", "--freeze", "encoder")
    results = main(arguments(trained_urnng.data, tmp_path / "run", *ONE_EPOCH, *more))
    model, before = AutoModel.from_pretrained(tmp_path / "run"), AutoModel.from_pretrained(folder)
    assert (model.config.estimator, model.config.num_samples) == ("reinforce_moving_average", 2)
    assert results["settings"]["encoder"] == "hf_lvm_lstm_encoder" and results["settings"]["num_bracketed"] == 0
    assert results["test"]["bound"]["nats_per_sentence"] < trained_urnng.results["test"]["bound"]["nats_per_sentence"] + 5
    weights, earlier = model.state_dict(), before.state_dict()
    moved = {name for name in weights if name in earlier and not torch.equal(weights[name], earlier[name])}
    # The encoder stays as it is; the scorer behind it learns.
    assert {name.split(".")[0] for name in moved} == {"decoder", "posterior_head"}
    # A new decoder beside the same q(z|x) is another thing, and needs embeddings of its own.
    with pytest.raises(ValueError, match="shares its token embeddings with the encoder"):
        main(arguments(trained_urnng.data, tmp_path / "new", *QUICK, "--model", str(folder), "--reset_decoder", "true"))


def test_a_trained_posterior_goes_on_beside_another_decoder(supervised, trained_urnng, tmp_path):
    told, folder = supervised
    more = ("--posterior", str(folder), "--decoder_hidden_size", "16", "--tie_encoder_decoder_embeddings", "true")
    kept = main(arguments(trained_urnng.data, tmp_path / "run", *QUICK, *more, "--learning_rate", "0"))
    assert kept["test"]["brackets"] == told["test"]["brackets"], "it parses as it did"


def test_trees_of_another_parser_for_some_sentences(trained_urnng, tmp_path):
    rows = [json.loads(line) for line in (trained_urnng.data / "train.jsonl").read_text().splitlines()]
    (tmp_path / "trees.txt").write_text("\n".join(row["tree"] for row in rows[:10]) + "\n")
    more = ("--bracketings", str(tmp_path / "trees.txt"), "--num_bracketed", "-1")
    only = main(arguments(trained_urnng.data, tmp_path / "only", *QUICK, *more, "--unlabelled_weight", "0"))
    assert only["steps"] == 1, "ten sentences are a batch, and the others are left out"


def test_partial_brackets_and_a_causal_language_model(trained_urnng, tmp_path):
    more = (
        "--decoder", "gpt2", "--decoder_hidden_size", "16", "--decoder_num_hidden_layers", "1",
        "--decoder_num_attention_heads", "2", "--decoder_dropout", "0.1", "--encoder", "bert", "--encoder_hidden_size", "16",
        "--encoder_num_hidden_layers", "1", "--encoder_num_attention_heads", "2", "--num_bracketed", "8",
        "--binarize_brackets", "false", "--tokenizer", "bpe", "--vocab_size", "290",
    )  # fmt: skip
    argv = arguments(trained_urnng.data, tmp_path / "run", *QUICK, *more)
    for part in ("encoder", "decoder"):
        for key in ("embedding_size", "bidirectional", "dropout"):
            while f"--{part}_{key}" in argv:
                at = argv.index(f"--{part}_{key}")
                del argv[at : at + 2]
    config = tmp_path / "run.yaml"
    config.write_text("model_type: hf_lvm_urnng\n")
    results = main([*argv, "--config", str(config)])
    model = AutoModel.from_pretrained(tmp_path / "run")
    assert model.config.decoder.model_type == "hf_lvm_transformer_grammar_decoder" and model.config.decoder.subwords
    bound = results["test"]["bound"]
    assert bound["tokens"] > bound["words"] and bound["token_perplexity"] < bound["word_perplexity"]


def test_texts_of_ones_own_need_no_trees(tmp_path, trained_urnng):
    """The packaged settings name sentences with trees; flags that name others are not held to these."""
    argv = arguments(trained_urnng.data, tmp_path / "run", *QUICK)
    at = argv.index("--tree_column")
    del argv[at : at + 2]
    results = main(argv)
    assert "brackets" not in results["test"] and "gold" not in (tmp_path / "run" / "trees.txt").read_text()


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tree_column", "parse"], "has no column 'parse'"),
        (["--num_bracketed", "-2"], "num_bracketed is -2"),
        (["--num_bracketed", "5000"], "num_bracketed is 5000, and"),
        (["--bracketings", "trees.txt"], "num_bracketed is 0: set it to -1"),
        (["--bracketings", "nowhere.txt", "--num_bracketed", "-1"], "no file or folder 'nowhere.txt'"),
        (["--estimator", "exact"], "'exact' is not for structured latents"),
        (["--decoder", "t5"], "t5"),
        (["--span_scorer", "bilinear"], "Unknown span_scorer 'bilinear'"),
        (["--protocols", "evalb"], "protocols names evalb"),
        (["--reset_decoder", "true"], "name it by `model`"),
        (["--posterior", "nowhere", "--model", "nowhere"], "give one of the two"),
        (["--posterior", "nowhere"], "there is no folder 'nowhere'"),
        (["--freeze", "posterior"], "the parts are encoder and decoder"),
        (["--aggressive", "true"], "no aggressive"),
        (["--word_dropout", "0.3"], "no word_dropout"),
        (["--free_bits", "0.5", "--free_bits_mode", "kingma"], "set free_bits to 0"),
        (["--proposal_temperature", "0"], "it is above 0"),
        (["--tree_colum", "tree"], "Did you mean --tree_column?"),
    ],
)
def test_bad_input_is_one_line(trained_urnng, tmp_path, capsys, more, said):
    argv = ["train", "--model_type", "hf_lvm_urnng", *arguments(trained_urnng.data, tmp_path / "run", *QUICK, *more)]
    assert command(argv) == 2
    written = capsys.readouterr().err.splitlines()[-1]
    assert said in written


def test_another_kind_of_model_is_no_start(trained_urnng, trained_run, tmp_path):
    with pytest.raises(ValueError, match="'hf_lvm_text_vae' model, which cannot find trees.* such as a URNNG"):
        main(arguments(trained_urnng.data, tmp_path / "run", *QUICK, "--model", str(trained_run.folder)))
    with pytest.raises(ValueError, match="a hf_lvm_text_vae model, and this recipe trains hf_lvm_urnng"):
        main(arguments(trained_urnng.data, tmp_path / "run", *QUICK, "--posterior", str(trained_run.folder)))
