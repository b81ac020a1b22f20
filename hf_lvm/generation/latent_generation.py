"""`generate` for a model whose decoder is conditioned on a latent: greedy, sampling, beams, all of transformers' options.

A model that mixes this in has `condition(latents)` and a `forward` that takes `decoder_input_ids` with `conditions` or
`latents`. The loop is that of transformers, run on the whole model as a decoder-only one, so that every injection takes part
in every step: a bias on the logits is inside the log-softmax of a beam, keys in memory follow their beam.
"""

from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerateOutput
from transformers.utils import ModelOutput

from hf_lvm.generation.prompts import groups_of_one_length, prompt_rows, stack_padded

# Options that would put tokens into the text that p(x|z) did not choose; a pretrained decoder may bring them along.
FORCED_OPTIONS = ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens")


class LatentGenerationMixin(GenerationMixin):
    """Generation from latents, with prompts padded on either side."""

    def generate_from_latents(
        self,
        latents: torch.Tensor,
        prompt: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        **options: Any,
    ) -> GenerateOutput | torch.LongTensor:
        """Decode latents (B, ...), continuing prompts where there are some.

        Returns:
            Start token + prompt + new tokens of each row, padded on the right: (B * num_return_sequences, L); or the output
            object of transformers with `return_dict_in_generate`.

        Raises:
            ValueError: prompts that do not go with the latents, prompts of several lengths with
                `return_dict_in_generate`, or a cache other than the dynamic one.
        """
        settings = generation_config or self.generation_config
        if options.get("cache_implementation", settings.cache_implementation) not in (None, "dynamic", "offloaded"):
            raise ValueError("A latent is put into the cache as generation begins: use the dynamic cache.")
        device = latents.device
        rows = prompt_rows(prompt, prompt_mask, self.start_token_id, latents.shape[0], device)
        groups = list(groups_of_one_length(rows))
        if len(groups) > 1 and options.get("return_dict_in_generate", settings.return_dict_in_generate):
            raise ValueError(
                "return_dict_in_generate needs prompts of one length, because the steps of a row begin where its prompt "
                f"ends; got {len(groups)} lengths. Call generate once for each length."
            )
        outputs, order = [], []
        for group in groups:
            tokens = torch.tensor([rows[index] for index in group], device=device)
            # The mask is explicit because transformers would otherwise take a start token that equals the padding
            # token, as T5's does, for padding.
            output = super().generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                latents=latents[torch.tensor(group, device=device)],
                generation_config=generation_config,
                **options,
            )
            if len(groups) == 1:
                return output
            copies = output.shape[0] // len(group)
            outputs.extend(output)
            order.extend(index * copies + copy for index in group for copy in range(copies))
        in_order = [row for _, row in sorted(zip(order, outputs, strict=True), key=lambda pair: pair[0])]
        return stack_padded(in_order, self._padding_token_id)

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Cache | None = None,
        attention_mask: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        conditions: dict[str, torch.Tensor] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 1,
        # transformers reads this name from the signature to let `latents` through.
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The inputs of one step: the new tokens, and the latent as what it gives the decoder."""
        tokens = input_ids if next_sequence_length is None else input_ids[:, -next_sequence_length:]
        return {
            "decoder_input_ids": tokens,
            "conditions": self.condition(latents) if conditions is None else conditions,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
            "logits_to_keep": logits_to_keep,
        }

    def _update_model_kwargs_for_generation(
        self, outputs: ModelOutput, model_kwargs: dict[str, Any], is_encoder_decoder: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        # z does not change from step to step, so neither does what it gives the decoder.
        model_kwargs["conditions"] = outputs.conditions
        return super()._update_model_kwargs_for_generation(outputs, model_kwargs, is_encoder_decoder, **kwargs)

    @property
    def _padding_token_id(self) -> int:
        """The padding token, or what transformers pads with where there is none: the first end token."""
        end = self.config.eos_token_id
        candidates = (self.config.pad_token_id, end[0] if isinstance(end, list) else end, self.start_token_id)
        return next(token for token in candidates if token is not None)

    def neutralise_forced_tokens(self) -> None:
        """Drop generation defaults that force or suppress tokens, so that what is sampled is what is scored."""
        for option in FORCED_OPTIONS:
            setattr(self.generation_config, option, None)
