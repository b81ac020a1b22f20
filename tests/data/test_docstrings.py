import ast
import sys

import pytest

from hf_lvm.data.docstrings import docstrings_of, read_folder, source_files

SOURCE = '''"""Module."""
class Box:
    """A box."""
    if True:
        async def open(self, lid: int = 1, *args, force=False) -> "Box":
            """Open it."""
try:
    def close(): """Close it."""
except OSError:
    def close(): """Close it otherwise."""
def silent(): pass
'''


def test_docstrings_come_in_order_with_signatures():
    found = [(docstring.text, docstring.signature) for docstring in docstrings_of(ast.parse(SOURCE))]
    assert found == [
        ("Module.", None),
        ("A box.", None),
        ("Open it.", "async def open(self, lid: int=1, *args, force=False) -> 'Box'"),
        ("Close it.", "def close()"),
        ("Close it otherwise.", "def close()"),
    ]


@pytest.fixture
def folder(tmp_path):
    for name, text in {
        "b.py": '"""Second."""',
        "a.py": '"""First."""',
        "broken.py": "def (",
        "tests/test_a.py": '"""A test."""',
        "site-packages/c.py": '"""Installed."""',
        "notes.txt": '"""Not Python."""',
        "imported.py": '"""Third."""\nraise SystemExit',
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_folder_is_read_in_order_without_tests_and_imports(folder, caplog):
    before = set(sys.modules)
    caplog.set_level("INFO")
    assert [docstring.text for docstring in read_folder(folder)] == ["First.", "Second.", "Third."]
    assert "1 files" in caplog.text
    assert set(sys.modules) == before


def test_test_packages_are_not_listed(folder):
    assert [path.name for path in source_files(folder)] == ["a.py", "b.py", "broken.py", "imported.py"]
