"""The text VAE: a latent vector between any encoder and any decoder of transformers.

The model of Bowman et al. (2015) with the parts left open: z ~ p(z), x ~ p(x|z) from a causal decoder, and an encoder that
amortizes q(z|x). It writes no attention of its own.
"""

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerateOutput

from hf_lvm.backbones.adapters import add_adapter
from hf_lvm.backbones.decoders import build_decoder, decoder_positions
from hf_lvm.backbones.encoders import build_encoder
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.estimators import Draws, build_estimator
from hf_lvm.generation.latent_generation import LatentGenerationMixin
from hf_lvm.layers.conditioning import LatentConditioning
from hf_lvm.layers.decoder_interface import in_evaluation_mode, is_on_meta
from hf_lvm.layers.pooling import Pooling
from hf_lvm.layers.posteriors import POSTERIORS
from hf_lvm.layers.priors import PRIORS
from hf_lvm.models.text_vae.configuration_text_vae import TextVAEConfig
from hf_lvm.models.text_vae.inference import Inference
from hf_lvm.models.text_vae.lengths import check_length
from hf_lvm.models.text_vae.likelihood import Likelihood
from hf_lvm.models.text_vae.output_text_vae import TextVAEOutput
from hf_lvm.models.text_vae.parts import TwoParts
from hf_lvm.models.text_vae.text_operations import TextOperations
from hf_lvm.objectives import check_combination, kl_terms, log_importance_weights, negative_elbo, negative_iwae
from hf_lvm.objectives.likelihood import sentence_nll, shift_right


