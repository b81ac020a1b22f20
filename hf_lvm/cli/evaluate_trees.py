"""What `hf-lvm evaluate` measures of a model of trees."""

import argparse
from typing import Any

from datasets import Dataset

from hf_lvm.analysis.report_table import Row, tree_report_rows
from hf_lvm.analysis.tree_report import report_trees
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.data import encode_trees


def evaluate_trees(model, processor, texts: Dataset, options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    """The report on sentences, with F1 of brackets where they have gold trees, and its rows."""
    has_gold = "tree" in texts.column_names and options.tree_column is not None
    encoded = encode_trees(
        texts,
        processor,
        tree_column=None,
        max_length=options.max_length,
        max_positions=(encoder_positions(model.encoder), None),
        keep_columns=("text", "tree") if has_gold else ("text",),
    )
    metrics = report_trees(
        model,
        encoded,
        processor,
        encoded["tree"][:] if has_gold else None,
        num_importance_samples=options.num_importance_samples,
        temperature=options.proposal_temperature,
        seed=options.seed,
    ).metrics
    return metrics, tree_report_rows(metrics)
