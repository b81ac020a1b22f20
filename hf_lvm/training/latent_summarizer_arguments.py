"""What the recipe of compressions is told besides how to train."""

from dataclasses import dataclass, field

from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import POSTERIOR_TYPES
from hf_lvm.objectives.combinations import SEQUENCES, SUMMED


@dataclass
class SummarizerArguments:
    """The model: an encoder that compresses, a prior that judges compressions, a decoder that writes the text from one."""

    _argument_group_name = "The model"

    model_type: str = field(default="hf_lvm_latent_summarizer", metadata={"help": "Which model of this package."})
    model: str | None = field(
        default=None,
        metadata={
            "help": "A trained model of this kind to go on from, supervised, say: the output_dir of a run, or a hub id. It "
            "keeps its parts, settings and tokenizers, but for objective, estimator, num_samples, target_ratio and weights."
        },
    )
    encoder: str = field(
        default="lstm",
        metadata={
            "help": "The encoder of q(c|x): a folder or a hub id (owner/name) for a pretrained one, or a model type of "
            "transformers (bert, roberta, modernbert, ..., or lstm) to build from scratch."
        },
    )
    decoder: str = field(
        default="segments",
        metadata={
            "help": "What writes the text from its compression: segments, which fills the gaps between kept words and makes "
            "everything exact, or a causal language model: a folder, a hub id, or a model type (gpt2, llama, ..., lstm)."
        },
    )
    prior: str = field(
        default="bigram",
        metadata={
            "help": "p(c): bigram, or a causal language model: a folder (of a run with model_type language_model, say) or a "
            "hub id, whose tokenizer may be another than the decoder's (prior_tokenizer), or a model type to build from "
            "scratch over the decoder's tokens."
        },
    )
    prior_tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "The tokenizer of a pretrained prior: a folder or a hub id; by default the one that is saved with the "
            "prior, if it is another than the decoder's. Where both cut texts alike the prior is exact; otherwise it reads "
            "the text of c, and the choice among the tokens of a text is charged, so that the KL stays an upper bound. The "
            "results say how many are charged."
        },
    )
    prior_epsilon: float = field(
        default=0.01,
        metadata={"help": "Of a prior that reads texts: the probability of all tokens but the decoder's own for a text."},
    )
    prior_hidden_size: int | None = field(default=None, metadata={"help": "Size of a prior built from scratch."})
    posterior_type: str = field(default="delete", metadata={"help": f"q(c|x): {', '.join(POSTERIOR_TYPES)}."})
    compressor: str | None = field(
        default=None,
        metadata={
            "help": "Of vocab, the causal language model that writes compressions in the decoder's tokens: a folder, a hub "
            "id, or a model type to build from scratch (gpt2, llama, ..., lstm). It needs max_summary_words."
        },
    )
    compressor_hidden_size: int | None = field(default=None, metadata={"help": "Size of a compressor built from scratch."})
    compressor_injection: str = field(
        default="cross_attention",
        metadata={
            "help": "How a compressor sees the text: cross_attention to the encoder's states, or prompt, which any family "
            "can read."
        },
    )
    unlabelled_posterior: str | None = field(
        default=None,
        metadata={
            "help": "Of pointer_vocab, pointer: texts without a compression are trained by the pointers alone, as in the "
            "paper (ASC+FSC). By default by the mixture, as those with one."
        },
    )
    injection: str = field(
        default="prompt",
        metadata={"help": "How c joins a causal language model: prompt, or cross_attention to the encoder's states of c."},
    )
    reader: str | None = field(
        default=None,
        metadata={
            "help": "With cross_attention, what reads c: compressor, the LSTM of a pointer itself, as in the paper; by "
            "default the encoder of q(c|x)."
        },
    )
    pair_hidden_size: int | None = field(default=None, metadata={"help": "Units that score pairs of words, of delete."})
    pointer_hidden_size: int | None = field(default=None, metadata={"help": "Size of the LSTM of a pointer."})
    posterior_dropout: float = field(default=0.0, metadata={"help": "Dropout on what q(c|x) is made of."})
    min_summary_words: int = field(default=1, metadata={"help": "Fewest words of a pointer's compression."})
    max_summary_words: int | None = field(default=None, metadata={"help": "Most words of it; by default as the text has."})
    target_ratio: float | None = field(
        default=None,
        metadata={"help": "Words of c to words of x: q(c|x) is given the number. Without it c is as long as q likes."},
    )
    target_ratio_spread: float = field(
        default=0.0, metadata={"help": "In training the ratio is drawn for each text, from so much below it to so much above."}
    )
    length_model: str | None = field(
        default=None,
        metadata={
            "help": "table: a bigram prior compares compressions of one length, and a table says how long they are, taken "
            "from the known ones, or by target_ratio from the texts. By default the prior as it is, which prefers short ones."
        },
    )
    length_table_size: int = field(default=30, metadata={"help": "Lengths with a cell of their own in this table."})
    prior_weight: float = field(
        default=1.0, metadata={"help": "Lambda, of log p(c) - log q(c|x) in the loss (0.1 in Miao and Blunsom 2016)."}
    )
    train_prior: bool = field(default=True, metadata={"help": "Whether p(c) learns; otherwise it stays as it is."})
    prior_epochs: int = field(
        default=0,
        metadata={
            "help": "Before all else, train a bigram prior for so many passes over the known compressions, or over the texts "
            "where none are known."
        },
    )
    prior_max_words: int | None = field(
        default=None,
        metadata={
            "help": "Of these texts the prior reads only those of so many words, in prior_epochs: a short sentence is more "
            "like a compression than a long one."
        },
    )
    empty_baseline: bool = field(default=False, metadata={"help": "Subtract log p(x | empty c) from the learning signal."})
    empty_weight: float = field(default=0.0, metadata={"help": "Weight of -log p(x | empty c) in the loss."})
    objective: str = field(default="elbo", metadata={"help": f"What is trained: {', '.join(SUMMED)}."})
    estimator: str | None = field(
        default="exact",
        metadata={
            "help": f"Of its gradient: {', '.join(('exact', *SEQUENCES['elbo'], *SEQUENCES['iwae']))}; none for minimum_risk."
        },
    )
    num_samples: int = field(default=4, metadata={"help": "Compressions that are drawn for each text."})
    baseline_decay: float = field(default=0.9, metadata={"help": "Of the moving averages in baselines."})
    temperature: float = field(default=1.0, metadata={"help": "Of relaxed samples, where no schedule gives another."})
    learned_temperature: bool = field(default=False, metadata={"help": "Predict the temperature from the text."})
    risk_sharpness: float = field(default=1.0, metadata={"help": "Alpha of minimum_risk."})
    num_labelled: int = field(
        default=0,
        metadata={
            "help": "Training texts whose compressions are used, the first ones: 0 for none, whatever there are, -1 for all. "
            "Those of the other splits serve the report alone."
        },
    )
    classification_weight: float = field(default=1.0, metadata={"help": "Weight of -log q(c|x) of these texts."})
    joint_weight: float = field(default=1.0, metadata={"help": "Weight of -log p(x, c) of these texts."})
    unlabelled_weight: float = field(
        default=1.0, metadata={"help": "Weight of the texts without a compression beside those with; 0 leaves them out."}
    )
    part_options: dict = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_type != "hf_lvm_latent_summarizer":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains hf_lvm_latent_summarizer")
        if self.estimator == "none" or self.objective == "minimum_risk":
            self.estimator = None
        if (self.posterior_type == "vocab") != (self.compressor is not None):
            raise ValueError(
                f"posterior_type is {self.posterior_type!r} and compressor {self.compressor!r}: 'vocab' needs a compressor, "
                "such as gpt2 or lstm, and the others have none"
            )
        if self.reader not in (None, "compressor"):
            raise ValueError(f"reader is {self.reader!r}: it is compressor, or left out; build models with others in Python")
        if self.num_labelled < -1:
            raise ValueError(f"num_labelled is {self.num_labelled}; it is 0 (none), -1 (all), or a number of texts")
        if self.prior_epochs < 0:
            raise ValueError(f"prior_epochs is {self.prior_epochs}; it is 0 or more")
        if self.prior_max_words is not None and self.prior_max_words < 1:
            raise ValueError(f"prior_max_words is {self.prior_max_words}; it is 1 or more")
        if self.prior_max_words is not None and not self.prior_epochs:
            raise ValueError("prior_max_words is of texts that a prior reads in prior_epochs: set these, too")
        if self.prior_epochs and self.prior != "bigram":
            raise ValueError("prior_epochs trains a bigram prior; any other is trained by a run of its own (language_model)")


