"""A run that has diverged stops before it reaches the weights."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor

from hf_lvm.training.checkpoints import last_checkpoint


def stop_unless_finite(
    losses: list[Tensor], grad_norm: Tensor | float, *, accelerator: Accelerator, step: int, output_dir: str
) -> None:
    """Check an optimizer step after the backward pass and before the update, in all processes.

    Args:
        losses: of the micro-batches of this process.
        grad_norm: of the gradient, averaged over processes.
        step: number of the optimizer step, from 1.
        output_dir: where the run keeps its checkpoints.

    Raises:
        FloatingPointError: a loss or the gradient is not finite in some process; names the last good checkpoint.
    """
    stacked = torch.stack(losses).float()
    norm = torch.as_tensor(grad_norm, dtype=torch.float32, device=stacked.device)
    if accelerator.scaler is not None:
        # float16 gradients overflow now and then; the scaler skips those steps by itself.
        norm = torch.zeros_like(norm)
    # One process with a bad loss must stop all of them, or the others would wait for it.
    values = accelerator.gather(torch.cat([stacked, norm.reshape(1)])).view(-1, len(losses) + 1)
    if torch.isfinite(values).all():
        return
    bad_loss = next((value for value in values[:, :-1].flatten().tolist() if not math.isfinite(value)), None)
    what = f"loss is {bad_loss}" if bad_loss is not None else f"norm of the gradient is {values[0, -1].item()}"
    checkpoint = last_checkpoint(output_dir)
    kept = f"The last good checkpoint is {checkpoint}" if checkpoint else "No checkpoint was saved before it"
    raise FloatingPointError(
        f"Training stopped at step {step}: the {what}. The weights were not updated with it. {kept}. A smaller "
        "learning_rate, a smaller max_grad_norm or a longer warm-up may help"
    )
