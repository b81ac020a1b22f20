"""The text VAE: a latent vector between any encoder and any decoder of transformers.

The model of Bowman et al. (2015) with the parts left open: z ~ p(z), x ~ p(x|z) from a causal decoder, and an encoder that
amortizes q(z|x).
"""

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerateOutput

from hf_lvm.backbones.composition import ComposedModel
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators, standard_normal
from hf_lvm.estimators import Draws
from hf_lvm.layers.decoder_interface import in_evaluation_mode
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
        own |= {"hidden_size": config.encoder.hidden_size} if prior.needs_condition else {}
        # q(z|x, c) reads the encodings of both texts.
        read = 2 if prior.needs_condition else 1
        return (
            head(
                read * config.encoder.hidden_size,
                config.latent_size,
                initial_stddev=config.posterior_initial_stddev,
                **config.options_of(head),
            ),
            prior(config.latent_size, **config.options_of(prior), **own),
        )

    @property
    def has_kl_per_dimension(self) -> bool:
        """Whether KL(q(z|x) || p(z)) is a sum over the dimensions of z, which free bits may count one by one."""
        return self.config.prior_type in ("standard_normal", "conditional_gaussian")

    def typical_vectors(self) -> torch.Tensor:
        """Draws from the prior of a new model."""
        if self.prior.needs_encoder:
            self.prior.start_from_embeddings(self.encoder.get_input_embeddings().weight)
        if self.prior.needs_condition:
            return standard_normal(256, self.config.latent_size, device=self.device, dtype=self.latent_dtype).sample()
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
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
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
            condition_input_ids, condition_attention_mask: (B, C), the texts c of p(z|c) and q(z|x, c), padded on either side,
                with a `conditional_gaussian` prior; the bound is then of log p(x|c).

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
        about = {"condition_input_ids": condition_input_ids, "condition_attention_mask": condition_attention_mask}
        posterior = self.infer(input_ids, attention_mask, labels, decoder_input_ids, generator, kl_weight, **about)
        prior = self.prior_of(labels.shape[0], **about)
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

    @torch.no_grad()
    def generate(
        self,
        latents: torch.Tensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
        generation_config=None,
        **options,
    ) -> GenerateOutput | torch.LongTensor:
        """Text from latents, with every option of transformers' `generate`; see `ComposedModel.generate`.

        Args:
            latents: of B texts. Without them, the modes of q(z|x) of `input_ids`; without these too, draws from the prior.
            input_ids, attention_mask: (B, S), sentences to encode, padded on either side.
            decoder_input_ids, decoder_attention_mask: (B, P), prompts to continue, padded on either side.
            condition_input_ids, condition_attention_mask: (B, C), the texts that a `conditional_gaussian` prior reads: z is
                the mode of q(z|x, c), or without sentences a draw from p(z|c).

        Returns:
            (B * num_return_sequences, L): start token + prompt + new tokens of each row, padded on the right.

        Raises:
            ValueError: latents beside what they are to be found from, or a prior without the texts it reads.
        """
        if latents is not None and condition_input_ids is not None:
            raise ValueError("The decoder hears of a condition through z alone: pass latents or condition_input_ids.")
        if condition_input_ids is not None:
            about = (condition_input_ids, condition_attention_mask)
            with in_evaluation_mode(self):
                if input_ids is None:
                    latents = self.prior_of(len(condition_input_ids), *about).sample()
                else:
                    latents = self.encode(input_ids, attention_mask, *about).mode
            input_ids = attention_mask = None
        return super().generate(
            latents=latents,
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            generation_config=generation_config,
            **options,
        )


AutoConfig.register(TextVAEConfig.model_type, TextVAEConfig)
AutoModel.register(TextVAEConfig, TextVAEModel)
AutoProcessor.register(TextVAEConfig, LatentTextProcessor)
