"""Sentences with their words, some of them labelled, through `LatentTrainer`, and under autocast."""

import pytest
import torch

from hf_lvm import LatentTrainer, LatentTrainingArguments
from hf_lvm.grammars.abstract_syntax import Node
from tests.models.struct_vae.tiny_meanings import WORDS, batch, tiny_struct_vae

LSTMS = {
    "encoder": "hf_lvm_lstm_encoder",
    "parser": "hf_lvm_lstm_decoder",
    "reader": "hf_lvm_lstm_encoder",
    "decoder": "hf_lvm_lstm_decoder",
    "prior": "hf_lvm_lstm_decoder",
}
COPIES = {"copy_slots": 3, "frontier_embedding": True, "estimator": "rloo", "num_samples": 2}


class Rows(torch.utils.data.Dataset):
    """Six sentences, every third with a meaning, and the words as they are."""

    column_names = ("input_ids", "meaning_ids")

    def __init__(self, model):
        given, tree = batch(model), Node("Both", (Node("All", ("city",)), Node("Named", ("a",))))
        ids = model.grammar.ids_of_trees([tree, Node("All", ("city",))])[1]
        nothing = torch.full_like(ids, -100)
        self.rows = [
            {name: value[row % 3] for name, value in given.items() if name != "words"}
            | {"words": WORDS[row % 3], "meaning_ids": ids if row % 3 == 0 else nothing}
            for row in range(6)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict:
        return self.rows[row]


def collate(rows: list[dict]) -> dict:
    return {
        name: [row[name] for row in rows] if name == "words" else torch.stack([row[name] for row in rows]) for name in rows[0]
    }


def losses(folder, per_device: int) -> list[float]:
    model = tiny_struct_vae(**LSTMS, **COPIES)
    arguments = LatentTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=per_device, gradient_accumulation_steps=6 // per_device,
        max_steps=3, learning_rate=1e-2, lr_scheduler_type="constant", optim="sgd", logging_steps=1, report_to="none",
        save_strategy="no", eval_strategy="no", disable_tqdm=True, use_cpu=True, seed=3, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = LatentTrainer(model=model, args=arguments, train_dataset=Rows(model), data_collator=collate)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_words_and_meanings_go_through_the_trainer(tmp_path):
    whole, parts = losses(tmp_path / "whole", 6), losses(tmp_path / "parts", 2)
    assert len(whole) == 3 and parts == pytest.approx(whole, rel=1e-5)


def test_half_precision():
    model = tiny_struct_vae(**COPIES).train()
    given = batch(model)
    torch.manual_seed(0)
    whole = model(**given)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(**given)
    assert half.loss.dtype == torch.float32
    half.loss.backward()
    torch.testing.assert_close(half.reconstruction, whole.reconstruction, rtol=0.15, atol=0.5)
