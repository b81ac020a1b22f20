"""`transformers.Trainer`, not ours, trains every model with its own collator: the loss falls, is evaluated, and what is saved
is what was trained. That accumulated batches equal whole ones, and an evaluation what the model says, is in the contract."""

import math
from collections.abc import Callable

import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments, default_data_collator

from hf_lvm.data import (
    CompressionCollator,
    GameCollator,
    LatentTextCollator,
    MeaningCollator,
    TreeCollator,
    draw_games,
    encode_dataset,
    encode_trees,
)
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.models.neural_hmm.test_neural_hmm import build as build_hmm
from tests.models.neural_topic.test_neural_topic import build as build_topics
from tests.models.referential_game.tiny_games import OBJECTS
from tests.models.referential_game.tiny_games import tiny_game as referential_game
from tests.models.struct_vae.tiny_meanings import every_derivation, tiny_struct_vae
from tests.models.task_and_talk.tiny_games import TINY
from tests.models.task_and_talk.tiny_games import tiny_game as task_and_talk
from tests.models.urnng.tiny_grammars import tiny_urnng
from tests.tiny_parts import tiny_classes, tiny_vae
from tests.training_runs import questions

SENTENCES = [
    f"{subject} {verb} {thing}" + tail for subject in "ab" for verb in "cd" for thing in "ef" for tail in ("", " g h")
]


def texts(processor, **columns) -> Dataset:
    rows = Dataset.from_dict({"text": SENTENCES, **columns})
    return encode_dataset(rows, processor, keep_columns=list(columns))


def words(processor, model) -> Dataset:
    return encode_trees(Dataset.from_dict({"text": SENTENCES}), processor, tree_column=None)


def labelled(processor, model) -> Dataset:
    return texts(processor, classes=[[row % 3 if row % 2 else -1] for row in range(len(SENTENCES))])


def compressions(processor, model) -> Dataset:
    rows = words(processor, model)
    kept = [[True] + [False] * (len(text.split()) - 1) if row % 2 else [] for row, text in enumerate(SENTENCES)]
    return rows.add_column("kept", kept)


def meanings(processor, model) -> Dataset:
    rows = words(processor, model).add_column("words", [text.split() for text in SENTENCES])
    trees = [row[row != model.config.pad_token_id].tolist() for row in every_derivation(model, 0)[:4]]
    return rows.add_column("meaning_ids", [trees[row % 4] if row % 2 else [] for row in range(len(SENTENCES))])


MODELS: dict[str, tuple[Callable, Callable, Callable]] = {
    "text VAE": (lambda: tiny_vae(), lambda processor, model: texts(processor), LatentTextCollator),
    "latent classes": (lambda: tiny_classes(), labelled, LatentTextCollator),
    "hidden Markov model": (build_hmm, lambda processor, model: texts(processor), LatentTextCollator),
    "topics": (build_topics, lambda processor, model: texts(processor), LatentTextCollator),
    "grammar": (tiny_urnng, words, TreeCollator),
    "summarizer": (tiny_summarizer, compressions, CompressionCollator),
    "meanings": (lambda: tiny_struct_vae(perturbation=0.02, estimator="rloo"), meanings, MeaningCollator),
    "referential game": (
        lambda: referential_game(),
        lambda processor, model: draw_games(OBJECTS, 2, targets=[row % len(OBJECTS) for row in range(16)]),
        lambda processor: GameCollator(OBJECTS),
    ),
    "dialog": (
        lambda: task_and_talk(torch.float32, num_values=TINY["num_values"], initial_scale=1.0),
        lambda processor, model: questions(model, 12),
        lambda processor: default_data_collator,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_evaluates_and_saves(name, word_processor, tmp_path):
    build, data_of, collator_of = MODELS[name]
    model = build()
    dataset = data_of(word_processor, model)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=6,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=5,
        gradient_accumulation_steps=2,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
        logging_steps=1,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=1,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=collator_of(word_processor),
        processing_class=word_processor,
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    after = trainer.evaluate()["eval_loss"]
    assert len(losses) == 6 and all(map(math.isfinite, [before, *losses, after]))
    assert sum(losses[-2:]) < sum(losses[:2]) and after < before, (before, losses, after)
    trainer.save_model(tmp_path / "saved")
    loaded = AutoModel.from_pretrained(tmp_path / "saved")
    assert type(loaded) is type(model)
    trained = {key: value.cpu() for key, value in model.state_dict().items()}
    assert all(torch.equal(value, trained[key]) for key, value in loaded.state_dict().items()) and trained
    processor = AutoProcessor.from_pretrained(tmp_path / "saved")
    assert processor(SENTENCES)["input_ids"].tolist() == word_processor(SENTENCES)["input_ids"].tolist()
