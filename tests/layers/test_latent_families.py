import pytest

from hf_lvm.layers.latent_families import check_posterior_prior
from hf_lvm.layers.posteriors import POSTERIORS
from hf_lvm.layers.priors import PRIORS

LEARNED = ("gaussian_mixture", "vamp", "flow")
TOGETHER = {
    ("von_mises_fisher", "uniform_sphere"),
    *((posterior, "standard_normal") for posterior in ("gaussian", "batch_norm", "delta")),
    *(("gaussian", prior) for prior in LEARNED),
    ("batch_norm", "gaussian_mixture"),
    ("batch_norm", "flow"),
    *((posterior, "conditional_gaussian") for posterior in ("gaussian", "batch_norm")),
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_pair_is_taken_or_both_names_are_in_the_error(posterior, prior):
    if (posterior, prior) in TOGETHER:
        check_posterior_prior(posterior, prior)
    else:
        with pytest.raises(ValueError, match=f"posterior_type '{posterior}'.* prior_type (is )?'{prior}'"):
            check_posterior_prior(posterior, prior)


def test_the_way_out_is_said_from_both_sides():
    with pytest.raises(ValueError, match="beside 'von_mises_fisher' set prior_type to one of 'uniform_sphere', or"):
        check_posterior_prior("von_mises_fisher", "standard_normal")
    with pytest.raises(ValueError, match="beside 'uniform_sphere' set posterior_type to one of 'von_mises_fisher'"):
        check_posterior_prior("gaussian", "uniform_sphere")


def test_unknown_names():
    with pytest.raises(ValueError, match="Unknown posterior_type 'vmf'"):
        check_posterior_prior("vmf", "standard_normal")
    with pytest.raises(ValueError, match="Unknown prior_type 'sphere'"):
        check_posterior_prior("gaussian", "sphere")


def test_every_option_is_an_argument_of_its_class():
    for family in (*POSTERIORS.values(), *PRIORS.values()):
        assert set(family.config_options.values()) <= set(family.__init__.__kwdefaults__ or {})
