"""The neural topic model: the universal contract for both posteriors, bounds by quadrature, topics."""

import itertools
import math
from typing import ClassVar

import pytest
import torch

from hf_lvm import NeuralTopicConfig, NeuralTopicModel
from hf_lvm.distributions import DiagonalGaussian, Dirichlet
from hf_lvm.models.neural_topic.shares_posterior import laplace_stddev
from tests.contract import LONGEST, STOP, WORDS, ModelContract
from tests.tiny_parts import END, PAD, START, VOCABULARY, batch_of, perturb, random_rows, row_generators, tiny_config

ENCODER = {"model_type": "hf_lvm_bag_of_words_encoder", "hidden_size": 8, "dropout": 0.0, "initializer_range": 0.5}


def build(seed: int = 0, perturbation: float = 0.1, **options) -> NeuralTopicModel:
    torch.manual_seed(seed)
    vocabulary = options.get("vocab_size", VOCABULARY)
    settings = {
        "vocab_size": vocabulary,
        "ignored_token_ids": [PAD, START, END],
        "encoder": {**ENCODER, "vocab_size": vocabulary},
        "num_topics": 4,
        "embedding_size": 3,
        "background_share": 0.3,
        "batch_norm": False,
        "pad_token_id": PAD,
        "bos_token_id": START,
        "eos_token_id": END,
    }
    return perturb(NeuralTopicModel(NeuralTopicConfig(**settings | options)), perturbation).eval()


def build_tiny(**options) -> NeuralTopicModel:
    sizes = {"vocab_size": 3, "num_topics": 2, "ignored_token_ids": [STOP], "embedding_size": None, "background_share": 0.1}
    tokens = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": STOP}
    model = build(0, 0.5, **sizes | tokens | options).double()
    # A posterior that is wrong, but not so far from the exact one that a few samples carry all the weight.
    with torch.no_grad():
        for parameter in model.posterior_head.parameters():
            parameter.mul_(0.5)
        if model.config.posterior_type == "logistic_normal":
            # No narrower than the exact one: weights would have no variance.
            model.posterior_head.log_variance.bias.fill_(0.2)
    return model


def documents(length: int) -> list[list[int]]:
    """Every document of so many words."""
    return [[*words, STOP] for words in itertools.product(WORDS, repeat=length)]


class TopicContract(ModelContract):
    """What both posteriors share."""

    falls_to = 0.97
    posterior_type: ClassVar[str]
    left_out: ClassVar[dict[str, str]] = {
        "test_eager_equals_sdpa": "a bag-of-words encoder has no attention; a BERT is tried below",
        "test_recomputing_changes_no_number": "likewise",
        "test_side_and_amount_of_prompt_padding_do_not_matter": "nothing is generated from a prompt",
        "test_cached_generation_equals_teacher_forced_logits": "nothing is generated token by token",
    }

    def build_small(self):
        return build(posterior_type=self.posterior_type, prior_concentration=0.7)

    @torch.no_grad()
    def test_probabilities_of_all_texts_sum_to_one(self):
        """Those of all documents of a length, for every length."""
        model = self.build_tiny()
        for length in range(1, LONGEST + 1):
            rows = documents(length)
            for latent in self.typical_latents(model, 3):
                total = self.log_conditional(model, rows, latent.expand(len(rows), -1)).exp().sum()
                assert total.item() == pytest.approx(1, abs=1e-10)
            assert self.exact(model, rows).exp().sum().item() == pytest.approx(1, abs=1e-9)

    @torch.no_grad()
    def test_elbo_is_at_most_the_k_sample_bound_and_that_at_most_the_likelihood(self):
        model, rows, repeats = self.build_tiny(), documents(2) + documents(3), 400
        batch = {name: value.repeat(repeats, 1) for name, value in batch_of(rows).items()}
        output = model(**batch)
        bounds = [-(output.reconstruction + output.kl).view(repeats, -1).mean(1)]
        for count in (2, 20):
            bounds.append(model.estimate_log_likelihood(**batch, num_samples=count).log_likelihood.view(repeats, -1).mean(1))
        bounds.append(self.exact(model, rows).mean().expand(repeats))
        for lower, higher in itertools.pairwise(bounds):
            gain = higher - lower
            assert gain.mean() > 4 * gain.std() / math.sqrt(repeats), (gain.mean(), gain.std())

    @torch.no_grad()
    def test_the_estimate_converges_to_the_likelihood(self):
        model, rows = self.build_tiny(), documents(1) + documents(3)
        estimate = model.estimate_log_likelihood(**batch_of(rows), num_samples=4000)
        exact = self.exact(model, rows)
        assert estimate.standard_error.max() < 0.1
        deviation = (estimate.log_likelihood - exact) / estimate.standard_error
        assert (deviation.abs() < 4).all(), deviation

    @torch.no_grad()
    def test_batch_equals_single(self):
        model, rows = self.build_small(), random_rows(5)
        together = model(**batch_of(rows), generator=row_generators(5))
        for index, (row, generator) in enumerate(zip(rows, row_generators(5), strict=True)):
            alone = model(**batch_of([row]), generator=[generator])
            for field in ("kl", "reconstruction", "latents", "logits"):
                torch.testing.assert_close(together[field][index], alone[field][0], rtol=1e-5, atol=1e-5)

    def test_the_latent_changes_the_output(self):
        model, labels = self.build_small(), batch_of(random_rows(2))["labels"]
        latents = self.typical_latents(model, 2).requires_grad_()
        output = model(labels=labels, latents=latents)
        assert output.kl is None
        other = model(labels=labels, latents=latents.detach().flip(0)).reconstruction
        assert ((output.reconstruction - other).abs() > 1e-4).all()
        (gradient,) = torch.autograd.grad(output.reconstruction.sum(), latents)
        assert (gradient.abs() > 0).all()


