"""Decoders that copy: symbols behind their vocabulary, or symbols of it, against their formulas and one pass without a cache."""

import pytest
import torch

from hf_lvm.generation.copying_decoder import CopiedWords, CopyingDecoder
from hf_lvm.generation.pointer_generator import PointerGeneratorDecoder
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.layers.copying import FieldEmbeddings, SymbolCopies, WordCopies
from hf_lvm.layers.decoder_interface import first_position
from tests.generation.decoders import embedding_layer, inputs_of, tiny_model
from tests.tiny_parts import END, SIZES

WORDS, SLOTS, SIZE = 7, 4, SIZES["hidden_size"]
FAMILIES = ["gpt2_cross", "bart_decoder", "t5_decoder"]


def copying(family: str, with_fields: bool = False):
    torch.manual_seed(1)
    model = tiny_model(family, WORDS)
    given = inputs_of(family, model)
    weights = WordCopies(SIZE, SIZE, SIZE).double()
    weights.init_weights()
    copied = weights(given["encoder_hidden_states"], given["encoder_attention_mask"], SLOTS)
    fields = FieldEmbeddings(3, SIZE).double() if with_fields else None
    return model, given, copied, CopyingDecoder(model, copied=copied, field_embeddings=fields, first_position=first_position(model), **given)  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_copied_words_are_scored_and_read(family):
    model, given, copied, decoder = copying(family)
    symbols = torch.tensor([[5, 8, 7, 6], [7, 3, 9, 8]])
    logits, state = decoder.advance(decoder.begin(), symbols)
    assert logits.shape == (2, 4, WORDS + SLOTS)
    table, start = embedding_layer(model), given["prompt"]
    read = torch.stack(
        [
            torch.stack([table(word) if word < WORDS else copied.embeddings[row, word - WORDS] for word in own])
            for row, own in enumerate(symbols)
        ]
    )
    output = model(
        inputs_embeds=torch.cat([table(start), read], 1),
        encoder_hidden_states=given["encoder_hidden_states"],
        encoder_attention_mask=given["encoder_attention_mask"],
        output_hidden_states=True,
    )
    scores = copied.query(output.hidden_states[-1]) @ copied.keys.mT / SIZE**0.5
    scores = scores.masked_fill((given["encoder_attention_mask"] == 0).unsqueeze(1), -torch.inf)
    torch.testing.assert_close(logits, torch.cat([output.logits, scores[..., :SLOTS]], -1)[:, 1:])
    # Step by step it is the same.
    other = decoder.begin()
    for step in range(4):
        one, other = decoder.advance(other, symbols[:, step : step + 1])
        torch.testing.assert_close(one[:, 0], logits[:, step])
    torch.testing.assert_close(other.select(torch.tensor([1, 0])).logits, state.logits.flip(0))
    with pytest.raises(ValueError, match="reads symbols, and no points"):
        decoder.advance_points(state, torch.ones(2, 1, WORDS + SLOTS))


@torch.no_grad()
def test_the_sampler_copies_with_the_probability_it_is_scored_with():
    decoder = copying("gpt2_cross")[-1]
    q = SymbolSequences(decoder, END, 4)
    drawn = q.draw((30,))
    torch.testing.assert_close(q.log_prob(drawn.sequences), drawn.log_prob)
    assert (drawn.sequences >= WORDS).any()
    # The second source has three words, so its last slot copies nothing.
    assert not (drawn.sequences[:, 1] == WORDS + 3).any() and (decoder.begin().logits[1, -1] == -torch.inf)


@torch.no_grad()
def test_what_is_read_says_what_place_comes_next():
    _, _, _, decoder = copying("gpt2_cross", with_fields=True)
    assert decoder.reads_fields
    symbols = torch.tensor([[5, 8], [7, 3]])
    one, _ = decoder.advance(decoder.begin(), symbols, torch.tensor([[1, 2], [1, 2]]))
    other, _ = decoder.advance(decoder.begin(), symbols, torch.tensor([[1, 0], [1, 0]]))
    torch.testing.assert_close(one[:, 0], other[:, 0])
    assert (one[:, 1, :WORDS] - other[:, 1, :WORDS]).abs().max() > 1e-4


def test_copied_words_keep_their_size():
    copied = CopiedWords(2, torch.nn.Identity(), torch.zeros(2, 5, SIZE), torch.zeros(2, 5, SIZE), torch.ones(2, 5))
    model = tiny_model("gpt2_cross", WORDS, torch.float32)
    given = inputs_of("gpt2_cross", model)
    # More words than slots: those past them are not copied.
    assert CopyingDecoder(model, copied=copied, **given).begin().logits.shape == (2, WORDS + 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mixture_of_writing_and_copying(family):
    torch.manual_seed(1)
    model = tiny_model(family, WORDS)
    given = inputs_of(family, model)
    weights = SymbolCopies(SIZE, SIZE).double()
    weights.init_weights()
    # The same symbol twice, places that are none, and a row with nothing to copy.
    symbols = torch.tensor([[4, -1, 4, 6, -1], [-1] * 5])
    decoder = PointerGeneratorDecoder(model, copied=weights(symbols), **given)
    read = torch.tensor([[3, 4, 5], [6, 3, 4]])
    state = decoder.begin()
    logits, _ = decoder.advance(state, read)
    logits = torch.cat([state.logits.unsqueeze(1), logits], 1)
    output = model(
        input_ids=torch.cat([given["prompt"], read], 1),
        encoder_hidden_states=given["encoder_hidden_states"],
        encoder_attention_mask=given["encoder_attention_mask"],
        output_hidden_states=True,
    )
    written, hidden, states = output.logits.softmax(-1), output.hidden_states[-1], given["encoder_hidden_states"]
    torch.testing.assert_close(logits[1].exp(), written[1])
    scores = weights.query(hidden[0]) @ states[0].T / SIZE**0.5
    attention = scores[:, [0, 2, 3]].softmax(-1)
    gate = weights.gate(torch.cat([hidden[0], attention @ states[0, [0, 2, 3]]], -1)).sigmoid()
    copied = torch.zeros(4, WORDS, dtype=torch.float64)
    copied[:, 4], copied[:, 6] = attention[:, 0] + attention[:, 1], attention[:, 2]
    torch.testing.assert_close(logits[0].exp(), gate * written[0] + (1 - gate) * copied)
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(2, 4, dtype=torch.float64))
    logits[0, :, 4].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in weights.parameters())
    p = SymbolSequences(decoder, END, 5)
    drawn = p.draw((10,))
    torch.testing.assert_close(p.log_prob(drawn.sequences), drawn.log_prob)
