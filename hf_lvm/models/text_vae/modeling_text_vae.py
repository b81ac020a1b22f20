"""The text VAE: a latent vector between any encoder and any decoder of transformers.

The model of Bowman et al. (2015) with the parts left open: z ~ p(z), x ~ p(x|z) from a causal decoder, and an encoder that
amortizes q(z|x).
"""

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.cache_utils import Cache

from hf_lvm.backbones.composition import ComposedModel
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.estimators import Draws
from hf_lvm.layers.posteriors import POSTERIORS
from hf_lvm.layers.priors import PRIORS
from hf_lvm.models.text_vae.configuration_text_vae import TextVAEConfig
from hf_lvm.models.text_vae.inference import Inference
from hf_lvm.models.text_vae.likelihood import Likelihood
from hf_lvm.models.text_vae.output_text_vae import TextVAEOutput
from hf_lvm.models.text_vae.text_operations import LatentSpaceOperations
from hf_lvm.objectives import check_combination, kl_terms, log_importance_weights, negative_elbo, negative_iwae
from hf_lvm.objectives.likelihood import sentence_nll


class TextVAEModel(Inference, Likelihood, LatentSpaceOperations, ComposedModel):
    """A variational autoencoder of text.

    Example:

    ```python
    >>> from transformers import BertConfig, GPT2Config
    >>> from hf_lvm import TextVAEConfig, TextVAEModel

    >>> encoder = BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    >>> decoder = GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    >>> vae = TextVAEModel(TextVAEConfig(encoder=encoder, decoder=decoder, latent_size=8, injection="embedding"))
    >>> tokens = torch.tensor([[5, 6, 7, 2]])
    >>> output = vae(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens)
    >>> output.logits.shape, output.latents.shape
    (torch.Size([1, 4, 99]), torch.Size([1, 8]))

    ```

    Args:
        config: what it is made of.
        encoder: a model to use as the encoder, instead of a new one from `config.encoder`.
        decoder: a model to use as the decoder, instead of a new one from `config.decoder`.
    """

    config: TextVAEConfig
    output_class = TextVAEOutput
    base_model_prefix = "text_vae"

    def build_latent(self, config: TextVAEConfig) -> tuple[nn.Module, nn.Module]:
        """The head of q(z|x) and the prior p(z) that the config names."""
        head, prior = POSTERIORS[config.posterior_type], PRIORS[config.prior_type]
        own = {"embedding_size": self.encoder.get_input_embeddings().embedding_dim} if prior.needs_encoder else {}
        return (
            head(
                config.encoder.hidden_size,
                config.latent_size,
                initial_stddev=config.posterior_initial_stddev,
                **config.options_of(head),
            ),
            prior(config.latent_size, **config.options_of(prior), **own),
        )

    @property
    def has_kl_per_dimension(self) -> bool:
        """Whether KL(q(z|x) || p(z)) is a sum over the dimensions of z, which free bits may count one by one."""
        return self.config.prior_type == "standard_normal"

    def typical_vectors(self) -> torch.Tensor:
        """Draws from the prior of a new model."""
        if self.prior.needs_encoder:
            self.prior.start_from_embeddings(self.encoder.get_input_embeddings().weight)
        return self.prior_of(256).sample()

    def condition(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each injection gives the decoder for latents (B, D)."""
        if latents.shape[-1] != self.config.latent_size or latents.dim() != 2:
            raise ValueError(
                f"Latents of shape {tuple(latents.shape)} do not fit: this model takes (batch, {self.config.latent_size})."
            )
        return self.conditioning.condition(latents)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        latents: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        sample_posterior: bool = True,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
        conditions: dict[str, torch.Tensor] | None = None,
        return_dict: bool | None = None,
    ) -> TextVAEOutput:
        """The bound of sentences, the score of labels under given latents, or one decoding step.

        Args:
            input_ids: (B, S), the sentences for the encoder, padded on either side.
            attention_mask: (B, S), nonzero at tokens.
            labels: (B, T), the sentences for the decoder: tokens and EOS, no BOS, -100 where padded (on the right).
            latents: (B, D); scores the labels under these instead of encoding: `kl` is None, `loss` the mean reconstruction.
            decoder_input_ids: (B, T), read instead of the shifted labels (with some words dropped, say).
            sample_posterior: take a sample of q(z|x), in evaluation too; its mode otherwise, which is not the bound.
            generator: None, one generator, or one for each row.
            kl_weight: weight of the KL term in `loss`.
            free_bits: nats that cost nothing in `loss`, in each dimension or in total, as the mode has it.
            free_bits_mode: how, see `hf_lvm.objectives.free_bits`.
            past_key_values, use_cache, logits_to_keep, conditions: for generation.

        Raises:
            ValueError: sentences longer than the positions of a part, latents of the wrong size, unknown modes.
        """
        if labels is None:
            return self.step(decoder_input_ids, latents, conditions, past_key_values, use_cache, logits_to_keep)
        if decoder_input_ids is None:
            decoder_input_ids = self.shift_right(labels)
        if latents is not None:
            logits = self.decode(latents, decoder_input_ids)
            reconstruction = sentence_nll(logits, labels)
            return TextVAEOutput(loss=reconstruction.mean(), reconstruction=reconstruction, logits=logits, latents=latents)
        if input_ids is None:
            raise ValueError("Pass input_ids for the encoder, or latents to score the labels under.")

        check_combination(self.config.objective, self.config.estimator, self.config.num_samples, free_bits_mode=free_bits_mode)
        posterior = self.infer(input_ids, attention_mask, labels, decoder_input_ids, generator, kl_weight)
        prior = self.prior_of(labels.shape[0])
        if sample_posterior:
            draws = self.estimator.draw(posterior, self.config.num_samples, generator)
        else:
            draws = Draws(posterior.mode.unsqueeze(0), posterior)
        samples = draws.latents
        nll, logits = self.score(samples, decoder_input_ids, labels)
        reconstruction = draws.mean(nll)
        divergence = kl_terms(posterior, prior, samples)
        kl, kl_per_dimension = divergence.kl, divergence.per_dimension
        if self.config.objective == "iwae" and sample_posterior:
            log_weights = log_importance_weights(-nll, prior.log_prob(samples), draws.log_posterior, kl_weight=kl_weight)
            loss = negative_iwae(draws.surrogate(log_weights, kl_weight=kl_weight))
        else:
            loss = negative_elbo(
                reconstruction,
                kl,
                kl_per_dimension,
                kl_weight=kl_weight,
                free_bits=free_bits,
                free_bits_mode=free_bits_mode,
            )
        return TextVAEOutput(
            loss=loss,
            reconstruction=reconstruction,
            kl=kl,
            kl_per_dimension=kl_per_dimension,
            logits=logits,
            latents=samples[0],
            posterior=posterior,
        )


AutoConfig.register(TextVAEConfig.model_type, TextVAEConfig)
AutoModel.register(TextVAEConfig, TextVAEModel)
AutoProcessor.register(TextVAEConfig, LatentTextProcessor)
