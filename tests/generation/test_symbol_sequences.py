"""The sampler of a distribution over sequences against its `log_prob`, both against all sequences written down."""

import pytest
import torch
from scipy.stats import chi2
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.symbol_sequences import SymbolSequences
from tests.generation.decoders import (
    FAMILIES,
    PROMPTED,
    RULES,
    WHOLE,
    all_sequences,
    inputs_of,
    logits_without_cache,
    tiny_decoder,
    tiny_model,
)
from tests.tiny_parts import END, PAD, START, row_generators

CASES = [*((family, {}) for family in FAMILIES), *((family, RULES) for family in ("gpt2", "lstm", "t5"))]


def by_steps(model, given: dict, sequences: torch.Tensor, min_length=0, forbidden=(), temperature=1.0) -> torch.Tensor:
    """log q of sequences (B, T) as the product of the probabilities of their steps, by the bare model: (B,)."""
    logits = logits_without_cache(model, given, sequences[:, :-1].clamp(min=0)) / temperature
    totals = []
    for row, sequence in enumerate(sequences.tolist()):
        total = logits.new_zeros(())
        for step, symbol in enumerate(sequence[:-1]):
            scores = logits[row, step].clone()
            scores[list(forbidden)] = -torch.inf
            if step < min_length:
                scores[END] = -torch.inf
            total = total + scores[symbol] - scores.logsumexp(0)
            if symbol == END:
                break
        totals.append(total)
    return torch.stack(totals)


