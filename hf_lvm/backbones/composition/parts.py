"""The two parts of a model: where they come from, how they are saved together, and how one begins anew."""

import copy
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.backbones.adapters import adapter_config
from hf_lvm.backbones.composition.adapter_checkpoints import AdapterCheckpoints
from hf_lvm.backbones.decoders import decoder_part, load_decoder
from hf_lvm.backbones.encoders import encoder_part, load_encoder
from hf_lvm.backbones.placement import check_placement, check_quantized


class TwoParts(AdapterCheckpoints):
    """Methods of a model about its encoder and its decoder as models of their own.

    Attributes:
        posterior_parts: modules that q(z|x) is made of.
        decoder_parts: modules that begin anew with the decoder.
        other_parts: what p(x, z) has beside these.
    """

    posterior_parts: ClassVar[tuple[str, ...]] = ("encoder", "pooling", "posterior_head")
    decoder_parts: ClassVar[tuple[str, ...]] = ("decoder", "conditioning")
    other_parts: ClassVar[tuple[str, ...]] = ("prior",)

    @classmethod
    def from_encoder_decoder_pretrained(
        cls, encoder: str | PreTrainedModel, decoder: str | PreTrainedModel, **kwargs
    ) -> "TwoParts":
        """A model from two pretrained parts, with a new latent between them.

        Args:
            encoder: a folder, a hub id, or a model (also one that `peft` has given a LoRA adapter).
            decoder: the same.
            kwargs: those prefixed `encoder_` or `decoder_` reach that part's config or `from_pretrained`; the others are keys
                of the model's config.
        """
        keys = cls.config_class.own_keys()
        own = {key: kwargs.pop(key) for key in list(kwargs) if key in keys}
        options = {
            part: {key.removeprefix(f"{part}_"): kwargs.pop(key) for key in list(kwargs) if key.startswith(f"{part}_")}
            for part in ("encoder", "decoder")
        }
        if kwargs:
            raise ValueError(
                f"Unknown option {', '.join(map(repr, kwargs))}: an option of a part begins with encoder_ or decoder_, and "
                f"the keys of {cls.config_class.__name__} are {', '.join(sorted(keys))}."
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
            decoder = cls._load_decoder(decoder, own, **options["decoder"])
        encoder, own["encoder_adapter"] = adapter_config(encoder)
        decoder, own["decoder_adapter"] = adapter_config(decoder)
        encoder, decoder = encoder_part(encoder), cls._as_decoder(decoder)
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            check_quantized(name, part)
            check_placement(name, part)
        config = cls.config_class(encoder=encoder.config, decoder=decoder.config, **own)
        model = cls(config, encoder=encoder, decoder=decoder)
        if config.adapters_only and config.adapter_bases is None:
            config.adapter_bases = model.describe_bases()
        return model

    @classmethod
    def _load_decoder(cls, source: str, own: dict, **options) -> PreTrainedModel:
        """The decoder of a folder or hub id; `own` holds the keys of the model's config."""
        return load_decoder(source, cross_attention="cross_attention" in own.get("injection", ""), **options)

    @classmethod
    def _as_decoder(cls, decoder: PreTrainedModel) -> PreTrainedModel:
        """The decoder out of a model handed over whole."""
        return decoder_part(decoder)

    def adapter_modules(self) -> dict[str, tuple[str, ...]]:
        return {"encoder": ("encoder",), "decoder": ("decoder",)}

    def load_part(self, part: str, source: str, **options) -> PreTrainedModel:
        if part == "decoder":
            return self._load_decoder(source, {"injection": getattr(self.config, "injection", "")}, **options)
        return super().load_part(part, source, **options)

    def post_init(self) -> None:
        """As transformers has it; and name no class of layers that is in neither part, which accelerate would look for."""
        super().post_init()
        self._no_split_modules &= {type(module).__name__ for module in self.modules()}

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

    def inference_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of q(z|x): encoder, pooling and posterior head."""
        return self._named_parameters_of(*self.posterior_parts)

    def generative_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of p(x, z): decoder, injections and prior, besides those shared with q(z|x)."""
        shared = {id(parameter) for _, parameter in self.inference_parameters()}
        parts = (*self.decoder_parts, *self.other_parts)
        return (pair for pair in self._named_parameters_of(*parts) if id(pair[1]) not in shared)

    def _named_parameters_of(self, *parts: str) -> Iterator[tuple[str, nn.Parameter]]:
        return (pair for part in parts for pair in getattr(self, part).named_parameters(prefix=part))

    def take_posterior(self, trained: "TwoParts") -> None:
        """Begin with the q(z|x) of a trained model of the same kind: copy its encoder, and all behind it.

        Raises:
            ValueError: its q(z|x) is of another form.
        """
        for part in self.posterior_parts:
            try:
                getattr(self, part).load_state_dict(getattr(trained, part).state_dict())
            except RuntimeError as error:
                raise ValueError(
                    f"The {part} of the trained posterior does not fit this model: give the new model the posterior_type, the "
                    "latent and the pooling of the trained one."
                ) from error

    @torch.no_grad()
    def reset_decoder(self, seed: int = 0) -> None:
        """Give the decoder and the injections new weights, in place; the encoder keeps what it has learned (Li et al. 2019).

        Args:
            seed: of the new weights.

        Raises:
            ValueError: see `check_decoder_can_reset`.
        """
        self.check_decoder_can_reset()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = type(self)(copy.deepcopy(self.config))
        for part in self.decoder_parts:
            getattr(self, part).load_state_dict(getattr(fresh, part).state_dict())

    def check_decoder_can_reset(self) -> None:
        """Raise a `ValueError` when the decoder shares weights with the encoder, or stands on weights that are not its own."""
        if self.config.tie_encoder_decoder_embeddings:
            raise ValueError(
                "The decoder cannot begin anew, because it shares its token embeddings with the encoder: set "
                "tie_encoder_decoder_embeddings to false."
            )
        if self.config.decoder_adapter is not None:
            raise ValueError("A decoder with an adapter cannot begin anew: its other weights are pretrained.")
