import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from hf_lvm.training.noise import NoiseStream, derive_seed, row_generators
from hf_lvm.training.word_dropout import drop_words, replacement_token_id


def normals(generators, size=8):
    return torch.stack([torch.randn(size, generator=generator) for generator in generators])


def test_noise_of_a_row_does_not_depend_on_the_cut_of_the_batch():
    whole = normals(row_generators(7, NoiseStream.LATENTS, 3, range(8)))
    pieces = [normals(row_generators(7, NoiseStream.LATENTS, 3, range(i, i + 2))) for i in range(0, 8, 2)]
    assert torch.equal(whole, torch.cat(pieces))


@pytest.mark.parametrize("other", [(8, NoiseStream.LATENTS, 3), (7, NoiseStream.WORD_DROPOUT, 3), (7, NoiseStream.LATENTS, 4)])
def test_seed_stream_and_step_change_the_noise_of_every_row(other):
    here, there = (normals(row_generators(*key, range(8))) for key in ((7, NoiseStream.LATENTS, 3), other))
    assert (here != there).all()


def test_noise_over_rows_is_standard_normal_and_uncorrelated():
    noise = normals(row_generators(0, NoiseStream.LATENTS, 0, range(10_000)))  # (N, 8)
    standard_error = 10_000**-0.5
    assert noise.mean(0).abs().max() < 4 * standard_error
    assert (noise.var(0) - 1).abs().max() < 4 * standard_error * 2**0.5
    assert torch.corrcoef(noise.T).fill_diagonal_(0).abs().max() < 4.5 * standard_error
    assert (noise[1:] * noise[:-1]).mean(0).abs().max() < 4 * standard_error


def test_seeds_differ_in_the_low_bits_that_the_generator_uses():
    seeds = {derive_seed(0, step, row) & 0xFFFFFFFF for step in range(200) for row in range(200)}
    assert len(seeds) > 40_000 - 5  # 0.19 collisions are expected of 40,000 draws from 2**32


def dropped(ids, rate, rows, keep_mask=None, step=0):
    return drop_words(ids, rate, 99, row_generators(0, NoiseStream.WORD_DROPOUT, step, rows), keep_mask)


def test_word_dropout_hits_its_rate_and_keeps_the_start_and_the_padding():
    ids = torch.arange(40).repeat(500, 1)
    keep = torch.zeros_like(ids, dtype=torch.bool)
    keep[:, 30:] = True
    result = dropped(ids, 0.3, range(500), keep)
    assert torch.equal(result[:, 0], ids[:, 0]) and torch.equal(result[:, 30:], ids[:, 30:])
    hit = result[:, 1:30] != ids[:, 1:30]
    assert (result[:, 1:30][hit] == 99).all()
    assert abs(hit.float().mean() - 0.3) < 4 * (0.3 * 0.7 / hit.numel()) ** 0.5
    assert (ids == torch.arange(40)).all(), "the input itself must stay"


def test_dropped_words_of_a_row_do_not_depend_on_the_batch_or_its_padding():
    ids = torch.arange(12).repeat(4, 1)
    whole = dropped(ids, 0.5, range(4))
    assert torch.equal(dropped(ids[2:3, :7], 0.5, [2]), whole[2:3, :7])
    assert not torch.equal(dropped(ids, 0.5, range(4), step=1), whole)


def test_word_dropout_refuses_a_rate_that_is_none_and_too_few_generators():
    ids = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="word_dropout is 1.5"):
        dropped(ids, 1.5, range(2))
    with pytest.raises(ValueError, match="1 generators for 2 rows"):
        dropped(ids, 0.5, range(1))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ({"unk_token": "<unk>", "mask_token": "<mask>", "bos_token": "<s>"}, "<unk>"),
        ({"mask_token": "<mask>", "bos_token": "<s>"}, "<mask>"),
        # GPT-2: one token for everything, which must not stand for a dropped word.
        ({"unk_token": "</s>", "eos_token": "</s>", "mask_token": "<mask>"}, "<mask>"),
    ],
)
def test_a_dropped_word_becomes_a_token_without_another_duty(tokens, expected):
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", "<unk>", "<mask>"])}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(vocabulary, "<unk>")), **tokens)
    assert tokenizer.convert_ids_to_tokens(replacement_token_id(tokenizer)) == expected


def test_a_tokenizer_without_a_free_token_is_refused():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"</s>": 0}, "</s>")), eos_token="</s>", unk_token="</s>"
    )
    with pytest.raises(ValueError, match="neither an unknown nor a mask token of its own"):
        replacement_token_id(tokenizer)
