"""The text VAE: a latent vector between any encoder and any decoder of transformers.

The model of Bowman et al. (2015) with the parts left open: z ~ N(0, I), x ~ p(x|z) from a causal decoder, and an encoder that
amortizes q(z|x). It writes no attention of its own.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerateOutput
from transformers.utils import ModelOutput

from hf_lvm.backbones.adapters import adapter_config, add_adapter, freeze_beside_adapter
from hf_lvm.backbones.decoders import build_decoder, decoder_part, decoder_positions, load_decoder
from hf_lvm.backbones.encoders import build_encoder, encode_tokens, encoder_part, encoder_positions, load_encoder
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.estimators import ESTIMATORS
from hf_lvm.generation.latent_generation import LatentGenerationMixin
from hf_lvm.layers.alignment import left_align
from hf_lvm.layers.conditioning import LatentConditioning
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.layers.pooling import Pooling
from hf_lvm.layers.posteriors import POSTERIORS
from hf_lvm.layers.priors import PRIORS
from hf_lvm.models.text_vae.configuration_text_vae import TextVAEConfig
from hf_lvm.models.text_vae.text_operations import TextOperations
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights, negative_elbo

# Logits held at once while a likelihood is estimated, in numbers: enough to keep a GPU busy, few enough for a CPU's cache.
MAX_LOGITS = {"cpu": 2**22, "cuda": 2**26}


@dataclass
class TextVAEOutput(ModelOutput):
    """What a forward pass of a text VAE returns. B sentences, T decoder tokens, D latent dimensions, V words.

    Attributes:
        loss: scalar, the weighted negative bound in nats per sentence, averaged over the batch. With `kl_weight=1` and no free
            bits it is the negative ELBO.
        reconstruction: (B,), -log p(x|z) in nats per sentence, the mean over samples.
        kl: (B,), KL(q(z|x) || p(z)) in nats, never weighted.
        kl_per_dimension: (B, D), its parts.
        logits: (B, T, V), lined up with the labels; of the first sample.
        latents: (B, D), the first sample.
        posterior: q(z|x), a distribution over (B, D).
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


