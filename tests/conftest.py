"""What all tests share: one thread, one seed a test, quiet libraries, one fresh process for all saved models."""

import os

os.environ.update(
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="passive",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TRANSFORMERS_VERBOSITY="error",
)

import pytest
import torch
import transformers

pytest.register_assert_rewrite("tests.contract", "tests.training_runs", "tests.fresh_process", "tests.two_processes")

from hf_lvm.data import LatentTextProcessor, train_word_tokenizer  # noqa: E402
from tests.fresh_process import load_in_fresh_process  # noqa: E402
from tests.trained_text_vae import trained_run  # noqa: E402, F401
from tests.trained_urnng import trained_urnng  # noqa: E402, F401
from tests.two_processes import train_in_two_processes  # noqa: E402

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def fresh_process(tmp_path_factory):
    """What a new process made of every model that tests registered: name -> `tests.fresh_process.Reloaded`."""
    return load_in_fresh_process(tmp_path_factory.mktemp("saved_models"))


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory):
    """What two processes made of every model whose training tests registered: name -> `tests.training_runs.Run`."""
    return train_in_two_processes(tmp_path_factory.mktemp("two_processes"))


@pytest.fixture(scope="session")
def word_processor() -> LatentTextProcessor:
    """A processor over the 18 one-letter words and the 5 special tokens: as many tokens as tiny parts have."""
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    return LatentTextProcessor(tokenizer, tokenizer)
