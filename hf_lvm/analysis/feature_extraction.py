"""Latents of texts as features: vectors, probabilities of classes, shares of topics.

What a model says of a text is a row of numbers where its latent is a vector (a text VAE), a vector of categories (a latent
class model) or shares of topics (a neural topic model). Trees, sequences and meanings are not.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoModel, AutoProcessor

from hf_lvm.data import LatentTextProcessor
from hf_lvm.data.batching import given_conditions
from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.layers.decoder_interface import in_evaluation_mode

# Kind of latent -> a method that models of this kind have, and no others.
METHOD_OF_KIND = {"topics": "topic_shares", "classes": "class_probabilities", "vector": "interpolate"}
# Methods of models with other latents, to name in an error.
_INSTEAD = ("parse", "summarize", "tag")


def latent_kind(model) -> str:
    """`vector`, `classes` or `topics`: what the latent of a text is.

    Raises:
        ValueError: a model whose latent is none of these.
    """
    for kind, method in METHOD_OF_KIND.items():
        if hasattr(model, method):
            return kind
    own = [method for method in _INSTEAD if hasattr(model, method)]
    instead = f", or ask this one with `model.{own[0]}(texts, processor=processor)`" if own else ""
    raise ValueError(
        f"The latent of a {model.config.model_type!r} model is no row of features of a text: give a text VAE, a latent class "
        f"model or a neural topic model{instead}."
    )


def reads_conditions(model) -> bool:
    """Whether a model reads a condition beside each text: a text VAE whose prior is p(z | condition)."""
    return bool(getattr(getattr(model, "prior", None), "needs_condition", False))


def feature_names(model) -> list[str]:
    """The F features of a text: `latent0`, ...; `variable0_class0`, ... (by `class_names` where there are any); `topic0`, ...

    Raises:
        ValueError: see `latent_kind`.
    """
    kind, config = latent_kind(model), model.config
    if kind == "vector":
        return [f"latent{index}" for index in range(config.latent_size)]
    if kind == "topics":
        return [f"topic{index}" for index in range(config.num_topics)]
    return [
        f"variable{variable}_class{config.name_of(variable, number)}"
        for variable, count in enumerate(_counts(model))
        for number in range(count)
    ]


@torch.no_grad()
def encode_batch(model, inputs: Mapping[str, torch.Tensor], sample: bool = False) -> dict[str, torch.Tensor]:
    """What a model makes of B texts, without dropout.

    Args:
        inputs: `input_ids`, `attention_mask` and `labels`, as the processor gives them, on the model's device; of a
            conditional text VAE also its conditions.
        sample: draw the latent from q(z|x) instead of taking its mode.

    Returns:
        Of a vector `latent` (B, D), and `stddev` (B, D) where q(z|x) is Gaussian. Of classes `latent` (B, M), their numbers,
        and `probabilities` (B, M, C), 0 past the last class of a variable. Of topics `latent` (B, K), the mean of q(z|x) or a
        sample, and the `shares` (B, K) it stands for.

    Raises:
        ValueError: see `latent_kind`; texts longer than the encoder's positions.
    """
    kind = latent_kind(model)
    with in_evaluation_mode(model):
        if kind == "classes":
            probabilities = model.class_probabilities(**inputs, method=_method(model))
            drawn = torch.distributions.Categorical(probs=probabilities).sample() if sample else probabilities.argmax(-1)
            return {"latent": drawn, "probabilities": probabilities}
        posterior = model.encode(inputs["input_ids"], inputs["attention_mask"], **given_conditions(inputs))
        if kind == "topics":
            latents = posterior.sample() if sample else posterior.mean
            return {"latent": latents, "shares": model.shares(latents)}
        latents = posterior.sample() if sample else posterior.mode
        stddev = {"stddev": posterior.stddev} if isinstance(posterior, DiagonalGaussian) else {}
        return {"latent": latents, **stddev}


def features_of(model, encoded: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The features (B, F) in what `encode_batch` returned, in the order of `feature_names`."""
    if "probabilities" in encoded:
        return torch.cat(
            [encoded["probabilities"][:, variable, :count] for variable, count in enumerate(_counts(model))], dim=-1
        )
    return encoded["shares" if "shares" in encoded else "latent"]


