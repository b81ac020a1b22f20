"""`hf-lvm summarize`: the compressions that a trained latent summarizer finds."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.options import add_model_options, read_sentences

FORMATS = ("text", "json")


def main(argv: Sequence[str], prog: str) -> None:
    """Compress texts in the order they come in; print what was found, or write it to a file."""
    options = _parser(prog).parse_args(argv)
    _check(options)
    texts = read_sentences(options.texts, options.file, "summarize")
    model, processor = load_trained(options.model, "summarize", options.revision)
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    text = "\n".join(_summaries(model, processor, texts, options))
    if options.output is None:
        print(text)
    else:
        Path(options.output).write_text(text + "\n", encoding="utf-8")


def _summaries(model, processor, texts: list[str], options: argparse.Namespace) -> Iterator[str]:
    lengths = {
        "ratio": options.ratio, "words": options.words, "word_bonus": options.word_bonus, "extractive": options.extractive,
    }  # fmt: skip
    effort = {
        "processor": processor, "num_beams": options.num_beams, "batch_size": options.batch_size, "decoding": options.decoding,
    }  # fmt: skip
    found = model.summarize_n_best(texts, options.num_summaries or 1, **lengths, **effort)
    credits = model.explain(texts, **lengths, **effort) if options.explain else [None] * len(texts)
    for text, best, credit in zip(texts, found, credits, strict=True):
        if options.format == "json":
            record = {"text": text, "summaries": [asdict(each) for each in best]}
            if credit is not None:
                record["credit"] = [[each.word, each.nats] for each in credit]
            yield json.dumps(record, ensure_ascii=False)
            continue
        for rank, each in enumerate(best, start=1):
            scores = (
                f"{rank}  log q(c|x) = {each.log_prob:.2f}, log p(c) = {each.log_prior:.2f}, log p(x|c) = "
                f"{each.reconstruction:.2f} nats  "
            )
            yield each.text if options.num_summaries is None else scores + each.text
        if credit is not None:
            width = max(len(each.word) for each in credit)
            yield from (f"  {each.word:<{width}}  {each.nats:8.3f} nats" for each in credit)


def _check(options: argparse.Namespace) -> None:
    for key in ("num_summaries", "num_beams", "batch_size"):
        value = getattr(options, key)
        if value is not None and value < 1:
            raise ValueError(f"--{key} {value}: give 1 or more")
    if options.texts and options.file is not None:
        raise ValueError("texts stand on the command line or in --file: give one of the two")
    if options.output is not None and not Path(options.output).parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(Path(options.output).parent)!r} to write --output into")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Compress texts with a trained latent summarizer. Texts are arguments, lines of a file, or lines of the "
        "standard input; words are separated by blanks, as in the texts the model was trained on.",
    )
    parser.add_argument("texts", nargs="*", help="texts, each in quotes")
    add_model_options(parser)
    parser.add_argument("--file", help="a file with one text a line")
    parser.add_argument("--output", help="file to write into (default: the standard output)")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="text: one summary a line; json: one object a line (default: text)"
    )
    parser.add_argument("--ratio", type=float, help="words of a summary to words of its text, above 0 and at most 1")
    parser.add_argument("--words", type=int, help="words of a summary (default: as the model was trained)")
    parser.add_argument(
        "--extractive", action="store_true", help="words of the text alone, of a model that also writes others (pointer_vocab)"
    )
    parser.add_argument(
        "--num_summaries", type=int, help="so many summaries of each text, best first, with their scores (default: the best)"
    )
    parser.add_argument(
        "--explain", action="store_true", help="also by how many nats the text is less probable without each word"
    )
    parser.add_argument(
        "--decoding",
        default="mode",
        help="mode, the most probable summary, or, of a model that deletes, expected_f1: the words that agree best with all "
        "that it holds for possible (default: mode)",
    )
    parser.add_argument(
        "--word_bonus", type=float, default=0.0, help="nats for each word of a summary: above 0 longer ones, below it shorter"
    )
    parser.add_argument("--num_beams", type=int, default=8, help="of models that write word by word (default: 8)")
    parser.add_argument("--batch_size", type=int, default=64, help="texts at once (default: 64)")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:1 (default: a GPU where there is one)")
    return parser
