import pytest
import torch
from torch.distributions import Independent, Laplace, MultivariateNormal

from hf_lvm.analysis.corpus_posterior import CorpusPosterior
from hf_lvm.objectives.diagnostics import batch_mutual_information, mutual_information

ROWS = [[4, 0, 6], [2], [1, 5, 3]]


def posterior_of(means):
    return Independent(Laplace(means, torch.full_like(means, 0.7)), 1)


def whole_and_in_parts():
    means = torch.randn(7, 3, dtype=torch.float64)
    return posterior_of(means), CorpusPosterior([posterior_of(means[rows]) for rows in ROWS], ROWS)


def test_parts_side_by_side_are_the_distribution_of_the_corpus():
    whole, parts = whole_and_in_parts()
    assert (parts.batch_shape, parts.event_shape) == (whole.batch_shape, whole.event_shape)
    own, every = torch.randn(2, 7, 3, dtype=torch.float64), torch.randn(5, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(parts.log_prob(own), whole.log_prob(own))
    torch.testing.assert_close(parts.log_prob(every), whole.log_prob(every))


def test_mutual_information_of_parts_is_that_of_the_whole():
    whole, parts = whole_and_in_parts()
    latents = whole.sample()
    assert mutual_information(parts, latents) == pytest.approx(mutual_information(whole, latents))
    assert mutual_information(parts, latents, chunk_size=2) == pytest.approx(mutual_information(whole, latents))
    assert batch_mutual_information(parts, latents, 3) == pytest.approx(batch_mutual_information(whole, latents, 3))


def test_a_family_without_independent_dimensions():
    means = torch.randn(4, 2, dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)
    whole = MultivariateNormal(means, covariance)
    parts = CorpusPosterior([MultivariateNormal(means[rows], covariance) for rows in ([3, 1], [0, 2])], [[3, 1], [0, 2]])
    latents = whole.sample()
    assert mutual_information(parts, latents) == pytest.approx(mutual_information(whole, latents))


def test_rows_that_do_not_number_the_texts_are_named():
    part = posterior_of(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"batch shapes \[\(2,\)\] for \[3\] texts"):
        CorpusPosterior([part], [[0, 1, 2]])
    with pytest.raises(ValueError, match="0 to 1, each once"):
        CorpusPosterior([part], [[0, 2]])
    with pytest.raises(ValueError, match=r"event shapes \[\(3,\), \(4,\)\]"):
        CorpusPosterior([part, posterior_of(torch.zeros(1, 4))], [[0, 1], [2]])
