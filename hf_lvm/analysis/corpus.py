"""A corpus as a model sees it: every text encoded, sampled and scored once, in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm

from hf_lvm.analysis.corpus_posterior import CorpusPosterior
from hf_lvm.data import LatentTextCollator, LatentTextProcessor, TreeCollator
from hf_lvm.data.batching import given_conditions
from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood
from hf_lvm.objectives.divergence import kl_terms

# What a model of words reads of the columns of `encode_trees`.
WORD_COLUMNS = ("input_ids", "word_ids", "labels", "decoder_word_ids")


@dataclass(frozen=True)
class EncodedCorpus:
    """N texts under a model with a latent vector of D dimensions; all tensors on the CPU.

    Attributes:
        means, modes, latents: (N, D), of q(z|x), and one sample of it.
        standard_deviations: (N, D) of a diagonal Gaussian q(z|x); None for any other family.
        posterior: the N posteriors as one distribution, on the device of the model.
        reconstruction: (N,), -log p(x|z) of that sample, nats per sentence.
        permuted_reconstruction: (N,), -log p(x|z) under the sample of another text.
        kl: (N,), KL(q(z|x) || p(z)), nats per sentence.
        kl_per_dimension: (N, D), its parts in nats; None where it has none.
        monte_carlo_kl: whether `kl` is estimated from the sample, for want of a closed form; it may then be negative.
        correct_tokens: (N,), tokens that are the most probable one given all tokens before them and that sample.
    """

    means: torch.Tensor
    modes: torch.Tensor
    standard_deviations: torch.Tensor | None
    latents: torch.Tensor
    posterior: CorpusPosterior
    reconstruction: torch.Tensor
    permuted_reconstruction: torch.Tensor
    kl: torch.Tensor
    kl_per_dimension: torch.Tensor | None
    monte_carlo_kl: bool
    correct_tokens: torch.Tensor

    @property
    def negative_bound(self) -> torch.Tensor:
        """(N,), reconstruction + KL: the negative ELBO in nats per sentence."""
        return self.reconstruction + self.kl


def batches(
    dataset: Dataset, processor: LatentTextProcessor, batch_size: int, device: torch.device, description: str
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Row numbers and tensors of batches of texts of `encode_dataset`, with their conditions where they have some."""
    about = ["condition_input_ids"] if "condition_input_ids" in dataset.column_names else []
    columns = ("input_ids", "attention_mask", "labels", *about)
    collate = LatentTextCollator(processor)
    return batches_by_length(dataset, collate, columns, batch_size, device, description, length_column="length")


