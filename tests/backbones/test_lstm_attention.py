"""The LSTM decoder that attends to a source, against its equations word by word, and as what transformers expects."""

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, EncoderDecoderCache

from hf_lvm import LSTMDecoderConfig, LSTMDecoderModel
from tests.tiny_parts import END, PAD, START, VOCABULARY, perturb

ROWS, SOURCES = [[5, 6, 7, 8], [9, 4], [11]], [3, 5, 1]
IDS = torch.tensor([row + [PAD] * (4 - len(row)) for row in ROWS])
HIDDEN, SOURCE, CONDITION = 8, 6, 3
GENERATOR = torch.Generator().manual_seed(4)
STATES = torch.randn(3, max(SOURCES), SOURCE, generator=GENERATOR, dtype=torch.float64)
COUNTS = (torch.arange(max(SOURCES)) < torch.tensor(SOURCES).unsqueeze(1)).long()
READS = {"encoder_hidden_states": STATES, "encoder_attention_mask": COUNTS}
FEEDING = pytest.mark.parametrize("feeding", [False, True], ids=["plain", "feeding"])


def decoder(feeding: bool, **options) -> LSTMDecoderModel:
    torch.manual_seed(0)
    tokens = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    sizes = {"hidden_size": HIDDEN, "cross_attention_hidden_size": SOURCE, "num_hidden_layers": 2, "embedding_size": 7}
    config = LSTMDecoderConfig(add_cross_attention=True, input_feeding=feeding, **tokens | sizes | options)
    return perturb(LSTMDecoderModel(config).double().eval(), 0.5)


def rows_of(given: dict, row: int) -> dict:
    return {name: value[row : row + 1] for name, value in given.items()}


def by_hand(model: LSTMDecoderModel, words: list[int], states: torch.Tensor, condition=None, cell=None) -> torch.Tensor:
    """Logits (T, V) after each word: Luong et al. (2015), one equation a line; states (S, E) that all count."""
    c = list(states.new_zeros(len(model.layers), HIDDEN) if cell is None else cell)
    h = [each.tanh() for each in c]
    fed, logits = states.new_zeros(HIDDEN), []
    for word in words:
        below = model.embeddings.weight[word]
        if condition is not None:
            below = torch.cat([below, condition])
        if model.config.input_feeding:
            below = torch.cat([below, fed])
        for index, layer in enumerate(model.layers):
            gates = layer.weight_ih_l0 @ below + layer.bias_ih_l0 + layer.weight_hh_l0 @ h[index] + layer.bias_hh_l0
            i, f, g, o = gates.view(4, HIDDEN)
            c[index] = f.sigmoid() * c[index] + i.sigmoid() * g.tanh()
            h[index] = below = o.sigmoid() * c[index].tanh()
        scores = torch.stack([below @ model.cross_attention.query.weight.T @ state for state in states])
        context = (scores.softmax(0).unsqueeze(1) * states).sum(0)
        fed = torch.tanh(model.cross_attention.output.weight @ torch.cat([context, below]))
        logits.append(model.lm_head.weight @ fed)
    return torch.stack(logits)


@torch.no_grad()
@FEEDING
@pytest.mark.parametrize("side", ["right", "left"])
def test_every_row_is_what_its_equations_give(feeding, side):
    """Words and source padded on either side, with a condition and a first state."""
    model = decoder(feeding, condition_size=CONDITION)
    condition, cells = torch.randn(3, 1, CONDITION, dtype=torch.float64), torch.randn(3, 2, HIDDEN, dtype=torch.float64)
    ids, states, counts = IDS, STATES.masked_fill(COUNTS.unsqueeze(-1) == 0, torch.nan), COUNTS
    if side == "left":
        ids, states, counts = (
            torch.stack([row.roll(each.shape[1] - count, 0) for row, count in zip(each, lengths, strict=True)])
            for each, lengths in ((ids, map(len, ROWS)), (states, SOURCES), (counts, SOURCES))
        )
    given = {"encoder_hidden_states": states, "encoder_attention_mask": counts, "initial_cell": cells}
    output = model(ids, (ids != PAD).long(), input_condition=condition, output_attentions=True, **given)
    weights = output.cross_attentions[0].squeeze(1)
    for row, words in enumerate(ROWS):
        expected = by_hand(model, words, STATES[row, : SOURCES[row]], condition[row, 0], cells[row])
        torch.testing.assert_close(output.logits[row, ids[row] != PAD], expected)
        assert (weights[row][:, counts[row] == 0] == 0).all()


