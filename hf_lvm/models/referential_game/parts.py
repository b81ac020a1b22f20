"""The parts of a referential game: which of them learn, what belongs to the sender and what to the receiver."""

from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from hf_lvm.backbones.composition.adapter_checkpoints import AdapterCheckpoints
from hf_lvm.layers.decoder_interface import in_evaluation_mode, is_on_meta

SENDING = ("sender_objects", "conditioning", "sender")
RECEIVING = ("receiver_objects", "receiver", "pooling", "message_head", "bilinear")
# Objects that injections are brought to the scale of the sender by.
TYPICAL_OBJECTS = 64


class GameParts(AdapterCheckpoints):
    """Methods of a referential game about its parts."""

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """A saved model; see `AdapterCheckpoints.from_pretrained`."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze_parts()
        return loaded

    def adapter_modules(self) -> dict[str, tuple[str, ...]]:
        if self.sender_objects.encoder is None:
            return {}
        seers = ("sender_objects", "receiver_objects")
        return {"object_encoder": tuple(f"{name}.encoder" for name in seers if getattr(self, name) is not None)}

    def freeze_parts(self) -> None:
        """Let the prior learn, or not, as the config says."""
        if self.prior is not None:
            self.prior.requires_grad_(self.config.train_prior)

    def train(self, mode: bool = True) -> "GameParts":
        """Training or evaluation mode; a prior that does not learn is always in the latter."""
        super().train(mode)
        if self.prior is not None and not self.config.train_prior:
            self.prior.train(False)
        return self

    def check_vocabularies(self) -> None:
        """Raise a `ValueError` for a part over symbols that has another number of them than the config says."""
        for name in ("sender", "receiver", "prior"):
            part = getattr(self, name)
            if part is None:
                continue
            size = part.config.get_text_config(decoder=name != "receiver").vocab_size
            if size != self.config.vocabulary:
                raise ValueError(
                    f"The {name} has a vocabulary of {size}, and {self.config.num_symbols} symbols with EOS, BOS and PAD are "
                    f"{self.config.vocabulary}: give its config vocab_size={self.config.vocabulary}."
                )

    @torch.no_grad()
    def calibrate(self) -> None:
        """Bring the injections of a new model to the scale of what they join in the sender."""
        if is_on_meta(self.sender):
            return
        with torch.random.fork_rng(devices=[]), in_evaluation_mode(self):
            torch.manual_seed(0)
            objects, mask = self._typical_objects()
            told = self.vectors(objects.to(self.device), None if mask is None else mask.to(self.device))
        self.conditioning.calibrate(self.sender, told)

    def _typical_objects(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Objects drawn at random: (64, ...) with their mask."""
        config, count = self.config, TYPICAL_OBJECTS
        if config.object_type == "features":
            return torch.randn(count, config.feature_size), None
        if config.object_type == "attributes":
            return torch.stack([torch.randint(size, (count,)) for size in config.attribute_sizes], dim=1), None
        tokens = torch.randint(config.object_encoder.vocab_size, (count, 4))
        return tokens, torch.ones_like(tokens)

    def inference_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of q(m|object): the sender, and what it sees objects by."""
        return self._named_parameters_of(*SENDING)

    def generative_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of p(x|m) and p(m): the receiver, and what it sees objects by if it has its own; the prior."""
        return self._named_parameters_of(*RECEIVING, "prior")

    def parameter_parts(self) -> dict[str, Iterator[tuple[str, nn.Parameter]]]:
        """Parts that may have an optimiser or a rate of their own."""
        return {"encoder": self.inference_parameters()}

    def _named_parameters_of(self, *parts: str) -> Iterator[tuple[str, nn.Parameter]]:
        there = [part for part in parts if getattr(self, part) is not None]
        return (pair for part in there for pair in getattr(self, part).named_parameters(prefix=part))

    def initialize_weights(self) -> None:
        """New weights where none were loaded; called by transformers, which does not visit these layers by itself."""
        super().initialize_weights()
        for module in self.modules():
            if hasattr(module, "init_weights") and not isinstance(module, PreTrainedModel):
                module.init_weights()
        for layer in (self.message_head, self.bilinear):
            # The size with which `nn.Linear` begins; its own method would not ask what was loaded.
            if layer is not None:
                init.uniform_(layer.weight, -(layer.in_features**-0.5), layer.in_features**-0.5)
