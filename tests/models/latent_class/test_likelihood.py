"""log p(x) of a latent class model: two ways that agree, their order, Bayes' rule, and what generation does with classes."""

import pytest
import torch
from transformers import AutoModel

from tests.models.latent_class.test_objectives import BATCH, CLASSES, model_of, tables
from tests.tiny_parts import perturb, tiny_classes


@torch.no_grad()
def test_the_sum_and_the_estimate_agree_and_the_bounds_stand_in_their_order():
    model = model_of()
    # A flatter proposal, so that its weights have the moments that a standard error needs.
    model.posterior_head.logits.weight.mul_(0.3)
    exact = model.estimate_log_likelihood(**BATCH, method="exact")
    sampled = model.estimate_log_likelihood(**BATCH, method="importance", num_samples=4000)
    deviation = (sampled.log_likelihood - exact.log_likelihood) / sampled.standard_error.clamp(min=1e-6)
    assert (deviation.abs() < 4).all() and not sampled.exact
    few = torch.stack(
        [model.estimate_log_likelihood(**BATCH, method="importance", num_samples=3).log_likelihood for _ in range(60)]
    )
    output = model(**BATCH)
    elbo = -(output.reconstruction + output.kl)
    margin = 4 * few.mean(1).std() / 60**0.5
    assert elbo.mean() + margin < few.mean() < exact.log_likelihood.mean() - margin


@torch.no_grad()
def test_chunks_change_nothing():
    model = model_of()
    whole = model.estimate_log_likelihood(**BATCH).log_likelihood
    for size in (1, 4):
        torch.testing.assert_close(model.estimate_log_likelihood(**BATCH, chunk_size=size).log_likelihood, whole)


@torch.no_grad()
def test_bayes_rule():
    model = model_of()
    values, likelihood, prior, _ = tables(model)
    weights = (likelihood + prior).softmax(0)
    expected = torch.stack([(weights.unsqueeze(-1) * (values == k).unsqueeze(1)).sum(0) for k in range(4)], dim=-1)
    torch.testing.assert_close(model.class_probabilities(labels=BATCH["labels"], method="bayes"), expected)
    by_encoder = model.class_probabilities(BATCH["input_ids"], BATCH["attention_mask"])
    torch.testing.assert_close(by_encoder, model(**BATCH).class_logits.exp())


@torch.no_grad()
def test_a_conditional_prior_reads_a_text_of_its_own():
    model = perturb(tiny_classes(prior_type="conditional"), 0.3)
    condition = {
        "condition_input_ids": BATCH["input_ids"].flip(0),
        "condition_attention_mask": BATCH["attention_mask"].flip(0),
    }
    prior = model.prior_of(5, **condition)
    assert prior.logits.std(0).max() > 0.01, "each row has a prior of its own"
    output = model(**BATCH, **condition)
    torch.testing.assert_close(output.kl, output.posterior.kl_per_dimension(prior).sum(1))
    assert model.estimate_log_likelihood(**BATCH, **condition).exact
    assert len(model.generate(**condition, max_new_tokens=3)) == 5
    assert len(model.generate(classes=torch.zeros(2, 1, dtype=torch.long), max_new_tokens=3)) == 2, "nothing is left to it"
    by_bayes = model.class_probabilities(labels=BATCH["labels"], method="bayes", **condition)
    torch.testing.assert_close(by_bayes, model.true_posterior(BATCH["labels"], **condition))
    with pytest.raises(ValueError, match="pass their labels"):
        model.class_probabilities(method="bayes", **condition)
    with pytest.raises(ValueError, match="pass condition_input_ids"):
        model(**BATCH)
    with pytest.raises(ValueError, match="go with prior_type 'conditional'"):
        model_of()(**BATCH, **condition)


@torch.no_grad()
def test_generation_from_classes():
    model = perturb(tiny_classes(num_variables=2), 0.5)
    by_classes = model.generate(classes=CLASSES[[2, 4]], max_new_tokens=5)
    by_latents = model.generate(latents=CLASSES[[2, 4]], max_new_tokens=5)
    assert torch.equal(by_classes, by_latents) and not torch.equal(by_classes[0], by_classes[1])
    assert len(model.generate(classes=CLASSES, max_new_tokens=2, num_beams=2)) == 5
    assert len(model.generate(input_ids=BATCH["input_ids"], attention_mask=BATCH["attention_mask"], max_new_tokens=2)) == 5
    with pytest.raises(ValueError, match="one of the three"):
        model.generate(classes=CLASSES, latents=CLASSES)


