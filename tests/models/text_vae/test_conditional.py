"""A conditional VAE, p(z|c) and q(z|x, c) of a text c: by enumeration for each of two conditions, and what else must hold."""

import math
from typing import ClassVar

import pytest
import torch
from datasets import Dataset
from torch.distributions import Independent, Normal, kl_divergence
from transformers import AutoModel

from hf_lvm.analysis.corpus import encode_corpus
from hf_lvm.analysis.inference_gap import measure_inference_gap
from hf_lvm.data import LatentTextCollator, encode_dataset
from hf_lvm.models.text_vae.export import export_encoder, load_encoder
from tests.contract import beginnings_of_longer_texts, complete_texts
from tests.models.text_vae.test_contract import TextVAEContract
from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_vae
from tests.training_runs import assert_same_run, latent_run, stock_run

# Conditions over the vocabulary of the enumerated model, of different lengths.
CONDITIONS = ([0, 1, 2], [1])


def about(rows: list[list[int]], side: str = "right", extra: int = 0) -> dict[str, torch.Tensor]:
    batch = batch_of(rows, side, extra)
    return {"condition_input_ids": batch["input_ids"], "condition_attention_mask": batch["attention_mask"]}


class Conditional(TextVAEContract):
    injection = "embedding"
    options: ClassVar[dict] = {"prior_type": "conditional_gaussian"}

    @torch.no_grad()
    def widen(self, model):
        model.posterior_head.mean.weight.mul_(0.3)
        model.posterior_head.log_variance.weight.mul_(0.1)
        model.posterior_head.log_variance.bias.fill_(0.5)
        # Two conditions far enough apart, and both within the grid.
        model.prior.mean.weight.mul_(1.5)
        model.prior.log_variance.weight.mul_(0.2)


@pytest.fixture(scope="module")
def model():
    return Conditional().build_tiny()


def exact(model, rows, condition):
    """log p(x|c), (N,), by an even grid over z, and the density of p(z|c) on it."""
    points = torch.linspace(-9, 9, 1501, dtype=torch.float64).unsqueeze(1)
    prior = model.prior_of(len(points), **about([condition] * len(points)))
    log_mass = prior.log_prob(points) + (points[1] - points[0]).log()
    assert log_mass.exp().sum().item() == pytest.approx(1, abs=1e-8)
    logs = [-model(labels=batch_of([row] * len(points))["labels"], latents=points).reconstruction for row in rows]
    return torch.stack([(log + log_mass).logsumexp(0) for log in logs])


@torch.no_grad()
def test_probabilities_given_a_condition_sum_to_one_and_bounds_are_below_them(model):
    texts, repeats = complete_texts(), 80
    found = {}
    for condition in CONDITIONS:
        log_likelihood = exact(model, texts + beginnings_of_longer_texts(), condition)
        assert log_likelihood.exp().sum().item() == pytest.approx(1, abs=1e-8)
        found[tuple(condition)] = log_likelihood = log_likelihood[: len(texts)]
        batch = {name: value.repeat(repeats, 1) for name, value in (batch_of(texts) | about([condition] * len(texts))).items()}
        torch.manual_seed(3)
        output = model(**batch)
        bounds = [-(output.reconstruction + output.kl)]
        bounds += [model.estimate_log_likelihood(**batch, num_samples=count).log_likelihood for count in (2, 5)]
        means = [bound.view(repeats, -1).mean(1) for bound in bounds] + [log_likelihood.mean().expand(repeats)]
        for lower, higher in zip(means, means[1:], strict=False):
            gain = higher - lower
            assert gain.mean() > 4 * gain.std() / repeats**0.5, "above zero, and visibly so"
        estimate = model.estimate_log_likelihood(**batch_of(texts), **about([condition] * len(texts)), num_samples=1500)
        assert ((estimate.log_likelihood - log_likelihood).abs() < 4 * estimate.standard_error).all()
        assert estimate.standard_error.max() < 0.3
    one, other = found.values()
    assert (one - other).abs().max() > 0.01, "what is said must depend on the condition"


