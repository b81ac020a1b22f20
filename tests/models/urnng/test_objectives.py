"""The loss of a URNNG against sums over all trees: its value, its gradient by every estimator, and what has no gradient."""

import itertools

import pytest
import torch
from scipy.stats import chi2
from torch import nn

from hf_lvm import URNNGConfig, URNNGModel
from hf_lvm.backbones.tree_decoder import TreeDecoderOutput
from hf_lvm.distributions import BinaryTreeCRF
from hf_lvm.estimators.baselines import LeaveOneOutBaseline
from hf_lvm.estimators.score_function import ScoreFunction
from hf_lvm.models.urnng.likelihood import all_trees
from hf_lvm.objectives.combinations import LEAVE_ONE_OUT, STRUCTURED
from tests.models.urnng.tiny_grammars import tiny_urnng
from tests.tiny_parts import END, batch_of, perturb, random_rows, row_generators

SENTENCE = [5, 9, 7, 6, END]
TREES = all_trees(4)
# The spans whose scores matter: a word and the whole sentence are in every tree.
FIRST, LAST = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 2, 3, 2, 3])


class TableDecoder(nn.Module):
    """What a decoder says of the five trees of one sentence, looked up: a row costs next to nothing."""

    def __init__(self, decoder: nn.Module, posterior: BinaryTreeCRF):
        super().__init__()
        self.config = decoder.config
        with torch.no_grad():
            scored = decoder(torch.tensor([SENTENCE[:-1]]), TREES.unsqueeze(1))
        # A constant more or less changes no gradient, but without a baseline its variance.
        q = posterior.log_prob(TREES.unsqueeze(1)).exp()
        words, actions = ((each - (q * each).sum())[:, 0] for each in (scored.word_log_prob, scored.action_log_prob))
        self.words, self.actions = words + 0.3, actions
        self.codes = self.code(TREES)

    @staticmethod
    def code(trees: torch.Tensor) -> torch.Tensor:
        return (trees[..., FIRST, LAST] * 2 ** torch.arange(len(FIRST))).sum(-1)

    def forward(self, pieces, spans, word_ids=None):
        tree = (self.code(spans).unsqueeze(-1) == self.codes).int().argmax(-1)
        words, actions = self.words[tree], self.actions[tree]
        return TreeDecoderOutput(words + actions, words, actions)


def toy(objective: str, estimator: str | None, num_samples: int):
    """A model whose q is a function of scores alone, which a test hands over row by row; and the scores it has by itself."""
    settings = {"objective": objective, "estimator": estimator, "num_samples": num_samples}
    model = tiny_urnng(perturbation=0.5, **settings).double()
    scores = model.encode(torch.tensor([SENTENCE])).scores[0].detach()
    scores = scores / scores[FIRST, LAST].std()
    model.decoder = TableDecoder(model.decoder, BinaryTreeCRF(scores.unsqueeze(0)))
    return model, scores


def estimates(model, scores: torch.Tensor, rows: int, kl_weight: float = 1.0, seed: int = 0) -> torch.Tensor:
    """The gradient of the loss with respect to the scores of q, as each row estimates it: (rows, 5)."""
    own = scores.expand(rows, -1, -1).clone().requires_grad_()
    features = torch.ones(rows, model.config.encoder.hidden_size, dtype=torch.float64)
    model._posterior = lambda ids, mask, words, sentences: (BinaryTreeCRF(own, sentences.lengths), features)
    batch = {name: value.expand(rows, -1) for name, value in batch_of([SENTENCE]).items()}
    output = model(**batch, kl_weight=kl_weight, generator=torch.Generator().manual_seed(seed))
    return torch.autograd.grad(output.row_loss.sum(), own)[0][:, FIRST, LAST]


