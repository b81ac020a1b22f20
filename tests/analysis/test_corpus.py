import math

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import encode_corpus, importance_weighted_likelihood
from hf_lvm.data import LatentTextCollator, encode_dataset
from tests.tiny_parts import perturb, tiny_vae


def texts(count=9):
    generator = torch.Generator().manual_seed(3)
    words = list("abcdefgh")
    lengths = torch.randint(2, 8, (count,), generator=generator).tolist()
    return [" ".join(words[i] for i in torch.randint(0, 8, (n,), generator=generator).tolist()) for n in lengths]


def encoded(processor, count=9):
    return encode_dataset(Dataset.from_dict({"text": texts(count)}), processor, keep_columns=("text",))


def sensitive_vae(**options):
    """A model whose decoder hears its latent well."""
    return perturb(tiny_vae(injection="embedding", **options), 0.4)


def batch_of(dataset, processor):
    return LatentTextCollator(processor)([dataset[row] for row in range(len(dataset))])


def test_numbers_do_not_depend_on_the_batch_size(word_processor):
    model, dataset = sensitive_vae(), encoded(word_processor)
    one, four, all_at_once = (encode_corpus(model, dataset, word_processor, batch_size=size) for size in (1, 4, 64))
    weighted = [
        importance_weighted_likelihood(model, dataset, word_processor, num_samples=7, batch_size=size) for size in (1, 4, 64)
    ]
    for name in ("means", "modes", "standard_deviations", "latents", "reconstruction", "permuted_reconstruction", "kl",
                 "kl_per_dimension", "correct_tokens"):  # fmt: skip
        torch.testing.assert_close(getattr(one, name), getattr(four, name), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(getattr(one, name), getattr(all_at_once, name), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weighted[0], weighted[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weighted[0], weighted[2], rtol=1e-4, atol=1e-5)


def test_rows_stay_in_their_order_and_the_negative_bound_is_reconstruction_plus_kl(word_processor):
    model, dataset = sensitive_vae(), encoded(word_processor)
    corpus = encode_corpus(model, dataset, word_processor, batch_size=4)
    batch = batch_of(dataset, word_processor)
    with torch.no_grad():
        posterior = model.encode(batch["input_ids"], batch["attention_mask"])
        logits = model(labels=batch["labels"], latents=corpus.latents).logits
    torch.testing.assert_close(corpus.means, posterior.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(corpus.standard_deviations, posterior.stddev, rtol=1e-4, atol=1e-5)

    mean, stddev = posterior.mean.double(), posterior.stddev.double()
    kl = 0.5 * (mean**2 + stddev**2 - 1 - 2 * stddev.log()).sum(-1)
    log_probs = logits.double().log_softmax(-1)
    scored = batch["labels"] != -100
    token_log_probs = log_probs.gather(-1, batch["labels"].clamp(min=0).unsqueeze(-1)).squeeze(-1)
    reconstruction = -(token_log_probs * scored).sum(-1)
    torch.testing.assert_close(corpus.negative_bound.double(), reconstruction + kl, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(corpus.kl.double(), kl, rtol=1e-4, atol=1e-4)
    assert not corpus.monte_carlo_kl
    torch.testing.assert_close(corpus.posterior.log_prob(corpus.latents), posterior.log_prob(corpus.latents))


def test_permuted_latents_give_every_text_the_latent_of_another_and_use_each_once(word_processor):
    model, dataset = sensitive_vae(), encoded(word_processor)
    corpus = encode_corpus(model, dataset, word_processor)
    labels, count = batch_of(dataset, word_processor)["labels"], len(dataset)
    with torch.no_grad():
        under_each = torch.stack(
            [model(labels=labels, latents=latent.expand(count, -1)).reconstruction for latent in corpus.latents], dim=1
        )
    matches = (under_each - corpus.permuted_reconstruction.unsqueeze(1)).abs() < 1e-3
    assert matches.sum(1).eq(1).all(), "the latents must be told apart by what they cost"
    chosen = matches.float().argmax(1)
    assert sorted(chosen.tolist()) == list(range(count))
    assert (chosen != torch.arange(count)).all()
    torch.testing.assert_close(under_each.diagonal(), corpus.reconstruction, rtol=1e-4, atol=1e-4)


def test_two_texts_swap_their_latents(word_processor):
    model, dataset = sensitive_vae(), encoded(word_processor, count=2)
    corpus = encode_corpus(model, dataset, word_processor)
    swapped = model(labels=batch_of(dataset, word_processor)["labels"], latents=corpus.latents.flip(0))
    torch.testing.assert_close(corpus.permuted_reconstruction, swapped.reconstruction.detach(), rtol=1e-4, atol=1e-4)


def test_the_seed_chooses_the_samples_and_nothing_else(word_processor):
    model, dataset = sensitive_vae(), encoded(word_processor)
    before = torch.random.get_rng_state()
    first, again, other = (encode_corpus(model, dataset, word_processor, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.latents, again.latents) and torch.equal(first.means, other.means)
    assert not torch.isclose(first.latents, other.latents).any()
    assert torch.equal(before, torch.random.get_rng_state())
    noise = (first.latents - first.means) / first.standard_deviations
    assert len(noise.unique()) == noise.numel(), "every text has noise of its own"


def with_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    return model.train()


def test_without_dropout_and_in_its_own_mode_afterwards(word_processor):
    dataset = encoded(word_processor)
    reference = encode_corpus(sensitive_vae(), dataset, word_processor)
    model = with_dropout(sensitive_vae())
    corpus = encode_corpus(model, dataset, word_processor)
    torch.testing.assert_close(corpus.negative_bound, reference.negative_bound)
    weighted = importance_weighted_likelihood(model, dataset, word_processor, num_samples=3)
    expected = importance_weighted_likelihood(sensitive_vae(), dataset, word_processor, num_samples=3)
    torch.testing.assert_close(weighted, expected)
    assert all(module.training for module in model.modules())


def test_importance_weighting_estimates_what_the_model_estimates(word_processor):
    model, dataset = sensitive_vae(), encoded(word_processor)
    measured = importance_weighted_likelihood(model, dataset, word_processor, num_samples=400)
    estimate = model.estimate_log_likelihood(
        **batch_of(dataset, word_processor), num_samples=400, generator=torch.Generator().manual_seed(9)
    )
    error = (measured["standard_error"].square() + estimate.standard_error.square()).sqrt()
    assert (measured["log_likelihood"] - estimate.log_likelihood).abs().div(error).max() < 4
    assert error.mean() < 1
    bound = -encode_corpus(model, dataset, word_processor).negative_bound.double()
    assert measured["log_likelihood"].mean() >= bound.mean() - 0.1
    assert measured["log_weights"].shape == (len(dataset), 400)
    torch.testing.assert_close(measured["log_weights"].logsumexp(1) - math.log(400), measured["log_likelihood"])
    assert ((measured["effective_sample_size"] < 10) == measured["low_sample_size"].bool()).all()