@torch.no_grad()
@FEEDING
@pytest.mark.parametrize("pieces", [[1, 1, 1, 1], [2, 2], [1, 3]], ids=str)
def test_what_a_cache_goes_on_with_is_where_the_pass_before_it_ended(feeding, pieces):
    model, cache, found = decoder(feeding), None, []
    whole = model(IDS, use_cache=True, **READS)
    for piece in IDS.split(pieces, dim=1):
        output = model(piece, past_key_values=cache, use_cache=True, **READS)
        cache = output.past_key_values
        found.append(output.logits)
    torch.testing.assert_close(torch.cat(found, 1), whole.logits)
    torch.testing.assert_close(cache.states, whole.past_key_values.states)
    assert len(cache.states) == 4 + feeding
    torch.testing.assert_close(model(IDS, logits_to_keep=2, **READS).logits, whole.logits[:, -2:])


@torch.no_grad()
@FEEDING
def test_the_state_after_padded_rows_is_that_of_each_alone(feeding):
    model = decoder(feeding)
    cache = model(IDS, (IDS != PAD).long(), use_cache=True, **READS).past_key_values
    for row, words in enumerate(ROWS):
        alone = model(torch.tensor([words]), use_cache=True, **rows_of(READS, row)).past_key_values
        torch.testing.assert_close([state[row : row + 1] for state in cache.states], list(alone.states))


@torch.no_grad()
@FEEDING
def test_a_cache_is_selected_repeated_and_handed_over_as_that_of_an_encoder_and_decoder(feeding):
    model = decoder(feeding)
    start, more = IDS[:, :2], IDS[:, 2:]
    whole = model(IDS, **READS).logits[:, 2:]
    cache = model(start, use_cache=True, **READS).past_key_values
    cache.batch_repeat_interleave(2)
    rows = torch.tensor([4, 1])
    cache.batch_select_indices(rows)
    rows = rows // 2
    both = EncoderDecoderCache(cache, DynamicCache(config=model.config))
    given = {name: value[rows] for name, value in READS.items()}
    torch.testing.assert_close(model(more[rows], past_key_values=both, **given).logits, whole[rows])


@torch.no_grad()
@FEEDING
def test_hidden_states_end_with_what_the_output_layer_reads(feeding):
    torch.manual_seed(0)
    model = decoder(feeding, dropout=0.4).train()
    output = model(IDS, output_hidden_states=True, output_attentions=True, logits_to_keep=2, **READS)
    embedded, below, read = output.hidden_states
    assert embedded.shape == (3, 4, 7) and below.shape == read.shape == (3, 4, HIDDEN)
    assert (read == 0).any()
    torch.testing.assert_close(output.logits, model.lm_head(read[:, -2:]))
    (weights,) = output.cross_attentions
    assert weights.shape == (3, 1, 4, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1, 4, dtype=torch.float64))
    plain = LSTMDecoderModel(LSTMDecoderConfig(vocab_size=VOCABULARY, hidden_size=4, dropout=0.0)).eval()
    output = plain(IDS, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(output.logits, plain.lm_head(output.hidden_states[1]))
    assert output.cross_attentions is None


@FEEDING
def test_gradients_to_the_source_are_those_of_the_equations(feeding):
    model, row = decoder(feeding), 1
    found = []
    for run in (
        lambda states: model(IDS, (IDS != PAD).long(), encoder_hidden_states=states, encoder_attention_mask=COUNTS).logits[
            row, :2
        ],
        lambda states: by_hand(model, ROWS[row], states[row, : SOURCES[row]]),
    ):
        states = STATES.clone().requires_grad_()
        loss = run(states).log_softmax(-1)[:, 4].sum()
        found.append(torch.autograd.grad(loss, [states, *model.parameters()], allow_unused=True))
        assert found[-1][0][row].abs().min() > 0
    torch.testing.assert_close(*found)


@torch.no_grad()
@FEEDING
@pytest.mark.parametrize("search", [{}, {"num_beams": 3}, {"use_cache": False}], ids=["greedy", "beams", "no cache"])
def test_generation_does_not_see_padding_on_either_side(feeding, search):
    model = decoder(feeding)
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, **search}
    left = torch.tensor([[PAD] * (4 - len(row)) + row for row in ROWS])
    together = model.generate(left, attention_mask=(left != PAD).long(), **READS, **options)[:, 4:]
    alone = [
        model.generate(torch.tensor([row]), **rows_of(READS, index), **options)[0, len(row) :]
        for index, row in enumerate(ROWS)
    ]
    assert torch.equal(together, torch.stack(alone))
    other = {"encoder_hidden_states": STATES.flip(0), "encoder_attention_mask": COUNTS.flip(0)}
    assert not torch.equal(model.generate(left, attention_mask=(left != PAD).long(), **other, **options)[:, 4:], together)


