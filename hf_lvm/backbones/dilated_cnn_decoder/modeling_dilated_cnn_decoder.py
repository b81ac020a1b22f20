"""The dilated-CNN decoder of "Improved variational autoencoders for text modeling using dilated convolutions" (Yang et al.
2017).

A decoder that sees exactly as far back as its convolutions reach, so that what lies further back can only come from z.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_lvm.backbones.dilated_cnn_decoder.configuration_dilated_cnn_decoder import DilatedCNNDecoderConfig
from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.backbones.state_cache import StateCache

# How loud the condition is in a new model beside the words: heard from the first step, without drowning them.
CONDITION_RATIO = 0.5


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each place of (B, C, T)."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden.transpose(1, 2)).transpose(1, 2)


class DilatedBlock(GradientCheckpointingLayer):
    """A residual bottleneck: external -> internal, dilated causal convolution, internal -> external.

    The published block normalizes over the batch. That would make a sentence's likelihood depend on the other sentences, on
    their padding and, in training, on the words still to come; so each place is normalized over its channels instead, as in
    ByteNet (Kalchbrenner et al. 2016), which the block comes from.
    """

    def __init__(self, config: DilatedCNNDecoderConfig, dilation: int):
        super().__init__()
        external, internal = config.hidden_size, config.internal_size
        # Channels first and convolutions of width 1 in the place of linear layers: on CPUs these are the faster kernels.
        self.norm = ChannelNorm(external)
        self.narrow = nn.Conv1d(external, internal, 1)
        self.convolution = nn.Conv1d(internal, internal, config.kernel_size, dilation=dilation)
        self.widen = nn.Conv1d(internal, external, 1)
        self.reach = (config.kernel_size - 1) * dilation
        # Each block adds its share of a variance that does not grow with the number of blocks.
        self.share = len(config.dilations) ** -0.5

    def forward(
        self, hidden: torch.Tensor, past: torch.Tensor | None = None, kept: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The states (B, external, T) after the block, and what its convolution has read: (B, internal, reach + T).

        Args:
            past: (B, internal, reach), the last inputs of the convolution; zeros before the first word where it is None.
            kept: (B, 1, T), 0 at padding, which is read as nothing, like what stands before the first word.
        """
        inner = functional.relu(self.narrow(self.norm(hidden)))
        if kept is not None:
            inner = inner * kept.to(inner.dtype)
        read = functional.pad(inner, (self.reach, 0)) if past is None else torch.cat([past.to(inner.dtype), inner], dim=-1)
        return hidden + self.widen(functional.relu(self.convolution(read))), read

    def init_weights(self) -> None:
        """Unit variance all the way through the block (He et al. 2015), and a share of it out of the block."""
        init.normal_(self.narrow.weight, std=self.narrow.in_channels**-0.5)
        for layer, gain in ((self.convolution, 2**0.5), (self.widen, 2**0.5 * self.share)):
            init.normal_(layer.weight, std=gain * (layer.in_channels * layer.kernel_size[0]) ** -0.5)
        for layer in (self.narrow, self.convolution, self.widen):
            init.zeros_(layer.bias)


class DilatedCNNDecoderModel(SafeLoading, PreTrainedModel, GenerationMixin):
    """Embeddings, residual blocks of dilated causal convolutions and an output layer: a causal language model.

    Its cache holds the last inputs of every convolution, of fixed size, so a step of generation costs the same however long
    the text is. A latent variable can be concatenated to every word's embedding (`input_condition`).
    """

    config: DilatedCNNDecoderConfig
    base_model_prefix = "dilated_cnn_decoder"
    main_input_name = "input_ids"
    _input_embed_layer = "embeddings"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DilatedBlock"]
    _tied_weights_keys = {"lm_head.weight": "embeddings.weight"}

    def __init__(self, config: DilatedCNNDecoderConfig):
        super().__init__(config)
        # transformers would read it off a class name that ends in ForCausalLM.
        self.loss_type = "ForCausalLM"
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.input_projection = nn.Conv1d(config.embedding_size, config.hidden_size, 1)
        # Concatenation before a linear map is the sum of two maps; apart, the condition is projected once for all words.
        self.condition_projection = None
        if config.condition_size:
            self.condition_projection = nn.Linear(config.condition_size, config.hidden_size, bias=False)
        self.blocks = nn.ModuleList(DilatedBlock(config, dilation) for dilation in config.dilations)
        self.norm = ChannelNorm(config.hidden_size)
        self.dropout = Dropout(config.dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @property
    def receptive_field(self) -> int:
        """The number of words a logit depends on, the word just read counted."""
        return self.config.receptive_field

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        input_condition: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithPast:
        """Logits (B, T, V) for words (B, T), and what the convolutions have to remember.

        Args:
            attention_mask: (B, T) or longer on the left by what the cache holds; nonzero at words. Padding before a text is
                read as nothing, padding behind it is never seen.
            past_key_values: the `StateCache` of an earlier call.
            input_condition: (B, 1 or T, condition size), concatenated to the embeddings; zeros where it is not given.
            labels: (B, T), -100 where nothing is predicted; shifted inside, as in every causal model of transformers.
            logits_to_keep: the last so many places only; 0 keeps all.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds.")
        use_cache = self.config.use_cache if use_cache is None else use_cache
        embeddings = self.embedding_dropout(self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds)
        length = embeddings.shape[1]
        hidden = self.input_projection(embeddings.transpose(1, 2))
        if input_condition is not None:
            hidden = hidden + self._projected(input_condition)
        cache = StateCache.of(past_key_values)
        kept = None if attention_mask is None else (attention_mask[:, None, -length:] != 0)
        states = []
        for block, past in zip(self.blocks, cache.states or [None] * len(self.blocks), strict=True):
            hidden, read = block(hidden, past, kept)
            if use_cache:
                # A copy, because a view would keep all that was read in memory.
                states.append(read[..., -block.reach :].clone())
        if use_cache:
            cache.advance(tuple(states), length)
        hidden = self.dropout(self.norm(hidden[..., -logits_to_keep:]))
        logits = self.lm_head(hidden.transpose(1, 2))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache if use_cache else None)

    def _projected(self, condition: torch.Tensor) -> torch.Tensor:
        """What a condition (B, 1 or T, C) adds to the channels: (B, H, 1 or T)."""
        if self.condition_projection is None:
            raise ValueError("This decoder takes no input_condition: build it with condition_size in its config.")
        return self.condition_projection(condition.to(self.condition_projection.weight.dtype)).transpose(1, 2)

    def _init_weights(self, module: nn.Module) -> None:
        tied = self.config.tie_word_embeddings
        embedding_std = self.config.initializer_range if tied else self.config.embedding_initializer_range
        if isinstance(module, DilatedBlock):
            module.init_weights()
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=embedding_std)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif module is self.input_projection:
            # Words of unit variance, whatever the scale of their embeddings.
            init.normal_(module.weight, std=module.in_channels**-0.5 / embedding_std)
            init.zeros_(module.bias)
        elif module is self.condition_projection:
            init.normal_(module.weight, std=CONDITION_RATIO * module.in_features**-0.5)
        elif module is self.lm_head:
            init.normal_(module.weight, std=self.config.initializer_range)


AutoConfig.register(DilatedCNNDecoderConfig.model_type, DilatedCNNDecoderConfig)
AutoModelForCausalLM.register(DilatedCNNDecoderConfig, DilatedCNNDecoderModel)
