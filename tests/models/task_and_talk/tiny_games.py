"""Games small enough to hold every dialog one by one, and the bots once more, written for one run and one row at a time."""

import itertools

import torch

from hf_lvm import TaskAndTalkConfig, TaskAndTalkModel
from hf_lvm.data.task_and_talk import all_objects, instances

TINY = {"num_values": [2, 3], "num_question_symbols": 2, "num_answer_symbols": 3, "hidden_size": 4, "embedding_size": 3,
        "value_embedding_size": 2, "initial_scale": 5.0}  # fmt: skip


def tiny_game(dtype: torch.dtype = torch.float64, **options) -> TaskAndTalkModel:
    """Two attributes, two tasks, 36 dialogs; weights so large that everything depends on everything."""
    options = {**TINY, "seeds": list(range(5, 5 + options.get("num_runs", 1))), **options}
    model = TaskAndTalkModel(TaskAndTalkConfig(**options)).to(dtype)
    with torch.no_grad():
        for parameter in model.run_parameters():
            if parameter.dim() == 2:
                generator = torch.Generator().manual_seed(9)
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


def all_rows(num_values: list[int] = TINY["num_values"]) -> dict[str, torch.Tensor]:
    return instances(all_objects(num_values), len(num_values) * (len(num_values) - 1))


def all_dialogs(model: TaskAndTalkModel) -> list[tuple[int, ...]]:
    """The last symbol varying slowest, as `enumerate_support` has them."""
    config = model.config
    counts = [config.num_question_symbols, config.num_answer_symbols] * config.num_rounds
    return [numbers[::-1] for numbers in itertools.product(*map(range, counts[::-1]))]


@torch.no_grad()
def by_hand(model: TaskAndTalkModel, run: int, values: list[int], task: int, dialog: tuple[int, ...]):
    """log q of a dialog about one object, and log p of all values as each guess: the paper's bots, step by step.

    Args:
        values: numbers of the object's values among those of all attributes.
    """
    questioner, answerer = model.questioner, model.answerer
    answers, questions = model.config.num_answer_symbols, model.config.num_question_symbols

    def step(cell, inputs, state):
        weight, bias = cell.by_input.weight[run], cell.by_input.bias[run]
        gates = inputs @ weight + bias
        if state is None:
            hidden = carried = torch.zeros(model.config.hidden_size, dtype=gates.dtype)
        else:
            hidden, carried = state
            gates = gates + hidden @ cell.by_hidden.weight[run]
        enters, stays, leaves, new = gates.chunk(4)
        carried = stays.sigmoid() * carried + enters.sigmoid() * new.tanh()
        return leaves.sigmoid() * carried.tanh(), carried

    def said(layer, state):
        return (state[0] @ layer.weight[run] + layer.bias[run]).log_softmax(0)

    tokens = questioner.tokens.weight[run]  # answers, questions, tasks
    seen = answerer.values.weight[run][values].flatten()
    told = answerer.tokens.weight[run]  # questions, answers
    asking, answering, total = step(questioner.listener, tokens[answers + questions + task], None), None, 0.0
    for question, answer in zip(dialog[::2], dialog[1::2], strict=True):
        total = total + said(questioner.speaker, asking)[question]
        asking = step(questioner.listener, tokens[answers + question], asking)
        if not model.config.answerer_memory:
            answering = None
        answering = step(answerer.listener, torch.cat([told[question], seen]), answering)
        total = total + said(answerer.speaker, answering)[answer]
        if model.config.answerer_memory:
            answering = step(answerer.listener, torch.cat([told[questions + answer], seen]), answering)
        asking = step(questioner.listener, tokens[answer], asking)
    guesses = []
    for _ in range(2):
        asking = step(questioner.predictor, tokens[answers + questions + task], asking)
        guesses.append(said(questioner.guesser, asking))
    return total, torch.stack(guesses)