class TestLogisticNormal(TopicContract):
    posterior_type = "logistic_normal"
    latent_size = 2

    def build_tiny(self):
        return build_tiny(posterior_type="logistic_normal", prior_concentration=None)

    def typical_latents(self, model, count):
        size, dtype = model.config.num_topics, next(model.parameters()).dtype
        return torch.randn(count, size, generator=torch.Generator().manual_seed(7), dtype=dtype)


class TestDirichlet(TopicContract):
    posterior_type = "dirichlet"
    left_out: ClassVar[dict[str, str]] = TopicContract.left_out | dict.fromkeys(
        ("test_a_stock_trainer_trains_it", "test_a_stock_trainer_evaluates_it"),
        "a Dirichlet cannot be so narrow that its noise does not show; the other posterior stands for both",
    )

    def build_tiny(self):
        return build_tiny(posterior_type="dirichlet", prior_concentration=1.5)

    def typical_latents(self, model, count):
        generator = torch.Generator().manual_seed(7)
        dtype = next(model.parameters()).dtype
        return Dirichlet(torch.ones(count, model.config.num_topics, dtype=dtype)).sample(generator=generator)

    def latent_grid(self, model, every=1):
        # x = sin^2 t, so that nothing bends sharply at the ends.
        place = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 * torch.pi / 2
        grid = torch.stack([place.sin().square(), place.cos().square()], -1)
        mass = model.prior_of(len(grid)).log_prob(grid).exp() * place.sin() * place.cos()
        return grid, (mass / mass.sum()).detach()


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"background_share": 0.0}, {"word_model": "product", "background_share": 0.0}])
def test_words_are_what_topics_say_in_their_shares(options):
    model = build(**options)
    frequencies = (0.1 + torch.rand(VOCABULARY)) * model.is_word
    model.background.copy_(frequencies / frequencies.sum())
    shares = torch.tensor([0.2, 0.5, 0.3, 0.0])
    scores = model.topic_vectors @ model.word_vectors.T
    words = model.is_word
    if options.get("word_model") == "product":
        expected = (shares @ scores + model.word_bias)[words].softmax(-1)
    else:
        share = model.config.background_share
        expected = (1 - share) * shares @ scores[:, words].softmax(-1) + share * model.background[words]
    log_probs = model.word_log_probs(shares)
    torch.testing.assert_close(log_probs[words].exp(), expected)
    assert (log_probs[~words] == -math.inf).all()
    only_one = model.topic_log_probs()[2]
    if not model.config.background_share:
        torch.testing.assert_close(model.word_log_probs(torch.tensor([0.0, 0.0, 1.0, 0.0])), only_one)
    assert model.topics(3)[2] == only_one.topk(3).indices.tolist()


@torch.no_grad()
def test_what_is_no_word_does_not_count():
    model = build()
    latents = model.prior_of(1).sample()
    plain = model(labels=torch.tensor([[5, 9, 9]]), latents=latents).reconstruction
    for labels in ([9, 5, 9, END], [PAD, 5, START, 9, 9, -100, -100]):
        torch.testing.assert_close(model(labels=torch.tensor([labels]), latents=latents).reconstruction, plain)


