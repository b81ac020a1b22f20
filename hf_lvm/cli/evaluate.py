"""`hf-lvm evaluate`: a trained model measured on texts."""

import argparse
import json
from collections.abc import Sequence

from hf_lvm.analysis.text_vae_report import report_on
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.cli.options import add_model_options
from hf_lvm.data import encode_dataset, load_texts
from hf_lvm.training.text_vae import summary


def main(argv: Sequence[str], prog: str) -> None:
    """Report the bound, the importance-weighted likelihood and what the latent carries on one split."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Measure a trained model: its bound, its likelihood, what its latent carries."
    )
    add_model_options(parser)
    parser.add_argument("--dataset", help="a file, a folder or a datasets id (default: the documentation of Python)")
    parser.add_argument("--data_dir", help="a folder with train, validation and test files")
    parser.add_argument("--text_column", default="text", help="column that holds the texts (default: text)")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default: test")
    parser.add_argument("--min_words", type=int, help="leave out texts with fewer words")
    parser.add_argument("--max_words", type=int, help="leave out texts with more words")
    parser.add_argument("--max_length", type=int, help="leave out texts with more tokens")
    parser.add_argument("--max_samples", type=int, help="only the first so many texts")
    parser.add_argument(
        "--num_importance_samples", type=int, default=500, help="samples of z a text in the likelihood (default: 500)"
    )
    parser.add_argument("--output", help="write all numbers to this JSON file")
    options = parser.parse_args(argv)
    model, processor = load_trained(options.model)
    texts = load_texts(
        options.dataset,
        data_dir=options.data_dir,
        text_column=options.text_column,
        min_words=options.min_words,
        max_words=options.max_words,
    )[options.split]
    if options.max_samples is not None:
        texts = texts.select(range(min(options.max_samples, len(texts))))
    encoded = encode_dataset(
        texts,
        processor,
        max_length=options.max_length,
        max_positions=(encoder_positions(model.encoder), model.positions_left),
        keep_columns=("text",),
    )
    report = report_on(model, encoded, processor, num_importance_samples=options.num_importance_samples, seed=options.seed)
    print(summary(report.metrics, options.split))
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(report.metrics, file, indent=2)
