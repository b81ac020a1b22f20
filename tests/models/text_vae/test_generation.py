"""What generation writes is what p(x|z) scores, in every injection and family."""

import functools
import itertools

import pytest
import torch

from tests.tiny_parts import END, PAD, perturb, tiny_vae

DECODERS = ("gpt2", "llama", "qwen3", "opt", "gpt_neox", "bart", "t5")
WITH_CROSS_ATTENTION = ("gpt2", "bart", "t5")
PLAIN = ("prefix", "embedding", "memory", "logits")
PAIRS = [
    *itertools.product(DECODERS, PLAIN),
    *((decoder, "cross_attention") for decoder in WITH_CROSS_ATTENTION),
    ("hf_lvm_lstm_decoder", "cross_attention"),
    *((decoder, "all") for decoder in ("gpt2", "llama", "bart", "t5")),
    *((decoder, "prefix") for decoder in ("mistral", "bloom", "falcon", "gemma2", "bert")),
]
LATENTS = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
WORDS = 6


@functools.cache
def built(decoder: str, injection: str):
    names = [*PLAIN, *(["cross_attention"] if decoder in WITH_CROSS_ATTENTION else [])] if injection == "all" else injection
    # Far enough from its initialisation that an answer depends on everything before it.
    return perturb(tiny_vae("bert", decoder, injection=names, decoder_num_hidden_layers=2), 0.15)


def forced(model, sequences: torch.Tensor, latents: torch.Tensor):
    with torch.no_grad():
        return model(labels=sequences[:, 1:], latents=latents)


def generate(model, **options):
    return model.generate(**{"latents": LATENTS, "max_new_tokens": WORDS, "eos_token_id": None} | options)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("decoder", "injection"), PAIRS)
def test_greedy_and_sampled_steps_have_the_teacher_forced_logits(decoder, injection):
    model = built(decoder, injection)
    for options in ({"do_sample": False}, {"do_sample": True, "top_k": 0}):
        written = generate(model, output_logits=True, return_dict_in_generate=True, **options)
        close(torch.stack(written.logits, 1), forced(model, written.sequences, LATENTS).logits)
    greedy = generate(model, do_sample=False)
    assert greedy.shape == (2, 1 + WORDS) and (greedy[:, 0] == model.start_token_id).all()
    assert torch.equal(greedy, generate(model, do_sample=False, use_cache=False))
    assert len({tuple(row[1:].tolist()) for row in generate(model, do_sample=True, num_return_sequences=8)}) > 1


@pytest.mark.parametrize(("decoder", "injection"), PAIRS)
def test_the_score_of_a_beam_is_the_log_probability_of_its_text(decoder, injection):
    model = built(decoder, injection)
    options = {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.0, "do_sample": False}
    written = generate(model, output_scores=True, return_dict_in_generate=True, **options)
    assert written.sequences.shape == (4, 1 + WORDS)
    scores = -forced(model, written.sequences, LATENTS.repeat_interleave(2, 0)).reconstruction
    torch.testing.assert_close(written.sequences_scores, scores, rtol=1e-5, atol=2e-5)
    assert torch.equal(written.sequences, generate(model, use_cache=False, **options))
    alone = generate(model, latents=LATENTS[1:], **options)
    assert torch.equal(alone, written.sequences[2:])


@pytest.mark.parametrize(("decoder", "injection"), PAIRS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_prompts_go_on_as_unpadded_ones(decoder, injection, side):
    model, rows = built(decoder, injection), [[5, 6, 7], [8]]
    width = 4
    pads = [[PAD] * (width - len(row)) for row in rows]
    prompt = torch.tensor([p + r if side == "left" else r + p for r, p in zip(rows, pads, strict=True)])
    mask = torch.tensor(
        [
            [0] * len(p) + [1] * len(r) if side == "left" else [1] * len(r) + [0] * len(p)
            for r, p in zip(rows, pads, strict=True)
        ]
    )
    together = generate(model, decoder_input_ids=prompt, decoder_attention_mask=mask)
    for index, row in enumerate(rows):
        alone = generate(model, latents=LATENTS[index : index + 1], decoder_input_ids=torch.tensor([row]))[0]
        assert alone[: 1 + len(row)].tolist() == [model.start_token_id, *row]
        assert torch.equal(together[index, : len(alone)], alone)
        assert (together[index, len(alone) :] == PAD).all()


def test_a_prompt_may_begin_with_the_start_token_or_not():
    model = built("gpt2", "prefix")
    without, with_start = (generate(model, decoder_input_ids=torch.tensor([start + [5, 6]] * 2)) for start in ([], [1]))
    assert torch.equal(without, with_start)


def test_rows_of_several_prompts_stay_in_order_with_several_texts_each():
    model = built("gpt2", "embedding")
    prompt, mask = torch.tensor([[5, 6], [7, PAD]]), torch.tensor([[1, 1], [1, 0]])
    written = generate(model, decoder_input_ids=prompt, decoder_attention_mask=mask, do_sample=True, num_return_sequences=3)
    assert written.shape[0] == 6
    assert (written[:3, 1:3] == torch.tensor([5, 6])).all() and (written[3:, 1] == 7).all()


def test_what_is_generated_from_sentences_comes_from_their_means():
    model = built("gpt2", "prefix")
    ids = torch.tensor([[PAD, 5, 6, END], [7, 8, 9, END]])
    mask = (ids != PAD).long()
    given = generate(model, latents=model.encode(ids, mask).mean)
    assert torch.equal(generate(model, latents=None, input_ids=ids, attention_mask=mask), given)


def test_the_end_of_a_sentence_ends_it():
    model = built("gpt2", "logits")
    greedy = generate(model, latents=LATENTS[:1])[0].tolist()
    stop = greedy[3]
    ended = generate(model, latents=LATENTS[:1], eos_token_id=stop)[0].tolist()
    assert ended == greedy[: greedy.index(stop, 1) + 1]


def test_a_decoder_without_padding_token_pads_prompts_of_several_lengths():
    model = tiny_vae(decoder_pad_token_id=None)
    prompt, mask = torch.tensor([[5, 6], [7, 0]]), torch.tensor([[1, 1], [1, 0]])
    written = model.generate(latents=LATENTS, decoder_input_ids=prompt, decoder_attention_mask=mask, max_new_tokens=3)
    assert written.shape[0] == 2 and model.config.pad_token_id is None


def test_tokens_forced_by_a_pretrained_decoder_are_dropped():
    assert tiny_vae("bert", "bart").decoder.generation_config.forced_eos_token_id is not None
    model = tiny_vae("bert", "bart")
    assert all(getattr(model.generation_config, key) is None for key in ("forced_bos_token_id", "forced_eos_token_id"))


@pytest.mark.parametrize("injection", ["prefix", "embedding", "memory"])
@torch.no_grad()
def test_families_that_count_positions_from_behind_padding_keep_count(injection):
    """RoBERTa, given embeddings, forgets how many tokens its cache holds."""
    model = perturb(tiny_vae("bert", "roberta", injection=injection), 0.3)
    latents = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    options = {"max_new_tokens": 6, "eos_token_id": None, "output_logits": True, "return_dict_in_generate": True}
    written = model.generate(latents=latents, do_sample=False, **options)
    forced = model(labels=written.sequences[:, 1:], latents=latents).logits
    torch.testing.assert_close(torch.stack(written.logits, 1), forced, rtol=1e-5, atol=1e-5)
    positions = model.config.decoder.max_position_embeddings - 1 - model.conditioning.positions_used
    assert model.positions_left == positions
