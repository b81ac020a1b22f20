"""Collect the docstrings of installed Python source files without importing any of them."""

import ast
import functools
import gc
import logging
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

# Tests are about the tests, and vendored or generated copies repeat what stands elsewhere.
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "_vendor", "__pycache__", "lib-dynload"}
)
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Docstring:
    """One docstring as it stands in the source, and for a function its `def` line without the colon."""

    text: str
    signature: str | None = None


def standard_library_folder() -> Path:
    """The folder of the standard library that this interpreter runs on (the base one inside a virtual environment)."""
    return Path(sysconfig.get_paths()["stdlib"])


def site_packages_folders() -> list[Path]:
    """The folders that hold the installed packages, each once."""
    paths = sysconfig.get_paths()
    return [Path(path) for path in dict.fromkeys((paths["purelib"], paths["platlib"])) if Path(path).is_dir()]


def source_files(folder: Path) -> Iterator[Path]:
    """All Python files below `folder` in a fixed order, test packages left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(files):
            if name.endswith(".py"):
                yield Path(parent, name)


def signature_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The `def` line of a function on one line, without the colon: ``def name(a, b=1) -> int``."""
    keyword = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{keyword} {function.name}({ast.unparse(function.args)}){returns}"


def docstrings_of(tree: ast.Module) -> Iterator[Docstring]:
    """The docstrings of a parsed module, of its classes and of its functions, in the order of the source."""
    text = ast.get_docstring(tree, clean=False)
    if text:
        yield Docstring(text)
    yield from _docstrings_of_block(tree.body)


def _docstrings_of_block(block: list) -> Iterator[Docstring]:
    """Look through statements only: `ast.walk` would visit every expression and take twice as long."""
    for statement in block:
        if isinstance(statement, DEFINITIONS):
            text = ast.get_docstring(statement, clean=False)
            if text:
                is_class = isinstance(statement, ast.ClassDef)
                yield Docstring(text, None if is_class else signature_of(statement))
        for field in ("body", "orelse", "handlers", "finalbody"):
            inner = getattr(statement, field, None)
            if isinstance(inner, list):
                yield from _docstrings_of_block(inner)


def read_folder(folder: Path) -> list[Docstring]:
    """Every docstring below `folder`; files that do not parse are left out and counted in a log line."""
    docstrings: list[Docstring] = []
    failures = 0
    # A syntax tree is many small objects without cycles: the collector would walk them again and again in vain.
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's string literals
            for path in source_files(folder):
                try:
                    tree = ast.parse(path.read_bytes())
                except (SyntaxError, ValueError, OSError, RecursionError):
                    failures += 1
                    continue
                docstrings.extend(docstrings_of(tree))
    finally:
        if collecting:
            gc.enable()
    if failures:
        logger.info("%d files below %s could not be parsed and were left out.", failures, folder)
    return docstrings


def read_language_topics(standard_library: Path) -> list[Docstring]:
    """The chapters of the language reference behind `help("...")`, from `pydoc_data/topics.py`."""
    path = standard_library / "pydoc_data" / "topics.py"
    if not path.is_file():
        logger.info("%s does not exist: the corpus is read without the language reference.", path)
        return []
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            return [Docstring(text) for text in ast.literal_eval(statement.value).values()]
    raise RuntimeError(f"{path} holds no dictionary of topics; this version of Python stores them in another way.")


@functools.cache
def read_documentation(include_site_packages: bool = False) -> tuple[Docstring, ...]:
    """All docstrings of this installation: the standard library, its language reference, then installed packages.

    Takes about 3 seconds for the standard library; the answer is kept for the life of the process.

    Raises:
        FileNotFoundError: when this installation of Python carries no source files.
    """
    standard_library = standard_library_folder()
    docstrings = read_folder(standard_library)
    if not docstrings:
        raise FileNotFoundError(
            f"{standard_library} holds no Python source files with docstrings, so there is no documentation corpus on "
            "this installation. Name your own texts instead: dataset=<file or hub id>, or data_dir=<folder>."
        )
    docstrings += read_language_topics(standard_library)
    if include_site_packages:
        for folder in site_packages_folders():
            docstrings += read_folder(folder)
    return tuple(docstrings)
