"""The LSTM encoder: the reader of the first text VAEs (Bowman et al. 2015), in the place of a transformer."""

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.lstm import LSTM
from hf_lvm.backbones.lstm_encoder.configuration_lstm_encoder import LSTMEncoderConfig
from hf_lvm.backbones.recurrence import initialize_recurrent, run_lstm
from hf_lvm.backbones.safe_loading import SafeLoading


class LSTMEncoderModel(SafeLoading, PreTrainedModel):
    """Embeddings and LSTMs, each layer reading from one end or from both.

    The state after the last word is what text VAEs take: the pooling `last` (with two directions, the last state of each).
    """

    config: LSTMEncoderConfig
    base_model_prefix = "lstm_encoder"
    main_input_name = "input_ids"
    _input_embed_layer = "embeddings"

    def __init__(self, config: LSTMEncoderConfig):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=None)
        self.dropout = Dropout(config.dropout)
        directions = 2 if config.bidirectional else 1
        sizes = [config.embedding_size, *[config.hidden_size] * (config.num_hidden_layers - 1)]

        def stack() -> nn.ModuleList:
            return nn.ModuleList(LSTM(size, config.hidden_size // directions) for size in sizes)

        self.forward_layers = stack()
        self.backward_layers = stack() if config.bidirectional else None
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput:
        """States (B, S, H) of tokens (B, S) padded on the right; those behind the end of a sentence mean nothing.

        With two directions the first half of the features has read from the left, the second from the right.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds.")
        hidden = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        reversal = None
        if self.backward_layers is not None:
            if attention_mask is None:
                attention_mask = hidden.new_ones(hidden.shape[:2])
            reversal = _reversal(attention_mask).unsqueeze(-1)
        for index, layer in enumerate(self.forward_layers):
            hidden = self.dropout(hidden)
            states = run_lstm(layer, hidden)[0]
            if reversal is not None:
                # The second LSTM reads each sentence, not its padding, backwards: no packing, no copy to the host.
                mirrored = hidden.gather(1, reversal.expand_as(hidden))
                backward = run_lstm(self.backward_layers[index], mirrored)[0]
                states = torch.cat([states, backward.gather(1, reversal.expand_as(backward))], dim=-1)
            hidden = states
        return BaseModelOutput(last_hidden_state=hidden)

    def _init_weights(self, module: nn.Module) -> None:
        initialize_recurrent(module, self.config.initializer_range, self.config.embedding_initializer_range)


def _reversal(mask: torch.Tensor) -> torch.Tensor:
    """For each place of a right-padded sentence the place to read when it is read backwards: (B, S)."""
    length = (mask != 0).sum(1, keepdim=True)
    place = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    return torch.where(place < length, length - 1 - place, place)


AutoConfig.register(LSTMEncoderConfig.model_type, LSTMEncoderConfig)
AutoModel.register(LSTMEncoderConfig, LSTMEncoderModel)