def test_text_in_text_out(word_processor):
    model = perturb(tiny_classes(decoder_vocab_size=23), 0.3)
    texts = ["a b c", "d e"]
    assert model.classify(texts, processor=word_processor).shape == (2, 1)
    assert model.classify(texts, processor=word_processor, method="bayes").shape == (2, 1)
    assert len(model.sample(3, processor=word_processor)) == 3
    assert len(model.reconstruct(texts, processor=word_processor)) == 2
    assert all(isinstance(text, str) for text in model.decode_latents(torch.tensor([[0], [2]]), processor=word_processor))


def test_a_learned_temperature_is_saved_and_comes_back(tmp_path):
    model = perturb(tiny_classes(estimator="gumbel_softmax", learned_temperature=True, temperature=0.7), 0.3)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    features = torch.randn(3, model.config.encoder.hidden_size)
    assert torch.equal(loaded.estimator.temperature_of(features), model.estimator.temperature_of(features))
    new = tiny_classes(estimator="gumbel_softmax", learned_temperature=True, temperature=0.7)
    torch.testing.assert_close(new.estimator.temperature_of(features), torch.full((3, 1, 1), 0.7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_variables": 9, "num_classes": 9}, "387,420,489 values"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"num_variables": 2, "num_classes": [3, 1]}, "num_classes must be at least 2"),
        ({"num_variables": 2, "num_classes": [3, 3, 3]}, "one number for all variables, or one for each"),
        ({"num_variables": 2, "num_classes": [3, 2], "class_names": [["a"], ["b", "c", "d"]]}, "for a variable of 2 classes"),
        ({"posterior_type": "gaussian"}, "choose one of 'categorical', 'vector_quantized'"),
        ({"prior_type": "vamp"}, "choose one of 'uniform', 'learned', 'conditional'"),
        ({"estimator": "rloo"}, "set it to 2 or more"),
        ({"estimator": "reparameterization"}, "not for discrete latents"),
        ({"objective": "minimum_risk", "num_samples": 4}, "leave estimator unset"),
        ({"estimator": "gumbel_softmax", "temperature": 0.0}, "must be positive, but is 0"),
        ({"estimator": "rloo", "num_samples": 2, "temperature": float("nan")}, "must be positive, but is nan"),
        ({"objective": "minimum_risk", "estimator": None}, "compares samples, and num_samples is 1"),
        ({"estimator": "disarm", "num_classes": 2, "num_samples": 3}, "an even number, not 3"),
        ({"estimator": "exact_topk", "num_classes": 9, "num_samples": 2, "sampled_of_the_rest": 2}, "leaves none to sum"),
        ({"estimator": "disarm", "num_samples": 2}, "set num_classes to 2"),
        ({"learned_temperature": True}, "for relaxed samples"),
        ({"unlabelled_weight": -1.0}, "0 or more"),
        ({"estimator": "exact_topk"}, "num_samples of 2 or more"),
    ],
)
def test_refused_configs(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_classes(**options)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (torch.tensor([[0, 3]] * 5), "0 to 2, or -1"),
        (torch.tensor([[0, -2]] * 5), "of variable 1 run from -2 to -2"),
        (torch.tensor([0] * 5), "one class for each of 2 variables"),
        (torch.zeros(5, 2), "whole numbers"),
    ],
)
def test_refused_classes(classes, message):
    with pytest.raises(ValueError, match=message):
        model_of()(**BATCH, classes=classes)


def test_other_refusals():
    model = model_of()
    with pytest.raises(ValueError, match="is not complete"):
        model(labels=BATCH["labels"], latents=CLASSES)
    with pytest.raises(ValueError, match=r"takes \(batch, 2, 4\)"):
        model(labels=BATCH["labels"], latents=torch.rand(5, 3, 3))
    with pytest.raises(ValueError, match="Pass labels"):
        model.estimate_log_likelihood(BATCH["input_ids"])
    with pytest.raises(ValueError, match="choose one of 'auto', 'exact', 'importance'"):
        model.estimate_log_likelihood(**BATCH, method="sum")
    with pytest.raises(ValueError, match="choose 'encoder' or 'bayes'"):
        model.class_probabilities(**BATCH, method="oracle")
    model.config.enumeration_budget = 8
    with pytest.raises(ValueError, match="enumeration_budget is 8"):
        model.estimate_log_likelihood(labels=BATCH["labels"], method="exact")
