"""What the phases of a run look at on the validation set, between the evaluations of the trainer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Distribution

from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives.diagnostics import mutual_information
from hf_lvm.training.noise import NoiseStream, row_generators
from hf_lvm.training.phases.collated_rows import CollatedRows, lengths_of

if TYPE_CHECKING:
    from hf_lvm.training.trainer import LatentTrainer

MUTUAL_INFORMATION_BATCH = 32  # of He et al. 2019, with the ceiling log 32 = 3.47 nats


@dataclass
class Encoded:
    """Sentences seen by a model in evaluation mode: B of them, D latent dimensions.

    Attributes:
        posterior: q(z|x), batch (B,), event (D,).
        latents: (B, D), one sample each.
        kl: (B,) nats.
        kl_per_dimension: (B, D), or None.
    """

    posterior: Distribution
    latents: Tensor
    kl: Tensor
    kl_per_dimension: Tensor | None


class HeldOut:
    """The validation set of a trainer, looked at without dropout.

    Every sentence has the noise of its position, at each look and in each process, so that two numbers differ because the
    model has changed and for no other reason. A look draws nothing from the global generators.

    Args:
        trainer: whose model looks.
        needed_by: what needs the validation set, for the error message.

    Raises:
        ValueError: there is no validation set, or several.
    """

    def __init__(self, trainer: "LatentTrainer", needed_by: str) -> None:
        dataset = trainer.eval_dataset
        if isinstance(dataset, dict) or not hasattr(dataset, "__len__") or len(dataset) < 2:
            raise ValueError(
                f"{needed_by} looks at sentences of the validation set: give the trainer one eval_dataset, of 2 sentences or "
                "more"
            )
        self._trainer = trainer
        self._collated = CollatedRows(trainer, dataset, "evaluation")

    def __len__(self) -> int:
        return len(self._trainer.eval_dataset)

    def encode(self, rows: Sequence[int]) -> Encoded:
        """What the model makes of these rows, as one batch."""
        trainer, model = self._trainer, self._trainer.model
        batch = trainer._prepare_inputs(self._collated(rows))
        batch.pop("classes", None)  # what the model finds out by itself is looked at
        generators = row_generators(trainer.args.seed, NoiseStream.EVALUATION_LATENTS, 0, rows)
        with in_evaluation_mode(model), trainer.compute_loss_context_manager():
            output = model(**batch, generator=generators, kl_weight=1.0, free_bits=0.0, free_bits_mode="none")
        latents = output.latents.float() if output.latents.is_floating_point() else output.latents
        return Encoded(output.posterior, latents, output.kl, output.get("kl_per_dimension"))

    def batch_mutual_information(self) -> float:
        """Mutual information of sentence and latent within batches of 32 of all sentences, nats, over all processes.

        Batches are of sentences of like length where lengths are known, as in He et al. 2019: a latent that knew nothing but
        the length would otherwise seem to know more.
        """
        args = self._trainer.args
        lengths = lengths_of(self._trainer.eval_dataset, args.length_column_name)
        rows = sorted(range(len(self)), key=None if lengths is None else lengths.__getitem__)
        batches = [rows[first : first + MUTUAL_INFORMATION_BATCH] for first in range(0, len(rows), MUTUAL_INFORMATION_BATCH)]
        totals = torch.zeros(2, dtype=torch.float64, device=args.device)
        for batch in batches[args.process_index :: args.world_size]:
            encoded = self.encode(batch)
            totals[0] += mutual_information(encoded.posterior, encoded.latents) * len(batch)
            totals[1] += len(batch)
        information, sentences = self._trainer.accelerator.reduce(totals, "sum").tolist()
        return information / sentences


def mutual_information_of_parts(parts: Sequence[Encoded]) -> float:
    """`mutual_information` over the sentences of several batches together, nats, at most log(number of sentences)."""
    latents = torch.cat([part.latents for part in parts])
    with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):
        # (N, N): log q(z_i | x_j)
        log_density = torch.cat([part.posterior.log_prob(latents.unsqueeze(1)) for part in parts], dim=1)
        information = log_density.diagonal() - log_density.logsumexp(dim=1)
    return float(information.mean()) + math.log(len(latents))