# ---- one density -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "rules"), CASES)
def test_sampler_and_log_prob_are_one_density(family, rules):
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        model = tiny_model(family, dtype=dtype)
        given = inputs_of(family, model, batch=3)
        q = SymbolSequences(CachedDecoder(model, **given), END, 5, pad_token_id=PAD, **rules)
        samples, of_sampler = q.draw((2,), row_generators(3))
        assert samples.shape == (2, 3, 6) and q.batch_shape == (3,) and q.event_shape == (6,)
        torch.testing.assert_close(q.log_prob(samples), of_sampler, rtol=0.0, atol=tolerance)
        again, log_prob = q.sample_and_log_prob((2,), row_generators(3))
        assert torch.equal(again, samples) and log_prob.requires_grad
        torch.testing.assert_close(log_prob, of_sampler, rtol=0.0, atol=tolerance)
        with torch.no_grad():
            for sample, expected in zip(samples, of_sampler, strict=True):
                torch.testing.assert_close(by_steps(model, given, sample, **rules), expected, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_gradient_is_that_of_one_pass_without_a_cache(family):
    model = tiny_model(family)
    given = inputs_of(family, model)
    q = SymbolSequences(CachedDecoder(model, **given), END, 4)
    samples, log_prob = q.sample_and_log_prob((2,))
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradient = torch.autograd.grad((weights * log_prob).sum(), parameters, allow_unused=True)
    expected = torch.autograd.grad(
        sum((weights[k] * by_steps(model, given, samples[k])).sum() for k in range(2)), parameters, allow_unused=True
    )
    for computed, wanted in zip(gradient, expected, strict=True):
        assert (computed is None) == (wanted is None)
        if wanted is not None:
            # The norms of Llama and T5 are float32 inside, whatever the model is.
            tolerance = 1e-5 if family.startswith(("llama", "t5")) else 1e-9
            torch.testing.assert_close(computed, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("family", "rules"), CASES)
def test_all_sequences_have_probability_one_and_come_as_often_as_they_should(family, rules):
    q = SymbolSequences(tiny_decoder(family, vocabulary=4 if rules else 3), END, 3, **rules)
    values = all_sequences(q, 4 if rules else 3)
    probs = q.log_prob(values.unsqueeze(1).expand(-1, 2, -1)).exp()
    torch.testing.assert_close(probs.sum(0), torch.ones(2, dtype=torch.float64), rtol=0.0, atol=1e-12)
    draws = 1000
    samples = q.sample((draws,), torch.Generator().manual_seed(1))
    counts = (samples.unsqueeze(1) == values.unsqueeze(1)).all(-1).sum(0).double()
    assert (counts.sum(0) == draws).all()
    for row in range(2):
        # Those that come too seldom for the statistic count as one.
        often = draws * probs[:, row] >= 5
        observed = torch.cat([counts[often, row], counts[~often, row].sum().view(1)])
        expected = draws * torch.cat([probs[often, row], probs[~often, row].sum().view(1)])
        statistic = ((observed - expected) ** 2 / expected.clamp(min=1e-9)).sum().item()
        assert statistic < chi2.isf(1e-4, int(often.sum()))


def test_what_stands_behind_the_end_counts_for_nothing():
    q = SymbolSequences(tiny_decoder("gpt2"), END, 5, pad_token_id=PAD)
    value = torch.tensor([[3, 4, END, PAD, PAD, PAD], [5, END, PAD, PAD, PAD, PAD]])
    other = torch.tensor([[3, 4, END, -100, 6, END], [5, END, END, -100, -100, 1]])
    torch.testing.assert_close(q.log_prob(other), q.log_prob(value), rtol=0.0, atol=1e-12)
    torch.testing.assert_close(q.log_prob(value[:, :3]), q.log_prob(value), rtol=0.0, atol=1e-12)
    assert q.lengths(other).tolist() == [2, 1]
    # The end is free only where nothing else can come.
    full = torch.tensor([[3, 4, 5, 6, 3, END]] * 2)
    longer = SymbolSequences(q.decoder, END, 6)
    assert (q.log_prob(full) > longer.log_prob(full)).all()
    assert q.log_prob(torch.stack([value, other])).shape == (2, 2)


def test_what_the_rules_exclude_has_no_probability():
    q = SymbolSequences(tiny_decoder("gpt2"), END, 3, min_length=2, forbidden=torch.arange(7) == 4)
    values = torch.tensor([[[3, END, 0, 0], [3, 4, END, 0]], [[3, 3, END, 0], [3, 5, 6, END]]])
    assert (q.log_prob(values).isfinite() == torch.tensor([[False, False], [True, True]])).all()
    samples = q.sample((200,))
    assert not (samples == 4).any() and q.lengths(samples).min() == 2


# ---- what the library does ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", *WHOLE])
def test_what_generate_samples_by_default_has_another_density(family):
    """Of 80 symbols it keeps 50, and a BART checkpoint's options force an end that its model does not make."""
    model, max_length = tiny_model(family, vocabulary=80), 6
    given = inputs_of(family, model, batch=8)
    q = SymbolSequences(CachedDecoder(model, **given), END, max_length)
    if family == "bart":
        model.generation_config.forced_eos_token_id = END
    inputs = {"input_ids": given["prompt"], "attention_mask": torch.ones_like(given["prompt"])}
    if family in WHOLE:
        inputs = {
            "encoder_outputs": BaseModelOutput(last_hidden_state=given["encoder_hidden_states"]),
            "attention_mask": given["encoder_attention_mask"],
            "decoder_input_ids": given["prompt"],
            "decoder_start_token_id": START,
        }

    def error(**options) -> float:
        """The largest difference in nats between the density of the sampler of transformers and that of q."""
        settings = GenerationConfig(
            do_sample=True, pad_token_id=PAD, eos_token_id=END, output_scores=True, return_dict_in_generate=True, **options
        )
        output = model.generate(**inputs, generation_config=settings)
        written = output.sequences[:, given["prompt"].shape[1] :]
        steps = torch.stack([score.log_softmax(-1) for score in output.scores], dim=1)
        chosen = steps.gather(-1, written.unsqueeze(-1)).squeeze(-1)
        before_end = (written == END).cumsum(1) - (written == END).long() == 0
        ends = (written == END).any(1)
        sampled = chosen.masked_fill(~before_end, 0.0).sum(1)
        return (sampled - q.log_prob(written.masked_fill(~before_end, END)))[ends].abs().max().item() if ends.any() else 0.0

    neutral = {"top_k": 0, "max_new_tokens": max_length + 1, "forced_eos_token_id": END}
    assert error(**neutral) < 1e-5
    assert error(**neutral | {"top_k": None}) > 0.1
    if family == "bart":
        # None does not take back what the checkpoint forces.
        assert error(top_k=0, max_new_tokens=max_length - 1, forced_eos_token_id=None) > 0.1


# ---- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_alone_gets_the_same_samples(family):
    model = tiny_model(family)
    together = SymbolSequences(CachedDecoder(model, **inputs_of(family, model, batch=4)), END, 6, pad_token_id=PAD)
    alone = SymbolSequences(CachedDecoder(model, **inputs_of(family, model, batch=1)), END, 6, pad_token_id=PAD)
    samples, log_prob = together.draw((3,), row_generators(4))
    single, single_log_prob = alone.draw((3,), row_generators(1))
    assert torch.equal(single, samples[:, :1])
    torch.testing.assert_close(single_log_prob, log_prob[:, :1], rtol=0.0, atol=1e-9)
    longer = SymbolSequences(together.decoder, END, 9, pad_token_id=PAD)
    short = together.lengths(samples) < 6
    assert short.any() and torch.equal(longer.sample((3,), row_generators(4))[short][:, :7], samples[short])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", [*PROMPTED, "t5_decoder", "t5"])
def test_padding_of_prompts_changes_nothing(family, side):
    # Padded rows of an LSTM are packed, in float32.
    model = tiny_model(family, dtype=torch.float32 if family == "lstm" else torch.float64)
    tolerance = 1e-5 if family == "lstm" else 1e-9
    given = inputs_of(family, model)
    rows = [[1, 4, 5, 3], [1, 6]]
    padded, mask = torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 6, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(6 - len(row), 6)
        padded[index, place], mask[index, place] = torch.tensor(row), 1
    q = SymbolSequences(CachedDecoder(model, **given | {"prompt": padded, "prompt_mask": mask}), END, 5)
    embeds = model.get_input_embeddings()(padded) if family != "t5" else model.get_decoder().get_input_embeddings()(padded)
    without = {name: value for name, value in given.items() if name != "prompt"}
    by_embeds = SymbolSequences(CachedDecoder(model, prompt_embeds=embeds, prompt_mask=mask, **without), END, 5)
    samples, log_prob = q.draw((3,), row_generators(2))
    torch.testing.assert_close(q.log_prob(samples), log_prob, rtol=0.0, atol=tolerance)
    torch.testing.assert_close(by_embeds.log_prob(samples), log_prob, rtol=0.0, atol=tolerance)
    for index, row in enumerate(rows):
        own = {name: value[index : index + 1] for name, value in without.items() if name != "conditions"}
        own |= {"conditions": {name: value[index : index + 1] for name, value in given.get("conditions", {}).items()}}
        single = SymbolSequences(CachedDecoder(model, prompt=torch.tensor([row]), **own), END, 5)
        sample, expected = single.draw((3,), [row_generators(2)[index]])
        assert torch.equal(sample[:, 0], samples[:, index])
        torch.testing.assert_close(log_prob[:, index], expected[:, 0], rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("family", ["gpt2", "bart", "lstm"])
def test_prompt_and_source_are_read_once_and_finished_rows_leave(family):
    decoder = tiny_decoder(family, batch=2)
    reads = []
    name = "decoder_input_ids" if decoder.decoder.config.is_encoder_decoder else "input_ids"
    decoder.decoder.register_forward_pre_hook(lambda _, __, inputs: reads.append(tuple(inputs[name].shape)), with_kwargs=True)
    q = SymbolSequences(decoder, END, 12)
    samples, _ = q.sample_and_log_prob((8,))
    lengths = q.lengths(samples)
    prompt, *steps, scoring = reads
    assert prompt[0] == 2 and all(length == 1 for _, length in steps)
    assert len(steps) == min(int(lengths.max()), 11)
    counts = [rows for rows, _ in steps]
    assert counts == sorted(counts, reverse=True) and sum(counts) < 16 * len(steps)
    assert all(rows <= 1 + int((lengths > step).sum() / 0.75) for step, rows in enumerate(counts))
    assert scoring == (16, min(int(lengths.max()), 11))


# ---- the best ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [{}, RULES])
@pytest.mark.parametrize("family", ["gpt2", "lstm", "t5"])
def test_a_beam_that_holds_everything_finds_every_sequence(family, rules):
    vocabulary = 4 if rules else 3
    q = SymbolSequences(tiny_decoder(family, vocabulary=vocabulary), END, 3, **rules)
    values = all_sequences(q, vocabulary)
    log_prob, order = q.log_prob(values.unsqueeze(1).expand(-1, 2, -1)).sort(0, descending=True)
    found = q.beam(len(values) + 2)
    torch.testing.assert_close(found.log_prob[:-2], log_prob, rtol=0.0, atol=1e-9)
    assert torch.equal(found.sequences[:-2], values[order])
    assert (found.log_prob[-2:] == -torch.inf).all() and (q.lengths(found.sequences[-2:]) == 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_beam_scores_what_it_finds_and_one_beam_is_greedy(family):
    q = SymbolSequences(tiny_decoder(family, batch=3), END, 6, **RULES)
    found = q.beam(2, 5)
    assert found.sequences.shape == (2, 3, 7) and (found.log_prob[0] > found.log_prob[1]).all()
    torch.testing.assert_close(q.log_prob(found.sequences), found.log_prob, rtol=0.0, atol=1e-9)
    assert torch.equal(q.beam(1).sequences[0], q.mode)


# ---- modes and mistakes ------------------------------------------------------------------------------------------------


def test_dropout_takes_part_in_both_passes_as_the_decoder_is():
    model = tiny_model("gpt2", resid_pdrop=0.3, embd_pdrop=0.3)
    for dropout in [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]:
        dropout.p = 0.3
    q = SymbolSequences(CachedDecoder(model, **inputs_of("gpt2", model)), END, 6)
    samples, log_prob = q.draw((4,))
    torch.testing.assert_close(q.log_prob(samples), log_prob, rtol=0.0, atol=1e-9)
    model.train()
    samples, log_prob = q.draw((4,))
    assert model.training and (q.log_prob(samples) - log_prob).abs().max() > 1e-3


def test_a_decoder_that_keeps_no_cache_is_refused():
    class Forgetful(type(tiny_model("gpt2"))):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.past_key_values = None
            return output

    model = Forgetful(tiny_model("gpt2").config)
    q = SymbolSequences(CachedDecoder(model, **inputs_of("gpt2", model)), END, 3)
    with pytest.raises(ValueError, match="Forgetful kept no cache.*returns past_key_values"):
        q.sample()


def test_a_decoder_whose_layers_are_recomputed_keeps_them_here():
    model, results = tiny_model("gpt2").train(), []
    q = SymbolSequences(CachedDecoder(model, **inputs_of("gpt2", model)), END, 4)
    for recomputes in (False, True):
        if recomputes:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        samples, log_prob = q.sample_and_log_prob((3,), generator=torch.Generator().manual_seed(0))
        model.zero_grad()
        log_prob.sum().backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        results.append((samples, log_prob.detach(), gradients))
    assert gradients and model.transformer.h[0].gradient_checkpointing, "it is switched on again behind each call"
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "at least 1"),
        ({"min_length": 4}, "min_length 4 and max_length 3"),
        ({"temperature": 0.0}, "must be positive"),
        ({"forbidden": [END]}, "which is EOS"),
    ],
)
def test_rules_that_leave_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SymbolSequences(tiny_decoder("gpt2"), END, **{"max_length": 3} | options)


