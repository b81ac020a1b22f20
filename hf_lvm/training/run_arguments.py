"""What a recipe is told besides how to train: which texts, which model."""

from dataclasses import dataclass, field

from hf_lvm.layers.injections import INJECTIONS
from hf_lvm.layers.pooling import POOLINGS

# Of the priors the one over vectors that reads a text.
CONDITIONAL_PRIOR = "conditional_gaussian"


@dataclass
class DataArguments:
    """Which texts a run reads, and how they become tokens."""

    _argument_group_name = "The texts"

    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Texts to train on: a txt, jsonl, csv or parquet file, a folder of them, or a datasets id on the "
            "hub (owner/name). By default the documentation that comes with Python, which needs no download."
        },
    )
    data_dir: str | None = field(
        default=None, metadata={"help": "A folder with a train, a validation (or dev) and a test file."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a data set on the hub."})
    text_column: str = field(default="text", metadata={"help": "The column that holds the texts."})
    min_words: int | None = field(default=None, metadata={"help": "Leave out texts with fewer words."})
    max_words: int | None = field(default=None, metadata={"help": "Leave out texts with more words."})
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Leave out texts with more tokens than this; how many is said in the log. Without it a text that "
            "is longer than the model's positions is an error. No text is ever cut."
        },
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on the first so many texts only, for a quick look."}
    )
    max_test_samples: int | None = field(
        default=None, metadata={"help": "Test on the first so many texts only; the number stands in the results."}
    )
    tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "Tokenizer of the encoder: a folder or a hub id; `bpe` (byte-level) or `words` to train one on "
            "the texts. By default that of a pretrained encoder, and bpe otherwise."
        },
    )
    decoder_tokenizer: str | None = field(
        default=None,
        metadata={"help": "Tokenizer of the decoder. By default that of a pretrained decoder, and the encoder's otherwise."},
    )
    vocab_size: int | None = field(
        default=None,
        metadata={"help": "Tokens of a tokenizer trained here (default: 4000 for bpe, all words of the texts for words)."},
    )
    min_frequency: int = field(
        default=1, metadata={"help": "Words of a tokenizer of words trained here that are seen less often are unknown."}
    )
    lowercase: bool = field(
        default=False, metadata={"help": "Fold capitals in a tokenizer of words trained here, and whenever it is used."}
    )
    fold_numbers: bool = field(default=False, metadata={"help": "Likewise make every word with a digit the word ##."})
    pad_token: str | None = field(
        default=None,
        metadata={"help": "Token to pad with, for tokenizers that name none, such as '<|endoftext|>' for GPT-2."},
    )
    bos_token: str | None = field(
        default=None, metadata={"help": "Token the decoder starts from, for tokenizers that name none."}
    )

    def __post_init__(self) -> None:
        for key in ("max_train_samples", "max_test_samples"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"{key} is {value}; give a number of texts, 1 or more, or leave it out to take all of them")


