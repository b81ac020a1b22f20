"""A model that is none of this package's, with as much of the contract as `check_model` asks for."""

import doctest
from types import SimpleNamespace

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_lvm.analysis.estimator_check import check_model
from hf_lvm.distributions import CategoricalVector
from hf_lvm.estimators import build_estimator
from hf_lvm.objectives import discrete_bound, draw_for


class MixtureConfig(PreTrainedConfig):
    model_type = "test_mixture_of_unigrams"

    def __init__(self, objective="elbo", estimator="rloo", num_samples=4, **kwargs):
        super().__init__(**kwargs)
        self.objective, self.estimator, self.num_samples = objective, estimator, num_samples


class MixtureOfUnigrams(PreTrainedModel):
    """p(x|z) = product over words of p(word | z), z one of four; q(z|x) from the mean of word embeddings."""

    config_class = MixtureConfig

    def __init__(self, config, vocab_size=11, num_classes=4):
        super().__init__(config)
        self.embeddings = nn.EmbeddingBag(vocab_size, num_classes)
        self.dropout = nn.Dropout(0.5)
        self.words = nn.Embedding(num_classes, vocab_size)
        self.estimator = self.build_estimator(config)

    def build_estimator(self, config):
        return build_estimator(config.estimator, feature_size=4, num_variables=1, num_classes=4)

    def encode(self, input_ids, attention_mask=None):
        return CategoricalVector(self.dropout(self.embeddings(input_ids)).unsqueeze(1))

    def prior_of(self, batch_size):
        return CategoricalVector(self.words.weight.new_zeros(batch_size, 1, 4))

    def forward(self, input_ids=None, labels=None, latents=None, generator=None, kl_weight=1.0):
        if latents is not None:
            logits = self.words(latents[:, 0]).unsqueeze(1).expand(-1, labels.shape[1], -1)
            scores = logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
            return SimpleNamespace(reconstruction=-scores.sum(1), logits=logits)
        posterior = self.encode(input_ids)
        draws = draw_for(
            self.config.objective,
            self.estimator,
            posterior,
            self.config.num_samples,
            generator,
            features=posterior.probs[:, 0],
        )
        log_likelihood = torch.stack([-self(labels=labels, latents=value).reconstruction for value in draws.latents])
        prior = self.prior_of(len(labels))
        terms = discrete_bound(self.config.objective, draws, log_likelihood, prior, kl_weight=kl_weight)
        return SimpleNamespace(loss=terms.loss.mean(), posterior=posterior)


def test_a_model_that_has_what_is_asked_of_it_is_checked():
    model = MixtureOfUnigrams(MixtureConfig()).double()
    nn.init.normal_(model.embeddings.weight)
    nn.init.normal_(model.words.weight)
    tokens = torch.randint(11, (5, 6), generator=torch.Generator().manual_seed(0))
    names = ["exact", "rloo", "reinforce_learned", "exact_topk"]
    rows = check_model(model, {"input_ids": tokens, "labels": tokens}, names, num_samples=3, draws=1000, timed_steps=1)
    assert [row.estimator for row in rows] == names and {row.problem for row in rows} == {"MixtureOfUnigrams"}
    assert rows[0].relative_bias < 1e-12
    assert not any(row.is_off for row in rows) and all(row.standard_error < 0.05 for row in rows)
    assert model.config.estimator == "rloo" and model.training


def test_the_example_runs():
    (example,) = doctest.DocTestFinder(recurse=False).find(check_model, globs={"torch": torch})
    assert doctest.DocTestRunner().run(example).failed == 0 and example.examples
