"""What the recipe of meanings is told besides how to train."""

import json
from dataclasses import dataclass, field
from typing import ClassVar

from hf_lvm.backbones.sources import is_from_scratch
from hf_lvm.data.meaning_batching import PRIOR_MEANINGS
from hf_lvm.grammars.languages import LANGUAGES
from hf_lvm.models.struct_vae.configuration_struct_vae import CANDIDATES, PRIOR_TYPES
from hf_lvm.objectives.combinations import STRUCTURED

# Parts that read words of utterances.
READ_WORDS = ("encoder", "decoder", "language_model")
_AN_OBJECT = 'give an object, such as \'{"root": "expr"}\''


@dataclass
class StructVAEArguments:
    """The model: an encoder and a parser that write a meaning, a reader and a decoder that tell it, a prior that judges it."""

    _argument_group_name = "The model"
    _part_names: ClassVar[tuple[str, ...]] = ("encoder", "parser", "reader", "decoder", "prior", "language_model")

    model_type: str = field(default="hf_lvm_struct_vae", metadata={"help": "Which model of this package."})
    model: str | None = field(
        default=None,
        metadata={
            "help": "A trained model of this kind to go on from, supervised, say: the output_dir of a run, or a hub id. It "
            "keeps its parts, settings, actions and tokenizers, but for objective, estimator, num_samples and weights, and "
            "gets a language_model where it has none and one is named."
        },
    )
    encoder: str = field(
        default="lstm",
        metadata={
            "help": "The encoder of q(z|x): a folder or a hub id (owner/name) for a pretrained one, or a model type of "
            "transformers (bert, roberta, modernbert, ..., or lstm) to build from scratch."
        },
    )
    parser: str = field(
        default="lstm",
        metadata={"help": "What writes the actions of a tree and attends to the words: gpt2, bart, ..., or lstm; likewise."},
    )
    reader: str = field(default="lstm", metadata={"help": "The encoder of p(x|z), which reads the actions of a tree."})
    decoder: str = field(default="lstm", metadata={"help": "What writes the utterance and attends to the reader."})
    prior: str = field(default="lstm", metadata={"help": "p(z): a causal language model over actions."})
    language_model: str | None = field(
        default=None,
        metadata={
            "help": "A causal language model of utterances, with estimator reinforce_learned: its baseline is a log p(x) + c. "
            "A folder (of a run with model_type language_model, with the same decoder_tokenizer), or a model type, trained by "
            "language_model_epochs; none where a file names one."
        },
    )
    prior_type: str = field(
        default="model", metadata={"help": f"{' or '.join(PRIOR_TYPES)}; the latter is that of the published code: no bound."}
    )
    train_prior: bool = field(
        default=False, metadata={"help": "Whether p(z) learns with the rest; otherwise it stays as it is."}
    )
    prior_meanings: str = field(
        default="labelled",
        metadata={
            "help": f"What p(z) reads in prior_epochs, one of: {', '.join(PRIOR_MEANINGS)}. labelled: the meanings of "
            "labelled rows; train: of all training rows; extra: of labelled rows and those without an utterance, but for the "
            "ones of held-out rows. A new model also takes the values of its lexicons from these."
        },
    )
    prior_epochs: int = field(
        default=0, metadata={"help": "Before all else, train p(z) for so many passes; the best on validation meanings stays."}
    )
    language_model_epochs: int = field(
        default=0, metadata={"help": "Likewise the language_model, for so many passes over all training utterances."}
    )
    word_vectors: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Parts of a new model whose embeddings begin as the neighbours say that tokens have in all training "
            f"utterances, with and without a meaning: some of {', '.join(READ_WORDS)}, or none. A word that no labelled "
            "utterance has is then like others of its kind."
        },
    )
    frontier_embedding: bool = field(
        default=True, metadata={"help": "Whether the parser also reads which field of the grammar its next action fills."}
    )
    parser_initial_state: bool = field(
        default=False, metadata={"help": "Whether the parser, an LSTM, begins with a state made of the mean of word states."}
    )
    copy_slots: int = field(
        default=0, metadata={"help": "The first so many words of an utterance can be copied into its meaning; 0: none can."}
    )
    copy_from_meaning: bool = field(
        default=True, metadata={"help": "Whether p(x|z) copies values and operators that are words of the utterance."}
    )
    max_actions: int | None = field(
        default=None,
        metadata={"help": "The most steps of a tree; by default a fifth more than the longest training meaning takes."},
    )
    max_spelled_actions: int | None = field(
        default=None,
        metadata={
            "help": "The most steps of a tree without copies; by default as the parts have positions for, and of LSTMs as "
            "many as meanings and copied words ask for."
        },
    )
    num_pieces: int = field(default=2000, metadata={"help": "Pieces of each open lexicon (names and strings of Python)."})
    objective: str = field(default="elbo", metadata={"help": f"What is trained: {', '.join(STRUCTURED)}."})
    estimator: str | None = field(
        default="rloo",
        metadata={"help": f"Of its gradient: {', '.join((*STRUCTURED['elbo'], *STRUCTURED['iwae']))}; none for minimum_risk."},
    )
    num_samples: int = field(default=4, metadata={"help": "Trees of each utterance without a known meaning."})
    unlabelled_candidates: str = field(
        default="samples",
        metadata={"help": f"Where these come from: {' or '.join(CANDIDATES)}; the best of a beam are biased, as published."},
    )
    signal_clip: float | None = field(
        default=None, metadata={"help": "Raise a learning signal, less its baseline, to this where it is less; biased."}
    )
    baseline_slope: float = field(default=0.9, metadata={"help": "a of the baseline a log p(x) + c to begin with."})
    baseline_intercept: float = field(default=-2.0, metadata={"help": "c of it."})
    baseline_decay: float = field(default=0.9, metadata={"help": "Of the moving averages in other baselines."})
    prior_weight: float = field(
        default=1.0, metadata={"help": "Alpha, of log p(z) - log q(z|x) in the loss (0.1 in the published code)."}
    )
    num_labelled: int = field(
        default=-1,
        metadata={
            "help": "Training rows that show their meaning, drawn by label_seed: -1 for all that have one. 0, none, is "
            "refused: a parser starts from some."
        },
    )
    label_seed: int = field(default=0, metadata={"help": "Seed of this draw."})
    classification_weight: float = field(default=1.0, metadata={"help": "Weight of -log q(z|x) of these rows."})
    joint_weight: float = field(
        default=1.0, metadata={"help": "Weight of -log p(x|z) of these rows, and under train_prior of -log p(z) too."}
    )
    unlabelled_weight: float = field(
        default=1.0, metadata={"help": "Weight of the rows without a known meaning beside those with; 0 leaves them out."}
    )
    self_training: bool = field(
        default=False,
        metadata={
            "help": "With `model`: it parses these rows once, and its best trees are their meanings from then on, of weight "
            "unlabelled_weight, instead of a bound."
        },
    )
    self_training_beams: int = field(default=5, metadata={"help": "Beams of that parse."})
    part_options: dict = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_type != "hf_lvm_struct_vae":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains hf_lvm_struct_vae")
        if self.estimator == "none" or self.objective == "minimum_risk":
            self.estimator = None
        if self.language_model == "none":
            self.language_model = None
        if self.prior_meanings not in PRIOR_MEANINGS:
            raise ValueError(f"prior_meanings is {self.prior_meanings!r}; it is one of {', '.join(PRIOR_MEANINGS)}")
        if self.num_labelled < -1 or self.num_labelled == 0:
            raise ValueError(
                f"num_labelled is {self.num_labelled}; it is -1 (all), or a number of rows: a parser starts from some"
            )
        if self.word_vectors == ["none"]:
            self.word_vectors = []
        self._check_word_vectors()
        for key, least in (
            ("prior_epochs", 0),
            ("language_model_epochs", 0),
            ("copy_slots", 0),
            ("num_pieces", 1),
            ("self_training_beams", 1),
        ):
            if getattr(self, key) < least:
                raise ValueError(f"{key} is {getattr(self, key)}; it is {least} or more")
        if self.self_training and self.unlabelled_weight == 0:
            raise ValueError("self_training learns from rows of weight unlabelled_weight, and this is 0: set it to 1, say")
        if self.language_model_epochs and self.language_model is None and self.model is None:
            raise ValueError("language_model_epochs trains a language_model: name its family, such as lstm")

    def _check_word_vectors(self) -> None:
        if self.word_vectors and self.model is not None:
            raise ValueError(
                "word_vectors is where a new model begins, and `model` names a trained one: leave one of them out"
            )
        for part in self.word_vectors:
            if part not in READ_WORDS:
                raise ValueError(f"word_vectors names {part!r}; it may name {', '.join(READ_WORDS)}")
            source = getattr(self, part)
            if source is None or not is_from_scratch(source):
                raise ValueError(
                    f"word_vectors names the {part}, which is {source!r}: a part from scratch, such as lstm, begins with them"
                )


