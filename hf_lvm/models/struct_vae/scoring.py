"""p(x|z), p(z), and the language model of x that the baseline is made of: log-probabilities of given sentences and trees."""

import torch
from torch import nn

from hf_lvm.backbones.decoders import decoder_positions
from hf_lvm.backbones.encoders import encode_tokens, encoder_positions
from hf_lvm.backbones.reconstructors import continuation_log_prob, labels_log_prob
from hf_lvm.generation.cached_decoder import CachedDecoder, check_attends
from hf_lvm.generation.grammar_decoder import GrammarDecoder
from hf_lvm.generation.pointer_generator import PointerGeneratorDecoder
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.grammars.transition_system import END, PAD, START
from hf_lvm.grammars.transition_system.lexicons import NEVER
from hf_lvm.layers.copying import SymbolCopies
from hf_lvm.layers.decoder_interface import attended_size
from hf_lvm.models.struct_vae.configuration_struct_vae import StructVAEConfig
from hf_lvm.models.struct_vae.meaning_grammar import IGNORED, MeaningGrammar


class Scoring:
    """Methods of a StructVAE that score sentences under trees, and trees."""

    def spelled_limit(self, config: StructVAEConfig) -> int:
        """The most steps of a spelled tree: what the config says, or what the prior and the reader have positions for."""
        room = [NEVER - 1]
        if self.prior is not None and (positions := decoder_positions(self.prior)) is not None:
            room.append(positions - 1)
        if (positions := encoder_positions(self.reader)) is not None:
            room.append(positions - 1)
        most = min(room)
        wanted = config.max_spelled_actions
        if wanted is not None and wanted > most:
            raise ValueError(
                f"max_spelled_actions is {wanted}, and the prior and the reader have positions for {most} steps: lower it, or "
                "choose parts with more positions."
            )
        return most if wanted is None else wanted

    def build_telling(self, config: StructVAEConfig, grammar: MeaningGrammar) -> None:
        """What stands between the reader and the decoder: a layer between their sizes, copying."""
        check_attends(self.decoder)
        size, wanted = config.reader.hidden_size, attended_size(self.decoder.config)
        self.reader_bridge = None if size == wanted else nn.Linear(size, wanted)
        self.pointer = None
        if config.copy_from_meaning:
            self.pointer = SymbolCopies(config.decoder.get_text_config(decoder=True).hidden_size, wanted)
        table = torch.full((grammar.size,), -1) if config.copy_from_meaning else None
        self.register_buffer("token_of_action", table)

    # ---- p(x|z) ------------------------------------------------------------------------------------------------------

    def teller(self, spelled_ids: torch.Tensor) -> CachedDecoder:
        """p(x|z) before the first token, of N trees (N, L) as `MeaningGrammar.spelled_ids` has them.

        Raises:
            ValueError: trees beyond the positions of the reader.
        """
        mask = spelled_ids != IGNORED
        tokens = spelled_ids.masked_fill(~mask, PAD)
        states = encode_tokens(self.reader, tokens, mask.long())
        states = states if self.reader_bridge is None else self.reader_bridge(states)
        start = torch.full_like(tokens[:, :1], self.config.bos_token_id)
        attended = {"encoder_hidden_states": states, "encoder_attention_mask": mask.long()}
        if self.pointer is None:
            return CachedDecoder(self.decoder, start, **attended)
        symbols = self.token_of_action[tokens].masked_fill(~mask, -1)
        return PointerGeneratorDecoder(self.decoder, start, self.pointer(symbols), **attended)

    def log_likelihood(
        self, labels: torch.Tensor, spelled_ids: torch.Tensor, read: torch.Tensor | None = None
    ) -> torch.Tensor:
        """log p(x|z) of sentences under trees: (R, B), nats.

        Args:
            labels: (B, T), see `forward`.
            spelled_ids: (R, B, L), trees without copies, END last and -100 behind it.
            read: (B, T), what the decoder reads in the place of the shifted labels, the start token first.

        Raises:
            ValueError: sentences longer than the decoder's positions.
        """
        room, length = decoder_positions(self.decoder), labels.shape[1]
        if room is not None and length > room:
            raise ValueError(
                f"A sentence has {length} tokens with its end, and the decoder, a {self.config.decoder.model_type!r} model, "
                f"has room for {room}: leave it out (max_length), or choose a decoder with more positions."
            )
        count = len(spelled_ids)
        if read is not None:
            # A decoder reads the start token by itself.
            read = torch.nn.functional.pad(read[:, 1:], (0, 1)).repeat(count, 1)
        log_prob = labels_log_prob(self.teller(spelled_ids.flatten(0, 1)), labels.repeat(count, 1), read)
        return log_prob.view(count, -1)

    # ---- p(z) --------------------------------------------------------------------------------------------------------

    def meaning_prior(self) -> SymbolSequences:
        """p(z) over spelled trees, batch shape (1,): normalised over all trees of up to `grammar.max_spelled` steps.

        Raises:
            ValueError: a uniform prior, which is no distribution.
        """
        if self.prior is None:
            raise ValueError("The prior_type 'uniform' is no distribution over trees: choose 'model' for a p(z).")
        start = torch.full((1, 1), START, device=self.device)
        grammar = self.grammar
        decoder = GrammarDecoder(CachedDecoder(self.prior, start), grammar.spelling, grammar.max_spelled)
        return SymbolSequences(decoder, END, grammar.max_spelled, pad_token_id=PAD)

    def log_prior(self, spelled_ids: torch.Tensor) -> torch.Tensor:
        """log p(z) of trees (..., L), END last and -100 behind it: (...), nats; 0 under the prior_type `uniform`.

        Without a gradient where the prior does not learn.
        """
        if self.prior is None:
            return torch.zeros(spelled_ids.shape[:-1], dtype=self.dtype, device=spelled_ids.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.train_prior):
            log_prob = self.meaning_prior().log_prob(spelled_ids.flatten(0, -2).unsqueeze(1))
        return log_prob.view(spelled_ids.shape[:-1])

    # ---- the baseline ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def baseline_features(self, labels: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """What a learned baseline is made of: log p_LM(x), (B, 1), or the mean state of the encoder, (B, H)."""
        if self.language_model is None or self.config.estimator != "reinforce_learned":
            return features.detach()
        start = torch.full_like(labels[:, :1], self.config.bos_token_id)
        return continuation_log_prob(self.language_model, labels, start).unsqueeze(1)
