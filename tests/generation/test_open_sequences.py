"""Relaxed sequences that go on behind their ends, and what that changes in the gradient of a mean over ends."""

import pytest
import torch

from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.relaxed_sequences import open_sequences, relaxed_sequences
from hf_lvm.generation.symbol_sequences import SymbolSequences
from tests.generation.decoders import all_sequences, inputs_of, tiny_decoder, tiny_model
from tests.tiny_parts import END, row_generators

LONGEST, VOCABULARY = 4, 5


@pytest.mark.parametrize("family", ["gpt2", "lstm", "t5"])
@pytest.mark.parametrize("straight_through", [True, False])
def test_they_are_the_same_samples_up_to_an_end(family, straight_through):
    q = SymbolSequences(tiny_decoder(family), END, LONGEST)
    closed, opened = (
        sample(q, 0.7, (50,), row_generators(2), straight_through) for sample in (relaxed_sequences, open_sequences)
    )
    torch.testing.assert_close(opened.points[..., 0, :], closed.points[..., 0, :])
    assert (opened.symbols[..., END] == 0).all()
    torch.testing.assert_close(opened.symbols.sum(-1), torch.ones_like(opened.symbols[..., 0]))
    if not straight_through:
        # What is written at a place given that it is no end: the rest of the point, over its sum.
        rest = opened.points[:, :, :-1].clone()
        rest[..., END] = 0.0
        torch.testing.assert_close(opened.symbols, rest / rest.sum(-1, keepdim=True))
        return
    lengths = q.lengths(closed.points.argmax(-1))
    assert torch.equal(q.lengths(opened.points.argmax(-1)), lengths) and len(lengths.unique()) == LONGEST + 1
    before = torch.arange(LONGEST) < lengths.unsqueeze(-1)
    assert torch.equal(opened.symbols.argmax(-1)[before], closed.points.argmax(-1)[..., :-1][before])
    torch.testing.assert_close(opened.end_weights, closed.end_weights)


def test_behind_an_end_they_go_on_as_q_does():
    q = SymbolSequences(tiny_decoder("lstm"), END, LONGEST)
    opened = open_sequences(q, 1.0, (30,), row_generators(2), straight_through=True)
    symbols = opened.symbols.argmax(-1)
    ended = torch.cat([symbols, torch.full_like(symbols[..., :1], END)], -1)
    # log q of these symbols one after the other, whether or not an end was drawn on the way.
    by_step = opened.log_probs.gather(-1, symbols.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(by_step.sum(-1), q.log_prob(ended))


def test_a_mean_over_ends_is_not_misled_by_what_nobody_reads():
    """A loss of messages whose reader makes nonsense of an end that is followed by more, which no message has.

    The exact gradient of the expected loss never meets that nonsense; the mean over ends of sequences that were written with
    the end in them does, at every end but the last.
    """
    model = tiny_model("lstm", vocabulary=VOCABULARY)
    given = inputs_of("lstm", model, batch=1)
    prompt, condition = given["prompt"], given["conditions"]["input_condition"]
    worth = torch.randn(LONGEST, VOCABULARY, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    worth[:, END] = 8.0

    def losses(points: torch.Tensor) -> torch.Tensor:
        """Of each beginning of (..., L, V): (..., L + 1)."""
        total = (points * worth).sum(-1).cumsum(-1)
        return (torch.nn.functional.pad(total, (1, 0)) - 1.5).square()

    def sender(rows: int) -> tuple[torch.Tensor, SymbolSequences]:
        told = model.get_input_embeddings()(prompt).detach().expand(rows, -1, -1).clone().requires_grad_()
        conditions = {"input_condition": condition.expand(rows, -1, -1)}
        return told, SymbolSequences(CachedDecoder(model, prompt_embeds=told, conditions=conditions), END, LONGEST)

    told, q = sender(1)
    values = all_sequences(q, VOCABULARY)
    of_each = losses(torch.nn.functional.one_hot(values[:, :LONGEST], VOCABULARY).double())
    of_each = of_each.gather(1, q.lengths(values).unsqueeze(1)).squeeze(1)
    expected = (q.log_prob(values.unsqueeze(1)).squeeze(1).exp() * of_each).sum()
    exact = torch.autograd.grad(expected, told)[0].flatten()
    cosines = {}
    for sample in (relaxed_sequences, open_sequences):
        told, q = sender(3000)
        drawn = sample(q, 1.0, (), torch.Generator().manual_seed(0), straight_through=True)
        read = drawn.symbols if sample is open_sequences else drawn.points[:, :-1]
        loss = (drawn.end_weights * losses(read)).sum(-1)
        assert abs(loss.mean() - expected) < 4 * loss.std() / 3000**0.5, "the value is that of q in both"
        gradient = torch.autograd.grad(loss.sum(), told)[0].mean(0).flatten()
        cosines[sample] = torch.nn.functional.cosine_similarity(gradient, exact, dim=0)
    assert cosines[open_sequences] > 0.99 and cosines[relaxed_sequences] < 0.6, cosines
