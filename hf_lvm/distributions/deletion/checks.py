"""What the scores, words, counts and values of deletions must be, said clearly where they are not."""

import torch

from hf_lvm.distributions.lengths import rows_of
from hf_lvm.distributions.structured import ENUMERATION_LIMIT


def check_scores_shape(pair_scores: torch.Tensor) -> None:
    """Raise a `ValueError` unless `pair_scores` is floating point, (B, S+1, S+1)."""
    shape = tuple(pair_scores.shape)
    if pair_scores.dim() != 3 or shape[1] != shape[2] or shape[0] == 0 or shape[1] < 2:
        raise ValueError(
            f"Got pair scores {shape}: (B, S+1, S+1) are needed, for B and S of 1 or more, at [row, from, to] from the begin "
            "(0) or a word (its position + 1), to a word (its position) or the end (S)."
        )
    if not pair_scores.is_floating_point():
        raise ValueError(f"Got pair scores of type {pair_scores.dtype}: floating point is needed.")


def check_unary(unary: torch.Tensor, pairwise: torch.Tensor | None) -> None:
    """Raise a `ValueError` unless `unary` is (B, S) and `pairwise` goes with it."""
    length = unary.shape[-1]
    wanted = (length + 1, length + 1)
    if unary.dim() != 2 or 0 in unary.shape:
        raise ValueError(f"Got unary scores {tuple(unary.shape)}: (B, S) are needed, for B and S of 1 or more.")
    if pairwise is not None and pairwise.shape not in (wanted, (1, *wanted), (len(unary), *wanted)):
        raise ValueError(
            f"Got pairwise scores {tuple(pairwise.shape)}: with unary scores (B, S) = {tuple(unary.shape)} they must be "
            f"(B, S+1, S+1) = {(len(unary), *wanted)}, or {wanted} for all rows."
        )


def check_words(words: torch.Tensor, batch: int, length: int) -> None:
    """Raise a `ValueError` unless `words` is integers (B, S)."""
    if words.shape != (batch, length) or words.is_floating_point() or words.dtype == torch.bool:
        raise ValueError(
            f"words has shape {tuple(words.shape)} and type {words.dtype}: integers ({batch}, {length}) are needed, the same "
            "for the same word."
        )


def check_count(
    count: torch.Tensor, batch: int, length: int, lengths: torch.Tensor | None, allow_empty: bool, look: bool
) -> None:
    """Raise a `ValueError` unless `count` is integers (B,), each that of some mask of its row if there is leave to `look`."""
    if count.shape != (batch,) or count.is_floating_point() or count.dtype == torch.bool:
        raise ValueError(
            f"A count of shape {tuple(count.shape)} and type {count.dtype} is given: one integer is needed, or one a row, "
            f"({batch},)."
        )
    if look:
        # Lengths on another device than the count would have to be waited for.
        known = lengths is not None and lengths.device == count.device
        least, most = 0 if allow_empty else 1, lengths if known else torch.full_like(count, length)
        wrong = (count < least) | (count > most)
        if wrong.any():
            raise ValueError(
                f"No mask of row(s) {rows_of(wrong)} keeps {count[wrong].tolist()} word(s): they have {most[wrong].tolist()}, "
                f"of which at least {least} must be kept (allow_empty is {allow_empty})."
            )


def check_scores(pair_scores: torch.Tensor, allowed: torch.Tensor) -> None:
    """Raise a `ValueError` unless the scores of allowed pairs are numbers or -inf."""
    wrong = (pair_scores.isnan() | (pair_scores == torch.inf)) & allowed
    if wrong.any():
        row, start, end = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"pair_scores holds nan or +inf in row(s) {rows_of(wrong.flatten(1).any(1))}, first at [{row}, {start}, {end}]: a "
            "score is a number, or -inf for what is forbidden."
        )


def check_possible(log_partition: torch.Tensor) -> None:
    """Raise a `ValueError` where log Z (B,) says that no mask is possible."""
    if (log_partition == -torch.inf).any():
        raise ValueError(
            f"No mask is possible in row(s) {rows_of(log_partition == -torch.inf)}: every one has a pair of score -inf. "
            "Forbid fewer."
        )


def check_masks(masks: torch.Tensor, batch: int, length: int) -> None:
    """Raise a `ValueError` unless `masks` is bool of a shape that goes with (..., B, S)."""
    rows_fit = masks.dim() < 2 or batch == 1 or masks.shape[-2] in (1, batch)
    if masks.shape[-1:] != (length,) or not rows_fit or masks.dtype != torch.bool:
        raise ValueError(
            f"A value of shape {tuple(masks.shape)} and type {masks.dtype} is no batch of masks: bool of shape "
            f"(..., {batch}, {length}) is needed, True for the words that are kept."
        )


def check_pair_values(pair_values: torch.Tensor, pair_scores: torch.Tensor) -> None:
    """Raise a `ValueError` unless `pair_values` has the shape of `pair_scores`, or of those of one row."""
    shape = tuple(pair_scores.shape)
    if pair_values.shape not in (shape, shape[1:]):
        raise ValueError(f"Got pair values {tuple(pair_values.shape)}: like the scores {shape}, or {shape[1:]}, are needed.")


def check_same_sentences(
    ours: torch.Tensor,
    theirs: torch.Tensor,
    our_lengths: torch.Tensor | None,
    their_lengths: torch.Tensor | None,
    look: bool,
) -> None:
    """Raise a `ValueError` where pair scores differ in shape, or lengths (None for all S) if there is leave to `look`."""
    if ours.shape != theirs.shape:
        raise ValueError(f"The scores are {tuple(ours.shape)} and {tuple(theirs.shape)}: they must be of the same sentences.")
    if look and our_lengths is not their_lengths:
        length = ours.shape[1] - 1
        first, second = (torch.as_tensor(length if each is None else each) for each in (our_lengths, their_lengths))
        if (first != second).any():
            raise ValueError(
                f"The sentences in row(s) {rows_of(first != second)} differ in length: they must be the same sentences."
            )


def check_same_count(ours: torch.Tensor | None, theirs: torch.Tensor, look: bool) -> None:
    """Raise a `ValueError` where the number of kept words that is given differs, None for any, if there is leave to `look`."""
    if ours is None or (look and not torch.equal(ours, theirs)):
        raise ValueError(
            f"The other distribution is given the number of kept words, and this one is given "
            f"{'another' if ours is not None else 'none'}: condition both on the same, with given_count."
        )


def check_enumerable(batch: int, length: int) -> None:
    """Raise a `ValueError` where too many masks would have to be looked at."""
    if batch * 2**length > ENUMERATION_LIMIT:
        raise ValueError(
            f"There are {batch} * 2^{length} masks, and at most {ENUMERATION_LIMIT:,} are looked at. Use what needs no list: "
            "log_partition, marginals, entropy, k_best or sample."
        )


def check_same_size(sizes: torch.Tensor) -> None:
    """Raise a `NotImplementedError` where rows have different numbers of masks (B,)."""
    if (sizes != sizes[0]).any():
        raise NotImplementedError(
            f"The rows have {sizes.tolist()} masks: enumerate them one by one, or take k_best({int(sizes.max())})."
        )
