"""Configuration of the neural hidden Markov model."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from hf_lvm.objectives import check_combination


@strict
class NeuralHMMConfig(PreTrainedConfig):
    """What a `NeuralHMMModel` is made of.

    Args:
        vocab_size: words, the end of the sentence among them.
        num_states: C, states a word can have.
        hidden_size: of the embeddings of states and words.
        dropout: share of these embeddings set to zero in training.
        initializer_range: standard deviation of new weights. Equal states would stay equal, so it is not small.
        objective, estimator: `marginal` and `exact`: the likelihood is summed over all sequences of states, nothing sampled.
        pad_token_id, bos_token_id, eos_token_id: of the tokenizer. Sentences end with `eos_token_id`, which no state emits.

    Raises:
        ValueError: a size below 1, no end token, another objective.
    """

    model_type = "hf_lvm_neural_hmm"
    keys_to_ignore_at_inference = ["logits", "latents", "posterior"]

    vocab_size: int = 10_000
    num_states: int = 45
    hidden_size: int = 128
    dropout: float | int = 0.0
    initializer_range: float | int = 0.1
    objective: str = "marginal"
    estimator: str = "exact"
    num_samples: int = 1
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key in ("vocab_size", "num_states", "hidden_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout}.")
        if self.objective != "marginal":
            raise ValueError(
                f"A hidden Markov model sums over all its state sequences: objective is 'marginal', not {self.objective!r}."
            )
        check_combination(self.objective, self.estimator, self.num_samples, latents="discrete")
        if isinstance(self.eos_token_id, list):
            if len(self.eos_token_id) != 1:
                raise ValueError(f"A sentence ends with one token, but eos_token_id is {self.eos_token_id}.")
            self.eos_token_id = self.eos_token_id[0]
        if self.eos_token_id is not None and not 0 <= self.eos_token_id < self.vocab_size:
            raise ValueError(f"eos_token_id {self.eos_token_id} is outside the vocabulary of {self.vocab_size} words.")