def test_the_prior_of_a_logistic_normal_is_the_laplace_approximation():
    """Of a symmetric Dirichlet in the softmax basis: the inverse of the Hessian of its log density."""
    concentration, topics = 0.8, 5

    def log_density(latents: torch.Tensor) -> torch.Tensor:
        # In the softmax basis the density has one more share as a factor (MacKay 1998); the last term fixes what is free.
        return concentration * latents.log_softmax(-1).sum() - latents.mean() ** 2 / 2

    hessian = torch.autograd.functional.hessian(log_density, torch.zeros(topics, dtype=torch.float64))
    within = torch.eye(topics, dtype=torch.float64) - 1 / topics
    covariance = within @ torch.linalg.inv(-hessian) @ within
    # Equation 6 keeps the diagonal of it.
    assert laplace_stddev(concentration, topics) ** 2 == pytest.approx(
        (1 - 2 / topics) / concentration + 1 / (topics * concentration)
    )
    assert covariance[0, 0].item() == pytest.approx(laplace_stddev(concentration, topics) ** 2, rel=1e-6)
    prior = build(posterior_type="logistic_normal", prior_concentration=concentration, num_topics=topics).prior_of(2)
    torch.testing.assert_close(prior.stddev, torch.full((2, topics), laplace_stddev(concentration, topics)))


@pytest.mark.parametrize("posterior_type", ["dirichlet", "logistic_normal"])
def test_batch_norm_gives_every_topic_documents_of_its_own(posterior_type):
    model = build(posterior_type=posterior_type, batch_norm=True, batch_norm_scale=3.0, prior_concentration=0.5).train()
    batch = batch_of(random_rows(64))
    posterior = model(**batch).posterior
    if posterior_type == "logistic_normal":
        spread = posterior.mean.std(0, unbiased=False) / model.prior_stddev
    else:
        # The inverse of softplus, which gives back the normalised logits.
        spread = torch.log(torch.expm1(posterior.concentration - 0.01)).std(0, unbiased=False)
    torch.testing.assert_close(spread, torch.full((4,), 3.0), rtol=1e-2, atol=0)
    with torch.no_grad():
        for _ in range(30):
            model(**batch)
        alone = model.eval().encode(batch["input_ids"][:1], batch["attention_mask"][:1])
        together = model.encode(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(alone.mean[0], together.mean[0])


@pytest.mark.parametrize("estimator", ["reparameterization", "dreg"])
def test_the_k_sample_bound(estimator):
    options = {"objective": "iwae", "estimator": estimator, "num_samples": 5}
    model, batch = build(posterior_type="logistic_normal", **options), batch_of(random_rows(4))
    output = model(**batch, generator=row_generators(4))
    estimate = model.estimate_log_likelihood(**batch, num_samples=5, generator=row_generators(4))
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    # Other noise, as it is drawn in float64, but bounds of the same kind.
    assert output.loss.item() == pytest.approx(-estimate.log_likelihood.mean().item(), abs=1.5)
    assert output.loss < (output.reconstruction + output.kl).mean()


@torch.no_grad()
def test_a_transformer_as_the_encoder_and_autocast():
    model = build(encoder=tiny_config("bert"), posterior_type="dirichlet")
    rows = random_rows(4)
    results = [
        model(**batch_of(rows, padding_side=side, extra_padding=extra), generator=row_generators(4))
        for side, extra in (("right", 0), ("left", 4))
    ]
    torch.testing.assert_close(results[0].kl, results[1].kl, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch_of(rows), generator=row_generators(4))
    assert output.loss.dtype == output.kl.dtype == output.logits.dtype == torch.float32
    torch.testing.assert_close(output.reconstruction, results[0].reconstruction, rtol=0.05, atol=0.1)
    with pytest.raises(ValueError, match="A document of 40 tokens is longer than the encoder has positions for"):
        model.encode(torch.full((1, 40), 5))


def test_a_transformer_as_the_encoder_may_be_recomputed():
    model, batch, gradients = build(encoder=tiny_config("bert")).train(), batch_of(random_rows(4)), []
    for recomputes in (False, True):
        if recomputes:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(**batch, generator=row_generators(4)).loss.backward()
        gradients.append(model.encoder.encoder.layer[0].output.dense.weight.grad.clone())
    assert model.encoder.encoder.layer[0].gradient_checkpointing
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-6 * gradients[0].abs().max().item())


@torch.no_grad()
def test_topics_begin_as_clusters_of_the_words_of_documents():
    """Two kinds of documents: their words fall into different topics before any training."""
    model = build(num_topics=2, embedding_size=4)
    first, second = [4, 5, 6, 7], [10, 11, 12, 13]
    labels = [[*kind[:3], END] if turn % 2 else [*kind[1:], kind[1], END] for kind in (first, second) for turn in range(8)]
    model.start_from_documents(labels, seed=0)
    tops = sorted(sorted(top) for top in model.topics(4))
    assert tops == [first, second]
    counts = torch.bincount(torch.tensor([token for row in labels for token in row]), minlength=VOCABULARY) * model.is_word
    smoothed = (counts + 0.5) * model.is_word
    torch.testing.assert_close(model.background, smoothed / smoothed.sum())
    product = build(word_model="product", background_share=0.0, embedding_size=None)
    product.start_from_documents(labels)
    torch.testing.assert_close(product.word_bias[product.is_word].exp(), model.background[model.is_word])


