"""Moving the tokens of padded rows to the left edge, whichever side the padding came on."""

import torch


def left_align(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows with their tokens first and their padding last.

    Absolute positions, and everything computed from them, then do not depend on the side or the amount of padding.

    Args:
        ids: (B, S) token ids.
        mask: (B, S), nonzero at tokens.

    Returns:
        ids and mask of the same shapes; the order of a row's tokens is kept.
    """
    order = torch.argsort((mask == 0).to(torch.uint8), dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)
