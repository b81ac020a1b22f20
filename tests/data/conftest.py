import os
import subprocess
import sys
import time

import pytest

from hf_lvm.data import LatentTextProcessor, documentation, encode_dataset, train_bpe_tokenizer
from hf_lvm.data.docstrings import read_documentation


@pytest.fixture(scope="session")
def corpus_and_seconds():
    read_documentation.cache_clear()
    start = time.process_time()
    corpus = documentation.load()
    return corpus, time.process_time() - start


@pytest.fixture(scope="session")
def corpus(corpus_and_seconds):
    return corpus_and_seconds[0]


@pytest.fixture(scope="session")
def corpus_seconds(corpus_and_seconds):
    """Seconds of one core that the corpus took from source files to splits."""
    return corpus_and_seconds[1]


@pytest.fixture(scope="session")
def bpe_tokenizer(corpus):
    return train_bpe_tokenizer(corpus["train"]["text"][:], vocab_size=1000)


@pytest.fixture(scope="session")
def processor(bpe_tokenizer):
    return LatentTextProcessor(bpe_tokenizer)


@pytest.fixture(scope="session")
def encoded_train(corpus, processor):
    return encode_dataset(corpus["train"], processor)


@pytest.fixture(scope="session")
def run_python():
    """Run a script in a fresh interpreter; returns what it printed and fails the test with its traceback."""

    def run(script, *arguments, **environment):
        result = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
