"""The bag-of-words encoder: the inference network of neural topic models (Miao et al. 2016; Srivastava and Sutton 2017)."""

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

from hf_lvm.backbones.bag_of_words_encoder.configuration_bag_of_words_encoder import BagOfWordsEncoderConfig
from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.safe_loading import SafeLoading


class BagOfWordsEncoderModel(SafeLoading, PreTrainedModel):
    """The sum over words of log(1 + count) times the embedding of the word, then layers with softplus.

    Every position gets the same vector, that of the whole text: any pooling gives it back, and neither the order of the words
    nor the side or amount of padding plays a part.
    """

    config: BagOfWordsEncoderConfig
    base_model_prefix = "bag_of_words_encoder"
    main_input_name = "input_ids"
    _input_embed_layer = "embeddings"

    def __init__(self, config: BagOfWordsEncoderConfig):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.layers = nn.ModuleList(nn.Linear(config.hidden_size, config.hidden_size) for _ in range(config.num_hidden_layers))
        self.activation = nn.Softplus()
        self.dropout = Dropout(config.dropout)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput:
        """The vector of each text at all its positions, (B, S, H), from tokens (B, S), padded anywhere.

        Raises:
            ValueError: no `input_ids`, or `inputs_embeds`, which cannot be counted.
        """
        if inputs_embeds is not None or input_ids is None:
            raise ValueError("A bag-of-words encoder counts tokens: pass input_ids, and no inputs_embeds.")
        weights = self.embeddings.weight
        seen = torch.ones_like(input_ids) if attention_mask is None else (attention_mask != 0)
        counts = torch.zeros(input_ids.shape[0], weights.shape[0], dtype=weights.dtype, device=weights.device)
        counts.scatter_add_(1, input_ids, seen.to(weights.dtype))
        hidden = self.dropout(self.activation(torch.log1p(counts) @ weights + self.bias))
        for layer in self.layers:
            hidden = self.dropout(self.activation(layer(hidden)))
        return BaseModelOutput(last_hidden_state=hidden.unsqueeze(1).expand(-1, input_ids.shape[1], -1))

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)
        elif module is self:
            init.zeros_(self.bias)


AutoConfig.register(BagOfWordsEncoderConfig.model_type, BagOfWordsEncoderConfig)
AutoModel.register(BagOfWordsEncoderConfig, BagOfWordsEncoderModel)
