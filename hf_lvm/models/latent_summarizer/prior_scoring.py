"""log p(c) of compressions: by a prior over the decoder's tokens, by one with a tokenizer of its own, or by the compressor
itself with its adapter switched off."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from hf_lvm.backbones.adapters import without_adapter
from hf_lvm.backbones.decoders import build_decoder
from hf_lvm.backbones.reconstructors import continuation_log_prob
from hf_lvm.data import LatentTextProcessor, start_token_id
from hf_lvm.distributions.deletion.canonical import scores_of_pairs
from hf_lvm.distributions.lengths import may_look
from hf_lvm.generation.token_bridge import PriorBridge, reordered
from hf_lvm.layers.word_softmax import log_not
from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import ID_MAPS, LatentSummarizerConfig
from hf_lvm.models.latent_summarizer.lengths import Lengths
from hf_lvm.models.latent_summarizer.source_words import IGNORED, SourceWords
from hf_lvm.objectives import BoundTerms


class PriorScore(NamedTuple):
    """Compressions under the prior.

    Attributes:
        log_prob: (R, B), log p(c) in nats.
        canonical: (R, B) bool, whether the tokens are those that the decoder's tokenizer makes of their text; None where the
            prior does not read texts, and nothing depends on it.
    """

    log_prob: torch.Tensor
    canonical: torch.Tensor | None = None


@dataclass(frozen=True)
class SummaryTerms(BoundTerms):
    """The bound of B sentences.

    Attributes:
        non_canonical: (B,), the share of the compressions that are charged for their segmentation; None without a prior that
            reads texts.
    """

    non_canonical: torch.Tensor | None = None

    @classmethod
    def of(cls, terms: BoundTerms, score: PriorScore) -> "SummaryTerms":
        """Terms with what the prior says of the compressions that they were computed from."""
        share = None if score.canonical is None else 1.0 - score.canonical.to(terms.kl.dtype).mean(0)
        return cls(terms.loss, terms.reconstruction, terms.kl, non_canonical=share)


class PriorScoring(Lengths):
    """Methods of a latent summarizer about p(c)."""

    # Of a prior that reads texts; a model owns no tokenizer.
    _prior_bridge: PriorBridge | None = None
    _tokenizers: tuple | None = None
    _table_is_filled = False

    # ---- what the prior is -------------------------------------------------------------------------------------------

    def build_prior(self, config: LatentSummarizerConfig, prior: PreTrainedModel | None) -> None:
        """The prior as a part, where it is one, and the table of its ids, where it has others than the decoder."""
        self.prior, self.length_table = None, self.build_length_table(config)
        if config.prior_type == "model":
            self.prior = build_decoder(config.prior) if prior is None else prior
            config.prior = self.prior.config
        size = config.decoder.get_text_config(decoder=True).vocab_size
        table = torch.full((size,), -1) if config.prior_bridge in ID_MAPS else None
        self.register_buffer("prior_ids", table)

    @classmethod
    def prior_keys(
        cls,
        prior: PreTrainedModel | None,
        decoder: str | PreTrainedModel,
        processor: LatentTextProcessor | None,
        keys: dict[str, Any],
    ) -> dict[str, Any]:
        """The keys of the config that a prior brings, and what lies between its tokens and those of the decoder.

        Raises:
            ValueError: a tokenizer for a prior that is not there, or a prior where the compressor is one.
        """
        if prior is not None and keys.get("prior_type", "model") != "model":
            raise ValueError("The prior_type 'compressor' has the compressor for its prior: leave prior out.")
        found = {} if prior is None else {"prior": prior.config}
        if processor is None or processor.prior_tokenizer is None:
            return found
        if prior is None:
            raise ValueError("The processor has a prior_tokenizer, and there is no prior that it is for: pass prior.")
        config = AutoConfig.from_pretrained(decoder) if isinstance(decoder, str) else decoder.config
        bridge = bridge_of(processor, config, prior.config, keys.get("prior_epsilon", LatentSummarizerConfig.prior_epsilon))
        found |= keys_of(bridge)
        excluded = {*(found["excluded_token_ids"] or ()), *(keys.get("excluded_token_ids") or ())}
        return found | {"excluded_token_ids": sorted(excluded) or None}

    @property
    def prior_part(self) -> PreTrainedModel:
        """The model that p(c) is computed with, in whatever state it is; see `reading_prior`."""
        return self.posterior_head.decoder if self.prior is None else self.prior

    @contextmanager
    def reading_prior(self) -> Iterator[PreTrainedModel]:
        """The model that p(c) is computed with, as the prior: of a compressor without its adapter, and without dropout."""
        if self.prior is not None:
            yield self.prior
            return
        with without_adapter(self.posterior_head.decoder) as base:
            yield base

    def freeze_prior(self) -> None:
        """Let the prior and its lengths learn, or not, as the config says. A compressor's own are frozen with its adapter."""
        for part in (self.prior, self.length_table):
            if part is not None:
                part.requires_grad_(self.config.train_prior)

    # ---- its tokenizer -----------------------------------------------------------------------------------------------

    def connect_prior(self, processor: LatentTextProcessor) -> "LatentSummarizerModel":  # noqa: F821
        """Give a prior with a tokenizer of its own what it reads texts with, or check the table of ids by it; the model.

        Nothing where the prior knows the decoder's tokens. `load_trained`, the recipe, the report and the methods that read
        texts do it by themselves; a model with `prior_bridge` `same` or `permutation` that was saved needs it only to be
        checked.

        Args:
            processor: that of the model, with its `prior_tokenizer`.

        Raises:
            ValueError: a processor without one, or with one that the model was not built for.
        """
        config, tokenizers = self.config, (processor.decoder_tokenizer, processor.prior_tokenizer)
        if config.prior_bridge is None and processor.prior_tokenizer is None:
            return self
        if config.prior_bridge is None:
            raise ValueError(
                "The processor has a prior_tokenizer, and the prior of this model knows the decoder's tokens by their ids: "
                "leave it out, or build the model by from_encoder_decoder_pretrained(..., processor=processor)."
            )
        if processor.prior_tokenizer is None:
            raise ValueError(
                f"The prior of this model has a tokenizer of its own (prior_bridge {config.prior_bridge!r}), and the "
                "processor has no prior_tokenizer: load the processor that was saved with the model, or make one by "
                "LatentTextProcessor(tokenizer, decoder_tokenizer, prior_tokenizer)."
            )
        if self._tokenizers is not None and all(old is new for old, new in zip(self._tokenizers, tokenizers, strict=True)):
            return self
        bridge = bridge_of(processor, config.decoder, config.prior, config.prior_epsilon)
        found, wanted = keys_of(bridge), {key: getattr(config, key) for key in keys_of(bridge)}
        wanted["excluded_token_ids"] = found["excluded_token_ids"]  # a model may exclude more
        if found != wanted or not set(bridge.unscorable) <= {*config.excluded_ids}:
            reason = "" if bridge.reason is None else f", since {bridge.reason.rstrip('.')}"
            raise ValueError(
                f"The processor's prior_tokenizer makes a prior_bridge of {bridge.kind!r}{reason}; this model was built with "
                f"{wanted}, and the tokenizers say {found}: load the processor that was saved with the model."
            )
        if bridge.kind == "text":
            self._prior_bridge = bridge
        elif (self.prior_ids < 0).all():
            self.prior_ids.copy_(bridge.ids)
        elif not torch.equal(self.prior_ids.cpu(), bridge.ids):
            raise ValueError(
                "The processor's tokenizers number the tokens in another way than those that this model was built with: load "
                "the processor that was saved with the model."
            )
        self._tokenizers = tokenizers
        return self

    def to_prior_ids(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of the decoder as the prior's ids, -1 where it has none; what is no token (-100) stays.

        Raises:
            ValueError: tokens that the prior cannot score; a table of ids that nobody has filled.
        """
        if self.prior_ids is None:
            return tokens
        if not self._table_is_filled:
            if (self.prior_ids < 0).all():
                raise self._unconnected()
            self._table_is_filled = True
        mapped = torch.where(tokens < 0, tokens, self.prior_ids[tokens.clamp(0, len(self.prior_ids) - 1)])
        wrong = (tokens >= 0) & ((mapped < 0) | (tokens >= len(self.prior_ids)))
        if may_look(tokens, False) and wrong.any():
            raise ValueError(
                f"The prior cannot score the token(s) {sorted(set(tokens[wrong].tolist()))[:10]} of the decoder, which its "
                "tokenizer does not have: leave these sentences out, or choose another prior."
            )
        return mapped.masked_fill(wrong, -1)

    def in_decoders_order(self, table: torch.Tensor) -> torch.Tensor:
        """Rows of a table of the prior (V', E), such as its embeddings, in the order of the decoder's tokens: (V, E)."""
        return table if self.prior_ids is None else reordered(table, self.prior_ids)

    def prior_log_probs(self, log_probs: torch.Tensor) -> torch.Tensor:
        """log p of the prior's ids (..., V') in the order of the decoder's tokens: (..., V), -inf at what it does not have."""
        if self.prior_ids is None:
            return log_probs
        return log_probs[..., self.prior_ids.clamp(min=0)].masked_fill(self.prior_ids < 0, -torch.inf)

    # ---- scores ------------------------------------------------------------------------------------------------------

    def log_prior(self, source: SourceWords, latents: torch.Tensor, pairs: Any = None) -> torch.Tensor:
        """log p(c) of compressions (R, B, ...): (R, B), nats; given that c has a word, unless it may be empty.

        Args:
            pairs: of `pair_log_probs`, where they are there already.
        """
        return self.score_prior(source, latents, pairs).log_prob

    def score_prior(self, source: SourceWords, latents: torch.Tensor, pairs: Any = None) -> PriorScore:
        """`log_prior`, and whether tokens are charged for how they cut their text.

        Raises:
            ValueError: tokens that the prior cannot score; a prior that reads texts, without `connect_prior`.
        """
        score, factor = self.score_language_model(source, latents, pairs), self.log_length_factor(source, latents)
        return score if factor is None else score._replace(log_prob=score.log_prob + factor)

    def score_language_model(self, source: SourceWords, latents: torch.Tensor, pairs: Any = None) -> PriorScore:
        """`score_prior` of the prior by itself, whatever a length model says."""
        pairs = self.pair_log_probs(source) if pairs is None else pairs
        if pairs.prior is not None:
            return PriorScore(scores_of_pairs(pairs.prior, latents).sum(-1))
        labels = self.posterior_head.labels_of(latents, source)
        empty = torch.full_like(labels[:1, :1, :1], source.end)
        learns = self.config.train_prior and self.prior is not None
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            score = self._scored(labels)
            if self.config.allow_empty:
                return score
            return score._replace(log_prob=score.log_prob - log_not(self._scored(empty).log_prob))

    def _scored(self, labels: torch.Tensor) -> PriorScore:
        """Labels (R, B, L) of the decoder, with their end and -100 behind it, under the prior."""
        if self.config.prior_bridge == "text":
            if self._prior_bridge is None:
                raise self._unconnected()
            score = self._prior_bridge.score(self.prior, labels)
            return PriorScore(score.log_prob, score.canonical)
        mapped = self.to_prior_ids(labels).flatten(0, 1)
        impossible = ((mapped < 0) & (mapped != IGNORED)).any(-1)
        start = torch.full_like(mapped[:, :1], self.config.prior_start_and_end[0])
        with self.reading_prior() as prior:
            log_prob = continuation_log_prob(prior, mapped.masked_fill(mapped == -1, IGNORED), start)
        return PriorScore(log_prob.masked_fill(impossible, -torch.inf).view(labels.shape[:2]))

    def _unconnected(self) -> ValueError:
        return ValueError(
            f"The prior of this model has a tokenizer of its own (prior_bridge {self.config.prior_bridge!r}), and a model "
            "owns none: call model.connect_prior(processor) first, with the processor that was saved with it."
        )


def bridge_of(
    processor: LatentTextProcessor, decoder: PreTrainedConfig, prior: PreTrainedConfig, epsilon: float
) -> PriorBridge:
    """What lies between the decoder's tokens and a prior with the tokenizer `processor.prior_tokenizer`.

    Raises:
        ValueError: a tokenizer that is not that of the prior, or that has no end.
    """
    tokenizer, known = processor.prior_tokenizer, prior.get_text_config(decoder=True).vocab_size
    highest = max(tokenizer.get_vocab().values())
    if highest >= known:
        raise ValueError(
            f"The prior's tokenizer has ids up to {highest}, and the prior has {known} tokens, so it cannot score what the "
            "tokenizer writes: give the prior_tokenizer that the prior was trained with."
        )
    return PriorBridge(
        processor.decoder_tokenizer,
        tokenizer,
        epsilon=epsilon,
        vocabulary_size=decoder.get_text_config(decoder=True).vocab_size,
        start_token_id=start_token_id(tokenizer),
    )


def keys_of(bridge: PriorBridge) -> dict[str, Any]:
    """The keys of a config that say what a bridge is."""
    return {
        "prior_bridge": bridge.kind,
        "prior_bos_token_id": bridge.start_token_id,
        "prior_eos_token_id": bridge.prior_eos_token_id,
        "excluded_token_ids": list(bridge.unscorable) or None,
    }
