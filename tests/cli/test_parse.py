"""`hf-lvm parse`, `sample` and `evaluate` of a model of trees."""

import io
import json
import re

import pytest

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.data import read_tree
from tests.cli.test_commands import assert_one_line_error, run
from tests.models.neural_hmm import test_neural_hmm
from tests.models.neural_topic import test_neural_topic

SENTENCES = ["the girl saw Anna", "Peter slept", "dog"]


@pytest.fixture
def parse(capsys, trained_urnng):
    """Status, output and errors of the trained model on sentences."""

    def of(*options, texts=SENTENCES):
        return run(capsys, "parse", *texts, "--model", trained_urnng.folder, *options)

    return of


@pytest.fixture(scope="module")
def best(trained_urnng):
    """The trees that the model itself finds, as spans."""
    model, processor = load_trained(str(trained_urnng.folder), "parse")
    return [read_tree(tree).spans for tree in model.parse(SENTENCES, processor=processor)]


def test_trees_are_drawn_one_below_the_other(parse):
    status, output, errors = parse()
    assert status == 0 and not errors
    drawings = output.rstrip("\n").split("\n\n")
    assert [drawing.splitlines()[-1].split() for drawing in drawings] == [text.split() for text in SENTENCES]
    assert [len(drawing.splitlines()) > 1 for drawing in drawings] == [True, True, False] and "┌" in output
    assert "┌" not in parse("--ascii")[1]


def test_brackets_are_one_tree_a_line_that_can_be_trained_on(parse, best, tmp_path):
    status, output, _ = parse("--format", "brackets", "--output", tmp_path / "trees.txt")
    assert status == 0 and not output
    lines = (tmp_path / "trees.txt").read_text().splitlines()
    assert [read_tree(line).spans for line in lines] == best
    assert [" ".join(read_tree(line).words) for line in lines] == SENTENCES


def test_json_has_spans_scores_and_surprisals(parse, best):
    _, output, _ = parse("--format", "json", "--num_trees", 3, "--surprisal")
    found = [json.loads(line) for line in output.splitlines()]
    assert [each["words"] for each in found] == [text.split() for text in SENTENCES]
    assert [len(each["trees"]) for each in found] == [3, 1, 1]
    for each, spans in zip(found, best, strict=True):
        assert each["scored_by"] == "posterior" and tuple(map(tuple, each["trees"][0]["spans"])) == spans
        scores = [tree["log_prob"] for tree in each["trees"]]
        assert scores == sorted(scores, reverse=True) and scores[0] < 1e-6
        assert len(each["surprisal"]) == len(each["words"]) + 1 and min(each["surprisal"]) > 0


def test_several_trees_with_their_scores_and_a_table_of_surprisals(parse):
    status, output, _ = parse("--num_trees", 2, "--scored_by", "joint", "--surprisal", "--beam_size", 20)
    assert status == 0
    scores = [float(score) for score in re.findall(r"^\d  log p\(x, z\) = (-[\d.]+) nats$", output, re.MULTILINE)]
    assert len(scores) == 4 and scores[0] >= scores[1]
    table = dict(re.findall(r"^(\S+(?: all)?) +([\d.]+) nats$", output, re.MULTILINE))
    assert {"the", "girl", "saw", "Anna", "</s>", "in all"} <= table.keys()
    _, numbered, _ = parse("--num_trees", 2, "--format", "brackets")
    assert [line.split("\t")[0] for line in numbered.splitlines()] == ["0", "0", "1", "2"]


