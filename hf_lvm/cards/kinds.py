"""What each type of model is, in plain words, and which of its settings a card tells first."""

from dataclasses import dataclass
from typing import Any

# Settings that say what a model is -> how a card calls them, in this order.
FACTS = {
    "encoder": "encoder",
    "object_encoder": "encoder of objects",
    "sender": "sender",
    "receiver": "receiver",
    "parser": "parser",
    "reader": "reader of meanings",
    "decoder": "decoder",
    "prior": "prior",
    "latent_size": "dimensions of the latent",
    "num_variables": "categorical variables",
    "num_classes": "classes of each",
    "num_states": "states",
    "num_topics": "topics",
    "language": "language of meanings",
    "num_symbols": "symbols",
    "max_message_length": "symbols a message at most",
    "num_question_symbols": "symbols of questions",
    "num_answer_symbols": "symbols of answers",
    "num_rounds": "rounds of a dialog",
    "num_runs": "runs side by side",
    "posterior_type": "posterior",
    "prior_type": "prior family",
    "condition_column": "column of the condition",
    "injection": "how the latent enters the decoder",
    "context_window": "tokens the decoder sees",
    "objective": "objective",
    "estimator": "gradient estimator",
    "num_samples": "samples of the latent in training",
    "kl_schedule": "KL schedule",
    "free_bits": "free bits, nats",
    "autoencoder_warmup_steps": "autoencoder start",
    "aggressive": "aggressive inference",
    "word_dropout": "word dropout",
    "num_labelled": "labelled texts",
    "num_bracketed": "sentences with trees in training",
    "model": "went on from",
}
# Settings that name a part, whose sizes stand in `part_options`.
PARTS = ("encoder", "object_encoder", "sender", "receiver", "parser", "reader", "decoder", "prior")


@dataclass(frozen=True)
class ModelKind:
    """A type of model.

    Attributes:
        name: of the class.
        title: what a card calls it.
        what: one paragraph: x, z, their distributions and how they are trained.
        papers: keys of `PAPERS`.
        task: what it is measured at, for the model index.
        pipeline_tag: of the hub, only where the model does that task.
        tags: of the hub, beside those of every model.
        unit: what a number is counted on: sentences, documents, games.
    """

    name: str
    title: str
    what: str
    papers: tuple[str, ...]
    task: str
    pipeline_tag: str | None = None
    tags: tuple[str, ...] = ()
    unit: str = "sentence"


