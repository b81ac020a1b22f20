"""The loss of a StructVAE against sums over all trees: its gradient by every estimator, labelled rows, parts of batches."""

import pytest
import torch

from hf_lvm.analysis.estimator_check.moments import GradientMoments
from hf_lvm.estimators.baselines import LeaveOneOutBaseline
from hf_lvm.estimators.score_function import ScoreFunction
from hf_lvm.grammars.transition_system import actions_of
from hf_lvm.models.struct_vae.posterior import EncodedSentences
from hf_lvm.objectives import RowCounts
from tests.models.struct_vae.tiny_meanings import WORDS, batch, every_derivation, tiny_struct_vae, vocabulary
from tests.tiny_parts import END, row_generators

COPIES = {"copy_slots": 3, "max_actions": 4, "max_spelled_actions": 8, "perturbation": 0.3}


@pytest.fixture(scope="module")
def model():
    return tiny_struct_vae(**COPIES, language_model="gpt2", estimator="reinforce_learned").double()


def first_rows(model, count: int) -> dict:
    """The first sentence of the batch, `count` times."""
    given = {name: value[:1] for name, value in batch(model).items()}
    return {name: value * count if name == "words" else value.repeat(count, 1) for name, value in given.items()}


class Given:
    """A model whose q(z|x) is made from given states of words: what each row gives for their gradient is one estimate."""

    def __init__(self, model, monkeypatch):
        self.model = model
        with torch.no_grad():
            encoded = model.encoded(*(first_rows(model, 1)[name] for name in ("input_ids", "attention_mask")), words=WORDS[:1])
        self.states = encoded.states
        monkeypatch.setattr(model, "_encoded", self.encoded)

    def encoded(self, inputs, sources) -> EncodedSentences:
        self.leaf = self.states.repeat(len(inputs.input_ids), 1, 1).requires_grad_()
        return EncodedSentences(inputs, sources, self.leaf, self.leaf.detach().mean(1))

    def exact(self, kl_weight: float = 1.0) -> torch.Tensor:
        """The gradient of the negative bound, (P,), by the sum over all trees."""
        model, values = self.model, every_derivation(self.model, 0)
        given = first_rows(model, 1)
        q = model.encode(given["input_ids"], given["attention_mask"], words=given["words"])
        log_q = q.log_prob(values.unsqueeze(1))[:, 0]
        with torch.no_grad():
            spelled = model.grammar.spelled_ids(values.unsqueeze(1), model.sources_of(given["words"]))
            log_p, log_prior = model.log_likelihood(given["labels"], spelled)[:, 0], model.log_prior(spelled)[:, 0]
        bound = (log_q.exp() * (log_p + kl_weight * (log_prior - log_q))).sum()
        return torch.autograd.grad(-bound, self.leaf)[0].flatten()

    def estimates(self, count: int, seed: int = 0, **options) -> torch.Tensor:
        """The gradient that each of `count` rows gives, (count, P)."""
        torch.manual_seed(seed)
        output = self.model(**first_rows(self.model, count), **options)
        return torch.autograd.grad(output.row_loss.sum(), self.leaf)[0].flatten(1)


def is_off(estimates: torch.Tensor, exact: torch.Tensor) -> tuple[bool, float]:
    moments = GradientMoments(exact)
    moments.add(estimates)
    found = moments.summary()
    return found["p_value"] < 1e-4, found["standard_error"]


@pytest.mark.parametrize(
    ("estimator", "kl_weight", "most"),
    [
        # Without a baseline the score of a tree is what the sentence costs.
        ("reinforce", 1.0, 0.8),
        ("reinforce_moving_average", 1.0, 0.2),
        ("reinforce_learned", 1.0, 0.3),
        ("rloo", 0.4, 0.2),
    ],
)
def test_the_gradient_of_q_is_that_of_the_sum_over_all_trees(estimator, kl_weight, most, monkeypatch):
    learned = {"language_model": "gpt2"} if estimator == "reinforce_learned" else {}
    model = tiny_struct_vae(**COPIES, estimator=estimator, prior_weight=kl_weight, **learned).double()
    given = Given(model, monkeypatch)
    exact = given.exact(kl_weight)
    assert exact.norm() > 1e-3
    if estimator == "reinforce_moving_average":
        # A batch to average.
        model.train()(**first_rows(model, 50))
        model.eval()
    off, error = is_off(given.estimates(800), exact)
    assert not off and error < most


