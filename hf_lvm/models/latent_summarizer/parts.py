"""The parts of a latent summarizer: where they come from, which of them learn, and what belongs to p and what to q."""

from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_lvm.backbones.adapters import refuse_adapter
from hf_lvm.backbones.composition.parts import TwoParts
from hf_lvm.backbones.decoders import load_decoder
from hf_lvm.backbones.reconstructors import as_reconstructor, load_reconstructor
from hf_lvm.data import LatentTextProcessor


class SummarizerParts(TwoParts):
    """Methods of a latent summarizer about its parts."""

    @classmethod
    def from_encoder_decoder_pretrained(
        cls,
        encoder: str | PreTrainedModel,
        decoder: str | PreTrainedModel,
        prior: PreTrainedModel | None = None,
        *,
        compressor: str | PreTrainedModel | PreTrainedConfig | None = None,
        processor: LatentTextProcessor | None = None,
        **kwargs,
    ) -> "SummarizerParts":
        """A model from pretrained parts; see `TwoParts.from_encoder_decoder_pretrained`.

        Args:
            prior: a causal language model over the decoder's tokens, or with a tokenizer of its own; None for a new bigram
                model.
            compressor: of the posterior_type `vocab`, a causal language model, or its folder, hub id or config; with the
                compressor_injection `cross_attention`, by default, one that attends to states.
            processor: with the `prior_tokenizer` of such a prior, and the decoder's; the model is connected to it.

        Raises:
            ValueError: a prior that cannot score the decoder's tokens.
        """
        # Bases are described when all parts are there.
        adapters_only = kwargs.pop("adapters_only", False)
        refuse_adapter("prior", prior)
        compressor, keys = cls.compressor_of(compressor, kwargs.get("compressor_injection", "cross_attention"))
        kwargs |= keys
        kwargs |= cls.prior_keys(prior, decoder, processor, kwargs)
        model = super().from_encoder_decoder_pretrained(encoder, decoder, **kwargs)
        if prior is not None:
            model.prior, model.config.prior = prior, prior.config
            model.renew_estimator()
        if compressor is not None:
            model.take_compressor(compressor)
        if adapters_only:
            model.config.adapters_only, model.config.adapter_bases = True, model.describe_bases()
        return model if processor is None else model.connect_prior(processor)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """A saved model; see `TwoParts.from_pretrained`."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.freeze_prior()
        return loaded

    def adapter_modules(self) -> dict[str, tuple[str, ...]]:
        modules = super().adapter_modules()
        return modules | ({"compressor": ("posterior_head.decoder",)} if self.config.posterior_type == "vocab" else {})

    def load_part(self, part: str, source: str, **options) -> PreTrainedModel:
        if part == "compressor":
            return load_decoder(source, cross_attention=self.config.compressor_injection == "cross_attention", **options)
        return super().load_part(part, source, **options)

    def attention_learns(self, part: str) -> bool:
        """As in other models; of the compressor always, for without x it is the prior, which does not attend."""
        return part == "compressor" or super().attention_learns(part)

    @classmethod
    def _load_decoder(cls, source: str, own: dict, **options) -> PreTrainedModel:
        return load_reconstructor(source, own.get("injection", "prompt"), **options)

    @classmethod
    def _as_decoder(cls, decoder: PreTrainedModel) -> PreTrainedModel:
        return as_reconstructor(decoder)

    def check_decoder_can_reset(self) -> None:
        """Raise a `ValueError` when the decoder stands on weights that are not its own."""
        if self.config.decoder_adapter is not None:
            raise ValueError("A decoder with an adapter cannot begin anew: its other weights are pretrained.")

    def generative_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of p(c) and p(x|c), besides those shared with q(c|x)."""
        shared = {id(parameter) for _, parameter in self.inference_parameters()}
        parts = [part for part in ("decoder", "reader", "bridge", "prior", "length_table") if getattr(self, part) is not None]
        return (pair for pair in self._named_parameters_of(*parts) if id(pair[1]) not in shared)

    def parameter_parts(self) -> dict[str, Iterator[tuple[str, nn.Parameter]]]:
        """Parts that may have an optimiser or a rate of their own."""
        return {"encoder": self.inference_parameters()}

    def initialize_weights(self) -> None:
        """New weights where none were loaded; called by transformers, which does not visit the head by itself."""
        super().initialize_weights()
        self.posterior_head.init_weights()
