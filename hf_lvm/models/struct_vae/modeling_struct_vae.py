"""StructVAE: z is a meaning, a tree of a grammar; p(z) p(x|z) says it, q(z|x) parses x into it (Yin et al. 2018).

What a batch is made of, B sentences of n words at most:

| field | shape | |
|---|---|---|
| `input_ids`, `attention_mask` | (B, S) | pieces for the encoder, padded on either side |
| `word_ids` | (B, S) | the word that each piece belongs to, -1 for special tokens and padding; without, each piece is a word |
| `words` | B lists of strings | the words themselves, where the actions have copy_slots |
| `labels` | (B, T) | tokens of the decoder with their end, -100 behind it |
| `meaning_ids` | (B, L) | known meanings as actions with END, -100 behind it; all -100 where none is known |

Known meanings are spelled out, `actions_of(vocabulary, tree)` without a source (or `model.grammar.ids_of_trees`); what of them
q copies is found here. A latent is a sequence of the actions of q, which may copy: (B, max_actions + 1), with END and padding
behind it. p(x|z) and p(z) see the same tree spelled out (`model.grammar.spelled_ids`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.distributions import Distribution
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers.utils import ModelOutput

from hf_lvm.backbones.decoders import build_decoder
from hf_lvm.backbones.encoders import build_encoder
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.estimators import Draws, build_estimator, draw_best
from hf_lvm.models.struct_vae.configuration_struct_vae import StructVAEConfig
from hf_lvm.models.struct_vae.likelihood import MeaningLikelihood
from hf_lvm.models.struct_vae.meaning_grammar import IGNORED, MeaningGrammar
from hf_lvm.models.struct_vae.meanings_and_texts import MeaningsAndTexts
from hf_lvm.models.struct_vae.parts import StructVAEParts
from hf_lvm.models.struct_vae.posterior import EncodedSentences, MeaningPosterior, ParsingPart
from hf_lvm.models.struct_vae.scoring import Scoring
from hf_lvm.objectives import (
    BoundTerms,
    RowCounts,
    check_combination,
    draw_for,
    joined_terms,
    select_rows,
    semi_supervised_mean,
    structured_bound,
)
from hf_lvm.objectives.known_latents import draw_mode, sit_out, terms_by_group


@dataclass
class StructVAEOutput(ModelOutput):
    """What a forward pass of a StructVAE returns. B sentences, K trees of each.

    Attributes:
        loss: scalar, nats per sentence: the mean of `row_loss`; where some meanings are known, J of
            `hf_lvm.objectives.semi_supervision`.
        row_loss: (B,). Of an unlabelled sentence the (weighted) negative bound on log p(x); under the prior_type `uniform` and
            with candidates of a beam no bound. Of one with a known meaning -joint_weight (log p(x|z), and log p(z) where the
            prior learns) - classification_weight log q(z|x).
        reconstruction: (B,), nats: E_q[-log p(x|z)] over samples; of a known meaning -log p(x|z).
        kl: (B,), nats, never weighted: E_q[log q(z|x) - log p(z)] over samples, of which it may be negative; of a known
            meaning -log p(z). The two sum to the negative bound on log p(x), or -log p(x, z). Under the prior_type `uniform`
            it is the negative entropy of q, and of a known meaning 0. With a joint_weight of 0 nothing of p is computed for a
            known meaning: `reconstruction` is -log q(z|x) and `kl` 0.
        negative_entropy: (B,), nats, E_q[log q(z|x)] over samples, where the prior_type is `uniform`: what `kl` is then.
        latents: (R, B, T), the trees the terms were computed from; None where some meanings are known.
        posterior: q(z|x) of sentences that are all unlabelled.
    """

    loss: torch.Tensor | None = None
    row_loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    negative_entropy: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: Distribution | None = None


class StructVAEModel(MeaningsAndTexts, MeaningLikelihood, Scoring, ParsingPart, StructVAEParts, PreTrainedModel):
    """Sentences and their meanings: an encoder and a parser that writes a tree, a prior over trees, a reader of trees and a
    decoder that writes the sentence.

    Args:
        config: what it is made of.
        encoder, decoder: models to use as parts, instead of new ones from the config.

    Raises:
        ValueError: parts that do not go together or with the grammar.
    """

    config: StructVAEConfig
    base_model_prefix = "struct_vae"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    has_kl_per_dimension = False

    def __init__(
        self, config: StructVAEConfig, encoder: PreTrainedModel | None = None, decoder: PreTrainedModel | None = None
    ):
        super().__init__(config)
        if config.eos_token_id is None or config.bos_token_id is None:
            raise ValueError(
                "Sentences begin behind a token and end with one: set bos_token_id and eos_token_id, those of the decoder's "
                "tokenizer."
            )
        if config.actions is None:
            raise ValueError("A StructVAE needs a grammar: set actions, the to_dict() of its ActionVocabulary.")
        self.encoder = build_encoder(config.encoder) if encoder is None else encoder
        self.decoder = build_decoder(config.decoder) if decoder is None else decoder
        self.parser, self.reader = build_decoder(config.parser), build_encoder(config.reader)
        self.prior = None if config.prior is None else build_decoder(config.prior)
        self.language_model = None if config.language_model is None else build_decoder(config.language_model)
        # One config object a part, so that a change of the one is a change of the other.
        for part in ("encoder", "decoder", "parser", "reader", "prior", "language_model"):
            if getattr(self, part) is not None:
                setattr(self.config, part, getattr(self, part).config)
        self.grammar = MeaningGrammar(config.actions, config.max_actions, self.spelled_limit(config))
        self.check_vocabularies()
        self.build_parsing(config, self.grammar)
        self.build_telling(config, self.grammar)
        self.build_adapters()
        self.post_init()
        # Afterwards, because what an estimator learns begins where the estimator says, and not as other layers do.
        self.renew_estimator()

    def renew_estimator(self) -> None:
        """Begin with the gradient estimator that the config names; `minimum_risk` has none."""
        config = self.config
        config.validate_combination()
        self.estimator = None
        if config.estimator is not None:
            options = {"baseline_decay": config.baseline_decay, "feature_size": config.encoder.hidden_size}
            if self.language_model is not None:
                options |= {"baseline_slope": config.baseline_slope, "baseline_intercept": config.baseline_intercept}
            self.estimator = build_estimator(config.estimator, **options)
            if config.signal_clip is not None:
                self.estimator.signal_clip = config.signal_clip
        self.freeze_parts()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.LongTensor | None = None,
        words: Sequence[Sequence[str]] | None = None,
        labels: torch.LongTensor | None = None,
        decoder_word_ids: torch.LongTensor | None = None,
        meaning_ids: torch.LongTensor | None = None,
        guessed_ids: torch.LongTensor | None = None,
        latents: torch.LongTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        sample_posterior: bool = True,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        row_counts: RowCounts | None = None,
        return_dict: bool | None = None,
    ) -> StructVAEOutput:
        """The bound of sentences, with known meanings where there are some, or the score of given trees.

        Args:
            input_ids: (B, S), the sentences for the encoder, padded on either side.
            attention_mask: (B, S), nonzero at tokens.
            word_ids: (B, S), the word that each piece belongs to, -1 for special tokens and padding. Without them each token
                that is not special is a word.
            words: B lists of words, as many as `word_ids` say; needed where q copies some.
            labels: (B, T), the sentences for the decoder: tokens and the end, -100 where padded (on the right).
            decoder_word_ids: taken, so that collators of words serve, and not used.
            meaning_ids: (B, L), known meanings, see the module.
            guessed_ids: (B, L), likewise, meanings that a parser has guessed for sentences without a known one
                (self-training): their loss is that of a known meaning, their weight that of sentences without one.
            latents: (B, T) or (K, B, T), actions of q to score the sentences with instead of parsing them: `kl` is None,
                `loss` and `reconstruction` the mean of -log p(x|z).
            decoder_input_ids: (B, T), read by the decoder instead of the shifted labels (with some words dropped, say).
            sample_posterior: trees from q(z|x) as the estimator draws them; the greedily best one otherwise.
            generator: None, one generator, or one for each row.
            kl_weight: weight of the KL beside the config's prior_weight, in `loss` and in the learning signal.
            free_bits, free_bits_mode: 0 and "none".
            row_counts: labelled and unlabelled rows of the batch that this one is a part of.

        Raises:
            ValueError: sentences or meanings that do not fit the parts, or each other; free bits.
        """
        self.check_labels(labels, with_end=latents is None)
        if latents is not None:
            values = latents.unsqueeze(0) if latents.dim() == 2 else latents
            spelled = self.grammar.spelled_ids(values, self.sources_of(words))
            reconstruction = -self.log_likelihood(labels, spelled, decoder_input_ids).mean(0)
            return StructVAEOutput(loss=reconstruction.mean(), reconstruction=reconstruction, latents=values)
        config = self.config
        check_combination(
            config.objective, config.estimator, config.num_samples, latents="structured", free_bits_mode=free_bits_mode
        )
        if free_bits_mode != "none":
            raise ValueError("The KL of trees has no part that free bits could hold up: set free_bits to 0.")
        kl_weight = kl_weight * config.prior_weight
        encoded = self.encoded(input_ids, attention_mask, word_ids, words)
        if guessed_ids is not None and meaning_ids is None:
            meaning_ids = torch.full_like(guessed_ids[:, :1], IGNORED)
        known = None if meaning_ids is None else (meaning_ids != IGNORED).any(1)
        if known is None:
            terms, values, posterior = self._bound(labels, encoded, decoder_input_ids, generator, sample_posterior, kl_weight)
            return self._output(terms.loss.mean(), [terms], None, values, posterior)
        guessed = torch.zeros_like(known) if guessed_ids is None else (guessed_ids != IGNORED).any(1) & ~known
        inferred, has_weight = ~known & ~guessed, config.unlabelled_weight > 0
        values = posterior = None

        def some(rows: torch.Tensor) -> tuple[torch.Tensor, EncodedSentences, torch.Tensor | None]:
            return labels[rows], encoded.select(rows), select_rows(decoder_input_ids, rows)

        def known_terms(rows: torch.Tensor) -> BoundTerms:
            return self._told(*some(rows), meaning_ids[rows])

        def guessed_terms(rows: torch.Tensor) -> BoundTerms:
            return self._told(*some(rows), guessed_ids[rows])

        def bound_terms(rows: torch.Tensor) -> BoundTerms:
            nonlocal values, posterior
            own = select_rows(generator, rows)
            terms, values, posterior = self._bound(*some(rows), own, sample_posterior, kl_weight)
            return terms

        groups = [
            (inferred, bound_terms if has_weight else None),
            (known, known_terms),
            (guessed, guessed_terms if has_weight else None),
        ]
        parts, place = terms_by_group(groups, encoded.features)
        if not has_weight or not bool(inferred.any()):
            sit_out(self.estimator)
        if not bool(inferred.all()):
            values = posterior = None
        row_loss = joined_terms(parts, "loss", place)
        loss = semi_supervised_mean(row_loss, known, unlabelled_weight=config.unlabelled_weight, counts=row_counts)
        return self._output(loss, parts, place, values, posterior)

    def check_labels(self, labels: torch.Tensor | None, with_end: bool = True) -> None:
        """Raise a `ValueError` for sentences that are not there, or without their end."""
        if labels is None:
            raise ValueError("Pass labels: the sentences, each with its end, -100 where padded.")
        if not with_end:
            return
        endless = ~(labels == self.config.eos_token_id).any(1)
        if may_look(labels, False) and endless.any():
            raise ValueError(
                f"The labels of row(s) {rows_of(endless)} do not end with the token {self.config.eos_token_id}: append it."
            )

    def _output(
        self,
        loss: torch.Tensor,
        parts: list[BoundTerms],
        place: torch.Tensor | None,
        values: torch.Tensor | None,
        posterior: Distribution | None,
    ) -> StructVAEOutput:
        if place is None:
            place = torch.arange(len(parts[0].loss), device=loss.device)
        row_loss, reconstruction, kl = (joined_terms(parts, name, place) for name in ("loss", "reconstruction", "kl"))
        return StructVAEOutput(
            loss=loss,
            row_loss=row_loss,
            reconstruction=reconstruction,
            kl=kl,
            negative_entropy=kl if self.prior is None else None,
            latents=values,
            posterior=posterior,
        )

    def _bound(
        self,
        labels: torch.Tensor,
        encoded: EncodedSentences,
        read: torch.Tensor | None,
        generator: Generators,
        sample_posterior: bool,
        kl_weight: float,
    ) -> tuple[BoundTerms, torch.Tensor, Distribution]:
        """The bound of sentences whose meanings are not known, the trees it was computed from, and q(z|x)."""
        config, posterior = self.config, self.posterior_of(encoded)
        draws = self._draw(labels, encoded, posterior, not sample_posterior, generator)
        spelled = self.grammar.spelled_ids(draws.latents, encoded.sources)
        terms = structured_bound(
            config.objective,
            draws,
            self.log_likelihood(labels, spelled, read),
            self.log_prior(spelled),
            None,
            kl_weight=kl_weight,
        )
        return terms, draws.latents, posterior

    def _told(
        self, labels: torch.Tensor, encoded: EncodedSentences, read: torch.Tensor | None, meaning_ids: torch.Tensor
    ) -> BoundTerms:
        """The loss of sentences whose meanings are known."""
        config = self.config
        known = torch.ones(len(labels), dtype=torch.bool)
        values = self.grammar.copied_ids(meaning_ids, encoded.sources, known)
        nll = -self.posterior_of(encoded).log_prob(values)
        if config.joint_weight == 0:
            return BoundTerms(config.classification_weight * nll, nll.detach(), torch.zeros_like(nll))
        spelled = meaning_ids.unsqueeze(0)
        reconstruction = -self.log_likelihood(labels, spelled, read).squeeze(0)
        kl = -self.log_prior(spelled).squeeze(0)
        loss = config.joint_weight * (reconstruction + kl if config.train_prior else reconstruction)
        return BoundTerms(loss + config.classification_weight * nll, reconstruction.detach(), kl.detach())

    def _draw(
        self,
        labels: torch.Tensor,
        encoded: EncodedSentences,
        posterior: MeaningPosterior,
        certain: bool,
        generator: Generators,
    ) -> Draws:
        """The trees that the objective is computed from."""
        config = self.config
        if certain:
            return draw_mode(config.objective, self.estimator, posterior)
        features = self.baseline_features(labels, encoded.features)
        if config.unlabelled_candidates == "beam":
            return draw_best(self.estimator, posterior, config.num_samples, features)
        return draw_for(config.objective, self.estimator, posterior, config.num_samples, generator, features=features)


AutoConfig.register(StructVAEConfig.model_type, StructVAEConfig)
AutoModel.register(StructVAEConfig, StructVAEModel)
AutoProcessor.register(StructVAEConfig, LatentTextProcessor)
