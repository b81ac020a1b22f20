"""VampPrior: the prior is a mixture of the posteriors of learned inputs (Tomczak and Welling 2018)."""

from typing import ClassVar

import torch
from torch import nn
from torch.distributions import Distribution
from transformers import initialization as init

from hf_lvm.distributions import DiagonalGaussian, GaussianMixture
from hf_lvm.layers.priors.gaussian_mixture import check_components


class VampPrior(nn.Module):
    """p(z) = 1/C sum_c q(z | u_c), where each pseudo-input u_c is a learned sequence of token embeddings.

    The model that owns this prior runs its encoder and posterior head on `encoder_inputs()` and hands over what comes out:
    `prior(batch_size, posterior=posterior)`. Gradients reach the pseudo-inputs and, through the prior too, the encoder.

    KL(q(z|x) || p(z)) has no closed form and is estimated from samples of q; such an estimate may be negative for a sentence.

    Args:
        latent_size: D.
        embedding_size: E, of the encoder's token embeddings.
        components: C, at least 1.
        length: L, positions of a pseudo-input, at least 1.

    Raises:
        ValueError: no component, or pseudo-inputs without a position.
    """

    latent_space: ClassVar[str] = "vectors"
    config_options: ClassVar[dict[str, str]] = {"prior_components": "components", "prior_pseudo_input_length": "length"}
    needs_encoder: ClassVar[bool] = True
    needs_condition: ClassVar[bool] = False

    def __init__(self, latent_size: int, *, embedding_size: int, components: int = 10, length: int = 8):
        super().__init__()
        check_components(components)
        if length < 1:
            raise ValueError(f"prior_pseudo_input_length must be at least 1, but is {length}.")
        self.latent_size = latent_size
        self.pseudo_inputs = nn.Parameter(torch.zeros(components, length, embedding_size))
        self.init_weights()

    def encoder_inputs(self) -> dict[str, torch.Tensor]:
        """What the encoder reads: `inputs_embeds` (C, L, E) and an `attention_mask` of ones (C, L)."""
        mask = torch.ones(self.pseudo_inputs.shape[:2], dtype=torch.long, device=self.pseudo_inputs.device)
        return {"inputs_embeds": self.pseudo_inputs, "attention_mask": mask}

    def forward(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        posterior: Distribution | None = None,
    ) -> GaussianMixture:
        """The prior of a batch: a distribution over (B, D).

        Args:
            posterior: q(z | u_1..u_C), a diagonal Gaussian over (C, D).

        Raises:
            ValueError: no posterior, one that is not Gaussian, or one of another shape.
        """
        expected = (self.pseudo_inputs.shape[0], self.latent_size)
        if not isinstance(posterior, DiagonalGaussian) or posterior.mean.shape != expected:
            got = "nothing" if posterior is None else f"{type(posterior).__name__} of shape {tuple(posterior.mean.shape)}"
            raise ValueError(
                f"The prior 'vamp' needs the posterior of its pseudo-inputs, a diagonal Gaussian of shape {expected}, but got "
                f"{got}: encode prior.encoder_inputs() and pass posterior=."
            )
        dtype = torch.promote_types(dtype, torch.float32)
        mean, stddev = (value.to(device, dtype) for value in (posterior.mean, posterior.stddev))
        return GaussianMixture(mean.new_zeros(expected[0]), mean, stddev, batch_size)

    @torch.no_grad()
    def start_from_embeddings(self, embeddings: torch.Tensor) -> None:
        """Make each position of a pseudo-input a random row of the token embeddings (V, E), as if it were random text."""
        rows = torch.randint(len(embeddings), self.pseudo_inputs.shape[:2], device=embeddings.device)
        self.pseudo_inputs.copy_(embeddings[rows])

    def init_weights(self) -> None:
        """Random vectors of the size at which transformers start their token embeddings."""
        init.normal_(self.pseudo_inputs, std=0.02)
