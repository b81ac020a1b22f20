"""Decoders under a grammar: what is sampled is what is scored, all of it is trees, and their probabilities sum to one."""

import pytest
import torch
from torch.nn import functional
from transformers import LogitsProcessorList

from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.grammar_decoder import GrammarDecoder
from hf_lvm.generation.grammar_logits_processor import GrammarLogitsProcessor
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.grammars.transition_system import END, PAD, START, Automaton, Source, actions_of, tree_of
from tests.generation.decoders import inputs_of, tiny_model
from tests.grammars.toy_trees import derivations_within, toy_vocabulary

LIMIT = 4
# The first row copies, the second one finds other words, the third one nothing.
WORDS = [["ab", "7", "ab"], ["c", "b"], []]
VOCABULARY = toy_vocabulary(copy_slots=3)
AUTOMATON = Automaton(VOCABULARY)
SOURCES = [Source(VOCABULARY, words) for words in WORDS]
DERIVATIONS = [list(derivations_within(AUTOMATON, LIMIT, source)) for source in SOURCES]


def parts(family: str = "gpt2", batch: int = 3):
    model = tiny_model(family, vocabulary=len(VOCABULARY))
    return model, inputs_of(family, model, batch)


def distribution(family: str = "gpt2", batch: int = 3, limit: int = LIMIT) -> SymbolSequences:
    model, given = parts(family, batch)
    decoder = GrammarDecoder(CachedDecoder(model, **given), AUTOMATON, limit, SOURCES[:batch])
    return SymbolSequences(decoder, END, limit, pad_token_id=PAD)


def sequences_of(derivations: list[list[int]]) -> torch.Tensor:
    """(D, LIMIT + 1), with END and padding."""
    return torch.tensor([[*row, END, *[PAD] * (LIMIT - len(row))] for row in derivations])


@pytest.mark.parametrize("family", ["gpt2", "lstm", "bart"])
def test_probabilities_of_all_trees_sum_to_one(family):
    q = distribution(family)
    for row, derivations in enumerate(DERIVATIONS):
        values = sequences_of(derivations).unsqueeze(1).expand(-1, 3, -1)
        torch.testing.assert_close(q.log_prob(values)[:, row].exp().sum(), torch.ones((), dtype=torch.float64))


