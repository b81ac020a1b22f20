"""The recurrent neural network grammar over unlabelled binary trees: p(sentence, tree), word by word and bracket by bracket
(Dyer et al. 2016; Kim et al. 2019, section 2.1)."""

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init

from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.rnng_decoder.cells import StackCell, TreeCell, at_least_float32
from hf_lvm.backbones.rnng_decoder.configuration_rnng_decoder import RNNGDecoderConfig
from hf_lvm.backbones.rnng_decoder.normalizers import log_normalizers
from hf_lvm.backbones.rnng_decoder.recurrences import compose, read_stacks
from hf_lvm.backbones.rnng_decoder.stacks import Stacks
from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.backbones.tree_decoder import TreeDecoderOutput, check_spans
from hf_lvm.distributions.lengths import may_look
from hf_lvm.distributions.noise import Generators
from hf_lvm.generation.tree_sampling import SampledTrees, sample_trees
from hf_lvm.grammars.shift_reduce import Action, NextStep, SharedDerivations, check_word_ids, share


class RNNGDecoderModel(SafeLoading, PreTrainedModel):
    """A generative model of sentences with binary trees.

    A stack of constituents grows by SHIFT, which draws the next word and puts it on top, and REDUCE, which replaces the two
    topmost constituents by what they make up. An LSTM reads the stack from the bottom, and its state says what comes next.
    With fewer than two constituents SHIFT is certain; from two on REDUCE has the probability that the action head gives it. A
    SHIFT that finds a single constituent may draw the end of the sentence instead of a word, and no other SHIFT may. So
    nothing depends on how many words are left, and the probabilities of all sentences with all trees sum to 1.

    In a model of sub-words a SHIFT draws the first piece of a word. As long as nothing else has been done to it, a third head
    says whether the word goes on: CONTINUE draws another piece, which is composed with what there is of the word at once. Only
    if it does not go on is there a choice of SHIFT or REDUCE.

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
        self.continue_head = nn.Linear(size, 1) if config.subwords else None
        self.dropout = Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Embedding, nn.Linear)):
            for parameter in module.parameters(recurse=False):
                init.uniform_(parameter, -self.config.initializer_range, self.config.initializer_range)

    def forward(
        self,
        input_ids: torch.LongTensor,
        spans: torch.Tensor,
        word_ids: torch.LongTensor | None = None,
        return_dict: bool | None = None,
    ) -> TreeDecoderOutput:
        """Score sentences with trees.

        Args:
            input_ids: (B, S), words or pieces, without start and end, padded on the right with anything.
            spans: (K, B, n, n) bool, True at the spans of K trees over the words of each sentence, as `BinaryTreeCRF.sample`
                gives them. They say how long a sentence is.
            word_ids: (B, S), for a model of sub-words: the word that each piece belongs to, -1 past the end. None where every
                word is one piece.

        Raises:
            ValueError: spans of another shape or type; words of several pieces in a model that has none; words that are not
                those of the trees; weights of fewer than 32 bits.
        """
        check_spans(input_ids, spans, word_ids)
        num_trees, batch, num_words = spans.shape[:3]
        if self.training and self.config.dropout and not self.config.shares_dropout and num_trees > 1:
            word_ids = None if word_ids is None else word_ids.repeat(num_trees, 1)
            scored = self(input_ids.repeat(num_trees, 1), spans.flatten(0, 1).unsqueeze(0), word_ids)
            return TreeDecoderOutput(*(each.view(num_trees, batch) for each in scored.to_tuple()))
        self._check_precision()
        lengths = spans[0].diagonal(dim1=1, dim2=2).sum(1)
        if word_ids is not None:
            if not self.config.subwords:
                raise ValueError(
                    "word_ids say which pieces make up a word: that needs a model whose config has subwords=True."
                )
            check_word_ids(word_ids, input_ids.shape, lengths, may_look(word_ids, False))
            lengths = (word_ids >= 0).sum(1)
        elif self.config.subwords:
            place = torch.arange(num_words, device=input_ids.device)
            word_ids = torch.where(place < lengths.unsqueeze(1), place, -1)
        shared = share(spans.flatten(0, 1), torch.arange(batch, device=spans.device).repeat(num_trees), word_ids)
        states = self._stack_states(shared, self._constituents(shared, input_ids))
        words, published = self._word_log_probs(shared, states, input_ids, lengths)
        actions = _of_trees(
            shared, self._log_odds(self.action_head, states), shared.steps.chooses_action, shared.steps.reduces_next
        )
        if self.config.subwords:
            continues = _of_trees(
                shared, self._log_odds(self.continue_head, states), shared.steps.is_open, shared.steps.continues_next
            )
            words, published = words + continues, published + continues
        words, published, actions = (each.view(num_trees, batch) for each in (words, published, actions))
        return TreeDecoderOutput(words + actions, words, actions, published + actions)

    def _check_precision(self) -> None:
        dtype = self.composition.gates.weight.dtype
        if dtype.itemsize < torch.float32.itemsize:
            raise ValueError(
                f"The weights of this grammar are {dtype}, and recurrences over a tree are not run in so few bits: load the "
                "model with dtype=torch.float32. Training with bf16=True keeps such weights and multiplies in bfloat16."
            )

    def _constituents(self, shared: SharedDerivations, input_ids: torch.Tensor) -> torch.Tensor:
        """A vector for each different constituent: (U, H)."""
        words = self.dropout(self.embeddings(input_ids[shared.word_sentence, shared.word_position]))
        return compose(self.composition, words, shared.constituent_levels)

    def _stack_states(self, shared: SharedDerivations, constituents: torch.Tensor) -> torch.Tensor:
        """The last layer's state for each different stack, the empty one first: (S, H)."""
        bos = torch.full((1,), self.config.bos_token_id, device=constituents.device)
        # The empty stack is that of all sentences: nothing of it is dropped, or they would all lack the same.
        inputs = torch.cat([self.embeddings(bos), constituents])
        # The first layer reads a constituent for each stack, the others what the layer before says of the same stack.
        below, tops = zip(*shared.stack_levels, strict=True)
        gates = self.stack_layers[0].input(inputs)
        states = read_stacks(self.stack_layers[0], gates.index_select(0, functional.pad(torch.cat(tops) + 1, (1, 0))), below)
        for layer in self.stack_layers[1:]:
            states = read_stacks(layer, layer.input(torch.cat([states[:1], self.dropout(states[1:])])), below)
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

        # From the empty stack the first word of each sentence is drawn.
        batch = len(input_ids)
        states = self.dropout(torch.cat([states[:1].expand(batch, -1), states.index_select(0, stacks)]))
        weight, bias = self.lm_head.weight, self.lm_head.bias
        is_end = torch.arange(len(bias), device=bias.device) == eos
        without_end = log_normalizers(states, weight, bias.masked_fill(is_end, -torch.inf))
        with_end = torch.logaddexp(without_end, self._scores(states, torch.full_like(stacks[:1], eos)))
        may_end = steps.stack_size[step] == 1
        may_end = may_end if steps.continues_next is None else may_end & ~steps.continues_next[step]
        may_end = functional.pad(may_end, (batch, 0))
        first, later = self._scores(states[:batch], words[:, 0]), self._scores(states[batch:], following)

        def of_trees(normalizers: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            log_probs = torch.where(counts, later - normalizers[batch:], 0.0)
            first_words = (first - normalizers[:batch])[shared.sentence_of_tree]
            return first_words.index_add(0, steps.tree[shifts], log_probs[number])

        ours = of_trees(torch.where(may_end, with_end, without_end), torch.ones_like(ends))
        return ours, of_trees(with_end, ~ends)

    def _scores(self, states: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
        """The logits (P,) of pieces (P,), one for each state (P, H), or one for all; -inf for a piece of -1, which cannot be
        drawn."""
        known = pieces.clamp(min=0)
        scores = (states * functional.embedding(known, self.lm_head.weight)).sum(1) + self.lm_head.bias[known]
        return at_least_float32(scores).masked_fill(pieces < 0, -torch.inf)

    def _log_odds(self, head: nn.Linear, states: torch.Tensor) -> torch.Tensor:
        """What a head with one output says of states (R, H): (R,)."""
        return at_least_float32(head(self.dropout(states))).squeeze(1)

    # ---- step by step ------------------------------------------------------------------------------------------------

    def begin(self, batch: int) -> Stacks:
        """What B derivations begin with: empty stacks."""
        self._check_precision()
        bos = torch.full((batch,), self.config.bos_token_id, device=self.device)
        inputs, layers = self.dropout(self.embeddings(bos)), self.stack_layers
        before = inputs.new_zeros(batch, len(layers), 2, inputs.shape[1])
        return Stacks.empty(self._read(inputs, before))

    def next_step(self, state: Stacks) -> NextStep:
        """log p of everything that may come next in each row."""
        top, size = state.state[:, -1, 0], state.size
        log_odds = self._log_odds(self.action_head, top)
        reduces = functional.logsigmoid(log_odds).masked_fill(size < 2, -torch.inf)
        shifts = functional.logsigmoid(-log_odds).masked_fill(size < 2, 0.0)
        continues = None
        logits = at_least_float32(self.lm_head(self.dropout(top)))
        if self.config.subwords:
            log_odds = self._log_odds(self.continue_head, top)
            closes = functional.logsigmoid(-log_odds).masked_fill(~state.is_open, 0.0)
            reduces, shifts = reduces + closes, shifts + closes
            continues = functional.logsigmoid(log_odds).masked_fill(~state.is_open, -torch.inf)
            continues = continues.unsqueeze(1) + self._without_end(logits, torch.ones_like(state.is_open)).log_softmax(1)
        return NextStep(reduces, shifts.unsqueeze(1) + self._without_end(logits, size != 1).log_softmax(1), continues)

    def _without_end(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) in which the end of the sentence cannot be drawn in some rows, (B,) bool."""
        is_end = torch.arange(logits.shape[1], device=logits.device) == self.config.eos_token_id
        return logits.masked_fill(is_end & rows.unsqueeze(1), -torch.inf)

    def advance(self, state: Stacks, actions: torch.LongTensor, pieces: torch.LongTensor) -> Stacks:
        """The stacks after one step of each row.

        Args:
            actions: (B,), of `Action`. REDUCE needs two constituents, CONTINUE an open word.
            pieces: (B,), of each SHIFT and CONTINUE; the others are not looked at.
        """
        reduces, continues = (actions == action for action in (Action.REDUCE, Action.CONTINUE))
        piece = self.dropout(self.embeddings(pieces.masked_fill(reduces, 0)))
        piece = torch.stack([piece, torch.zeros_like(piece)], dim=1)
        left, right = state.constituent(2), state.constituent(1)
        if self.config.subwords:
            goes_on = continues[:, None, None]
            left, right = torch.where(goes_on, right, left), torch.where(goes_on, piece, right)
        composed = torch.stack(self.composition(*left.unbind(1), *right.unbind(1)), dim=1)
        made = torch.where((reduces | continues)[:, None, None], composed, piece)
        state = state.without(2 * reduces.long() + continues)
        return state.with_top(made, self._read(made[:, 0], state.state), ~reduces)

    def sample(self, count: int, max_words: int = 100, generator: Generators = None) -> SampledTrees:
        """Sentences with their trees by ancestral sampling, as the model is: in evaluation mode without dropout.

        Args:
            count: B.
            max_words: longer sentences are cut there, and their `finished` is False.
            generator: None for torch's own, one of all rows, or a list of B, one a row.
        """
        return sample_trees(self, count, max_words, generator)

    def _read(self, inputs: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """The LSTM's states, hidden and cell, (B, layers, 2, H), after inputs (B, H)."""
        states = []
        for layer, (hidden, cell) in zip(self.stack_layers, (state.unbind(1) for state in before.unbind(1)), strict=True):
            inputs = self.dropout(states[-1][0]) if states else inputs
            states.append(layer(layer.input(inputs), hidden, cell))
        return torch.stack([torch.stack(state, dim=1) for state in states], dim=1)


def _of_trees(
    shared: SharedDerivations, log_odds: torch.Tensor, decides: torch.Tensor, decision: torch.Tensor
) -> torch.Tensor:
    """log p of all decisions of one kind of each tree: (R,).

    Args:
        log_odds: (S,), of a yes, after each stack.
        decides: (N,) bool, after which steps there is this decision.
        decision: (N,) bool, whether it is a yes.
    """
    of_steps = log_odds[shared.stack_of_step[decides]]
    log_probs = functional.logsigmoid(torch.where(decision[decides], of_steps, -of_steps))
    return log_odds.new_zeros(shared.steps.num_trees).index_add(0, shared.steps.tree[decides], log_probs)


AutoConfig.register(RNNGDecoderConfig.model_type, RNNGDecoderConfig)
AutoModel.register(RNNGDecoderConfig, RNNGDecoderModel)
