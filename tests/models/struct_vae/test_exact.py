"""q, p(z), p(x|z) and the bound of a StructVAE against sums over all trees of a small grammar, in float64."""

import itertools

import pytest
import torch

from hf_lvm.generation.symbol_sequences import SymbolSequences
from tests.models.struct_vae.tiny_meanings import WORDS, batch, every_derivation, tiny_struct_vae
from tests.tiny_parts import END, row_generators

PARSERS = {
    "GPT-2": {},
    "LSTM that copies, is fed its input and reads fields": {
        "encoder": "hf_lvm_lstm_encoder",
        "parser": "hf_lvm_lstm_decoder",
        "reader": "hf_lvm_lstm_encoder",
        "decoder": "hf_lvm_lstm_decoder",
        "prior": "hf_lvm_lstm_decoder",
        "copy_slots": 3,
        "frontier_embedding": True,
        "parser_initial_state": True,
    },
    "GPT-2 that copies": {"copy_slots": 3},
    "BART that copies and reads fields": {"parser": "bart", "decoder": "bart", "copy_slots": 3, "frontier_embedding": True},
    "T5 that copies": {"parser": "hf_lvm_t5_decoder", "decoder": "hf_lvm_t5_decoder", "copy_slots": 3},
    "GPT-2 that reads fields": {"frontier_embedding": True},
}


@pytest.fixture(scope="module", params=PARSERS)
def model(request):
    return tiny_struct_vae(**PARSERS[request.param], perturbation=0.2).double()


@pytest.fixture(scope="module")
def copying():
    return tiny_struct_vae(copy_slots=3, frontier_embedding=True, perturbation=0.2).double()


def posterior_of(model):
    given = batch(model)
    return model.encode(given["input_ids"], given["attention_mask"], words=given.get("words"))


@torch.no_grad()
def test_probabilities_of_all_trees_sum_to_one_and_the_sampler_agrees(model):
    q = posterior_of(model)
    for row in range(3):
        values = every_derivation(model, row)
        log_prob = q.log_prob(values.unsqueeze(1).expand(-1, 3, -1))[:, row]
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-10)
        best = q.beam(3, num_beams=len(values))
        torch.testing.assert_close(best.log_prob[:, row], log_prob.topk(3).values)
    drawn = q.draw((40,), row_generators(3))
    torch.testing.assert_close(q.log_prob(drawn.sequences), drawn.log_prob)
    if model.grammar.copies:
        assert (drawn.sequences >= model.grammar.vocabulary.first_copy).any(), "words must be copied, too"


@torch.no_grad()
def test_pad_words_and_other_rows_do_not_matter(copying):
    given = batch(copying)
    together = copying(**given, generator=row_generators(3))
    for row in range(3):
        own = {name: value[row : row + 1] for name, value in given.items()}
        count = len(WORDS[row])
        own |= {name: own[name][:, :count] for name in ("input_ids", "attention_mask")}
        alone = copying(**own | {"labels": own["labels"][:, : count + 1]}, generator=[row_generators(3)[row]])
        for field in ("kl", "reconstruction"):
            torch.testing.assert_close(together[field][row], alone[field][0])


@torch.no_grad()
def test_the_prior_is_a_distribution_that_knows_all_that_the_posterior_writes(copying):
    grammar, prior = copying.grammar, copying.meaning_prior()
    trees = set()
    for row in range(3):
        values = every_derivation(copying, row)
        spelled = grammar.spelled_ids(values.unsqueeze(1), [grammar.source(WORDS[row])])
        log_prior = copying.log_prior(spelled)
        assert log_prior.isfinite().all()
        trees |= {tuple(own[: own.index(END)]) for own in spelled[:, 0].tolist()}
        # The KL divergence of q from a p(z) with more trees.
        log_q = posterior_of(copying).log_prob(values.unsqueeze(1).expand(-1, 3, -1))[:, row]
        assert (log_q.exp() * (log_q - log_prior[:, 0])).sum() > 0
        assert len({tuple(own) for own in spelled[:, 0].tolist()}) == len(values), "each tree has one derivation"
    # p(z) itself, cut to where it can be listed.
    small = tiny_struct_vae(perturbation=0.2, max_actions=4, max_spelled_actions=4).double()
    values = every_derivation(small, 0)
    spelled = small.grammar.spelled_ids(values.unsqueeze(1), None)
    assert small.log_prior(spelled).exp().sum().item() == pytest.approx(1, abs=1e-10)
    sequences, log_prob = small.meaning_prior().draw((20,))
    torch.testing.assert_close(small.meaning_prior().log_prob(sequences), log_prob)
    assert prior.max_length == 10


