"""The composed model: an encoder, a decoder, and what joins them to a latent that a subclass brings."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Distribution
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerateOutput
from transformers.utils import ModelOutput

from hf_lvm.backbones.composition.configuration import ComposedConfig
from hf_lvm.backbones.composition.lengths import check_length
from hf_lvm.backbones.composition.parts import TwoParts
from hf_lvm.backbones.composition.scoring import Scoring
from hf_lvm.backbones.decoders import build_decoder
from hf_lvm.backbones.encoders import build_encoder, encode_tokens, encoder_positions
from hf_lvm.estimators import build_estimator
from hf_lvm.generation.latent_generation import LatentGenerationMixin
from hf_lvm.layers.alignment import left_align
from hf_lvm.layers.conditioning import LatentConditioning
from hf_lvm.layers.decoder_interface import in_evaluation_mode, is_on_meta
from hf_lvm.layers.pooling import Pooling


@dataclass
class ComposedOutput(ModelOutput):
    """What a forward pass of a composed model returns. B sentences, T decoder tokens, V words.

    Attributes:
        loss: scalar, in nats per sentence; see each model.
        reconstruction: (B,), -log p(x|z) in nats per sentence, the mean over samples.
        kl: (B,), KL(q(z|x) || p(z)) in nats, never weighted.
        kl_per_dimension: (B, dimensions of z), its parts; None where it has none.
        logits: (B, T, V), lined up with the labels; of the first sample.
        latents: the first sample of each sentence.
        posterior: q(z|x), a distribution of batch shape (B,).
        past_key_values, conditions: what generation carries from step to step.
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    kl_per_dimension: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: Distribution | None = None
    past_key_values: Cache | None = None
    conditions: dict[str, torch.Tensor] | None = None


