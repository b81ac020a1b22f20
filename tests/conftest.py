"""What all tests share: one thread, one seed a test, quiet libraries, one fresh process for all saved models."""

# ruff: noqa: E402
import gc
import os

gc.disable()  # until everything is imported and collected, which makes no garbage worth looking for
os.environ.update(
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="passive",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TRANSFORMERS_VERBOSITY="error",
)

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from filelock import FileLock

pytest.register_assert_rewrite("tests.contract", "tests.training_runs", "tests.fresh_process", "tests.child_processes")

from hf_lvm.data import LatentTextProcessor, train_word_tokenizer
from tests.fresh_process import load_in_fresh_process, read_reloaded
from tests.trained_text_vae import trained_run  # noqa: F401
from tests.trained_urnng import trained_urnng  # noqa: F401
from tests.two_processes import read_runs, train_in_two_processes

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"]


def pytest_collection_finish():
    """Have garbage collections pass over what the imports made: half a million objects that stay until the end.

    Every training run collects three times. That took longer than the steps of a tiny run.
    """
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of all test processes fills, while the others that need it wait."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder, finished = folder / name, folder / f"{name}.finished"
    with FileLock(f"{folder}.lock"):
        if not finished.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def fresh_process(tmp_path_factory):
    """What a new process made of every model that tests registered: name -> `tests.fresh_process.Reloaded`."""
    return read_reloaded(made_once(tmp_path_factory, "saved_models", load_in_fresh_process))


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory):
    """What two processes made of every model whose training tests registered: name -> `tests.training_runs.Run`."""
    return read_runs(made_once(tmp_path_factory, "two_processes", train_in_two_processes))


@pytest.fixture(scope="session")
def word_processor() -> LatentTextProcessor:
    """A processor over the 18 one-letter words and the 5 special tokens: as many tokens as tiny parts have."""
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    return LatentTextProcessor(tokenizer, tokenizer)