def texts_by_length(texts: Sequence[str], batch_size: int) -> Iterator[tuple[list[int], list[str]]]:
    """Row numbers and texts of batches of similar length, so that little is padded, with a progress bar."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in tqdm(range(0, len(order), batch_size), desc="Encoding", leave=False, disable=len(order) <= batch_size):
        rows = order[start : start + batch_size]
        yield rows, [texts[row] for row in rows]


class LatentExtractor:
    """Texts to rows of features; also a function for `datasets.map`.

    Example:

    ```python
    extract = LatentExtractor(model, processor)
    extract.features(["a first text", "a second one"])  # (2, F), float32
    dataset.map(extract, batched=True)  # with a new column `latents`
    ```

    `datasets` keeps what a function gave in its cache, and finds it there by a hash of the function as it is pickled. An
    extractor is pickled as the files that its model and its processor would be saved as, so that the hash is one of weights,
    config, tokenizers and options. It is the same in every process that loads them from one folder, however often the
    extractor was used.

    Args:
        model: whose latent is a vector, classes or topics; it is not changed.
        processor: of the model.
        text_column: read by `datasets.map`.
        column: written by it.
        batch_size: texts encoded at once.
        max_length: longer texts are cut to so many tokens; without it, one longer than the encoder's positions is an error.
        condition_column: read by `datasets.map` too, of a conditional text VAE.

    Raises:
        ValueError: see `latent_kind`; a batch size below 1.
    """

    def __init__(
        self,
        model,
        processor: LatentTextProcessor,
        *,
        text_column: str = "text",
        column: str = "latents",
        batch_size: int = 64,
        max_length: int | None = None,
        condition_column: str | None = None,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size}.")
        self.names = feature_names(model)
        self.model, self.processor = model, processor
        self.text_column, self.column = text_column, column
        self.batch_size, self.max_length = batch_size, max_length
        self.condition_column = condition_column

    def features(self, texts: Sequence[str], conditions: Sequence[str] | None = None) -> np.ndarray:
        """N texts -> (N, F) in float32; `names` says what the columns are.

        Args:
            conditions: of a conditional text VAE, the text that goes with each.

        Raises:
            ValueError: one string in the place of several, or something else than strings; texts that are too long;
                conditions for a model that reads none, none for one that does, or another number of them.
        """
        if isinstance(texts, str):
            raise ValueError("Got one string: pass a list of texts, [text] for one.")
        texts = list(texts)
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"texts[{row}] is {type(text).__name__}, not a string.")
        if isinstance(conditions, str) or (conditions is not None and len(conditions) != len(texts)):
            given = "one string" if isinstance(conditions, str) else f"{len(conditions)} conditions"
            raise ValueError(f"Got {given} for {len(texts)} texts: give a list with one condition for each text.")
        features = np.zeros((len(texts), len(self.names)), dtype=np.float32)
        for rows, own in texts_by_length(texts, self.batch_size):
            given = None if conditions is None else [conditions[row] for row in rows]
            inputs = self.processor(own, truncation=self.max_length is not None, max_length=self.max_length, conditions=given)
            encoded = encode_batch(self.model, inputs.to(self.model.device))
            features[rows] = features_of(self.model, encoded).float().cpu().numpy()
        return features

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        """A batch of rows of a data set -> their new column, for `dataset.map(extractor, batched=True)`.

        Raises:
            ValueError: no such column, or a single row: `datasets.map` without `batched=True`.
        """
        for name in ("text_column", "condition_column"):
            column = getattr(self, name)
            if column is not None and column not in batch:
                raise ValueError(
                    f"The rows have no column {column!r}, but {', '.join(map(repr, batch))}: name that of the "
                    f"{name.removesuffix('_column')}s by {name}."
                )
        texts = batch[self.text_column]
        if isinstance(texts, str):
            raise ValueError("Got a single row: call dataset.map(extractor, batched=True).")
        conditions = None if self.condition_column is None else batch[self.condition_column]
        return {self.column: self.features(texts, conditions)}

    def __reduce__(self):
        options = {"text_column": self.text_column, "column": self.column, "condition_column": self.condition_column}
        options |= {"batch_size": self.batch_size, "max_length": self.max_length}
        return _restored, (type(self), _saved_files(self.model, self.processor), tuple(options.items()))


def _saved_files(model, processor: LatentTextProcessor) -> tuple[tuple[str, bytes], ...]:
    """Names and contents of the files of a saved model and its processor."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        for path in Path(folder).rglob("tokenizer.json"):
            # What the last call asked for is no property of the tokenizer.
            content = json.loads(path.read_text()) | {"truncation": None, "padding": None}
            path.write_text(json.dumps(content))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return tuple((path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths)


def _restored(kind: type, files: tuple[tuple[str, bytes], ...], options: tuple[tuple[str, Any], ...]) -> LatentExtractor:
    """The extractor that was pickled as these files, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files:
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(content)
        return kind(AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder), **dict(options))


def _counts(model) -> tuple[int, ...]:
    """How many classes each variable has; only of the variables that `encode_batch` gives probabilities of."""
    config = model.config
    return config.class_counts if _method(model) == "bayes" else config.inferred_counts


def _method(model) -> str:
    """How the classes of a text are found: the objective `marginal` trains no encoder."""
    return "bayes" if model.config.objective == "marginal" else "encoder"
