"""Configuration of the referential game."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from hf_lvm.backbones.composition.configuration import AdaptedConfig, own_config, own_keys
from hf_lvm.backbones.decoders import as_decoder_config
from hf_lvm.backbones.encoders import as_encoder_config
from hf_lvm.estimators import check_temperature
from hf_lvm.generation.enumerable_sequences import number_of_sequences
from hf_lvm.layers.injections import injection_names
from hf_lvm.layers.pooling import check_pooling
from hf_lvm.objectives import check_combination

OBJECT_TYPES = ("attributes", "features", "text")
# What says how large an object of a type is.
SIZE_KEYS = {"attributes": "attribute_sizes", "features": "feature_size"}
PRIOR_TYPES = ("none", "uniform", "length", "model")
GAME_LOSSES = ("likelihood", "hinge")
SCORES = ("dot", "scaled", "bilinear")
SCORE_FUNCTIONS = ("reinforce", "reinforce_moving_average", "reinforce_learned", "reinforce_self_critical", "rloo")
RELAXED = ("straight_through", "gumbel_softmax")
LSTM_ENCODER, LSTM_DECODER = "hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder"
# A part from scratch whose config says nothing of these: without dropout, so that a message is scored by the very sender
# that wrote it, and with weights large enough that symbols differ from the first step on.
SCRATCH = {
    LSTM_ENCODER: {"hidden_size": 128, "dropout": 0.0, "initializer_range": 0.1, "embedding_initializer_range": 1.0},
    LSTM_DECODER: {
        "hidden_size": 128, "dropout": 0.0, "embedding_dropout": 0.0, "initializer_range": 0.1,
        "embedding_initializer_range": 1.0,
    },
}  # fmt: skip
EXTRA_IDS = 3


@strict
class ReferentialGameConfig(AdaptedConfig):
    """What a `ReferentialGameModel` is made of.

    Symbols are the ids 0 to num_symbols - 1; behind them come EOS, BOS and PAD (`eos_token_id` and so on), so that sender,
    receiver and prior have vocabularies of num_symbols + 3. Of such a part that is given as a dict, the vocabulary and the
    special ids are filled in where it does not say them.

    Args:
        object_type: what objects are: `attributes`, integers (..., A); `features`, floats (..., F); or `text`, token ids.
        attribute_sizes: of `attributes`, the number of values of each attribute.
        feature_size: F, of `features`.
        object_encoder: of `text`, config of the encoder that reads objects, or a dict with its `model_type`.
        object_pooling: of `text`, from its states to one vector.
        object_embedding_size: of `attributes`, of the embedding of a value; embeddings are concatenated.
        object_layers: of `attributes` and `features`, linear layers with a ReLU between them from there to a vector.
        object_size: of the vector that an object becomes, and of what a message is compared with.
        share_object_encoder: whether sender and receiver see objects by one encoder; otherwise each has its own.
        sender: config of what writes messages, a causal language model over symbols.
        injection, injection_length: how it is told the object; see `hf_lvm.layers.injections`.
        receiver: config of the encoder that reads messages.
        pooling: from its states to one vector.
        score: of a message vector g and an object vector f: `dot`, f.g; `scaled`, f.g / sqrt(size); `bilinear`, f.W g.
        num_symbols: V, at least 2.
        max_length, min_length: the most and the fewest symbols of a message, EOS not counted.
        num_distractors: where a batch says no candidates, so many other objects of the batch are drawn for each game; None
            for all others.
        game_loss: `likelihood`, -log of the receiver's softmax over the candidates; or `hinge`, sum over distractors d of
            max(0, 1 - f(target).g + f(d).g) (Havrylov and Titov 2017, equation 1), under which there is no likelihood, and the
            loss is no bound.
        prior_type: p(m), always normalised over the messages that q can write. `uniform`: all lengths equally probable, and
            given a length all messages. `length`: p(l) proportional to exp(-prior_length_rate l), likewise. `model`: a causal
            language model over symbols (the indirect supervision of Havrylov and Titov 2017, section 3.3). `none`: the game
            has no KL term in its loss; `kl`, and what is said of log p(x), are with `uniform`.
        prior: of `model`, its config.
        prior_length_rate: of `length`, nats; - log V makes all messages equally probable.
        train_prior: whether p(m) learns; otherwise it stays as it is.
        prior_weight: of log p(m) - log q(m|object), in the loss and in the learning signal beside the schedule's weight;
            bounds that are reported have weight 1. Not used with `none`.
        objective: `elbo`, `marginal`, `iwae` or `minimum_risk`.
        estimator: of its gradient: `exact`, the sum over all messages; a score function, `rloo`, `reinforce_learned`,
            `reinforce_moving_average`, `reinforce_self_critical` or `reinforce`; `straight_through` or `gumbel_softmax`, both
            biased; `vimco` for `iwae`; None for `minimum_risk`.
        num_samples: K, messages of each object.
        token_credit: of score functions: a symbol is judged by the game and by the KL of itself and later symbols, not by the
            KL of earlier ones.
        enumeration_budget: messages that `exact`, and the exact likelihood, may score: sum over lengths l of V^l.
        temperature: of the relaxed samples of `straight_through` and `gumbel_softmax`, where a schedule gives no other.
        learned_temperature: predict it from the object; it begins at `temperature`.
        baseline_decay: of baselines that average over batches.
        risk_sharpness: of `minimum_risk`.
        object_encoder_adapter: configuration of a `peft` LoRA adapter inside the object_encoder, whose own weights are then
            frozen; where sender and receiver do not share it, each has an adapter of its own beside the same base.
        adapters_only, adapter_bases: see `AdaptedConfig`.

    Raises:
        ValueError: an unknown name, or a combination that makes no sense.
    """

    model_type = "hf_lvm_referential_game"
    # Parts that are not there are none of these, which transformers would look into.
    sub_configs = {"sender": AutoConfig, "receiver": AutoConfig}
    keys_to_ignore_at_inference = ["latents", "posterior"]

    object_type: str = "attributes"
    attribute_sizes: list[int] | None = None
    feature_size: int | None = None
    object_encoder: PreTrainedConfig | dict | None = None
    object_pooling: str = "mean"
    object_embedding_size: int = 32
    object_layers: int = 2
    object_size: int = 128
    share_object_encoder: bool = False
    sender: PreTrainedConfig | dict | None = None
    injection: str | list[str] = "initial_state"
    injection_length: int = 1
    receiver: PreTrainedConfig | dict | None = None
    pooling: str = "last"
    score: str = "dot"
    num_symbols: int = 10
    max_length: int = 5
    min_length: int = 0
    num_distractors: int | None = None
    game_loss: str = "likelihood"
    prior_type: str = "none"
    prior: PreTrainedConfig | dict | None = None
    prior_length_rate: float | int = 1.0
    train_prior: bool = False
    prior_weight: float | int = 1.0
    objective: str = "elbo"
    estimator: str | None = "straight_through"
    num_samples: int = 1
    token_credit: bool = False
    enumeration_budget: int = 1024
    temperature: float | int = 1.0
    learned_temperature: bool = False
    baseline_decay: float | int = 0.9
    risk_sharpness: float | int = 1.0
    object_encoder_adapter: dict[str, Any] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs):
        # Before the parts, which are built for so many symbols.
        self.check_messages()
        self.eos_token_id, self.bos_token_id, self.pad_token_id = (self.num_symbols + place for place in range(EXTRA_IDS))
        self.sender = own_config(self._of_symbols(self.sender, LSTM_DECODER), default=LSTM_DECODER)
        self.receiver = own_config(self._of_symbols(self.receiver, LSTM_ENCODER), default=LSTM_ENCODER)
        if self.prior_type == "model":
            self.prior = own_config(self._of_symbols(self.prior, LSTM_DECODER), default=LSTM_DECODER)
        if self.object_type == "text":
            reads = {"model_type": LSTM_ENCODER} if self.object_encoder is None else self.object_encoder
            if isinstance(reads, dict):
                reads = SCRATCH.get(reads.get("model_type", ""), {}) | reads
            self.object_encoder = own_config(reads, default=LSTM_ENCODER)
        super().__post_init__(**kwargs)
        if self.object_type == "text":
            self.object_encoder = as_encoder_config(self.object_encoder)
        names = injection_names(self.injection)
        self.sender = as_decoder_config(
            self.sender,
            cross_attention="cross_attention" in names,
            condition_size=self.object_size if "concatenation" in names else 0,
        )
        self.receiver = as_encoder_config(self.receiver)
        if isinstance(self.prior, PreTrainedConfig):
            self.prior = as_decoder_config(self.prior)
        self.validate_game()

    def _of_symbols(self, part: PreTrainedConfig | dict | None, default: str) -> PreTrainedConfig | dict:
        """The config of a part over symbols, with what it does not say filled in."""
        if isinstance(part, PreTrainedConfig):
            return part
        part = {"model_type": default} if part is None else dict(part)
        ids = {name: getattr(self, name) for name in ("eos_token_id", "bos_token_id", "pad_token_id")}
        return {"vocab_size": self.vocabulary, **ids, **SCRATCH.get(part.get("model_type", ""), {}), **part}

    @property
    def vocabulary(self) -> int:
        """Ids of sender, receiver and prior: the symbols, EOS, BOS and PAD."""
        return self.num_symbols + EXTRA_IDS

    @property
    def number_of_messages(self) -> int:
        """The sum of V^l over the lengths that messages can have."""
        return number_of_sequences(self.num_symbols, self.min_length, self.max_length)

    @property
    def weight_of_kl(self) -> float:
        """Weight of the KL term in the loss, besides that of a schedule."""
        return 0.0 if self.prior_type == "none" else float(self.prior_weight)

    def check_messages(self) -> None:
        """Raise a `ValueError` for messages that could say nothing."""
        if self.num_symbols < 2:
            raise ValueError(
                f"num_symbols is {self.num_symbols}: a language needs 2 symbols or more; the end of a message is none of them."
            )
        if self.max_length < 1:
            raise ValueError(
                f"max_length (max_message_length of a run) is {self.max_length}: a message without a symbol says nothing, so "
                "set 1 or more."
            )
        if not 0 <= self.min_length <= self.max_length:
            raise ValueError(
                f"min_length is {self.min_length} and max_length {self.max_length} (min_message_length and max_message_length "
                "of a run): 0 <= min_length <= max_length is needed."
            )

    def validate_game(self) -> None:
        """Every name exists, and the keys go together."""
        for key, known in (
            ("object_type", OBJECT_TYPES),
            ("prior_type", PRIOR_TYPES),
            ("game_loss", GAME_LOSSES),
            ("score", SCORES),
        ):
            if getattr(self, key) not in known:
                raise ValueError(f"Unknown {key} {getattr(self, key)!r}: choose one of {', '.join(map(repr, known))}.")
        check_pooling(self.pooling)
        check_pooling(self.object_pooling)
        check_combination(self.objective, self.estimator, self.num_samples, latents="short_sequence")
        self._check_objects()
        if self.num_distractors is not None and self.num_distractors < 1:
            raise ValueError(f"num_distractors is {self.num_distractors}: set 1 or more, or leave it out for all others.")
        if self.estimator == "exact" and self.number_of_messages > self.enumeration_budget:
            raise ValueError(
                f"The estimator 'exact' scores all {self.number_of_messages:,} messages of up to {self.max_length} of "
                f"{self.num_symbols} symbols, and enumeration_budget is {self.enumeration_budget:,}: raise it, lower "
                "max_length or num_symbols, or choose an estimator that samples, such as 'rloo'."
            )
        if self.game_loss == "hinge" and self.objective in ("marginal", "iwae"):
            raise ValueError(
                f"game_loss 'hinge' has no likelihood, and the objective {self.objective!r} is made of one: choose the "
                "objective 'elbo' or 'minimum_risk', or the game_loss 'likelihood'."
            )
        if self.objective == "marginal" and self.prior_type == "none":
            raise ValueError(
                "The objective 'marginal' sums over messages by their p(m), and the prior_type is 'none': choose 'uniform', "
                "'length' or 'model', or the objective 'elbo'."
            )
        if self.token_credit and self.estimator not in SCORE_FUNCTIONS:
            raise ValueError(
                f"token_credit shares out the signal of a score function, and the estimator is {self.estimator!r}: choose one "
                f"of {', '.join(map(repr, SCORE_FUNCTIONS))}, or leave it out."
            )
        if self.learned_temperature and self.estimator not in RELAXED:
            raise ValueError(
                f"learned_temperature is that of relaxed samples, and the estimator {self.estimator!r} has none: choose "
                "'straight_through' or 'gumbel_softmax', or leave it out."
            )
        check_temperature(self.temperature)
        if self.prior_type != "model" and (self.prior is not None or self.train_prior):
            raise ValueError(
                f"The prior_type {self.prior_type!r} has no model and nothing to learn: leave prior and train_prior out, or "
                "choose 'model'."
            )
        if self.prior_weight < 0:
            raise ValueError(f"prior_weight must be 0 or more, but is {self.prior_weight}.")
        for key in ("object_size", "object_embedding_size", "object_layers", "injection_length", "enumeration_budget"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")

    def check_sizes(self) -> None:
        """Raise a `ValueError` where a model cannot be built, because the size of its objects is not said."""
        key = SIZE_KEYS.get(self.object_type)
        if key is not None and getattr(self, key) is None:
            raise ValueError(f"Objects of the object_type {self.object_type!r} need {key} in the config.")

    def _check_objects(self) -> None:
        sizes = self.attribute_sizes
        for kind, key in SIZE_KEYS.items():
            if self.object_type != kind and getattr(self, key) is not None:
                raise ValueError(f"{key} is for the object_type {kind!r}, and this is {self.object_type!r}: leave it out.")
        if sizes is not None and (not sizes or min(sizes) < 1):
            raise ValueError(f"attribute_sizes is {sizes}: give the number of values of each attribute, such as [8, 8, 8].")
        if self.feature_size is not None and self.feature_size < 1:
            raise ValueError(f"feature_size must be at least 1, but is {self.feature_size}.")
        if self.object_encoder is not None and self.object_type != "text":
            raise ValueError(f"object_encoder reads the object_type 'text', and this is {self.object_type!r}: leave it out.")

    @classmethod
    def own_keys(cls) -> set[str]:
        """The keys that not every config of transformers has."""
        return own_keys(cls)

    def part_keys(self) -> dict[str, Any]:
        """The parts that are models of their own and that this game has, by name."""
        names = ("object_encoder", "sender", "receiver", "prior")
        return {name: getattr(self, name) for name in names if isinstance(getattr(self, name), PreTrainedConfig)}
