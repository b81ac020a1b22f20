"""The README says only what is so: its commands are those that CI runs, its table is that of the committed results."""

import re
import runpy
from pathlib import Path

import pytest

from tests.models.referential_game.tiny_games import tiny_game

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_are_single_lines_that_set_everything_up():
    commands = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    for command, goal in zip(commands, ("hf-lvm demo", "pytest -n 2 --dist loadfile"), strict=True):
        assert "-c constraints.txt" in command and command.endswith(goal)


def test_the_table_shows_the_committed_results(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    table = runpy.run_path(str(ROOT / "recipes" / "results_table.py"))
    assert table["main"](check=True) == 0, capsys.readouterr().err


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_the_file_tree_names_folders_that_exist():
    tree = re.search(r"^```\n(hf_lvm/\n.*?)^```", README, flags=re.DOTALL | re.MULTILINE).group(1)
    for line in tree.splitlines()[1:]:
        name = line.strip().split()[0]
        folder = ROOT / "hf_lvm" / name if line.startswith("  ") else ROOT / name
        assert folder.exists(), name


def test_the_example_of_a_game_runs_as_it_stands(monkeypatch, tmp_path, capsys):
    code = re.search(r"<!-- game -->\n```python\n(.*?)```\n<!-- /game -->", README, flags=re.DOTALL).group(1)
    # The attributes are those that `hf-lvm train` takes where nothing else is said.
    sizes = (ROOT / "hf_lvm" / "training" / "defaults" / "referential_game.yaml").read_text(encoding="utf-8")
    assert "attribute_sizes: [8, 8, 8, 8]" in sizes
    tiny_game(attribute_sizes=[8, 8, 8, 8]).save_pretrained(tmp_path / "runs" / "language")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert re.fullmatch(r"tensor\(\[\d, \d, \d\]\)\n", capsys.readouterr().out)


def test_constraints_pin_every_dependency_of_the_package():
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    project = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", project, flags=re.DOTALL | re.MULTILINE).group(1)
    wanted = {re.split(r"[<>=]", name)[0].lower().replace("_", "-") for name in re.findall(r'"([^"]+)"', block)}
    assert wanted <= pinned, wanted - pinned
