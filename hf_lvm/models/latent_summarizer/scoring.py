"""log p(x|c) of compressions, pair by pair where the parts allow it, by one teacher-forced pass otherwise."""

from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.backbones.bigram_decoder import BigramDecoderModel
from hf_lvm.backbones.encoders import build_encoder, encode_tokens
from hf_lvm.backbones.reconstructors import continuation_log_prob
from hf_lvm.backbones.segment_decoder import SegmentDecoderModel
from hf_lvm.distributions import CanonicalDeletion
from hf_lvm.distributions.deletion.canonical import scores_of_pairs
from hf_lvm.generation.cached_decoder import embedding_table
from hf_lvm.layers.decoder_interface import attended_size
from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import LatentSummarizerConfig
from hf_lvm.models.latent_summarizer.source_words import IGNORED, SourceWords
from hf_lvm.objectives import exact_posterior as exact_deletion
from hf_lvm.objectives.likelihood import shift_right


class PairLogProbs(NamedTuple):
    """log-probabilities of pairs of consecutive kept words, as `CanonicalDeletion` has pairs.

    Attributes:
        likelihood: (B, n + 1, n + 1), log p(the words between | pair); None where the decoder is no segment decoder.
        prior: (B, n + 1, n + 1), log p(to | from); None where the prior is no bigram model.
    """

    likelihood: torch.Tensor | None
    prior: torch.Tensor | None


