"""The neural hidden Markov model: p(x, z) = product over t of p(z_t | z_t-1) p(x_t | z_t), with z_t one of C states.

Transitions and emissions are softmaxes over products of embeddings, so that states and words share what they learn (Tran et
al. 2016, section 4). The likelihood is summed exactly by the forward algorithm, and its gradient is exact.

The end of a sentence is a state of its own: it alone emits the end token, and only the end token. So the probabilities of all
texts, the empty one included, sum to 1.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_lvm.backbones.composition.adapter_checkpoints import AdapterCheckpoints
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators, LinearChainCRF
from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.layers.precision import linear_at_least_float32
from hf_lvm.models.neural_hmm.configuration_neural_hmm import NeuralHMMConfig
from hf_lvm.models.neural_hmm.sampling import sample_sentences
from hf_lvm.objectives import LikelihoodEstimate, check_combination


@dataclass
class NeuralHMMOutput(ModelOutput):
    """What a forward pass of a neural HMM returns. B sentences, T tokens with the end, V words.

    Attributes:
        loss: scalar, -log p(x) in nats per sentence, averaged over the batch; see `forward` for a KL weight other than 1.
        reconstruction: (B,), E[-log p(x|z)] under the exact posterior p(z|x), nats per sentence.
        kl: (B,), KL(p(z|x) || p(z)). The two sum to -log p(x).
        logits: (B, T, V), log p(x_t | x_1..x_t-1), normalised; not in training. What stands past an end means nothing.
        latents: (B, T), the most probable states given x, or those that were passed; not in training.
        posterior: p(z|x), a `LinearChainCRF`; its last state is the end.
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: Distribution | None = None


