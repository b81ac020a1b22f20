"""The unsupervised recurrent neural network grammar: z is a binary tree over the words, p(x, z) writes both, q(z|x) is a
conditional random field over trees (Kim et al. 2019).

p(x, z) knows nothing of q's encoder, which reads in both directions. The two share a table of embeddings at most.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers.utils import ModelOutput

from hf_lvm.backbones.composition.parts import TwoParts
from hf_lvm.backbones.decoders import load_decoder
from hf_lvm.backbones.encoders import build_encoder
from hf_lvm.backbones.transformer_grammar_decoder import TransformerGrammarDecoderModel
from hf_lvm.backbones.tree_decoders import as_tree_decoder, build_tree_decoder, load_tree_decoder
from hf_lvm.backbones.word_encoding import encode_words, word_inputs
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import BinaryTreeCRF, Generators
from hf_lvm.estimators import Draws, build_estimator
from hf_lvm.layers.span_scores import SPAN_SCORERS
from hf_lvm.models.urnng.configuration_urnng import URNNGConfig
from hf_lvm.models.urnng.likelihood import TreeLikelihood
from hf_lvm.models.urnng.sentences import Sentences
from hf_lvm.models.urnng.trees_and_texts import TreesAndTexts
from hf_lvm.objectives import (
    RowCounts,
    check_combination,
    draw_for,
    have_brackets,
    semi_supervised_mean,
    structured_bound,
)
from hf_lvm.objectives.known_latents import draw_mode


@dataclass
class URNNGOutput(ModelOutput):
    """What a forward pass of a URNNG returns. B sentences of n words at most, K trees of each.

    Attributes:
        loss: scalar, nats per sentence. Without brackets the mean of `row_loss`, which at `kl_weight=1` is the negative bound;
            with them J of `hf_lvm.objectives.semi_supervision`.
        row_loss: (B,), the (weighted) negative bound on log p(x); on log p(x, its brackets) where there are some, with
            -classification_weight log q(brackets|x) added.
        reconstruction: (B,), nats: the mean over trees of -log p of the words and the end of the sentence, each given the
            words and the tree before it.
        kl: (B,), nats, never weighted: the mean over trees of -log p of the steps that build the tree, less the entropy of
            q(z|x), which is exact. The two sum to the negative bound. The mean is over samples, so it may be negative.
        entropy: (B,), of q(z|x), given its brackets where there are some, nats.
        log_joint: (R, B), log p(x, z) of each tree.
        latents: (R, B, n, n) bool, the trees.
        posterior: q(z|x), given its brackets where there are some: a `BinaryTreeCRF`.
    """

    loss: torch.Tensor | None = None
    row_loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    log_joint: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: BinaryTreeCRF | None = None


class URNNGModel(TreesAndTexts, TreeLikelihood, TwoParts, PreTrainedModel):
    """Sentences with latent binary trees: an encoder that says which trees a sentence may have, a decoder that writes both.

    Example:

    ```python
    >>> from hf_lvm import LSTMEncoderConfig, RNNGDecoderConfig, URNNGConfig, URNNGModel

    >>> encoder = LSTMEncoderConfig(vocab_size=99, hidden_size=16, bidirectional=True)
    >>> model = URNNGModel(URNNGConfig(encoder=encoder, decoder=RNNGDecoderConfig(vocab_size=99, hidden_size=16)))
    >>> words = torch.tensor([[5, 6, 7]])
    >>> output = model(input_ids=words, labels=torch.tensor([[5, 6, 7, 3]]))
    >>> output.posterior.marginals.shape, output.latents.shape
    (torch.Size([1, 3, 3]), torch.Size([8, 1, 3, 3]))

    ```

    Args:
        config: what it is made of.
        encoder: a model to use as the encoder, instead of a new one from `config.encoder`.
        decoder: a tree decoder to use, instead of a new one from `config.decoder`.
    """

    config: URNNGConfig
    base_model_prefix = "urnng"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = {"posterior_head"}
    posterior_parts: ClassVar[tuple[str, ...]] = ("encoder", "posterior_head")
    decoder_parts: ClassVar[tuple[str, ...]] = ("decoder",)
    other_parts: ClassVar[tuple[str, ...]] = ()
    has_kl_per_dimension = False

    def __init__(self, config: URNNGConfig, encoder: PreTrainedModel | None = None, decoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.encoder = build_encoder(config.encoder) if encoder is None else encoder
        self.decoder = build_tree_decoder(config.decoder) if decoder is None else decoder
        # One config object a part, so that a change of the one is a change of the other.
        self.config.encoder, self.config.decoder = self.encoder.config, self.decoder.config
        self.build_adapters()
        self.posterior_head = SPAN_SCORERS[config.span_scorer](
            config.encoder.hidden_size, config.span_hidden_size, config.posterior_dropout
        )
        if config.tie_encoder_decoder_embeddings:
            self._tie_parts()
        self.post_init()
        # Afterwards, because what an estimator learns begins where the estimator says, and not as other layers do.
        self.renew_estimator()

    def renew_estimator(self) -> None:
        """Begin with the gradient estimator that the config names; `minimum_risk` has none."""
        config = self.config
        self.estimator = None
        if config.estimator is not None:
            self.estimator = build_estimator(
                config.estimator, feature_size=config.encoder.hidden_size, baseline_decay=config.baseline_decay
            )

    # ---- q(z|x) ------------------------------------------------------------------------------------------------------

    def encode(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.LongTensor | None = None,
    ) -> BinaryTreeCRF:
        """q(z|x) of sentences (B, S), padded on either side.

        Args:
            attention_mask: (B, S), nonzero at tokens.
            word_ids: (B, S), the number of the word that each piece belongs to, -1 for special tokens and padding. Without
                them each token that is not special is a word.

        Raises:
            ValueError: sentences longer than the encoder's positions, or without a word.
        """
        return self._posterior(input_ids, attention_mask, word_ids)[0]

    def _posterior(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        word_ids: torch.Tensor | None,
        sentences: Sentences | None = None,
    ) -> tuple[BinaryTreeCRF, torch.Tensor]:
        """q(z|x), over as many words as `sentences` have, and the mean state of each sentence's words, (B, H)."""
        inputs = word_inputs(self.encoder, input_ids, attention_mask, word_ids)
        lengths = inputs.lengths
        if sentences is None:
            sentences = Sentences.of_lengths(lengths)
        sentences.check_encoder(lengths)
        # A q that does not learn must not teach the embeddings that it may share with p either.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._infers_with_gradients()):
            words = encode_words(self.encoder, inputs, sentences.num_words)
            scores = self.posterior_head(words)
        return BinaryTreeCRF(scores, sentences.lengths), words.sum(1) / lengths.unsqueeze(1)

    def _infers_with_gradients(self) -> bool:
        return any(parameter.requires_grad for _, parameter in self.inference_parameters())

    # ---- the model ---------------------------------------------------------------------------------------------------

    def sentences_of(self, labels: torch.Tensor | None, decoder_word_ids: torch.Tensor | None) -> Sentences:
        """Labels (B, T) as the decoder takes them; see `forward`."""
        if labels is None:
            raise ValueError("Pass labels: the sentences, each with its end, -100 where padded.")
        return Sentences.of_labels(labels, decoder_word_ids, self.config.eos_token_id, self.config.decoder.subwords)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        decoder_word_ids: torch.LongTensor | None = None,
        required_spans: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        sample_posterior: bool = True,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        row_counts: RowCounts | None = None,
        return_dict: bool | None = None,
    ) -> URNNGOutput:
        """The bound of sentences, or the score of sentences with given trees.

        Args:
            input_ids: (B, S), the sentences for the encoder, padded on either side.
            attention_mask, word_ids: (B, S), see `encode`.
            labels: (B, T), the sentences for the decoder: pieces and the end, -100 where padded (on the right).
            decoder_word_ids: (B, T), the word that each of these pieces belongs to, -1 at the end and behind it. Without them
                every piece is a word.
            required_spans: (B, n, n) bool, brackets that are known; those of width 1 need not be given, and a row of False has
                none. A sentence with brackets is a labelled one. All n - 1 spans of a tree make it known.
            latents: (B, n, n) or (K, B, n, n) bool, trees to score the sentences with instead of encoding them: `kl` is None,
                `loss` the mean of -log p(x, z), `log_joint` that of each.
            sample_posterior: trees from q(z|x) as the estimator draws them; the most probable one otherwise.
            generator: None, one generator, or one for each row.
            kl_weight: of log p(z) and the entropy, in `loss` and in the learning signal.
            free_bits, free_bits_mode: 0 and "none": the KL of trees is not in closed form, and cannot be held up.
            row_counts: labelled and unlabelled rows of the batch that this one is a part of.

        Raises:
            ValueError: sentences that do not fit the parts, or each other; brackets that cross; free bits.
        """
        sentences = self.sentences_of(labels, decoder_word_ids)
        if latents is not None:
            trees = latents.unsqueeze(0) if latents.dim() == 3 else latents
            scored = self.decoder(sentences.pieces, trees, sentences.word_ids)
            log_joint = scored.log_prob
            return URNNGOutput(
                loss=-log_joint.mean(), reconstruction=-scored.word_log_prob.mean(0), log_joint=log_joint, latents=trees
            )
        if input_ids is None:
            raise ValueError("Pass input_ids for the encoder, or latents to score the labels with.")
        config = self.config
        check_combination(
            config.objective, config.estimator, config.num_samples, latents="structured", free_bits_mode=free_bits_mode
        )
        if free_bits_mode != "none":
            raise ValueError("The KL of trees is estimated from samples, and free bits cannot hold it up: set free_bits to 0.")
        posterior, features = self._posterior(input_ids, attention_mask, word_ids, sentences)
        inferred, certain = posterior, not sample_posterior
        if required_spans is not None:
            sentences.check_brackets(required_spans)
            inferred = posterior.constrained(required_spans)
            certain = certain or sentences.are_trees(required_spans)
        draws = self._draw(inferred, certain, features, generator)
        # Scores that are no numbers have no trees; with any in their place, it is the loss that is not a number.
        draws.latents = torch.where(inferred.log_partition.isnan()[:, None, None], sentences.any_trees(), draws.latents)
        scored = self.decoder(sentences.pieces, draws.latents, sentences.word_ids)
        entropy = inferred.entropy()
        terms = structured_bound(
            config.objective,
            draws,
            scored.word_log_prob,
            scored.action_log_prob,
            entropy,
            kl_weight=kl_weight,
            risk_sharpness=config.risk_sharpness,
        )
        row_loss = terms.loss
        if required_spans is None:
            loss = row_loss.mean()
        else:
            log_brackets = inferred.log_partition - posterior.log_partition
            row_loss = row_loss - config.classification_weight * log_brackets
            loss = semi_supervised_mean(
                row_loss,
                have_brackets(required_spans, sentences.lengths),
                unlabelled_weight=config.unlabelled_weight,
                counts=row_counts,
            )
        return URNNGOutput(
            loss=loss,
            row_loss=row_loss,
            reconstruction=terms.reconstruction,
            kl=terms.kl,
            entropy=entropy,
            log_joint=scored.log_prob,
            latents=draws.latents,
            posterior=inferred,
        )

    def _draw(self, posterior: BinaryTreeCRF, certain: bool, features: torch.Tensor, generator: Generators) -> Draws:
        """The trees that the objective is computed from."""
        config = self.config
        if certain:
            return draw_mode(config.objective, self.estimator, posterior)
        return draw_for(config.objective, self.estimator, posterior, config.num_samples, generator, features=features)

    # ---- its parts ---------------------------------------------------------------------------------------------------

    def adapter_modules(self) -> dict[str, tuple[str, ...]]:
        # Of a tree decoder around a language model this model can have one; a grammar of its own has no pretrained weights.
        decoder = {"decoder": ("decoder.decoder",)} if isinstance(self.decoder, TransformerGrammarDecoderModel) else {}
        return {"encoder": ("encoder",)} | decoder

    def load_part(self, part: str, source: str, **options) -> PreTrainedModel:
        return load_decoder(source, **options) if part == "decoder" else super().load_part(part, source, **options)

    @classmethod
    def _load_decoder(cls, source: str, own: dict, **options) -> PreTrainedModel:
        return load_tree_decoder(source, **options)

    @classmethod
    def _as_decoder(cls, decoder: PreTrainedModel) -> PreTrainedModel:
        return as_tree_decoder(decoder)

    def _tie_parts(self) -> None:
        super()._tie_parts()
        # The table is the decoder's: it learns at the decoder's rate, and stays when q(z|x) stays as it is.
        ((decoder, encoder),) = self._tied_weights_keys.items()
        self._tied_weights_keys = {encoder: decoder}

    def inference_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of q(z|x): encoder and span scorer, besides those shared with p(x, z)."""
        shared = {id(parameter) for parameter in self.decoder.parameters()}
        return (pair for pair in super().inference_parameters() if id(pair[1]) not in shared)

    def generative_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of p(x, z): the decoder's."""
        return self._named_parameters_of("decoder")

    def parameter_parts(self) -> dict[str, Iterator[tuple[str, nn.Parameter]]]:
        """Parts that may have an optimiser or a rate of their own: the rest of the decoder is what is left."""
        actions = ((name, value) for name, value in self.generative_parameters() if "action_head" in name)
        return {"encoder": self.inference_parameters(), "action_head": actions}

    def initialize_weights(self) -> None:
        """New weights where none were loaded; called by transformers, which does not visit the span scorer by itself."""
        super().initialize_weights()
        self.posterior_head.init_weights()


AutoConfig.register(URNNGConfig.model_type, URNNGConfig)
AutoModel.register(URNNGConfig, URNNGModel)
AutoProcessor.register(URNNGConfig, LatentTextProcessor)
