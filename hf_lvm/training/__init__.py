"""Arguments, the trainer, callbacks and the `main` of each recipe."""

from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.trainer import LatentTrainer

__all__ = ["LatentTrainer", "LatentTrainingArguments"]