@torch.no_grad()
@pytest.mark.parametrize("name", PARSERS)
def test_sentences_under_a_tree_sum_to_one_with_copying(name):
    model = tiny_struct_vae(**PARSERS[name] | {"vocab_size": 7}, perturbation=0.2).double()
    source = None if not model.grammar.copies else [model.grammar.source(WORDS[0])]
    spelled = model.grammar.spelled_ids(every_derivation(model, 0).unsqueeze(1), source)[:, 0]
    # One tree with nothing to copy, and two with the most.
    counts = (model.token_of_action[spelled.clamp(min=0)] >= 0).logical_and(spelled >= 0).sum(1)
    assert counts.min() == 0 and counts.max() >= 2
    spelled = spelled[counts.argsort()[[0, -1, -2]]]
    words = [word for word in range(7) if word != END]
    rows = [[*own, END] for length in range(3) for own in itertools.product(words, repeat=length)]
    rows += [list(own) for own in itertools.product(words, repeat=3)]
    labels = torch.tensor([[*row, *[-100] * (3 - len(row))] for row in rows])
    for tree in spelled:
        log_prob = model.log_likelihood(labels, tree.expand(1, len(rows), -1))[0]
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-9)
    # Step by step as in one pass.
    p = SymbolSequences(model.teller(spelled), END, 3)
    drawn = p.draw((10,))
    torch.testing.assert_close(p.log_prob(drawn.sequences), drawn.log_prob)
    short = drawn.sequences[:, :, :3] == END
    ended = short.any(-1)
    labels = torch.where(drawn.sequences.eq(END).cumsum(-1).eq(0) | (drawn.sequences.eq(END).cumsum(-1).cumsum(-1) == 1),
                         drawn.sequences, -100)  # fmt: skip
    scores = torch.stack([model.log_likelihood(own, spelled.unsqueeze(0))[0] for own in labels])
    torch.testing.assert_close(scores[ended], drawn.log_prob[ended])


def exact_terms(model):
    """For each sentence of the batch log q, log p(x|z) and log p(z) of all its trees."""
    given, q, found = batch(model), posterior_of(model), []
    for row in range(3):
        values = every_derivation(model, row)
        log_q = q.log_prob(values.unsqueeze(1).expand(-1, 3, -1))[:, row]
        source = [model.grammar.source(WORDS[row])] if model.grammar.copies else None
        spelled = model.grammar.spelled_ids(values.unsqueeze(1), source)
        found.append(
            (log_q, model.log_likelihood(given["labels"][row : row + 1], spelled)[:, 0], model.log_prior(spelled)[:, 0])
        )
    return found


@torch.no_grad()
def test_bounds_are_below_the_likelihood_and_converge_to_it(copying):
    given, repeats = batch(copying), 60
    exact = exact_terms(copying)
    likelihood = torch.stack([(log_p + log_prior).logsumexp(0) for _, log_p, log_prior in exact])
    elbo = torch.stack([(log_q.exp() * (log_p + log_prior - log_q)).sum() for log_q, log_p, log_prior in exact])
    assert (elbo < likelihood).all()
    copying.config.num_samples = repeats
    output = copying(**given, generator=row_generators(3))
    copying.config.num_samples = 3
    torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
    estimate = copying.estimate_log_likelihood(**given, num_samples=400, generator=row_generators(3), chunk_size=150)
    assert ((estimate.log_likelihood - likelihood).abs() < 4 * estimate.standard_error + 1e-9).all()
    assert (estimate.log_likelihood - elbo > 0).all() and (estimate.effective_sample_size > 1).all()
    whole = copying.estimate_log_likelihood(**given, num_samples=400, generator=row_generators(3), keep_log_weights=True)
    torch.testing.assert_close(whole.log_likelihood, estimate.log_likelihood)
    assert whole.log_weights.shape == (400, 3)
    deviation = (-output.reconstruction - output.kl - elbo).abs()
    assert (deviation < 4 * whole.log_weights.std(0) / repeats**0.5).all()


def test_all_parts_learn_what_they_should():
    model = tiny_struct_vae(copy_slots=3, frontier_embedding=True, train_prior=True, perturbation=0.2).train()
    for _ in range(4):
        model(**batch(model)).loss.backward()
    still = [name for name, own in model.named_parameters() if own.grad is None or not own.grad.any()]
    assert not [name for name in still if "bias" not in name], still
    frozen = tiny_struct_vae(language_model="gpt2", estimator="reinforce_learned")
    assert not any(own.requires_grad for part in (frozen.prior, frozen.language_model) for own in part.parameters())
    assert frozen.train().prior.training is False and frozen.parser.training