@dataclass
class ComposedArguments:
    """A model of an encoder, a decoder and a latent between them: its parts, and how the latent enters the decoder."""

    _argument_group_name = "The model"
    _trained_model_type = ""

    model_type: str = field(default="", metadata={"help": "Which model of this package."})
    model: str | None = field(
        default=None,
        metadata={
            "help": "A trained model of this kind to go on from: the output_dir of a run, or a hub id. It keeps its parts, "
            "settings and tokenizers; the other keys of the model are then not used."
        },
    )
    posterior: str | None = field(
        default=None,
        metadata={
            "help": "A trained model of this kind whose q(z|x), its encoder and all behind it, this one begins with, beside a "
            "decoder of its own: the output_dir of a run, or a hub id. Keys of the encoder are then not used."
        },
    )
    encoder: str = field(
        default="bert",
        metadata={
            "help": "The encoder: a folder or a hub id (owner/name) for a pretrained one, or a model type of "
            "transformers (bert, roberta, modernbert, t5, ..., or lstm) to build from scratch."
        },
    )
    decoder: str = field(
        default="gpt2",
        metadata={
            "help": "The decoder: a folder, a hub id, or a model type (gpt2, llama, qwen3, opt, bart, t5, ..., or lstm, "
            "dilated_cnn)."
        },
    )
    injection: list[str] = field(
        default_factory=lambda: ["prefix"],
        metadata={"help": f"How the latent enters the decoder, one or several of: {', '.join(INJECTIONS)}."},
    )
    injection_length: int = field(default=4, metadata={"help": "Positions that prefix, memory and cross_attention fill."})
    pooling: str = field(default="mean", metadata={"help": f"From the encoder's states to one vector: {', '.join(POOLINGS)}."})
    num_samples: int = field(default=1, metadata={"help": "Samples of the latent for each text in the bound."})
    context_window: int | None = field(
        default=None,
        metadata={"help": "Tokens that a prediction depends on, for attention decoders; fewer make it ask the latent."},
    )
    token_embedding_stddev: float | None = field(
        default=None,
        metadata={
            "help": "Standard deviation of the token embeddings of a decoder built from scratch, which then has an "
            "output layer of its own. Most families begin at 0.02, made for long training; 0.7 learns several times "
            "as much in a short run."
        },
    )
    tie_encoder_decoder_embeddings: bool = field(
        default=False, metadata={"help": "One table of token embeddings for both parts."}
    )
    reset_decoder: bool = field(
        default=False,
        metadata={
            "help": "With `model`: keep its encoder and begin with a new decoder, as after training as an autoencoder "
            "(Li et al. 2019)."
        },
    )
    freeze: list[str] = field(
        default_factory=list, metadata={"help": "Parts whose own weights stay as they are: encoder, decoder."}
    )
    lora: list[str] = field(
        default_factory=list,
        metadata={"help": "Parts that get a LoRA adapter instead of training whole: encoder, decoder (needs peft)."},
    )
    lora_rank: int = field(default=8, metadata={"help": "Rank of the LoRA adapters."})
    adapters_only: bool = field(
        default=False,
        metadata={
            "help": "With `lora` of a pretrained part: save its adapter without the rest of it, which is then loaded from "
            "where it came from."
        },
    )
    part_options: dict = field(init=False, default_factory=dict)

    @property
    def vector_size(self) -> int:
        """Size of the vector that the decoder is conditioned on."""
        raise NotImplementedError

    @property
    def encoder_source(self) -> str:
        """Where the encoder comes from, and with it its tokenizer."""
        return self.encoder if self.posterior is None else self.posterior

    def __post_init__(self) -> None:
        if self.model_type != self._trained_model_type:
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains {self._trained_model_type}")
        if self.reset_decoder and self.model is None:
            raise ValueError("reset_decoder is for a run that goes on from a trained model: name it by `model`")
        if self.posterior is not None and self.model is not None:
            raise ValueError("posterior takes q(z|x) from a trained model, and model all of one: give one of the two")
        if self.adapters_only and not self.lora:
            raise ValueError("adapters_only saves the adapters of lora without their parts: name those parts by `lora`")
        if self.posterior is not None and "encoder" in self.lora:
            raise ValueError(
                "lora is for an encoder that was never trained here, and posterior brings a trained one: leave it out"
            )
        for key in ("freeze", "lora"):
            unknown = set(getattr(self, key)) - {"encoder", "decoder"}
            if unknown:
                raise ValueError(f"{key} names {', '.join(sorted(unknown))}: the parts are encoder and decoder")