@torch.no_grad()
def test_the_kl_is_that_of_the_two_gaussians():
    model = small()
    batch, condition = batch_of(random_rows(4)), about(random_rows(4, seed=9))
    output = model(**batch, **condition, generator=row_generators(4))
    q = model.encode(batch["input_ids"], batch["attention_mask"], **condition)
    p = model.prior_of(4, **condition)
    expected = kl_divergence(Independent(Normal(q.mean, q.stddev), 1), Independent(Normal(p.mean, p.stddev), 1))
    torch.testing.assert_close(output.kl, expected)
    torch.testing.assert_close(output.kl_per_dimension.sum(1), expected)
    torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
    other = model(**batch, **about(random_rows(4, seed=10)), generator=row_generators(4))
    assert ((other.kl - output.kl).abs() > 1e-4).all() and p.mean.std(0).min() > 1e-3


def small(**options):
    return perturb(tiny_vae(prior_type="conditional_gaussian", injection=["prefix", "embedding"], **options), 0.1)


def test_a_new_prior_is_standard_normal_and_learns_from_its_condition():
    model = tiny_vae(prior_type="conditional_gaussian", injection="embedding").train()
    prior = model.prior_of(2, **about(random_rows(2)))
    assert (prior.mean == 0).all() and (prior.stddev == 1).all()
    model(**batch_of(random_rows(2)), **about(random_rows(2, seed=1))).loss.backward()
    assert model.prior.mean.weight.grad.abs().sum() > 0 and model.prior.log_variance.weight.grad.abs().sum() > 0
    names = {name for name, _ in model.generative_parameters()}
    assert "prior.mean.weight" in names


@torch.no_grad()
def test_the_k_sample_bound_weighs_by_the_prior_of_the_condition():
    model = small(objective="iwae", num_samples=3)
    batch, condition = batch_of(random_rows(4)), about(random_rows(4, seed=9))
    output = model(**batch, **condition, generator=row_generators(4))
    q = model.encode(batch["input_ids"], batch["attention_mask"], **condition)
    samples, p = q.sample((3,), row_generators(4)), model.prior_of(4, **condition)
    told = torch.stack([-model(labels=batch["labels"], latents=z).reconstruction for z in samples])
    prior, posterior = (Independent(Normal(each.mean, each.stddev), 1).log_prob(samples) for each in (p, q))
    log_weights = told + prior - posterior
    torch.testing.assert_close(output.loss, -(log_weights.logsumexp(0) - math.log(3)).mean())
    assert model.train()(**batch, **condition).loss.isfinite()


def test_refined_posteriors_and_the_inference_gap_read_the_condition(word_processor):
    """Both climb the bound of log p(x|c): they end higher with the prior of the condition than with that of another."""
    model = small(semi_amortized_steps=4, semi_amortized_learning_rate=0.1)
    with torch.no_grad():
        model.prior.mean.bias += torch.tensor([3.0, -3.0, 0.0, 0.0])
    batch, condition = batch_of(random_rows(3)), about(random_rows(3, seed=9))
    start = model.encode(batch["input_ids"], batch["attention_mask"], **condition)
    refined = model.infer(**batch, **condition, generator=row_generators(3))
    prior = model.prior_of(3, **condition)
    assert (kl_divergence(refined, prior) < kl_divergence(start, prior)).all(), "three nats and more to be had of the KL"
    dataset = encode_dataset(
        Dataset.from_dict({"text": ["a b"], "about": ["c d e"]}), word_processor, condition_column="about"
    )
    gap = measure_inference_gap(small(), dataset, word_processor, 1, steps=2, num_samples=200)
    inputs = LatentTextCollator(word_processor)(list(dataset))
    estimate = small().estimate_log_likelihood(**inputs, num_samples=2000)
    error = estimate.standard_error.item() + gap["negative_log_likelihood_standard_error"]
    assert gap["negative_log_likelihood"] == pytest.approx(-estimate.log_likelihood.item(), abs=4 * error + 1e-3)