class TextVAEModel(TwoParts, Inference, Likelihood, LatentGenerationMixin, TextOperations, PreTrainedModel):
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
    base_model_prefix = "text_vae"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _keep_in_fp32_modules_strict = {"posterior_head", "prior"}

    def __init__(
        self,
        config: TextVAEConfig,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ):
        super().__init__(config)
        self.encoder = build_encoder(config.encoder) if encoder is None else encoder
        self.decoder = build_decoder(config.decoder) if decoder is None else decoder
        # One config object a part, so that a change of the one is a change of the other.
        self.config.encoder, self.config.decoder = self.encoder.config, self.decoder.config
        for part in ("encoder", "decoder"):
            add_adapter(getattr(self, part), getattr(config, f"{part}_adapter"))
        hidden_size = config.encoder.hidden_size
        self.pooling = Pooling(config.pooling, hidden_size, getattr(config.encoder, "bidirectional", False))
        head, prior = POSTERIORS[config.posterior_type], PRIORS[config.prior_type]
        self.posterior_head = head(
            hidden_size, config.latent_size, initial_stddev=config.posterior_initial_stddev, **config.options_of(head)
        )
        own = {"embedding_size": self.encoder.get_input_embeddings().embedding_dim} if prior.needs_encoder else {}
        self.prior = prior(config.latent_size, **config.options_of(prior), **own)
        self.conditioning = LatentConditioning(
            self.decoder,
            config.injection,
            config.latent_size,
            config.injection_length,
            config.memory_shape,
            config.context_window,
        )
        config.memory_shape = self.conditioning.memory_shape
        self.estimator = build_estimator(config.estimator)
        if config.tie_encoder_decoder_embeddings:
            self._tie_parts()
        self.post_init()
        self.neutralise_forced_tokens()
        if not is_on_meta(self.decoder):
            self._begin(own_decoder=decoder is None)

    @torch.no_grad()
    def _begin(self, own_decoder: bool) -> None:
        """What a new model needs beside the initial weights of its modules: one part brought to the scale of another."""
        if own_decoder and self.config.token_embedding_stddev is not None:
            self.decoder.get_input_embeddings().weight.normal_(0.0, self.config.token_embedding_stddev)
        with torch.random.fork_rng(devices=[]), in_evaluation_mode(self):
            torch.manual_seed(0)
            if self.prior.needs_encoder:
                self.prior.start_from_embeddings(self.encoder.get_input_embeddings().weight)
            typical = self.prior_of(256).sample()
        self.conditioning.calibrate(self.decoder, typical)

    # ---- the model -------------------------------------------------------------------------------------------------

    def condition(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each injection gives the decoder for latents (B, D)."""
        if latents.shape[-1] != self.config.latent_size or latents.dim() != 2:
            raise ValueError(
                f"Latents of shape {tuple(latents.shape)} do not fit: this model takes (batch, {self.config.latent_size})."
            )
        return self.conditioning.condition(latents)

    def shift_right(self, labels: torch.Tensor) -> torch.Tensor:
        """What the decoder reads to predict labels (B, T): the start token, then all labels but the last."""
        return shift_right(labels, self.start_token_id, self.config.pad_token_id)

    @property
    def start_token_id(self) -> int:
        """The token every sentence begins with in the decoder; it is never predicted."""
        if self.config.decoder_start_token_id is None:
            raise ValueError(
                "The decoder has no start token (no bos_token_id and no pad_token_id in its config): set "
                "config.decoder_start_token_id."
            )
        return self.config.decoder_start_token_id

    @property
    def positions_left(self) -> int | None:
        """Positions of the decoder for start token and text, besides those the latent takes; None without a limit."""
        positions = decoder_positions(self.decoder)
        return None if positions is None else positions - self.conditioning.positions_used

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
            if decoder_input_ids is None or (latents is None and conditions is None):
                raise ValueError("Pass labels to score, or decoder_input_ids and latents to decode.")
            return self._step(decoder_input_ids, latents, conditions, past_key_values, use_cache, logits_to_keep)
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

    @torch.no_grad()
    def generate(
        self,
        latents: torch.Tensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        generation_config=None,
        **options,
    ) -> GenerateOutput | torch.LongTensor:
        """Text from latents, with every option of transformers' `generate`.

        Args:
            latents: (B, D). Without them, the posterior means of `input_ids`; without these too, draws from the prior.
            input_ids, attention_mask: (B, S), sentences to encode, padded on either side.
            decoder_input_ids, decoder_attention_mask: (B, P), prompts to continue, padded on either side.

        Returns:
            (B * num_return_sequences, L): start token + prompt + new tokens, padded on the right.

        Raises:
            ValueError: both latents and sentences to encode, or prompts that do not go with the latents.
        """
        if latents is not None and input_ids is not None:
            raise ValueError("Pass latents or input_ids to generate from, not both; a prompt is decoder_input_ids.")
        if latents is None:
            if input_ids is not None:
                with in_evaluation_mode(self):
                    latents = self.encode(input_ids, attention_mask).mode
            else:
                batch_size = 1 if decoder_input_ids is None else decoder_input_ids.shape[0]
                latents = self.prior_of(batch_size).sample()
        return self.generate_from_latents(latents, decoder_input_ids, decoder_attention_mask, generation_config, **options)

    # ---- its parts -------------------------------------------------------------------------------------------------

    def _step(self, decoder_input_ids, latents, conditions, past_key_values, use_cache, logits_to_keep):
        if conditions is None:
            conditions = self.condition(latents)
        length = decoder_input_ids.shape[1]
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            length += past_key_values.get_seq_length() - self.conditioning.positions_used
        check_length(length, self.positions_left, "decoder", self.config.decoder.model_type)
        decoded = self.conditioning.decode(
            self.decoder, decoder_input_ids, conditions, past_key_values, use_cache, logits_to_keep
        )
        return TextVAEOutput(
            logits=decoded.logits, latents=latents, past_key_values=decoded.past_key_values, conditions=conditions
        )

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's token embeddings, the ones `input_ids` look up."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, embeddings: nn.Module) -> None:
        self.encoder.set_input_embeddings(embeddings)

    def get_encoder(self, modality: str | None = None) -> PreTrainedModel:
        return self.encoder

    def get_decoder(self) -> PreTrainedModel:
        return self.decoder

    def initialize_weights(self) -> None:
        """New weights where none were loaded; called by transformers.

        It visits a module from outside its own package only if that holds weights itself. The heads and injections here set
        the weights of layers they hold, so they are visited by hand.
        """
        super().initialize_weights()
        for module in self.modules():
            if hasattr(module, "init_weights") and not isinstance(module, PreTrainedModel):
                module.init_weights()


AutoConfig.register(TextVAEConfig.model_type, TextVAEConfig)
AutoModel.register(TextVAEConfig, TextVAEModel)
AutoProcessor.register(TextVAEConfig, LatentTextProcessor)
