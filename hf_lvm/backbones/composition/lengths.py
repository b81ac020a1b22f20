"""Texts have to fit the positions of both parts."""


def check_length(length: int, positions: int | None, part: str, family: str) -> None:
    """Raise a `ValueError` when a sequence of `length` tokens does not fit a part with room for `positions` (None: any)."""
    if positions is not None and length > positions:
        raise ValueError(
            f"A sequence of {length} tokens is longer than the {part}, a {family!r} model with room for {positions}: shorten "
            "the texts (max_length), generate fewer tokens (max_new_tokens), or choose a part with more positions."
        )
