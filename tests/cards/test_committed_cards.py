"""model_cards/ is what the committed results say, and a card says no more than they do."""

import json
import re
import runpy
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_lvm.cards import card_from_results
from hf_lvm.cards.citations import OF_SETTINGS, PAPERS, bibtex
from hf_lvm.cards.kinds import KINDS
from hf_lvm.cards.limits import limits_of

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "model_cards"


@pytest.fixture(scope="module")
def maker():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "recipes"))
        return runpy.run_path(str(ROOT / "recipes" / "model_cards.py"))


@pytest.fixture(scope="module")
def documents(maker):
    return maker["documents"]()


def results_of(name):
    return json.loads((ROOT / "recipes" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_cards_are_made_again_without_a_difference(documents):
    there = {path for path in CARDS.rglob("*") if path.is_file()}
    assert there == set(documents)
    for path, text in documents.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python recipes/model_cards.py"


def test_every_run_that_is_committed_has_a_card_or_a_reason(maker, documents):
    rows, left_out = maker["rows"](), maker["LEFT_OUT"]
    with_cards = {path for files in rows.values() for path in files}
    for path in (ROOT / "recipes").glob("*/results/*.json"):
        results = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(results.get("test"), dict) and results.get("settings", {}).get("model_type") in KINDS:
            row = f"{path.parent.parent.name}/{path.stem}"
            assert path in with_cards or row in left_out or re.sub(r"_seed\d+$", "", row) in left_out, row
    assert len(documents) == len(rows) + 1 > 40


def test_links_of_the_cards_lead_somewhere(documents):
    for path, text in documents.items():
        links = set(re.findall(r"\]\((?!http|#)([^)]+)\)", text))
        assert links and [link for link in links if not (path.parent / link).exists()] == []


def test_metadata_of_the_cards_can_be_read_and_claim_no_hub_data(documents):
    # Reading YAML is slow, so one card of each model.
    firsts = {path.parent: path for path in reversed(documents) if path.name != "README.md"}
    assert len(firsts) >= 8
    for path in firsts.values():
        data = ModelCard(documents[path]).data
        assert data.library_name == "hf-lvm" and data.license is None and data.datasets is None and data.base_model is None
        assert data.eval_results and all(isinstance(result.metric_value, float) for result in data.eval_results)
        assert (data.language == "en") == (path.parent.name not in ("referential_game", "task_and_talk"))


def test_several_seeds_are_their_mean_and_each_of_them():
    runs = [results_of(f"struct_vae/results/atis_500{seed}") for seed in ("", "_seed2", "_seed3")]
    card = card_from_results(runs)
    values = [run["test"]["parsing"]["exact_match_published"] for run in runs]
    mean = sum(values) / 3
    each = "; ".join(f"{value:.1f}" for value in values)
    assert f"| exact match, published rule | {mean:.1f} ({each}) | 0 to 100 |" in card.content
    (indexed,) = [one for one in card.data.eval_results if one.metric_type == "parsing.exact_match_published"]
    assert indexed.metric_value == pytest.approx(mean, rel=1e-5) and indexed.metric_name.endswith("mean of 3 seeds")
    assert all(run["command"] in card.content for run in runs)


def limits(results):
    return "\n".join(limits_of([results], KINDS[results["settings"]["model_type"]]))


def test_limits_are_those_of_the_results():
    vae = results_of("text_vae/results/demo")
    assert "collapsed" not in limits(vae) and "bfloat16" not in limits(vae) and "9,783 training rows" in limits(vae)
    vae["test"]["latent"]["active_units"] = 0
    assert "The latent has collapsed" in limits(vae)
    vae["settings"] |= {"bf16": True, "encoder": "google-bert/bert-base-uncased"}
    assert "bfloat16" in limits(vae) and "random weights" not in limits(vae)
    del vae["test"]["importance_weighted"]
    assert "-ELBO is an upper bound of -log p(x), which was not estimated" in limits(vae)
    game = results_of("referential_game/results/attributes_straight_through_seed1")
    assert "`straight_through` is biased" in limits(game)
    assert "biased" not in limits(results_of("referential_game/results/attributes_rloo_seed1"))
    assert "no better than taking the meaning" in limits(results_of("struct_vae/results/demo"))
    assert "no better than taking the meaning" not in limits(results_of("struct_vae/results/atis_500"))
    trees = results_of("urnng/results/wsj_headline_seed1")
    assert "no better than" not in limits(trees)
    trees["test"]["brackets"]["prpn"]["sentence_f1"] = 40.0
    assert "By the protocol prpn its trees are no better than right branching ones" in limits(trees)


def test_results_of_different_models_or_none_are_refused():
    with pytest.raises(ValueError, match="several models, hf_lvm_neural_hmm, hf_lvm_text_vae"):
        card_from_results([results_of("text_vae/results/demo"), results_of("neural_hmm/results/wsj_words")])
    with pytest.raises(ValueError, match="no results"):
        card_from_results([])
    with pytest.raises(ValueError, match="no steps.*not those of a training run"):
        card_from_results(results_of("latent_class/results/estimators"))


def test_data_and_parts_of_the_hub_are_told_and_paths_are_not():
    results = results_of("text_vae/results/demo")
    results["settings"] |= {"dataset": "somebody/sentences", "decoder": "openai-community/gpt2", "encoder": "./runs/bert"}
    data = card_from_results(results).data
    assert data.datasets == "somebody/sentences" and data.base_model == ["openai-community/gpt2"]
    results["settings"] |= {"dataset": "texts/mine.txt", "decoder": "gpt2"}
    data = card_from_results(results).data
    assert data.datasets is None and data.base_model is None


def test_every_paper_that_is_named_has_an_entry():
    named = {key for kind in KINDS.values() for key in kind.papers} | {key for keys in OF_SETTINGS.values() for key in keys}
    assert named == PAPERS.keys()
    for key in named:
        entry = bibtex(key)
        assert entry.startswith("@") and entry.count("{") == entry.count("}") and "year = {" in entry
    card = card_from_results(results_of("text_vae/results/ptb_cyclical"))
    assert "fu2019" in card.content and "he2019" not in card.content
