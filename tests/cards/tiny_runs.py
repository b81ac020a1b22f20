"""A run of one step of every type of model that has a card, by the `main` of its recipe."""

import importlib
import json
from pathlib import Path

from hf_lvm.data import synthetic_grammar, synthetic_meanings
from hf_lvm.training.mains import RECIPES

COMMON = [
    "--max_steps", "1", "--per_device_train_batch_size", "8", "--learning_rate", "1e-2", "--logging_steps", "5", "--use_cpu",
    "--disable_tqdm", "true", "--report_to", "none", "--eval_strategy", "no", "--save_strategy", "no",
]  # fmt: skip
WORDS = ["--max_test_samples", "4", "--tokenizer", "words"]
LSTMS = ["--encoder", "lstm", "--encoder_hidden_size", "8", "--decoder_hidden_size", "8", "--decoder", "lstm"]
FLAGS = {
    "hf_lvm_text_vae": [
        *WORDS, *LSTMS, "--latent_size", "2", "--injection", "initial_state", "--num_generated", "2",
        "--num_importance_samples", "2",
    ],
    "hf_lvm_latent_class": [
        *WORDS, *LSTMS, "--num_classes", "2", "--injection", "initial_state", "--num_generated", "2",
        "--num_importance_samples", "2",
    ],
    "hf_lvm_neural_hmm": [*WORDS, "--num_states", "3", "--hidden_size", "8"],
    "hf_lvm_neural_topic": [
        "--num_topics", "2", "--embedding_size", "4", "--encoder_hidden_size", "8", "--top_words", "3", "--min_documents", "1",
        "--num_importance_samples", "2", "--stop_words", "none",
    ],
    "hf_lvm_urnng": [
        *WORDS, "--encoder", "lstm", "--encoder_hidden_size", "8", "--decoder_hidden_size", "8", "--num_samples", "2",
        "--tree_column", "tree", "--num_importance_samples", "2",
    ],
    "hf_lvm_latent_summarizer": [
        *WORDS, "--encoder_hidden_size", "8", "--decoder_hidden_size", "8", "--prior_epochs", "0",
        "--num_importance_samples", "2",
    ],
    "hf_lvm_struct_vae": [
        *WORDS, "--encoder_hidden_size", "8", "--parser_hidden_size", "8", "--reader_hidden_size", "8",
        "--decoder_hidden_size", "8", "--prior_hidden_size", "8", "--max_actions", "24", "--num_labelled", "8",
        "--unlabelled_weight", "0", "--labelled_share", "0", "--prior_epochs", "0",
        "--num_importance_samples", "2", "--report_beams", "1",
    ],
    "hf_lvm_referential_game": [
        "--attribute_sizes", "3", "4", "--num_distractors", "2", "--num_symbols", "3", "--max_message_length", "2",
        "--sender_hidden_size", "8", "--receiver_hidden_size", "8", "--object_size", "8", "--object_embedding_size", "4",
        "--per_device_train_batch_size", "4", "--test_fraction", "0.25", "--validation_fraction", "0.25",
    ],
    "hf_lvm_task_and_talk": [
        "--num_values", "2", "2", "--num_test", "1", "--num_question_symbols", "2", "--num_answer_symbols", "2",
        "--num_runs", "2", "--hidden_size", "6",
    ],
    "language_model": [*WORDS, "--decoder", "lstm", "--decoder_hidden_size", "8"],
}  # fmt: skip
# Those that read no texts.
GAMES = ("hf_lvm_referential_game", "hf_lvm_task_and_talk")


def write_data(folder: Path) -> Path:
    """Sentences with trees and compressions, and in `meanings/` questions with their meanings."""
    (folder / "meanings").mkdir(parents=True)
    meanings = synthetic_meanings.load(600, num_extra=2)
    for split, rows in synthetic_grammar.load("mixed", 60).items():
        count = 24 if split == "train" else 6
        lines = [
            json.dumps({"text": row["text"], "tree": row["tree"], "summary": " ".join(row["text"].split()[::2])})
            for row in rows.select(range(min(count, len(rows))))
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        # Short ones, which are quickly parsed.
        questions = [row for row in meanings[split] if len(row["meaning"].split()) < 20][:count]
        (folder / "meanings" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    return folder


def run(model_type: str, data: Path, folder: Path) -> Path:
    """The folder of a new run of a model type."""
    if model_type == "hf_lvm_struct_vae":
        data = data / "meanings"
    texts = [] if model_type in GAMES else ["--data_dir", str(data)]
    main = importlib.import_module(RECIPES[model_type]).main
    main(["--output_dir", str(folder), *COMMON, *texts, *FLAGS[model_type]], f"train_{model_type.removeprefix('hf_lvm_')}.py")
    return folder