def test_the_gradient_of_the_k_sample_bound(monkeypatch):
    model = tiny_struct_vae(**COPIES, objective="iwae", estimator="vimco", num_samples=2).double()
    given = Given(model, monkeypatch)
    # E of log of the mean of two weights, over all pairs of trees.
    values, rows = every_derivation(model, 0), first_rows(model, 1)
    log_q = model.encode(rows["input_ids"], rows["attention_mask"], words=rows["words"]).log_prob(values.unsqueeze(1))[:, 0]
    with torch.no_grad():
        spelled = model.grammar.spelled_ids(values.unsqueeze(1), model.sources_of(rows["words"]))
        joint = (model.log_likelihood(rows["labels"], spelled) + model.log_prior(spelled))[:, 0]
    weights = (joint - log_q).exp()
    bounds = ((weights.unsqueeze(0) + weights.unsqueeze(1)) / 2).log()
    bound = (log_q.exp().unsqueeze(0) * log_q.exp().unsqueeze(1) * bounds).sum()
    exact = torch.autograd.grad(-bound, given.leaf)[0].flatten()
    off, error = is_off(given.estimates(800), exact)
    assert not off and error < 0.3


class OwnSample(LeaveOneOutBaseline):
    """A baseline that holds the sample it is subtracted from."""

    def forward(self, scores, mode_score, features):
        return scores.mean(0, keepdim=True).expand_as(scores), None


def test_a_mutant_is_caught(monkeypatch):
    model = tiny_struct_vae(**COPIES, estimator="rloo").double()
    given = Given(model, monkeypatch)
    exact = given.exact()
    model.estimator = ScoreFunction(OwnSample())
    assert is_off(given.estimates(1500), exact)[0]


def test_the_best_of_a_beam_are_biased_as_they_say(monkeypatch):
    model = tiny_struct_vae(**COPIES, estimator="reinforce", unlabelled_candidates="beam", num_samples=5).double()
    given = Given(model, monkeypatch)
    exact, found = given.exact(), given.estimates(2)
    torch.testing.assert_close(found[0], found[1])
    # Many times as long as the gradient, and nothing that more sentences would mend.
    bias = ((found[0] - exact).norm() / exact.norm()).item()
    assert 15 < bias < 25
    rows = first_rows(model, 1)
    q = model.encode(rows["input_ids"], rows["attention_mask"], words=rows["words"])
    best = q.beam(5).sequences
    spelled = model.grammar.spelled_ids(best, model.sources_of(rows["words"]))
    with torch.no_grad():
        scores = model.log_likelihood(rows["labels"], spelled) + model.log_prior(spelled) - q.log_prob(best)
    wanted = torch.autograd.grad(-(scores * q.log_prob(best)).mean(), given.leaf)[0]
    torch.testing.assert_close(found[0], wanted.flatten())
    # With every tree there is, each counts alike, and none that is not there.
    model.config.num_samples = 200
    output = model(**rows)
    count = len(every_derivation(model, 0))
    assert output.latents.shape[0] == 200 > count
    values = every_derivation(model, 0).unsqueeze(1)
    spelled = model.grammar.spelled_ids(values, model.sources_of(rows["words"]))
    torch.testing.assert_close(output.reconstruction, -model.log_likelihood(rows["labels"], spelled).mean(0).detach())


