import os
import subprocess
import sys

import pytest

from hf_lvm.data import LatentTextProcessor, documentation, encode_dataset, train_bpe_tokenizer


@pytest.fixture(scope="session")
def corpus():
    return documentation.load()


@pytest.fixture(scope="session")
def bpe_tokenizer(corpus):
    return train_bpe_tokenizer(corpus["train"]["text"][:], vocab_size=1000)


@pytest.fixture(scope="session")
def processor(bpe_tokenizer):
    return LatentTextProcessor(bpe_tokenizer)


@pytest.fixture(scope="session")
def encoded_train(corpus, processor):
    return encode_dataset(corpus["train"], processor)


@pytest.fixture
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
