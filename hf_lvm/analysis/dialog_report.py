"""What bots that talk have learned: accuracy of each run on training and on unseen objects, its dialogs, its lexicon.

The lexicon of an answerer says what an answer means behind each question. Where every question is answered by one attribute,
the language is compositional, and what is said about objects never seen is as true as about the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hf_lvm.analysis.language_report import side_by_side
from hf_lvm.data.task_and_talk import PUBLISHED_ATTRIBUTES, ObjectSplit, all_tasks, instances
from hf_lvm.metrics.language_structure.information import entropy, mutual_information
from hf_lvm.metrics.language_structure.lexicon import Names, lexicon_rows, lexicon_table
from hf_lvm.models.task_and_talk import Talk, TaskAndTalkModel

# Numbers of one run: the shares of pairs of object and task, 0 to 1, with both values right and with at least one right;
# -log p(x) in nats; purity.
KEYS = ("train_both", "train_any", "test_both", "test_any", "train_nats", "test_nats", "purity")
SHOWN_OBJECTS = 4


@dataclass(frozen=True)
class DialogReport:
    """Of R runs.

    Attributes:
        runs: of each run the numbers of `KEYS`.
        text: dialogs about unseen objects and the lexicons of the best and of the worst run, for people.
        lexicon: of these two runs what answers mean, side by side.
        keys: `KEYS`.
    """

    runs: list[dict[str, float]]
    text: str
    lexicon: str
    keys: tuple[str, ...] = KEYS


def report_dialogs(model: TaskAndTalkModel, split: ObjectSplit) -> DialogReport:
    """Measure all runs of a model on the objects it was trained on and on those held out, by greedy dialogs.

    `train_nats` and `test_nats` are -log p(x | task, object), summed over all dialogs or, where there are too many, estimated
    from 100 of them; `purity` is that of `purity_of`.
    """
    runs = [dict.fromkeys(KEYS, 0.0) for _ in range(model.config.num_runs)]
    for name, objects in (("train", split.train), ("test", split.test)):
        rows = {key: value.to(model.device) for key, value in instances(objects, model.config.num_tasks).items()}
        right = _by_run(model, model.talk(**rows).right)
        generator = torch.Generator().manual_seed(0)
        likelihood = model.estimate_log_likelihood(**rows, generator=generator).log_likelihood
        nats = -_by_run(model, likelihood).mean(1)
        for run, own, cost in zip(runs, right, nats.tolist(), strict=True):
            run[f"{name}_both"] = own.all(-1).float().mean().item()
            run[f"{name}_any"] = own.any(-1).float().mean().item()
            run[f"{name}_nats"] = cost
    everything = torch.cat([split.train, split.test])
    rows = instances(everything, model.config.num_tasks)
    dialogs = _by_run(model, model.talk(**{key: value.to(model.device) for key, value in rows.items()}).dialogs).cpu()
    for run, own in zip(runs, dialogs, strict=True):
        run["purity"] = purity_of(own.numpy(), rows["objects"].numpy())
    order = sorted(range(len(runs)), key=lambda number: (runs[number]["test_both"], runs[number]["train_both"]))
    return DialogReport(runs, *_texts(model, split, runs, dialogs, rows, order[-1], order[0]))


def purity_of(dialogs: np.ndarray, objects: np.ndarray) -> float:
    """How much an answer is about one attribute, 0 to 1: I(answer; attribute) / H(answer), of the attribute it tells most of.

    Of dialogs (N, L) about objects (N, A), the mean over questions, weighted by how often each is asked. Questions that always
    get the same answer count as 0. With few objects it is above 0 for any code.
    """
    shares, counts = [], []
    questions, answers, meant = pairs_of(dialogs, objects)
    for question in np.unique(questions):
        own = questions == question
        uncertainty = entropy(answers[own])
        told = max(mutual_information(answers[own], column) for column in meant[own].T)
        shares.append(told / uncertainty if uncertainty > 0 else 0.0)
        counts.append(own.sum())
    return float(np.average(shares, weights=counts))


def pairs_of(dialogs: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every question that was asked, its answer, and the object it was about: (M,), (M,), (M, A); equal ones once.

    Args:
        dialogs: (N, L), questions and answers in turn.
        objects: (N, A).
    """
    rounds = dialogs.shape[1] // 2
    rows = np.concatenate([dialogs.reshape(-1, 2), np.repeat(objects, rounds, axis=0)], axis=1)
    rows = np.unique(rows, axis=0)
    return rows[:, 0], rows[:, 1], rows[:, 2:]