KINDS: dict[str, ModelKind] = {
    "hf_lvm_text_vae": ModelKind(
        "TextVAEModel",
        "Text VAE",
        "A variational autoencoder of text. The latent z is a vector: a prior p(z) says where vectors lie, a decoder p(x|z) "
        "writes a text from one, and an encoder q(z|x) says which vectors a text may have come from. Both are trained "
        "together by a lower bound of log p(x), the reconstruction minus KL(q(z|x) || p(z)). Afterwards a text can be placed "
        "in the space of z, written back from there, drawn from the prior, or found between two others.",
        ("kingma2014", "bowman2016"),
        "text-generation",
        "text-generation",
        ("variational-autoencoder",),
    ),
    "hf_lvm_latent_class": ModelKind(
        "LatentClassModel",
        "Latent class model",
        "The latent z is a vector of categories: first choose a class, then write. The decoder p(x|z) writes a text of a "
        "class, and the classes of a text are found by an encoder q(z|x) or, where log p(x) is summed over all classes, by "
        "Bayes' rule. Classes are found without labels; where some texts say theirs, they are taken along (the model M2 of "
        "Kingma et al. 2014, with text for images).",
        ("kingma2014semi",),
        "text-generation",
        tags=("discrete-latents",),
    ),
    "hf_lvm_neural_hmm": ModelKind(
        "NeuralHMMModel",
        "Neural hidden Markov model",
        "Every word has a state, and each state follows the one before: p(x, z) is the product of p(state | state before) and "
        "p(word | state), both softmaxes of embeddings. log p(x) is summed exactly over all sequences of states, and so is "
        "its gradient; nothing is sampled and there is no bound. The states of words are found without labels.",
        ("rabiner1989", "tran2016"),
        "token-classification",
        tags=("hidden-markov-model", "discrete-latents"),
    ),
    "hf_lvm_neural_topic": ModelKind(
        "NeuralTopicModel",
        "Neural topic model",
        "A document has shares of some topics, and a topic is a distribution over words. The latent z is the vector of "
        "shares, p(x|z) is the product over the words of the document, whose order plays no part, and an encoder q(z|x) "
        "infers the shares. It is trained by a lower bound of log p(words | their number).",
        ("miao2016neural", "srivastava2017", "dieng2020"),
        "topic-modeling",
        tags=("topic-model",),
        unit="document",
    ),
    "hf_lvm_urnng": ModelKind(
        "URNNGModel",
        "Unsupervised recurrent neural network grammar",
        "The latent z is a binary tree over the words. p(x, z) writes words and tree together, as steps that push a word onto "
        "a stack or combine the two topmost constituents; q(z|x) is a conditional random field over all binary trees. Trained "
        "by a lower bound of log p(x) it finds trees that nobody has drawn; trees that are known can be taken along.",
        ("kim2019", "dyer2016"),
        "unsupervised-parsing",
        tags=("parsing", "grammar-induction"),
    ),
    "hf_lvm_latent_summarizer": ModelKind(
        "LatentSummarizerModel",
        "Latent summarizer",
        "The latent c is a short sentence that stands for a long one: q(c|x) compresses, p(x|c) has to write the long text "
        "from the compression alone, and p(c), a language model, says what compressions look like. Texts without a known "
        "compression train it by a lower bound of log p(x), texts with one by their compressions.",
        ("miao2016language",),
        "summarization",
        "summarization",
        ("sentence-compression",),
    ),
    "hf_lvm_struct_vae": ModelKind(
        "StructVAEModel",
        "StructVAE",
        "The latent z is the meaning of a sentence, a tree of a grammar: q(z|x) parses the sentence, action by action, as far "
        "as the grammar lets it, p(x|z) tells the sentence from its meaning, and p(z) judges meanings. Sentences with a known "
        "meaning train all three; others train the parser by what its trees say of them.",
        ("yin2018",),
        "semantic-parsing",
        tags=("semantic-parsing",),
    ),
    "hf_lvm_referential_game": ModelKind(
        "ReferentialGameModel",
        "Referential game",
        "Two networks invent a language. A sender q(m|object) sees the target and writes a message m of a few symbols; a "
        "receiver p(x|m) reads it and has to find the target among distractors; p(m) says what messages cost. The message is "
        "the latent, the choice of the receiver is x. What the symbols mean is up to the two.",
        ("havrylov2017",),
        "referential-game",
        tags=("emergent-communication",),
        unit="game",
    ),
    "hf_lvm_task_and_talk": ModelKind(
        "TaskAndTalkModel",
        "Task & Talk bots",
        "Two bots invent a language. One knows a task, two attributes that it wants to be told in order; the other sees an "
        "object. They talk in turn, question and answer, and then the first has to name the two values. The dialog is the "
        "latent, the answer is x. Many runs, each from first weights of its own, train side by side; `model.run(r)` is one.",
        ("kottur2017",),
        "visual-dialog-game",
        tags=("emergent-communication",),
        unit="object and task",
    ),
    "language_model": ModelKind(
        "the decoder alone",
        "Language model without a latent",
        "A causal language model, the decoder of a latent variable model trained alone: what latent variable models of the "
        "same texts are compared with. log p(x) is exact.",
        (),
        "text-generation",
        "text-generation",
    ),
}


def kind_of(model_type: Any) -> ModelKind:
    """The kind of a `model_type`.

    Raises:
        ValueError: there is no card for it.
    """
    if model_type not in KINDS:
        raise ValueError(f"There is no model card for model_type {model_type!r}: there is one for {', '.join(KINDS)}.")
    return KINDS[model_type]


def facts_of(settings: dict[str, Any], config: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """What the model is, as rows of a table: parts with their sizes, latent, objective, what stabilizes it.

    Args:
        settings: of `results.json`.
        config: of the model, whose values stand for settings that the run did not name.
    """
    facts = []
    options = settings.get("part_options") or {}
    for key, label in FACTS.items():
        value = settings.get(key)
        if value is None and config is not None and not isinstance(config.get(key), dict):
            value = config.get(key)
        if value is None or value is False or value == [] or _means_nothing(key, settings):
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if key in PARTS and options.get(key):
            shown += f" ({', '.join(f'{name} {size}' for name, size in options[key].items())})"
        facts.append((label, shown))
    return facts


def _means_nothing(key: str, settings: dict[str, Any]) -> bool:
    """Whether the run did not use the value of a setting."""
    if key == "prior":
        return settings.get("prior_type") not in (None, "model")
    if key == "object_encoder":
        return settings.get("objects") != "text"
    return key == "num_samples" and settings.get("estimator") == "exact"