class NeuralHMMModel(AdapterCheckpoints, PreTrainedModel):
    """A hidden Markov model of sentences.

    Example:

    ```python
    >>> from hf_lvm import NeuralHMMConfig, NeuralHMMModel

    >>> hmm = NeuralHMMModel(NeuralHMMConfig(vocab_size=99, num_states=7, hidden_size=16, eos_token_id=2)).eval()
    >>> output = hmm(labels=torch.tensor([[5, 6, 7, 2]]))
    >>> output.posterior.unary_marginals.shape, output.latents[0, -1].item()
    (torch.Size([1, 4, 8]), 7)

    ```
    """

    config: NeuralHMMConfig
    base_model_prefix = "neural_hmm"
    main_input_name = "labels"
    accepts_loss_kwargs = False

    def __init__(self, config: NeuralHMMConfig):
        super().__init__(config)
        if config.eos_token_id is None:
            raise ValueError("A hidden Markov model needs to know how a sentence ends: set eos_token_id in its config.")
        states, size = config.num_states, config.hidden_size
        # The last row is where a sentence begins.
        self.previous_states = nn.Embedding(states + 1, size)
        self.next_states = nn.Linear(size, states + 1)
        self.emitting_states = nn.Embedding(states, size)
        self.emitting_layer = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
        self.words = nn.Linear(size, config.vocab_size)
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=1.0)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_range)
            init.zeros_(module.bias)

    # ---- the model ---------------------------------------------------------------------------------------------------

    @property
    def end_state(self) -> int:
        """The state that ends a sentence; the others are 0..C-1."""
        return self.config.num_states

    def transition_log_probs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """log p(z_1) (C + 1,) and log p(z_t+1 | z_t) (C + 1, C + 1) as [from, to]; nothing follows the end."""
        log_probs = linear_at_least_float32(self.next_states, self.dropout(self.previous_states.weight)).log_softmax(-1)
        # Finite, and never met: the end emits the end token alone, which stands last.
        after_end = torch.zeros_like(log_probs[:1])
        return log_probs[-1], torch.cat([log_probs[:-1], after_end])

    def emission_log_probs(self) -> torch.Tensor:
        """log p(word | state): (C + 1, V), the end token from the end state only."""
        states = self.dropout(self.emitting_states.weight)
        logits = linear_at_least_float32(self.words, states + self.emitting_layer(states))
        is_end = torch.arange(logits.shape[1], device=logits.device) == self.config.eos_token_id
        log_probs = logits.masked_fill(is_end, -torch.inf).log_softmax(-1)
        end = torch.zeros_like(log_probs[:1]).masked_fill(~is_end, -torch.inf)
        return torch.cat([log_probs, end])

    def encode(self, labels: torch.Tensor, kl_weight: float = 1.0) -> LinearChainCRF:
        """p(z|x) of sentences; its `log_partition` is log p(x).

        Args:
            labels: (B, T), tokens and EOS, -100 where padded (on the right).
            kl_weight: weight of log p(z): the distribution in proportion to p(z) p(x|z)^(1 / kl_weight).

        Raises:
            ValueError: a sentence without any token, or tokens outside the vocabulary.
        """
        return self._chain(labels, self.emission_log_probs(), kl_weight)[0]

    def _chain(
        self, labels: torch.Tensor, emissions: torch.Tensor, kl_weight: float = 1.0
    ) -> tuple[LinearChainCRF, torch.Tensor]:
        """The posterior, and log p(x_t | z_t) of every state at every position: (B, T, C + 1)."""
        if labels.dim() != 2 or labels.shape[1] == 0:
            raise ValueError(f"labels has shape {tuple(labels.shape)}: sentences (B, T) with at least their end are needed.")
        is_token = self._checked_tokens(labels)
        start, transitions = self.transition_log_probs()
        emitted = functional.embedding(labels.masked_fill(~is_token, 0), emissions.T)
        unary = emitted if kl_weight == 1.0 else emitted / kl_weight
        unary = torch.cat([unary[:, :1] + start, unary[:, 1:]], dim=1)
        return LinearChainCRF(transitions, unary, lengths=is_token.sum(1)), emitted

    def _checked_tokens(self, labels: torch.Tensor) -> torch.Tensor:
        """Where labels (B, T) have a token: (B, T) bool."""
        is_token = labels != -100
        unknown = (is_token & ((labels < 0) | (labels >= self.config.vocab_size))).any(1)
        if may_look(labels, False) and unknown.any():
            raise ValueError(
                f"The labels of row(s) {rows_of(unknown)} have tokens outside the vocabulary, 0 to "
                f"{self.config.vocab_size - 1}: use the tokenizer that the model was built for."
            )
        return is_token

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        latents: torch.LongTensor | None = None,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        return_dict: bool | None = None,
    ) -> NeuralHMMOutput:
        """-log p(x) of sentences, or -log p(x|z) under given states.

        Args:
            input_ids, attention_mask, generator: taken, so that collators and trainers of other models serve, and not used:
                there is no encoder, and nothing is drawn.
            labels: (B, T), tokens and EOS, -100 where padded (on the right).
            latents: (B, T), states to score the labels under, what stands past their end not used: `kl` is None, and `loss`
                the mean reconstruction.
            kl_weight: b > 0; the loss is then the least that E_q[-log p(x|z)] + b KL(q || p(z)) can be for any q.
            free_bits, free_bits_mode: 0 and "none", as there is no KL term to hold up.

        Raises:
            ValueError: no labels, tokens or states that do not exist, a weight that is not positive, or free bits.
        """
        if labels is None:
            raise ValueError("Pass labels: the sentences, each with its end, -100 where padded.")
        check_combination("marginal", "exact", 1, latents="discrete", free_bits_mode=free_bits_mode)
        if kl_weight <= 0:
            raise ValueError(
                f"kl_weight must be positive for a hidden Markov model, but is {kl_weight}: with no weight on p(z) there is "
                "no distribution over states. Use kl_schedule 'constant', or a kl_start above 0."
            )
        emissions = self.emission_log_probs()
        if latents is not None:
            reconstruction = self._under(labels, latents, emissions)
            return NeuralHMMOutput(loss=reconstruction.mean(), reconstruction=reconstruction, latents=latents)
        chain, emitted = self._chain(labels, emissions, kl_weight)
        loss = -kl_weight * chain.log_partition
        with torch.no_grad():
            posterior = chain if kl_weight == 1.0 else self._chain(labels, emissions)[0]
            marginals = posterior.unary_marginals
            # What cannot be is not lost.
            reconstruction = -(marginals * emitted.masked_fill(marginals == 0, 0.0)).sum((1, 2))
            kl = -posterior.log_partition - reconstruction
            logits = None if self.training else self._predictions(emitted, emissions)
            latents = None if self.training else posterior.argmax
        return NeuralHMMOutput(
            loss=loss.mean(), reconstruction=reconstruction, kl=kl, logits=logits, latents=latents, posterior=posterior
        )

    def _under(self, labels: torch.Tensor, latents: torch.Tensor, emissions: torch.Tensor) -> torch.Tensor:
        """-log p(x|z) of each sentence: (B,)."""
        if latents.shape != labels.shape:
            raise ValueError(
                f"latents has shape {tuple(latents.shape)} and labels {tuple(labels.shape)}: there is one state a token."
            )
        is_token = self._checked_tokens(labels)
        unknown = (is_token & ((latents < 0) | (latents > self.end_state))).any(1)
        if may_look(latents, False) and unknown.any():
            raise ValueError(
                f"The latents of row(s) {rows_of(unknown)} are no states: give numbers from 0 to {self.end_state}, the last "
                "of which is the end."
            )
        emitted = emissions[latents.masked_fill(~is_token, 0), labels.masked_fill(~is_token, 0)]
        return -emitted.masked_fill(~is_token, 0.0).sum(1)

    def _predictions(self, emitted: torch.Tensor, emissions: torch.Tensor) -> torch.Tensor:
        """log p(x_t | x_1..x_t-1) of every word, (B, T, V), from the emissions at each position (B, T, C + 1)."""
        start, transitions = self.transition_log_probs()
        expected = [start.expand(emitted.shape[0], -1)]
        for position in range(emitted.shape[1] - 1):
            filtered = (expected[-1] + emitted[:, position]).log_softmax(-1)
            expected.append(torch.logsumexp(filtered.unsqueeze(-1) + transitions, dim=1).log_softmax(-1))
        return (torch.stack(expected, dim=1).exp() @ emissions.exp()).log()

    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        num_samples: int = 1,
        generator: Generators = None,
    ) -> LikelihoodEstimate:
        """log p(x) in nats, summed exactly and without dropout; the other arguments are those of models that estimate it."""
        if labels is None:
            raise ValueError("Pass labels: the sentences, each with its end, -100 where padded.")
        with in_evaluation_mode(self):
            log_likelihood = self.encode(labels).log_partition.double()
        return LikelihoodEstimate.exactly(log_likelihood)

    # ---- tags and texts ----------------------------------------------------------------------------------------------

    def tag(self, labels: torch.LongTensor, decoding: str = "viterbi") -> torch.LongTensor:
        """The state of each word of sentences (B, T): (B, T), -100 at the end token and past it.

        Args:
            decoding: `viterbi`, the most probable sequence, or `posterior`, the most probable state at each position.

        Raises:
            ValueError: another decoding.
        """
        if decoding not in ("viterbi", "posterior"):
            raise ValueError(f"Unknown decoding {decoding!r}: choose 'viterbi' or 'posterior'.")
        with in_evaluation_mode(self):
            chain = self.encode(labels)
            states = chain.argmax if decoding == "viterbi" else chain.unary_marginals.argmax(-1)
        is_word = (labels != -100) & (labels != self.config.eos_token_id)
        return states.masked_fill(~is_word, -100)

    def parse(
        self, texts: str | list[str], *, processor: LatentTextProcessor, decoding: str = "viterbi"
    ) -> list[list[tuple[str, int]]]:
        """The tokens of each text with their states."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        labels = processor(texts)["labels"].to(self.device)
        tokenizer = processor.decoder_tokenizer
        return [
            [
                (tokenizer.convert_ids_to_tokens(int(token)), int(state))
                for token, state in zip(row, states, strict=True)
                if state >= 0
            ]
            for row, states in zip(labels, self.tag(labels, decoding), strict=True)
        ]

    def generate(
        self, num_sentences: int = 1, max_new_tokens: int = 64, generator: torch.Generator | None = None
    ) -> torch.LongTensor:
        """New sentences, drawn exactly from p(x): (num_sentences, L), padded on the right, cut after `max_new_tokens`.

        Raises:
            ValueError: no room for a token.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, but is {max_new_tokens}.")
        with in_evaluation_mode(self):
            start, transitions = self.transition_log_probs()
            return sample_sentences(
                start,
                transitions,
                self.emission_log_probs(),
                num_sentences,
                max_new_tokens,
                padding=self.config.eos_token_id if self.config.pad_token_id is None else self.config.pad_token_id,
                generator=generator,
            )

    def sample(
        self,
        num_texts: int = 8,
        *,
        processor: LatentTextProcessor,
        max_new_tokens: int = 64,
        generator: torch.Generator | None = None,
        **options,
    ) -> list[str]:
        """New texts, drawn exactly from p(x).

        Raises:
            ValueError: options of decoders, such as a temperature, which there is none for.
        """
        if options:
            raise ValueError(
                f"A hidden Markov model draws its texts exactly from p(x), without {', '.join(options)}: leave it out."
            )
        return processor.batch_decode(self.generate(num_texts, max_new_tokens, generator))


AutoConfig.register(NeuralHMMConfig.model_type, NeuralHMMConfig)
AutoModel.register(NeuralHMMConfig, NeuralHMMModel)
AutoProcessor.register(NeuralHMMConfig, LatentTextProcessor)