def test_the_signal_is_clipped_from_below(monkeypatch):
    gradients = {}
    for clip in (None, -1e9, -1e-9):
        model = tiny_struct_vae(**COPIES, estimator="reinforce", signal_clip=clip).double()
        gradients[clip] = Given(model, monkeypatch).estimates(4)
    torch.testing.assert_close(gradients[None], gradients[-1e9])
    # All of log p(x, z) - log q is below 0 here.
    assert gradients[-1e-9].abs().max() < 1e-6 < gradients[None].abs().max()


def test_the_decoder_has_the_gradient_of_what_it_scored(model):
    given = batch(model)
    output = model(**given, generator=row_generators(3))
    weight = model.decoder.lm_head.weight
    (found,) = torch.autograd.grad(output.loss, weight)
    again = model(labels=given["labels"], words=given["words"], latents=output.latents)
    (wanted,) = torch.autograd.grad(again.loss, weight)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(again.reconstruction, output.reconstruction)
    assert again.kl is None


def test_the_baseline_is_a_line_through_the_language_model(model):
    given = batch(model)
    model.train()
    output = model(**given, generator=row_generators(3))
    baseline = model.estimator.baseline
    slope, intercept = torch.autograd.grad(output.loss, [baseline.slope, baseline.intercept])
    model.eval()
    with torch.no_grad():
        tokens = torch.tensor([[1, 5, 9, 4]])
        log_probs = model.language_model(tokens).logits[0].log_softmax(-1)
        wanted = log_probs[torch.arange(4), torch.tensor([5, 9, 4, END])].sum()
        features = model.baseline_features(given["labels"], torch.zeros(3, 1))
        torch.testing.assert_close(features[0, 0], wanted)
        spelled = model.grammar.spelled_ids(output.latents, model.sources_of(given["words"]))
        q = model.encode(given["input_ids"], given["attention_mask"], words=given["words"])
        scores = model.log_likelihood(given["labels"], spelled) + model.log_prior(spelled) - q.log_prob(output.latents)
        line = baseline.slope * features[:, 0] + baseline.intercept
        # Before the first batch the deviation is 1.
        torch.testing.assert_close(slope, (2 * (line - scores) * features[:, 0]).mean().to(slope))
        torch.testing.assert_close(intercept, (2 * (line - scores)).mean().to(intercept))


# ---- labelled rows ---------------------------------------------------------------------------------------------------


def labelled(model, known: list[bool]) -> dict:
    """The batch, with a meaning of some rows: a tree that q writes by copying a word."""
    given, actions = batch(model), vocabulary(3)
    first = actions.first_copy
    trees = [
        model.grammar.tree([actions.rules["Named"], first], model.grammar.source(WORDS[0])),
        model.grammar.tree([actions.rules["All"], actions.pieces["river"]], None),
        model.grammar.tree([actions.rules["Named"], actions.pieces["a"], 4], None),
    ]
    ids = model.grammar.ids_of_trees(trees)
    return given | {"meaning_ids": ids.masked_fill(~torch.tensor(known).unsqueeze(1), -100)}, trees


def test_rows_with_a_known_meaning():
    model = tiny_struct_vae(**COPIES, train_prior=True, joint_weight=0.5, classification_weight=2.0).double()
    given, trees = labelled(model, [True, True, True])
    output = model(**given)
    q = model.encode(given["input_ids"], given["attention_mask"], words=given["words"])
    for row, tree in enumerate(trees):
        actions = actions_of(model.grammar.vocabulary, tree, model.grammar.source(WORDS[row]))
        value = torch.tensor([[*actions, END]]).expand(3, -1)
        log_q = q.log_prob(value)[row]
        spelled = torch.tensor([[[*actions_of(model.grammar.vocabulary, tree), END]]])
        log_p = model.log_likelihood(given["labels"][row : row + 1], spelled)[0, 0]
        log_prior = model.log_prior(spelled)[0, 0]
        torch.testing.assert_close(output.row_loss[row], -0.5 * (log_p + log_prior) - 2 * log_q)
        torch.testing.assert_close(output.reconstruction[row], -log_p.detach())
        torch.testing.assert_close(output.kl[row], -log_prior.detach())
    # What the first sentence has is copied.
    assert actions_of(model.grammar.vocabulary, trees[0], model.grammar.source(WORDS[0]))[1] == vocabulary(3).first_copy
    frozen = tiny_struct_vae(**COPIES, joint_weight=0.5, classification_weight=2.0).double()
    torch.testing.assert_close(frozen(**given).row_loss, output.row_loss + 0.5 * -output.kl)
    parser_only = tiny_struct_vae(**COPIES, joint_weight=0.0).double()(**given)
    assert not parser_only.kl.any()
    torch.testing.assert_close(parser_only.row_loss, parser_only.reconstruction)


