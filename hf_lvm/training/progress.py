"""A progress bar that shows the bound while it moves, instead of a line of numbers every few steps."""

import logging
import sys

from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging as transformers_logging


def start_logging(process_index: int) -> None:
    """Let a run say what it does, once for all processes, on the error stream."""
    if process_index == 0:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        logging.getLogger("hf_lvm").setLevel(logging.INFO)
    else:
        transformers_logging.set_verbosity_error()
    # One bar for the run is enough; this one would draw another for each file that is saved.
    transformers_logging.disable_progress_bar()


class LatentProgressCallback(ProgressCallback):
    """The bars of transformers with the terms of the bound beside them; `trainer_state.json` has the whole log."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict | None = None, **kwargs
    ) -> None:
        if not state.is_world_process_zero or self.training_bar is None or not logs:
            return
        of = "relaxed_" if "relaxed_bound" in logs else ""
        if f"{of}bound" in logs:
            self.training_bar.set_postfix_str(
                f"{'relaxed ' if of else ''}-ELBO {-logs[f'{of}bound']:.1f} = reconstruction "
                f"{logs[f'{of}reconstruction']:.1f} + KL {logs['kl']:.1f} "
                f"nats, KL weight {logs['kl_weight']:.2f}{_usage(logs)}"
            )
        elif "reconstruction" in logs:
            self.training_bar.set_postfix_str(f"loss {logs['reconstruction']:.2f}, KL {logs['kl']:.1f} nats{_usage(logs)}")
        elif "eval_bound" in logs:
            self.training_bar.write(
                f"Validation at step {state.global_step}: -ELBO {-logs['eval_bound']:.2f} = reconstruction "
                f"{logs['eval_reconstruction']:.2f} + KL {logs['eval_kl']:.2f} nats/sentence"
                f"{_usage(logs, 'eval_')}",
                file=sys.stderr,
            )
        elif "eval_reconstruction" in logs:
            # Of a model whose loss is no bound.
            self.training_bar.write(
                f"Validation at step {state.global_step}: loss {logs['eval_reconstruction']:.2f}, KL {logs['eval_kl']:.2f} "
                f"nats{_usage(logs, 'eval_')}",
                file=sys.stderr,
            )


def _usage(logs: dict, prefix: str = "") -> str:
    """What the latent is used for, as the end of a line: active units of a vector, used classes of categories."""
    said = ""
    if f"{prefix}active_units" in logs:
        said = f", {logs[f'{prefix}active_units']} active units"
    if f"{prefix}used_classes" in logs:
        information = logs[f"{prefix}mutual_information"]
        said = f", {logs[f'{prefix}used_classes']:g} classes used, I(x; z) {information:.2f} nats"
    if f"{prefix}accuracy" in logs:
        said += f", accuracy {logs[f'{prefix}accuracy']:.1%}"
    if f"{prefix}message_length" in logs:
        said += f", {logs[f'{prefix}message_length']:.1f} symbols a message"
    return said
