"""Which rows of a batch, or of a data set, are told something of their latent."""

import torch
from datasets import Dataset

from hf_lvm.objectives import have_brackets

# Columns of a data set whose rows say something of a latent, or nothing.
TELLING_COLUMNS = ("classes", "kept", "summary_ids", "meaning_ids")


def labelled_texts(dataset: Dataset) -> list[bool] | None:
    """Whether each row of a data set is labelled; None of one without a column that would tell.

    Classes that are not known are -1, compressions and meanings that are not known empty.
    """
    columns = [name for name in TELLING_COLUMNS if name in getattr(dataset, "column_names", ())]
    if not columns:
        return None
    told = [
        [any(known >= 0 for known in own) if name == "classes" else bool(own) for own in dataset[name][:]] for name in columns
    ]
    return [any(own) for own in zip(*told, strict=True)]


def labelled_rows(batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Whether each of B rows is labelled, (B,) bool; None of a batch in which nothing is ever told.

    A vector of categories is told by `classes` (B, M) or (B,), -1 where a class is not known; a tree by `required_spans`
    (B, n, n), brackets of it; a compression by `kept` (B, n), the words it keeps, or `summary_ids` (B, L), its tokens;
    a meaning by `meaning_ids` (B, L), its actions.
    """
    if "classes" in batch:
        return (batch["classes"].view(len(batch["classes"]), -1) >= 0).any(1)
    if "required_spans" in batch:
        words = batch.get("decoder_word_ids")
        lengths = (batch["labels"] != -100).sum(1) - 1 if words is None else words.amax(1) + 1
        return have_brackets(batch["required_spans"], lengths)
    if "meaning_ids" in batch:
        return (batch["meaning_ids"] != -100).any(1)
    if "kept" in batch or "summary_ids" in batch:
        told = [batch["kept"].any(1)] if "kept" in batch else []
        told += [(batch["summary_ids"] != -100).any(1)] if "summary_ids" in batch else []
        return torch.stack(told).any(0)
    return None