class TextVAEModel(LatentGenerationMixin, TextOperations, PreTrainedModel):
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
    _keep_in_fp32_modules_strict = {"posterior_head"}

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
        self.pooling = Pooling(config.pooling, hidden_size)
        self.posterior_head = POSTERIORS[config.posterior_type](
            hidden_size, config.latent_size, initial_stddev=config.posterior_initial_stddev
        )
        self.prior = PRIORS[config.prior_type](config.latent_size)
        self.conditioning = LatentConditioning(
            self.decoder, config.injection, config.latent_size, config.injection_length, config.memory_shape
        )
        config.memory_shape = self.conditioning.memory_shape
        if config.tie_encoder_decoder_embeddings:
            self._tie_parts()
        self.post_init()
        self.neutralise_forced_tokens()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            typical = self.prior(256).sample()
        self.conditioning.calibrate(self.decoder, typical)

    @classmethod
    def from_encoder_decoder_pretrained(
        cls, encoder: str | PreTrainedModel, decoder: str | PreTrainedModel, **kwargs
    ) -> "TextVAEModel":
        """A text VAE from two pretrained parts, with a new latent between them.

        Args:
            encoder: a folder, a hub id, or a model (also one that `peft` has given a LoRA adapter).
            decoder: the same.
            kwargs: those prefixed `encoder_` or `decoder_` reach that part's config or `from_pretrained`; the others are keys
                of `TextVAEConfig`.
        """
        own = {key: kwargs.pop(key) for key in list(kwargs) if key in _CONFIG_KEYS}
        options = {
            part: {key.removeprefix(f"{part}_"): kwargs.pop(key) for key in list(kwargs) if key.startswith(f"{part}_")}
            for part in ("encoder", "decoder")
        }
        if kwargs:
            raise ValueError(
                f"Unknown option {', '.join(map(repr, kwargs))}: an option of a part begins with encoder_ or decoder_, and "
                f"the keys of TextVAEConfig are {', '.join(sorted(_CONFIG_KEYS))}."
            )
        for part, given in (("encoder", encoder), ("decoder", decoder)):
            if options[part] and not isinstance(given, str):
                raise ValueError(
                    f"{', '.join(f'{part}_{key}' for key in options[part])} cannot reach the {part}, which is already built: "
                    "set it on the model, or pass a folder or a hub id."
                )
        if isinstance(encoder, str):
            encoder = load_encoder(encoder, **options["encoder"])
        if isinstance(decoder, str):
            with_cross_attention = "cross_attention" in own.get("injection", "")
            decoder = load_decoder(decoder, cross_attention=with_cross_attention, **options["decoder"])
        encoder, own["encoder_adapter"] = adapter_config(encoder)
        decoder, own["decoder_adapter"] = adapter_config(decoder)
        encoder, decoder = encoder_part(encoder), decoder_part(decoder)
        config = TextVAEConfig(encoder=encoder.config, decoder=decoder.config, **own)
        return cls(config, encoder=encoder, decoder=decoder)

    @classmethod
    def from_pretrained(cls, *args, output_loading_info: bool = False, **kwargs):
        """A saved text VAE; see `PreTrainedModel.from_pretrained`.

        Raises:
            ValueError: weights are missing from the checkpoint. They would be left as they happen to be initialised.
        """
        model, loading_info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        missing = sorted(loading_info["missing_keys"])
        if missing:
            raise ValueError(
                f"The checkpoint lacks {len(missing)} of this model's tensors, the first is {missing[0]!r}: it is not whole, "
                "or was saved from a model with other settings. Load it with the config it was saved with."
            )
        for part in ("encoder", "decoder"):
            freeze_beside_adapter(getattr(model, part), getattr(model.config, f"{part}_adapter"))
        return (model, loading_info) if output_loading_info else model

    # ---- the model -------------------------------------------------------------------------------------------------

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Distribution:
        """q(z|x) of sentences (B, S), padded on either side: a distribution over (B, D).

        Raises:
            ValueError: sentences longer than the encoder's positions.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        _check_length(input_ids.shape[1], encoder_positions(self.encoder), "encoder", self.config.encoder.model_type)
        input_ids, attention_mask = left_align(input_ids, attention_mask)
        hidden = encode_tokens(self.encoder, input_ids, attention_mask)
        return self.posterior_head(self.pooling(hidden, attention_mask))

    def condition(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each injection gives the decoder for latents (B, D)."""
        if latents.shape[-1] != self.config.latent_size or latents.dim() != 2:
            raise ValueError(
                f"Latents of shape {tuple(latents.shape)} do not fit: this model takes (batch, {self.config.latent_size})."
            )
        return self.conditioning.condition(latents)

    def shift_right(self, labels: torch.Tensor) -> torch.Tensor:
        """What the decoder reads to predict labels (B, T): the start token, then all labels but the last."""
        if labels.device.type == "cpu" and bool(((labels[:, :-1] == -100) & (labels[:, 1:] != -100)).any()):
            raise ValueError("Labels are padded with -100 on the right only; here a -100 stands before a token.")
        start = labels.new_full((labels.shape[0], 1), self.start_token_id)
        return torch.cat([start, labels[:, :-1]], dim=1).masked_fill_(_shifted_padding(labels), self._filler_id)

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

    @property
    def _filler_id(self) -> int:
        # Read only after the end of a sentence, where no logit is scored.
        return self.start_token_id if self.config.pad_token_id is None else self.config.pad_token_id

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
            sample_posterior: take a sample of q(z|x), in evaluation too; its mean otherwise, which is not the bound.
            generator: None, one generator, or one for each row.
            kl_weight: weight of the KL term in `loss`.
            free_bits: nats per dimension that cost nothing in `loss`.
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
            logits = self._logits(latents, decoder_input_ids)
            reconstruction = _negative_log_likelihood(logits, labels)
            return TextVAEOutput(loss=reconstruction.mean(), reconstruction=reconstruction, logits=logits, latents=latents)
        if input_ids is None:
            raise ValueError("Pass input_ids for the encoder, or latents to score the labels under.")

        posterior = self.encode(input_ids, attention_mask)
        if sample_posterior:
            samples = ESTIMATORS[self.config.estimator](posterior, self.config.num_samples, generator)
        else:
            samples = posterior.mean.unsqueeze(0)
        reconstruction, logits = self._reconstruct(samples, decoder_input_ids, labels)
        kl_per_dimension = posterior.kl_per_dimension(self._prior_beside(posterior.mean))
        kl = kl_per_dimension.sum(-1)
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
    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None,
        labels: torch.LongTensor,
        num_samples: int = 500,
        chunk_size: int | None = None,
        generator: Generators = None,
    ) -> LikelihoodEstimate:
        """log p(x) in nats by importance weighting with q(z|x) as the proposal (Burda et al. 2016), without dropout.

        Args:
            num_samples: K. The bound rises with K towards log p(x).
            chunk_size: samples decoded at once; by default as many as keep the logits small: 16 MB on a CPU, 256 MB
                elsewhere.

        Returns:
            `.log_likelihood`, `.standard_error`, `.effective_sample_size`, `.low_sample_size`, each (B,).
        """
        if chunk_size is None:
            limit = MAX_LOGITS.get(labels.device.type, MAX_LOGITS["cuda"])
            chunk_size = max(1, limit // (labels.numel() * self.conditioning.interface.vocab_size))
        decoder_input_ids = self.shift_right(labels)
        with in_evaluation_mode(self):
            posterior = self.encode(input_ids, attention_mask)
            prior = self._prior_beside(posterior.mean)
            log_weights = []
            # Drawn at once, so that the result does not depend on the size of the chunks.
            for samples in posterior.sample((num_samples,), generator).split(chunk_size):
                nll = self._nll_of_samples(samples, decoder_input_ids, labels)
                log_weights.append(prior.log_prob(samples) - posterior.log_prob(samples) - nll)
        return estimate_from_log_weights(torch.cat(log_weights))

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
                latents = self.prior(batch_size, device=self.device).sample()
        return self.generate_from_latents(latents, decoder_input_ids, decoder_attention_mask, generation_config, **options)

    # ---- its parts -------------------------------------------------------------------------------------------------

    def _prior_beside(self, latents: torch.Tensor) -> Distribution:
        return self.prior(latents.shape[0], device=latents.device, dtype=latents.dtype)

    def _logits(self, latents: torch.Tensor, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        if latents.shape[0] != decoder_input_ids.shape[0]:
            raise ValueError(
                f"Got {latents.shape[0]} latents for {decoder_input_ids.shape[0]} sentences: give one latent a sentence."
            )
        _check_length(decoder_input_ids.shape[1], self.positions_left, "decoder", self.config.decoder.model_type)
        return self.conditioning.decode(self.decoder, decoder_input_ids, self.condition(latents)).logits

    def _step(self, decoder_input_ids, latents, conditions, past_key_values, use_cache, logits_to_keep):
        if conditions is None:
            conditions = self.condition(latents)
        length = decoder_input_ids.shape[1]
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            length += past_key_values.get_seq_length() - self.conditioning.positions_used
        _check_length(length, self.positions_left, "decoder", self.config.decoder.model_type)
        decoded = self.conditioning.decode(
            self.decoder, decoder_input_ids, conditions, past_key_values, use_cache, logits_to_keep
        )
        return TextVAEOutput(
            logits=decoded.logits, latents=latents, past_key_values=decoded.past_key_values, conditions=conditions
        )

    def _reconstruct(self, samples, decoder_input_ids, labels) -> tuple[torch.Tensor, torch.Tensor]:
        """-log p(x|z), mean over samples (K, B, D): (B,); and the logits of the first sample."""
        count, batch = samples.shape[:2]
        logits = self._logits(samples.flatten(0, 1), decoder_input_ids.repeat(count, 1))
        nll = _negative_log_likelihood(logits, labels.repeat(count, 1))
        return nll.view(count, batch).mean(0), logits[:batch]

    def _nll_of_samples(self, samples, decoder_input_ids, labels) -> torch.Tensor:
        """-log p(x|z) of each sample: (K, B)."""
        count = samples.shape[0]
        logits = self._logits(samples.flatten(0, 1), decoder_input_ids.repeat(count, 1))
        return _negative_log_likelihood(logits, labels.repeat(count, 1)).view(count, -1)

    def _tie_parts(self) -> None:
        """Name the decoder's token embeddings as copies of the encoder's; transformers then keeps and saves one table."""
        self.config.tie_word_embeddings = True
        names = {
            part: next(
                f"{part}.{name}.weight"
                for name, module in getattr(self, part).named_modules()
                if module is getattr(self, part).get_input_embeddings()
            )
            for part in ("encoder", "decoder")
        }
        shapes = [getattr(self, part).get_input_embeddings().weight.shape for part in ("encoder", "decoder")]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "tie_encoder_decoder_embeddings needs embeddings of one shape (tokens, size), but the encoder has "
                f"{tuple(shapes[0])} and the decoder {tuple(shapes[1])}."
            )
        self._tied_weights_keys = {names["decoder"]: names["encoder"]}

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


def _negative_log_likelihood(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over tokens of -log p, nats: (B,) from logits (B, T, V) and labels (B, T)."""
    logits = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
    nll = functional.cross_entropy(logits, labels.flatten(), ignore_index=-100, reduction="none")
    return nll.view_as(labels).sum(-1)


def _shifted_padding(labels: torch.Tensor) -> torch.Tensor:
    """Where the shifted labels hold a -100: (B, T) bool."""
    padding = labels == -100
    return functional.pad(padding[:, :-1], (1, 0), value=False)


def _check_length(length: int, positions: int | None, part: str, family: str) -> None:
    if positions is not None and length > positions:
        raise ValueError(
            f"A sequence of {length} tokens is longer than the {part}, a {family!r} model with room for {positions}: shorten "
            "the texts (max_length), generate fewer tokens (max_new_tokens), or choose a part with more positions."
        )


_CONFIG_KEYS = set(TextVAEConfig.__annotations__) - {"encoder", "decoder"}

AutoConfig.register(TextVAEConfig.model_type, TextVAEConfig)
AutoModel.register(TextVAEConfig, TextVAEModel)
AutoProcessor.register(TextVAEConfig, LatentTextProcessor)
