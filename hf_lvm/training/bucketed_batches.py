"""Which sentences make a batch: of alike lengths in training, all of them and in order in an evaluation."""

from torch.utils.data import Sampler, SequentialSampler
from transformers import TrainerCallback

from hf_lvm.data.batching import LabelledShareSampler, LengthBucketedSampler
from hf_lvm.training.checkpoints import AtomicSavingTrainer
from hf_lvm.training.labelled_rows import TELLING_COLUMNS, labelled_texts


class BucketingTrainer(AtomicSavingTrainer):
    """A `Trainer` that buckets batches by length where the training set has the column `args.length_column_name`.

    With `labelled_share` each batch is also mixed of rows whose latent is known and others.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.add_callback(_SamplerEpoch())

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        dataset = self.train_dataset
        column = self.args.length_column_name
        columns = getattr(dataset, "column_names", ())
        labelled = labelled_texts(dataset) if self.args.labelled_share > 0.0 else None
        if self.args.labelled_share > 0.0 and (labelled is None or column not in columns):
            raise ValueError(
                f"labelled_share mixes labelled and unlabelled rows, and the training set lacks the column {column!r}, or one "
                f"that tells of a latent ({', '.join(map(repr, TELLING_COLUMNS))}): leave it out."
            )
        if self.args.train_sampling_strategy != "random" or column not in columns:
            return super()._get_train_sampler(train_dataset)
        # A bucket is the batch of a whole optimizer step: however it is cut into micro-batches and over processes,
        # the step sees the same sentences.
        step_batch = self._train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        if self.args.labelled_share > 0.0:
            share = max(1, round(self.args.labelled_share * step_batch))
            return LabelledShareSampler(dataset[column], labelled, step_batch, share, seed)
        return LengthBucketedSampler(dataset[column], step_batch, seed)

    def _get_eval_sampler(self, eval_dataset) -> Sampler | None:
        # In order, whatever the training order is: the noise of a sentence is found by its position.
        return SequentialSampler(eval_dataset) if hasattr(eval_dataset, "__len__") else None

    def get_eval_dataloader(self, *args, **kwargs):
        """Batches of an evaluation: all sentences, also where `dataloader_drop_last` leaves some out in training."""
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            return super().get_eval_dataloader(*args, **kwargs)
        finally:
            self.args.dataloader_drop_last = drop_last


class _SamplerEpoch(TrainerCallback):
    """Tells the sampler its epoch, which a dataloader that skips batches after a resume does not always pass on."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs) -> None:
        sampler = train_dataloader.batch_sampler
        while hasattr(sampler, "batch_sampler"):
            sampler = sampler.batch_sampler
        sampler = getattr(sampler, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(int(state.epoch or 0))
