"""The LSTM decoder: the writer of the first text VAEs (Bowman et al. 2015), in the place of a transformer."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.lstm import LSTM, LSTMState, with_condition
from hf_lvm.backbones.lstm_decoder.configuration_lstm_decoder import LSTMDecoderConfig
from hf_lvm.backbones.recurrence import initialize_recurrent, run_lstm
from hf_lvm.backbones.state_cache import StateCache


class LSTMDecoderModel(PreTrainedModel, GenerationMixin):
    """Embeddings, LSTMs and an output layer without bias: a causal language model whose cache is its state.

    A latent variable can join it in the two ways of the literature: concatenated to every word's embedding
    (`input_condition`), and as the state it begins with (`initial_cell`).
    """

    config: LSTMDecoderConfig
    base_model_prefix = "lstm_decoder"
    main_input_name = "input_ids"
    _input_embed_layer = "embeddings"
    _tied_weights_keys = {"lm_head.weight": "embeddings.weight"}

    def __init__(self, config: LSTMDecoderConfig):
        super().__init__(config)
        self.loss_type = "ForCausalLM"
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embedding_dropout = Dropout(config.embedding_dropout)
        sizes = [config.embedding_size + config.condition_size, *[config.hidden_size] * (config.num_hidden_layers - 1)]
        self.layers = nn.ModuleList(LSTM(size, config.hidden_size) for size in sizes)
        self.dropout = Dropout(config.dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        input_condition: torch.Tensor | None = None,
        initial_cell: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithPast:
        """Logits for words (B, T), and the state to go on with.

        Args:
            attention_mask: (B, T) or longer on the left by what the cache holds; nonzero at words. Padding on either side.
            past_key_values: the `StateCache` of an earlier call.
            input_condition: (B, 1 or T, condition size), concatenated to the embeddings; zeros where it is not given.
            initial_cell: (B, layers, H), the cell states before the first word; the hidden states are their tanh. Not read
                when the cache holds words already.
            labels: (B, T), -100 where nothing is predicted; shifted inside, as in every causal model of transformers.
            logits_to_keep: the last so many places only; 0 keeps all.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds.")
        use_cache = self.config.use_cache if use_cache is None else use_cache
        hidden = self.embedding_dropout(self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds)
        condition = self._condition(hidden, input_condition)
        length = hidden.shape[1]
        cache = StateCache.of(past_key_values)
        states = self._states(cache, initial_cell)
        lengths = _padded_lengths(attention_mask, length)
        if lengths is not None:
            if condition is not None:
                hidden = with_condition(hidden, condition)
            hidden, order = _words_first(hidden, attention_mask[:, -length:])
        new_states = []
        for index, layer in enumerate(self.layers):
            if index:
                hidden = self.dropout(hidden)
            if lengths is None:
                hidden, state = run_lstm(layer, hidden, states[index], None if index else condition)
            else:
                packed = pack_padded_sequence(
                    hidden.to(layer.weight_ih_l0.dtype), lengths, batch_first=True, enforce_sorted=False
                )
                packed, state = layer(packed, states[index])
                hidden = pad_packed_sequence(packed, batch_first=True, total_length=length)[0]
            new_states += [part.squeeze(0) for part in state]
        if lengths is not None:
            hidden = torch.zeros_like(hidden).scatter(1, order.expand_as(hidden), hidden)
        if use_cache:
            cache.advance(tuple(new_states), length)
        # Contiguous, because beside a frozen output layer torch would else multiply sentence by sentence.
        logits = self.lm_head(self.dropout(hidden[:, -logits_to_keep:]).contiguous())
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache if use_cache else None)

    def _condition(self, hidden: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor | None:
        """The condition of every word, (B, 1 or T, condition size); None for a decoder without."""
        size = self.config.condition_size
        if not size:
            if condition is not None:
                raise ValueError("This decoder takes no input_condition: build it with condition_size in its config.")
            return None
        if condition is None:
            return hidden.new_zeros(hidden.shape[0], 1, size)
        return condition.to(hidden.dtype)

    def _states(self, cache: StateCache, initial_cell: torch.Tensor | None) -> list[LSTMState | None]:
        """(h, c) of each layer, each (1, B, H) as `nn.LSTM` has it; None for zeros."""
        if cache.states:
            tensors = [state.unsqueeze(0) for state in cache.states]
            return list(zip(tensors[::2], tensors[1::2], strict=True))
        if initial_cell is None:
            return [None] * len(self.layers)
        return [(torch.tanh(cell).contiguous(), cell.contiguous()) for cell in initial_cell.transpose(0, 1).unsqueeze(1)]

    def _init_weights(self, module: nn.Module) -> None:
        initialize_recurrent(module, self.config.initializer_range, self.config.embedding_initializer_range)


def _padded_lengths(mask: torch.Tensor | None, length: int) -> torch.Tensor | None:
    """Words in each row on the host, or None where no row is padded."""
    if mask is None or length == 1 or bool((mask[:, -length:] != 0).all()):
        return None
    # A row of padding alone is read as one word; nothing that it says is used.
    return (mask[:, -length:] != 0).sum(1).clamp(min=1).cpu()


def _words_first(hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The words of each row before its padding, and the place each came from: (B, T, 1)."""
    order = (mask == 0).to(torch.int8).argsort(dim=1, stable=True).unsqueeze(-1)
    return hidden.gather(1, order.expand_as(hidden)), order


AutoConfig.register(LSTMDecoderConfig.model_type, LSTMDecoderConfig)
AutoModelForCausalLM.register(LSTMDecoderConfig, LSTMDecoderModel)
