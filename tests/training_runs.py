"""Short training runs with SGD: Adam would amplify a difference of one rounding error to that of a whole step."""

from dataclasses import dataclass
from pathlib import Path

import datasets
import torch
from transformers import Trainer, TrainingArguments, default_data_collator

from hf_lvm.data import GameCollator, draw_games
from hf_lvm.data.task_and_talk import all_objects, instances
from tests.tiny_parts import batch_of, random_rows

STEPS = 3
BATCH = 8
GAME_OBJECTS = torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(5))


@dataclass
class Run:
    """What a run logged at each optimizer step, and the weights it ended with."""

    losses: list[float]
    grad_norms: list[float]
    weights: dict[str, torch.Tensor]


def corpus(count: int = STEPS * BATCH, seed: int = 5) -> datasets.Dataset:
    """Sentences of several lengths, encoded."""
    rows = random_rows(count, seed=seed)
    return datasets.Dataset.from_dict({"input_ids": rows, "labels": rows})


def partly_labelled(dataset: datasets.Dataset, num_variables: int) -> datasets.Dataset:
    """The data set with classes of 0 to 2: known for some sentences, for others in part, for most not at all."""
    known = [[(row + variable) % 3 if row % 3 + variable < 2 and row % 4 else -1 for variable in range(num_variables)]
             for row in range(len(dataset))]  # fmt: skip
    return dataset.add_column("classes", known)


def some_told(dataset: datasets.Dataset) -> datasets.Dataset:
    """The data set with known compressions, the first word and the end, of every fourth sentence."""
    told = [[labels[0], labels[-1]] if row % 4 == 0 else [-100] * 2 for row, labels in enumerate(dataset["labels"])]
    return dataset.add_column("summary_ids", told)


def games(count: int = STEPS * BATCH) -> datasets.Dataset:
    """Games about some of `GAME_OBJECTS`, each with distractors of its own."""
    return draw_games(GAME_OBJECTS, 3, targets=range(count))


def questions(model, count: int = STEPS * BATCH) -> datasets.Dataset:
    """Objects and tasks of Task & Talk with their answers."""
    rows = instances(all_objects(model.config.num_values), model.config.num_tasks)
    rows["labels"] = model.labels_of(**rows)
    return datasets.Dataset.from_dict({name: values[:count].tolist() for name, values in rows.items()})


def data_of(model) -> dict:
    """The training set of a model, and what makes batches of it."""
    if model.config.model_type == "hf_lvm_referential_game":
        return {"dataset": games(), "data_collator": GameCollator(GAME_OBJECTS)}
    if model.config.model_type == "hf_lvm_task_and_talk":
        return {"dataset": questions(model), "data_collator": default_data_collator}
    return {"dataset": corpus(), "data_collator": collate}


def latent_data(model) -> dict:
    """`data_of` a model, with classes or compressions that it is told of some rows."""
    data = data_of(model)
    if hasattr(model.config, "num_variables"):
        data["dataset"] = partly_labelled(data["dataset"], model.config.num_variables)
    if getattr(model.config, "unlabelled_posterior", None):
        data["dataset"] = some_told(data["dataset"])
    return data


def latent_batch(model, count: int = 4) -> dict[str, torch.Tensor]:
    """The first rows of `latent_data` as a batch."""
    data = latent_data(model)
    return data["data_collator"]([data["dataset"][row] for row in range(count)])


def collate(features: list[dict]) -> dict[str, torch.Tensor]:
    batch = batch_of([feature["labels"] for feature in features])
    if "classes" in features[0]:
        batch["classes"] = torch.tensor([feature["classes"] for feature in features])
    if "summary_ids" in features[0]:
        batch["summary_ids"] = torch.tensor([feature["summary_ids"] for feature in features])
    return batch


def latent_run(model, folder: Path, *, per_device: int, accumulation: int, **options) -> Run:
    """Train with `LatentTrainer`; a model of classes is told some of them, one with two posteriors some compressions."""
    from hf_lvm import LatentTrainer, LatentTrainingArguments

    options = latent_data(model) | options
    return _run(LatentTrainer, LatentTrainingArguments, model, folder, per_device, accumulation, options)


def stock_run(model, folder: Path, *, per_device: int, accumulation: int, **options) -> Run:
    """Train with transformers' own `Trainer`."""
    return _run(Trainer, TrainingArguments, model, folder, per_device, accumulation, options)


def _run(trainer_class, arguments_class, model, folder, per_device, accumulation, options) -> Run:
    defaults = {
        "max_steps": STEPS, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "optim": "sgd", "logging_steps": 1,
        "max_grad_norm": 1e6, "report_to": "none", "save_strategy": "no", "eval_strategy": "no", "disable_tqdm": True,
        "use_cpu": True, "seed": 3, "dataloader_pin_memory": False,
    }  # fmt: skip
    data, checkpoint = data_of(model), options.pop("resume_from_checkpoint", None)
    dataset, collator = (options.pop(name, None) or data[name] for name in ("dataset", "data_collator"))
    arguments = arguments_class(
        output_dir=str(folder),
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        **defaults | options,
    )
    trainer = trainer_class(model=model, args=arguments, train_dataset=dataset, data_collator=collator)
    trainer.train(resume_from_checkpoint=checkpoint)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    return Run(
        losses=[entry["loss"] for entry in logged],
        grad_norms=[float(entry["grad_norm"]) for entry in logged],
        weights={name: value.detach().clone() for name, value in model.state_dict().items()},
    )


def assert_same_run(one: Run, other: Run, tolerance: float = 1e-5) -> None:
    """Losses, gradients and weights agree relative to their size."""
    assert len(one.losses) == len(other.losses) > 0
    for name in ("losses", "grad_norms"):
        torch.testing.assert_close(
            torch.tensor(getattr(one, name)), torch.tensor(getattr(other, name)), rtol=tolerance, atol=0.0, msg=name
        )
    for name, value in one.weights.items():
        difference = (value - other.weights[name]).abs().max()
        assert difference <= tolerance * value.abs().max().clamp(min=1e-3), (name, difference)
