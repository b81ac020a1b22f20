"""Gradient steps on q(z|x) for every sentence, as a part of the model (Kim et al. 2018)."""

import pytest
import torch

from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_vae

ROWS = random_rows(4, seed=9)


def model_of(steps: int, **options):
    settings = {"semi_amortized_steps": steps, "semi_amortized_learning_rate": 0.1, "injection": "embedding"}
    return perturb(tiny_vae(**settings | options), 0.3)


def bound(model, repeats: int = 60) -> float:
    batch = {name: value.repeat(repeats, 1) for name, value in batch_of(ROWS).items()}
    torch.manual_seed(3)
    with torch.no_grad():
        output = model(**batch)
    return -(output.reconstruction + output.kl).mean().item()


def test_refinement_tightens_the_bound():
    bounds = [bound(model_of(steps)) for steps in (0, 2, 10)]
    assert bounds[0] < bounds[1] < bounds[2]
    with torch.no_grad():
        estimate = model_of(10).estimate_log_likelihood(**batch_of(ROWS), num_samples=2000, generator=row_generators(4))
    assert bounds[2] < estimate.log_likelihood.mean() + 0.05


def test_a_refined_proposal_estimates_the_same_likelihood():
    estimates = [
        model_of(steps).estimate_log_likelihood(**batch_of(ROWS), num_samples=2000, generator=row_generators(4))
        for steps in (0, 10)
    ]
    error = torch.sqrt(estimates[0].standard_error ** 2 + estimates[1].standard_error ** 2)
    assert ((estimates[0].log_likelihood - estimates[1].log_likelihood).abs() < 4 * error).all()
    assert estimates[1].effective_sample_size.mean() > estimates[0].effective_sample_size.mean()


@pytest.mark.parametrize("decoder", ["gpt2", "hf_lvm_lstm_decoder"])
def test_training_differentiates_through_the_steps(decoder):
    """The gradient of the whole procedure against finite differences, in one direction of the encoder's weights."""
    model = model_of(2, decoder=decoder).double().train()
    batch = batch_of(ROWS)

    def loss() -> torch.Tensor:
        return model(**batch, generator=row_generators(4)).loss

    loss().backward()
    weight = model.posterior_head.mean.weight
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).to(weight)
    expected = (weight.grad * direction).sum().item()
    step = 1e-5
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight.add_(sign * step * direction)
            values.append(loss().item())
            weight.sub_(sign * step * direction)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_a_sentence_is_refined_alike_alone_and_in_a_batch():
    model = model_of(3)
    together = model(**batch_of(ROWS), generator=row_generators(4))
    for index, (row, generator) in enumerate(zip(ROWS, row_generators(4), strict=True)):
        alone = model(**batch_of([row]), generator=[generator])
        torch.testing.assert_close(together.latents[index], alone.latents[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.kl[index], alone.kl[0], rtol=1e-4, atol=1e-5)
