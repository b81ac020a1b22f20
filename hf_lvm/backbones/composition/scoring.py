"""p(x|z) of sentences under a composed model: what the decoder reads, its logits, its score."""

import torch

from hf_lvm.backbones.composition.lengths import check_length
from hf_lvm.backbones.decoders import decoder_positions
from hf_lvm.objectives.likelihood import biased_sentence_nll, sentence_nll, shift_right

# Logits held at once while a likelihood is estimated, in numbers: enough to keep a GPU busy, few enough for a CPU's cache.
MAX_LOGITS = {"cpu": 2**22, "cuda": 2**26}


class Scoring:
    """Methods of a composed model that score sentences under given latents."""

    def shift_right(self, labels: torch.Tensor) -> torch.Tensor:
        """What the decoder reads to predict labels (B, T): the start token, then all labels but the last."""
        return shift_right(labels, self.start_token_id, self.config.pad_token_id)

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

    def decode(self, latents: torch.Tensor, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) of a decoder that reads tokens (B, T) under B latents.

        Raises:
            ValueError: another number of latents than of sentences, or sentences longer than the decoder's positions.
        """
        if latents.shape[0] != decoder_input_ids.shape[0]:
            raise ValueError(
                f"Got {latents.shape[0]} latents for {decoder_input_ids.shape[0]} sentences: give one latent a sentence."
            )
        check_length(decoder_input_ids.shape[1], self.positions_left, "decoder", self.config.decoder.model_type)
        return self.conditioning.decode(self.decoder, decoder_input_ids, self.condition(latents)).logits

    def score(
        self, samples: torch.Tensor, decoder_input_ids: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """-log p(x|z) of samples (K, B, ...), nats per sentence: (K, B); and the logits (B, T, V) of the first sample.

        A decoder that hears z in its logits alone reads each sentence once, however many samples there are.
        """
        if self.conditioning.joins_only_logits and len(samples) > 1:
            return self._score_by_biases(samples, decoder_input_ids, labels)
        count, batch = samples.shape[:2]
        logits = self.decode(samples.flatten(0, 1), decoder_input_ids.repeat(count, 1))
        return sentence_nll(logits, labels.repeat(count, 1)).view(count, batch), logits[:batch]

    def _score_by_biases(
        self, samples: torch.Tensor, decoder_input_ids: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        check_length(decoder_input_ids.shape[1], self.positions_left, "decoder", self.config.decoder.model_type)
        logits = self.conditioning.decode(self.decoder, decoder_input_ids, {}).logits
        if samples.stride(1) == 0:
            # All values of z, the same for all sentences.
            samples = samples[:, :1]
        biases = self.condition(samples.flatten(0, 1))["logits"].view(*samples.shape[:2], -1)
        nll = biased_sentence_nll(logits, biases, labels)
        return nll, logits + biases[0].unsqueeze(1).to(logits.dtype)

    def samples_at_once(self, labels: torch.Tensor, *, are_shared: bool = False) -> int:
        """Samples of z scored at once for labels (B, T) while a likelihood is estimated, so that the logits stay small.

        Args:
            are_shared: all sentences have the same samples, as where all values of z are scored.
        """
        limit = MAX_LOGITS.get(labels.device.type, MAX_LOGITS["cuda"])
        words, (batch, length) = self.conditioning.interface.vocab_size, labels.shape
        if not self.conditioning.joins_only_logits:
            return max(1, limit // (batch * length * words))
        # A sample is a bias of V numbers a sentence, and may take as much in all as the logits themselves.
        return max(length, limit // ((1 if are_shared else batch) * words))