def exact_gradient(model, scores: torch.Tensor, kl_weight: float = 1.0) -> torch.Tensor:
    """Of the loss, summed over all sets of K trees, written down anew: (5,)."""
    own, decoder, config = scores.clone().requires_grad_(), model.decoder, model.config
    log_q = BinaryTreeCRF(own.unsqueeze(0)).log_prob(TREES.unsqueeze(1)).squeeze(1)
    log_joint = decoder.words + kl_weight * decoder.actions
    if config.objective == "elbo":
        loss = -(log_q.exp() * (log_joint - kl_weight * log_q)).sum()
    else:
        loss = torch.zeros((), dtype=torch.float64)
        for some in map(list, itertools.product(range(len(TREES)), repeat=config.num_samples)):
            probability = log_q[some].sum().exp()
            weights = log_joint[some] - kl_weight * log_q[some]
            if config.objective == "iwae":
                loss -= probability * (weights.logsumexp(0) - torch.tensor(float(len(some))).log())
            else:
                # Differentiated as it stands: neither what is drawn nor what it costs has a gradient.
                different = sorted(set(some))
                cost = -(log_joint - kl_weight * log_q)[different].detach()
                loss += probability.detach() * (log_q[different].softmax(0) * cost).sum()
    return torch.autograd.grad(loss, own)[0][FIRST, LAST]


def compare(model, scores: torch.Tensor, rows: int = 20_000, kl_weight: float = 1.0) -> tuple[float, float, float]:
    """Hotelling's statistic of the mean estimate, what it passes once in 10,000 times, and the relative standard error."""
    exact = exact_gradient(model, scores, kl_weight)
    found = estimates(model, scores, rows, kl_weight)
    deviation, covariance = found.mean(0) - exact, found.T.cov() / rows
    values, vectors = torch.linalg.eigh(covariance)
    scatters = values > 1e-9 * values.max()
    statistic = ((vectors.T @ deviation)[scatters].square() / values[scatters]).sum().item()
    return statistic, chi2.isf(1e-4, int(scatters.sum())), (covariance.trace().sqrt() / exact.norm()).item()


ESTIMATORS = [(objective, estimator) for objective, estimators in STRUCTURED.items() for estimator in estimators]


@pytest.mark.parametrize(
    ("objective", "estimator", "kl_weight"),
    [*((*each, 1.0) for each in ESTIMATORS), ("elbo", "rloo", 0.3), ("iwae", "vimco", 0.3)],
)
def test_the_gradient_of_q_is_that_of_the_sum_over_all_trees(objective, estimator, kl_weight):
    model, scores = toy(objective, estimator, 3)
    if estimator in ("reinforce_moving_average", "reinforce_learned"):
        estimates(model.train(), scores, 50, kl_weight, seed=1)
    statistic, limit, error = compare(model.eval(), scores, 50_000 if estimator in LEAVE_ONE_OUT else 20_000, kl_weight)
    assert error < 0.02
    assert statistic < limit


class OwnSampleInItsBaseline(LeaveOneOutBaseline):
    def forward(self, scores, mode_score, features):
        return scores.mean(0), None


def test_mutants_are_caught(monkeypatch):
    model, scores = toy("elbo", "rloo", 3)
    model.estimator = ScoreFunction(OwnSampleInItsBaseline())
    statistic, limit, _ = compare(model, scores)
    assert statistic > 10 * limit
    model, scores = toy("elbo", "rloo", 3)
    entropy = BinaryTreeCRF.entropy
    monkeypatch.setattr(BinaryTreeCRF, "entropy", lambda trees: entropy(trees).detach())
    statistic, limit, _ = compare(model, scores)
    assert statistic > 10 * limit


def test_over_all_trees_the_risk_has_the_gradient_of_the_bound():
    model, scores = toy("minimum_risk", None, 400)
    found = estimates(model, scores, 1)[0]
    model.config.objective = "elbo"
    torch.testing.assert_close(found, exact_gradient(model, scores))


