"""What the recipe of referential games is told besides how to train."""

from dataclasses import dataclass, field
from typing import ClassVar

from hf_lvm.layers.injections import INJECTIONS
from hf_lvm.layers.pooling import POOLINGS
from hf_lvm.models.referential_game.configuration_referential_game import GAME_LOSSES, PRIOR_TYPES, SCORES
from hf_lvm.objectives.combinations import SHORT_SEQUENCES

OBJECTS = ("attributes", "features", "text", "text_latents")
# Objects that something is read for, and the key that names it.
FILES = {"features": "features", "text_latents": "text_vae"}


@dataclass
class ReferentialGameArguments:
    """The model: a sender that writes messages about objects, and a receiver that finds the objects."""

    _argument_group_name = "The model"
    _part_names: ClassVar[tuple[str, ...]] = ("object_encoder", "sender", "receiver", "prior")

    model_type: str = field(default="hf_lvm_referential_game", metadata={"help": "Which model of this package."})
    sender: str = field(
        default="lstm",
        metadata={
            "help": "What writes messages: a model type of transformers (gpt2, llama, ..., or lstm) to build from scratch, or "
            "a folder or a hub id (owner/name), of which the layers are taken and the embeddings are new."
        },
    )
    receiver: str = field(default="lstm", metadata={"help": "What reads messages: bert, ..., or lstm; likewise."})
    object_encoder: str = field(
        default="lstm", metadata={"help": "Of the objects text, the encoder that reads them; likewise, with its own tokens."}
    )
    prior: str = field(default="lstm", metadata={"help": "Of prior_type model, a causal language model over symbols."})
    injection: list[str] = field(
        default_factory=lambda: ["initial_state"],
        metadata={"help": f"How the object enters the sender, one or several of: {', '.join(INJECTIONS)}."},
    )
    injection_length: int = field(default=1, metadata={"help": "Positions that prefix, memory and cross_attention fill."})
    pooling: str = field(
        default="last", metadata={"help": f"From the receiver's states to one vector: {', '.join(POOLINGS)}."}
    )
    object_pooling: str = field(default="mean", metadata={"help": "Likewise, of objects that are texts."})
    object_size: int = field(default=128, metadata={"help": "Size of the vector of an object and of a message."})
    object_embedding_size: int = field(default=32, metadata={"help": "Size of the embedding of an attribute's value."})
    object_layers: int = field(default=2, metadata={"help": "Linear layers from attributes or features to the vector."})
    share_object_encoder: bool = field(
        default=False, metadata={"help": "Whether sender and receiver see objects by one encoder instead of one each."}
    )
    score: str = field(
        default="dot", metadata={"help": f"Of a message and a candidate, by their vectors: {', '.join(SCORES)}."}
    )
    num_symbols: int = field(default=16, metadata={"help": "Symbols of the language, 2 or more; the end is none of them."})
    max_message_length: int = field(default=6, metadata={"help": "The most symbols of a message (max_length of the model)."})
    min_message_length: int = field(default=0, metadata={"help": "The fewest symbols of a message (min_length of the model)."})
    game_loss: str = field(
        default="likelihood",
        metadata={
            "help": f"{' or '.join(GAME_LOSSES)}: the latter, as published, has no likelihood, and the loss is no bound."
        },
    )
    prior_type: str = field(
        default="none",
        metadata={
            "help": f"p(m), one of: {', '.join(PRIOR_TYPES)}. uniform: all lengths alike, and all symbols; length: a length l "
            "as exp(-prior_length_rate l); model: a language model. none: the loss is that of the game alone."
        },
    )
    prior_length_rate: float = field(
        default=1.0,
        metadata={
            "help": "Nats that each further symbol costs under length; below 0 each symbol gains, and -log(num_symbols) makes "
            "all messages equally probable."
        },
    )
    train_prior: bool = field(default=False, metadata={"help": "Whether a model p(m) learns with the rest."})
    prior_messages: str | None = field(
        default=None,
        metadata={
            "help": "What a model p(m) reads in prior_epochs: a text file, a line a message, of symbols 0, 1, ... or of "
            "words, the most frequent of which become the symbols; or `texts`, the training texts of this run, likewise."
        },
    )
    prior_epochs: int = field(
        default=0, metadata={"help": "Before all else, train p(m) for so many passes; the best on a tenth held out stays."}
    )
    prior_weight: float = field(default=1.0, metadata={"help": "Of log p(m) - log q(m|object) in the loss."})
    objective: str = field(default="elbo", metadata={"help": f"What is trained: {', '.join(SHORT_SEQUENCES)}."})
    estimator: str | None = field(
        default="straight_through",
        metadata={
            "help": f"Of its gradient: {', '.join((*SHORT_SEQUENCES['elbo'], *SHORT_SEQUENCES['iwae']))}; none for "
            "minimum_risk."
        },
    )
    num_samples: int = field(default=1, metadata={"help": "Messages of each object."})
    token_credit: bool = field(
        default=False, metadata={"help": "Of score functions: judge a symbol by the KL of itself and later ones only."}
    )
    enumeration_budget: int = field(default=1024, metadata={"help": "Messages that exact, and exact likelihoods, may score."})
    temperature: float = field(default=1.0, metadata={"help": "Of relaxed messages, at the beginning; temperature_schedule."})
    learned_temperature: bool = field(default=False, metadata={"help": "Predict the temperature from the object."})
    baseline_decay: float = field(default=0.9, metadata={"help": "Of the moving averages in baselines."})
    risk_sharpness: float = field(default=1.0, metadata={"help": "Alpha of minimum_risk."})
    part_options: dict = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_type != "hf_lvm_referential_game":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains hf_lvm_referential_game")
        if self.estimator == "none" or self.objective == "minimum_risk":
            self.estimator = None
        if self.prior_epochs < 0:
            raise ValueError(f"prior_epochs is {self.prior_epochs}; it is 0 or more")
        if (self.prior_messages is not None or self.prior_epochs) and self.prior_type != "model":
            raise ValueError(
                f"prior_messages and prior_epochs train a p(m) that is a model, and prior_type is {self.prior_type}: set it "
                "to model, or leave them out"
            )
        if (self.prior_messages is None) != (self.prior_epochs == 0):
            raise ValueError("prior_messages says what p(m) reads, and prior_epochs how often: give both, or neither")