def test_sentences_of_a_file_or_a_pipe_and_svg(parse, tmp_path, monkeypatch):
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES) + "\n")
    expected = parse("--format", "brackets")[1]
    status, output, _ = parse(
        "--file", tmp_path / "texts.txt", "--format", "brackets", "--svg", tmp_path / "pictures", texts=()
    )
    assert status == 0 and output == expected
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {f"sentence_{number}.svg" for number in range(3)}
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(SENTENCES) + "\n"))
    assert parse("--format", "brackets", texts=())[1] == expected


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (["the dog", ""], (), "sentence 1 is empty"),
        (["the dog </s>"], (), "sentence 0: the word '</s>' is read as the token that ends a sentence"),
        (SENTENCES, ("--num_trees", 0), "--num_trees 0: give 1 or more"),
        (SENTENCES, ("--surprisal", "--format", "brackets"), "--surprisal has no place in --format brackets"),
        (SENTENCES, ("--file", "texts.txt"), "give one of the two"),
        ([], ("--file", "nowhere.txt"), "nowhere.txt"),
        (SENTENCES, ("--output", "nowhere/trees.txt"), "no folder 'nowhere'"),
        (["( the dog )"], ("--format", "brackets"), "sentence 0 holds '('"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(parse, texts, options, expected):
    assert_one_line_error(*parse(*options, texts=texts), "hf-lvm parse", expected)


def test_the_beam_and_the_number_of_parses_have_two_names(parse):
    by_one = parse("--num_trees", 2, "--scored_by", "joint", "--beam_size", 7)
    assert by_one[0] == 0 and by_one == parse("--num_parses", 2, "--scored_by", "joint", "--num_beams", 7)
    assert_one_line_error(*parse("--beam_size", 0), "hf-lvm parse", "--num_beams 0: give 1 or more")


@pytest.fixture(scope="module")
def flat_models(tmp_path_factory, word_processor):
    """A hidden Markov model and a topic model, saved untrained."""
    place = tmp_path_factory.mktemp("flat")
    contracts = {"states": test_neural_hmm.TestNeuralHMM, "topics": test_neural_topic.TestLogisticNormal}
    for name, contract in contracts.items():
        contract().build_small().save_pretrained(place / name)
        word_processor.save_pretrained(place / name)
    return place


def test_states_stand_behind_words_and_topics_beside_shares(capsys, flat_models):
    status, output, _ = run(capsys, "parse", "a b c", "d", "--model", flat_models / "states")
    assert status == 0 and re.fullmatch(r"a/\d+ b/\d+ c/\d+( \S+/\d+)?\nd/\d+( \S+/\d+)?\n", output), output
    status, output, _ = run(capsys, "parse", "a b c", "d", "--model", flat_models / "topics")
    lines = output.splitlines()
    assert status == 0 and len(lines) == 2
    for line in lines:
        shares = [float(share) for _, share in re.findall(r"topic (\d+): ([\d.]+)%", line)]
        assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100.5
    _, output, _ = run(capsys, "parse", "a b c", "--model", flat_models / "topics", "--format", "json")
    assert all(0 <= share <= 1 for _, share in json.loads(output))


@pytest.mark.parametrize("option", [("--num_beams", 5), ("--batch_size", 2), ("--ascii",), ("--num_parses", 2)])
@pytest.mark.parametrize("name", ["states", "topics"])
def test_options_of_trees_are_refused_where_there_are_none(capsys, flat_models, name, option):
    refused = run(capsys, "parse", "a b", "--model", flat_models / name, *option)
    assert_one_line_error(*refused, "hf-lvm parse", "is for a model of trees or meanings")


def test_a_model_without_trees_is_refused(capsys, trained_run):
    refused = run(capsys, "parse", "the cat", "--model", trained_run.folder)
    assert_one_line_error(*refused, "hf-lvm parse", "which cannot parse", "such as a URNNG")


def test_interpolation_is_refused(capsys, trained_urnng):
    refused = run(capsys, "interpolate", "the cat", "a dog", "--model", trained_urnng.folder)
    assert_one_line_error(*refused, "hf-lvm interpolate", "which cannot interpolate", "such as a text VAE")


def test_sample_writes_sentences_with_their_trees(capsys, trained_urnng):
    argv = ["sample", "--model", trained_urnng.folder, "--num_texts", 5, "--max_new_tokens", 18]
    status, plain, _ = run(capsys, *argv, "--format", "plain")
    texts = plain.splitlines()
    assert status == 0 and len(texts) == 5
    trees = run(capsys, *argv, "--format", "brackets")[1].split("\n")[:-1]
    assert len(trees) == 5 and any(trees)
    drawings = run(capsys, *argv)[1].rstrip("\n").split("\n\n")
    for text, tree, drawing in zip(texts, trees, drawings, strict=True):
        if tree:
            assert " ".join(read_tree(tree).words) == text and read_tree(tree).is_binary_tree
            assert drawing.splitlines()[-1].split() == text.split()
        else:
            assert len(text.split()) == 18 and drawing == f"{text} ... (cut, without a tree)"
    refused = run(capsys, *argv, "--temperature", 0.5)
    assert_one_line_error(*refused, "hf-lvm sample", "without temperature: leave it out")


def test_evaluate_gives_the_numbers_of_the_run(capsys, trained_urnng, tmp_path):
    argv = [
        "evaluate", "--model", trained_urnng.folder, "--data_dir", trained_urnng.data, "--seed", 42,
        "--num_importance_samples", 5, "--output", tmp_path / "numbers.json",
    ]  # fmt: skip
    status, output, _ = run(capsys, *argv, "--tree_column", "tree")
    assert status == 0
    measured, reported = json.loads((tmp_path / "numbers.json").read_text())["test"], trained_urnng.results["test"]
    assert measured.keys() == reported.keys() and measured["brackets"] == reported["brackets"]
    for convention in ("normalized", "published"):
        assert measured["likelihood"][convention] == pytest.approx(reported["likelihood"][convention], rel=1e-5)
    for instrument in ("-ELBO", "-log p(x), 5 trees", "entropy of q(z|x)", "published convention", "summed over all trees",
                       "F1 by prpn", "best binary 100.0", "bits/byte"):  # fmt: skip
        assert instrument in output
    status, output, _ = run(capsys, *argv, "--num_importance_samples", 0, "--max_samples", 3)
    assert status == 0 and "F1" not in output and "-log p(x)," not in output
    assert_one_line_error(*run(capsys, *argv, "--inference_gap", 3), "hf-lvm evaluate", "is a tree: leave it out")


def test_gold_trees_are_for_a_model_of_trees(capsys, trained_run, tmp_path):
    options = ("--output", tmp_path / "numbers.json", "--tree_column", "tree")
    refused = run(capsys, "evaluate", "--model", trained_run.folder, *options)
    assert_one_line_error(*refused, "hf-lvm evaluate", "--tree_column is for a model of trees")
