"""The dilated-CNN decoder: it sees as far as it says and no further, in one pass and step by step."""

import math

import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from hf_lvm.backbones.dilated_cnn_decoder import DilatedCNNDecoderConfig, DilatedCNNDecoderModel
from hf_lvm.backbones.state_cache import StateCache
from tests.tiny_parts import perturb

TINY = {
    "vocab_size": 23,
    "embedding_size": 8,
    "hidden_size": 12,
    "internal_size": 24,
    "embedding_dropout": 0.0,
    "dropout": 0.0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TOKENS = torch.randint(3, 23, (2, 40), generator=torch.Generator().manual_seed(3))


def tiny(**options) -> DilatedCNNDecoderModel:
    torch.manual_seed(0)
    return perturb(DilatedCNNDecoderModel(DilatedCNNDecoderConfig(**(TINY | options))).eval(), 0.1)


def in_steps(model, tokens: torch.Tensor, pieces: list[int], **inputs) -> torch.Tensor:
    cache, logits = None, []
    for piece in tokens.split(pieces, dim=1):
        output = model(piece, past_key_values=cache, use_cache=True, **inputs)
        cache = output.past_key_values
        logits.append(output.logits)
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize(
    ("options", "receptive_field"),
    [
        ({"size": "small"}, 15),
        ({"size": "medium"}, 63),
        ({"size": "large"}, 125),
        ({"size": "very_large"}, 187),
        ({"dilations": [1, 3], "kernel_size": 2}, 5),
        ({"kernel_size": 4, "num_hidden_layers": 1}, 4),
    ],
)
@torch.no_grad()
def test_the_receptive_field_ends_where_it_should(options, receptive_field):
    """In float64, because the first word of two hundred moves the last logit by very little."""
    model = tiny(**options).double()
    assert model.receptive_field == model.config.receptive_field == receptive_field
    length = receptive_field + 3
    tokens = torch.randint(3, 20, (1, length))
    last = length - 1
    logits = model(tokens).logits[0, last]
    for distance, is_seen in ((receptive_field - 1, True), (receptive_field, False)):
        changed = tokens.clone()
        changed[0, last - distance] += 3
        assert torch.equal(model(changed).logits[0, last], logits) is not is_seen
        # The cached path: a prompt, then one word at a time.
        steps = in_steps(model, changed, [length - 3, 1, 1, 1])[0, last]
        torch.testing.assert_close(steps, model(changed).logits[0, last], rtol=1e-10, atol=1e-12)


def test_no_logit_sees_a_later_word():
    model = tiny(size="medium")
    embeddings = model.embeddings(TOKENS).detach().requires_grad_()
    model(inputs_embeds=embeddings).logits[:, 20].sum().backward()
    moved = embeddings.grad.abs().sum(-1) > 0
    assert moved[:, :21].all() and not moved[:, 21:].any()


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("pieces", [[1] * 40, [7, 1, 1, 20, 11]], ids=["words", "pieces"])
@torch.no_grad()
def test_steps_give_what_one_pass_gives(size, pieces):
    model = tiny(size=size)
    torch.testing.assert_close(in_steps(model, TOKENS, pieces), model(TOKENS).logits, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_the_cache_does_not_grow():
    """What a step reads is of fixed size, so its cost is: 2 * dilation places of each convolution."""
    model, cache, counts = tiny(size="medium"), None, []
    for token in TOKENS.split(1, dim=1):
        cache = model(token, past_key_values=cache, use_cache=True).past_key_values
        counts.append([state.shape[-1] for state in cache.states])
        assert all(state.untyped_storage().nbytes() == state.numel() * 4 for state in cache.states)
    assert isinstance(cache, StateCache) and cache.get_seq_length() == 40
    assert counts == [[2, 4, 8, 16, 32]] * 40


@torch.no_grad()
def test_generation_sees_the_whole_context():
    """A CNN that is handed its last word alone, where it should be handed all it can see, writes something else."""
    model = tiny(size="medium")
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    prompt = TOKENS[:, :9]
    written = model.generate(prompt, return_dict_in_generate=True, output_logits=True, **options)
    text, logits = written.sequences, torch.stack(written.logits, dim=1)
    torch.testing.assert_close(logits, model(text[:, :-1]).logits[:, 8:], rtol=1e-5, atol=1e-6)
    assert torch.equal(model.generate(prompt, use_cache=False, **options), text)
    assert (logits[:, 1:] - torch.cat([model(token).logits for token in text[:, 9:-1].split(1, 1)], 1)).abs().max() > 0.1


@torch.no_grad()
def test_beams_keep_their_own_memory():
    model = tiny(size="small")
    written = model.generate(
        TOKENS[:, :5],
        num_beams=3,
        num_return_sequences=3,
        max_new_tokens=6,
        length_penalty=0.0,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    scores = model(written.sequences[:, :-1]).logits.log_softmax(-1)[:, 4:]
    expected = scores.gather(-1, written.sequences[:, 5:, None]).sum((1, 2))
    torch.testing.assert_close(written.sequences_scores, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_samples_are_those_of_the_model():
    """Sampled first words against the probabilities the model gives them."""
    model = tiny(size="small")
    model.lm_head.weight.mul_(20)
    prompt = TOKENS[:1, :5].expand(2000, -1)
    words = model.generate(prompt, do_sample=True, top_k=0, max_new_tokens=2, eos_token_id=None)[:, 5]
    shares = torch.bincount(words, minlength=23) / 2000
    probabilities = model(prompt[:1]).logits[0, -1].softmax(-1)
    error = (probabilities * (1 - probabilities) / 2000).sqrt()
    assert ((shares - probabilities).abs() <= 4.5 * error + 1e-3).all() and shares.max() < 0.9


@torch.no_grad()
def test_padding_before_a_prompt_and_behind_a_text_changes_nothing():
    model = tiny(size="medium")
    short = TOKENS[1:, :6]
    behind = torch.cat([short, torch.zeros(1, 30, dtype=torch.long)], dim=1)
    torch.testing.assert_close(model(behind).logits[:, :6], model(short).logits, rtol=1e-6, atol=1e-6)
    before = torch.cat([torch.zeros(1, 3, dtype=torch.long), short], dim=1)
    batch, mask = torch.cat([TOKENS[:1, :9], before]), torch.ones(2, 9, dtype=torch.long)
    mask[1, :3] = 0
    torch.testing.assert_close(model(batch, attention_mask=mask).logits[1:, 3:], model(short).logits, rtol=1e-6, atol=1e-6)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    together = model.generate(batch, attention_mask=mask, **options)
    assert torch.equal(together[1:, 3:], model.generate(short, **options))
    assert torch.equal(together[:1], model.generate(batch[:1], **options))


def test_a_sentence_in_training_does_not_depend_on_the_others():
    """What batch normalization would break; another text and another padding stand beside it here."""
    model = tiny(size="small").train()
    alone = model(TOKENS[:1, :9]).logits
    padded = torch.cat([TOKENS[:, :9], torch.zeros(2, 5, dtype=torch.long)], dim=1)
    torch.testing.assert_close(model(padded).logits[:1, :9], alone, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_condition_is_concatenated_to_every_embedding():
    """A linear map of the concatenation is the sum of a map of each part."""
    model = tiny(size="small", condition_size=3)
    condition = torch.randn(2, 1, 3)
    weight = torch.cat([model.input_projection.weight[..., 0], model.condition_projection.weight], dim=1)
    joined = torch.cat([model.embeddings(TOKENS), condition.expand(-1, 40, -1)], dim=-1)
    hidden = functional.linear(joined, weight, model.input_projection.bias).transpose(1, 2)
    for block in model.blocks:
        hidden, _ = block(hidden)
    expected = model.lm_head(model.norm(hidden).transpose(1, 2))
    logits = model(TOKENS, input_condition=condition).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(in_steps(model, TOKENS, [5, 35], input_condition=condition), logits, rtol=1e-5, atol=1e-6)
    difference = (logits - model(TOKENS).logits).abs().amax(-1)
    assert (difference > 1e-3).all()
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "output_logits": True}
    written = model.generate(TOKENS[:, :3], input_condition=condition, return_dict_in_generate=True, **options)
    again = model(written.sequences[:, :-1], input_condition=condition).logits[:, 2:]
    torch.testing.assert_close(torch.stack(written.logits, 1), again, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"size": "very_large"}, {"embedding_size": 256, "tie_word_embeddings": True}])
def test_a_new_model_knows_nothing_and_learns(options):
    torch.manual_seed(0)
    sizes = {"vocab_size": 200, "embedding_size": 32, "hidden_size": 256, "internal_size": 32, "dropout": 0.0}
    model = DilatedCNNDecoderModel(
        DilatedCNNDecoderConfig(**(sizes | {"embedding_dropout": 0.0, "condition_size": 4} | options))
    )
    tokens, condition = torch.randint(0, 200, (8, 12)), torch.randn(8, 1, 4)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = model(tokens, input_condition=condition, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert abs(losses[0] - math.log(200)) < 0.15
    assert losses[-1] < 0.6 * losses[0]


def test_words_and_condition_begin_at_their_scales():
    torch.manual_seed(0)
    model = DilatedCNNDecoderModel(
        DilatedCNNDecoderConfig(vocab_size=100, embedding_size=64, hidden_size=256, internal_size=64, condition_size=16)
    )
    words = model.input_projection(model.embeddings.weight.T[None])
    condition = model.condition_projection(torch.randn(500, 16))
    assert words.std().item() == pytest.approx(1.0, abs=0.1)
    assert condition.std().item() == pytest.approx(0.5, abs=0.05)


def test_gradient_checkpointing_changes_no_gradient():
    model = tiny(size="small").train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            assert all(block.gradient_checkpointing for block in model.blocks)
        model.zero_grad()
        model(TOKENS, labels=TOKENS).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for gradient, other in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, other)


def test_round_trip_through_the_auto_classes(tmp_path):
    model = tiny(size="medium", condition_size=3)
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is DilatedCNNDecoderConfig and config.dilations == [1, 2, 4, 8, 16] and config.num_hidden_layers == 5
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is DilatedCNNDecoderModel
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    condition = torch.randn(2, 1, 3)
    with torch.no_grad():
        expected = model(TOKENS, input_condition=condition).logits
        torch.testing.assert_close(loaded(TOKENS, input_condition=condition).logits, expected, rtol=0, atol=1e-6)


def test_tied_embeddings_are_one_tensor():
    model = tiny(embedding_size=12, tie_word_embeddings=True)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert tiny().lm_head.weight is not tiny().get_input_embeddings().weight


def test_its_loss_is_that_of_the_shifted_words_and_few_logits_can_be_kept():
    model = tiny()
    output = model(TOKENS, labels=TOKENS.masked_fill(TOKENS == 7, -100))
    targets = TOKENS[:, 1:].masked_fill(TOKENS[:, 1:] == 7, -100)
    expected = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(model(TOKENS, logits_to_keep=2).logits, output.logits[:, -2:])


def test_in_bfloat16():
    model = tiny(size="small", condition_size=3).bfloat16()
    output = model(TOKENS, input_condition=torch.randn(2, 1, 3), use_cache=True)
    assert output.logits.dtype == torch.bfloat16 and output.logits.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny()(TOKENS, labels=TOKENS).loss.isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "huge"}, "Unknown size 'huge': choose one of 'small'"),
        ({"dilations": []}, "dilations must be"),
        ({"dilations": [1, 0]}, "dilations must be"),
        ({"size": "small", "dilations": [1, 2]}, "different blocks: give one"),
        ({"size": "large", "num_hidden_layers": 3}, "different blocks: give one"),
        ({"dilations": [1, 2], "num_hidden_layers": 3}, "different blocks: give one"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1"),
        ({"kernel_size": 1}, "kernel_size must be at least 2"),
        ({"internal_size": 0}, "internal_size must be at least 1"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"condition_size": -1}, "condition_size must be 0 or more"),
        ({"tie_word_embeddings": True}, "needs one size"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DilatedCNNDecoderConfig(**(TINY | options))


def test_inputs_that_make_no_sense_are_refused():
    model = tiny()
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model(TOKENS, inputs_embeds=model.embeddings(TOKENS))
    with pytest.raises(ValueError, match="build it with condition_size"):
        model(TOKENS, input_condition=torch.randn(2, 1, 3))
