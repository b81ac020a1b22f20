"""The train batches that aggressive training draws from."""

from itertools import cycle, islice
from typing import TYPE_CHECKING

import torch

from hf_lvm.data.batching import LengthBucketedSampler
from hf_lvm.training.phases.collated_rows import CollatedRows, lengths_of

if TYPE_CHECKING:
    from hf_lvm.training.trainer import LatentTrainer


class InnerBatches:
    """The training set cut, once, into batches of a whole optimizer step, of sentences of like length where lengths are known.

    `batches[number]` is this process's share of batch `number % len(batches)`, as the micro-batches that the trainer would cut
    it into: any number that is uniform draws uniformly. A last batch that is not full is filled up from the beginning, so that
    every process always has something to do.
    """

    def __init__(self, trainer: "LatentTrainer") -> None:
        args, dataset = trainer.args, trainer.train_dataset
        self._micro_batch, self._world_size, self._rank = trainer._train_batch_size, args.world_size, args.process_index
        self._micro_batches = args.gradient_accumulation_steps
        self._size = self._micro_batch * self._world_size * self._micro_batches
        lengths = lengths_of(dataset, args.length_column_name)
        if lengths is None:
            order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(args.seed)).tolist()
        else:
            order = list(LengthBucketedSampler(lengths, self._size, args.seed))
        self._order = list(islice(cycle(order), -(-len(order) // self._size) * self._size))
        self._collated = CollatedRows(trainer, dataset, "training")

    def __len__(self) -> int:
        return len(self._order) // self._size

    def __getitem__(self, number: int) -> list[dict[str, torch.Tensor]]:
        start = number % len(self) * self._size
        firsts = (start + (micro * self._world_size + self._rank) * self._micro_batch for micro in range(self._micro_batches))
        return [self._collated(self._order[first : first + self._micro_batch]) for first in firsts]