@dataclass
class TextVAEArguments(ComposedArguments):
    """The model: its parts and the latent vector between them."""

    _trained_model_type = "hf_lvm_text_vae"

    model_type: str = field(default="hf_lvm_text_vae", metadata={"help": "Which model of this package."})
    latent_size: int = field(default=32, metadata={"help": "Dimensions of the latent vector."})
    posterior_type: str = field(
        default="gaussian",
        metadata={
            "help": "Family of q(z|x): gaussian (diagonal), batch_norm (means normalised over the batch, Zhu et al. 2020), "
            "delta (never closer to the prior than committed_rate, Razavi et al. 2019), or von_mises_fisher (directions, with "
            "prior_type: uniform_sphere, Xu and Durrett 2018)."
        },
    )
    posterior_initial_stddev: float = field(default=1.0, metadata={"help": "Standard deviation of q(z|x) in a new model."})
    posterior_concentration: float | None = field(
        default=None,
        metadata={"help": "Concentration of a von_mises_fisher posterior for all texts; by default the encoder chooses it."},
    )
    batch_norm_scale: float = field(default=0.6, metadata={"help": "Spread of the means of a batch_norm posterior."})
    committed_rate: float = field(
        default=5.0, metadata={"help": "Nats that every text costs at least under a delta posterior."}
    )
    prior_type: str = field(
        default="standard_normal",
        metadata={
            "help": "Family of p(z): standard_normal, gaussian_mixture, vamp (posteriors of learned inputs, Tomczak and "
            "Welling 2018), flow, uniform_sphere (for von_mises_fisher), or conditional_gaussian: p(z|c) of the text in "
            "condition_column (a conditional VAE, Sohn et al. 2015)."
        },
    )
    condition_column: str | None = field(
        default=None,
        metadata={
            "help": "With prior_type: conditional_gaussian, the column with the text c that p(z|c) and q(z|x, c) read beside "
            "each text. A tokenizer trained here learns both columns; the report says what it costs to exchange conditions."
        },
    )
    prior_components: int = field(default=10, metadata={"help": "Components of a gaussian_mixture or vamp prior."})
    prior_pseudo_input_length: int = field(default=8, metadata={"help": "Tokens of a pseudo-input of a vamp prior."})
    prior_flow_layers: int = field(default=4, metadata={"help": "Layers of a flow prior."})
    objective: str = field(
        default="elbo",
        metadata={"help": "The bound that is trained: elbo, or iwae (of num_samples samples, Burda et al. 2016)."},
    )
    estimator: str = field(
        default="reparameterization",
        metadata={"help": "Estimator of its gradient: reparameterization, or for iwae dreg (Tucker et al. 2019)."},
    )
    semi_amortized_steps: int = field(
        default=0,
        metadata={
            "help": "Gradient steps by which the encoder's q(z|x) is refined for every text, in training and in evaluation "
            "(Kim et al. 2018: 20). Each costs about one training step."
        },
    )
    semi_amortized_learning_rate: float = field(
        default=0.03,
        metadata={"help": "Rate of these steps, per nat of one text; the published 1.0 for batches of 32 is 0.03."},
    )
    semi_amortized_momentum: float = field(default=0.5, metadata={"help": "Momentum of these steps."})
    semi_amortized_max_grad_norm: float = field(
        default=28.0,
        metadata={"help": "Norm that their gradients are clipped to, of the mean and of the log variance; 0 for no clipping."},
    )

    @property
    def vector_size(self) -> int:
        """Size of the vector that the decoder is conditioned on: z itself."""
        return self.latent_size

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            self.check_conditions(self.prior_type)

    def check_conditions(self, prior_type: str) -> None:
        """Raise a `ValueError` for a prior that reads a text without a column of texts, or the other way round."""
        reads_text = prior_type == CONDITIONAL_PRIOR
        if reads_text and self.condition_column is None:
            raise ValueError(
                f"prior_type {prior_type!r} is p(z | a text), and no condition_column says what that text is: name a column "
                "of the texts, as in condition_column: title"
            )
        if self.condition_column is not None and not reads_text:
            raise ValueError(
                f"condition_column is {self.condition_column!r}, and prior_type {prior_type!r} reads no text: leave it out, "
                f"or set prior_type to {CONDITIONAL_PRIOR}"
            )


@dataclass
class ReportArguments:
    """What is measured on the test split once a model is trained."""

    _argument_group_name = "The report after training"

    num_importance_samples: int = field(
        default=100,
        metadata={"help": "Samples of the latent for each test text in the importance-weighted likelihood; 0 leaves it out."},
    )
    num_generated: int = field(default=100, metadata={"help": "Test texts to reconstruct for the report."})

    def __post_init__(self) -> None:
        if self.num_importance_samples < 0:
            raise ValueError(f"num_importance_samples is {self.num_importance_samples}; it is 0 (left out) or more")
        if self.num_generated < 2:
            raise ValueError(f"num_generated is {self.num_generated}; give at least 2, to compare texts with others")
