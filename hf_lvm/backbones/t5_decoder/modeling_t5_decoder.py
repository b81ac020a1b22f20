"""The T5 decoder as a causal language model: transformers' own stack with its language modelling head.

It stands wherever a causal decoder does: cached generation, cross-attention to any states, or none at all.
"""

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, T5ForConditionalGeneration
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions
from transformers.models.t5.modeling_t5 import T5PreTrainedModel, T5Stack

from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.backbones.t5_decoder.configuration_t5_decoder import T5DecoderConfig


class T5DecoderForCausalLM(SafeLoading, T5PreTrainedModel, GenerationMixin):
    """T5 decoder layers and head (Raffel et al. 2020)."""

    config: T5DecoderConfig
    _tied_weights_keys = {"lm_head.weight": "decoder.embed_tokens.weight"}

    def __init__(self, config: T5DecoderConfig):
        super().__init__(config)
        self.decoder = T5Stack(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_t5(cls, model: T5ForConditionalGeneration) -> "T5DecoderForCausalLM":
        """The decoder of a whole T5, with a copy of its weights."""
        decoder = cls(T5DecoderConfig.from_t5(model.config))
        decoder.load_state_dict(
            {
                "lm_head.weight": model.lm_head.weight,
                **{f"decoder.{name}": value for name, value in model.decoder.state_dict().items()},
            }
        )
        return decoder.to(model.dtype).eval()

    def get_input_embeddings(self) -> nn.Module:
        return self.decoder.embed_tokens

    def set_input_embeddings(self, embeddings: nn.Module) -> None:
        self.decoder.embed_tokens = embeddings

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, embeddings: nn.Module) -> None:
        self.lm_head = embeddings

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool = True,
    ) -> CausalLMOutputWithCrossAttentions:
        """Logits (B, T, V) for tokens or embeddings (B, T); with labels (B, T), shifted inside, also the mean loss."""
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if encoder_hidden_states is not None and not isinstance(past_key_values, EncoderDecoderCache):
            # The stack would write the keys of the states it attends to into the slots of the tokens.
            if past_key_values is None and use_cache:
                past_key_values = DynamicCache(config=self.config)
            if past_key_values is not None:
                past_key_values = EncoderDecoderCache(past_key_values, DynamicCache(config=self.config))
        outputs = self.decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        hidden = outputs.last_hidden_state[:, -logits_to_keep:]
        if self.config.scale_decoder_outputs:
            hidden = hidden * self.config.d_model**-0.5
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithCrossAttentions(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )


AutoConfig.register(T5DecoderConfig.model_type, T5DecoderConfig)
AutoModelForCausalLM.register(T5DecoderConfig, T5DecoderForCausalLM)
