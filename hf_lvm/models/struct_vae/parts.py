"""The parts of a StructVAE: where they come from, which of them learn, what belongs to p and what to q."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_lvm.backbones.adapters import refuse_adapter
from hf_lvm.backbones.composition.parts import TwoParts
from hf_lvm.backbones.decoders import decoder_part, load_decoder
from hf_lvm.backbones.encoders import encoder_part, load_encoder
from hf_lvm.data import LatentTextProcessor
from hf_lvm.grammars.transition_system import ActionKind, ActionVocabulary
from hf_lvm.models.struct_vae.configuration_struct_vae import ACTION_IDS

OTHER_PARTS = ("parser", "reader", "prior", "language_model")


class StructVAEParts(TwoParts):
    """Methods of a StructVAE about its parts."""

    posterior_parts: ClassVar[tuple[str, ...]] = ("encoder", "bridge", "opening", "parser", "copying", "fields")
    generative_parts: ClassVar[tuple[str, ...]] = ("reader", "reader_bridge", "decoder", "pointer", "prior")

    @classmethod
    def from_encoder_decoder_pretrained(
        cls,
        encoder: str | PreTrainedModel,
        decoder: str | PreTrainedModel,
        *,
        parser: str | PreTrainedModel | PreTrainedConfig | dict | None = None,
        reader: str | PreTrainedModel | PreTrainedConfig | dict | None = None,
        prior: str | PreTrainedModel | PreTrainedConfig | dict | None = None,
        language_model: str | PreTrainedModel | PreTrainedConfig | dict | None = None,
        processor: LatentTextProcessor | None = None,
        **kwargs,
    ) -> "StructVAEParts":
        """A model from pretrained parts; see `TwoParts.from_encoder_decoder_pretrained`.

        Args:
            parser, reader, prior: models over actions, or configs of new ones. Of a folder or hub id the layers are taken, and
                the embeddings and the output layer are new: it was trained on other tokens than actions.
            language_model: of x, over the decoder's tokens.
            processor: the model is connected to it, so that it copies from z to x.

        Raises:
            ValueError: parts that do not go together.
        """
        given: dict[str, PreTrainedModel] = {}
        parts = {"parser": parser, "reader": reader, "prior": prior, "language_model": language_model}
        for name, part in parts.items():
            if isinstance(part, str):
                part = cls._load_part(name, part, kwargs.get("actions"))
            refuse_adapter(name, part)
            if isinstance(part, nn.Module):
                given[name] = encoder_part(part) if name == "reader" else decoder_part(part)
                part = given[name].config
            if part is not None:
                kwargs[name] = part
        model = super().from_encoder_decoder_pretrained(encoder, decoder, **kwargs)
        for name, part in given.items():
            setattr(model, name, part)
            setattr(model.config, name, part.config)
        model.freeze_parts()
        return model if processor is None else model.connect(processor)

    @classmethod
    def _load_part(cls, name: str, source: str, actions: dict[str, Any] | None) -> PreTrainedModel:
        if name == "language_model":
            return load_decoder(source)
        if actions is None:
            raise ValueError(f"The {name} is over actions: pass actions, the vocabulary's to_dict().")
        options = {"vocab_size": ActionVocabulary.from_dict(actions).first_copy, **ACTION_IDS, "ignore_mismatched_sizes": True}
        if name == "reader":
            return load_encoder(source, **options)
        return load_decoder(source, cross_attention=name == "parser", **options)

    @classmethod
    def _load_decoder(cls, source: str, own: dict, **options) -> PreTrainedModel:
        return load_decoder(source, cross_attention=True, **options)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """A saved model; see `TwoParts.from_pretrained`."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze_parts()
        return loaded

    def freeze_parts(self) -> None:
        """Let the prior learn, or not, as the config says, and never the language model, which is no part of the bound."""
        if self.prior is not None:
            self.prior.requires_grad_(self.config.train_prior)
        if self.language_model is not None:
            self.language_model.requires_grad_(False)

    def train(self, mode: bool = True) -> "StructVAEParts":
        """Training or evaluation mode; parts that do not learn are always in the latter."""
        super().train(mode)
        if self.prior is not None and not self.config.train_prior:
            self.prior.train(False)
        if self.language_model is not None:
            self.language_model.train(False)
        return self

    def check_vocabularies(self) -> None:
        """Raise a `ValueError` for a part over actions that has another number of them than the grammar."""
        for name in ("parser", "reader", "prior"):
            part = getattr(self, name)
            if part is None:
                continue
            size = part.config.get_text_config(decoder=name != "reader").vocab_size
            if size != self.grammar.size:
                raise ValueError(
                    f"The {name} has a vocabulary of {size}, and the grammar {self.grammar.size} actions that do not copy: "
                    f"give its config vocab_size={self.grammar.size}."
                )
        if self.language_model is not None:
            known, wanted = (
                part.config.get_text_config(decoder=True).vocab_size for part in (self.language_model, self.decoder)
            )
            if known < wanted:
                raise ValueError(
                    f"The language_model knows {known} tokens and the decoder {wanted}: it has to score the decoder's tokens, "
                    "so give the two one tokenizer."
                )

    # ---- from z to x -------------------------------------------------------------------------------------------------

    def connect(self, processor: LatentTextProcessor) -> "StructVAEParts":
        """Find out which actions are tokens of x, so that p(x|z) copies them; the model.

        A piece or a constructor that the decoder's tokenizer makes one token of, behind a blank or at the beginning of a
        text, is that token. The table is saved with the weights, so that a saved model needs no processor.
        """
        if self.token_of_action is None:
            return self
        tokenizer, vocabulary = processor.decoder_tokenizer, self.grammar.vocabulary
        special, found = {*tokenizer.all_special_ids}, {}
        for action in range(self.grammar.size):
            kind = vocabulary.kind(action)
            if kind not in (ActionKind.PIECE, ActionKind.RULE):
                continue
            string = vocabulary.piece(action) if kind is ActionKind.PIECE else vocabulary.constructor(action)
            if not string.strip():
                continue
            for text in (f" {string}", string):
                ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
                if len(ids) == 1 and ids[0] not in special:
                    found[action] = ids[0]
                    break
        return self.copy_actions(found)

    @torch.no_grad()
    def copy_actions(self, tokens: Mapping[int, int]) -> "StructVAEParts":
        """Let p(x|z) copy these actions, as the tokens of x that they are: action -> token; the model.

        Raises:
            ValueError: a model with copy_from_meaning false, or actions or tokens that do not exist.
        """
        if self.token_of_action is None:
            raise ValueError("copy_from_meaning is false, so nothing is copied from z to x: set it in the config.")
        size = self.config.decoder.get_text_config(decoder=True).vocab_size
        wrong = [pair for pair in tokens.items() if not (0 <= pair[0] < self.grammar.size and 0 <= pair[1] < size)]
        if wrong:
            raise ValueError(
                f"Action {wrong[0][0]} cannot be the token {wrong[0][1]}: there are {self.grammar.size} actions that do not "
                f"copy, and {size} tokens."
            )
        self.token_of_action.fill_(-1)
        for action, token in tokens.items():
            self.token_of_action[action] = token
        return self

    # ---- parameters --------------------------------------------------------------------------------------------------

    def inference_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of q(z|x)."""
        return self._named_parameters_of(*self._there(self.posterior_parts))

    def generative_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of p(x|z) and p(z)."""
        return self._named_parameters_of(*self._there(self.generative_parts))

    def parameter_parts(self) -> dict[str, Iterator[tuple[str, nn.Parameter]]]:
        """Parts that may have an optimiser or a rate of their own."""
        return {"encoder": self.inference_parameters()}

    def _there(self, parts: tuple[str, ...]) -> list[str]:
        return [part for part in parts if getattr(self, part) is not None]

    def check_decoder_can_reset(self) -> None:
        """Raise a `ValueError`: a decoder that begins anew is a cure of collapse that this model does not have."""
        raise ValueError("The decoder of a StructVAE does not begin anew: train it on labelled sentences first.")

    def initialize_weights(self) -> None:
        """New weights where none were loaded; called by transformers, which does not visit these layers by itself."""
        super().initialize_weights()
        for part in self._there(("opening", "copying", "fields", "pointer")):
            getattr(self, part).init_weights()
