"""The neural HMM: the universal contract, sums over all its state sequences, tags and samples."""

import itertools
import math
from typing import ClassVar

import pytest
import torch
from scipy.stats import chi2

from hf_lvm import NeuralHMMConfig, NeuralHMMModel
from tests.contract import STOP, WORDS, ModelContract, beginnings_of_longer_texts, complete_texts
from tests.tiny_parts import END, PAD, START, VOCABULARY, batch_of, perturb, random_rows


def build(seed: int = 0, perturbation: float = 0.1, **options) -> NeuralHMMModel:
    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCABULARY, "num_states": 4, "hidden_size": 8, "eos_token_id": END, "pad_token_id": PAD}
    return perturb(NeuralHMMModel(NeuralHMMConfig(**sizes | {"bos_token_id": START} | options)), perturbation).eval()


def build_tiny(seed: int = 0) -> NeuralHMMModel:
    return build(seed, 0.5, vocab_size=3, num_states=2, eos_token_id=STOP, pad_token_id=0, bos_token_id=WORDS[0]).double()


def joint(model: NeuralHMMModel, row: list[int]) -> tuple[list[tuple[int, ...]], torch.Tensor, torch.Tensor]:
    """Every sequence of states a text can have, its log p(z), and its log p(x|z), by loops over single numbers."""
    start, transitions = model.transition_log_probs()
    emissions = model.emission_log_probs()
    words = len(row) - (row[-1] == model.config.eos_token_id)
    paths, priors, likelihoods = [], [], []
    for states in itertools.product(range(model.config.num_states), repeat=words):
        path = (*states, *[model.end_state] * (len(row) - words))
        prior = start[path[0]]
        for before, after in itertools.pairwise(path):
            prior = prior + transitions[before, after]
        paths.append(path)
        priors.append(prior)
        likelihoods.append(sum(emissions[state, word] for state, word in zip(path, row, strict=True)))
    return paths, torch.stack(priors), torch.stack(likelihoods)


class TestNeuralHMM(ModelContract):
    falls_to = 0.95
    left_out: ClassVar[dict[str, str]] = {
        "test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood": "nothing is sampled, the bound is exact",
        "test_eager_equals_sdpa": "there is no attention",
        "test_recomputing_changes_no_number": "there are no layers that are recomputed",
        "test_side_and_amount_of_encoder_padding_do_not_matter": "there is no encoder; labels are padded on the right",
        "test_side_and_amount_of_prompt_padding_do_not_matter": "nothing is generated from a prompt",
        "test_cached_generation_equals_teacher_forced_logits": "samples have no cache; their frequencies are tested below",
    }

    def build_tiny(self):
        return build_tiny()

    def build_small(self):
        return build()

    def silence(self, model):
        return model  # nothing is drawn

    @torch.no_grad()
    def test_probabilities_of_all_texts_sum_to_one(self):
        model = self.build_tiny()
        rows = complete_texts() + beginnings_of_longer_texts()
        log_likelihood = model.encode(batch_of(rows)["labels"]).log_partition
        assert log_likelihood.exp().sum().item() == pytest.approx(1, abs=1e-10)
        tail = log_likelihood[len(complete_texts()) :].exp().sum()
        assert 0.01 < tail < 0.99, "the longer texts must carry some of the mass, and not all of it"

    @torch.no_grad()
    def test_the_estimate_converges_to_the_likelihood(self):
        model, rows = self.build_tiny(), complete_texts()
        estimate = model.estimate_log_likelihood(**batch_of(rows))
        exact = torch.stack([torch.logsumexp(sum(joint(model, row)[1:]), 0) for row in rows])
        torch.testing.assert_close(estimate.log_likelihood, exact, rtol=0, atol=1e-10)
        assert estimate.exact and (estimate.standard_error == 0).all() and not estimate.low_sample_size.any()

    @torch.no_grad()
    @pytest.mark.parametrize("kl_weight", [1.0, 0.3, 2.0])
    def test_the_loss_is_the_negative_bound(self, kl_weight):
        """At weight 1 that of the exact posterior; otherwise the best weighted bound that any q can have."""
        model, rows = self.build_tiny(), complete_texts()
        output = model(**batch_of(rows), kl_weight=kl_weight)
        best = []
        for row, reconstruction, kl in zip(rows, output.reconstruction, output.kl, strict=True):
            _, prior, likelihood = joint(model, row)
            posterior = (prior + likelihood).softmax(0)
            torch.testing.assert_close(reconstruction, -(posterior * likelihood).sum())
            torch.testing.assert_close(kl, (posterior * (posterior.log() - prior)).sum())
            q = (prior + likelihood / kl_weight).log_softmax(0)
            best.append((q.exp() * (-likelihood + kl_weight * (q - prior))).sum())
        torch.testing.assert_close(output.loss, torch.stack(best).mean())

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, rows = self.build_small(), random_rows(5)
        together = model(**batch_of(rows, extra_padding=3))
        for index, row in enumerate(rows):
            alone = model(**batch_of([row]))
            for field in ("kl", "reconstruction"):
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)
            assert torch.equal(together.latents[index, : len(row)], alone.latents[0])
            torch.testing.assert_close(together.logits[index, : len(row)], alone.logits[0], rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_the_latent_changes_the_output(self):
        model, labels = self.build_small(), torch.tensor([[5, 6, END]] * 4)
        states = torch.tensor([[0, 1, 4], [1, 1, 4], [0, 2, 4], [3, 0, 4]])
        output = model(labels=labels, latents=states)
        emissions = model.emission_log_probs()
        torch.testing.assert_close(output.reconstruction, -(emissions[states[:, 0], 5] + emissions[states[:, 1], 6]))
        assert len(output.reconstruction.unique()) == 4 and output.kl is None
        impossible = model(labels=labels[:1], latents=torch.tensor([[0, 1, 2]]))
        assert impossible.reconstruction.item() == math.inf, "no state but the end ends a sentence"


@torch.no_grad()
def test_logits_are_the_conditional_probabilities_of_the_next_token():
    model = build_tiny()
    for row in ([0, 1, 1, STOP], [STOP]):
        logits = model(labels=torch.tensor([row])).logits[0]
        torch.testing.assert_close(logits.exp().sum(-1), torch.ones(len(row), dtype=torch.float64))
        total = sum(logits[position, word] for position, word in enumerate(row))
        torch.testing.assert_close(total, torch.logsumexp(sum(joint(model, row)[1:]), 0))


@torch.no_grad()
@pytest.mark.parametrize("decoding", ["viterbi", "posterior"])
def test_tags_are_the_best_of_all_sequences(decoding):
    model = build_tiny(seed=3)
    rows = [[0, 1, 0, STOP], [1, 1, STOP], [STOP]]
    tags = model.tag(batch_of(rows)["labels"], decoding)
    for row, own in zip(rows, tags.tolist(), strict=True):
        paths, prior, likelihood = joint(model, row)
        words = len(row) - 1
        if decoding == "viterbi":
            expected = list(paths[(prior + likelihood).argmax()][:words])
        else:
            posterior = (prior + likelihood).softmax(0)
            shares = [
                [sum(p for path, p in zip(paths, posterior, strict=True) if path[t] == state) for state in range(2)]
                for t in range(words)
            ]
            expected = [row.index(max(row)) for row in shares]
        assert own == expected + [-100] * (len(own) - words)


@torch.no_grad()
def test_samples_have_the_probabilities_of_the_model():
    model = build_tiny()
    drawn = model.generate(20_000, max_new_tokens=4, generator=torch.Generator().manual_seed(0))
    short = complete_texts()
    counts = torch.zeros(len(short) + 1)
    for row in drawn.tolist():
        text = row[: row.index(STOP) + 1] if STOP in row else row
        counts[short.index(text) if text in short else -1] += 1
    probabilities = model.encode(batch_of(short)["labels"]).log_partition.exp()
    probabilities = torch.cat([probabilities, 1 - probabilities.sum(0, keepdim=True)])
    expected = probabilities * counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert statistic < chi2.isf(1e-4, len(short))


def test_the_gradient_is_exact():
    model, rows = build_tiny(), complete_texts()
    model(**batch_of(rows)).loss.backward()
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    torch.stack([-torch.logsumexp(sum(joint(model, row)[1:]), 0) for row in rows]).mean().backward()
    for mine, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-8, atol=1e-10)