def test_what_is_no_derivation_has_no_probability_and_no_gradient():
    q = distribution()
    legal, others = (
        {tuple(row) for row in DERIVATIONS[0]},
        {tuple(row) for row in DERIVATIONS[1]} - {tuple(row) for row in DERIVATIONS[0]},
    )
    values = sequences_of([list(row) for row in others]).unsqueeze(1).expand(-1, 3, -1)
    log_prob = q.log_prob(values)
    assert others and (log_prob[:, 0] == -torch.inf).all() and (log_prob[:, 1] > -torch.inf).all()
    random = torch.randint(3, len(VOCABULARY), (200, 3, LIMIT))
    values = functional.pad(random, (0, 1), value=END)
    log_prob = q.log_prob(values)
    assert [tuple(row) in legal for row in random[:, 0].tolist()] == (log_prob[:, 0] > -torch.inf).tolist()
    # A tree that ends too early, and one that goes on: what comes after END is not looked at.
    leaf = VOCABULARY.rules["Leaf"]
    values = torch.tensor([[END, PAD], [leaf, leaf], [leaf, END]]).unsqueeze(1).expand(-1, 3, -1)
    log_prob = q.log_prob(functional.pad(values, (0, 1), value=END))
    assert (log_prob[:2] == -torch.inf).all() and (log_prob[2] > -torch.inf).all()
    log_prob[2].sum().backward()
    gradients = [parameter.grad for parameter in q.decoder.decoder.decoder.parameters() if parameter.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("limit", [LIMIT, 15])
def test_samples_are_trees_with_the_probability_they_are_scored_with(limit):
    q = distribution(limit=limit)
    sequences, log_prob = q.draw((150,))
    torch.testing.assert_close(q.log_prob(sequences), log_prob)
    for row, (words, source) in enumerate(zip(WORDS, SOURCES, strict=True)):
        for actions in sequences[:, row].tolist():
            tree = tree_of(VOCABULARY, actions, words)
            assert actions_of(VOCABULARY, tree, source) == actions[: actions.index(END)]


def test_samples_have_the_frequencies_of_their_probabilities():
    q = distribution(batch=1)
    values = sequences_of(DERIVATIONS[0])
    expected = q.log_prob(values.unsqueeze(1)).squeeze(1).exp()
    sequences = q.sample((4000,)).squeeze(1)
    counts = (sequences.unsqueeze(1) == values).all(-1).double().sum(0)
    assert counts.sum() == len(sequences)
    deviation = (counts - 4000 * expected) / (4000 * expected * (1 - expected)).sqrt()
    assert deviation.abs().max() < 5 and deviation.square().mean() < 2


def test_beams_find_the_most_probable_trees():
    q = distribution()
    widest = max(map(len, DERIVATIONS))
    found = q.beam(3, num_beams=4 * widest)
    for row, derivations in enumerate(DERIVATIONS):
        values = sequences_of(derivations).unsqueeze(1).expand(-1, 3, -1)
        best = q.log_prob(values)[:, row].topk(3)
        torch.testing.assert_close(found.log_prob[:, row], best.values)
        assert torch.equal(found.sequences[:, row], values[best.indices, row])


def generated(model, given: dict, processor: GrammarLogitsProcessor, **options):
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, PAD
    return model.generate(
        given["prompt"][:, :1],
        attention_mask=torch.ones(len(given["prompt"]), 1, dtype=torch.long),
        logits_processor=LogitsProcessorList([processor]),
        max_new_tokens=LIMIT + 1,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )


def of_start(model, batch: int) -> SymbolSequences:
    decoder = GrammarDecoder(CachedDecoder(model, torch.full((batch, 1), START)), AUTOMATON, LIMIT, SOURCES[:batch])
    return SymbolSequences(decoder, END, LIMIT, pad_token_id=PAD)


def test_generate_with_beams_is_the_same_distribution():
    model, given = parts()
    processor = GrammarLogitsProcessor(AUTOMATON, LIMIT, sources=SOURCES)
    out = generated(model, given, processor, num_beams=5, num_return_sequences=5, do_sample=False, length_penalty=0.0)
    written = functional.pad(out.sequences[:, 1:], (0, LIMIT + 2 - out.sequences.shape[1]), value=PAD)
    written = written.view(3, 5, LIMIT + 1).transpose(0, 1)
    scores = of_start(model, 3).log_prob(written)
    torch.testing.assert_close(scores, out.sequences_scores.view(3, 5).T, check_dtype=False, rtol=1e-5, atol=1e-5)
    for row, words in enumerate(WORDS):
        assert len({tree_of(VOCABULARY, actions, words) for actions in written[:, row].tolist()}) == 5


def test_generated_samples_are_trees():
    model, given = parts()
    processor = GrammarLogitsProcessor(AUTOMATON, LIMIT, sources=SOURCES)
    out = generated(model, given, processor, num_return_sequences=40, do_sample=True, top_k=0)
    written = functional.pad(out.sequences[:, 1:], (0, LIMIT + 2 - out.sequences.shape[1]), value=PAD)
    log_prob = of_start(model, 3).log_prob(written.view(3, 40, -1).transpose(0, 1))
    for row, actions in enumerate(written.tolist()):
        assert actions[: actions.index(END)] in DERIVATIONS[row // 40]
    # The scores of the steps are log-probabilities that sum to those of the trees.
    steps = torch.stack(out.scores, dim=1).gather(2, written[:, : len(out.scores), None]).squeeze(2)
    ended = written[:, : len(out.scores)] == PAD
    torch.testing.assert_close(steps.masked_fill(ended, 0.0).sum(1).view(3, 40).T, log_prob, check_dtype=False)


def test_processor_goes_on_from_any_prompt():
    processor = GrammarLogitsProcessor(AUTOMATON, LIMIT, sources=SOURCES)
    rows = [row for rows in DERIVATIONS for row in (rows[0], rows[-1])]
    for length in (2, 0, 1, 3):
        chosen = [[*row, END, *[PAD] * LIMIT][:length] for row in rows]
        ids = torch.tensor([[START, *row] for row in chosen])
        # Tokens past the actions are never legal.
        scores = torch.randn(len(rows), len(VOCABULARY) + 2)
        log_probs = processor(ids, scores)
        states = AUTOMATON.begin(LIMIT, len(rows), [source for source in SOURCES for _ in range(2)])
        for step in range(length):
            states = states.advance([row[step] for row in chosen])
        legal = functional.pad(states.legal(), (0, 2))
        torch.testing.assert_close(log_probs, scores.masked_fill(~legal, -torch.inf).log_softmax(-1))
    half = processor(ids, scores.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.exp().sum(-1), torch.ones(len(rows)))


def test_what_does_not_fit_is_refused():
    model, given = parts()
    small = tiny_model("gpt2", vocabulary=9)
    with pytest.raises(ValueError, match="limit of 0 steps admits no tree"):
        GrammarDecoder(CachedDecoder(model, **given), AUTOMATON, 0)
    with pytest.raises(ValueError, match="There are 1 sources for 3 derivations"):
        GrammarDecoder(CachedDecoder(model, **given), AUTOMATON, 5, SOURCES[:1])
    with pytest.raises(ValueError, match="has 9 logits and the grammar 22 actions"):
        GrammarDecoder(CachedDecoder(small, torch.full((1, 1), START)), AUTOMATON, 5).begin()
    decoder = GrammarDecoder(CachedDecoder(model, **given), AUTOMATON, 5)
    with pytest.raises(ValueError, match="A point between actions"):
        decoder.advance_points(decoder.begin(), torch.ones(3, 1, 22))
    with pytest.raises(ValueError, match="limit of 0 steps admits no tree"):
        GrammarLogitsProcessor(AUTOMATON, 0)
    processor = GrammarLogitsProcessor(AUTOMATON, 5, sources=SOURCES)
    with pytest.raises(ValueError, match="scores 9 tokens, and the grammar has 22 actions"):
        processor(torch.full((3, 1), START), torch.zeros(3, 9))
    with pytest.raises(ValueError, match="4 rows cannot share 3 sources"):
        processor(torch.full((4, 1), START), torch.zeros(4, 22))