@torch.no_grad()
def test_topics_and_shares_of_texts(word_processor):
    model = build()
    words = model.topics(5, processor=word_processor)
    assert len(words) == 4 and all(len(set(row)) == 5 and "</s>" not in row for row in words)
    found = model.parse(["a b c", "d"], processor=word_processor, num_topics=2)
    batch = word_processor(["a b c", "d"], return_tensors="pt")
    shares = model.topic_shares(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    for row, own in zip(found, shares, strict=True):
        assert [topic for topic, _ in row] == own.topk(2).indices.tolist() and row[0][1] >= row[1][1]


def test_the_mean_is_taken_where_no_sample_is_asked_for():
    model, batch = build(), batch_of(random_rows(3))
    output = model(**batch, sample_posterior=False)
    torch.testing.assert_close(output.latents, output.posterior.mean)
    assert isinstance(output.posterior, Dirichlet) and output.kl_per_dimension is None
    gaussian = build(posterior_type="logistic_normal")(**batch)
    assert isinstance(gaussian.posterior, DiagonalGaussian)
    torch.testing.assert_close(gaussian.kl_per_dimension.sum(1), gaussian.kl)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (
            lambda: NeuralTopicConfig(posterior_type="gaussian"),
            "Unknown posterior_type 'gaussian': choose 'logistic_normal' or",
        ),
        (lambda: NeuralTopicConfig(word_model="sum"), "Unknown word_model 'sum': choose 'mixture' or 'product'"),
        (lambda: NeuralTopicConfig(num_topics=1), "num_topics must be at least 2, but is 1"),
        (lambda: NeuralTopicConfig(prior_concentration=0), "prior_concentration must be positive, but is 0"),
        (lambda: NeuralTopicConfig(prior_concentration=None), "A Dirichlet posterior needs a Dirichlet prior"),
        (lambda: NeuralTopicConfig(batch_norm_scale=0.0), "batch_norm_scale must be positive, but is 0"),
        (lambda: NeuralTopicConfig(embedding_size=0), "embedding_size must be at least 1, but is 0"),
        (lambda: NeuralTopicConfig(background_share=1.0), r"background_share must be in \[0, 1\), but is 1.0"),
        (lambda: NeuralTopicConfig(word_model="product"), "set background_share to 0"),
        (lambda: NeuralTopicConfig(pooling="sum"), "Unknown pooling 'sum'"),
        (lambda: NeuralTopicConfig(estimator="rloo"), "'rloo'"),
        (lambda: NeuralTopicConfig(vocab_size=9, ignored_token_ids=[9]), "holds 9, which is outside the vocabulary of 9"),
        (lambda: NeuralTopicConfig(vocab_size=2, ignored_token_ids=[0, 1]), "leaves none of the 2 tokens"),
        (lambda: NeuralTopicConfig(encoder={"hidden_size": 3}), "needs a 'model_type'"),
        (lambda: build()(input_ids=torch.tensor([[3]])), "Pass labels"),
        (lambda: build()(labels=torch.tensor([[3]])), "Pass input_ids for the encoder"),
        (
            lambda: build()(labels=torch.tensor([[5], [END]]), latents=torch.ones(2, 4) / 4),
            "Document 1 of the batch has no word",
        ),
        (
            lambda: build()(labels=torch.tensor([[5], [VOCABULARY]]), latents=torch.ones(2, 4) / 4),
            r"row\(s\) \[1\] have tokens outside the vocabulary",
        ),
        (lambda: build()(labels=torch.tensor([[5]]), latents=torch.ones(1, 3)), "this model has 4 topics"),
        (
            lambda: build(posterior_type="dirichlet")(**batch_of([[5]]), free_bits=1.0, free_bits_mode="kingma"),
            "KL per dimension",
        ),
        (lambda: build().topics(99), "top_words is 99, and the vocabulary has 20 words"),
        (lambda: build().start_from_documents([[END]]), "No document has a word of the vocabulary"),
        (lambda: build(embedding_size=20).start_from_documents([[5, 6]]), "need more than 20 words"),
    ],
)
def test_refusals(refused, said):
    with pytest.raises(ValueError, match=said):
        refused()