def test_dropout_is_off_outside_training():
    model, batch = build(dropout=0.5), batch_of(random_rows(3))
    assert model(**batch).loss == model(**batch).loss
    model.train()
    assert model(**batch).loss != model(**batch).loss
    assert model.estimate_log_likelihood(**batch).log_likelihood.equal(model.estimate_log_likelihood(**batch).log_likelihood)


def test_under_autocast_it_computes_in_float32():
    model, batch = build(), batch_of(random_rows(3))
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, model(**batch).loss, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (lambda: NeuralHMMConfig(num_states=0), "num_states must be at least 1, but is 0"),
        (lambda: NeuralHMMConfig(dropout=1.0), r"dropout must be in \[0, 1\), but is 1.0"),
        (lambda: NeuralHMMConfig(objective="elbo"), "objective is 'marginal', not 'elbo'"),
        (lambda: NeuralHMMConfig(estimator="rloo"), "'marginal' does not take the estimator 'rloo'"),
        (lambda: NeuralHMMConfig(vocab_size=5, eos_token_id=5), "eos_token_id 5 is outside the vocabulary of 5 words"),
        (lambda: NeuralHMMConfig(eos_token_id=[1, 2]), r"ends with one token, but eos_token_id is \[1, 2\]"),
        (lambda: NeuralHMMModel(NeuralHMMConfig()), "set eos_token_id in its config"),
        (lambda: build()(input_ids=torch.tensor([[3]])), "Pass labels"),
        (lambda: build()(labels=torch.tensor([[3, END]]), kl_weight=0.0), "kl_weight must be positive .* but is 0"),
        (lambda: build()(labels=torch.tensor([[3, END]]), free_bits_mode="kingma"), "has no KL term: set free_bits to 0"),
        (lambda: build()(labels=torch.tensor([3, END])), r"labels has shape \(2,\)"),
        (lambda: build().encode(torch.tensor([[3, END], [VOCABULARY, END]])), r"row\(s\) \[1\] have tokens outside"),
        (lambda: build().estimate_log_likelihood(input_ids=torch.tensor([[3]])), "Pass labels"),
        (lambda: build()(labels=torch.tensor([[3, END]]), latents=torch.tensor([[1]])), "there is one state a token"),
        (
            lambda: build()(labels=torch.tensor([[3, END]] * 2), latents=torch.tensor([[1, 4], [1, 5]])),
            r"latents of row\(s\) \[1\] are no states: give numbers from 0 to 4",
        ),
        (
            lambda: build()(labels=torch.tensor([[VOCABULARY, END]]), latents=torch.tensor([[1, 4]])),
            r"row\(s\) \[0\] have tokens outside",
        ),
        (lambda: build().generate(max_new_tokens=0), "max_new_tokens must be at least 1, but is 0"),
        (lambda: build().tag(torch.tensor([[3, END]]), "greedy"), "Unknown decoding 'greedy'"),
        (lambda: build()(labels=torch.tensor([[-100, -100]])), r"The length\(s\) .* are not from 1 to 2"),
    ],
)
def test_refusals(refused, said):
    with pytest.raises(ValueError, match=said):
        refused()
