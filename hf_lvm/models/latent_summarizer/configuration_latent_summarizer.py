"""Configuration of the latent summarizer."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from hf_lvm.backbones.adapters import check_adapter_leaves_base
from hf_lvm.backbones.bigram_decoder import BigramDecoderConfig
from hf_lvm.backbones.composition.configuration import AdaptedConfig, own_config, own_keys
from hf_lvm.backbones.decoders import as_decoder_config, start_token
from hf_lvm.backbones.encoders import as_encoder_config
from hf_lvm.backbones.reconstructors import INJECTIONS, as_reconstructor_config
from hf_lvm.backbones.segment_decoder import SegmentDecoderConfig
from hf_lvm.estimators import check_temperature
from hf_lvm.objectives import check_combination

POSTERIOR_TYPES = ("delete", "pointer", "pointer_vocab", "vocab")
RELAXED = ("straight_through", "gumbel_softmax")
# How a prior reads compressions that has a tokenizer of its own: `hf_lvm.generation.token_bridge.PriorBridge`.
ID_MAPS = ("same", "permutation")
PRIOR_TYPES = ("model", "compressor")
PRIOR_BRIDGES = (*ID_MAPS, "text")
DEFAULT_SIZES = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")


@strict
class LatentSummarizerConfig(AdaptedConfig):
    """What a `LatentSummarizerModel` is made of.

    Args:
        encoder: config of the encoder of q(c|x), or a dict with its `model_type`.
        decoder: config of p(x|c), or a dict with its `model_type`: `hf_lvm_segment_decoder`, which fills the gaps between kept
            words, or a causal language model.
        prior: config of p(c), any causal language model; `hf_lvm_bigram_decoder` over the decoder's words by default.
        reader: with the injection `cross_attention`, config of the encoder that reads c; None for that of q(c|x), which then
            reads c without x; `compressor` for the LSTM of a pointer, which reads c by itself with the weights it writes c
            with, as in the paper (section 2.1). What c is read by is a part of p(x|c), and so its gradient reaches q, too.
        compressor: of the posterior_type `vocab`, config of a causal language model, which writes c.
        compressor_injection: how it sees the encoder's states: `cross_attention`, or `prompt`, before the start token, which
            any family can read.
        posterior_type: `delete`, words of x in their order, an exact distribution over compressions; `pointer`, words of x in
            any order, one after the other (ASC); `pointer_vocab`, words of x or of the vocabulary (FSC); `vocab`, whatever a
            language model writes.
        unlabelled_posterior: of `pointer_vocab`, `pointer`: the bound of sentences without a known c is under the q that its
            pointers alone make, and known ones are trained by the whole mixture, as in the paper (ASC and FSC with the same
            pointers). None for the mixture everywhere.
        injection: how c joins a causal language model, `prompt` or `cross_attention`.
        pair_hidden_size: of `delete`, units that score pairs of words; by default as many as a state has.
        pointer_hidden_size: of pointers, the size of their LSTM; by default as many as a state of the encoder has.
        min_summary_words, max_summary_words: of all but `delete`, the fewest and the most symbols of c. The most of a pointer
            are no more than x has words; of `vocab` they must be given.
        posterior_dropout: on these units.
        allow_empty: whether c may have no word. Without, q and p(c) are those given that it has one.
        length_model: of a bigram prior, `table`: p(c) = p(|c|) p(c given |c|), so that no length is preferred for being short.
            p(|c|) is a table, which learns with the prior or is taken from known lengths (`length_table.fit`), and the second
            factor the prior divided by its sum over all texts of that length. None for the prior as it is.
        length_table_size: lengths with a cell of their own; longer ones share a geometric tail.
        target_ratio: words of c to words of x, above 0 and up to 1: q is given the number of words, the rounded product, one
            at least. None for any number. Labelled compressions keep the number they have.
        target_ratio_spread: in training the ratio of each unlabelled sentence is drawn, uniformly from as much below
            target_ratio to as much above, as in SEQ3 (.1 around .5). Given any number of words the bound is one, and so in the
            mean.
        prior_weight: lambda of the paper (.1 there), which weighs log p(c) - log q(c|x) in the loss beside the schedule's
            weight; bounds that are reported have weight 1.
        prior_type: `model`, a model of its own; or `compressor`, of the posterior_type `vocab`: the compressor with its LoRA
            adapter switched off and without the states of x, so that p(c) is the model that q(c|x) was made of. It does not
            learn, and is not saved twice; `prior` is the config of the compressor.
        train_prior: whether p(c) learns; otherwise it stays as it is.
        prior_bridge: of a prior with another tokenizer than the decoder's: `same` or `permutation`, where the two only number
            tokens differently, and a table saved with the weights says how; `text`, where it reads the text of c and the
            choice among the tokens that write it is charged, so that the KL stays an upper bound. None for a prior that knows
            the decoder's tokens by their ids. `from_encoder_decoder_pretrained` finds out which.
        prior_bos_token_id, prior_eos_token_id: what such a prior begins behind and ends with.
        prior_epsilon: of `text`, the probability of all tokens but those that the decoder's tokenizer makes of a text.
        excluded_token_ids: tokens that q(c|x) never writes of its own accord, such as those that the prior cannot score.
        empty_baseline: subtract log p(x | empty c) from the learning signal, which changes its variance only.
        empty_weight: weight of -log p(x | empty c) in the loss of unlabelled sentences, without which a decoder never sees an
            empty c, and says little about how much c explains.
        objective: `elbo`, `marginal`, `iwae` or `minimum_risk`.
        estimator: of its gradient. `exact` where posterior, prior and decoder are sums over pairs of words (`delete`, bigram
            and segments); `rloo` or another score function otherwise; `straight_through` and
            `gumbel_softmax`, biased, for all but `delete`; `vimco` for `iwae`; None for `minimum_risk`.
        num_samples: K, compressions of each sentence.
        temperature: of the relaxed samples of `straight_through` and `gumbel_softmax`, where a schedule gives no other.
        learned_temperature: predict it from the sentence; it begins at `temperature`.
        baseline_decay: of baselines that average over batches.
        risk_sharpness: of `minimum_risk`.
        classification_weight: weight of -log q(c|x), which sentences with a known c add to their loss.
        joint_weight: weight of -log p(x, c) of these sentences.
        unlabelled_weight: of sentences without one, where others have some.
        encoder_adapter, decoder_adapter, compressor_adapter: configuration of a `peft` LoRA adapter inside the part, whose own
            weights are frozen; but for the compressor's attention to the states of x, which the model without x does not have.
        adapters_only, adapter_bases: see `AdaptedConfig`.
        pad_token_id, bos_token_id, eos_token_id: of the decoder's tokenizer; taken from the decoder's config where not given.

    Raises:
        ValueError: an unknown name, or a combination that makes no sense.
    """

    model_type = "hf_lvm_latent_summarizer"
    # Parts that are not there are none of these, which transformers would look into.
    sub_configs = {"encoder": AutoConfig, "decoder": AutoConfig, "prior": AutoConfig}
    keys_to_ignore_at_inference = ["latents", "posterior"]

    encoder: PreTrainedConfig | dict | None = None
    decoder: PreTrainedConfig | dict | None = None
    prior: PreTrainedConfig | dict | None = None
    reader: PreTrainedConfig | dict | str | None = None
    compressor: PreTrainedConfig | dict | None = None
    compressor_injection: str = "cross_attention"
    posterior_type: str = "delete"
    unlabelled_posterior: str | None = None
    injection: str = "prompt"
    pair_hidden_size: int | None = None
    pointer_hidden_size: int | None = None
    min_summary_words: int = 1
    max_summary_words: int | None = None
    posterior_dropout: float | int = 0.0
    allow_empty: bool = False
    length_model: str | None = None
    length_table_size: int = 30
    target_ratio: float | int | None = None
    target_ratio_spread: float | int = 0.0
    prior_weight: float | int = 1.0
    prior_type: str = "model"
    train_prior: bool = True
    prior_bridge: str | None = None
    prior_bos_token_id: int | None = None
    prior_eos_token_id: int | None = None
    prior_epsilon: float = 0.01
    excluded_token_ids: list[int] | None = None
    empty_baseline: bool = False
    empty_weight: float | int = 0.0
    objective: str = "elbo"
    estimator: str | None = "exact"
    num_samples: int = 4
    temperature: float | int = 1.0
    learned_temperature: bool = False
    baseline_decay: float | int = 0.9
    risk_sharpness: float | int = 1.0
    classification_weight: float | int = 1.0
    joint_weight: float | int = 1.0
    unlabelled_weight: float | int = 1.0
    encoder_adapter: dict[str, Any] | None = None
    decoder_adapter: dict[str, Any] | None = None
    compressor_adapter: dict[str, Any] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs):
        self.encoder = own_config(self.encoder, default="hf_lvm_lstm_encoder")
        self.decoder = own_config(self.decoder, default="hf_lvm_segment_decoder")
        if self.prior is None:
            sizes = {key: getattr(self.decoder.get_text_config(decoder=True), key, None) for key in DEFAULT_SIZES}
            self.prior = BigramDecoderConfig(**sizes)
        self.prior = own_config(self.prior, default="hf_lvm_bigram_decoder")
        if self.reader is not None and not isinstance(self.reader, str):
            self.reader = as_encoder_config(own_config(self.reader, default="hf_lvm_lstm_encoder"))
        if self.compressor is not None:
            attends = self.compressor_injection == "cross_attention"
            self.compressor = as_decoder_config(own_config(self.compressor, default="gpt2"), cross_attention=attends)
        if self.prior_type == "compressor" and self.compressor is not None:
            self.prior = self.compressor
        super().__post_init__(**kwargs)
        for key in ("injection", "compressor_injection"):
            if getattr(self, key) not in INJECTIONS:
                known = ", ".join(map(repr, INJECTIONS))
                raise ValueError(f"Unknown {key} {getattr(self, key)!r}: choose one of {known}.")
        self.encoder = as_encoder_config(self.encoder)
        self.decoder = as_reconstructor_config(self.decoder, self.injection)
        self.prior = as_decoder_config(self.prior)
        decoder = self.decoder.get_text_config(decoder=True)
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if getattr(self, key) is None:
                setattr(self, key, getattr(decoder, key, None))
        if self.bos_token_id is None:
            self.bos_token_id = start_token(decoder)
        self.validate_combination()

    @property
    def is_exact(self) -> bool:
        """Whether bound and likelihood can be summed over all compressions: all that they are made of is of pairs of words."""
        return (
            self.posterior_type == "delete"
            and isinstance(self.decoder, SegmentDecoderConfig)
            and isinstance(self.prior, BigramDecoderConfig)
            and self.prior_bridge != "text"
        )

    @property
    def excluded_ids(self) -> tuple[int, ...]:
        """Tokens that are not written: padding, the start and what is excluded by name, but for the end."""
        own = {self.pad_token_id, self.bos_token_id, *(self.excluded_token_ids or ())}
        return tuple(sorted(own - {self.eos_token_id, None}))

    @property
    def prior_start_and_end(self) -> tuple[int, int]:
        """What the prior begins behind and ends with, by its own ids."""
        if self.prior_bridge is None:
            return self.bos_token_id, self.eos_token_id
        return self.prior_bos_token_id, self.prior_eos_token_id

    @property
    def bound_is_extractive(self) -> bool:
        """Whether the bound is under the pointers alone of a posterior that has more."""
        return self.unlabelled_posterior == "pointer"

    @property
    def kind_of_latents(self) -> str:
        """What `check_combination` calls such latents."""
        if self.posterior_type == "delete":
            return "summed" if self.is_exact else "structured"
        return "sequence"

    def validate_combination(self) -> None:
        """Every name exists, and the keys go together."""
        if self.posterior_type not in POSTERIOR_TYPES:
            raise ValueError(
                f"Unknown posterior_type {self.posterior_type!r}: choose one of {', '.join(map(repr, POSTERIOR_TYPES))}."
            )
        if self.unlabelled_posterior not in (None, "pointer"):
            raise ValueError(
                f"Unknown unlabelled_posterior {self.unlabelled_posterior!r}: choose 'pointer', or leave it out for the same "
                "q(c|x) with and without known compressions."
            )
        if self.unlabelled_posterior and self.posterior_type != "pointer_vocab":
            raise ValueError(
                f"unlabelled_posterior 'pointer' takes the pointers out of the posterior_type 'pointer_vocab', and this is "
                f"{self.posterior_type!r}: leave it out, or choose that one."
            )
        segments = isinstance(self.decoder, SegmentDecoderConfig)
        if segments and self.posterior_type != "delete":
            raise ValueError(
                f"A segment decoder fills the gaps between kept words, and a {self.posterior_type!r} compression keeps none "
                "in their order: choose the posterior_type 'delete', or a causal language model as the decoder."
            )
        if isinstance(self.reader, str) and (self.reader != "compressor" or not self.posterior_type.startswith("pointer")):
            raise ValueError(
                f"The reader {self.reader!r} of the posterior_type {self.posterior_type!r}: it is the config of an encoder, "
                "nothing for the encoder of q(c|x), or 'compressor' for the LSTM of 'pointer' or 'pointer_vocab'."
            )
        check_combination(self.objective, self.estimator, self.num_samples, latents=self.kind_of_latents)
        if self.learned_temperature and self.estimator not in RELAXED:
            raise ValueError(
                f"learned_temperature is for relaxed samples, and the estimator is {self.estimator!r}: choose "
                "'straight_through' or 'gumbel_softmax', or leave it out."
            )
        check_temperature(self.temperature)
        if self.reader is not None and (segments or self.injection != "cross_attention"):
            raise ValueError("A reader of c is for a decoder that attends to it: set injection to 'cross_attention'.")
        shares_encoder = self.injection == "cross_attention" and not segments and self.reader is None
        if shares_encoder and self.encoder.vocab_size != self.decoder.vocab_size:
            raise ValueError(
                f"The encoder reads c, too, and has {self.encoder.vocab_size} tokens where the decoder, whose tokens c is "
                f"made of, has {self.decoder.vocab_size}: give them one tokenizer, or c a reader of its own."
            )
        self._validate_prior()
        self._validate_lengths()
        if (self.compressor is None) == (self.posterior_type == "vocab"):
            raise ValueError("A compressor is for the posterior_type 'vocab', which needs one: give both or neither.")
        if self.posterior_type == "vocab" and (self.max_summary_words is None or self.target_ratio is not None):
            raise ValueError("The posterior_type 'vocab' has its lengths by max_summary_words, and takes no target_ratio.")
        fewest = 0 if self.allow_empty else 1
        if not fewest <= self.min_summary_words <= (self.max_summary_words or self.min_summary_words):
            raise ValueError(
                f"min_summary_words {self.min_summary_words} and max_summary_words {self.max_summary_words} leave no length: "
                f"the first is {fewest} or more, and the second no less than the first."
            )
        if self.target_ratio is not None and not 0 < self.target_ratio <= 1:
            raise ValueError(f"target_ratio is {self.target_ratio}: it is above 0 and at most 1, or left out.")
        spread = self.target_ratio_spread
        if spread < 0 or (spread and self.target_ratio is None):
            raise ValueError(f"target_ratio_spread is {spread}: it is 0 or more, around a target_ratio.")
        if spread and not (self.target_ratio - spread > 0 and self.target_ratio + spread <= 1):
            raise ValueError(
                f"target_ratio {self.target_ratio} and target_ratio_spread {spread}: the ratios between their difference and "
                "their sum are above 0 and at most 1."
            )
        for key in ("classification_weight", "joint_weight", "unlabelled_weight", "prior_weight", "empty_weight"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more, but is {getattr(self, key)}.")
        if not 0 <= self.posterior_dropout < 1:
            raise ValueError(f"posterior_dropout must be in [0, 1), but is {self.posterior_dropout}.")

    def _validate_prior(self) -> None:
        """The prior can score what the decoder's tokens write."""
        if self.prior_type not in PRIOR_TYPES:
            raise ValueError(f"Unknown prior_type {self.prior_type!r}: choose one of {', '.join(map(repr, PRIOR_TYPES))}.")
        if self.prior_type == "compressor":
            if self.posterior_type != "vocab":
                raise ValueError(
                    f"The prior_type 'compressor' is for the posterior_type 'vocab', and this one is {self.posterior_type!r}: "
                    "no other has a compressor."
                )
            check_adapter_leaves_base(self.compressor_adapter)
            if self.prior_bridge is not None:
                raise ValueError("The compressor as the prior knows its tokens by their ids: leave prior_bridge out.")
        known = self.prior.get_text_config(decoder=True).vocab_size
        if self.prior_bridge is None:
            if known < self.decoder.vocab_size:
                raise ValueError(
                    f"The prior knows {known} tokens and the decoder, whose tokens compressions are made of, "
                    f"{self.decoder.vocab_size}: p(c) needs a model over the same tokens, or a tokenizer of its own: "
                    "from_encoder_decoder_pretrained(..., processor=) with a processor that has a prior_tokenizer."
                )
            return
        if self.prior_bridge not in PRIOR_BRIDGES:
            raise ValueError(
                f"Unknown prior_bridge {self.prior_bridge!r}: choose one of {', '.join(map(repr, PRIOR_BRIDGES))}, or leave "
                "it out."
            )
        for key in ("prior_bos_token_id", "prior_eos_token_id"):
            value = getattr(self, key)
            if value is None or not 0 <= value < known:
                raise ValueError(
                    f"{key} is {value}, and the prior has the ids 0 to {known - 1}: a prior_bridge needs both, those of the "
                    "tokenizer that the prior was trained with."
                )
        if not 0 < self.prior_epsilon <= 0.5:
            raise ValueError(f"prior_epsilon is {self.prior_epsilon}: it is above 0 and at most .5.")
        if self.prior_bridge == "text" and self.estimator in RELAXED:
            raise ValueError(
                f"The estimator {self.estimator!r} shows compressions to the prior as points of simplices, and these have no "
                "text for a prior_bridge of 'text': choose a prior over the decoder's tokens, or an estimator that scores "
                "samples, such as 'rloo'."
            )

    def _validate_lengths(self) -> None:
        """What a model of lengths needs."""
        if self.length_model not in (None, "table"):
            raise ValueError(f"Unknown length_model {self.length_model!r}: choose 'table', or leave it out.")
        if self.length_table_size < 1:
            raise ValueError(f"length_table_size must be at least 1, but is {self.length_table_size}.")
        if self.length_model is None:
            return
        kind = "compressor" if self.prior_type == "compressor" else self.prior.model_type
        if kind != BigramDecoderConfig.model_type:
            raise ValueError(
                "A length_model divides p(c) by the sum over all texts of a length, which is known of a bigram prior only, "
                f"and this is a {kind!r} model: leave it out, or choose the prior 'hf_lvm_bigram_decoder'. "
                "target_ratio and prior_weight hold lengths up with any prior."
            )
        if self.prior_bridge == "text":
            raise ValueError(
                "A length_model counts tokens, and a prior with the prior_bridge 'text' has others than c: leave it out, or "
                "choose a bigram prior over the decoder's tokens."
            )
        if self.objective == "marginal":
            raise ValueError(
                "The objective 'marginal' sums over pairs of words, and a length_model is no such sum: choose 'elbo', or "
                "leave the length_model out."
            )
        if self.train_prior and self.prior.dropout:
            raise ValueError(
                f"The prior has dropout {self.prior.dropout}, and a length_model needs p(c) and its sum over all texts to be "
                "of one model: set it to 0, or train_prior to false."
            )

    @classmethod
    def own_keys(cls) -> set[str]:
        """The keys beside encoder and decoder, without those that every config of transformers has."""
        return own_keys(cls)
