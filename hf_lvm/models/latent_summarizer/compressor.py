"""The language model that writes compressions: taken over with its weights, with a LoRA adapter inside or without."""

import re
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_lvm.backbones.adapters import adapter_config, add_adapter, freeze_beside_adapter
from hf_lvm.backbones.decoders import decoder_part, load_decoder
from hf_lvm.generation.cached_decoder import attends

# Modules that attend to the states of a source, as the families of transformers call them, and their norms.
_CROSS_ATTENTION = re.compile(r"cross_?att|encoder_att|encdecatt", re.IGNORECASE)


class CompressorPart:
    """Methods of a latent summarizer about the compressor of the posterior_type `vocab`, and about adapters in parts."""

    def build_adapters(self) -> None:
        """The adapters that the config names inside the parts, whose own weights are frozen."""
        for part in ("encoder", "decoder"):
            add_adapter(getattr(self, part), getattr(self.config, f"{part}_adapter"))
        if self.config.compressor_adapter is not None:
            add_adapter(self.posterior_head.decoder, self.config.compressor_adapter)
            self.freeze_compressor()

    def freeze_compressor(self) -> None:
        """Of a compressor with an adapter, let only this learn, and what attends to the states of x."""
        if self.config.compressor_adapter is None:
            return
        decoder = self.posterior_head.decoder
        freeze_beside_adapter(decoder, self.config.compressor_adapter)
        for name, module in decoder.named_modules():
            if _CROSS_ATTENTION.search(name) or _CROSS_ATTENTION.search(type(module).__name__):
                module.requires_grad_(True)

    @staticmethod
    def compressor_of(
        compressor: str | PreTrainedModel | PreTrainedConfig | dict | None, injection: str = "cross_attention"
    ) -> tuple[PreTrainedModel | None, dict[str, Any]]:
        """A compressor that has weights, without its adapter, or None; and the keys of the config that say what it is.

        Args:
            compressor: a folder, a hub id, or a model (also one that `peft` has given a LoRA adapter), or else a config.
            injection: how it sees x, `cross_attention` or `prompt`.

        Raises:
            ValueError: a model without layers that attend to states.
        """
        if not isinstance(compressor, str | nn.Module):
            return None, {} if compressor is None else {"compressor": compressor}
        if isinstance(compressor, str):
            compressor = load_decoder(compressor, cross_attention=injection == "cross_attention")
        compressor, adapter = adapter_config(compressor)
        compressor = decoder_part(compressor)
        if injection == "cross_attention" and not attends(compressor):
            raise ValueError(
                f"The compressor, a {compressor.config.model_type!r} model, does not attend to the states of x: load it with "
                "add_cross_attention=True or give its folder or hub id, or set compressor_injection to 'prompt'."
            )
        return compressor, {"compressor": compressor.config} | ({} if adapter is None else {"compressor_adapter": adapter})

    def take_compressor(self, compressor: PreTrainedModel) -> None:
        """Put the weights of a compressor in the place of new ones."""
        add_adapter(compressor, self.config.compressor_adapter)
        self.posterior_head.decoder, self.config.compressor = compressor, compressor.config
        if self.config.prior_type == "compressor":
            self.config.prior = compressor.config
        self.freeze_compressor()
