"""The language model that writes compressions: taken over with its weights, with a LoRA adapter inside or without."""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_lvm.backbones.adapters import adapter_config, add_adapter
from hf_lvm.backbones.decoders import decoder_part, load_decoder
from hf_lvm.generation.cached_decoder import attends


class CompressorPart:
    """Methods of a latent summarizer about the compressor of the posterior_type `vocab`."""

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
        self.freeze_beside_adapters()
