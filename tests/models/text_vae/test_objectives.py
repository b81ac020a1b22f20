"""The K-sample bound and its estimators inside the model, in float64."""

import pytest
import torch

from hf_lvm.objectives import importance_weighted_bound
from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_vae

ROWS = random_rows(4, seed=8)


def model_of(objective: str, estimator: str, num_samples: int = 5):
    options = {"objective": objective, "estimator": estimator, "num_samples": num_samples, "latent_size": 2}
    return perturb(tiny_vae(injection="embedding", **options), 0.3).double()


@pytest.mark.parametrize("estimator", ["reparameterization", "dreg"])
@torch.no_grad()
def test_the_loss_is_the_k_sample_bound_of_the_weights(estimator):
    model, batch = model_of("iwae", estimator), batch_of(ROWS)
    output = model(**batch, generator=row_generators(4))
    posterior = model.encode(batch["input_ids"], batch["attention_mask"])
    samples = posterior.sample((5,), generator=row_generators(4))
    log_likelihood = torch.stack([-model(labels=batch["labels"], latents=z).reconstruction for z in samples])
    # The sign of the importance weights: + log p(z) - log q(z|x).
    log_weights = log_likelihood + model.prior_of(4).log_prob(samples) - posterior.log_prob(samples)
    torch.testing.assert_close(output.loss, -importance_weighted_bound(log_weights).mean())
    torch.testing.assert_close(output.reconstruction, -log_likelihood.mean(0))
    assert output.loss < (output.reconstruction + output.kl).mean()


def test_both_estimators_have_one_value_and_one_gradient_of_the_decoder():
    outputs, gradients = [], []
    for estimator in ("reparameterization", "dreg"):
        model = model_of("iwae", estimator)
        outputs.append(model(**batch_of(ROWS), generator=row_generators(4)))
        outputs[-1].loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(outputs[0].loss, outputs[1].loss)
    decoder = [name for name, _ in model.generative_parameters() if gradients[0][name] is not None]
    assert decoder
    for name in decoder:
        torch.testing.assert_close(gradients[0][name], gradients[1][name])
    assert any(not torch.allclose(gradients[0][name], gradients[1][name]) for name, _ in model.inference_parameters())


def test_free_bits_have_no_place_in_the_k_sample_bound():
    model = model_of("iwae", "dreg")
    with pytest.raises(ValueError, match="free_bits"):
        model(**batch_of(ROWS), free_bits=0.5, free_bits_mode="per_dimension")


def test_one_sample_of_the_elbo_is_unchanged_by_a_kl_weight_on_what_is_reported():
    model, batch = model_of("elbo", "reparameterization", 1), batch_of(ROWS)
    full, half = (model(**batch, generator=row_generators(4), kl_weight=weight) for weight in (1.0, 0.5))
    torch.testing.assert_close(full.kl, half.kl)
    torch.testing.assert_close(half.loss, (half.reconstruction + 0.5 * half.kl).mean())
