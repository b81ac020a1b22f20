"""CONTRIBUTING.md leads a newcomer along files that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:hf_lvm|recipes|tests)/[^`<>*]+)`", GUIDE))))
def test_files_that_are_named_exist(path):
    assert (ROOT / path).exists()


def test_every_floor_is_told_of():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r"^layers = \[(.*?)^\]", project, flags=re.DOTALL | re.MULTILINE).group(1)
    floors = re.findall(r"\w+", layers)
    table = GUIDE.split("## The floors")[1].split("##")[0]
    assert floors and [floor for floor in floors if f"`{floor}/" not in table] == []
