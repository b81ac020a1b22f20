"""Meanings that were guessed for sentences: the loss of known ones, the weight of the others."""

import torch

from hf_lvm.grammars.transition_system import END
from hf_lvm.objectives import RowCounts
from tests.models.struct_vae.tiny_meanings import batch, tiny_struct_vae, vocabulary


def rows_of_ids(*sorts: str | None) -> torch.Tensor:
    """Meanings `All(sort)` of B rows by the names of their sorts, -100 where none is given."""
    actions = vocabulary()
    return torch.tensor([[-100] * 3 if own is None else [actions.rules["All"], actions.pieces[own], END] for own in sorts])


def test_a_guess_has_the_loss_of_a_known_meaning_and_the_weight_of_an_unlabelled_row():
    model = tiny_struct_vae(copy_slots=4, unlabelled_weight=0.25)
    given = batch(model)
    known = rows_of_ids("city", "river", "city")
    each = model(**given, meaning_ids=known).row_loss
    nothing = torch.full_like(known[:1], -100)
    told = model(
        **given,
        meaning_ids=torch.cat([known[:1], nothing, nothing]),
        guessed_ids=torch.cat([nothing, known[1:]]),
    )
    torch.testing.assert_close(told.row_loss, each)
    torch.testing.assert_close(told.loss, each[0] + 0.25 * each[1:].mean())
    # What is known counts, whatever was guessed.
    both = model(**given, meaning_ids=known, guessed_ids=known.roll(1, 0))
    torch.testing.assert_close(both.loss, each.mean())
    # Of a batch without labels, and of a part of a larger one.
    alone = model(**given, guessed_ids=known, row_counts=RowCounts(2, 6))
    torch.testing.assert_close(alone.loss, 0.25 * each.sum() / 6)


def test_rows_without_a_guess_have_a_bound():
    model = tiny_struct_vae(unlabelled_weight=1.0, num_samples=2)
    given = batch(model)
    guessed = rows_of_ids(None, "river", None)
    noise = [torch.Generator().manual_seed(row) for row in range(3)]
    output = model(**given, guessed_ids=guessed, generator=noise)
    noise = [torch.Generator().manual_seed(row) for row in range(3)]
    bound = model(**given, generator=noise)
    torch.testing.assert_close(output.row_loss[[0, 2]], bound.row_loss[[0, 2]])
    assert (output.row_loss[1] - bound.row_loss[1]).abs() > 1e-3
