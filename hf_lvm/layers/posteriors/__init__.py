"""Posterior heads: from a pooled encoding to q(z|x). One family a file.

| name | q(z\\|x) | why |
|---|---|---|
| `gaussian` | N(mean, diag(stddev^2)) | the standard |
| `batch_norm` | the same, means normalised over the batch | the means of a batch keep their spread |
| `delta` | the same, standard deviations bounded | every sentence costs at least `committed_rate` nats |
| `von_mises_fisher` | on the unit sphere | with a fixed concentration the KL is a constant |
| `categorical` | a vector of categories | the standard of discrete latents |
| `vector_quantized` | the same, by distances to code vectors | classes are places in the space of encodings |

Each class has `latent_space` (`vectors`, `sphere` or `categories`), which its prior must share, and `config_options`, from
keys of a model's config to its own arguments.
"""

from torch import nn

from hf_lvm.layers.posteriors.batch_norm import BatchNormPosterior
from hf_lvm.layers.posteriors.categorical import CategoricalPosterior
from hf_lvm.layers.posteriors.delta import DeltaPosterior
from hf_lvm.layers.posteriors.gaussian import GaussianPosterior
from hf_lvm.layers.posteriors.vector_quantized import VectorQuantizedPosterior
from hf_lvm.layers.posteriors.von_mises_fisher import VonMisesFisherPosterior

POSTERIORS: dict[str, type[nn.Module]] = {
    "gaussian": GaussianPosterior,
    "batch_norm": BatchNormPosterior,
    "delta": DeltaPosterior,
    "von_mises_fisher": VonMisesFisherPosterior,
}
CATEGORY_POSTERIORS: dict[str, type[nn.Module]] = {
    "categorical": CategoricalPosterior,
    "vector_quantized": VectorQuantizedPosterior,
}


def check_posterior_type(name: str) -> None:
    """Raise a `ValueError` that lists the posteriors there are when `name` is none of them."""
    if name not in POSTERIORS:
        raise ValueError(f"Unknown posterior_type {name!r}: choose one of {', '.join(map(repr, POSTERIORS))}.")


__all__ = [
    "CATEGORY_POSTERIORS",
    "POSTERIORS",
    "BatchNormPosterior",
    "CategoricalPosterior",
    "DeltaPosterior",
    "GaussianPosterior",
    "VectorQuantizedPosterior",
    "VonMisesFisherPosterior",
    "check_posterior_type",
]
