"""`hf-lvm parse`: the structure that a trained model finds in sentences."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.analysis.tree_drawing import draw_tree, tree_text
from hf_lvm.cli.options import add_model_options, read_sentences
from hf_lvm.cli.parse_meanings import meanings_of
from hf_lvm.data import read_tree

FORMATS = ("text", "brackets", "json")
SCORES = {"posterior": "log q(z|x)", "joint": "log p(x, z)"}
# Options that models of states and of topics have no use for; all are unset by default, so that a given one is seen.
OF_TREES = ("num_trees", "scored_by", "surprisal", "svg", "ascii", "num_beams", "batch_size")
NUM_BEAMS, BATCH_SIZE = 100, 64
Surprisal = Sequence[tuple[str, float]]


def main(argv: Sequence[str], prog: str) -> None:
    """Parse sentences in the order they come in; print what was found, or write it to a file."""
    options = _parser(prog).parse_args(argv)
    _check(options)
    sentences = read_sentences(options.texts, options.file, "parse")
    model, processor = load_trained(options.model, "parse", options.revision)
    finds_trees, finds_meanings = hasattr(model, "surprisal"), hasattr(model, "verbalize")
    if not finds_trees and not finds_meanings:
        _refuse_options_of_trees(options)
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    find = _trees if finds_trees else meanings_of if finds_meanings else _other_parses
    blocks = options.format == "text" and (finds_trees or (finds_meanings and options.num_trees is not None))
    text = ("\n\n" if blocks else "\n").join(find(model, processor, sentences, options))
    if options.output is None:
        print(text)
    else:
        Path(options.output).write_text(text + "\n", encoding="utf-8")


def _trees(model, processor, sentences: list[str], options: argparse.Namespace) -> Iterator[str]:
    """What is said of each sentence by a model that finds trees, several of them if asked."""
    scored_by = options.scored_by or "posterior"
    effort = {
        "processor": processor,
        "beam_size": options.num_beams or NUM_BEAMS,
        "batch_size": options.batch_size or BATCH_SIZE,
    }
    found = model.parse_n_best(sentences, options.num_trees or 1, scored_by=scored_by, **effort)
    costs = model.surprisal(sentences, **effort) if options.surprisal else [None] * len(sentences)
    write = _WRITERS[options.format]
    for number, (best, cost) in enumerate(zip(found, costs, strict=True)):
        if options.svg:
            for rank, scored in enumerate(best, start=1):
                of_several = "" if options.num_trees is None else f"_{rank}"
                draw_tree(scored.tree, Path(options.svg) / f"sentence_{number}{of_several}.svg")
        yield write(number, best, cost, options)


def _as_text(number: int, best: Sequence, cost: Surprisal | None, options: argparse.Namespace) -> str:
    blocks = []
    for rank, scored in enumerate(best, start=1):
        drawn = tree_text(scored.tree, unicode=not options.ascii)
        head = f"{rank}  {SCORES[options.scored_by or 'posterior']} = {scored.log_prob:.4f} nats\n"
        blocks.append(drawn if options.num_trees is None else head + drawn)
    if cost is not None:
        width = max(len(word) for word, _ in (*cost, ("in all", 0)))
        rows = [*cost, ("in all", sum(nats for _, nats in cost))]
        blocks.append("\n".join(f"{word:<{width}}  {nats:8.3f} nats" for word, nats in rows))
    return "\n\n".join(blocks)


def _as_brackets(number: int, best: Sequence, cost: None, options: argparse.Namespace) -> str:
    trees = [read_tree(scored.tree).write(name=f"sentence {number}") for scored in best]
    if options.num_trees is None:
        return trees[0]
    return "\n".join(f"{number}\t{scored.log_prob:.6f}\t{tree}" for scored, tree in zip(best, trees, strict=True))


def _as_json(number: int, best: Sequence, cost: Surprisal | None, options: argparse.Namespace) -> str:
    read = [read_tree(scored.tree) for scored in best]
    found: dict[str, Any] = {
        "words": read[0].words,
        "scored_by": options.scored_by or "posterior",
        "trees": [{"log_prob": scored.log_prob, "spans": tree.spans} for scored, tree in zip(best, read, strict=True)],
    }
    if cost is not None:
        # One number a word, and the last one of the end.
        found["surprisal"] = [nats for _, nats in cost]
    return json.dumps(found, ensure_ascii=False)


_WRITERS: dict[str, Callable[..., str]] = {"text": _as_text, "brackets": _as_brackets, "json": _as_json}


def _other_parses(model, processor, sentences: list[str], options: argparse.Namespace) -> Iterator[str]:
    """A line for each sentence: its words with their states, or its largest topics with their shares."""
    finds_topics = hasattr(model, "topic_shares")
    for parse in model.parse(sentences, processor=processor):
        if options.format == "json":
            yield json.dumps(parse, ensure_ascii=False)
        elif finds_topics:
            yield ", ".join(f"topic {topic}: {share:.1%}" for topic, share in parse)
        else:
            yield " ".join(f"{word}/{state}" for word, state in parse)


def _check(options: argparse.Namespace) -> None:
    for key in ("num_trees", "num_beams", "batch_size"):
        value = getattr(options, key)
        if value is not None and value < 1:
            raise ValueError(f"--{key} {value}: give 1 or more")
    if options.texts and options.file is not None:
        raise ValueError("sentences stand on the command line or in --file: give one of the two")
    if options.surprisal and options.format == "brackets":
        raise ValueError("--surprisal has no place in --format brackets: choose --format text or json")
    if options.output is not None and not Path(options.output).parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(Path(options.output).parent)!r} to write --output into")


def _refuse_options_of_trees(options: argparse.Namespace) -> None:
    given = [f"--{key}" for key in OF_TREES if getattr(options, key)]
    given += ["--format brackets"] if options.format == "brackets" else []
    if given:
        raise ValueError(f"{given[0]} is for a model of trees or meanings, and {options.model} is neither: leave it out")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Find the structure of sentences with a trained model: trees (URNNG), meanings (StructVAE), a state of "
        "each word (neural hidden Markov model), or the largest topics with their shares (neural topic model). Sentences are "
        "arguments, lines of a file, or lines of the standard input; words are separated by blanks, as in the texts the model "
        "was trained on.",
    )
    parser.add_argument("texts", nargs="*", help="sentences, each in quotes")
    add_model_options(parser)
    parser.add_argument("--file", help="a file with one sentence a line")
    parser.add_argument("--output", help="file to write into (default: the standard output)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text: trees drawn in characters; brackets: one bracketed string a line, which `bracketings` of `hf-lvm train` "
        "reads, too; json: one object a line (default: text). Meanings, states and topics are text, a line for each "
        "sentence, or json",
    )
    parser.add_argument("--ascii", action="store_true", help="draw with -, + and | where box characters are not shown")
    parser.add_argument("--svg", metavar="FOLDER", help="also draw every tree as an SVG file, sentence_0.svg and so on")
    parser.add_argument(
        "--num_trees",
        "--num_parses",
        type=int,
        help="so many trees or meanings of each sentence, best first, with their scores (default: the best one)",
    )
    parser.add_argument(
        "--scored_by",
        choices=tuple(SCORES),
        help="what trees are ranked by: posterior, log q(z|x), exactly; or joint, log p(x, z), by a beam (default: posterior)",
    )
    parser.add_argument(
        "--surprisal", action="store_true", help="also -log p of each word given the words before it, in nats, by a beam"
    )
    parser.add_argument(
        "--num_beams",
        "--beam_size",
        type=int,
        help="partial trees or meanings of a sentence on the beam (default: 100 for trees, 5 for meanings)",
    )
    parser.add_argument("--batch_size", type=int, help="sentences at once, of a model of trees or meanings (default: 64)")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:1 (default: a GPU where there is one)")
    return parser
