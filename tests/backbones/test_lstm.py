"""The LSTM backbones against torch's own LSTM, and as what transformers expects of an encoder and a causal decoder."""

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from hf_lvm import LSTMDecoderConfig, LSTMDecoderModel, LSTMEncoderConfig, LSTMEncoderModel
from hf_lvm.backbones.state_cache import StateCache
from tests.tiny_parts import END, PAD, START, VOCABULARY, perturb

ROWS = [[5, 6, 7, 8], [9, 4], [11]]
IDS = torch.tensor([row + [PAD] * (4 - len(row)) for row in ROWS])
MASK = (IDS != PAD).long()


def encoder(**options) -> LSTMEncoderModel:
    torch.manual_seed(0)
    return perturb(LSTMEncoderModel(LSTMEncoderConfig(vocab_size=VOCABULARY, hidden_size=8, **options)).eval(), 0.3)


def decoder(**options) -> LSTMDecoderModel:
    torch.manual_seed(0)
    tokens = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    config = LSTMDecoderConfig(vocab_size=VOCABULARY, hidden_size=8, **tokens | options)
    return perturb(LSTMDecoderModel(config).eval(), 0.5)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_two_directions_are_those_of_torch(layers):
    model = encoder(bidirectional=True, num_hidden_layers=layers, embedding_size=6)
    reference = nn.LSTM(6, 4, num_layers=layers, bidirectional=True, batch_first=True)
    for index in range(layers):
        for suffix, stack in (("", model.forward_layers), ("_reverse", model.backward_layers)):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(reference, f"{name}_l{index}{suffix}").copy_(getattr(stack[index], f"{name}_l0"))
    states = model(IDS, MASK).last_hidden_state
    for row, words in enumerate(ROWS):
        expected, _ = reference(model.embeddings(torch.tensor([words])))
        torch.testing.assert_close(states[row, : len(words)], expected[0])


@torch.no_grad()
def test_one_direction_never_looks_ahead_or_at_padding():
    states = encoder()(IDS, MASK).last_hidden_state
    for row, words in enumerate(ROWS):
        torch.testing.assert_close(states[row, : len(words)], encoder()(torch.tensor([words])).last_hidden_state[0])


