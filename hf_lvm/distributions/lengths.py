"""The lengths of the rows of a padded batch, checked where a look at them is free."""

import torch


def may_look(values: torch.Tensor, validate_args: bool) -> bool:
    """Whether values may be read: on a CPU, where it is free, and elsewhere if `validate_args` says that waiting is worth it.

    Never in a graph that is being compiled, where there are no values yet.
    """
    return (values.device.type == "cpu" or validate_args) and not torch.compiler.is_compiling()


def check_lengths(lengths: torch.Tensor, batch: int, length: int, look: bool) -> None:
    """Raise a `ValueError` unless `lengths` is (B,) integers, from 1 to n if there is leave to `look` at them."""
    if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(
            f"lengths has shape {tuple(lengths.shape)} and type {lengths.dtype}: one integer a row is needed, ({batch},)."
        )
    if look:
        wrong = (lengths < 1) | (lengths > length)
        if wrong.any():
            raise ValueError(
                f"The length(s) {lengths[wrong].tolist()} of row(s) {rows_of(wrong)} are not from 1 to {length}, the number "
                "of positions."
            )


def rows_of(wrong: torch.Tensor) -> list[int]:
    """The rows at which a mask (B,) is True."""
    return wrong.nonzero().flatten().tolist()
