"""What a condition says of a text: what a conditional VAE loses when conditions are exchanged; what it writes from them."""

from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import EncodedCorpus, batches, derangement, importance_weighted_likelihood, row_generators
from hf_lvm.analysis.global_seed import global_seed
from hf_lvm.data import LatentTextProcessor
from hf_lvm.data.batching import given_conditions
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives.divergence import kl_terms

SHOWN_CONDITIONS, SAMPLES_OF_ONE = 8, 4


@dataclass(frozen=True)
class ConditionExample:
    """A condition, the text that it belongs to, and texts written from it alone."""

    condition: str
    text: str
    samples: list[str]


def with_permuted_conditions(dataset: Dataset, seed: int) -> Dataset:
    """The same texts, each with the condition of another one.

    The other text is drawn at random. Two texts with equal conditions may be given each other's.

    Args:
        dataset: texts encoded by `encode_dataset` with a `condition_column`; the column `condition` is exchanged too, where it
            is kept.
    """
    order = derangement(len(dataset), seed).tolist()
    for column in ("condition_input_ids", "condition"):
        if column in dataset.column_names:
            values = dataset[column][:]
            dataset = dataset.remove_columns(column).add_column(column, [values[row] for row in order])
    return dataset


@torch.no_grad()
def measure_conditions(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    corpus: EncodedCorpus,
    log_likelihood: torch.Tensor | None = None,
    *,
    num_importance_samples: int = 0,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, Any]:
    """What it costs to read the condition of another text; a model that ignores its conditions loses nothing.

    Args:
        model: a conditional text VAE.
        dataset: texts encoded by `encode_dataset` with their conditions.
        corpus: what `encode_corpus` made of them with this `seed`; the noise of z is the same here.
        log_likelihood: (N,), of `importance_weighted_likelihood` with this seed; None leaves that comparison out.
        num_importance_samples: samples of z for each text in it.

    Returns:
        Nats per sentence, means over texts, and over texts a `..._standard_error` of each:
        `cost_nats_per_sentence`, -ELBO of x given another condition, by p(z|c') and q(z|x, c'), minus that given its own;
        `prior_cost_nats_per_sentence`, KL(q(z|x, c) || p(z|c')) minus KL(q(z|x, c) || p(z|c)), so that the posterior reads its
        own condition and the prior another; `likelihood_cost_nats_per_sentence`, the first with log p(x|c) in the place of the
        bound, where it was asked for. And `equal_share`, the share of texts for which the other condition is the same text.
    """
    permuted = with_permuted_conditions(dataset, seed)
    count = len(dataset)
    bound, kl, exchanged = (torch.zeros(count) for _ in range(3))
    same = [own == other for own, other in zip(dataset["condition_input_ids"], permuted["condition_input_ids"], strict=True)]
    with in_evaluation_mode(model):
        of_others = permuted["condition_input_ids"][:]
        for rows, inputs in batches(dataset, processor, batch_size, model.device, "Exchanging conditions"):
            other = inputs | _conditions([of_others[row] for row in rows], processor, model.device)
            output = model(**other, generator=row_generators(rows, seed))
            bound[rows] = (output.reconstruction + output.kl).float().cpu()
            posterior = model.infer(**inputs, generator=row_generators(rows, seed))
            samples = posterior.sample(generator=row_generators(rows, seed)).unsqueeze(0)
            for column, batch in ((kl, inputs), (exchanged, other)):
                prior = model.prior_of(len(rows), **given_conditions(batch))
                column[rows] = kl_terms(posterior, prior, samples).kl.float().cpu()
    measured = _mean("cost", bound - corpus.negative_bound) | _mean("prior_cost", exchanged - kl)
    if log_likelihood is not None:
        given_other = importance_weighted_likelihood(model, permuted, processor, num_importance_samples, seed=seed)
        measured |= _mean("likelihood_cost", log_likelihood - given_other["log_likelihood"])
    return measured | {"equal_share": sum(same) / count}


def condition_examples(
    model, dataset: Dataset, processor: LatentTextProcessor, count: int = SHOWN_CONDITIONS, seed: int = 0
) -> list[ConditionExample]:
    """A few conditions, spread over a data set with the columns `text` and `condition`, with texts drawn from p(x|c)."""
    rows = torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).long().tolist()
    conditions = [dataset[row]["condition"] for row in rows]
    with global_seed(seed, model.device):
        generator = torch.Generator().manual_seed(seed)
        texts = model.sample(SAMPLES_OF_ONE, conditions=conditions, processor=processor, generator=generator)
    return [
        ConditionExample(condition, dataset[row]["text"], texts[first : first + SAMPLES_OF_ONE])
        for row, condition, first in zip(rows, conditions, range(0, len(texts), SAMPLES_OF_ONE), strict=True)
    ]


def _conditions(ids: list[list[int]], processor: LatentTextProcessor, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(rows, device=device) for name, rows in processor.pad_conditions(ids).items()}


def _mean(name: str, values: torch.Tensor) -> dict[str, float]:
    values = values.double()
    return {
        f"{name}_nats_per_sentence": values.mean().item(),
        f"{name}_standard_error": values.std().item() / len(values) ** 0.5,
    }
