"""Every posterior beside every prior it goes with: the bound, its gradients, and what is refused."""

import itertools

import pytest
import torch

from hf_lvm import TextVAEConfig
from hf_lvm.layers.latent_families import check_posterior_prior
from hf_lvm.layers.posteriors import POSTERIORS
from hf_lvm.layers.priors import PRIORS
from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_config, tiny_vae


def _goes(posterior: str, prior: str) -> bool:
    try:
        check_posterior_prior(posterior, prior)
    except ValueError:
        return False
    return True


PAIRS = [pair for pair in itertools.product(POSTERIORS, PRIORS) if _goes(*pair)]
ROWS = random_rows(6, seed=4)


def family(posterior: str, prior: str, **options):
    model = tiny_vae("bert", "gpt2", posterior_type=posterior, prior_type=prior, injection="embedding", **options)
    return perturb(model, 0.1)


def batch_for(prior: str) -> dict[str, torch.Tensor]:
    """The sentences; for a p(z|c) each with the sentence before it as its condition."""
    batch = batch_of(ROWS)
    if PRIORS[prior].needs_condition:
        about = batch_of(ROWS[-1:] + ROWS[:-1])
        batch |= {"condition_input_ids": about["input_ids"], "condition_attention_mask": about["attention_mask"]}
    return batch


def test_the_families_that_go_together():
    assert ("von_mises_fisher", "uniform_sphere") in PAIRS and ("gaussian", "vamp") in PAIRS
    assert len(PAIRS) == 5 + 4 + 1 + 1


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_every_parameter_hears_the_bound(posterior, prior):
    model = family(posterior, prior).train()
    output = model(**batch_for(prior), generator=row_generators(6))
    torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
    output.loss.backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # A key's bias moves all scores of a query alike, which softmax does not hear.
    assert [name for name in silent if "key.bias" not in name] == []
    by_dimension = posterior != "von_mises_fisher" and prior in ("standard_normal", "conditional_gaussian")
    assert (output.kl_per_dimension is not None) == by_dimension == model.has_kl_per_dimension


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
@torch.no_grad()
def test_the_bound_is_a_bound_and_survives_saving(posterior, prior, tmp_path):
    model, batch = family(posterior, prior), batch_for(prior)
    many = {name: value.repeat(40, 1) for name, value in batch.items()}
    torch.manual_seed(0)
    elbo = -(lambda output: output.reconstruction + output.kl)(model(**many)).view(40, -1).mean()
    estimate = model.estimate_log_likelihood(**batch, num_samples=500, generator=row_generators(6))
    assert elbo < estimate.log_likelihood.mean() + 3 * estimate.standard_error.mean()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    again = loaded.estimate_log_likelihood(**batch, num_samples=500, generator=row_generators(6))
    torch.testing.assert_close(again.log_likelihood, estimate.log_likelihood, rtol=1e-6, atol=1e-5)
    given = {name: value[:1] for name, value in batch.items() if name.startswith("condition_")}
    assert loaded.generate(max_new_tokens=3, do_sample=False, **given).shape[0] == 1


def test_a_prior_without_a_closed_form_may_give_a_negative_kl():
    model = family("gaussian", "gaussian_mixture")
    with torch.no_grad():
        model.posterior_head.mean.weight.zero_()
        model.posterior_head.log_variance.weight.zero_()
    kl = torch.stack([model(**batch_of(ROWS), generator=row_generators(6, seed=100 * seed)).kl for seed in range(20)])
    assert kl.min() < 0 < kl.mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posterior_type": "von_mises_fisher"}, "unit sphere.*uniform_sphere"),
        ({"prior_type": "uniform_sphere"}, "unit sphere.*von_mises_fisher"),
        ({"posterior_type": "delta", "prior_type": "flow"}, "standard_normal"),
        ({"posterior_type": "cauchy"}, "Unknown posterior_type 'cauchy'"),
        ({"prior_type": "cauchy"}, "Unknown prior_type 'cauchy'"),
        ({"semi_amortized_steps": 2, "posterior_type": "batch_norm"}, "would undo"),
        ({"semi_amortized_steps": -1}, "semi_amortized_steps"),
        ({"context_window": 0}, "context_window must be at least 1"),
        ({"token_embedding_stddev": 0.0}, "token_embedding_stddev"),
        ({"objective": "iwae", "num_samples": 1}, "num_samples"),
        ({"estimator": "dreg"}, "dreg"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_built(options, message):
    with pytest.raises(ValueError, match=message):
        TextVAEConfig(encoder=tiny_config("bert"), decoder=tiny_config("gpt2"), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posterior_type": "delta", "committed_rate": 0.0}, "committed_rate"),
        ({"posterior_type": "batch_norm", "batch_norm_scale": -1.0}, "batch_norm_scale"),
        ({"prior_type": "gaussian_mixture", "prior_components": 0}, "prior_components"),
        ({"prior_type": "flow", "prior_flow_layers": 0}, "prior_flow_layers"),
        ({"decoder": "hf_lvm_lstm_decoder", "context_window": 3}, "attention"),
        ({"decoder": "hf_lvm_dilated_cnn_decoder", "injection": "prefix"}, "forgotten"),
        ({"decoder": "hf_lvm_dilated_cnn_decoder", "context_window": 3}, "attention"),
        ({"injection": "concatenation"}, "choose the decoder 'lstm'"),
        ({"injection": "initial_state"}, "choose the decoder 'lstm'"),
        ({"decoder": "hf_lvm_lstm_decoder", "injection": "memory"}, "memory"),
        ({"decoder": "hf_lvm_dilated_cnn_decoder", "injection": "cross_attention"}, "cross_attention"),
    ],
)
def test_what_a_family_or_decoder_cannot_do_is_refused_when_it_is_built(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_vae(**{"injection": "embedding"} | options)