@torch.no_grad()
@FEEDING
def test_beams_carry_their_own_states(feeding):
    """The score of a beam is that of its text, so every state, the fed vector too, went with its beam."""
    model = decoder(feeding)
    given = {name: value[:2] for name, value in READS.items()}
    options = {"max_new_tokens": 5, "eos_token_id": None, "do_sample": False, "length_penalty": 0.0}
    start = torch.tensor([[START], [START]])
    beams = model.generate(start, num_beams=4, return_dict_in_generate=True, output_scores=True, **given, **options)
    logits = model(beams.sequences[:, :-1], **given).logits.log_softmax(-1)
    scores = logits.gather(-1, beams.sequences[:, 1:, None]).sum((1, 2))
    torch.testing.assert_close(beams.sequences_scores.double(), scores, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@FEEDING
def test_no_source_is_one_of_which_nothing_counts(feeding):
    model = decoder(feeding)
    empty = {"encoder_hidden_states": STATES, "encoder_attention_mask": torch.zeros_like(COUNTS)}
    output = model(IDS, output_attentions=True, **empty)
    torch.testing.assert_close(output.logits, model(IDS).logits)
    assert (output.cross_attentions[0] == 0).all()
    assert not torch.allclose(output.logits, model(IDS, **READS).logits)


@FEEDING
def test_autocast_leaves_the_recurrence_in_the_precision_of_its_weights(feeding):
    model = decoder(feeding).float()
    given = {"encoder_hidden_states": STATES.bfloat16(), "encoder_attention_mask": COUNTS * torch.tensor([[1], [1], [0]])}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(IDS, use_cache=True, **given)
        step = model(IDS[:, :1], use_cache=True, **given)
    for cache in (output.past_key_values, step.past_key_values):
        assert {state.dtype for state in cache.states} == {torch.float32}
    torch.testing.assert_close(output.logits.float(), model(IDS, **given).logits, rtol=0.05, atol=0.05)


@FEEDING
def test_round_trips_and_an_lstm_without_attention_gains_it(feeding, tmp_path):
    model = decoder(feeding)
    model.save_pretrained(tmp_path / "attends")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "attends")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert loaded.config.input_feeding == feeding and loaded.config.cross_attention_hidden_size == SOURCE
    if not feeding:
        LSTMDecoderModel(LSTMDecoderConfig(vocab_size=VOCABULARY, hidden_size=4)).save_pretrained(tmp_path / "plain")
        gained = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", add_cross_attention=True)
        assert 0.005 < gained.cross_attention.query.weight.abs().max() <= 0.01


def test_refused():
    with pytest.raises(ValueError, match="set add_cross_attention"):
        LSTMDecoderModel(LSTMDecoderConfig(input_feeding=True, hidden_size=4))
    with pytest.raises(ValueError, match="cross_attention_hidden_size must be at least 1, but is 0"):
        LSTMDecoderConfig(cross_attention_hidden_size=0)
    with pytest.raises(ValueError, match="build it with add_cross_attention=True"):
        LSTMDecoderModel(LSTMDecoderConfig(vocab_size=VOCABULARY, hidden_size=4))(IDS, encoder_hidden_states=STATES)
    model = decoder(False)
    for states in (STATES[:2], STATES[..., :5], STATES[:, 0]):
        with pytest.raises(ValueError, match=r"encoder_hidden_states have shape .*: pass \(3, S, 6\)"):
            model(IDS, encoder_hidden_states=states)
    with pytest.raises(ValueError, match=r"encoder_attention_mask has shape \(3, 4\) beside .*: pass \(3, 5\)"):
        model(IDS, encoder_hidden_states=STATES, encoder_attention_mask=COUNTS[:, 1:])