@dataclass
class SummaryDataArguments:
    """The compressions of the texts."""

    _argument_group_name = "The compressions"

    summary_column: str | None = field(
        default="summary", metadata={"help": "The column with compressions, where there is one; empty where none is known."}
    )
    keep_column: str | None = field(
        default=None, metadata={"help": "The column with one sign a word, 1 for kept words and 0, as in 1101."}
    )


@dataclass
class SummaryReportArguments:
    """What is measured on the test split once a model is trained."""

    _argument_group_name = "The report after training"

    report_ratios: list[float] = field(
        default_factory=list, metadata={"help": "Also compress to these shares of the words; each has its controls."}
    )
    report_corpus_ratios: list[float] = field(
        default_factory=list,
        metadata={
            "help": "Also compress so that all texts together keep these shares of their words, each as many as it needs: a "
            "bonus for each word is found on validation texts. Of delete."
        },
    )
    report_words: list[int] = field(default_factory=list, metadata={"help": "Also compress to so many words."})
    num_importance_samples: int = field(
        default=20, metadata={"help": "Compressions of each test text in log p(x), where it is not exact; 0: leave out."}
    )
    metric_words: str = field(
        default="whitespace", metadata={"help": "What a word is to the metric: whitespace, or punctuation."}
    )

    def __post_init__(self) -> None:
        if self.num_importance_samples < 0:
            raise ValueError(f"num_importance_samples is {self.num_importance_samples}; it is 0 (left out) or more")
        for key, wrong in (
            ("report_ratios", [each for each in self.report_ratios if not 0 < each <= 1]),
            ("report_corpus_ratios", [each for each in self.report_corpus_ratios if not 0 < each <= 1]),
            ("report_words", [each for each in self.report_words if each < 1]),
        ):
            if wrong:
                raise ValueError(f"{key} holds {wrong[0]}: a ratio is above 0 and at most 1, a number of words 1 or more")