def tree_batches(
    dataset: Dataset, processor: LatentTextProcessor, batch_size: int, device: torch.device, description: str
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Row numbers and tensors of batches of sentences of `encode_trees`, without their brackets."""
    return batches_by_length(dataset, TreeCollator(processor), WORD_COLUMNS, batch_size, device, description)


def batches_by_length(
    dataset: Dataset,
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    columns: Sequence[str],
    batch_size: int,
    device: torch.device,
    description: str | None,
    *,
    length_column: str = "num_words",
    rows: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Row numbers and batches of rows of similar length, shortest first.

    Args:
        columns: those that `collate` is given.
        device: where tensors go; what is no tensor stays as it is.
        description: of a progress bar; None for none.
        length_column: the lengths to order by.
        rows: which ones; by default all.
    """
    lengths = dataset[length_column][:]
    order = sorted(range(len(dataset)) if rows is None else rows, key=lengths.__getitem__)
    chosen = dataset.select_columns(list(columns))
    for begin in tqdm(range(0, len(order), batch_size), desc=description, leave=False, disable=description is None):
        some = order[begin : begin + batch_size]
        batch = collate([chosen[row] for row in some])
        yield some, {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def text_counts(dataset: Dataset) -> dict[str, list[int]]:
    """`num_tokens`, `num_words` and `num_bytes` of each encoded text, as `compute_text_likelihood` takes them."""
    return {
        "num_tokens": [len(row) for row in dataset["labels"]],
        "num_words": dataset["num_words"][:],
        "num_bytes": dataset["num_bytes"][:],
    }


def likelihood_in_units(nll: torch.Tensor, dataset: Dataset, count_eos: bool = True) -> dict[str, Any]:
    """-log p of N encoded texts, (N,) nats, in the units of `compute_text_likelihood`."""
    return compute_text_likelihood(nll.tolist(), **text_counts(dataset), count_eos=count_eos)


@torch.no_grad()
def encode_corpus(
    model, dataset: Dataset, processor: LatentTextProcessor, batch_size: int = 64, seed: int = 0
) -> EncodedCorpus:
    """Encode, sample and score every text of a data set, without dropout.

    Args:
        model: a text VAE, or any model with its `forward` and `prior_of`.
        dataset: texts encoded by `encode_dataset`.
        seed: of the samples; a text's noise does not depend on the batch size.
    """
    columns: dict[str, torch.Tensor] = {}
    posteriors, batch_rows, monte_carlo = [], [], False
    with in_evaluation_mode(model):
        for rows, inputs in batches(dataset, processor, batch_size, model.device, "Encoding"):
            output = model(**inputs, generator=row_generators(rows, seed))
            posterior, labels = output.posterior, inputs["labels"]
            values = {
                "means": posterior.mean,
                "modes": posterior.mode,
                "standard_deviations": posterior.stddev if isinstance(posterior, DiagonalGaussian) else None,
                "latents": output.latents,
                "reconstruction": output.reconstruction,
                "kl": output.kl,
                "kl_per_dimension": output.kl_per_dimension,
                "correct_tokens": (output.logits.argmax(-1) == labels).sum(-1),
            }
            _keep(columns, values, rows, len(dataset))
            if not posteriors and output.kl_per_dimension is None:
                prior = model.prior_of(len(rows), **given_conditions(inputs))
                monte_carlo = kl_terms(posterior, prior, output.latents.unsqueeze(0)).monte_carlo
            posteriors.append(posterior)
            batch_rows.append(rows)
        permuted = columns["latents"][derangement(len(dataset), seed)]
        for rows, inputs in batches(dataset, processor, batch_size, model.device, "Scoring permuted latents"):
            output = model(labels=inputs["labels"], latents=permuted[rows].to(model.device))
            _keep(columns, {"permuted_reconstruction": output.reconstruction}, rows, len(dataset))
    return EncodedCorpus(
        **{"standard_deviations": None, "kl_per_dimension": None, **columns},
        posterior=CorpusPosterior(posteriors, batch_rows),
        monte_carlo_kl=monte_carlo,
    )


@torch.no_grad()
def importance_weighted_likelihood(
    model, dataset: Dataset, processor: LatentTextProcessor, num_samples: int, batch_size: int = 16, seed: int = 0
) -> dict[str, torch.Tensor]:
    """log p(x) of every text, estimated with `num_samples` samples of z each.

    Args:
        seed: of the samples; a text's noise does not depend on the batch size.

    Returns:
        `log_likelihood`, `standard_error`, `effective_sample_size`, `low_sample_size`, each (N,), and `log_weights`,
        (N, num_samples), in the order drawn.
    """
    columns: dict[str, torch.Tensor] = {}
    for rows, inputs in batches(dataset, processor, batch_size, model.device, f"Importance weighting, {num_samples}"):
        estimate = model.estimate_log_likelihood(
            **inputs, num_samples=num_samples, generator=row_generators(rows, seed), keep_log_weights=True
        )
        names = ("log_likelihood", "standard_error", "effective_sample_size", "low_sample_size")
        values = {name: getattr(estimate, name).double() for name in names}
        _keep(columns, values | {"log_weights": estimate.log_weights.double().T}, rows, len(dataset))
    return columns


def _keep(columns: dict[str, torch.Tensor], values: dict[str, torch.Tensor | None], rows: list[int], count: int) -> None:
    """Put what a batch gave, row by row, where its texts stand among `count`; None is left out."""
    for name, value in values.items():
        if value is not None:
            if name not in columns:
                columns[name] = torch.zeros(count, *value.shape[1:], dtype=value.dtype)
            columns[name][rows] = value.cpu()


def row_generators(rows: list[int], seed: int) -> list[torch.Generator]:
    """A generator for each row of a data set, the same whatever batch the row is in."""
    return [torch.Generator().manual_seed(seed * 1_000_003 + row) for row in rows]


def derangement(count: int, seed: int) -> torch.Tensor:
    """A permutation of 2 elements or more that leaves none in its place: each is moved on by one in a random circle.

    Random, because neighbours in a corpus are often about the same thing.
    """
    circle = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    permutation = torch.empty_like(circle)
    permutation[circle] = circle.roll(1)
    return permutation
