"""log p(x) and its parts: exact where quadrature is, and free of the mistakes that published code makes."""

import math

import pytest
import torch
from torch.distributions import kl_divergence

from tests.tiny_parts import END, START, batch_of, perturb, random_rows, row_generators, tiny_vae

ROWS = random_rows(4, seed=8, longest=5)


@pytest.fixture(scope="module")
def one_dimensional():
    """A latent of one dimension that matters, float64, and its log p(x) by a fine grid."""
    with torch.no_grad():
        model = perturb(tiny_vae(latent_size=1, injection=["prefix", "logits"]), 0.2)
        model.posterior_head.mean.weight.mul_(0.3)
        model.posterior_head.log_variance.weight.zero_()
        model.posterior_head.log_variance.bias.fill_(0.3)
        model = model.double()
        grid = torch.linspace(-8, 8, 1601, dtype=torch.float64)
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid)
        exact = torch.stack(
            [
                (prior - model(labels=torch.tensor([row] * len(grid)), latents=grid[:, None]).reconstruction).logsumexp(0)
                for row in ROWS
            ]
        ) + math.log(grid[1] - grid[0])
    return model, exact


def estimate(model, **options):
    return model.estimate_log_likelihood(**batch_of(ROWS), **{"num_samples": 3000, "generator": row_generators(4)} | options)


def test_it_is_the_integral_over_z(one_dimensional):
    model, exact = one_dimensional
    result = estimate(model)
    assert (result.standard_error < 0.05).all() and (result.effective_sample_size > 100).all()
    assert ((result.log_likelihood - exact).abs() < 4 * result.standard_error).all()
    assert not result.exact and not result.low_sample_size.any()


def test_swapped_prior_and_posterior_would_be_caught(one_dimensional):
    """Reported perplexities have rested on weights p(x|z) q(z|x) / p(z)."""
    model, exact = one_dimensional
    batch = batch_of(ROWS)
    with torch.no_grad():
        posterior = model.encode(batch["input_ids"], batch["attention_mask"])
        samples = posterior.sample((300,), row_generators(4))
        prior = model.prior(4, dtype=torch.float64)
        nll = torch.stack([model(labels=batch["labels"], latents=z).reconstruction for z in samples])
        wrong = (posterior.log_prob(samples) - prior.log_prob(samples) - nll).logsumexp(0) - math.log(300)
        right = (prior.log_prob(samples) - posterior.log_prob(samples) - nll).logsumexp(0) - math.log(300)
    result = estimate(model, num_samples=300)
    torch.testing.assert_close(result.log_likelihood, right)
    assert ((wrong - exact).abs() > 5 * result.standard_error).any()


def test_one_sample_is_the_elbo_in_the_mean(one_dimensional):
    model, _ = one_dimensional
    batch = {name: value.repeat(3000, 1) for name, value in batch_of(ROWS[:1]).items()}
    torch.manual_seed(1)
    with torch.no_grad():
        single = model.estimate_log_likelihood(**batch, num_samples=1).log_likelihood
        output = model(**batch)
        elbo = -(output.reconstruction + output.kl)
    error = ((single.var() + elbo.var()) / 3000).sqrt()
    assert abs(single.mean() - elbo.mean()) < 4 * error


def test_the_chunk_size_changes_nothing():
    model = perturb(tiny_vae(), 0.1)
    for generator in (lambda: row_generators(4), lambda: torch.Generator().manual_seed(0)):
        whole = estimate(model, num_samples=13, generator=generator())
        for chunk in (1, 4, 13, 50):
            part = estimate(model, num_samples=13, generator=generator(), chunk_size=chunk)
            for field in ("log_likelihood", "standard_error", "effective_sample_size"):
                torch.testing.assert_close(getattr(part, field), getattr(whole, field), rtol=1e-5, atol=1e-5)


def test_chunks_hold_no_more_logits_than_allowed(monkeypatch):
    from hf_lvm.backbones.composition import scoring

    model, batch, largest = tiny_vae(), batch_of(ROWS), []
    decode = type(model.conditioning).decode

    def watched(self, *args, **kwargs):
        output = decode(self, *args, **kwargs)
        largest.append(output.logits.numel())
        return output

    monkeypatch.setattr(type(model.conditioning), "decode", watched)
    limit = 3 * batch["labels"].numel() * 23
    monkeypatch.setitem(scoring.MAX_LOGITS, "cpu", limit)
    model.estimate_log_likelihood(**batch, num_samples=10)
    assert len(largest) == 4 and max(largest) <= limit


def test_it_is_the_same_in_a_batch_and_alone():
    model = perturb(tiny_vae(), 0.1)
    together = estimate(model, num_samples=5)
    for index, row in enumerate(ROWS):
        alone = model.estimate_log_likelihood(**batch_of([row]), num_samples=5, generator=[row_generators(4)[index]])
        torch.testing.assert_close(alone.log_likelihood[0], together.log_likelihood[index], rtol=1e-5, atol=1e-5)


def test_dropout_is_off_inside_and_every_module_gets_its_mode_back():
    model = tiny_vae()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    expected = estimate(model, num_samples=3)
    model.train()
    model.encoder.eval()
    noisy = model(**batch_of(ROWS), generator=row_generators(4)).reconstruction
    assert not torch.equal(noisy, model(**batch_of(ROWS), generator=row_generators(4)).reconstruction)
    torch.testing.assert_close(estimate(model, num_samples=3).log_likelihood, expected.log_likelihood)
    assert model.training and model.decoder.training and not model.encoder.training
    assert not estimate(model, num_samples=3).log_likelihood.requires_grad