class Scoring:
    """Methods of a latent summarizer that score compressions."""

    @staticmethod
    def build_reader(config: LatentSummarizerConfig) -> tuple[PreTrainedModel | None, nn.Linear | None]:
        """What reads c for a decoder that attends to it, unless a part of q does, and a layer between their sizes."""
        if config.injection != "cross_attention" or config.decoder.model_type == "hf_lvm_segment_decoder":
            return None, None
        reader = None if config.reader is None or config.reader == "compressor" else build_encoder(config.reader)
        size = (config.encoder if reader is None else config.reader).hidden_size
        if config.reader == "compressor":
            size = config.pointer_hidden_size or size
        wanted = attended_size(config.decoder)
        return reader, None if size == wanted else nn.Linear(size, wanted)

    @property
    def reading_part(self) -> str:
        """The name of what reads c for p(x|c)."""
        if self.config.injection == "prompt":
            return "decoder"
        if self.config.reader == "compressor":
            return "posterior_head.network"
        return "encoder" if self.reader is None else "reader"

    def shift_right(self, labels: torch.Tensor) -> torch.Tensor:
        """What a causal decoder reads to predict labels (B, T), where no word is dropped: the start, then all but the last."""
        return shift_right(labels, self.config.bos_token_id, self.config.pad_token_id)

    def check_reads_words(self) -> None:
        """Raise a `ValueError` where decoder_input_ids would go unread."""
        if isinstance(self.decoder, SegmentDecoderModel):
            raise ValueError(
                "decoder_input_ids are what a causal language model reads, and a segment decoder fills the gaps between kept "
                "words: leave them out (word_dropout 0), or choose another decoder."
            )

    def pair_log_probs(self, source: SourceWords) -> PairLogProbs:
        """What decoder and prior say of all pairs of words, for deletions.

        Raises:
            ValueError: words of several pieces.
        """
        likelihood = prior = None
        if self.config.posterior_type == "delete":
            if isinstance(self.decoder, SegmentDecoderModel):
                source.check_tokens("a segment decoder")
                likelihood = self.decoder(source.words, source.lengths).pair_log_probs
            reads_ids = self.config.prior_bridge != "text"
            if isinstance(self.prior, BigramDecoderModel) and source.are_tokens and reads_ids:
                start, end = self.config.prior_start_and_end
                words = self.to_prior_ids(source.words)
                with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.train_prior):
                    prior = self.prior.pair_log_probs(words.clamp(min=0), start, end, self.config.allow_empty)
                if self.prior_ids is not None:
                    # What the prior does not have can neither be come from nor be gone to.
                    missing = torch.nn.functional.pad(words < 0, (1, 1))
                    wrong = missing[:, :-1].unsqueeze(2) | missing[:, 1:].unsqueeze(1)
                    prior = prior.masked_fill(wrong, -torch.inf)
        return PairLogProbs(likelihood, prior)

    def exact_posterior(self, posterior: CanonicalDeletion, pairs: PairLogProbs) -> CanonicalDeletion:
        """p(c|x) itself, over the compressions of `posterior`; its `log_partition` is log p(x)."""
        return exact_deletion(posterior, *pairs)

    def log_likelihood(
        self,
        source: SourceWords,
        latents: torch.Tensor,
        read: torch.Tensor | None = None,
        pairs: PairLogProbs | None = None,
    ) -> torch.Tensor:
        """log p(x|c) of compressions (R, B, ...): (R, B), nats.

        Args:
            read: (B, T), what a causal decoder reads in the place of the shifted labels.
            pairs: of `pair_log_probs`, where they are there already.
        """
        pairs = self.pair_log_probs(source) if pairs is None else pairs
        if pairs.likelihood is not None:
            return scores_of_pairs(pairs.likelihood, latents).sum(-1)
        return self.write(source, self.posterior_head.labels_of(latents, source), read)

    def log_empty(
        self, source: SourceWords, read: torch.Tensor | None = None, pairs: PairLogProbs | None = None
    ) -> torch.Tensor:
        """log p(x | empty c): (B,), nats: what a decoder knows without being told anything."""
        if pairs is not None and pairs.likelihood is not None:
            return pairs.likelihood[:, 0, -1]
        if isinstance(self.decoder, SegmentDecoderModel):
            return self.pair_log_probs(source).likelihood[:, 0, -1]
        labels = torch.full((1, len(source.labels), 1), source.end, device=source.labels.device)
        return self.write(source, labels, read).squeeze(0)

    def write(self, source: SourceWords, compressions: torch.Tensor, read: torch.Tensor | None = None) -> torch.Tensor:
        """log p(x|c) by a causal decoder: (R, B), nats, of compressions (R, B, L) as labels."""
        config = self.config
        mask = compressions != IGNORED
        filler = config.pad_token_id if config.pad_token_id is not None else config.eos_token_id
        return self.write_from(source, mask, read, tokens=compressions.masked_fill(~mask, filler))

    def write_from(
        self,
        source: SourceWords,
        mask: torch.Tensor,
        read: torch.Tensor | None = None,
        *,
        tokens: torch.Tensor | None = None,
        embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """log p(x|c) by a causal decoder, (R, B), from tokens (R, B, L), or embeddings (R, B, L, E) of what reads c.

        Args:
            mask: (R, B, L) bool, where c is, its end included.
        """
        count, mask = len(mask), mask.flatten(0, 1).long()
        tokens, embeds = (None if each is None else each.flatten(0, 1) for each in (tokens, embeds))
        start = torch.full_like(mask[:, :1], self.config.bos_token_id)
        labels = source.labels.repeat(count, 1)
        if read is not None:
            # A decoder reads the start token by itself.
            read = torch.nn.functional.pad(read[:, 1:], (0, 1)).repeat(count, 1)
        if self.config.injection == "prompt":
            if embeds is not None:
                embeds = torch.cat([embeds, embedding_table(self.decoder)[start].to(embeds.dtype)], 1)
            prompt = None if tokens is None else torch.cat([tokens, start], 1)
            mask = torch.cat([mask, torch.ones_like(start)], 1)
            log_prob = continuation_log_prob(self.decoder, labels, prompt, mask, prompt_embeds=embeds, read=read)
            return log_prob.view(count, -1)
        part = self.get_submodule(self.reading_part)
        states = part(tokens, embeds) if self.config.reader == "compressor" else encode_tokens(part, tokens, mask, embeds)
        states = states if self.bridge is None else self.bridge(states)
        return continuation_log_prob(
            self.decoder, labels, start, read=read, encoder_hidden_states=states, encoder_attention_mask=mask
        ).view(count, -1)
