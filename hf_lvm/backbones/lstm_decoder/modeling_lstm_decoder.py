"""The LSTM decoder: the writer of the first text VAEs (Bowman et al. 2015), in the place of a transformer."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.lstm import LSTM, LSTMState, with_condition
from hf_lvm.backbones.lstm_decoder.configuration_lstm_decoder import LSTMDecoderConfig
from hf_lvm.backbones.lstm_decoder.input_feeding import run_with_feeding
from hf_lvm.backbones.lstm_decoder.source_attention import SourceAttention, SourceStates
from hf_lvm.backbones.recurrence import initialize_recurrent, run_lstm
from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.backbones.state_cache import StateCache


class LSTMDecoderModel(SafeLoading, PreTrainedModel, GenerationMixin):
    """Embeddings, LSTMs and an output layer without bias: a causal language model whose cache is its state.

    A latent variable can join it in the two ways of the literature: concatenated to every word's embedding
    (`input_condition`), and as the state it begins with (`initial_cell`). With `add_cross_attention` in its config it attends
    to the states of a source (Luong et al. 2015), and the output layer reads attentional vectors in the place of its states;
    with `input_feeding` the next step does, too.
    """

    config: LSTMDecoderConfig
    base_model_prefix = "lstm_decoder"
    main_input_name = "input_ids"
    _input_embed_layer = "embeddings"
    _tied_weights_keys = {"lm_head.weight": "embeddings.weight"}

    def __init__(self, config: LSTMDecoderConfig):
        super().__init__(config)
        if config.input_feeding and not config.add_cross_attention:
            raise ValueError("input_feeding feeds what attention has found: set add_cross_attention, or leave it out.")
        self.loss_type = "ForCausalLM"
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embedding_dropout = Dropout(config.embedding_dropout)
        size = config.embedding_size + config.condition_size + (config.hidden_size if config.input_feeding else 0)
        sizes = [size, *[config.hidden_size] * (config.num_hidden_layers - 1)]
        self.layers = nn.ModuleList(LSTM(size, config.hidden_size) for size in sizes)
        self.cross_attention = None
        if config.add_cross_attention:
            self.cross_attention = SourceAttention(
                config.hidden_size, config.cross_attention_hidden_size or config.hidden_size
            )
        self.dropout = Dropout(config.dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        input_condition: torch.Tensor | None = None,
        initial_cell: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithCrossAttentions:
        """Logits for words (B, T), and the state to go on with.

        Args:
            attention_mask: (B, T) or longer on the left by what the cache holds; nonzero at words. Padding on either side.
            past_key_values: the `StateCache` of an earlier call.
            encoder_hidden_states: (B, S, E), attended to; without them a decoder that attends reads zeros in their place.
            encoder_attention_mask: (B, S), nonzero at states that count.
            input_condition: (B, 1 or T, condition size), concatenated to the embeddings; zeros where it is not given.
            initial_cell: (B, layers, H), the cell states before the first word; the hidden states are their tanh. Not read
                when the cache holds words already.
            labels: (B, T), -100 where nothing is predicted; shifted inside, as in every causal model of transformers.
            output_attentions: return `cross_attentions`, a tuple of one (B, 1, T, S): the weights of the states.
            output_hidden_states: return `hidden_states`, of layers + 1 tensors (B, T, .): the embeddings after dropout, the
                states of all layers but the last, and what the output layer reads, after dropout.
            logits_to_keep: the last so many places only; 0 keeps all.

        Raises:
            ValueError: states for a decoder that does not attend, or of another shape; an `input_condition` likewise.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds.")
        config = self.config
        use_cache = config.use_cache if use_cache is None else use_cache
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        embedded = self.embedding_dropout(self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds)
        source = self._source(encoder_hidden_states, encoder_attention_mask, len(embedded))
        condition = self._condition(embedded, input_condition)
        cache = StateCache.of(past_key_values)
        states = self._states(cache, initial_cell)
        length = embedded.shape[1]
        lengths = _padded_lengths(attention_mask, length)
        inputs = embedded
        if condition is not None and (lengths is not None or config.input_feeding):
            inputs, condition = with_condition(inputs, condition), None
        if lengths is not None:
            inputs, order = _words_first(inputs, attention_mask[:, -length:])
        weights = None
        if config.input_feeding:
            fed = cache.states[-1] if cache.states else inputs.new_zeros(len(inputs), config.hidden_size)
        feeds_inside = config.input_feeding and length > 1
        if feeds_inside:
            outputs, weights, new_states = run_with_feeding(
                self.layers, self.cross_attention, self.dropout, inputs, states, fed, source, lengths
            )
        else:
            if config.input_feeding:
                inputs = with_condition(inputs, fed.to(inputs.dtype).unsqueeze(1))
            outputs, new_states = self._run_layers(inputs, condition, states, lengths)
        if lengths is not None:
            outputs = [_places_again(output, order) for output in outputs]
            weights = None if weights is None else _places_again(weights, order)
        read = outputs[-1]
        if not (output_attentions or output_hidden_states):
            read = read[:, -logits_to_keep:]
        if not feeds_inside:
            if self.cross_attention is not None:
                read, weights = self.cross_attention(read, source)
            read = self.dropout(read)
            if config.input_feeding:
                new_states = *new_states, read[:, -1]
        if use_cache:
            cache.advance(new_states, length)
        # Contiguous, because beside a frozen output layer torch would else multiply sentence by sentence.
        logits = self.lm_head(read[:, -logits_to_keep:].contiguous())
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=config.vocab_size)
        return CausalLMOutputWithCrossAttentions(
            loss=loss,
            logits=logits,
            past_key_values=cache if use_cache else None,
            hidden_states=(embedded, *outputs[:-1], read) if output_hidden_states else None,
            cross_attentions=(weights.unsqueeze(1),) if output_attentions and weights is not None else None,
        )

    def _run_layers(
        self,
        hidden: torch.Tensor,
        condition: torch.Tensor | None,
        states: list[LSTMState | None],
        lengths: torch.Tensor | None,
    ) -> tuple[list[torch.Tensor], tuple[torch.Tensor, ...]]:
        """The outputs (B, T, H) of each layer, all steps at once, and h and c of each after the last word, (B, H)."""
        outputs, new_states = [], []
        for index, layer in enumerate(self.layers):
            if index:
                hidden = self.dropout(hidden)
            if lengths is None:
                hidden, state = run_lstm(layer, hidden, states[index], None if index else condition)
            else:
                packed = pack_padded_sequence(hidden, lengths, batch_first=True, enforce_sorted=False)
                packed, state = run_lstm(layer, packed, states[index])
                hidden = pad_packed_sequence(packed, batch_first=True, total_length=hidden.shape[1])[0]
            outputs.append(hidden)
            new_states += [part.squeeze(0) for part in state]
        return outputs, tuple(new_states)

    def _source(self, states: torch.Tensor | None, mask: torch.Tensor | None, batch: int) -> SourceStates | None:
        """What is attended to, None for nothing."""
        if states is None:
            return None
        if self.cross_attention is None:
            raise ValueError(
                "This decoder attends to no encoder_hidden_states: build it with add_cross_attention=True in its config."
            )
        return self.cross_attention.source(states, mask, batch)

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
            tensors = [state.unsqueeze(0) for state in cache.states[: 2 * len(self.layers)]]
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


def _places_again(sequence: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """What stands words first (B, T, .), in the places where `_words_first` found it."""
    return torch.zeros_like(sequence).scatter(1, order.expand_as(sequence), sequence)


AutoConfig.register(LSTMDecoderConfig.model_type, LSTMDecoderConfig)
AutoModelForCausalLM.register(LSTMDecoderConfig, LSTMDecoderModel)
