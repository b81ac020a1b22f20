"""The distribution over dialogs against the bots written out by hand, one dialog at a time."""

import pytest
import torch

from hf_lvm.models.task_and_talk.conversations import converse, greedy
from hf_lvm.models.task_and_talk.dialogs import DialogsWithGuess
from tests.models.task_and_talk.tiny_games import all_dialogs, all_rows, by_hand, tiny_game

ROWS = all_rows()
FEW = {name: value[::3] for name, value in ROWS.items()}


def table(model, run: int) -> tuple[torch.Tensor, torch.Tensor]:
    """log q (Z, B) and log p of all values as both guesses (Z, B, 2, N), by hand."""
    values = model.values_of(FEW["objects"]).tolist()
    cells = [
        [by_hand(model, run, own, task, dialog) for own, task in zip(values, FEW["tasks"].tolist(), strict=True)]
        for dialog in all_dialogs(model)
    ]
    return torch.stack([torch.stack([q for q, _ in row]) for row in cells]), torch.stack(
        [torch.stack([guesses for _, guesses in row]) for row in cells]
    )


@pytest.mark.parametrize(
    "options", [{}, {"answerer_memory": True}, {"num_rounds": 1}, {"num_rounds": 3, "num_answer_symbols": 2}]
)
def test_all_dialogs_at_once_are_those_held_one_by_one(options):
    model = tiny_game(num_runs=2, **options)
    dialogs = model.dialogs(**FEW)
    assert dialogs.enumerate_support(expand=False)[:, 0].tolist() == [list(dialog) for dialog in all_dialogs(model)]
    labels = model.labels_of(**FEW)
    found = dialogs.log_prob_of_all.unflatten(1, (2, -1)), dialogs.log_likelihood_of_all(labels).unflatten(1, (2, -1))
    support = dialogs.enumerate_support().clone()
    one_by_one = model.dialogs(**FEW)
    torch.testing.assert_close(one_by_one.log_prob(support), dialogs.log_prob_of_all)
    torch.testing.assert_close(one_by_one.log_likelihood_of(support, labels), dialogs.log_likelihood_of_all(labels))
    torch.testing.assert_close(found[0].exp().sum(0), torch.ones(2, len(labels), dtype=torch.float64))
    run = 1
    log_prob, guesses = table(model, run)
    torch.testing.assert_close(found[0][:, run], log_prob)
    right = sum(guesses[:, :, place].gather(2, labels[:, place].expand(len(guesses), -1).unsqueeze(2)).squeeze(2)
                for place in range(2))  # fmt: skip
    torch.testing.assert_close(found[1][:, run], right)


@pytest.mark.parametrize("memory", [False, True])
@torch.no_grad()
def test_samples_come_as_often_as_their_probability_says(memory):
    model, count = tiny_game(num_runs=2, answerer_memory=memory), 4000
    dialogs = model.dialogs(**ROWS)
    samples = dialogs.sample((count,), torch.Generator().manual_seed(0))
    log_prob, support = dialogs.log_prob(samples), dialogs.enumerate_support(expand=False)[:, 0]
    exact = dialogs.log_prob_of_all.exp()
    share = (samples.unsqueeze(1) == support.unsqueeze(1)).all(-1).double().mean(0)  # (Z, R * B)
    error = (exact * (1 - exact) / count).sqrt()
    assert ((share - exact).abs() < 5 * error + 1e-3).all()
    numbers = (samples.unsqueeze(1) == support.unsqueeze(1)).all(-1).int().argmax(1)
    torch.testing.assert_close(log_prob, dialogs.log_prob_of_all.gather(0, numbers))


@pytest.mark.parametrize("of_rows", [False, True])
@torch.no_grad()
def test_a_run_talks_as_it_would_alone(of_rows):
    def generator():
        if of_rows:
            return [torch.Generator().manual_seed(row) for row in range(len(ROWS["tasks"]))]
        return torch.Generator().manual_seed(2)

    model = tiny_game(num_runs=3, seeds=[3, 1, 4])
    together = model.dialogs(**ROWS).sample((5,), generator()).unflatten(1, (3, -1))
    for number in range(3):
        assert torch.equal(together[:, number], model.run(number).dialogs(**ROWS).sample((5,), generator()))
    # Of equal weights, runs of different seeds still say different things.
    equal = tiny_game(num_runs=3, seeds=[3, 1, 4])
    for parameter in equal.run_parameters():
        parameter.copy_(parameter[:1].expand_as(parameter))
    said = equal.dialogs(**ROWS).sample((5,), generator()).unflatten(1, (3, -1))
    assert not torch.equal(said[:, 0], said[:, 1]) and not torch.equal(said[:, 1], said[:, 2])


@pytest.mark.parametrize("options", [{}, {"answerer_memory": True}])
@torch.no_grad()
def test_the_greedy_dialog_of_the_table_is_the_one_that_is_held(options):
    model = tiny_game(num_runs=2, **options)
    dialogs = model.dialogs(**ROWS)
    found, logits = dialogs.example(dialogs.enumerate_support())
    held = converse(model.questioner, model.answerer, dialogs.values, dialogs.tasks, 2, greedy)
    assert torch.equal(found.flatten(0, 1), held.symbols[0]) and torch.equal(dialogs.mode, held.symbols[0])
    torch.testing.assert_close(logits, held.first_logits)
    assert len(found.flatten(0, 1).unique(dim=0)) >= 3


@torch.no_grad()
def test_a_relaxed_conversation_of_corners_is_a_dialog():
    model = tiny_game(num_runs=2)
    dialogs, labels = model.dialogs(**ROWS), model.labels_of(**ROWS)
    hard = dialogs.relaxed(0.7, 3, torch.Generator().manual_seed(0), straight_through=True)
    symbols = hard.symbols
    torch.testing.assert_close(sum(hard.log_prob_parts).transpose(0, 1).flatten(1), dialogs.log_prob(symbols))
    torch.testing.assert_close(
        hard.log_likelihood(labels).transpose(0, 1).flatten(1), dialogs.log_likelihood_of(symbols, labels)
    )
    soft = dialogs.relaxed(0.7, 3, torch.Generator().manual_seed(0))
    for points in soft.points:
        torch.testing.assert_close(points.sum(1), torch.ones_like(points[:, 0]))
        assert (points.amax(1) < 0.99).double().mean() > 0.01
    cold = dialogs.relaxed(1e-4, 3, torch.Generator().manual_seed(0))
    assert torch.equal(cold.symbols, symbols)


@torch.no_grad()
def test_a_guess_that_is_drawn_is_two_more_symbols():
    model, count = tiny_game(), 3000
    dialogs = DialogsWithGuess(model.dialogs(**ROWS))
    labels = model.labels_of(**ROWS)
    value = dialogs.sample((count,), torch.Generator().manual_seed(0))
    assert value.shape == (count, len(labels), 6) and dialogs.mode.shape == (len(labels), 6)
    right = dialogs.is_right(value, labels)
    expected = (dialogs.log_prob_of_all + dialogs.log_likelihood_of_all(labels)).logsumexp(0).exp()
    error = (expected * (1 - expected) / count).sqrt()
    assert ((right.mean(0) - expected).abs() < 4.5 * error).all() and expected.max() > 0.05
    both = value[..., :4].clone()
    plain = model.dialogs(**ROWS)
    torch.testing.assert_close(
        dialogs.log_prob(value)[right == 1], (plain.log_prob(both) + plain.log_likelihood_of(both, labels))[right == 1]
    )
