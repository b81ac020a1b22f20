"""A corpus as a model sees it: every text encoded, sampled and scored once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from datasets import Dataset
from tqdm.auto import tqdm

from hf_lvm.data import LatentTextCollator, LatentTextProcessor
from hf_lvm.layers.decoder_interface import in_evaluation_mode


@dataclass(frozen=True)
class EncodedCorpus:
    """N texts under a model with a Gaussian latent of D dimensions; all tensors on the CPU.

    Attributes:
        means, standard_deviations, latents: (N, D), of q(z|x) and one sample of it.
        reconstruction: (N,), -log p(x|z) of that sample, nats per sentence.
        permuted_reconstruction: (N,), -log p(x|z) under the sample of another text.
        kl_per_dimension: (N, D), nats.
    """

    means: torch.Tensor
    standard_deviations: torch.Tensor
    latents: torch.Tensor
    reconstruction: torch.Tensor
    permuted_reconstruction: torch.Tensor
    kl_per_dimension: torch.Tensor

    @property
    def negative_bound(self) -> torch.Tensor:
        """(N,), reconstruction + KL: the negative ELBO in nats per sentence."""
        return self.reconstruction + self.kl_per_dimension.sum(-1)


def batches(
    dataset: Dataset, processor: LatentTextProcessor, batch_size: int, device: torch.device, description: str
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Row numbers and tensors of batches of similar length, with a progress bar."""
    collate = LatentTextCollator(processor)
    order = sorted(range(len(dataset)), key=dataset["length"][:].__getitem__)
    columns = dataset.select_columns(["input_ids", "attention_mask", "labels"])
    for begin in tqdm(range(0, len(order), batch_size), desc=description, leave=False):
        rows = order[begin : begin + batch_size]
        inputs = collate([columns[row] for row in rows])
        yield rows, {name: tensor.to(device) for name, tensor in inputs.items()}


@torch.no_grad()
def encode_corpus(
    model, dataset: Dataset, processor: LatentTextProcessor, batch_size: int = 64, seed: int = 0
) -> EncodedCorpus:
    """Encode, sample and score every text of a data set, without dropout.

    Args:
        model: a text VAE, or any model with its `forward`.
        dataset: texts encoded by `encode_dataset`.
        seed: of the samples; a text's noise does not depend on the batch size.
    """
    count = len(dataset)
    columns: dict[str, torch.Tensor] = {}
    with in_evaluation_mode(model):
        for rows, inputs in batches(dataset, processor, batch_size, model.device, "Encoding"):
            output = model(**inputs, generator=_row_generators(rows, seed))
            values = {
                "means": output.posterior.mean,
                "standard_deviations": output.posterior.stddev,
                "latents": output.latents,
                "reconstruction": output.reconstruction,
                "kl_per_dimension": output.kl_per_dimension,
            }
            for name, value in values.items():
                if name not in columns:
                    columns[name] = torch.zeros(count, *value.shape[1:], dtype=value.dtype)
                columns[name][rows] = value.cpu()
        permuted = columns["latents"][derangement(count, seed)]
        columns["permuted_reconstruction"] = torch.zeros(count)
        for rows, inputs in batches(dataset, processor, batch_size, model.device, "Scoring permuted latents"):
            output = model(labels=inputs["labels"], latents=permuted[rows].to(model.device))
            columns["permuted_reconstruction"][rows] = output.reconstruction.cpu()
    return EncodedCorpus(**columns)


@torch.no_grad()
def importance_weighted_likelihood(
    model, dataset: Dataset, processor: LatentTextProcessor, num_samples: int, batch_size: int = 16, seed: int = 0
) -> dict[str, torch.Tensor]:
    """log p(x) of every text, estimated with `num_samples` samples of z each.

    Args:
        seed: of the samples; a text's noise does not depend on the batch size.

    Returns:
        `log_likelihood`, `standard_error`, `effective_sample_size`, `low_sample_size`, each (N,).
    """
    names = ("log_likelihood", "standard_error", "effective_sample_size", "low_sample_size")
    columns = {name: torch.zeros(len(dataset), dtype=torch.float64) for name in names}
    for rows, inputs in batches(dataset, processor, batch_size, model.device, f"Importance weighting, {num_samples}"):
        estimate = model.estimate_log_likelihood(**inputs, num_samples=num_samples, generator=_row_generators(rows, seed))
        for name in names:
            columns[name][rows] = getattr(estimate, name).double().cpu()
    return columns


def _row_generators(rows: list[int], seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed * 1_000_003 + row) for row in rows]


def derangement(count: int, seed: int) -> torch.Tensor:
    """A permutation that leaves nothing in its place: each element to the next one of a random circle.

    Random, because neighbours in a corpus are often about the same thing.
    """
    circle = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    permutation = torch.empty_like(circle)
    permutation[circle] = circle.roll(1)
    return permutation