@dataclass
class MeaningDataArguments:
    """The meanings of the utterances."""

    _argument_group_name = "The meanings"

    meaning_column: str = field(default="meaning", metadata={"help": "The column with meanings, empty where none is known."})
    language: str | None = field(
        default=None,
        metadata={
            "help": f"What they are written in: {', '.join(LANGUAGES)}; python for the documentation, and lambda_calculus."
        },
    )
    language_options: dict | str | None = field(
        default=None, metadata={"help": "Options of the language, as JSON: '{\"complete_lines\": true}'."}
    )
    extra: str | None = field(
        default=None,
        metadata={"help": "A file of meanings without utterances, for prior_meanings extra; also looked for in data_dir."},
    )
    skip_invalid: bool = field(
        default=False, metadata={"help": "Leave out rows whose meaning the language does not derive, and list them."}
    )

    def __post_init__(self) -> None:
        if isinstance(self.language_options, str):
            try:
                self.language_options = json.loads(self.language_options)
            except ValueError as error:
                raise ValueError(
                    f'language_options is no JSON ({error}): give an object, such as \'{{"root": "expr"}}\''
                ) from None
        if self.language_options is not None and not isinstance(self.language_options, dict):
            raise ValueError(f'language_options is {self.language_options!r}: give an object, such as \'{{"root": "expr"}}\'')


@dataclass
class MeaningReportArguments:
    """What is measured of parses: on the validation split while a model is trained, on the test split afterwards."""

    _argument_group_name = "The parses, and the report after training"

    validation_beams: int = field(
        default=1,
        metadata={
            "help": "Beams of the parse of validation utterances in each evaluation, eval_exact_match: 1 is greedy and fast, "
            "0 parses nothing. metric_for_best_model: exact_match chooses the model by it."
        },
    )
    report_beams: int = field(default=5, metadata={"help": "Beams of the parse of test utterances, and k of the oracle."})
    report_split: str = field(default="test", metadata={"help": "The split that is measured: test, or validation."})
    num_importance_samples: int = field(
        default=20, metadata={"help": "Trees of each test utterance in log p(x), by importance weights; 0: leave out."}
    )

    def __post_init__(self) -> None:
        for key, least in (("validation_beams", 0), ("report_beams", 1), ("num_importance_samples", 0)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} is {getattr(self, key)}; it is {least} or more")
        if self.report_split not in ("test", "validation"):
            raise ValueError(f"report_split is {self.report_split!r}; it is test or validation")
