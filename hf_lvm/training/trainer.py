"""`LatentTrainer`: a `transformers.Trainer` for models with a latent variable."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.utils import find_batch_size
from torch import nn
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import ModelOutput

from hf_lvm.objectives import RowCounts
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.bucketed_batches import BucketingTrainer
from hf_lvm.training.class_statistics import ClassStatistics, class_probabilities
from hf_lvm.training.clipping import EncoderClipping
from hf_lvm.training.composite_optimizer import with_own_optimizer
from hf_lvm.training.finite_losses import stop_unless_finite
from hf_lvm.training.labelled_rows import labelled_rows
from hf_lvm.training.latent_statistics import LatentStatistics, posterior_means
from hf_lvm.training.model_checks import check_model, check_optimizer_is_made_here
from hf_lvm.training.noise import NoiseStream, row_generators
from hf_lvm.training.parameter_parts import trainable_parameters
from hf_lvm.training.phases.aggressive import AggressiveTraining
from hf_lvm.training.phases.autoencoder_start import AutoencoderStart
from hf_lvm.training.phases.collapse_guard import CollapseGuard
from hf_lvm.training.phases.encoder_end import EncoderEnd
from hf_lvm.training.phases.encoder_start import EncoderStart
from hf_lvm.training.phases.kl_control import KLControlCallback
from hf_lvm.training.phases.learning_rate import give_own_rate
from hf_lvm.training.phases.plateau import PlateauCallback
from hf_lvm.training.phases.saved_settings import SavedSettings
from hf_lvm.training.word_dropout import drop_words, replacement_token_id

logger = logging.getLogger(__name__)

ACTIVE_UNITS_WINDOW = 1024


class LatentTrainer(BucketingTrainer):
    """Trains any model of this package: the stabilizers of latent variables, and noise that belongs to sentences.

    What it adds to `transformers.Trainer`:

    - The weights of the objective come from the global step (`objective_options`), so that resuming is exact.
    - The noise of a sentence depends on the seed, the step and its row in the batch of the whole optimizer step.
      Without dropout, 4 accumulation steps of 2 sentences equal one step of 8, and two processes equal one. (At the
      end of an epoch that does not divide evenly, accelerate gives two processes a few sentences twice.)
    - An evaluation draws the noise of a sentence by its position in the data set: the same numbers each time, for any
      batch size. The loss of an evaluation is the bound itself: KL weight 1, no free bits, no word dropout.
    - Logged, averaged over sentences since the last line of the log: `bound`, `reconstruction`, `kl` (nats per
      sentence, unweighted), `kl_weight`, and `active_units` over the last 1,024 or so sentences. Evaluations give
      `eval_bound`, `eval_reconstruction`, `eval_kl` and `eval_active_units`. Of a latent of categories instead of active
      units `mutual_information`, `used_classes`, `class_perplexity`, and `eval_accuracy` where classes are known. Under
      `gumbel_softmax` what is averaged in training is of the relaxed model, `relaxed_bound` and `relaxed_reconstruction`.
    - A model whose loss is no bound says so by an attribute `reports_bound` that is false: `bound` is then not logged.
    - Semi-supervision: labelled and unlabelled sentences are averaged apart over the whole batch of an optimizer step, of all
      micro-batches and processes. An evaluation hides the classes from the model, and compares.
    - A run may go through phases, each an object with its own rules: a warm start as an autoencoder, first steps without the
      encoder or first epochs that are its last, aggressive training of the encoder, a KL weight that steers to a target, a
      guard against collapse, a learning rate that falls on a plateau. What they know is saved with each checkpoint, and a run
      resumes with the schedules it began with, or not at all.
    - A part that the model names (`hf_lvm.training.parameter_parts`) may have a learning rate of its own, and the encoder an
      optimizer and a norm for clipping: `grad_norm` in the log is then that of all others, beside `encoder_grad_norm`.
    - A loss or gradient that is not finite stops the run before it reaches the weights.
    - Batches are bucketed by length where the training set has the column `args.length_column_name`.

    Args:
        model: a model of this package; its `forward` takes `generator`, `kl_weight`, `free_bits`, `free_bits_mode`.
        args: `LatentTrainingArguments`.
        word_dropout_token_id: token put in the place of dropped words. *optional*, defaults to the unknown token of
            the decoder's tokenizer, or its mask token.
        **kwargs: those of `transformers.Trainer`; `processing_class` is the `LatentTextProcessor`.

    Raises:
        ValueError: word dropout is on and no replacement token can be found, or a phase or key does not go with the model or
            the data.
    """

    # Trainer divides the loss of a micro-batch by their number, in every version; `compute_loss` weighs it by its share of
    # the sentences of the optimizer step, times that number.
    loss_is_scaled_for_ga = False

    def __init__(
        self, model: nn.Module, args: LatentTrainingArguments, *, word_dropout_token_id: int | None = None, **kwargs
    ) -> None:
        super().__init__(model=model, args=args, **kwargs)
        if args.n_gpu > 1:
            logger.warning(
                f"One process sees {args.n_gpu} GPUs and uses one of them: noise per sentence cannot pass through "
                "DataParallel. Use `accelerate launch` to train on all of them"
            )
            args._n_gpu = 1
        self.word_dropout_token_id = word_dropout_token_id
        check_model(args, model)
        is_sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        check_optimizer_is_made_here(args, is_given=self.optimizer is not None, is_sharded=is_sharded)
        if args.word_dropout > 0.0 and word_dropout_token_id is None:
            tokenizer = getattr(self.processing_class, "decoder_tokenizer", self.processing_class)
            self.word_dropout_token_id = replacement_token_id(tokenizer)
        self._add_phases()
        norm = args.encoder_max_grad_norm
        self._encoder_clipping = None if norm is None else EncoderClipping(self.model, norm)
        self._training_statistics = LatentStatistics(ACTIVE_UNITS_WINDOW)
        self._training_classes = ClassStatistics()
        self._evaluation_statistics: LatentStatistics | None = None
        self._evaluation_classes = ClassStatistics()
        self._evaluation_step = 0
        self._last_kl_weight = 1.0
        self._last_temperature: float | None = None
        self._is_relaxed = getattr(getattr(model, "estimator", None), "name", None) == "gumbel_softmax"
        self._noise_step: int | None = None
        self._step_sentences: int | None = None
        self._step_batches = 1
        self._step_rows: RowCounts | None = None
        self._micro_step = 0
        self._micro_losses: list[torch.Tensor] = []
        self._micro_kls: list[torch.Tensor] = []

    def _add_phases(self) -> None:
        """What a run goes through and is watched by; each is an object of its own, which knows its rules."""
        args = self.args
        self._settings = SavedSettings()
        self._kl_control = KLControlCallback(args, self._kl_of_step) if args.kl_target is not None else None
        self._plateau = PlateauCallback(args, self._load_best_model) if args.plateau_patience else None
        starts_fixed = args.encoder_learning_rate == 0 or args.fixed_encoder_steps
        self._encoder_start = EncoderStart(args, self.model) if starts_fixed else None
        starts_aggressive = args.collapse_guard == "act" and args.collapse_guard_action == "aggressive"
        self._encoder_end = EncoderEnd(args, self.model) if args.encoder_epochs is not None else None
        self.aggressive = AggressiveTraining(self) if args.aggressive or starts_aggressive else None
        self._guard = CollapseGuard(self) if args.collapse_guard != "off" else None
        warm_start = AutoencoderStart(args, self.model) if args.autoencoder_warmup_steps else None
        # In this order at each event: the decoder begins anew before the first inner step that meets it.
        phases = (
            self._settings, warm_start, self._encoder_start, self._encoder_end, self._kl_control, self.aggressive, self._guard,
            self._plateau,
        )  # fmt: skip
        for phase in phases:
            if phase is not None:
                self.add_callback(phase)

    # ---- The objective ----

    def objective_options(self, step: int) -> dict[str, float | str]:
        """What `forward` is told about the objective at a global step: the one place where the weights are decided."""
        total_steps = self.state.max_steps
        weight = self.args.kl_weight_at(step, total_steps)
        if self._kl_control is not None and step >= self.args.autoencoder_steps(total_steps):
            weight = self._kl_control.weight
        free_bits = self.free_bits()
        options = {
            "kl_weight": weight,
            "free_bits": free_bits,
            "free_bits_mode": self.args.free_bits_mode if free_bits > 0.0 else "none",
        }
        if self.args.temperature_schedule != "constant":
            start = self.accelerator.unwrap_model(self.model).config.temperature
            options["temperature"] = self.args.temperature_at(step, total_steps, start)
        return options

    def free_bits(self) -> float:
        """The free bits now: those of the run, or what the collapse guard has raised them to."""
        given = 0.0 if self._guard is None else self._guard.free_bits(self.args.free_bits_mode)
        return max(self.args.free_bits, given)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, ModelOutput]:
        """The loss of a micro-batch in training, scaled to its share of the step; the bound in evaluation."""
        compute = self._training_loss if model.training else self._evaluation_loss
        loss, outputs = compute(model, dict(inputs))
        return (loss, outputs) if return_outputs else loss

    def _training_loss(self, model: nn.Module, inputs: dict) -> tuple[torch.Tensor, ModelOutput]:
        step, sentences = self.state.global_step, find_batch_size(inputs)
        options = self.objective_options(step)
        noise_step = step if self._noise_step is None else self._noise_step
        rows = self._rows(self._micro_step, self._train_batch_size, sentences)
        if self.args.word_dropout > 0.0:
            generators = row_generators(self.args.seed, NoiseStream.WORD_DROPOUT, noise_step, rows)
            inputs["decoder_input_ids"] = self._dropped_words(inputs["labels"], generators)
        generators = row_generators(self.args.seed, NoiseStream.LATENTS, noise_step, rows)
        if self._step_rows is not None:
            options["row_counts"] = self._step_rows
        outputs = model(**inputs, generator=generators, **options)
        if self._noise_step is None:  # of the run itself, not of a phase inside one of its steps
            self._training_statistics.add(outputs.reconstruction, outputs.kl, posterior_means(outputs.get("posterior")))
            self._last_kl_weight = options["kl_weight"]
            self._last_temperature = options.get("temperature")
            probabilities = class_probabilities(outputs.get("posterior"))
            if probabilities is not None:
                self._training_classes.add(probabilities)
        self._micro_step += 1
        self._micro_losses.append(outputs.loss.detach())
        self._micro_kls.append(outputs.kl.detach().double().sum())
        if self._step_rows is not None:
            # Already a part of the loss of the whole step; processes are averaged, and micro-batches divided, by others.
            return outputs.loss * self.args.world_size * self._step_batches, outputs
        share = sentences / (self._step_sentences or sentences)
        return outputs.loss * share * self._step_batches, outputs

    def _evaluation_loss(self, model: nn.Module, inputs: dict) -> tuple[torch.Tensor, ModelOutput]:
        classes = inputs.pop("classes", None)
        inputs.pop("required_spans", None)
        # A model that is trained on known compressions or meanings alone has no bound to watch, but log q of those.
        if getattr(getattr(self.accelerator.unwrap_model(model), "config", None), "unlabelled_weight", 1.0) != 0.0:
            for name in ("kept", "summary_ids", "meaning_ids"):
                inputs.pop(name, None)
        rows = self._rows(self._evaluation_step, self.args.eval_batch_size, find_batch_size(inputs))
        generators = row_generators(self.args.seed, NoiseStream.EVALUATION_LATENTS, 0, rows)
        outputs = model(**inputs, generator=generators, kl_weight=1.0, free_bits=0.0, free_bits_mode="none")
        self._evaluation_step += 1
        if self._evaluation_statistics is not None:
            posterior = outputs.get("posterior")
            terms = {
                "reconstruction": outputs.reconstruction,
                "kl": outputs.kl,
                "means": posterior_means(posterior),
                "probabilities": class_probabilities(posterior),
                "classes": classes,
            }
            # Drops the sentences that accelerate repeats to fill the last batch of every process.
            terms = self.accelerator.gather_for_metrics({name: term for name, term in terms.items() if term is not None})
            self._evaluation_statistics.add(terms["reconstruction"], terms["kl"], terms.get("means"))
            if "probabilities" in terms:
                self._evaluation_classes.add(terms["probabilities"], terms.get("classes"))
        return outputs.loss, outputs

    def _rows(self, batch: int, batch_size: int, sentences: int) -> range:
        """Numbers of the sentences of this process's batch, when processes take turns as accelerate lets them."""
        first = (batch * self.args.world_size + self.args.process_index) * batch_size
        return range(first, first + sentences)

    def _dropped_words(self, labels: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
        decoder_input_ids = self.accelerator.unwrap_model(self.model).shift_right(labels)
        padding = torch.zeros_like(labels, dtype=torch.bool)
        padding[:, 1:] = labels[:, :-1] == -100
        return drop_words(decoder_input_ids, self.args.word_dropout, self.word_dropout_token_id, generators, padding)

    def create_optimizer(self, *args, **kwargs):
        """The optimizer; see `transformers.Trainer.create_optimizer`. Parts may have rates or an optimizer of their own."""
        is_new = self.optimizer is None
        super().create_optimizer(*args, **kwargs)
        if is_new:
            rates = self.args.part_rates()
            if self.args.encoder_optim is not None:
                encoder = trainable_parameters(self.model, "encoder")
                rate = rates.pop("encoder", self.args.learning_rate)
                self.optimizer = with_own_optimizer(self.optimizer, encoder, self.args.encoder_optim, rate, self.args)
            for part, rate in rates.items():
                give_own_rate(self.optimizer, trainable_parameters(self.model, part), rate)
        return self.optimizer

    # ---- Batches ----

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The micro-batches of one optimizer step; see `transformers.Trainer.get_batch_samples`."""
        batches, num_items_in_batch = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.begin_step(batches)
        return batches, num_items_in_batch

    # ---- Steps, the run's own and those a phase takes inside of one ----

    def begin_step(self, batches: list[dict[str, torch.Tensor]], noise_step: int | None = None) -> None:
        """Announce the micro-batches of the next optimizer step.

        Args:
            noise_step: number to draw its noise by instead of the global step, for a step that a phase takes inside a step.
        """
        self.batches_of_step = batches
        self._noise_step = noise_step
        self._step_sentences = sum(find_batch_size(batch) for batch in batches)
        self._step_batches = self.current_gradient_accumulation_steps = len(batches)
        self._step_rows = self._count_rows(batches)
        self._micro_step = 0
        self._micro_losses, self._micro_kls = [], []

    def _count_rows(self, batches: list[dict[str, torch.Tensor]]) -> RowCounts | None:
        """Labelled and unlabelled rows of an optimizer step over all processes; None where nothing is said of classes."""
        if not batches or labelled_rows(batches[0]) is None:
            return None
        labelled = sum(int(labelled_rows(batch).sum()) for batch in batches)
        rows = sum(len(batch["labels"]) for batch in batches)
        totals = torch.tensor([labelled, rows - labelled], device=self.args.device)
        return RowCounts(*self.accelerator.reduce(totals, "sum").tolist())

    @property
    def at_last_micro_batch(self) -> bool:
        """Whether the optimizer step has all its gradients."""
        return self._micro_step == self._step_batches

    def training_step(self, model: nn.Module, inputs: dict, num_items_in_batch=None) -> torch.Tensor:
        """Forward and backward pass of a micro-batch; see `transformers.Trainer.training_step`."""
        step = super().training_step
        if self._encoder_end is not None:
            self._encoder_end.before_batch(model, self.state)
        if self.aggressive is None:
            loss = step(model, inputs, num_items_in_batch)
        else:
            loss = self.aggressive.outer_step(lambda module: step(module, inputs, num_items_in_batch), model)
        for phase in (self._encoder_start, self._encoder_end):
            if phase is not None:
                phase.drop_gradients(self.state)
        return loss

    def backward_of_step(self, batches: list[dict[str, torch.Tensor]]) -> torch.Tensor:
        """Gradients of a step of this process alone, not averaged; its loss in nats and its tokens, summed: (2,) float64."""
        totals = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch in batches:
            super().training_step(self.model, batch)
            labels = batch["labels"]
            totals += torch.stack(
                [self._micro_losses[-1].double() * len(labels), (labels != -100).sum().to(totals.device).double()]
            )
        return totals

    def update_weights(self) -> None:
        """Clip, check and use the gradients there are, and clear them."""
        norm = self._clip_grad_norm(self.model) if self.args.max_grad_norm > 0 else None
        self._get_grad_norm(self.model, norm)
        self.optimizer.step()
        self.model.zero_grad()

    @contextmanager
    def synchronized_gradients(self) -> Iterator[None]:
        """Optimizer steps count inside the `with`, also where the step around it still accumulates."""
        state = self.accelerator.gradient_state
        before = state.sync_gradients
        state._set_sync_gradients(True)
        try:
            yield
        finally:
            state._set_sync_gradients(before)

    def _kl_of_step(self) -> float:
        """KL of the optimizer step just made, nats per sentence, over all processes."""
        kl = torch.stack(self._micro_kls).sum()
        totals = self.accelerator.reduce(torch.stack([kl, torch.full_like(kl, float(self._step_sentences))]), "sum")
        return float(totals[0] / totals[1])

    # ---- Watching ----

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the averages of the model's terms beside the training loss."""
        if "loss" in logs:
            statistics = self._training_statistics
            values = statistics.compute(
                total=lambda totals: self.accelerator.reduce(totals, "sum"), gather=self.accelerator.gather
            )
            # The objective of a relaxed model does not bound log p(x) of the discrete one.
            relaxed = ("bound", "reconstruction") if self._is_relaxed else ()
            values = self._without_false_bound(values)
            logs |= {f"relaxed_{name}" if name in relaxed else name: value for name, value in values.items()}
            if self._last_temperature is not None:
                logs["temperature"] = self._last_temperature
            logs |= self._training_classes.compute(total=lambda totals: self.accelerator.reduce(totals, "sum"))
            self._training_classes.reset()
            logs["kl_weight"] = self._last_kl_weight
            if self._guard is not None:
                logs["free_bits"] = self.free_bits()
            if self.aggressive is not None:
                logs |= self.aggressive.averages()
            if self._encoder_clipping is not None:
                logs |= self._encoder_clipping.last_norm()
            statistics.reset_totals()
        super().log(logs, start_time)

    def log_aside(self, logs: dict[str, float]) -> None:
        """Log what a phase has measured; a line of the training log that is due at this step is still written."""
        due = self.control.should_log
        self.log(logs)
        self.control.should_log = due

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Evaluate; see `transformers.Trainer.evaluation_loop`. Adds the bound, its terms and the active units."""
        self._evaluation_statistics, self._evaluation_step = LatentStatistics(), 0
        self._evaluation_classes.reset()
        try:
            output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
            metrics = self._evaluation_statistics.compute() | self._evaluation_classes.compute()
        finally:
            self._evaluation_statistics = None
        if metrics:
            # Trainer averages batches and leaves out those that are not finite; the bound is over all sentences.
            output.metrics[f"{metric_key_prefix}_loss"] = -metrics["bound"]
        metrics = self._without_false_bound(metrics)
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in metrics.items()})
        return output

    def _without_false_bound(self, values: dict[str, float]) -> dict[str, float]:
        """The values, without `bound` where `reports_bound` of the model is false: its two terms do not sum to a bound."""
        if getattr(self.accelerator.unwrap_model(self.model), "reports_bound", True):
            return values
        return {name: value for name, value in values.items() if name != "bound"}

    def _clip_grad_norm(self, model: nn.Module):
        if self._encoder_clipping is None:
            return super()._clip_grad_norm(model)
        return self._encoder_clipping.clip_others(self.accelerator, self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm=None):
        # The last moment before the optimizer step, after gradients were averaged over processes.
        if self._encoder_clipping is None:
            grad_norm = norm_of_all = super()._get_grad_norm(model, grad_norm)
        else:
            if grad_norm is None:
                grad_norm = self._encoder_clipping.clip_others(self.accelerator, math.inf)
            norm_of_all = self._encoder_clipping.clip_encoder(grad_norm)
        stop_unless_finite(
            self._micro_losses,
            norm_of_all,
            accelerator=self.accelerator,
            step=self.state.global_step + 1,
            output_dir=self.args.output_dir,
        )
        return grad_norm

    # ---- Special tokens ----

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """Train; see `AtomicSavingTrainer.train`.

        Raises:
            FloatingPointError: the loss or the gradient is not finite; names the step and the last good checkpoint.
        """
        self._special_token_ids = self._read_special_token_ids()
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _init_training_state(self, *args, **kwargs) -> tuple[int, int]:
        progress = super()._init_training_state(*args, **kwargs)
        self._settings.begin(self.args.saved_settings(self.state.max_steps), self._resumed_from)
        if self._plateau is not None and self._plateau.finished:
            return self.state.num_train_epochs, 0  # nothing is left to do for a run that the rule had ended
        return progress

    def _inner_training_loop(self, *args, **kwargs):
        self._training_statistics = LatentStatistics(ACTIVE_UNITS_WINDOW)
        self._training_classes.reset()
        # `Trainer.train` has by now given the decoder the special tokens of `processing_class.tokenizer`, which is the
        # encoder's. The decoder keeps its own.
        if hasattr(self.processing_class, "decoder_tokenizer"):
            for holder, name, value in self._special_token_ids:
                setattr(holder, name, value)
        return super()._inner_training_loop(*args, **kwargs)

    def _read_special_token_ids(self) -> list[tuple[object, str, int | list[int] | None]]:
        holders = [self.model.config.get_text_config(), getattr(self.model, "generation_config", None)]
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        return [(holder, name, getattr(holder, name, None)) for holder in holders if holder for name in names]