class ComposedModel(TwoParts, Scoring, LatentGenerationMixin, PreTrainedModel):
    """An encoder, a decoder, and what joins them to a latent.

    A subclass brings the latent: `build_latent`, `typical_vectors`, `prior_of`, `condition`, and a `forward` that begins with
    `self.step(...)` when there are no labels. It writes no attention of its own.

    Args:
        config: what it is made of.
        encoder: a model to use as the encoder, instead of a new one from `config.encoder`.
        decoder: a model to use as the decoder, instead of a new one from `config.decoder`.
    """

    config: ComposedConfig
    output_class: type[ComposedOutput] = ComposedOutput
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
        config: ComposedConfig,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ):
        super().__init__(config)
        self.encoder = build_encoder(config.encoder) if encoder is None else encoder
        self.decoder = build_decoder(config.decoder) if decoder is None else decoder
        # One config object a part, so that a change of the one is a change of the other.
        self.config.encoder, self.config.decoder = self.encoder.config, self.decoder.config
        self.build_adapters()
        self.pooling = Pooling(config.pooling, config.encoder.hidden_size, getattr(config.encoder, "bidirectional", False))
        self.posterior_head, self.prior = self.build_latent(config)
        self.conditioning = LatentConditioning(
            self.decoder,
            config.injection,
            config.vector_size,
            config.injection_length,
            config.memory_shape,
            config.context_window,
        )
        config.memory_shape = self.conditioning.memory_shape
        if config.tie_encoder_decoder_embeddings:
            self._tie_parts()
        self.post_init()
        # Afterwards, because what an estimator learns begins where the estimator says, and not as other layers do.
        self.estimator = self.build_estimator(config)
        self.neutralise_forced_tokens()
        if not is_on_meta(self.decoder):
            if self.decoder.device.type != "cpu":
                self.to(self.decoder.device)  # what is new goes where a decoder was loaded to
            self._begin(own_decoder=decoder is None)

    # ---- what a subclass says about its latent -----------------------------------------------------------------------

    def build_latent(self, config: ComposedConfig) -> tuple[nn.Module, nn.Module]:
        """The head of q(z|x), from a pooled encoding (B, H) to a distribution, and the prior."""
        raise NotImplementedError

    def build_estimator(self, config: ComposedConfig) -> nn.Module:
        """The gradient estimator that the config names."""
        return build_estimator(config.estimator)

    def typical_vectors(self) -> torch.Tensor:
        """(N, vector size), what the decoder of a new model will be conditioned on."""
        raise NotImplementedError

    def condition(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each injection gives the decoder for B latents.

        Raises:
            ValueError: latents that are not of this model.
        """
        raise NotImplementedError

    # ---- the model ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _begin(self, own_decoder: bool) -> None:
        """What a new model needs beside the initial weights of its modules: one part brought to the scale of another."""
        if own_decoder and self.config.token_embedding_stddev is not None:
            self.decoder.get_input_embeddings().weight.normal_(0.0, self.config.token_embedding_stddev)
        with torch.random.fork_rng(devices=[]), in_evaluation_mode(self):
            torch.manual_seed(0)
            typical = self.typical_vectors()
        self.conditioning.calibrate(self.decoder, typical)

    def pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The encoder's vector of each of B sentences (B, S), padded on either side: (B, H).

        Raises:
            ValueError: sentences longer than the encoder's positions.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        check_length(input_ids.shape[1], encoder_positions(self.encoder), "encoder", self.config.encoder.model_type)
        input_ids, attention_mask = left_align(input_ids, attention_mask)
        return self.pooling(encode_tokens(self.encoder, input_ids, attention_mask), attention_mask)

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Distribution:
        """q(z|x) of sentences (B, S), padded on either side, by the encoder alone: a distribution of batch shape (B,).

        Raises:
            ValueError: sentences longer than the encoder's positions.
        """
        return self.posterior_head(self.pooled(input_ids, attention_mask))

    def step(
        self,
        decoder_input_ids: torch.Tensor | None,
        latents: torch.Tensor | None,
        conditions: dict[str, torch.Tensor] | None,
        past_key_values: Cache | None,
        use_cache: bool,
        logits_to_keep: int,
    ) -> ComposedOutput:
        """One step of generation: tokens (B, T) under latents, or under the conditions that `condition` made of them.

        Raises:
            ValueError: no tokens, or neither latents nor conditions.
        """
        if decoder_input_ids is None or (latents is None and conditions is None):
            raise ValueError("Pass labels to score, or decoder_input_ids and latents to decode.")
        if conditions is None:
            conditions = self.condition(latents)
        length = decoder_input_ids.shape[1]
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            length += past_key_values.get_seq_length() - self.conditioning.positions_used
        check_length(length, self.positions_left, "decoder", self.config.decoder.model_type)
        decoded = self.conditioning.decode(
            self.decoder, decoder_input_ids, conditions, past_key_values, use_cache, logits_to_keep
        )
        return self.output_class(
            logits=decoded.logits, latents=latents, past_key_values=decoded.past_key_values, conditions=conditions
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
            latents: of B texts. Without them, the modes of q(z|x) of `input_ids`; without these too, draws from the prior.
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

    def injection_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of what the decoder is told of z, the injections, and of the prior."""
        shared = {id(parameter) for _, parameter in self.inference_parameters()}
        return (pair for pair in self._named_parameters_of("conditioning", "prior") if id(pair[1]) not in shared)

    @property
    def latent_dtype(self) -> torch.dtype:
        """The precision of q and p: that of the weights, and float32 or better."""
        return torch.promote_types(self.dtype, torch.float32)

    # ---- what transformers asks for ----------------------------------------------------------------------------------

    def initialize_weights(self) -> None:
        """New weights where none were loaded; called by transformers.

        It visits a module from outside its own package only if that holds weights itself. The heads and injections here set
        the weights of layers they hold, so they are visited by hand.
        """
        super().initialize_weights()
        for module in self.modules():
            if hasattr(module, "init_weights") and not isinstance(module, PreTrainedModel):
                module.init_weights()
