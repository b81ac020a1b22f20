"""The transformer grammar against itself written with a loop, against the axioms, and against what its masks promise."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, AutoModelForCausalLM

from hf_lvm import TransformerGrammarDecoderConfig, TransformerGrammarDecoderModel
from hf_lvm.backbones.transformer_grammar_decoder.families import SOUND_FAMILIES
from hf_lvm.backbones.transformer_grammar_decoder.sequences import COMPOSE, STACK, TreeSequences, additive
from hf_lvm.grammars.shift_reduce import Action, derivations_of
from tests.distributions.binary_tree.enumeration import all_masks
from tests.grammars.test_shift_reduce import trees_of
from tests.tiny_parts import perturb, tiny_config

BOS, EOS = 0, 3


def tiny_decoder_config(family: str, vocab_size: int = 5, **sizes):
    # As checkpoints of these families have it; a window would drop what is still on the stack.
    options = {"sliding_window": None} if family == "mistral" else {}
    tokens = {"pad_token_id": BOS, "bos_token_id": BOS, "eos_token_id": EOS}
    return tiny_config(family, vocab_size=vocab_size, **{"hidden_size": 8, **tokens, **options, **sizes})


def tiny(family: str = "gpt2", vocab_size: int = 5, attention: str = "sdpa", sizes: dict | None = None, **options):
    torch.manual_seed(0)
    config = TransformerGrammarDecoderConfig(
        decoder=tiny_decoder_config(family, vocab_size, **(sizes or {})), attn_implementation=attention, **options
    )
    return perturb(TransformerGrammarDecoderModel(config), 0.4).double().eval()


def random_words(*shape: int, vocab_size: int = 5) -> torch.Tensor:
    words = torch.tensor([word for word in range(vocab_size) if word != EOS])
    return words[torch.randint(len(words), shape, generator=torch.Generator().manual_seed(1))]


# ---- the same with a loop --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Derivation:
    """A derivation that is not at its end, read anew from the start.

    Attributes:
        steps: actions and pieces.
    """

    model: TransformerGrammarDecoderModel
    steps: tuple[tuple[Action, int], ...] = ()

    def then(self, action: Action, piece: int = 0) -> "Derivation":
        return Derivation(self.model, (*self.steps, (action, piece)))

    @property
    def size(self) -> int:
        return sum({Action.SHIFT: 1, Action.REDUCE: -1, Action.CONTINUE: 0}[action] for action, _ in self.steps)

    @property
    def is_open(self) -> bool:
        return bool(self.steps) and self.steps[-1][0] != Action.REDUCE

    @cached_property
    def state(self) -> torch.Tensor:
        """The state that predicts what comes next: (1, H)."""
        model, stack = self.model, []
        inputs, sees, depths = [model.get_input_embeddings().weight[BOS]], [{0}], [0]

        def read(vector: torch.Tensor, seen: set[int], depth: int) -> int:
            inputs.append(vector)
            sees.append({*seen, len(sees)})
            depths.append(depth)
            return len(sees) - 1

        for action, piece in self.steps:
            if action == Action.REDUCE:
                right, left = stack.pop(), stack.pop()
                depth = 1 + sum(map(len, stack))
                stack.append([read(model.symbols.weight[COMPOSE], {*left, *right}, depth)])
                read(model.symbols.weight[STACK], {0, *sum(stack, [])}, depth)
                continue
            depth = 1 + sum(map(len, stack))
            place = read(model.get_input_embeddings().weight[piece], {0, *sum(stack, [])}, depth)
            if action == Action.CONTINUE:
                stack[-1].append(place)
            else:
                stack.append([place])
        visible = torch.tensor([[key in seen for key in range(len(sees))] for seen in sees])
        positions = depths if model.config.positions == "depth" else range(len(sees))
        return model.decoder.base_model(
            inputs_embeds=torch.stack(inputs)[None],
            attention_mask=additive(visible[None], inputs[0].dtype),
            position_ids=torch.tensor([list(positions)]),
        ).last_hidden_state[:, -1]

    def log_continue(self, goes_on: bool) -> torch.Tensor:
        if self.model.continue_head is None or not self.is_open:
            return torch.tensor(-torch.inf if goes_on else 0.0, dtype=torch.float64)
        logit = self.model.continue_head(self.state)[0, 0]
        return functional.logsigmoid(logit if goes_on else -logit)

    def log_action(self, reduces: bool) -> torch.Tensor:
        if self.size < 2:
            return torch.tensor(-torch.inf if reduces else 0.0, dtype=torch.float64)
        logit = self.model.action_head(self.state)[0, 0]
        return functional.logsigmoid(logit if reduces else -logit)

    def log_pieces(self, may_end: bool) -> torch.Tensor:
        logits = self.model.decoder.get_output_embeddings()(self.state)[0]
        return torch.where(torch.arange(len(logits)) == EOS, logits if may_end else -torch.inf, logits).log_softmax(0)


def steps_of(words: list[list[int]], mask: torch.Tensor) -> list[tuple[Action, int]]:
    """The steps of a tree over words of pieces, the end of the sentence the last."""
    spans, steps, firsts = {tuple(span) for span in mask.nonzero().tolist()}, [], []
    for position, pieces in enumerate(words):
        steps += [(Action.CONTINUE if place else Action.SHIFT, piece) for place, piece in enumerate(pieces)]
        firsts.append(position)
        while len(firsts) > 1 and (firsts[-2], position) in spans:
            steps.append((Action.REDUCE, 0))
            firsts.pop()
    return [*steps, (Action.SHIFT, EOS)]


def by_hand(model: TransformerGrammarDecoderModel, words: list[list[int]], mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """log p of words and of actions, and what the published code evaluates."""
    derivation, of_words, of_actions, published = Derivation(model), 0.0, 0.0, 0.0
    for action, piece in steps_of(words, mask):
        goes_on = derivation.log_continue(action == Action.CONTINUE)
        chosen = derivation.log_action(action == Action.REDUCE) if action != Action.CONTINUE else 0.0
        of_words, of_actions, published = of_words + goes_on, of_actions + chosen, published + goes_on + chosen
        if action != Action.REDUCE:
            may_end = derivation.size == 1 and action == Action.SHIFT
            of_words = of_words + derivation.log_pieces(may_end)[piece]
            published = published + (derivation.log_pieces(True)[piece] if piece != EOS else 0.0)
        derivation = derivation.then(action, piece)
    return of_words, of_actions, published


@pytest.mark.parametrize("options", [{}, {"positions": "order"}, {"subwords": True}])
def test_scores_and_gradients_are_those_of_a_loop_over_the_steps(options):
    model, lengths = tiny(sizes={"num_hidden_layers": 2}, **options), (3, 4, 1)
    spans = trees_of(*lengths, count=5, size=4).view(5, 3, 4, 4)
    if "subwords" in options:
        # Words of 2, 1 and 3 pieces; of 1, 1, 1 and 2; of 2.
        word_ids = torch.tensor([[0, 0, 1, 2, 2, 2], [0, 1, 2, 3, 3, -1], [0, 0, -1, -1, -1, -1]])
        pieces = random_words(3, 6)
    else:
        word_ids, pieces = None, random_words(3, 4)
    output = model(pieces, spans, word_ids)
    found = torch.stack([output.word_log_prob, output.action_log_prob, output.published_log_prob])
    numbers = torch.arange(4).expand(3, -1) if word_ids is None else word_ids
    expected = torch.zeros_like(found)
    for tree in range(5):
        for row, length in enumerate(lengths):
            words = [pieces[row, numbers[row] == word].tolist() for word in range(length)]
            expected[:, tree, row] = torch.stack([torch.as_tensor(each) for each in by_hand(model, words, spans[tree, row])])
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-10)
    torch.testing.assert_close(output.word_log_prob + output.action_log_prob, output.log_prob)
    weights = torch.randn(3, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gradients = [
        torch.autograd.grad((weights * value).sum(), list(model.parameters()), allow_unused=True)
        for value in (found, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("subwords", [False, True])
def test_the_probabilities_of_all_sentences_with_all_trees_sum_to_one(subwords):
    model, longest, total = tiny(vocab_size=4, subwords=subwords), 3, 0.0
    for count in range(1, longest + 1):
        pieces = torch.cartesian_prod(*[torch.tensor([0, 1, 2])] * count).view(-1, count)
        for word_ids in segmentations(count) if subwords else [list(range(count))]:
            masks = all_masks(word_ids[-1] + 1, word_ids[-1] + 1)
            spans = masks.unsqueeze(1).expand(-1, len(pieces), -1, -1)
            of_words = torch.tensor(word_ids).expand(len(pieces), -1) if subwords else None
            total += model(pieces, spans, of_words).log_prob.exp().sum().item()
    assert 0.05 < total < 0.95
    assert total + longer_than(longest, Derivation(model)) == pytest.approx(1.0, abs=1e-12)


def segmentations(count: int) -> list[list[int]]:
    """All ways to make words of pieces."""
    return [[0, *accumulate(begins)] for begins in product((0, 1), repeat=count - 1)]


@torch.no_grad()
def longer_than(most: int, derivation: Derivation) -> float:
    """The probability of one piece more than `most`, from here."""
    pieces, total = sum(action != Action.REDUCE for action, _ in derivation.steps), 0.0
    stops = derivation.log_continue(False)
    reduce, shift = (stops + derivation.log_action(reduces) for reduces in (True, False))
    if reduce > -torch.inf:
        total += reduce.exp().item() * longer_than(most, derivation.then(Action.REDUCE))
    for action, log_prob, may_end in (
        (Action.SHIFT, shift, derivation.size == 1),
        (Action.CONTINUE, derivation.log_continue(True), False),
    ):
        if log_prob == -torch.inf:
            continue
        probabilities = (log_prob + derivation.log_pieces(may_end)).exp()
        for piece in (0, 1, 2):
            rest = longer_than(most, derivation.then(action, piece)) if pieces < most else 1.0
            total += probabilities[piece].item() * rest
    return total


# ---- masks -----------------------------------------------------------------------------------------------------------


def test_what_each_position_of_a_small_tree_sees():
    # ((a b) c), of which b has two pieces: start, a, b1, b2, COMPOSE, STACK, c, COMPOSE, STACK; and a alone.
    spans = torch.zeros(2, 3, 3, dtype=torch.bool)
    spans[0, [0, 1, 2, 0, 0], [0, 1, 2, 1, 2]] = True
    spans[1, 0, 0] = True
    sequences = TreeSequences.of(
        derivations_of(spans), torch.tensor([0, 1]), torch.tensor([[0, 1, 3], [0, 0, 0]]), torch.tensor([[1, 2, 1], [1, 0, 0]])
    )
    sees = [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}, {1, 2, 3, 4}, {0, 4, 5}, {0, 4, 6}, {4, 6, 7}, {0, 7, 8}]
    visible = sequences.visible()
    assert [set(row.nonzero().flatten().tolist()) for row in visible[0]] == sees
    assert [set(row.nonzero().flatten().tolist()) for row in visible[1]] == [{0}, {0, 1}, *({place} for place in range(2, 9))]
    assert sequences.lengths.tolist() == [9, 2]
    assert sequences.piece.tolist() == [[-1, 0, 1, 2, -1, -1, 3, -1, -1], [-1, 0] + 7 * [-1]]
    assert sequences.symbol[0].tolist() == [-1, -1, -1, -1, COMPOSE, STACK, -1, COMPOSE, STACK]
    assert sequences.depth.tolist() == [[0, 1, 2, 3, 1, 1, 2, 1, 1], [0, 1] + 7 * [0]]
    assert sequences.order.tolist() == [list(range(9)), [0, 1] + 7 * [0]]


@pytest.mark.parametrize("layers", [1, 2])
def test_what_is_in_a_constituent_is_heard_of_through_compose_alone(layers):
    # (a b) c: from STACK on, a and b come in through COMPOSE, which is one layer more.
    model, heard = tiny(sizes={"num_hidden_layers": layers}), {}
    spans = torch.eye(3, dtype=torch.bool)[None]
    spans[0, 0, 1] = spans[0, 0, 2] = True
    words = torch.arange(3)[None]
    sequences = TreeSequences.of(derivations_of(spans), torch.tensor([0]), words, torch.ones_like(words))
    inputs = torch.randn(1, 8, 8, dtype=torch.float64).requires_grad_()
    states = model._read(inputs, sequences.visible(), sequences.depth)
    for position, name in ((3, "compose"), (4, "stack"), (5, "c")):
        heard[name] = torch.autograd.grad(states[0, position, 0], inputs, retain_graph=True)[0][0].abs().sum(1) > 1e-12
    # Nor does COMPOSE see the start, of which a and b heard.
    through = layers > 1
    assert heard["compose"].tolist() == [through, True, True, True, False, False, False, False]
    assert heard["stack"].tolist() == [True, through, through, True, True, False, False, False]
    assert heard["c"].tolist() == [True, through, through, True, False, True, False, False]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_neither_padding_nor_other_sentences_nor_other_trees_matter(family):
    model, lengths = tiny(family), (4, 2, 3)
    spans = trees_of(*lengths, count=5, size=4).view(5, 3, 4, 4)
    words = random_words(3, 4)
    together = model(words, spans).log_prob
    tolerance = {"rtol": 0.0, "atol": 1e-11 if family == "gpt2" else 1e-5}
    for row, length in enumerate(lengths):
        for tree in range(5):
            alone = model(words[row : row + 1, :length], spans[tree, row, :length, :length][None, None]).log_prob
            torch.testing.assert_close(alone[0, 0], together[tree, row], **tolerance)
    padded = functional.pad(words, (0, 2), value=-100), functional.pad(spans, (0, 2, 0, 2))
    torch.testing.assert_close(model(*padded).log_prob, together, **tolerance)


# ---- around decoders of transformers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", SOUND_FAMILIES)
def test_sound_families_attend_alike_and_know_nothing_but_mask_and_positions(family):
    spans, words = trees_of(4, 3, count=5, size=4).view(5, 2, 4, 4), random_words(2, 4)
    models = [tiny(family, attention=attention, sizes={"num_hidden_layers": 2}) for attention in ("eager", "sdpa")]
    assert [model.decoder.config._attn_implementation for model in models] == ["eager", "sdpa"]
    scores = [model(words, spans).log_prob for model in models]
    torch.testing.assert_close(*scores, rtol=1e-6, atol=0.0)
    assert len(set(scores[0][:, 0].tolist())) == 5
    # Read in another order, every position has the same state.
    generator = torch.Generator().manual_seed(0)
    inputs, order = torch.randn(1, 6, 8, dtype=torch.float64, generator=generator), torch.randperm(6, generator=generator)
    visible = torch.rand(1, 6, 6, generator=generator).lt(0.5).tril() | torch.eye(6, dtype=torch.bool)
    positions = torch.tensor([[0, 1, 2, 1, 1, 2]])
    for model in models:
        states = model._read(inputs, visible, positions)
        moved = model._read(inputs[:, order], visible[:, order][:, :, order], positions[:, order])
        torch.testing.assert_close(moved, states[:, order], rtol=0.0, atol=1e-5)
        whole = model.decoder(inputs_embeds=inputs, attention_mask=additive(visible, inputs.dtype), position_ids=positions)
        torch.testing.assert_close(model.decoder.get_output_embeddings()(states), whole.logits)


@pytest.mark.parametrize(
    ("family", "options", "reason"),
    [
        ("bloom", {}, "computes its distances from a mask of two dimensions"),
        ("t5", {}, "counts positions by the order of the tokens"),
        ("mamba", {}, "remembers by other means than attention"),
        ("mistral", {"sliding_window": 8}, "sliding window would drop what is still on the stack"),
        ("gpt2", {"add_cross_attention": True}, "built with cross-attention"),
        ("falcon", {}, "nobody has made sure"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "frequencies of its 'dynamic' positions change",
        ),
    ],
)
def test_other_families_are_refused_with_the_reason(family, options, reason):
    with pytest.raises(ValueError, match=f"cannot write trees by composition masks: .*{reason}"):
        TransformerGrammarDecoderConfig(decoder=tiny_config(family, **options))


def test_a_pretrained_decoder_is_used_as_it_is(tmp_path):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny_decoder_config("llama")).save_pretrained(tmp_path / "llama")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "llama", attn_implementation="eager", dtype=torch.bfloat16)
    built = perturb(AutoModelForCausalLM.from_config(tiny_decoder_config("gpt2")), 0.4)
    spans, words = trees_of(4, count=5, size=4).view(5, 1, 4, 4), random_words(1, 4)
    for decoder in (loaded, built):
        before = {name: value.clone() for name, value in decoder.state_dict().items()}
        model = TransformerGrammarDecoderModel(TransformerGrammarDecoderConfig(decoder=decoder.config), decoder=decoder)
        assert model.decoder is decoder and model.config.decoder is decoder.config
        for name, value in decoder.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert 0.5 < model.symbols.weight.std() / decoder.get_input_embeddings().weight.std() < 2
        assert (model.config.vocab_size, model.config.hidden_size, model.config.eos_token_id) == (5, 8, EOS)
        assert model(words, spans).log_prob.isfinite().all() and model.next_step(model.begin(1)).shifts.dtype == torch.float32
    assert loaded.config._attn_implementation == "eager"
    model.save_pretrained(tmp_path / "grammar")
    halved = AutoModel.from_pretrained(tmp_path / "grammar", dtype=torch.bfloat16)
    assert (halved.decoder.dtype, halved.action_head.weight.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(halved.action_head.weight, model.action_head.weight)
    with pytest.raises(ValueError, match="BertModel cannot generate"):
        TransformerGrammarDecoderModel(model.config, decoder=AutoModel.from_config(tiny_config("bert")))


@pytest.mark.parametrize("family", ["gpt2", "opt", "qwen3"])
def test_it_is_saved_and_loaded_by_its_auto_class(family, tmp_path):
    model = tiny(family, subwords=True).float()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is TransformerGrammarDecoderModel and loaded.config.subwords
    for (name, before), after in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    tied = [each.decoder.get_output_embeddings().weight is each.get_input_embeddings().weight for each in (model, loaded)]
    assert tied[0] == tied[1] == model.config.decoder.tie_word_embeddings
    spans, words = trees_of(4, count=5, size=4).view(5, 1, 4, 4), random_words(1, 4)
    assert torch.equal(loaded(words, spans).log_prob, model(words, spans).log_prob)


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "gpt_neox"])
def test_all_parameters_learn_with_and_without_checkpointing(family):
    model = tiny(family, subwords=True).train()
    spans, pieces = trees_of(3, count=2, size=3).view(2, 1, 3, 3), random_words(1, 4)
    word_ids = torch.tensor([[0, 0, 1, 2]])

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(pieces, spans, word_ids).log_prob.sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        return [parameter.grad.clone() for parameter in model.parameters()]

    plain = gradients()
    for part in (model.symbols, model.action_head, model.continue_head):
        assert all(parameter.grad.abs().min() > 0 for parameter in part.parameters())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(gradients(), plain)
    with pytest.raises(ValueError, match="step by step in training with gradient checkpointing"):
        model.begin(1)


def test_dropout_in_training_only():
    model = tiny(sizes={"resid_pdrop": 0.5})
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    spans, words = trees_of(4, count=5, size=4).view(5, 1, 4, 4), random_words(1, 4)
    assert torch.equal(model(words, spans).log_prob, model(words, spans).log_prob)
    model.train()
    assert not torch.equal(model(words, spans).log_prob, model(words, spans).log_prob)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_log_probabilities_are_no_coarser_than_float32(attention):
    model = tiny(attention=attention).float()
    spans, words = trees_of(4, count=5, size=4).view(5, 1, 4, 4), random_words(1, 4)
    exact = model(words, spans)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(words, spans)
        step = model.next_step(model.begin(1))
    halved = model.bfloat16()(words, spans)
    assert {each.dtype for each in (*rounded.values(), *halved.values(), step.shifts, step.reduces)} == {torch.float32}
    for each in (rounded, halved):
        torch.testing.assert_close(each.log_prob, exact.log_prob, rtol=0.05, atol=0.0)


# ---- what cannot be --------------------------------------------------------------------------------------------------


def test_a_sentence_cannot_go_on_after_its_end():
    model, spans = tiny(), trees_of(3, count=2, size=3).unsqueeze(1)
    for place in range(3):
        words = random_words(1, 3)
        words[0, place] = EOS
        assert (model(words, spans).log_prob == -torch.inf).all()


def test_trees_and_words_that_do_not_fit_are_refused_with_the_row():
    model, words = tiny(), random_words(2, 4)
    spans = trees_of(4, 3, count=5, size=4).view(5, 2, 4, 4)
    with pytest.raises(ValueError, match=r"spans must be a mask \(K, 2, 4, 4\) of K trees .* but are \(2, 4, 4\)"):
        model(words, spans[0])
    with pytest.raises(ValueError, match="of torch.float32"):
        model(words, spans.float())
    # A span too many, too few, under the diagonal, past the end of the sentence, a word that is missing.
    for first, last, value in (
        (0, 1, True),
        (1, 2, True),
        (0, 2, False),
        (2, 0, True),
        (0, 3, True),
        (3, 3, True),
        (1, 1, False),
    ):
        broken = spans.clone()
        broken[3, 1, first, last] = value
        if not torch.equal(broken, spans):
            with pytest.raises(ValueError, match="spans of tree 3 in row 1 are no binary tree over its 3 words"):
                model(words, broken)
    crossing = torch.eye(3, dtype=torch.bool).repeat(1, 1, 1, 1)
    crossing[..., 0, 1] = crossing[..., 1, 2] = True
    with pytest.raises(ValueError, match="spans of tree 0 in row 0 are no binary tree"):
        model(words[:1, :3], crossing)
    with pytest.raises(ValueError, match="tree 0 in row 1 .* over its 0 words"):
        model(words, torch.stack([spans[0, 0], torch.zeros(4, 4, dtype=torch.bool)])[None])


def test_word_ids_that_do_not_fit_are_refused_with_the_row():
    model, pieces = tiny(subwords=True), random_words(2, 4)
    spans = trees_of(3, 2, count=2, size=3).view(2, 2, 3, 3)
    for wrong in ([0, 0, 1, 2], [0, -1, 1, 1], [1, 1, 2, 2], [0, 2, 2, 1], [-1, -1, -1, -1], [0, 1, -1, 1]):
        with pytest.raises(ValueError, match="word_ids .*of row 1"):
            model(pieces, spans, torch.tensor([[0, 1, 2, -1], wrong]))
    whole_words = torch.tensor([[0, 1, 2], [0, 1, -1]])
    with pytest.raises(ValueError, match="needs a model whose config has subwords=True"):
        tiny()(pieces[:, :3], spans, whole_words)
    scores = model(pieces[:, :3], spans), model(pieces[:, :3], spans, whole_words)
    torch.testing.assert_close(*(each.log_prob for each in scores))


def test_sentences_have_to_fit_the_positions():
    left = torch.eye(6, dtype=torch.bool)
    left[0] = True
    right = torch.eye(6, dtype=torch.bool)
    right[:, 5] = True
    spans, words = torch.stack([left, right])[:, None], random_words(1, 6)
    sizes = {"max_position_embeddings": 6}
    assert tiny(sizes=sizes)(words, spans[:1]).log_prob.isfinite().all()
    # The second tree of the only sentence: the row is that of the sentence.
    with pytest.raises(ValueError, match="Row 0 .* 'gpt2' model with room for 6 positions: its deepest stack takes 7"):
        tiny(sizes=sizes)(words, spans)
    assert tiny(sizes=sizes).most_pieces == 5 and tiny(sizes=sizes, positions="order").most_pieces == 2
    assert tiny(sizes=sizes)(words[:, :5], spans[1:, :, 1:, 1:]).log_prob.isfinite().all(), "so many pieces always fit"
    with pytest.raises(ValueError, match="its sentence with its tree takes 17.*set positions to depth"):
        tiny(sizes=sizes, positions="order")(words, spans)


def test_configurations_that_cannot_be_are_refused():
    for options, message in (
        ({"positions": "height"}, "positions must be one of 'depth', 'order', but is 'height'"),
        ({"eos_token_id": 5}, "eos_token_id must be one of the 5 pieces, but is 5"),
        ({"decoder": {"n_embd": 4}}, "needs a 'model_type'"),
        ({"bos_token_id": -1}, "bos_token_id must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            TransformerGrammarDecoderConfig(**{"decoder": tiny_decoder_config("gpt2"), **options})
    model = tiny()
    model.decoder.config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match="'flex_attention' attention does not take"):
        model(random_words(1, 1), torch.ones(1, 1, 1, 1, dtype=torch.bool))
