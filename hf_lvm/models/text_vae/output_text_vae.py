"""What a text VAE returns."""

from dataclasses import dataclass

from hf_lvm.backbones.composition import ComposedOutput


@dataclass
class TextVAEOutput(ComposedOutput):
    """What a forward pass of a text VAE returns. B sentences, T decoder tokens, D latent dimensions, V words.

    Attributes:
        loss: scalar, the weighted negative bound in nats per sentence, averaged over the batch. With `kl_weight=1` and no free
            bits it is the negative ELBO, or under `objective: iwae` the negative bound of `num_samples` samples.
        reconstruction: (B,), -log p(x|z) in nats per sentence, the mean over samples.
        kl: (B,), KL(q(z|x) || p(z)) in nats, never weighted. Under a learned prior (`gaussian_mixture`, `vamp`, `flow`) it is
            estimated from the samples and may be negative for a sentence.
        kl_per_dimension: (B, D), its parts; None where it has none.
        logits: (B, T, V), lined up with the labels; of the first sample.
        latents: (B, D), the first sample. Under the estimator `dreg` a gradient taken through it is that estimator's.
        posterior: q(z|x), a distribution over (B, D).
        past_key_values, conditions: what generation carries from step to step.
    """
