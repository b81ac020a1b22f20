"""What the recipe of a latent class model is told besides how to train: its parts, its categories, what is known of them."""

from dataclasses import dataclass, field

from hf_lvm.distributions import count_classes
from hf_lvm.layers.posteriors import CATEGORY_POSTERIORS
from hf_lvm.objectives.combinations import DISCRETE
from hf_lvm.training.run_arguments import ComposedArguments


@dataclass
class LatentClassArguments(ComposedArguments):
    """The model: its parts, the vector of categories between them, and what is known of it."""

    _trained_model_type = "hf_lvm_latent_class"

    model_type: str = field(default="hf_lvm_latent_class", metadata={"help": "Which model of this package."})
    num_variables: int = field(
        default=1, metadata={"help": "Variables of the latent; with class_column, one a column and others without a name."}
    )
    num_classes: list[int] | None = field(
        default=None,
        metadata={
            "help": "Classes of each variable: one number for all of them, or one for each, as in 2 20. By default those of "
            "class_column, and 10 for a variable without one."
        },
    )
    summed_variables: int = field(
        default=0,
        metadata={
            "help": "So many variables, the last ones, are summed over instead of inferred: a topic, say, beside the class "
            "that the encoder is for. Cheap with the injection logits alone, a pass of the decoder for each value otherwise."
        },
    )
    class_column: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Columns with known classes, one a variable; empty or -1 where one is not known. The report compares with "
            "those of the test split, and num_labelled says how many texts are trained with them."
        },
    )
    num_labelled: int | None = field(
        default=None,
        metadata={
            "help": "Training texts that keep their known classes, as many of each class as can be, drawn by label_seed: "
            "0 for none, -1 for all, as by default."
        },
    )
    label_seed: int = field(default=0, metadata={"help": "Seed of the choice of these texts."})
    posterior_type: str = field(
        default="categorical",
        metadata={
            "help": "Family of q(z|x): categorical, or vector_quantized (by distances to code vectors that the decoder reads, "
            "van den Oord et al. 2017)."
        },
    )
    code_size: int = field(default=32, metadata={"help": "Size of a code vector of a vector_quantized posterior."})
    prior_type: str = field(
        default="uniform", metadata={"help": "Family of p(z): uniform or learned; from Python also conditional."}
    )
    objective: str = field(
        default="elbo",
        metadata={
            "help": "What is trained: elbo, marginal (log p(x) summed over all values of z), iwae (of num_samples samples) or "
            "minimum_risk."
        },
    )
    estimator: str | None = field(
        default="exact",
        metadata={
            "help": f"Estimator of its gradient: {', '.join(sorted({*DISCRETE['elbo'], *DISCRETE['iwae']}))}; none for "
            "minimum_risk."
        },
    )
    enumeration_budget: int = field(
        default=1024, metadata={"help": "Values of z that exact, and the exact likelihood, may score for a text."}
    )
    sampled_of_the_rest: int | None = field(
        default=None, metadata={"help": "Of exact_topk, latents that are sampled; by default half of num_samples."}
    )
    baseline_decay: float = field(default=0.9, metadata={"help": "Of the moving averages in baselines."})
    temperature: float = field(
        default=1.0, metadata={"help": "Of relaxed samples (gumbel_softmax, straight_through, relax), at the beginning."}
    )
    learned_temperature: bool = field(default=False, metadata={"help": "Predict the temperature from the text."})
    risk_sharpness: float = field(default=1.0, metadata={"help": "Alpha of minimum_risk."})
    classification_weight: float = field(
        default=1.0,
        metadata={"help": "Alpha of -alpha log q(y|x), which labelled texts add to their bound (Kingma et al. 2014)."},
    )
    unlabelled_weight: float = field(
        default=1.0, metadata={"help": "Weight of the unlabelled texts beside labelled ones; 0 trains on labelled ones alone."}
    )

    @property
    def vector_size(self) -> int:
        """Size of the vector that the decoder is conditioned on."""
        head = CATEGORY_POSTERIORS.get(self.posterior_type)
        return 0 if head is None else head.vector_size(self.num_variables, self.num_classes, self.code_size)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.num_classes, list) and len(self.num_classes) == 1:
            self.num_classes = self.num_classes[0]
        if self.num_classes is not None:
            count_classes(self.num_variables, self.num_classes)
        if self.estimator == "none" or self.objective == "minimum_risk":
            self.estimator = None
        if self.prior_type == "conditional":
            raise ValueError(
                "prior_type 'conditional' reads a second text beside each, which this recipe does not load: use the model "
                "from Python, or choose 'uniform' or 'learned'"
            )
        if self.num_labelled is not None and not self.class_column:
            raise ValueError(f"num_labelled is {self.num_labelled}, and no class_column says what the classes are: name one")
        if len(self.class_column) > self.num_variables:
            raise ValueError(
                f"class_column names {len(self.class_column)} columns, and num_variables is {self.num_variables}: there is "
                "one variable a column, so raise it"
            )
