"""Configuration of the text VAE."""

from huggingface_hub.dataclasses import strict

from hf_lvm.backbones.composition import ComposedConfig
from hf_lvm.layers.latent_families import check_posterior_prior
from hf_lvm.objectives import check_combination


@strict
class TextVAEConfig(ComposedConfig):
    """What a `TextVAEModel` is made of.

    Args:
        latent_size: dimensions of z.
        posterior_type: family of q(z|x): `gaussian` (diagonal), `batch_norm`, `delta`, `von_mises_fisher`; see
            `hf_lvm.layers.posteriors`.
        posterior_initial_stddev: standard deviation of q(z|x) in a new model.
        posterior_concentration: of a `von_mises_fisher` posterior, for all sentences; None lets the encoder choose it.
        batch_norm_scale: of a `batch_norm` posterior, the standard deviation of its means over a batch.
        committed_rate: of a `delta` posterior, the nats that every sentence costs at least.
        prior_type: family of p(z): `standard_normal`, `gaussian_mixture`, `vamp`, `flow`, `uniform_sphere`; see
            `hf_lvm.layers.priors`. With `conditional_gaussian` it is p(z|c) of a text c, and the model a conditional VAE (Sohn
            et al. 2015; of dialogs, Zhao et al. 2017): the encoder reads c too, for p(z|c) and for q(z|x, c), and the decoder
            hears of c through z alone.
        prior_components: of a `gaussian_mixture` or `vamp` prior.
        prior_pseudo_input_length: of a `vamp` prior, the tokens of a pseudo-input.
        prior_flow_layers: of a `flow` prior.
        objective: bound that is trained: `elbo`, or `iwae`, the bound of `num_samples` samples (Burda et al. 2016).
        estimator: of its gradient: `reparameterization`, or for `iwae` also `dreg` (Tucker et al. 2019).
        num_samples: samples of z for each sentence in the bound.
        semi_amortized_steps: gradient steps by which the encoder's q(z|x) is refined for every sentence, in training and in
            evaluation (Kim et al. 2018); 0 for none.
        semi_amortized_learning_rate, semi_amortized_momentum, semi_amortized_max_grad_norm: of these steps; the rate is per
            nat of one sentence, see `hf_lvm.objectives.refine_gaussian`.
        encoder, decoder, injection, pooling and the others: see `ComposedConfig`.

    Raises:
        ValueError: an unknown name, or a combination that makes no sense.
    """

    model_type = "hf_lvm_text_vae"

    latent_size: int = 32
    posterior_type: str = "gaussian"
    posterior_initial_stddev: float | int = 1.0
    posterior_concentration: float | int | None = None
    batch_norm_scale: float | int = 0.6
    committed_rate: float | int = 5.0
    prior_type: str = "standard_normal"
    prior_components: int = 10
    prior_pseudo_input_length: int = 8
    prior_flow_layers: int = 4
    objective: str = "elbo"
    estimator: str = "reparameterization"
    num_samples: int = 1
    semi_amortized_steps: int = 0
    semi_amortized_learning_rate: float | int = 0.03
    semi_amortized_momentum: float | int = 0.5
    semi_amortized_max_grad_norm: float | int = 28.0

    @property
    def vector_size(self) -> int:
        """Size of the vector that the decoder is conditioned on: z itself."""
        return self.latent_size

    def validate_parts(self):
        """The parts exist and go together."""
        super().validate_parts()
        check_posterior_prior(self.posterior_type, self.prior_type)
        check_combination(self.objective, self.estimator, self.num_samples)
        self._check_semi_amortized()
        self.check_at_least_one("latent_size")
        if self.posterior_initial_stddev <= 0:
            raise ValueError(f"posterior_initial_stddev must be positive, but is {self.posterior_initial_stddev}.")

    def _check_semi_amortized(self) -> None:
        if self.semi_amortized_steps < 0:
            raise ValueError(f"semi_amortized_steps must be 0 or more, but is {self.semi_amortized_steps}.")
        if self.semi_amortized_steps and self.posterior_type != "gaussian":
            raise ValueError(
                f"semi_amortized_steps refine a Gaussian freely, which would undo what posterior_type {self.posterior_type!r} "
                "is for: set posterior_type to 'gaussian', or semi_amortized_steps to 0."
            )
