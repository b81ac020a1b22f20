"""What the recipe of sentences with trees is told besides how to train."""

from dataclasses import dataclass, field

from hf_lvm.layers.span_scores import SPAN_SCORERS
from hf_lvm.metrics.bracket_f1.protocols import PROTOCOLS
from hf_lvm.objectives.combinations import STRUCTURED


@dataclass
class URNNGArguments:
    """The model: an encoder that says which trees a sentence may have, and a decoder that writes sentences with trees."""

    _argument_group_name = "The model"

    model_type: str = field(default="hf_lvm_urnng", metadata={"help": "Which model of this package."})
    model: str | None = field(
        default=None,
        metadata={
            "help": "A trained model of this kind to go on from, supervised, say: the output_dir of a run, or a hub id. It "
            "keeps its parts, settings and tokenizers, but for objective, estimator, num_samples and the weights."
        },
    )
    posterior: str | None = field(
        default=None,
        metadata={
            "help": "A trained model of this kind whose q(z|x) this one begins with, beside a decoder of its own: one that "
            "was trained on the trees of another parser, say. Keys of the encoder are then not used."
        },
    )
    encoder: str = field(
        default="lstm",
        metadata={
            "help": "The encoder of q(z|x): a folder or a hub id (owner/name) for a pretrained one, or a model type of "
            "transformers (bert, roberta, modernbert, t5, ..., or lstm) to build from scratch."
        },
    )
    decoder: str = field(
        default="rnng",
        metadata={
            "help": "What writes sentences with trees: rnng, or a causal language model with composition masks: a folder, a "
            "hub id, or a model type (gpt2, llama, opt, qwen3, gpt_neox)."
        },
    )
    span_scorer: str = field(
        default="fencepost",
        metadata={"help": f"How spans are scored by the states of the words at their ends: {', '.join(SPAN_SCORERS)}."},
    )
    span_hidden_size: int | None = field(default=None, metadata={"help": "Units of the scorer; by default as a state has."})
    posterior_dropout: float = field(default=0.0, metadata={"help": "Dropout on these units."})
    tie_encoder_decoder_embeddings: bool = field(
        default=False, metadata={"help": "One table of token embeddings for both parts; it learns at the decoder's rate."}
    )
    objective: str = field(default="elbo", metadata={"help": f"What is trained: {', '.join(STRUCTURED)}."})
    estimator: str | None = field(
        default="rloo",
        metadata={
            "help": f"Estimator of its gradient: {', '.join((*STRUCTURED['elbo'], *STRUCTURED['iwae']))}; none for "
            "minimum_risk."
        },
    )
    num_samples: int = field(default=8, metadata={"help": "Trees that are drawn for each sentence."})
    baseline_decay: float = field(default=0.9, metadata={"help": "Of the moving averages in baselines."})
    risk_sharpness: float = field(default=1.0, metadata={"help": "Alpha of minimum_risk."})
    num_bracketed: int = field(
        default=0,
        metadata={
            "help": "Training sentences whose brackets are used, the first ones: 0 for none, whatever trees there are, -1 for "
            "all. Those of the other splits serve the report alone."
        },
    )
    classification_weight: float = field(
        default=1.0, metadata={"help": "Weight of -log q(brackets|x), which sentences with brackets add to their bound."}
    )
    unlabelled_weight: float = field(
        default=1.0, metadata={"help": "Weight of the sentences without brackets beside those with; 0 leaves them out."}
    )
    reset_decoder: bool = field(default=False, metadata={"help": "With `model`: keep its q(z|x), begin with a new decoder."})
    freeze: list[str] = field(
        default_factory=list, metadata={"help": "Parts whose own weights stay as they are: encoder, decoder."}
    )
    part_options: dict = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_type != "hf_lvm_urnng":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains hf_lvm_urnng")
        if self.estimator == "none" or self.objective == "minimum_risk":
            self.estimator = None
        if self.num_bracketed < -1:
            raise ValueError(f"num_bracketed is {self.num_bracketed}; it is 0 (none), -1 (all), or a number of sentences")
        if self.reset_decoder and self.model is None:
            raise ValueError("reset_decoder is for a run that goes on from a trained model: name it by `model`")
        if self.posterior is not None and self.model is not None:
            raise ValueError("posterior takes q(z|x) from a trained model, and model all of one: give one of the two")
        unknown = set(self.freeze) - {"encoder", "decoder"}
        if unknown:
            raise ValueError(f"freeze names {', '.join(sorted(unknown))}: the parts are encoder and decoder")


@dataclass
class TreeDataArguments:
    """The trees of the texts."""

    _argument_group_name = "The trees"

    tree_column: str | None = field(
        default=None,
        metadata={
            "help": "The column with bracketed strings; the texts may be left out then, and are made of their leaves. Without "
            "it a run has no trees, and its report no F1."
        },
    )
    bracketings: str | None = field(
        default=None,
        metadata={
            "help": "A file or folder with the trees of another parser, to train on instead of those of tree_column: of the "
            "same sentences, found by their words."
        },
    )
    binarize_brackets: bool = field(
        default=True,
        metadata={
            "help": "Train on brackets of more than two parts as right-branching trees. Otherwise they say which spans must "
            "be there, and leave the rest to the model."
        },
    )


@dataclass
class TreeReportArguments:
    """What is measured on the test split once a model is trained."""

    _argument_group_name = "The report after training"

    num_importance_samples: int = field(
        default=100,
        metadata={"help": "Trees drawn for each test sentence in the importance-weighted likelihood; 0 leaves it out."},
    )
    proposal_temperature: float = field(
        default=2.0, metadata={"help": "Temperature of q(z|x) as their proposal; above 1 it is flatter."}
    )
    protocols: list[str] = field(
        default_factory=lambda: list(PROTOCOLS),
        metadata={"help": "Protocols of bracket F1; those that remove punctuation need tags around the words of gold trees."},
    )
    epoch_samples: int = field(
        default=5,
        metadata={
            "help": "After each epoch the log has the validation perplexity of so many trees a sentence, as the published "
            "code counts it, and bracket F1 by the first protocol where there are gold trees; 0 leaves it out."
        },
    )

    def __post_init__(self) -> None:
        if self.num_importance_samples < 0:
            raise ValueError(f"num_importance_samples is {self.num_importance_samples}; it is 0 (left out) or more")
        if not self.proposal_temperature > 0:
            raise ValueError(f"proposal_temperature is {self.proposal_temperature:g}; it is above 0")
        unknown = set(self.protocols) - set(PROTOCOLS)
        if unknown:
            raise ValueError(f"protocols names {', '.join(sorted(unknown))}: choose among {', '.join(PROTOCOLS)}")
