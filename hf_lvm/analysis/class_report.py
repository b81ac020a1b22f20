"""What a latent class model has found: its likelihood, which classes it uses and for what, and whether known ones agree."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import batches, row_generators, text_counts
from hf_lvm.analysis.global_seed import global_seed
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import CategoricalVector
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.clustering.clustering import compute_class_usage, compute_clustering
from hf_lvm.metrics.diversity.diversity import compute_diversity
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood
from hf_lvm.objectives.diagnostics import joint_mutual_information

TYPICAL = 5


@dataclass(frozen=True)
class ClassReport:
    """A model measured on N texts; M variables of C classes.

    Attributes:
        metrics: nested, ready for JSON.
        typical: for each variable and class its name, the share of texts whose most probable class it is, and the texts that
            have it with the highest probability.
        samples: for each variable and class a few texts written by it, the other variables drawn from the prior.
    """

    metrics: dict[str, Any]
    typical: list[list[tuple[str, float, list[str]]]]
    samples: list[list[list[str]]]


def report_classes(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    *,
    num_importance_samples: int = 100,
    num_generated: int = 100,
    batch_size: int = 32,
    seed: int = 0,
) -> ClassReport:
    """Measure a latent class model on texts it was not trained on.

    Args:
        model: a `LatentClassModel`.
        dataset: of `encode_dataset`, with its `text`, and `classes` where they are known.
        num_importance_samples: of the likelihood, where the values of z are too many to be summed over.
        num_generated: texts written, spread over the classes of the first variable, for the diversity.
        seed: of every draw.

    Returns:
        With metrics `likelihood` (-log p(x), exact or importance-weighted) and `bound` in all units, `kl_nats_per_sentence`,
        `usage` (see `compute_class_usage`), `joint_mutual_information` of several inferred variables, `classes` for each
        variable whose classes are known (see `compute_clustering`, and `accuracy`), `classes_by_bayes`, and the diversity of
        written texts and of real ones.
    """
    count, config = len(dataset), model.config
    columns = {name: torch.zeros(count, dtype=torch.float64) for name in ("nll", "reconstruction", "kl")}
    shape = (count, config.num_variables, max(config.class_counts))
    by_encoder = torch.zeros(shape, dtype=torch.float64)
    by_bayes = torch.zeros(shape, dtype=torch.float64)
    is_exact = config.support_size <= config.enumeration_budget
    for rows, inputs in batches(dataset, processor, batch_size, model.device, "Scoring"):
        with in_evaluation_mode(model):
            output = model(**inputs, generator=row_generators(rows, seed))
        columns["reconstruction"][rows] = output.reconstruction.double().cpu()
        columns["kl"][rows] = output.kl.double().cpu()
        by_encoder[rows] = output.class_logits.double().exp().cpu()
        estimate = model.estimate_log_likelihood(
            **inputs, num_samples=max(1, num_importance_samples), generator=row_generators(rows, seed)
        )
        columns["nll"][rows] = -estimate.log_likelihood.cpu()
        if is_exact:
            by_bayes[rows] = model.true_posterior(inputs["labels"]).double().cpu()
    counts = text_counts(dataset)
    # Under the marginal likelihood the encoder is not trained, and the classes are those of Bayes' rule.
    probabilities = by_bayes if config.objective == "marginal" else by_encoder
    metrics: dict[str, Any] = {
        "likelihood": {"exact": is_exact, **compute_text_likelihood(columns["nll"].tolist(), **counts)},
        "bound": compute_text_likelihood((columns["reconstruction"] + columns["kl"]).tolist(), **counts),
        "kl_nats_per_sentence": columns["kl"].mean().item(),
        "classes_by": "bayes" if config.objective == "marginal" else "encoder",
        "usage": compute_class_usage(probabilities.numpy(), class_counts=config.class_counts),
    }
    if config.num_inferred > 1 and config.objective != "marginal":
        inferred = CategoricalVector(by_encoder[:, : config.num_inferred].log(), config.inferred_counts)
        metrics["joint_mutual_information"] = joint_mutual_information(inferred, seed=seed)
    if "classes" in dataset.column_names:
        known = np.asarray(dataset["classes"][:])
        metrics["classes"] = _against_known(probabilities, known)
        if is_exact:
            metrics["classes_by_bayes"] = _against_known(by_bayes, known)
    samples = _samples(model, processor, num_generated, seed)
    written = [text for texts in samples[0] for text in texts]
    if len(written) > 1:
        metrics["sample_diversity"] = compute_diversity(written)
        metrics["text_diversity"] = compute_diversity(dataset["text"][: len(written)])
    return ClassReport(metrics, _typical(model, probabilities, dataset["text"][:]), samples)


def _against_known(probabilities: torch.Tensor, known: np.ndarray) -> list[dict[str, float | int]]:
    """For each variable with known classes the clustering metrics, and the accuracy of class numbers taken as they are."""
    found, results = probabilities.argmax(-1).numpy(), []
    for variable in range(known.shape[1]):
        rows = known[:, variable] >= 0
        if rows.any():
            right = found[rows, variable] == known[rows, variable]
            scores = compute_clustering(found[rows, variable], known[rows, variable])
            results.append({"variable": variable, "accuracy": float(right.mean()), **scores})
    return results


def _typical(model, probabilities: torch.Tensor, texts: list[str]) -> list[list[tuple[str, float, list[str]]]]:
    rows = []
    for variable in range(probabilities.shape[1]):
        of_variable = probabilities[:, variable, : model.config.class_counts[variable]]
        shares = torch.nn.functional.one_hot(of_variable.argmax(-1), of_variable.shape[-1]).double().mean(0)
        most = of_variable.argsort(dim=0, descending=True, stable=True)[:TYPICAL]
        rows.append(
            [
                (model.config.name_of(variable, number), shares[number].item(), [texts[row] for row in most[:, number]])
                for number in range(of_variable.shape[-1])
            ]
        )
    return rows


def _samples(model, processor: LatentTextProcessor, num_generated: int, seed: int) -> list[list[list[str]]]:
    """Texts of each class of each variable, words drawn from p(x|z)."""
    samples = []
    with global_seed(seed, model.device):
        for variable, classes in enumerate(model.config.class_counts):
            each = -(-num_generated // classes)
            latents = model.prior_of(each * classes).sample()
            latents[:, variable] = torch.arange(classes, device=latents.device).repeat_interleave(each)
            texts = model.decode_latents(latents, processor=processor, do_sample=True, top_k=0) if each else []
            samples.append([texts[first : first + each] for first in range(0, each * classes, max(each, 1))])
    return samples