@torch.no_grad()
def test_the_decoder_is_the_lstm_of_torch_with_its_condition_and_first_state():
    model = decoder(condition_size=3, num_hidden_layers=2)
    condition, cell = torch.randn(3, 1, 3), torch.randn(3, 2, 8)
    reference = nn.LSTM(8 + 3, 8, num_layers=2, batch_first=True)
    for index, layer in enumerate(model.layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(reference, f"{name}_l{index}").copy_(getattr(layer, f"{name}_l0"))
    inputs = torch.cat([model.embeddings(IDS), condition.expand(-1, 4, -1)], -1)
    cells = cell.transpose(0, 1).contiguous()
    hidden, _ = reference(inputs, (cells.tanh(), cells))
    logits = model(IDS, input_condition=condition, initial_cell=cell).logits
    torch.testing.assert_close(logits, model.lm_head(hidden))
    assert not torch.allclose(logits, model(IDS, input_condition=condition).logits)
    assert not torch.allclose(logits, model(IDS, initial_cell=cell).logits)


@torch.no_grad()
def test_steps_with_a_cache_equal_the_full_pass():
    model = decoder(num_hidden_layers=2)
    full, cache, steps = model(IDS).logits, None, []
    for position in range(4):
        output = model(IDS[:, position : position + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        steps.append(output.logits)
    assert isinstance(cache, StateCache) and cache.get_seq_length() == 4
    torch.testing.assert_close(torch.cat(steps, 1), full)
    assert torch.equal(model(IDS, logits_to_keep=2).logits, full[:, -2:])


@torch.no_grad()
@pytest.mark.parametrize("search", [{}, {"num_beams": 3}, {"use_cache": False}], ids=["greedy", "beams", "no cache"])
def test_generation_does_not_see_padding_on_either_side(search):
    model = decoder(num_hidden_layers=2)
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, **search}
    left = torch.tensor([[PAD] * (4 - len(row)) + row for row in ROWS])
    together = model.generate(left, attention_mask=(left != PAD).long(), **options)[:, 4:]
    alone = [model.generate(torch.tensor([row]), **options)[0, len(row) :] for row in ROWS]
    assert len({tuple(row.tolist()) for row in alone}) > 1
    assert torch.equal(together, torch.stack(alone))


@torch.no_grad()
def test_beams_carry_their_own_states():
    """The score of a beam is that of its text, so every state went with its beam."""
    model = decoder()
    start = torch.tensor([[START], [START]])
    options = {"max_new_tokens": 5, "eos_token_id": None, "do_sample": False, "length_penalty": 0.0}
    beams = model.generate(start, num_beams=4, return_dict_in_generate=True, output_scores=True, **options)
    logits = model(beams.sequences[:, :-1]).logits.log_softmax(-1)
    scores = logits.gather(-1, beams.sequences[:, 1:, None]).sum((1, 2))
    torch.testing.assert_close(beams.sequences_scores, scores, rtol=1e-5, atol=1e-5)


def test_the_loss_is_that_of_the_shifted_tokens():
    model = decoder()
    expected = nn.functional.cross_entropy(model(IDS).logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    torch.testing.assert_close(model(IDS, labels=IDS).loss, expected)


def test_autocast_leaves_the_recurrence_in_the_precision_of_its_weights():
    model = decoder()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(IDS, use_cache=True)
    assert {state.dtype for state in output.past_key_values.states} == {torch.float32}
    assert output.logits.dtype == torch.bfloat16
    torch.testing.assert_close(output.logits.float(), model(IDS).logits, rtol=0.02, atol=0.02)


@torch.no_grad()
def test_autocast_leaves_the_recurrence_over_padded_rows_so_too():
    model = decoder(num_hidden_layers=2, condition_size=3)
    given = {"attention_mask": MASK, "initial_cell": torch.full((3, 2, 8), 0.5), "use_cache": True}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = model(IDS, **given).past_key_values.states
    torch.testing.assert_close(states, model(IDS, **given).past_key_values.states)


def test_it_begins_as_the_literature_has_it():
    model = LSTMDecoderModel(LSTMDecoderConfig(vocab_size=500))
    embeddings = model.embeddings.weight
    assert 0.09 < embeddings.abs().max() <= 0.1
    for name, weight in model.named_parameters():
        if "embeddings" not in name:
            assert 0.009 < weight.abs().max() <= 0.01, name
    assert model.lm_head.bias is None
    assert model.lm_head.weight is not embeddings
    tied = LSTMDecoderModel(LSTMDecoderConfig(vocab_size=500, tie_word_embeddings=True))
    assert tied.lm_head.weight is tied.embeddings.weight


def test_round_trips_through_the_auto_classes(tmp_path):
    for model, auto in ((encoder(bidirectional=True), AutoModel), (decoder(condition_size=2), AutoModelForCausalLM)):
        folder = tmp_path / auto.__name__
        model.save_pretrained(folder)
        loaded = auto.from_pretrained(folder)
        assert type(loaded) is type(model)
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (LSTMEncoderConfig, {"bidirectional": True, "hidden_size": 7}, "two directions"),
        (LSTMEncoderConfig, {"dropout": 1.0}, "dropout"),
        (LSTMDecoderConfig, {"num_hidden_layers": 0}, "num_hidden_layers"),
        (LSTMDecoderConfig, {"condition_size": -1}, "condition_size"),
        (LSTMDecoderConfig, {"tie_word_embeddings": True, "embedding_size": 4}, "one size"),
    ],
)
def test_refused_sizes(config, options, message):
    with pytest.raises(ValueError, match=f"(?i){message}"):
        config(**options)


def test_refused_inputs():
    with pytest.raises(ValueError, match="takes no input_condition"):
        decoder()(IDS, input_condition=torch.zeros(3, 1, 2))
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        encoder()()
    with pytest.raises(ValueError, match="no state of this decoder"):
        from transformers import DynamicCache

        cache = DynamicCache()
        cache.update(torch.zeros(3, 1, 2, 4), torch.zeros(3, 1, 2, 4), 0)
        decoder()(IDS, past_key_values=cache)
