"""What a user sees: names, docstrings, examples."""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
import torch

import hf_lvm

PACKAGE = Path(hf_lvm.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(PACKAGE)], "hf_lvm.")
    if not any(part.startswith("_") for part in module.name.split("."))
)


def public(module) -> dict[str, object]:
    """Classes and functions that a module defines and does not hide."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", hf_lvm.__all__)
def test_every_public_name_exists_and_says_what_it_is(name):
    value = getattr(hf_lvm, name)
    if name != "__version__":
        assert len(inspect.getdoc(value).splitlines()[0]) > 10


@pytest.mark.parametrize("name", MODULES)
def test_every_module_and_all_it_offers_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__ and module.__doc__.strip(), name
    without = []
    for own, value in public(module).items():
        if not value.__doc__:
            without.append(own)
        if inspect.isclass(value):
            without += [
                f"{own}.{method}"
                for method, function in vars(value).items()
                if inspect.isfunction(function) and not method.startswith("_") and not inspect.getdoc(getattr(value, method))
            ]
    # Short methods whose meaning is that of the torch or transformers method they implement.
    inherited = ("forward", "expand", "get_", "set_", "joined", "calibrate")
    assert [name for name in without if not name.split(".")[-1].startswith(inherited)] == []


@pytest.mark.parametrize(
    "name", [name for name in MODULES if ".models." in name or ".layers" in name or ".objectives" in name]
)
def test_public_signatures_are_typed(name):
    for own, value in public(importlib.import_module(name)).items():
        if inspect.isfunction(value):
            hints = value.__annotations__
            missing = [p for p in inspect.signature(value).parameters if p not in hints and p not in ("self", "cls", "model")]
            assert not missing and "return" in hints, (own, missing)


def test_no_file_is_a_drawer_for_everything():
    files = list(PACKAGE.rglob("*.py"))
    assert len(files) > 30
    assert [path.name for path in files if path.stem in {"utils", "common", "helpers", "misc"}] == []
    assert {str(path): lines for path in files if (lines := len(path.read_text().splitlines())) > 500} == {}


def test_the_example_of_the_text_vae_runs():
    module = importlib.import_module("hf_lvm.models.text_vae.modeling_text_vae")
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    (example,) = finder.find(module.TextVAEModel, "TextVAEModel", module=module, globs={"torch": torch})
    assert runner.run(example) == doctest.TestResults(failed=0, attempted=len(example.examples)) and example.examples
