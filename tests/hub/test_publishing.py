"""Which files are shared, what is refused before the hub is asked, and what the hub refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

import hf_lvm
from hf_lvm.training import run_files as files_of_runs
from hf_lvm.training.publishing import publish_run
from hf_lvm.training.run_cards import address_card, write_run_card
from hf_lvm.training.run_files import run_files
from tests.hub.conftest import as_run
from tests.tiny_parts import tiny_vae

RESULTS = Path(__file__).parents[2] / "recipes" / "text_vae" / "results" / "demo.json"


@pytest.fixture
def run(tmp_path):
    """A run that may be changed."""
    folder = tmp_path / "run"
    tiny_vae().save_pretrained(folder)
    return as_run(folder, "text VAE")


# ---- the files --------------------------------------------------------------------------------------------------------


def test_what_is_shared_stands_in_a_list(run):
    files = run_files(run)
    assert list(files.shared) == [
        "README.md", "config.json", "examples.txt", "figures/training_curves.png", "generation_config.json",
        "model.safetensors", "results.json",
    ]  # fmt: skip
    assert files.kept == [
        ".cache/", "checkpoint-3/", "notes.txt", "optimizer.pt", "trainer_state.json", "training_args.bin",
        "training_args.json",
    ]  # fmt: skip
    assert files.shared["examples.txt"] == 6
    lines = str(files).splitlines()
    assert len(lines) == 9 and lines[2].split(maxsplit=2) == ["6", "B", "examples.txt"]
    assert "7 files of" in lines[7] and "checkpoint-3/" in lines[8]


def test_every_file_that_a_recipe_reports_is_shared():
    sources = [path.read_text() for path in (Path(hf_lvm.__file__).parent / "training").glob("*.py")]
    sources.append((Path(hf_lvm.__file__).parent / "analysis" / "language_report.py").read_text())
    places = re.compile(r'(?:output|folder|output_dir\)) / "([\w.]+\.(?:txt|json))"')
    # Those of a save, which are no reports.
    written = {name for source in sources for name in places.findall(source)} - {
        "config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json", "training_args.json"
    }  # fmt: skip
    assert {"results.json", "examples.txt", "trees.txt", "lexicon.txt"} <= written and len(written) > 10
    assert written <= set(files_of_runs.REPORTED), "name it in REPORTED, or it is not shared"


def test_files_can_be_left_out(run):
    files = run_files(run, exclude=["examples.txt", "figures/*"])
    assert {"examples.txt", "figures/"} <= set(files.kept) and "figures/training_curves.png" not in files.shared
    with pytest.raises(ValueError, match=r"nothing to leave out by 'nowhere\*'.*examples.txt"):
        run_files(run, exclude=["nowhere*"])
    with pytest.raises(ValueError, match=r"'\*.json' would leave out a part of the model \(config.json\)"):
        run_files(run, exclude=["*.json"])


def test_a_run_without_texts_shows_none_of_them(trained_run):
    texts = [line for line in trained_run.texts.read_text().splitlines() if len(line.split()) > 2]
    everything = run_files(trained_run.folder).shared
    assert any(text in (trained_run.folder / "examples.txt").read_text() for text in texts)
    assert {"examples.txt", "figures/latent_map.png"} <= everything.keys()
    files = run_files(trained_run.folder, without_texts=True)
    assert {
        "README.md",
        "results.json",
        "config.json",
        "model.safetensors",
        "figures/training_curves.png",
    } <= files.shared.keys()
    assert {"examples.txt", "figures/latent_map.png"} <= set(files.kept)
    for name in files.shared:
        content = (trained_run.folder / name).read_bytes()
        assert not any(text.encode() in content for text in texts), name


def test_every_figure_without_texts_is_one_that_is_drawn():
    package = Path(hf_lvm.__file__).parent
    sources = "".join(path.read_text() for part in ("training", "analysis") for path in (package / part).glob("*.py"))
    for name in files_of_runs.WITHOUT_TEXTS:
        assert "/" not in name or f'"{name.partition("/")[2]}"' in sources, name
    # Each of these writes texts beside its points, nodes or bars.
    for name in ("latent_map.png", "latent_map_tsne.png", "tree_0.svg", "lexicon_symbol.png"):
        assert f"figures/{name}" not in files_of_runs.WITHOUT_TEXTS


@pytest.mark.parametrize(
    ("options", "left"),
    [({"without_texts": True}, ["training_curves.png"]), ({"exclude": ["figures/*"]}, [])],
)
def test_the_card_that_is_shared_links_no_figure_that_is_left_out(run, hub, options, left):
    shutil.copy(RESULTS, run / "results.json")
    (run / "figures" / "latent_map.png").write_bytes(b"of words")
    (run / "README.md").unlink()
    write_run_card(run, tags=["mine"])
    publish_run(run, "tester/vae", **options)
    own = (run / "README.md").read_text(encoding="utf-8")
    assert "figures/latent_map.png" in own and "figures/training_curves.png" in own, "in the folder they stay"
    shared = hub.files("tester/vae")
    assert {name for name in shared if name.startswith("figures/")} == {f"figures/{name}" for name in left}
    for figure in (run / "figures").iterdir():
        if figure.name not in left:
            figure.unlink()
    address_card(run, "tester/vae")
    assert shared["README.md"] == (run / "README.md").read_bytes(), "as a run without these figures has it"


def test_a_card_by_hand_is_shared_as_it_is(run, hub):
    text = "# Mine, \u00e9dited\r\n\n![map](figures/latent_map.png)\n"
    (run / "README.md").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="README.md is no UTF-8 text .* save it as UTF-8"):
        publish_run(run, "tester/vae", without_texts=True)
    assert hub.requests == []
    (run / "README.md").write_bytes(text.encode())
    publish_run(run, "tester/vae", without_texts=True)
    assert hub.files("tester/vae")["README.md"] == text.encode()


def shard(folder):
    (folder / "model.safetensors").unlink()
    tiny_vae().save_pretrained(folder, max_shard_size="10kB")


def test_shards_are_shared_by_the_index_and_none_that_is_left_over(run):
    shard(run)
    index = json.loads((run / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    (run / "model-00009-of-00009.safetensors").write_bytes(b"of an older model")
    shared = {name for name in run_files(run).shared if "safetensors" in name}
    assert len(shards) > 2 and shared == {*shards, "model.safetensors.index.json"}
    (run / min(shards)).unlink()
    with pytest.raises(FileNotFoundError, match="only a part of its model.*names model-00001-of"):
        run_files(run)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda run: (run / "config.json").unlink(), FileNotFoundError, "holds no config.json.*output_dir"),
        (lambda run: (run / "config.json").write_text("{"), ValueError, "config.json is no JSON"),
        (lambda run: (run / "config.json").write_text("{}"), ValueError, "names no model_type"),
        (lambda run: (run / "model.safetensors").unlink(), FileNotFoundError, "no model.safetensors.*come to its end"),
        (lambda run: (run / "model.safetensors").rename(run / "pytorch_model.bin"), FileNotFoundError, "save_pretrained"),
        (lambda run: cut(run / "model.safetensors"), ValueError, "model.safetensors is damaged or cut off"),
        (lambda run: (run / ".incomplete-model").mkdir(), ValueError, "left while it was saved.*resume"),
        (lambda run: (run / ".complete-model").mkdir(), ValueError, "left while it was saved.*resume"),
        (lambda run: (run / "processor_config.json").write_text("{}"), FileNotFoundError, "without its tokenizer"),
        (lambda run: (run / "results.json").write_text(f'"--hub_token hf_{"A1" * 17}"'), ValueError, "access token"),
        (lambda run: (run / "README.md").unlink(), FileNotFoundError, "no card.*`hf-lvm card .*--without_card"),
    ],
)
def test_what_is_not_whole_is_refused_before_the_hub_is_asked(hub, run, damage, error, message):
    damage(run)
    with pytest.raises(error, match=message):
        publish_run(run, "tester/model")
    assert hub.requests == []


def test_what_is_no_folder_no_repository_or_no_branch_is_refused(hub, run):
    with pytest.raises(FileNotFoundError, match="no folder .*output_dir of a run"):
        publish_run(run / "nowhere", "tester/model")
    for name in ("model", "a/b/c", "tester/mo del", "tester/"):
        with pytest.raises(ValueError, match=re.escape(name)):
            publish_run(run, name)
    with pytest.raises(ValueError, match="is a commit.*name of a branch"):
        publish_run(run, "tester/model", revision="a" * 40)
    assert hub.requests == []


# ---- the upload -------------------------------------------------------------------------------------------------------


def test_no_request_that_fails_leaves_half_a_model(hub, run):
    """The connection goes at each request in turn, or when the weights are stored and nobody has said so."""
    publish_run(run, "tester/probe")
    hub.requests.clear()
    publish_run(run, "tester/other")
    requests = list(hub.requests)
    commit = next(number for number, (_, path) in enumerate(requests) if "/commit/" in path)
    assert commit == len(requests) - 1 > 4
    put = next(number for number, (method, _) in enumerate(requests) if method == "PUT")
    for number, when in [*((number, "before") for number in range(len(requests))), (put, "after")]:
        before = hub.add_repository("tester/model", {"README.md": b"as it was"}).at("main")
        hub.break_connection(number, when)
        with pytest.raises(ConnectionError, match="nothing of the run was published in tester/model.*upload again"):
            publish_run(run, "tester/model")
        hub.mend_connection()
        assert hub.repository("tester/model").at("main") == before
    hub.add_repository("tester/model", {"README.md": b"as it was"})
    # An answer that is lost when all is done: the commit is there and whole, and another upload finds nothing to do.
    hub.break_connection(commit, "after")
    with pytest.raises(ConnectionError, match="as far as can be seen"):
        publish_run(run, "tester/model")
    hub.mend_connection()
    assert publish_run(run, "tester/model").unchanged
    assert hub.files("tester/model")["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert len(hub.repository("tester/model").history()) == 2


def test_a_connection_that_breaks_once_is_tried_again(hub, run):
    publish_run(run, "tester/probe")
    at = next(number for number, (method, _) in enumerate(hub.requests) if method == "PUT")
    hub.break_connection(at, for_good=False)
    publish_run(run, "tester/model")
    assert hub.files("tester/model") == hub.files("tester/probe")


def test_a_later_model_replaces_all_that_would_be_loaded_and_nothing_else(hub, run, word_processor):
    word_processor.save_pretrained(run)
    publish_run(run, "tester/model", commit_message="the first")
    hub_only = {"figures/by_hand.png": b"\0", "notes.md": b"of the owner"}
    repository = hub.repository("tester/model")
    head = repository.at("main")
    added = head.files | {name: hub.keep(content) for name, content in hub_only.items()}
    repository.commit("main", "by hand", added, head.large)
    shard(run)
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (run / name).unlink()
    (run / "README.md").unlink()
    publish_run(run, "tester/model", commit_message="the second", without_card=True)
    files = hub.files("tester/model")
    assert "model.safetensors" not in files and "model.safetensors.index.json" in files
    assert not {"processor_config.json", "tokenizer.json"} & files.keys()
    assert hub_only.items() <= files.items() and b"A card" in files["README.md"]
    assert [commit.message for commit in repository.history()] == ["the second", "by hand", "the first", "initial commit"]


def test_a_branch_is_made_and_main_left_alone(hub, run):
    publish_run(run, "tester/model", revision="wide")
    assert list(hub.files("tester/model")) == [".gitattributes"]
    assert "model.safetensors" in hub.files("tester/model", "wide")
    (run / "examples.txt").write_text("others")
    second = publish_run(run, "tester/model", revision="wide")
    assert hub.repository("tester/model").history("wide")[0].oid == second.revision
    assert hub.files("tester/model", "wide")["examples.txt"] == b"others"


def test_somebody_else_changing_it_in_the_meantime_is_noticed(hub, run):
    repository = hub.add_repository("tester/model", {"README.md": b"old"})

    def meanwhile(path):
        if "/preupload/" in path:
            repository.commit("main", "by somebody else", {"README.md": hub.keep(b"new")}, frozenset())

    hub.on_request = meanwhile
    with pytest.raises(ConnectionError, match="changed by somebody else"):
        publish_run(run, "tester/model")
    assert hub.files("tester/model") == {"README.md": b"new"}


def test_private_stays_private(hub, run):
    publish_run(run, "tester/secret", private=True)
    assert hub.repository("tester/secret").private
    publish_run(run, "tester/open")
    assert not hub.repository("tester/open").private
    (run / "examples.txt").write_text("not for everybody")
    with pytest.raises(ValueError, match="tester/open is there already, and public"):
        publish_run(run, "tester/open", private=True)
    assert hub.files("tester/open")["examples.txt"] == b"a b c\n"


@pytest.mark.parametrize(
    ("token", "repository", "message"),
    [
        (None, "tester/model", "no token to write to http.*hf auth login.*HF_TOKEN"),
        ("hf_nobody", "tester/model", "does not know this token: log in again.*nothing of the run"),
        ("hf_reader", "tester/model", "may not write to tester/model"),
        ("hf_stranger", "tester/new", "may not write to tester/new"),
        ("hf_stranger", "tester/secret", "may not write to tester/secret"),
    ],
)
def test_a_token_that_does_not_do_is_told_apart(hub, run, monkeypatch, token, repository, message):
    hub.add_repository("tester/model", {})
    hub.add_repository("tester/secret", {}, private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PermissionError, match=message) as caught:
        publish_run(run, repository, token=token)
    assert "\n" not in str(caught.value)
    assert not hub.repositories.get(("model", "tester/new")) and hub.files("tester/model") == {}


def test_no_hub_and_offline_mode(hub, run, monkeypatch):
    hub.close()
    with pytest.raises(ConnectionError, match="connection to http://127.0.0.1:.* failed"):
        publish_run(run, "tester/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="offline mode: unset HF_HUB_OFFLINE"):
        publish_run(run, "tester/model")


def test_a_card_that_the_hub_cannot_read_is_refused_before_anything_is_sent(hub, run):
    (run / "README.md").write_text("---\ntags: [\n---\n# x\n")
    with pytest.raises(ValueError, match="Invalid metadata in README.md"):
        publish_run(run, "tester/model")
    assert list(hub.files("tester/model")) == [".gitattributes"]
    assert not any(method == "PUT" for method, _ in hub.requests)