@dataclass
class GameArguments:
    """What is talked about, and how many objects stand in a game."""

    _argument_group_name = "The objects and the games"

    objects: str = field(
        default="attributes",
        metadata={
            "help": f"One of: {', '.join(OBJECTS)}. attributes: all combinations of attribute_sizes; features: vectors of a "
            "file; text: the texts, by an object_encoder; text_latents: the texts as the text VAE of text_vae sees them."
        },
    )
    attribute_sizes: list[int] = field(
        default_factory=lambda: [8, 8, 8, 8], metadata={"help": "Of attributes, the number of values of each."}
    )
    features: str | None = field(
        default=None, metadata={"help": "Of features, a .npy file (N, F), or a .jsonl file of lists."}
    )
    text_vae: str | None = field(
        default=None, metadata={"help": "Of text_latents, a trained text VAE: the output_dir of a run, or a hub id."}
    )
    near_duplicates: float = field(
        default=0.6,
        metadata={
            "help": "Of texts: validation and test texts that share this much of their words with a training text, or with "
            "one another, are left out (Jaccard index of the sets of words, 0 to 1; 1 leaves out those of the same words)."
        },
    )
    validation_fraction: float = field(default=0.1, metadata={"help": "Of attributes and features, held out to choose by."})
    test_fraction: float = field(default=0.1, metadata={"help": "Of attributes and features, held out to the end."})
    object_seed: int = field(default=0, metadata={"help": "Seed of the split, and of the games on held-out objects."})
    num_distractors: int = field(
        default=127,
        metadata={
            "help": "Other objects of a game: in training those of its batch, on held-out objects others of the same split, "
            "drawn once."
        },
    )

    def __post_init__(self) -> None:
        if self.objects not in OBJECTS:
            raise ValueError(f"objects is {self.objects!r}; it is one of {', '.join(OBJECTS)}")
        for kind, key in FILES.items():
            if self.objects != kind and getattr(self, key) is not None:
                raise ValueError(f"{key} goes with objects: {kind}, and objects is {self.objects}: leave one of the two out")
        if self.num_distractors < 1:
            raise ValueError(f"num_distractors is {self.num_distractors}; it is 1 or more")
        if not 0 < self.near_duplicates <= 1:
            raise ValueError(f"near_duplicates is {self.near_duplicates}; it is above 0 and up to 1")


@dataclass
class GameReportArguments:
    """What is measured once a pair is trained."""

    _argument_group_name = "The report after training"

    report_beams: int = field(default=1, metadata={"help": "Beams by which the sender searches for a message; 1 is greedy."})
    num_importance_samples: int = field(
        default=0,
        metadata={
            "help": "Messages of each test game in log p(x), by importance weights, where there are too many to sum over; 0: "
            "leave out."
        },
    )
    language_objects: int = field(
        default=4096,
        metadata={"help": "Objects whose messages the language is measured on: the test objects, then others at random."},
    )

    def __post_init__(self) -> None:
        for key, least in (("report_beams", 1), ("num_importance_samples", 0), ("language_objects", 2)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} is {getattr(self, key)}; it is {least} or more")