def test_accumulation_equals_a_whole_batch(tmp_path):
    rows, conditions = random_rows(16), random_rows(16, seed=8)
    features = [
        {"input_ids": row, "labels": row, "condition_input_ids": other} for row, other in zip(rows, conditions, strict=True)
    ]

    def collate(features):
        condition = about([feature["condition_input_ids"] for feature in features])
        return batch_of([feature["labels"] for feature in features]) | condition

    options = {"dataset": Dataset.from_list(features), "data_collator": collate, "max_steps": 2}
    runs = [latent_run(small(), tmp_path / str(n), per_device=n, accumulation=8 // n, **options) for n in (8, 2)]
    assert_same_run(*runs)


@torch.no_grad()
def test_padding_and_batch_do_not_matter():
    model, rows, conditions = small(), random_rows(4), random_rows(4, seed=5)
    whole = model(**batch_of(rows), **about(conditions), generator=row_generators(4))
    for side, extra in (("left", 0), ("right", 5), ("left", 5)):
        output = model(**batch_of(rows), **about(conditions, side, extra), generator=row_generators(4))
        for name in ("kl", "reconstruction", "logits"):
            torch.testing.assert_close(output[name], whole[name], rtol=1e-5, atol=1e-5)
    for index, generator in enumerate(row_generators(4)):
        alone = model(**batch_of([rows[index]]), **about([conditions[index]]), generator=[generator])
        torch.testing.assert_close(alone.kl[0], whole.kl[index], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone.reconstruction[0], whole.reconstruction[index], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_generation_is_from_the_prior_of_the_condition_or_from_the_posterior_of_both():
    model, conditions = small(), about(random_rows(3, seed=5))
    torch.manual_seed(4)
    drawn = model.prior_of(3, **conditions).sample()
    expected = model.generate(latents=drawn, max_new_tokens=5)
    torch.manual_seed(4)
    assert torch.equal(model.generate(**conditions, max_new_tokens=5), expected)
    batch = batch_of(random_rows(3))
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    expected = model.generate(latents=model.encode(**given, **conditions).mode, max_new_tokens=5)
    assert torch.equal(model.generate(**given, **conditions, max_new_tokens=5), expected)


@torch.no_grad()
def test_it_is_saved_and_loaded(tmp_path):
    model = small()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    inputs = batch_of(random_rows(3)) | about(random_rows(3, seed=2))
    output, again = (each(**inputs, generator=row_generators(3)) for each in (model, loaded))
    torch.testing.assert_close(again.loss, output.loss, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_an_exported_encoder_reads_conditions(tmp_path):
    model = perturb(tiny_vae("hf_lvm_bag_of_words_encoder", prior_type="conditional_gaussian", injection="embedding"), 0.1)
    encoder = load_encoder(export_encoder(model, tmp_path / "encoder.pt2"))
    batch, condition = batch_of(random_rows(5), "left"), about(random_rows(5, seed=3, longest=11))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    expected, found = model.encode(**inputs, **condition), encoder.encode(**inputs, **condition)
    for name in ("mean", "stddev"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="reads a condition beside each text: pass condition_input_ids"):
        encoder.encode(**inputs)
    with pytest.raises(ValueError, match="2 conditions for 5 texts"):
        encoder.encode(**inputs, **about(random_rows(2)))


def test_texts_conditions_and_training(word_processor, tmp_path):
    texts = [f"{first} {second}" for first in "ab" for second in "cdefgh"]
    topics = ["r" if text[0] == "a" else "q q" for text in texts]
    rows = Dataset.from_dict({"text": texts, "about": topics})
    encoded = encode_dataset(rows, word_processor, condition_column="about")
    model, collate = small(), LatentTextCollator(word_processor)
    batch = collate(list(encoded))
    inputs = word_processor(texts, conditions=topics)
    assert {name: value.tolist() for name, value in batch.items()} == {name: each.tolist() for name, each in inputs.items()}
    expected = model.encode(**{name: value for name, value in batch.items() if name != "labels"})
    found = model.encode_texts(texts, processor=word_processor, conditions=topics)
    torch.testing.assert_close(found.mean, expected.mean)
    greedy = {"processor": word_processor, "max_new_tokens": 3}
    assert model.reconstruct(texts, conditions=topics, **greedy) == model.decode_latents(expected.mode, **greedy)
    torch.manual_seed(1)
    assert len(model.sample(3, conditions=["r", "q q"], **greedy)) == 6 and len(model.sample(conditions="r", **greedy)) == 1
    path = model.interpolate(*texts[:2], conditions=topics[:2], steps=3, **greedy)
    assert path[::2] == model.reconstruct(texts[:2], conditions=topics[:2], **greedy)
    assert (
        model.analogy("a c", "a c", "b d", conditions=["r", "r", "q q"], **greedy)
        == (model.reconstruct("b d", conditions="q q", **greedy)[0])
    )
    filled = model.impute("a ___ d", processor=word_processor, condition="r", rounds=1, num_candidates=3, num_samples=4)
    assert filled.startswith("a ") and filled.endswith(" d")
    corpus = encode_corpus(model, encoded, word_processor, batch_size=5)
    torch.testing.assert_close(corpus.means, expected.mean, rtol=1e-5, atol=1e-5)
    run = stock_run(model, tmp_path, per_device=6, accumulation=1, dataset=encoded, data_collator=collate, optim="adamw_torch",
                    max_steps=40)  # fmt: skip
    assert sum(run.losses[-3:]) < 0.8 * sum(run.losses[:3]), run.losses
    prior = model.prior_of(12, batch["condition_input_ids"], batch["condition_attention_mask"])
    assert (prior.mean[0] - prior.mean[-1]).abs().max() > 0.1, "the two conditions must have come apart"


def test_refusals(word_processor):
    with pytest.raises(ValueError, match="2 texts but 1 conditions"):
        word_processor(["a", "b"], conditions=["c"])
    for empty in ("", "  "):
        with pytest.raises(ValueError, match=r"conditions\[1\] is '.*': a condition is a text"):
            word_processor(["a", "b"], conditions=["c", empty])
    with pytest.raises(ValueError, match="Condition 0 has 6 tokens, more than max_length=5"):
        word_processor(["a"], conditions=["a b c d"], max_length=5)
    cut = word_processor(["a"], conditions=["a b c d"], max_length=5, truncation=True)
    assert cut["condition_input_ids"].shape == (1, 5)
    with pytest.raises(ValueError, match=r"dataset, about\[1\] is NoneType, not a string"):
        rows = Dataset.from_dict({"text": ["a", "b"], "about": ["a", None]})
        encode_dataset(rows, word_processor, condition_column="about")
    with pytest.raises(ValueError, match="no column 'topic'"):
        encode_dataset(Dataset.from_dict({"text": ["a"]}), word_processor, condition_column="topic")
    with pytest.raises(ValueError, match="conditions=... where texts"):
        small().sample(2, processor=word_processor)
    model, batch = small(), batch_of(random_rows(3))
    with pytest.raises(ValueError, match="pass condition_input_ids"):
        model(**batch)
    with pytest.raises(ValueError, match="2 conditions for 3 sentences"):
        model(**batch, **about(random_rows(2)))
    with pytest.raises(ValueError, match="this model's is 'standard_normal'"):
        tiny_vae()(**batch, **about(random_rows(3)))
    with pytest.raises(ValueError, match="pass condition_input_ids"):
        model.generate(max_new_tokens=2)
    with pytest.raises(ValueError, match="through z alone"):
        model.generate(latents=torch.zeros(1, 4), **about(random_rows(1)))
    with pytest.raises(ValueError, match="different spaces"):
        tiny_vae(prior_type="conditional_gaussian", posterior_type="von_mises_fisher")
    with pytest.raises(ValueError, match="'delta' commits to its rate"):
        tiny_vae(prior_type="conditional_gaussian", posterior_type="delta")
