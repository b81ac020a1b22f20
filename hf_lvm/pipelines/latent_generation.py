"""`pipeline("latent-generation")`: the text of a latent."""

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch

from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.pipelines.latent_pipeline import LatentPipeline, as_rows

# Options that mean nothing unless words are drawn.
SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "typical_p")
KEYS = ("latent", "text", "prompt", "condition")


class LatentGenerationPipeline(LatentPipeline):
    """Latents to texts: a latent, a text whose latent is found first, or a draw from the prior.

    Example:

    ```python
    import hf_lvm
    from transformers import pipeline

    write = pipeline("latent-generation", model="runs/mine")
    write(latent, num_beams=4)  # [{"generated_text": "..."}]
    write(encode("a text"))  # what `latent-encoding` returned
    write("a text", sample=True)  # from a sample of q(z|x), not its mode
    write(num_texts=8, temperature=0.8)  # new texts, z from the prior
    write({"latent": latent, "prompt": "The first"})  # goes on from there
    write({"condition": "def close(self)"})  # of a conditional text VAE: z from p(z|c)
    ```

    An input is a latent (a list of numbers, an array or a tensor: (D,) of a vector, (M,) class numbers, (M, C) points of the
    simplices), a string, None for a draw from the prior, or a dict with `latent` or `text`, and `prompt`. Of a conditional
    text VAE a dict has the `condition`, too, unless it has a latent. A list of inputs, or an array of latents with one more
    dimension, gives a list. Each input gives a list of `num_return_sequences` dicts with
    `generated_text`. Parameters, of a call or for all calls:

    - `sample`: of a text, draw its latent from q(z|x) instead of taking the mode;
    - `prompt`: the beginning of every text, for inputs that bring none;
    - `return_latents`: `latent` too in every dict;
    - `num_beams`, `do_sample`, `temperature`, `max_new_tokens` and all others of transformers' `generate`. Words are drawn
      where `temperature`, `top_k`, `top_p`, `min_p` or `typical_p` asks for it, or z comes from the prior, and never cut to
      the `top_k` of transformers' default; otherwise the most probable ones are taken;
    - `batch_size`, `device` and the others of `transformers.Pipeline`.

    Raises:
        ValueError: a model that writes no texts from given latents; an input that is none of these; latents of another size;
            a condition for a model that reads none, or none for one that does.
    """

    def __init__(self, model, *args, **options):
        if not hasattr(model, "decode_latents"):
            raise ValueError(
                f"A {model.config.model_type!r} model writes no text from a given latent: give a text VAE or a latent class "
                "model."
            )
        super().__init__(model, *args, **options)

    def __call__(self, inputs=None, *args, num_texts: int | None = None, **options) -> Any:
        """Write the text of one input, or of each of several.

        Args:
            num_texts: so many draws from the prior, in the place of inputs.

        Raises:
            ValueError: both inputs and `num_texts`.
        """
        if num_texts is not None:
            if inputs is not None or num_texts < 1:
                raise ValueError(
                    f"num_texts={num_texts} asks for draws from the prior: leave the inputs out, and ask for 1 at least."
                )
            inputs = [None] * num_texts
        elif isinstance(inputs, list | tuple) and inputs and isinstance(inputs[0], Number):
            inputs = torch.as_tensor(inputs)
        if isinstance(inputs, np.ndarray | torch.Tensor):
            inputs = list(inputs) if inputs.ndim > self._shape_of_one(inputs) else inputs
        return super().__call__(inputs, *args, **options)

    def _shape_of_one(self, latents: np.ndarray | torch.Tensor) -> int:
        """How many dimensions one latent has: two for points of the simplices of classes."""
        floating = torch.as_tensor(latents).is_floating_point()
        return 2 if floating and hasattr(self.model, "class_probabilities") else 1

    def _sanitize_parameters(
        self,
        sample: bool | None = None,
        prompt: str | None = None,
        return_latents: bool | None = None,
        **generate_options: Any,
    ) -> tuple[dict, dict, dict]:
        own = {"sample": sample, "prompt": prompt}
        forward = {name: value for name, value in own.items() if value is not None} | generate_options
        return {}, forward, {} if return_latents is None else {"return_latents": return_latents}

    def preprocess(self, input_: Any) -> dict[str, dict[str, Any]]:
        """An input as a dict with what it brings of `KEYS`."""
        if isinstance(input_, Mapping):
            row = {key: input_[key] for key in KEYS if input_.get(key) is not None}
            if "latent" in row and "text" in row:
                raise ValueError("An input has both a latent and a text to find it from: pass one of the two.")
            if not row:
                raise ValueError(f"An input has none of the keys {', '.join(KEYS)}, but {', '.join(map(repr, input_))}.")
        elif isinstance(input_, str):
            row = {"text": input_}
        else:
            row = {} if input_ is None else {"latent": input_}
        if "latent" in row:
            if "condition" in row:
                raise ValueError("The decoder hears of a condition through the latent alone: pass a latent or a condition.")
            row["latent"] = self._as_latent(row["latent"])
        else:
            self.check_condition(row.get("condition"))
        return {"row": row}

    def _as_latent(self, latent: Any) -> torch.Tensor:
        try:
            latent = torch.as_tensor(latent)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"latent-generation takes latents, texts, dicts of them, or None, and got {type(latent).__name__}."
            ) from error
        are_classes = hasattr(self.model, "class_probabilities") and not latent.is_floating_point()
        return latent if are_classes else latent.to(self.model.latent_dtype)

    def _forward(
        self, input_tensors: Mapping[str, Any], sample: bool = False, prompt: str | None = None, **generate_options: Any
    ) -> dict[str, Any]:
        rows = as_rows(input_tensors)
        latents: list[torch.Tensor | None] = [row.get("latent") for row in rows]
        texts = [index for index, row in enumerate(rows) if "text" in row]
        if texts:
            given = {"conditions": [rows[index]["condition"] for index in texts]} if self.reads_conditions else {}
            with in_evaluation_mode(self.model):
                posterior = self.model.encode_texts(
                    [rows[index]["text"] for index in texts], processor=self.processor, **given
                )
                found = posterior.sample() if sample else posterior.mode
            for index, latent in zip(texts, found, strict=True):
                latents[index] = latent
        drawn = [index for index, latent in enumerate(latents) if latent is None]
        if drawn:
            given = [rows[index]["condition"] for index in drawn] if self.reads_conditions else None
            for index, latent in zip(drawn, self._prior(len(drawn), given).sample(), strict=True):
                latents[index] = latent
        written: list[list[str] | None] = [None] * len(rows)
        # One call for those that share their options: what is drawn from the prior has its words drawn too.
        for group, from_prior in ((sorted(set(range(len(rows))) - set(drawn)), False), (drawn, True)):
            if group:
                own = [latents[index] for index in group]
                prompts = [rows[index].get("prompt", prompt) for index in group]
                for index, own_texts in zip(group, self._write(own, prompts, from_prior, generate_options), strict=True):
                    written[index] = own_texts
        return {"texts": written, "latent": latents}

    def _prior(self, count: int, conditions: list[str] | None) -> torch.distributions.Distribution:
        """p(z) of so many draws, or p(z|c) of the condition of each."""
        if conditions is None:
            return self.model.prior_of(count)
        about = self.processor.pad_conditions(self.processor.tokenize_conditions(conditions))
        inputs = {name: torch.tensor(rows, device=self.device) for name, rows in about.items()}
        with in_evaluation_mode(self.model):
            return self.model.prior_of(count, **inputs)

    def _write(
        self, latents: list[torch.Tensor], prompts: list[str | None], from_prior: bool, options: Mapping[str, Any]
    ) -> list[list[str]]:
        """The texts of each latent."""
        if len({latent.shape for latent in latents}) > 1:
            raise ValueError(f"The latents of a batch have several shapes: {sorted({tuple(each.shape) for each in latents})}.")
        options = _with_sampling(options, from_prior)
        if any(prompt is not None for prompt in prompts):
            options |= self._prompt_inputs(prompts)
        texts = self.model.decode_latents(torch.stack(latents), processor=self.processor, **options)
        copies = len(texts) // len(latents)
        return [texts[first : first + copies] for first in range(0, len(texts), copies)]

    def _prompt_inputs(self, prompts: Sequence[str | None]) -> dict[str, torch.Tensor]:
        """Prompts as tokens, padded on the right; no prompt is an empty one."""
        tokens = [
            self.processor.decoder_tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else []
            for prompt in prompts
        ]
        ids = [torch.tensor(row, dtype=torch.long) for row in tokens]
        masks = [torch.ones_like(row) for row in ids]
        return {
            name: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
            for name, rows in (("decoder_input_ids", ids), ("decoder_attention_mask", masks))
        }

    def postprocess(self, model_outputs: Mapping[str, Any], return_latents: bool = False) -> list[dict[str, Any]]:
        """The texts of one input."""
        texts, latent = model_outputs["texts"], model_outputs["latent"]
        if texts and isinstance(texts[0], list):
            texts, latent = texts[0], latent[0]
        latent = {"latent": latent.reshape(latent.shape[-self._shape_of_one(latent) :]).tolist()} if return_latents else {}
        return [{"generated_text": text, **latent} for text in texts]


def _with_sampling(options: Mapping[str, Any], from_prior: bool) -> dict[str, Any]:
    """Options of `generate` that say whether words are drawn, and that draw from all of them."""
    options = dict(options)
    if "generation_config" in options:
        return options
    options.setdefault("do_sample", from_prior or any(options.get(name) is not None for name in SAMPLING_OPTIONS))
    if options["do_sample"]:
        options.setdefault("top_k", 0)
    return options
