"""Every recipe started as users start it on two processes, by torchrun, logs the losses of one process. Minutes: -m slow."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_lvm.data import synthetic_meanings

REPOSITORY = Path(__file__).parents[2]
STEPS, BATCH = 3, 8
SHARED = f"--max_steps {STEPS} --logging_steps 1 --optim sgd --learning_rate 1e-3 --lr_scheduler_type constant --seed 3 "
SHARED += "--use_cpu --disable_tqdm true --report_to none --save_strategy no --eval_strategy no"
REPORT = "--max_test_samples 6 --num_importance_samples 2"
BERT = "--encoder bert --encoder_hidden_size 16 --encoder_num_hidden_layers 1 --encoder_num_attention_heads 2 "
BERT += "--encoder_hidden_dropout_prob 0 --encoder_attention_probs_dropout_prob 0"
GPT2 = "--decoder gpt2 --decoder_hidden_size 16 --decoder_num_hidden_layers 1 --decoder_num_attention_heads 2 "
GPT2 += "--decoder_embd_pdrop 0 --decoder_resid_pdrop 0 --decoder_attn_pdrop 0"
LSTM = "--encoder lstm --encoder_hidden_size 16 --encoder_bidirectional true --encoder_dropout 0"
# Dropout is off in all; what is drawn is drawn by sentence. The runs of Task & Talk are one program and refuse two processes.
RECIPES = {
    "text_vae": f"{BERT} {GPT2} {REPORT} --num_generated 2 --latent_size 4 --word_dropout 0.3",
    "latent_class": f"{BERT} {GPT2} {REPORT} --num_generated 2 --num_classes 3 --estimator rloo --num_samples 2 "
    "--injection embedding logits",
    "neural_hmm": "--num_states 4 --hidden_size 8",
    "neural_topic": "--num_topics 3 --embedding_size 8 --encoder bag_of_words --encoder_hidden_size 8 --encoder_dropout 0 "
    "--batch_norm false",
    "urnng": f"{LSTM} {REPORT} --decoder rnng --decoder_hidden_size 16 --decoder_dropout 0 --num_samples 2 --epoch_samples 0 "
    "--span_hidden_size 8",
    "latent_summarizer": f"{LSTM} {REPORT} --decoder segments --decoder_hidden_size 8 --prior bigram --prior_hidden_size 8 "
    "--prior_epochs 0 --posterior_type delete",
    "struct_vae": f"{LSTM} {REPORT} --meaning_column meaning --max_actions 60 --prior_epochs 0 --decoder_hidden_size 8 "
    "--decoder_dropout 0 --decoder_embedding_dropout 0 --parser_hidden_size 16 --parser_dropout 0 "
    "--parser_embedding_dropout 0 --reader_hidden_size 8 --reader_dropout 0 "
    "--prior_hidden_size 8 --prior_dropout 0 --prior_embedding_dropout 0 "
    "--num_labelled 24 --estimator rloo --num_samples 2",
    "referential_game": "--objects attributes --attribute_sizes 3 4 5 --num_distractors 2 --num_symbols 4 "
    "--max_message_length 3 --sender_hidden_size 16 --receiver_hidden_size 16 --object_size 8 --estimator rloo "
    "--num_samples 2",
    "language_model": GPT2,
}
WITHOUT_TEXTS = ("referential_game",)
# Their distractors are others of the batch of one process, which one process sees as micro-batches.
ACCUMULATED = ("referential_game",)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Short questions with their meanings."""
    folder = tmp_path_factory.mktemp("texts")
    splits = synthetic_meanings.load(400)
    for split in ("train", "validation", "test"):
        rows = [row for row in splits[split] if len(row["meaning"].split()) < 20][: 48 if split == "train" else 6]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def flags_of(recipe: str, data: Path, folder: Path, processes: int) -> list[str]:
    """The command line of a run whose optimizer steps see `BATCH` rows, however many processes share them."""
    rows = BATCH // 2 if recipe in ACCUMULATED else BATCH // processes
    flags = f"{SHARED} {RECIPES[recipe]} --output_dir {folder} --per_device_train_batch_size {rows}"
    if recipe in ACCUMULATED and processes == 1:
        flags += " --gradient_accumulation_steps 2"
    if recipe not in WITHOUT_TEXTS:
        flags += f" --tokenizer words --data_dir {data}"
    return flags.split()


def losses_of(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_log_the_losses_of_one(recipe, data, tmp_path):
    main = importlib.import_module(f"hf_lvm.training.{recipe}").main
    main(flags_of(recipe, data, tmp_path / "one", 1))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1",
         "--nproc_per_node", "2", f"recipes/train_{recipe}.py", *flags_of(recipe, data, tmp_path / "two", 2)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-3000:]
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == STEPS and one == pytest.approx(two, rel=1e-5), (one, two)