def test_the_decoder_has_the_gradient_of_what_it_scored():
    rows = random_rows(3, longest=5)
    for objective, estimator in (("elbo", "rloo"), ("iwae", "vimco")):
        model = tiny_urnng(objective=objective, estimator=estimator, num_samples=3).double()
        output = model(**batch_of(rows), generator=row_generators(3))
        weights = torch.full_like(output.log_joint, 1 / 3)
        if estimator == "vimco":
            weights = (output.log_joint - output.posterior.log_prob(output.latents)).softmax(0).detach()
        given = model(labels=batch_of(rows)["labels"], latents=output.latents)
        expected = -(weights * given.log_joint).sum(0).mean()
        parameters = [parameter for _, parameter in model.generative_parameters()]
        found, wanted = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (output.loss, expected))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other)


def test_terms_are_those_of_their_definition_with_an_exact_entropy():
    model, batch = tiny_urnng(perturbation=0.5).double(), batch_of([SENTENCE, [8, 4, 3, 3, END]])
    output, weighted = (model(**batch, kl_weight=weight, generator=row_generators(2)) for weight in (1.0, 0.3))
    log_q = output.posterior.log_prob(TREES.unsqueeze(1))
    entropy = -(log_q.exp() * log_q).sum(0)
    torch.testing.assert_close(output.entropy, entropy)
    scored = model.decoder(batch["labels"][:, :-1], output.latents)
    words, actions = scored.word_log_prob.mean(0), scored.action_log_prob.mean(0)
    torch.testing.assert_close(output.reconstruction, -words)
    torch.testing.assert_close(output.kl, -actions - entropy)
    torch.testing.assert_close(output.row_loss, -words - actions - entropy)
    torch.testing.assert_close(weighted.row_loss, -words - 0.3 * (actions + entropy))
    for field in ("reconstruction", "kl", "entropy", "log_joint"):
        torch.testing.assert_close(weighted[field], output[field])


@torch.no_grad()
def test_the_most_probable_tree_on_request():
    model = tiny_urnng()
    output = model(**batch_of(random_rows(4)), sample_posterior=False)
    assert torch.equal(output.latents, output.posterior.mode.unsqueeze(0))


# ---- shared embeddings, and a q that stays as it is ------------------------------------------------------------------


def tied(**options) -> URNNGModel:
    config = tiny_urnng(**options).config
    config.encoder.embedding_size = config.decoder.embedding_size = 16
    return perturb(URNNGModel(URNNGConfig(**{**config.to_dict(), "tie_encoder_decoder_embeddings": True})), 0.1).eval()


def test_a_shared_table_counts_as_the_decoders(tmp_path):
    model = tied()
    table = model.decoder.get_input_embeddings().weight
    assert model.encoder.get_input_embeddings().weight is table
    inferring = [parameter for _, parameter in model.inference_parameters()]
    assert not any(parameter is table for parameter in inferring)
    assert any(parameter is table for _, parameter in model.generative_parameters())
    everything = {id(parameter) for parameter in model.parameters()}
    generating = [parameter for _, parameter in model.generative_parameters()]
    assert sorted(map(id, inferring + generating)) == sorted(everything), "each parameter once"
    model.save_pretrained(tmp_path)
    loaded = URNNGModel.from_pretrained(tmp_path)
    assert loaded.encoder.get_input_embeddings().weight is loaded.decoder.get_input_embeddings().weight
    torch.testing.assert_close(loaded.decoder.get_input_embeddings().weight, table)


def test_a_posterior_that_is_frozen_teaches_shared_embeddings_nothing():
    model, batch = tied(), batch_of(random_rows(3))
    table = model.decoder.get_input_embeddings().weight
    gradients = {}
    for is_frozen in (False, True):
        for _, parameter in model.inference_parameters():
            parameter.requires_grad_(not is_frozen)
        output = model(**batch, generator=row_generators(3))
        (gradients[is_frozen],) = torch.autograd.grad(output.loss, table)
    assert not output.posterior.scores.requires_grad
    given = model(labels=batch["labels"], latents=output.latents)
    (of_decoder,) = torch.autograd.grad(given.loss, table)
    torch.testing.assert_close(gradients[True], of_decoder)
    assert not torch.allclose(gradients[False], of_decoder)