def test_padding_is_masked_before_anything_is_summed():
    """A loss has been published that sums over the batch first and masks afterwards."""
    model = perturb(tiny_vae(), 0.1)
    latents = torch.randn(4, 4)
    labels = batch_of(ROWS)["labels"]
    output = model(labels=labels, latents=latents)
    by_hand = []
    for row, latent in zip(ROWS, latents, strict=True):
        logits = model(decoder_input_ids=torch.tensor([[START, *row[:-1]]]), latents=latent[None]).logits[0]
        by_hand.append(sum(-logits.log_softmax(-1)[position, token] for position, token in enumerate(row)))
    torch.testing.assert_close(output.reconstruction, torch.stack(by_hand), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.loss, output.reconstruction.mean())
    wider = torch.cat([labels, torch.full((4, 3), -100)], dim=1)
    torch.testing.assert_close(model(labels=wider, latents=latents).reconstruction, output.reconstruction)


def test_the_start_token_is_read_and_never_predicted():
    model = perturb(tiny_vae(), 0.1)
    labels = torch.tensor([[5, 6, END], [7, END, -100]])
    assert model.shift_right(labels).tolist() == [[START, 5, 6], [START, 7, END]]
    assert model.shift_right(torch.tensor([[7, END, -100, -100]])).tolist() == [[START, 7, END, 0]]
    # An untrained uniform decoder pays log V for each word and the end, nothing for the start.
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    nll = model(labels=labels, latents=torch.zeros(2, 4)).reconstruction
    torch.testing.assert_close(nll, torch.tensor([3.0, 2.0]) * math.log(23))


def test_the_bound_is_made_of_its_parts():
    model = perturb(tiny_vae(num_samples=3), 0.1)
    output = model(**batch_of(ROWS), generator=row_generators(4), kl_weight=0.3)
    torch.testing.assert_close(output.kl, kl_divergence(output.posterior, model.prior(4)))
    torch.testing.assert_close(output.kl_per_dimension.sum(1), output.kl)
    torch.testing.assert_close(output.loss, (output.reconstruction + 0.3 * output.kl).mean())
    samples = output.posterior.rsample((3,), row_generators(4))
    assert torch.equal(output.latents, samples[0])
    each = torch.stack([model(labels=batch_of(ROWS)["labels"], latents=z).reconstruction for z in samples])
    torch.testing.assert_close(output.reconstruction, each.mean(0), rtol=1e-5, atol=1e-5)
    free = model(**batch_of(ROWS), generator=row_generators(4), free_bits=5.0, free_bits_mode="per_dimension")
    torch.testing.assert_close(free.kl, output.kl)
    torch.testing.assert_close(free.loss, output.reconstruction.mean() + 4 * 5.0)


def test_a_sample_is_taken_in_evaluation_too_and_the_mean_on_request():
    model = perturb(tiny_vae(), 0.1).eval()
    sampled = model(**batch_of(ROWS))
    assert not torch.equal(sampled.latents, sampled.posterior.mean)
    assert not torch.equal(sampled.latents, model(**batch_of(ROWS)).latents)
    mean = model(**batch_of(ROWS), sample_posterior=False)
    assert torch.equal(mean.latents, mean.posterior.mean)


def test_words_dropped_from_the_decoder_input_stay_in_the_labels():
    model = perturb(tiny_vae(), 0.1)
    labels, latents = torch.tensor([[5, 6, END]]), torch.zeros(1, 4)
    shown = model.shift_right(labels)
    torch.testing.assert_close(
        model(labels=labels, latents=latents, decoder_input_ids=shown).logits,
        model(labels=labels, latents=latents).logits,
    )
    hidden = shown.masked_fill(shown == 5, 3)
    assert not torch.allclose(
        model(labels=labels, latents=latents, decoder_input_ids=hidden).reconstruction,
        model(labels=labels, latents=latents).reconstruction,
    )


def test_under_autocast_the_posterior_and_the_weights_stay_precise():
    model = perturb(tiny_vae(), 0.1)
    expected = estimate(model, num_samples=20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch_of(ROWS), generator=row_generators(4))
        rough = estimate(model, num_samples=20)
    assert output.logits.dtype == torch.bfloat16
    for field in ("kl", "reconstruction", "loss", "latents"):
        assert output[field].dtype == torch.float32, field
    torch.testing.assert_close(rough.log_likelihood, expected.log_likelihood, rtol=0, atol=0.2)


def test_a_model_in_bfloat16_keeps_its_posterior_head_in_float32(tmp_path):
    from transformers import AutoModel

    tiny_vae().save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert model.posterior_head.mean.weight.dtype == torch.float32 and model.decoder.dtype == torch.bfloat16
    output = model(**batch_of(ROWS))
    assert output.kl.dtype == output.reconstruction.dtype == torch.float32 and output.loss.isfinite()
    assert model.generate(latents=torch.zeros(1, 4), max_new_tokens=3, eos_token_id=None).shape == (1, 4)


def test_labels_are_asked_for():
    with pytest.raises(ValueError, match="Pass labels: the sentences"):
        tiny_vae().estimate_log_likelihood(torch.tensor([[START, 5, END]]), None, None)
