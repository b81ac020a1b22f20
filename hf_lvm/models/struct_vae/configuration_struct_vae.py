"""Configuration of the StructVAE."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from hf_lvm.backbones.composition.configuration import AdaptedConfig, own_config, own_keys
from hf_lvm.backbones.decoders import as_decoder_config, start_token
from hf_lvm.backbones.encoders import as_encoder_config
from hf_lvm.grammars.transition_system import END, PAD, START, ActionVocabulary
from hf_lvm.objectives import check_combination

PRIOR_TYPES = ("model", "uniform")
CANDIDATES = ("samples", "beam")
LSTM_ENCODER, LSTM_DECODER = "hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder"
ACTION_IDS = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}


@strict
class StructVAEConfig(AdaptedConfig):
    """What a `StructVAEModel` is made of.

    Of a part over actions (parser, reader, prior) that is given as a dict, the size of the vocabulary and the special tokens
    are filled in where it does not say them.

    Args:
        encoder: config of the encoder of q(z|x), or a dict with its `model_type`.
        decoder: config of p(x|z), a causal language model that attends to the states of the reader.
        parser: config of the decoder of q(z|x), a causal language model over actions that attends to the states of words.
        reader: config of the encoder of p(x|z), over actions that spell the whole tree.
        prior: config of p(z), a causal language model over the same actions; none with the prior_type `uniform`.
        language_model: config of a causal language model over the decoder's tokens, which is no part of the bound: with the
            estimator `reinforce_learned` the baseline is a log p_LM(x) + c. None for a baseline that is a network of the
            encoder's states.
        actions: `ActionVocabulary.to_dict()`, the grammar and how its values are written. Its `copy_slots` say how many words
            of x can be copied.
        language: `Language.to_dict()`, how a meaning is written as text; None where texts of meanings are not needed.
        max_actions: the most steps of a tree of q, the end not counted; a copied word counts as the shortest value does.
        max_spelled_actions: the most steps of a tree of p(z), which copies nothing. None for as many as the parts have
            positions for. A word of x is copied only where the lexicon can spell it, in no more than max_spelled_actions //
            max_actions steps: so p(z) is above 0 for every tree that q writes, and the KL divergence is finite.
        frontier_embedding: whether the parser also reads which field of the grammar its next action fills.
        parser_initial_state: whether the parser, an LSTM, begins with a state made of the mean of the words' states.
        copy_from_meaning: whether p(x|z) copies actions that are tokens of x (`StructVAEModel.connect`).
        prior_type: `model`; or `uniform`, of the published code, where log p(z) is 0 for every tree. That is no distribution:
            the "KL" is the negative entropy of q, and the loss is no bound.
        train_prior: whether p(z) learns; otherwise it stays as it is.
        prior_weight: alpha, which weighs log p(z) - log q(z|x) in the loss and in the learning signal beside the schedule's
            weight (.1 in the published code); bounds that are reported have weight 1.
        objective: `elbo`, `iwae` or `minimum_risk`.
        estimator: of its gradient, a score function: `rloo`, `reinforce_learned`, `reinforce_moving_average`,
            `reinforce_self_critical`, `reinforce`; `vimco` for `iwae`; None for `minimum_risk`.
        num_samples: K, trees of each unlabelled sentence.
        unlabelled_candidates: `samples` of q, unbiased; or `beam`, the K best that beam search finds, each counted alike, as
            published: biased, see `hf_lvm.estimators.best_candidates`.
        signal_clip: what the learning signal less its baseline is raised to where it is less, biased; None for no clip.
        baseline_slope, baseline_intercept: a and c to begin with; as published .9 and -2 for lambda calculus, .5 and 2 for
            Python.
        baseline_decay: of baselines that average over batches.
        classification_weight: weight of -log q(z|x), which sentences with a known meaning add to their loss.
        joint_weight: weight of -log p(x|z), and -log p(z) where the prior learns, of these sentences.
        unlabelled_weight: of sentences without one, where others have some.
        encoder_adapter, decoder_adapter: configuration of a `peft` LoRA adapter inside the part, whose own weights are frozen.
        adapters_only, adapter_bases: see `AdaptedConfig`.
        pad_token_id, bos_token_id, eos_token_id: of the decoder's tokenizer; taken from the decoder's config where not given.

    Raises:
        ValueError: an unknown name, or a combination that makes no sense.
    """

    model_type = "hf_lvm_struct_vae"
    # Parts that are not there are none of these, which transformers would look into.
    sub_configs = {"encoder": AutoConfig, "parser": AutoConfig, "reader": AutoConfig, "decoder": AutoConfig}
    keys_to_ignore_at_inference = ["latents", "posterior"]

    encoder: PreTrainedConfig | dict | None = None
    decoder: PreTrainedConfig | dict | None = None
    parser: PreTrainedConfig | dict | None = None
    reader: PreTrainedConfig | dict | None = None
    prior: PreTrainedConfig | dict | None = None
    language_model: PreTrainedConfig | dict | None = None
    actions: dict[str, Any] | None = None
    language: dict[str, Any] | None = None
    max_actions: int = 100
    max_spelled_actions: int | None = None
    frontier_embedding: bool = False
    parser_initial_state: bool = False
    copy_from_meaning: bool = True
    prior_type: str = "model"
    train_prior: bool = False
    prior_weight: float | int = 1.0
    objective: str = "elbo"
    estimator: str | None = "rloo"
    num_samples: int = 4
    unlabelled_candidates: str = "samples"
    signal_clip: float | int | None = None
    baseline_slope: float | int = 0.9
    baseline_intercept: float | int = -2.0
    baseline_decay: float | int = 0.9
    classification_weight: float | int = 1.0
    joint_weight: float | int = 1.0
    unlabelled_weight: float | int = 1.0
    encoder_adapter: dict[str, Any] | None = None
    decoder_adapter: dict[str, Any] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs):
        self.encoder = own_config(self.encoder, default=LSTM_ENCODER)
        self.decoder = own_config(self.decoder, default=LSTM_DECODER)
        self.parser = own_config(self._of_actions(self.parser, LSTM_DECODER), default=LSTM_DECODER)
        self.reader = own_config(self._of_actions(self.reader, LSTM_ENCODER), default=LSTM_ENCODER)
        if self.prior_type == "model":
            self.prior = own_config(self._of_actions(self.prior, LSTM_DECODER), default=LSTM_DECODER)
        if self.language_model is not None:
            self.language_model = own_config(self.language_model, default=LSTM_DECODER)
        super().__post_init__(**kwargs)
        self.encoder, self.reader = as_encoder_config(self.encoder), as_encoder_config(self.reader)
        self.decoder = as_decoder_config(self.decoder, cross_attention=True)
        self.parser = as_decoder_config(self.parser, cross_attention=True)
        for part in ("prior", "language_model"):
            if isinstance(getattr(self, part), PreTrainedConfig):
                setattr(self, part, as_decoder_config(getattr(self, part)))
        decoder = self.decoder.get_text_config(decoder=True)
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if getattr(self, key) is None:
                setattr(self, key, getattr(decoder, key, None))
        if self.bos_token_id is None:
            self.bos_token_id = start_token(decoder)
        self.validate_combination()

    def _of_actions(self, part: PreTrainedConfig | dict | None, default: str) -> PreTrainedConfig | dict:
        """The config of a part over actions, with their number where it does not say it."""
        if isinstance(part, PreTrainedConfig) or self.actions is None:
            return part
        part = {"model_type": default} if part is None else part
        if "vocab_size" in part:
            return part
        return {"vocab_size": ActionVocabulary.from_dict(self.actions).first_copy, **ACTION_IDS, **part}

    def validate_combination(self) -> None:
        """Every name exists, and the keys go together."""
        check_combination(self.objective, self.estimator, self.num_samples, latents="structured")
        if self.prior_type not in PRIOR_TYPES:
            raise ValueError(f"Unknown prior_type {self.prior_type!r}: choose one of {', '.join(map(repr, PRIOR_TYPES))}.")
        if self.prior_type == "uniform" and (self.prior is not None or self.train_prior):
            raise ValueError("The prior_type 'uniform' has no model and nothing to learn: leave prior and train_prior out.")
        if self.unlabelled_candidates not in CANDIDATES:
            raise ValueError(
                f"Unknown unlabelled_candidates {self.unlabelled_candidates!r}: choose one of "
                f"{', '.join(map(repr, CANDIDATES))}."
            )
        alone = ("reinforce", "reinforce_moving_average", "reinforce_learned")
        if self.unlabelled_candidates == "beam" and (self.objective != "elbo" or self.estimator not in alone):
            raise ValueError(
                "unlabelled_candidates 'beam' goes with the objective 'elbo' and an estimator that judges a tree by itself, "
                f"and these are {self.objective!r} and {self.estimator!r}: choose one of {', '.join(map(repr, alone))}, or "
                "'samples'."
            )
        if self.language_model is not None and self.estimator != "reinforce_learned":
            raise ValueError(
                "A language_model of x is the baseline of the estimator 'reinforce_learned', and this one is "
                f"{self.estimator!r}: choose that one, or leave language_model out."
            )
        if self.signal_clip is not None and self.objective != "elbo":
            raise ValueError(f"signal_clip clips the signal of the objective 'elbo', and this one is {self.objective!r}.")
        if self.max_actions < 1:
            raise ValueError(f"max_actions must be at least 1, but is {self.max_actions}.")
        if self.max_spelled_actions is not None and self.max_spelled_actions < self.max_actions:
            raise ValueError(
                f"max_spelled_actions is {self.max_spelled_actions} and max_actions {self.max_actions}: p(z) has to admit "
                "every tree of q, so the first is no less than the second."
            )
        for key in ("classification_weight", "joint_weight", "unlabelled_weight", "prior_weight"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more, but is {getattr(self, key)}.")

    @classmethod
    def own_keys(cls) -> set[str]:
        """The keys beside encoder and decoder, without those that every config of transformers has."""
        return own_keys(cls)
