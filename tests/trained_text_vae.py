"""One text VAE trained by `hf_lvm.training.text_vae.main` on a local file, for all tests that need a finished run."""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hf_lvm.training.text_vae import main

CONFIG = """\
model_type: hf_lvm_text_vae
encoder: bert
encoder_hidden_size: 32
encoder_num_hidden_layers: 1
decoder: gpt2
decoder_hidden_size: 32
decoder_num_hidden_layers: 1
decoder_max_position_embeddings: 32
latent_size: 4
injection: [prefix, embedding]
injection_length: 1
tokenizer: words
max_steps: 24
per_device_train_batch_size: 16
per_device_eval_batch_size: 32
learning_rate: 1e-2
kl_schedule: linear
kl_warmup_steps: 0.5
free_bits: 0.25
logging_steps: 4
eval_strategy: steps
eval_steps: 8
save_strategy: steps
save_steps: 8
num_importance_samples: 5
num_generated: 6
report_to: none
use_cpu: true
disable_tqdm: true
"""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        folder: its `output_dir`.
        texts, config: the files it was made from.
        results: what `main` returned.
    """

    folder: Path
    texts: Path
    config: Path
    results: dict[str, Any]


def write_texts(path: Path, count: int = 300) -> Path:
    """Distinct sentences of a very small language, one a line."""
    subjects = [f"{article} {noun}" for article in ("a", "the", "this") for noun in ("cat", "dog", "bird", "child")]
    verbs = ["sees", "hears", "finds", "follows", "does not see"]
    objects = [f"{article} {noun}" for article in ("a", "the") for noun in ("house", "small tree", "red car", "river")]
    sentences = [" ".join(parts) + " ." for parts in itertools.product(subjects, verbs, objects)]
    random.Random(0).shuffle(sentences)
    path.write_text("\n".join(sentences[:count]) + "\n")
    return path


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> TrainedRun:
    """The run of `CONFIG`, made once in a session. Nobody may write into its folder."""
    place = tmp_path_factory.mktemp("trained")
    texts, config, folder = write_texts(place / "texts.txt"), place / "run.yaml", place / "run"
    config.write_text(CONFIG)
    results = main(["--config", str(config), "--dataset", str(texts), "--output_dir", str(folder)], "hf-lvm train")
    return TrainedRun(folder, texts, config, results)
