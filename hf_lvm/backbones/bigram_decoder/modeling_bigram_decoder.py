"""A bigram language model: p(word | the word before), by embeddings and one layer of units.

It stands wherever a causal language model does. Because a probability depends on a pair of words only, it is also the prior
whose expectation over all deletions of a sentence is exact (`hf_lvm.distributions.CanonicalDeletion`).
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_lvm.backbones.bigram_decoder.configuration_bigram_decoder import BigramDecoderConfig
from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.backbones.state_cache import StateCache
from hf_lvm.layers.word_softmax import WordSoftmax, log_not

# Contexts whose logits are computed together in the table of all pairs.
ROWS_AT_ONCE = 1024


class BigramDecoderModel(SafeLoading, PreTrainedModel, GenerationMixin):
    """log p(w | v) = log softmax(W (e_v + tanh(U e_v)) + b) over all w but padding and start token."""

    config: BigramDecoderConfig
    base_model_prefix = "bigram_decoder"
    main_input_name = "input_ids"
    _input_embed_layer = "embeddings"

    def __init__(self, config: BigramDecoderConfig):
        super().__init__(config)
        self.loss_type = "ForCausalLM"
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.units = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = Dropout(config.dropout)
        self.words = WordSoftmax(config.hidden_size, config.vocab_size, config.excluded_ids)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithPast:
        """Logits (B, T, V) of the word behind each of (B, T), -inf at what is never predicted.

        Args:
            attention_mask: taken and not needed: no place sees another.
            labels: (B, T), -100 where nothing is predicted; shifted inside, as in every causal model of transformers.
            logits_to_keep: the last so many places only; 0 keeps all.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds.")
        embedded = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        cache = StateCache.of(past_key_values)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache:
            cache.advance((), embedded.shape[1])
        logits = self.words.logits(self._contexts(embedded[:, -logits_to_keep:]))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache if use_cache else None)

    def pair_log_probs(self, words: torch.Tensor, start: int, end: int, allow_empty: bool = False) -> torch.Tensor:
        """log p(to | from) of all pairs of a sentence's words, begin and end: (B, n + 1, n + 1), nats.

        Args:
            words: (B, n).
            start, end: the tokens that a compression begins behind and ends with.
            allow_empty: whether the end may follow the begin. Without, the first word is drawn given that there is one, so
                that the probabilities of all sequences of one word or more sum to one.
        """
        contexts = torch.cat([torch.full_like(words[:, :1], start), words], dim=1)
        targets = torch.cat([words, torch.full_like(words[:, :1], end)], dim=1)
        read = None if self.dropout.is_active else contexts
        log_probs = self.words(self._contexts(self.embeddings(contexts)), targets, read)
        if allow_empty:
            return log_probs
        first = log_probs[:, :1] - log_not(log_probs[:, :1, -1:])
        # The pair from the begin to the end stands in the corner.
        first = functional.pad(first[..., :-1], (0, 1), value=-torch.inf)
        return torch.cat([first, log_probs[:, 1:]], dim=1)

    def log_length_probs(self, most: int, start: int, end: int) -> torch.Tensor:
        """log p(a text has so many words) for 0 to `most`, the end not counted: (most + 1,), nats, exactly.

        The sum over all texts of a length is one over paths of so many steps through the table of all pairs: O(V^2) numbers,
        and as many operations a step.

        Args:
            start, end: the tokens that a text begins behind and ends with.
        """
        tokens = torch.arange(self.config.vocab_size, device=self.embeddings.weight.device)
        rows = [
            self.words.logits(self._contexts(self.embeddings(some))).softmax(-1) for some in tokens.split(ROWS_AT_ONCE)
        ]  # [from, to]
        table = torch.cat(rows)
        first, leaving = table[start], table[:, end]
        going_on = table.masked_fill(tokens == end, 0.0)
        reached, log_scale = first.masked_fill(tokens == end, 0.0), table.new_zeros(())
        log_probs = [first[end].log()]
        for _ in range(most):
            log_probs.append(log_scale + (reached @ leaving).log())
            reached = reached @ going_on
            total = reached.sum()
            # So that what long texts leave has digits.
            reached, log_scale = reached / total, log_scale + total.log()
        return torch.stack(log_probs)

    def _contexts(self, embedded: torch.Tensor) -> torch.Tensor:
        return self.dropout(embedded + self.units(embedded).tanh())

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Embedding, nn.Linear)):
            init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear):
                init.zeros_(module.bias)


AutoConfig.register(BigramDecoderConfig.model_type, BigramDecoderConfig)
AutoModelForCausalLM.register(BigramDecoderConfig, BigramDecoderModel)