def test_rules_that_do_not_fit_the_vocabulary_are_refused():
    decoder = tiny_decoder("gpt2")
    with pytest.raises(ValueError, match="outside the decoder's vocabulary of 7"):
        SymbolSequences(decoder, END, 3, forbidden=[7]).sample()
    with pytest.raises(ValueError, match="min_length asks for some"):
        SymbolSequences(decoder, END, 3, forbidden=[0, 1, 3, 4, 5, 6], min_length=1).sample()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[3, 4, 5, 6]] * 2, "has no EOS"),
        ([[3, -100, END, 0]] * 2, "not from 0 to 6"),
        ([[3, 7, END, 0]] * 2, "not from 0 to 6"),
        ([[3, END]], "is needed"),
        ([[3, END, 0, 0, 0]] * 2, "up to 4"),
    ],
)
def test_sequences_that_are_no_values_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        SymbolSequences(tiny_decoder("gpt2"), END, 3).log_prob(torch.tensor(value))


def test_too_many_sequences_for_the_beam_are_refused():
    with pytest.raises(ValueError, match="at most num_beams"):
        SymbolSequences(tiny_decoder("gpt2"), END, 3).beam(3, 2)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("gpt2", {"prompt": None}, "either prompt"),
        ("gpt2", {"prompt": torch.ones(2, 0, dtype=torch.long)}, "at least the start token"),
        ("gpt2", {"prompt_mask": torch.ones(2, 3)}, "differ in shape"),
        ("gpt2", {"prompt_mask": torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])}, r"Row\(s\) \[1\]"),
        ("bart", {"encoder_hidden_states": None}, "run its encoder once"),
        ("bart", {"encoder_attention_mask": torch.ones(3, 5)}, "3 rows and the prompt 2"),
        ("bart", {"prompt": torch.ones(2, 2).long(), "prompt_mask": torch.tensor([[1, 1], [0, 1]])}, "counts positions"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(family, change, message):
    model = tiny_model(family)
    with pytest.raises(ValueError, match=message):
        CachedDecoder(model, **inputs_of(family, model) | change)
