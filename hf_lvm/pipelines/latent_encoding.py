"""`pipeline("latent-encoding")`: what a model makes of a text."""

from collections.abc import Mapping
from typing import Any

import torch

from hf_lvm.analysis.feature_extraction import encode_batch, latent_kind
from hf_lvm.pipelines.latent_pipeline import LatentPipeline, as_rows


class LatentEncodingPipeline(LatentPipeline):
    """Texts to latents, without dropout.

    Example:

    ```python
    import hf_lvm
    from transformers import pipeline

    encode = pipeline("latent-encoding", model="runs/mine")
    encode("a text")  # {"latent": [0.1, -1.2, ...], "stddev": [0.9, ...]}
    encode(texts, batch_size=64)  # one such dict a text
    ```

    The keys are those of `hf_lvm.analysis.feature_extraction.encode_batch`: `latent`, and beside it `stddev` where q(z|x) is
    Gaussian, `probabilities` for classes, `shares` for topics; plain numbers in lists. Parameters, of a call or for all calls:

    - `sample`: draw the latent from q(z|x), with torch's global generator, instead of taking its mode;
    - `max_length`: cut longer texts to so many tokens; without it, one longer than the encoder's positions is an error;
    - `return_tensors`: tensors instead of lists;
    - `batch_size`, `device` and the others of `transformers.Pipeline`.

    Of a conditional text VAE an input is a dict: `{"text": ..., "condition": ...}`.

    Raises:
        ValueError: a model whose latent is neither a vector nor classes nor topics; something that is no text; a condition
            for a model that reads none, or none for one that does.
    """

    def __init__(self, model, *args, **options):
        latent_kind(model)
        super().__init__(model, *args, **options)

    def _sanitize_parameters(
        self, sample: bool | None = None, max_length: int | None = None, return_tensors: bool | None = None
    ) -> tuple[dict, dict, dict]:
        forward = {name: value for name, value in (("sample", sample), ("max_length", max_length)) if value is not None}
        return {}, forward, {} if return_tensors is None else {"return_tensors": return_tensors}

    def preprocess(self, input_: str | Mapping[str, str]) -> dict[str, Any]:
        """Nothing but a look at the text, and at its condition."""
        row = {"text": input_} if isinstance(input_, str) else input_
        if not isinstance(row, Mapping) or not isinstance(row.get("text"), str) or set(row) - {"text", "condition"}:
            raise ValueError(
                f"latent-encoding takes a text or a list of texts, and got {type(input_).__name__}; of a conditional model it "
                "takes dicts with the keys 'text' and 'condition'."
            )
        self.check_condition(row.get("condition"))
        return {"row": dict(row)}

    def _forward(
        self, input_tensors: Mapping[str, Any], sample: bool = False, max_length: int | None = None
    ) -> dict[str, torch.Tensor]:
        rows = as_rows(input_tensors)
        conditions = [row["condition"] for row in rows] if self.reads_conditions else None
        texts = [row["text"] for row in rows]
        inputs = self.processor(texts, truncation=max_length is not None, max_length=max_length, conditions=conditions)
        return encode_batch(self.model, inputs.to(self.device), sample)

    def postprocess(self, model_outputs: Mapping[str, torch.Tensor], return_tensors: bool = False) -> dict[str, Any]:
        """The latent of one text."""
        return {name: value[0] if return_tensors else value[0].tolist() for name, value in model_outputs.items()}
