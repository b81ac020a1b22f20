"""Every recipe writes a card at its end, and the code in it runs as it stands."""

import json
import logging
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import AutoModel

from hf_lvm.cards import model_card, usage_code, write_card
from hf_lvm.cards.kinds import KINDS
from hf_lvm.cards.run_card import count_parameters
from hf_lvm.cli.main import main as command
from hf_lvm.training.config_file import parse
from hf_lvm.training.mains import RECIPES
from hf_lvm.training.run_cards import address_card, write_run_card
from hf_lvm.training.text_vae import ARGUMENTS, prepare
from tests.cards import tiny_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a run of each model type; nobody may write into them."""
    place = tmp_path_factory.mktemp("cards")
    data = tiny_runs.write_data(place / "data")
    return {model_type: tiny_runs.run(model_type, data, place / model_type) for model_type in tiny_runs.FLAGS}


@pytest.fixture
def copied(runs, tmp_path):
    """As much of the run of a text VAE as a card reads, in a folder of its own."""
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    for name in ("results.json", "config.json", "model.safetensors", "README.md", "figures/latent_map.png"):
        (folder / name).write_bytes((runs["hf_lvm_text_vae"] / name).read_bytes())
    return folder


def read(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def test_every_recipe_has_a_card():
    assert KINDS.keys() == RECIPES.keys() == tiny_runs.FLAGS.keys()


@pytest.mark.parametrize("model_type", tiny_runs.FLAGS)
def test_the_code_of_the_card_runs(runs, model_type, capsys):
    folder = runs[model_type]
    (code,) = re.findall(r"```python\n(.*?)\n```", read(folder), flags=re.DOTALL)
    settings = json.loads((folder / "results.json").read_text())["settings"]
    assert code == usage_code(settings, folder.as_posix()).rstrip()
    names = {}
    exec(compile(code, "card", "exec"), names)
    expected = KINDS[model_type].name
    assert expected in (type(names["model"]).__name__, "the decoder alone")
    assert len(capsys.readouterr().out.splitlines()) >= code.count("print(")


@pytest.mark.parametrize("model_type", tiny_runs.FLAGS)
def test_what_the_card_says_is_what_the_run_measured(runs, model_type):
    folder = runs[model_type]
    card, results = ModelCard(read(folder)), json.loads((folder / "results.json").read_text())
    assert card.data.library_name == "hf-lvm" and "latent-variable-model" in card.data.tags
    assert results["command"] in card.content and str(results["settings"]["seed"]) in card.content
    compared = 0
    for result in card.data.eval_results:
        found = results
        where = [result.dataset_split] if result.dataset_split in results else []
        if result.metric_type in ("topographic_similarity", "positional_disentanglement", "bag_of_symbols_disentanglement"):
            where = ["language"]
        try:
            for key in [*where, *result.metric_type.split(".")]:
                found = found[key]
        except (KeyError, TypeError):
            continue  # of one variable or length of several, whose key is no path
        found = found["mean"] if isinstance(found, dict) else found
        scale = 100 if "(percent)" in result.metric_name else 1
        assert result.metric_value == pytest.approx(scale * found, rel=1e-5, abs=1e-9), result.metric_name
        compared += 1
    assert compared >= 3
    for figure in re.findall(r"!\[.*?\]\((.*?)\)", card.content):
        assert (folder / figure).exists()
    shown = set(re.findall(r"\((figures/[^)]*)\)", card.content))
    drawn = {f"figures/{path.name}" for path in (folder / "figures").glob("*")}
    # Of trees three are enough.
    assert shown == {path for path in drawn if "tree_" not in path or path[-5] in "012"}


def test_the_numbers_of_a_text_vae_stand_there_with_their_units(runs):
    folder = runs["hf_lvm_text_vae"]
    test, text = json.loads((folder / "results.json").read_text())["test"], read(folder)
    bound = test["bound"]
    nats, error = bound["nats_per_sentence"], bound["nats_per_sentence_standard_error"]
    assert f"| -ELBO | {nats:.2f} ± {error:.2f} | nats per sentence |" in text
    assert f"| perplexity of -ELBO | {bound['word_perplexity']:.2f} | per word, end of sentence counted |" in text
    assert f"| active units | {test['latent']['active_units']} of 2 |" in text
    parameters = count_parameters(folder / "model.safetensors")
    assert parameters == sum(value.numel() for value in AutoModel.from_pretrained(folder).parameters())
    assert f"| parameters | {parameters:,} |" in text


def test_the_settings_are_a_config_that_trains_the_same(runs, tmp_path):
    folder = runs["hf_lvm_text_vae"]
    (shown,) = re.findall(r"```yaml\n(.*?)```", read(folder), flags=re.DOTALL)
    (tmp_path / "run.yaml").write_text(shown)
    again = parse(ARGUMENTS, ["--config", str(tmp_path / "run.yaml"), "--output_dir", str(tmp_path / "run")], "")
    trainer, _ = prepare(*again)
    config = json.loads((folder / "config.json").read_text())
    built = json.loads(trainer.model.config.to_json_string(use_diff=False))
    for key in ("latent_size", "injection", "posterior_type", "prior_type", "objective", "estimator"):
        assert built[key] == config[key]
    for part in ("encoder", "decoder"):
        assert built[part]["hidden_size"] == config[part]["hidden_size"] == 8
    assert trainer.args.max_steps == 1 and trainer.args.kl_schedule == yaml.safe_load(shown)["kl_schedule"]


def test_a_hub_id_stands_in_the_code_and_names_the_model(runs, capsys):
    folder = runs["hf_lvm_neural_hmm"]
    more = ["--model_id", "somebody/tags", "--license", "mit", "--language", "en", "--tags", "small"]
    assert command(["card", str(folder), "--print", *more]) == 0
    card = ModelCard(capsys.readouterr().out)
    assert 'name = "somebody/tags"' in card.content and card.data.model_name == "tags"
    assert (card.data.license, card.data.language) == ("mit", "en") and "small" in card.data.tags
    assert 'name = "somebody/tags"' not in read(folder)
    assert model_card(folder).data.license is None and model_card(folder).data.language is None


def test_the_command_writes_the_card_that_training_wrote(copied, runs, capsys):
    before = read(copied)
    (copied / "README.md").unlink()
    assert command(["card", str(copied)]) == 0
    assert capsys.readouterr().out.strip() == str(copied / "README.md")
    there, here = runs["hf_lvm_text_vae"].as_posix(), copied.as_posix()

    def comparable(text):
        text = text.replace(there, here).replace("hf_lvm_text_vae\n", "run\n").replace("name: hf_lvm_text_vae", "name: run")
        return re.sub(r"\nMade by.*|sha|!\[.*|<!--.*", "", text).split()

    assert comparable(read(copied)) == comparable(before)


@pytest.mark.parametrize("edit", [lambda text: text.replace("## Limits", "## Limits\n\nMore."), lambda text: "# Mine\n"])
def test_a_card_that_somebody_wrote_is_not_lost(copied, capsys, edit):
    mine = edit(read(copied))
    (copied / "README.md").write_text(mine, encoding="utf-8")
    assert command(["card", str(copied)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "README.md" in line and "--overwrite" in line
    assert read(copied) == mine
    assert command(["card", str(copied), "--overwrite"]) == 0
    assert read(copied) != mine
    write_card(model_card(copied), copied)  # that one is ours, and can be written again


def test_a_card_that_is_shared_names_the_repository_and_keeps_what_it_was_given(copied):
    write_card(model_card(copied, license="mit", tags=["small"]), copied)
    address_card(copied, "somebody/vae")
    card = ModelCard(read(copied))
    assert 'from_pretrained("somebody/vae")' in card.content or 'name = "somebody/vae"' in card.content
    assert card.data.license == "mit" and card.data.tags.count("small") == card.data.tags.count("hf-lvm") == 1
    once = read(copied)
    address_card(copied, "somebody/vae")
    assert read(copied) == once
    (copied / "README.md").write_text("# Mine\n", encoding="utf-8")
    address_card(copied, "somebody/vae")
    assert read(copied) == "# Mine\n"


def test_a_run_leaves_a_card_that_somebody_wrote(copied, caplog):
    (copied / "README.md").write_text("# Mine\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        write_run_card(copied)
    assert read(copied) == "# Mine\n" and "by hand" in caplog.text


def test_damaged_files_are_named(copied):
    (copied / "config.json").write_text('{"model_type": ')
    with pytest.raises(ValueError, match=r"^\S+/config\.json is no JSON .*: restore the file"):
        model_card(copied)
    (copied / "config.json").unlink()
    whole = (copied / "model.safetensors").read_bytes()
    for content in (b"", b"abc", whole[:40], b"\xff" * 40):
        (copied / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"^\S+/model\.safetensors is no whole safetensors file"):
            model_card(copied)


def test_a_folder_without_results_is_one_clear_error(tmp_path, capsys, copied):
    for folder, words in ((tmp_path / "nowhere", "no folder"), (tmp_path, "holds no results.json")):
        assert command(["card", str(folder)]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and words in line and "output_dir" in line
    (copied / "results.json").write_text("{")
    assert command(["card", str(copied)]) == 2
    assert "is no JSON" in capsys.readouterr().err
    (copied / "results.json").write_text("[]")
    assert command(["card", str(copied)]) == 2
    assert "no JSON object but a list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda results: results["settings"].update(model_type="bert"), ("'bert'", "hf_lvm_text_vae")),
        (lambda results: results["settings"].pop("model_type"), ("settings.model_type",)),
        (lambda results: results.pop("hardware"), ("no hardware", "older version")),
        (lambda results: results["test"]["latent"].pop("mutual_information"), ("test.latent.mutual_information", "version")),
    ],
)
def test_results_of_another_layout_are_one_clear_error(copied, capsys, change, words):
    results = json.loads((copied / "results.json").read_text())
    change(results)
    (copied / "results.json").write_text(json.dumps(results))
    assert command(["card", str(copied)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(copied / "results.json") in line
    for word in words:
        assert word in line


def test_a_trainer_writes_our_card_with_numbers_or_without(copied):
    argv = ["--config", str(copied.parent / "run.yaml"), "--output_dir", str(copied)]
    (copied.parent / "run.yaml").write_text(re.findall(r"```yaml\n(.*?)```", read(copied), flags=re.DOTALL)[0])
    trainer, _ = prepare(*parse(ARGUMENTS, argv, ""))
    trainer.create_model_card(license="mit")
    card = ModelCard(read(copied))
    assert card.data.license == "mit" and len(card.data.eval_results) > 10
    # Results of another run say nothing about this trainer.
    trainer.state.global_step = 7
    trainer.create_model_card(tags="tiny", dataset="mine")
    card = ModelCard(read(copied))
    assert card.data.eval_results is None and "tiny" in card.data.tags
    assert "Nothing was measured yet" in card.content and "`LatentTrainer`" in card.content and "Corpus: mine" in card.content
    assert "| steps | 7 |" in card.content
    (copied / "README.md").write_text("# Mine\n")
    trainer.create_model_card()
    assert read(copied) == "# Mine\n"