def answer_lexicon(dialogs: np.ndarray, objects: np.ndarray, names: Names) -> str:
    """What each answer means behind each question, as a table."""
    questions, answers, meant = pairs_of(dialogs, objects)
    asked = [f"{question_name(number)}?" for number in questions.tolist()]
    return lexicon_table(lexicon_rows(answers.reshape(-1, 1), meant, "symbol", contexts=asked, names=names))


def question_name(number: int) -> str:
    """The first three questions are called X, Y and Z, as in the paper, and further ones by their numbers."""
    return "XYZ"[number] if number < 3 else f"q{number}"


def names_of(num_values: Sequence[int]) -> Names:
    """What attributes and values are called: the published names, or numbers."""
    published = list(PUBLISHED_ATTRIBUTES.values())
    if list(num_values) == [len(values) for values in published]:
        return Names(attributes=list(PUBLISHED_ATTRIBUTES), values=published)
    return Names()


def describe_talk(talk: Talk, objects: torch.Tensor, tasks: torch.Tensor, num_values: Sequence[int]) -> list[str]:
    """A line for each dialog of one run: the object, the task, what was said, the guess."""
    names, pairs = names_of(num_values), all_tasks(len(num_values)).tolist()
    first = [sum(num_values[:attribute]) for attribute in range(len(num_values))]
    lines = []
    for values, task, dialog, guesses, right in zip(
        objects.tolist(), tasks.tolist(), talk.dialogs.tolist(), talk.guesses.tolist(), talk.right.tolist(), strict=True
    ):
        seen = " ".join(names.value(attribute, value) for attribute, value in enumerate(values))
        asked = ", ".join(names.attribute(attribute) for attribute in pairs[task])
        said = "  ".join(f"{question_name(q)}? {a}" for q, a in zip(dialog[::2], dialog[1::2], strict=True))
        told = []
        for guess in guesses:
            attribute = max(number for number, start in enumerate(first) if start <= guess)
            told.append(names.value(attribute, guess - first[attribute]))
        lines.append(f"{seen:24}  {asked:14}  {said:14}  -> {', '.join(told)}{'' if all(right) else '   (wrong)'}")
    return lines


def _by_run(model: TaskAndTalkModel, values: torch.Tensor) -> torch.Tensor:
    """(R, ...), also of one run."""
    return values.unsqueeze(0) if model.config.num_runs == 1 else values


def _texts(model, split, runs, dialogs, rows, best: int, worst: int) -> tuple[str, str]:
    """The dialogs and the lexicons of two runs, and the lexicons alone."""
    names, objects = names_of(model.config.num_values), rows["objects"].numpy()
    lines, lexicons = [], {}
    for title, number in (("best", best), ("worst", worst)):
        own = model.run(number)
        said = f"run {number}, seed {model.config.seeds[number]}: {runs[number]['train_both']:.1%} of training"
        said += f", {runs[number]['test_both']:.1%} of unseen objects and tasks, purity {runs[number]['purity']:.2f}"
        shown = instances(split.test[:SHOWN_OBJECTS], model.config.num_tasks)
        talk = own.talk(**{key: value.to(own.device) for key, value in shown.items()})
        lines += [f"The {title} run on unseen objects, {said}", ""]
        lines += [*describe_talk(talk, shown["objects"], shown["tasks"], model.config.num_values), ""]
        lexicons[f"The {title} run, purity {runs[number]['purity']:.2f}"] = answer_lexicon(
            dialogs[number].numpy(), objects, names
        )
        if best == worst:
            break
    lines += ["What answers mean behind each question: objects about which it was asked, and P(value | question, answer)", ""]
    lexicon = side_by_side(lexicons)
    return "\n".join([*lines, lexicon]) + "\n", lexicon