def test_parts_of_a_batch_make_up_its_loss(model):
    given, _ = labelled(model, [True, False, True])
    model.config.unlabelled_weight = 0.3
    whole = model(**given, generator=row_generators(3))
    alone = model(**batch(model), generator=row_generators(3))
    torch.testing.assert_close(whole.row_loss[1], alone.row_loss[1])
    torch.testing.assert_close(whole.loss, whole.row_loss[[0, 2]].mean() + 0.3 * whole.row_loss[1])
    assert whole.posterior is None and whole.latents is None
    total = 0.0
    for rows in ([0, 1], [2]):
        some = {name: [value[row] for row in rows] if name == "words" else value[rows] for name, value in given.items()}
        generators = [row_generators(3)[row] for row in rows]
        total = total + model(**some, generator=generators, row_counts=RowCounts(labelled=2, unlabelled=1)).loss
    torch.testing.assert_close(total, whole.loss)
    model.config.unlabelled_weight = 0.0
    output = model(**given)
    assert output.row_loss[1] == 0 and output.loss.isfinite()
    model.config.unlabelled_weight = 1.0


def test_a_uniform_prior_has_no_bound():
    model = tiny_struct_vae(**COPIES, prior=None, prior_type="uniform").double()
    given = batch(model)
    output = model(**given, generator=row_generators(3))
    q = model.encode(given["input_ids"], given["attention_mask"], words=given["words"])
    torch.testing.assert_close(output.negative_entropy, q.log_prob(output.latents).mean(0).detach())
    assert torch.equal(output.kl, output.negative_entropy)
    for method in (lambda: model.estimate_log_likelihood(**given), model.meaning_prior):
        with pytest.raises(ValueError, match="'uniform' is no distribution"):
            method()


def test_trees_are_drawn_without_dropout_and_scored_with_it():
    model = tiny_struct_vae(**COPIES).double()
    for part in (model.parser, model.encoder):
        for module in part.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.3
    given = batch(model)
    quiet = model(**given, generator=row_generators(3)).latents
    model.train()
    losses = set()
    for _ in range(3):
        output = model(**given, generator=row_generators(3))
        assert torch.equal(output.latents, quiet) and output.latents.shape == quiet.shape
        losses.add(output.kl.sum().item())
    assert len(losses) == 3 and model.parser.training
    greedy = model(**given, sample_posterior=False)
    assert greedy.latents.shape == (1, 3, 5)


def test_the_smallest_risk():
    model = tiny_struct_vae(**COPIES, objective="minimum_risk", estimator=None).double()
    output = model(**batch(model), generator=row_generators(3))
    output.loss.backward()
    assert output.loss.isfinite() and model.copying.query.weight.grad.abs().max() > 0


@pytest.mark.parametrize("known", [[True, False, True], [False] * 3, [True] * 3])
def test_rows_without_weight_draw_nothing_and_the_baseline_hears_of_it(known):
    """Else a process with such rows and one without wait for each other: a moving average is over all processes."""
    model = tiny_struct_vae(**COPIES, estimator="reinforce_moving_average", unlabelled_weight=0.0).double().train()
    heard: list[bool] = []
    model.estimator.sit_out = lambda: heard.append(True)
    given, _ = labelled(model, known)
    model(**given).loss.backward()
    assert heard == [True]
