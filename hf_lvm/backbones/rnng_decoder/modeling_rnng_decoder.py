"""The recurrent neural network grammar over unlabelled binary trees: p(sentence, tree), word by word and bracket by bracket
(Dyer et al. 2016; Kim et al. 2019, section 2.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.rnng_decoder.cells import StackCell, TreeCell, at_least_float32
from hf_lvm.backbones.rnng_decoder.configuration_rnng_decoder import RNNGDecoderConfig
from hf_lvm.backbones.rnng_decoder.stacks import SampledTrees, Stacks
from hf_lvm.grammars.shift_reduce import SharedDerivations, share


@dataclass
class RNNGDecoderOutput(ModelOutput):
    """log p of K trees for each of B sentences, nats.

    Attributes:
        log_prob: (K, B), log p(sentence, tree).
        word_log_prob: (K, B), of its words and the end of the sentence, each given the stack before it.
        action_log_prob: (K, B), of SHIFT or REDUCE wherever there is a choice.
        published_log_prob: (K, B), the number that the code of Kim et al. (2019) evaluates: the end of the sentence does not
            count, and the probability that it has everywhere goes to waste. Not normalised over sentences.
    """

    log_prob: torch.Tensor | None = None
    word_log_prob: torch.Tensor | None = None
    action_log_prob: torch.Tensor | None = None
    published_log_prob: torch.Tensor | None = None


class RNNGDecoderModel(PreTrainedModel):
    """A generative model of sentences with binary trees.

    A stack of constituents grows by SHIFT, which draws the next word and puts it on top, and REDUCE, which replaces the two
    topmost constituents by what they make up. An LSTM reads the stack from the bottom, and its state says what comes next.
    With fewer than two constituents SHIFT is certain; from two on REDUCE has the probability that the action head gives it. A
    SHIFT that finds a single constituent may draw the end of the sentence instead of a word, and no other SHIFT may. So
    nothing depends on how many words are left, and the probabilities of all sentences with all trees sum to 1.

    All trees of a batch are known when they are scored, so nothing is done step by step: constituents are composed height by
    height, the states of the stack computed size by size, and what trees of one sentence share is computed once
    (`hf_lvm.grammars.shift_reduce.sharing`).
    """

    config: RNNGDecoderConfig
    base_model_prefix = "rnng_decoder"
    main_input_name = "input_ids"
    _input_embed_layer = "embeddings"
    _tied_weights_keys = {"lm_head.weight": "embeddings.weight"}

    def __init__(self, config: RNNGDecoderConfig):
        super().__init__(config)
        size = config.hidden_size
        self.embeddings = nn.Embedding(config.vocab_size, size)
        self.composition = TreeCell(size)
        self.stack_layers = nn.ModuleList(StackCell(size) for _ in range(config.num_hidden_layers))
        self.lm_head = nn.Linear(size, config.vocab_size)
        self.action_head = nn.Linear(size, 1)
        self.dropout = Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Embedding, nn.Linear)):
            for parameter in module.parameters(recurse=False):
                init.uniform_(parameter, -self.config.initializer_range, self.config.initializer_range)

    def forward(self, input_ids: torch.LongTensor, spans: torch.Tensor, return_dict: bool | None = None) -> RNNGDecoderOutput:
        """Score sentences with trees.

        Args:
            input_ids: (B, n), words, without start and end, padded on the right with anything.
            spans: (K, B, n, n) bool, True at the spans of K trees for each sentence, as `BinaryTreeCRF.sample` gives them.
                They say how long a sentence is.

        Raises:
            ValueError: spans of another shape or type.
        """
        if spans.dim() != 4 or spans.shape[1:] != (*input_ids.shape, input_ids.shape[1]) or spans.dtype != torch.bool:
            batch, length = input_ids.shape
            raise ValueError(
                f"spans must be a mask (K, {batch}, {length}, {length}) of K trees for each sentence, but are "
                f"{tuple(spans.shape)} of {spans.dtype}."
            )
        num_trees, batch = spans.shape[:2]
        shared = share(spans.flatten(0, 1), torch.arange(batch, device=spans.device).repeat(num_trees))
        states = self._stack_states(shared, self._constituents(shared, input_ids))
        lengths = spans[0].diagonal(dim1=1, dim2=2).sum(1)
        words, published = self._word_log_probs(shared, states, input_ids, lengths)
        actions = self._action_log_probs(shared, states)
        words, published, actions = (each.view(num_trees, batch) for each in (words, published, actions))
        return RNNGDecoderOutput(words + actions, words, actions, published + actions)

    def _constituents(self, shared: SharedDerivations, input_ids: torch.Tensor) -> torch.Tensor:
        """A vector for each different constituent: (U, H)."""
        words = self.dropout(self.embeddings(input_ids[shared.word_sentence, shared.word_position]))
        # Hidden and cell states side by side, so that both are gathered at once.
        states = torch.cat([words, torch.zeros_like(words)], dim=1)
        for left, right in shared.constituent_levels:
            parts = states[torch.cat([left, right])].view(2, len(left), 2, -1)
            made = self.composition(*parts[0].unbind(1), *parts[1].unbind(1))
            states = torch.cat([states, torch.cat(made, dim=1)])
        return states[:, : words.shape[1]]

    def _stack_states(self, shared: SharedDerivations, constituents: torch.Tensor) -> torch.Tensor:
        """The last layer's state for each different stack, the empty one first: (S, H)."""
        bos = torch.full((1,), self.config.bos_token_id, device=constituents.device)
        inputs = torch.cat([self.dropout(self.embeddings(bos)), constituents])
        # The first layer reads a constituent for each stack, the others what the layer before says of the same stack.
        below, tops = zip(*shared.stack_levels, strict=True)
        gates = self.stack_layers[0].input(inputs)
        states = _read_stacks(self.stack_layers[0], gates[functional.pad(torch.cat(tops) + 1, (1, 0))], below)
        for layer in self.stack_layers[1:]:
            states = _read_stacks(layer, layer.input(self.dropout(states)), below)
        return states

    def _word_log_probs(
        self, shared: SharedDerivations, states: torch.Tensor, input_ids: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """log p(words) of each tree, (R,), normalised as the model has it and as the published code has it."""
        steps, eos = shared.steps, self.config.eos_token_id
        shifts = ~steps.reduces_next
        stacks, number = shared.stack_of_step[shifts].unique(return_inverse=True)
        step = shared.step_of_stack[stacks - 1]
        sentence, position = shared.sentence_of_tree[steps.tree[step]], steps.last[step] + 1
        ends = position == lengths[sentence]
        words = input_ids.masked_fill(input_ids == eos, -1)
        following = torch.where(ends, eos, functional.pad(words, (0, 1))[sentence, position])

        # The first row is that of the empty stack, from which the first words of all sentences are drawn.
        logits = at_least_float32(self.lm_head(self.dropout(states[functional.pad(stacks, (1, 0))])))
        without_end = logits.index_fill(1, torch.tensor([eos], device=logits.device), -torch.inf).logsumexp(1)
        with_end = torch.logaddexp(without_end, logits[:, eos])
        may_end = functional.pad(steps.stack_size[step] == 1, (1, 0))
        first, later = _scores(logits[:1].expand(len(words), -1), words[:, 0]), _scores(logits[1:], following)

        def of_trees(normalizers: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            log_probs = torch.where(counts, later - normalizers[1:], 0.0)
            first_words = (first - normalizers[0])[shared.sentence_of_tree]
            return first_words.index_add(0, steps.tree[shifts], log_probs[number])

        ours = of_trees(torch.where(may_end, with_end, without_end), torch.ones_like(ends))
        return ours, of_trees(with_end, ~ends)

    def _action_log_probs(self, shared: SharedDerivations, states: torch.Tensor) -> torch.Tensor:
        """log p(SHIFT or REDUCE) of each tree wherever there is a choice: (R,)."""
        steps = shared.steps
        chosen = steps.stack_size > 1
        logits = at_least_float32(self.action_head(self.dropout(states))).squeeze(1)[shared.stack_of_step[chosen]]
        log_probs = functional.logsigmoid(torch.where(steps.reduces_next[chosen], logits, -logits))
        return logits.new_zeros(steps.num_trees).index_add(0, steps.tree[chosen], log_probs)

    # ---- step by step ------------------------------------------------------------------------------------------------

    def empty_stacks(self, batch: int) -> Stacks:
        """What B derivations begin with."""
        bos = torch.full((batch,), self.config.bos_token_id, device=self.device)
        inputs, layers = self.dropout(self.embeddings(bos)), self.stack_layers
        before = inputs.new_zeros(batch, len(layers), 2, inputs.shape[1])
        return Stacks.empty(self._read(inputs, before))

    def advance(self, stacks: Stacks, reduces: torch.Tensor, words: torch.Tensor) -> Stacks:
        """The stacks after one step of each row.

        Args:
            reduces: (B,) bool, whether it is a REDUCE, which needs two constituents, or a SHIFT.
            words: (B,), the words of the SHIFTs; the others are not looked at.
        """
        left, right = (stacks.constituent(place) for place in (2, 1))
        composed = torch.stack(self.composition(*left.unbind(1), *right.unbind(1)), dim=1)
        word = self.dropout(self.embeddings(words))
        made = torch.where(reduces[:, None, None], composed, torch.stack([word, torch.zeros_like(word)], dim=1))
        stacks = stacks.without(2 * reduces.long())
        return stacks.with_top(made, self._read(made[:, 0], stacks.state))

    def next_logits(self, stacks: Stacks) -> tuple[torch.Tensor, torch.Tensor]:
        """What may come next: logits of REDUCE, (B,), -inf where it may not; and of the words of a SHIFT, (B, V)."""
        states = stacks.state[:, -1, 0]
        actions = at_least_float32(self.action_head(self.dropout(states))).squeeze(1)
        actions = actions.masked_fill(stacks.size < 2, -torch.inf)
        words = at_least_float32(self.lm_head(self.dropout(states)))
        words[:, self.config.eos_token_id] = words[:, self.config.eos_token_id].masked_fill(stacks.size != 1, -torch.inf)
        return actions, words

    @torch.no_grad()
    def sample(self, count: int, max_words: int = 100, generator: torch.Generator | None = None) -> SampledTrees:
        """Sentences with their trees by ancestral sampling, as the model is: in evaluation mode without dropout.

        Args:
            count: B.
            max_words: longer sentences are cut there, and their `finished` is False.
            generator: of all rows; None for torch's own.
        """
        stacks, sampled = self.empty_stacks(count), SampledTrees(count, max_words, self.device)
        while sampled.going.any():
            actions, words = self.next_logits(stacks)
            reduces = torch.rand(count, generator=generator, device=self.device) < actions.sigmoid()
            drawn = words.softmax(-1).multinomial(1, generator=generator).squeeze(1)
            sampled.take(reduces, drawn, ends=~reduces & (drawn == self.config.eos_token_id))
            # Rows that have stopped go on to where they do no harm.
            stacks = self.advance(stacks, torch.where(sampled.going, reduces, stacks.size > 1), drawn)
        return sampled

    def _read(self, inputs: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """The LSTM's states, hidden and cell, (B, layers, 2, H), after inputs (B, H)."""
        states = []
        for layer, (hidden, cell) in zip(self.stack_layers, (state.unbind(1) for state in before.unbind(1)), strict=True):
            inputs = self.dropout(states[-1][0]) if states else inputs
            states.append(layer(layer.input(inputs), hidden, cell))
        return torch.stack([torch.stack(state, dim=1) for state in states], dim=1)


def _read_stacks(layer: StackCell, gates: torch.Tensor, below: Sequence[torch.Tensor]) -> torch.Tensor:
    """States of a layer after all stacks, (S, H), size by size.

    Args:
        gates: (S, 4H), what the layer makes of its inputs, the first one for the empty stack.
        below: for each size from 1 on the numbers of the stacks without their top, which are one smaller.
    """
    start, *by_size = gates.split([1, *map(len, below)])
    zeros = at_least_float32(start.new_zeros(1, start.shape[1] // 4))
    state, begin = layer(start, zeros, zeros), 0
    states = [state[0]]
    for inputs, smaller in zip(by_size, below, strict=True):
        previous = torch.cat(state, dim=1)[smaller - begin].chunk(2, dim=1)
        begin += len(state[0])
        state = layer(inputs, *previous)
        states.append(state[0])
    return torch.cat(states)


def _scores(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The logits (P, V) of targets (P,); -inf for a target of -1, which cannot be drawn."""
    return logits.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1).masked_fill(targets < 0, -torch.inf)


AutoConfig.register(RNNGDecoderConfig.model_type, RNNGDecoderConfig)
AutoModel.register(RNNGDecoderConfig, RNNGDecoderModel)
