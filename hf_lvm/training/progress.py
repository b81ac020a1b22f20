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
        if "bound" in logs:
            self.training_bar.set_postfix_str(
                f"-ELBO {-logs['bound']:.1f} = reconstruction {logs['reconstruction']:.1f} + KL {logs['kl']:.1f} "
                f"nats, KL weight {logs['kl_weight']:.2f}, {logs.get('active_units', 0)} active units"
            )
        elif "eval_bound" in logs:
            self.training_bar.write(
                f"Validation at step {state.global_step}: -ELBO {-logs['eval_bound']:.2f} = reconstruction "
                f"{logs['eval_reconstruction']:.2f} + KL {logs['eval_kl']:.2f} nats/sentence, "
                f"{logs.get('eval_active_units', 0)} active units",
                file=sys.stderr,
            )
