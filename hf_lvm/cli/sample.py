"""`hf-lvm sample`: new texts from draws of the prior."""

import argparse
from collections.abc import Sequence

import torch

from hf_lvm.analysis.meaning_report import written_tree
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.analysis.tree_drawing import tree_text
from hf_lvm.cli.options import add_condition_option, add_model_options, check_conditions
from hf_lvm.data import read_tree

FORMATS = ("text", "brackets", "plain")


def main(argv: Sequence[str], prog: str) -> None:
    """Draw z from the prior, write its text, print one a line; of a model of trees each sentence with its tree, of one of
    meanings with its meaning."""
    parser = argparse.ArgumentParser(prog=prog, description="Write new texts: z from the prior, then the text of z.")
    add_model_options(parser)
    parser.add_argument("--num_texts", type=int, default=8, help="how many texts, of each condition (default: 8)")
    add_condition_option(parser, "what each text is about; of several, each line begins with its condition and a tab")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the words; 0 takes the most probable (default: 1)")
    parser.add_argument(
        "--max_new_tokens", type=int, default=64, help="longest text in tokens, of a model of trees in words (default: 64)"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="how a model of trees shows them: text, drawn in characters; brackets, one bracketed string a line; plain, the "
        "sentences alone (default: text)",
    )
    options = parser.parse_args(argv)
    model, processor = load_trained(options.model, ("sample", "verbalize"), options.revision)
    check_conditions(options, model)
    torch.manual_seed(options.seed)
    if hasattr(model, "surprisal"):
        print(_sentences_with_trees(model, processor, options))
        return
    if options.format is not None:
        raise ValueError(f"--format is for a model of trees, and {options.model} is none: leave it out")
    if hasattr(model, "verbalize"):
        print(_sentences_with_meanings(model, processor, options))
        return
    decoding = {}
    if options.temperature != 1.0:
        decoding = {"do_sample": False} if options.temperature == 0 else {"temperature": options.temperature}
    conditions = options.condition
    texts = model.sample(
        options.num_texts,
        processor=processor,
        generator=torch.Generator().manual_seed(options.seed),
        max_new_tokens=options.max_new_tokens,
        **({} if conditions is None else {"conditions": conditions}),
        **decoding,
    )
    if conditions is not None and len(conditions) > 1:
        texts = [f"{conditions[place // options.num_texts]}\t{text}" for place, text in enumerate(texts)]
    print("\n".join(texts))


def _sentences_with_meanings(model, processor, options: argparse.Namespace) -> str:
    """Meanings drawn from p(z), each behind the most probable sentence that tells it."""
    if options.temperature != 1.0:
        raise ValueError(f"{options.model} draws meanings from p(z) as it is, without temperature: leave it out")
    generator = torch.Generator().manual_seed(options.seed)
    with torch.no_grad():
        actions = model.meaning_prior().sample((options.num_texts,), generator).squeeze(1).tolist()
    trees = [model.grammar.tree(row, None) for row in actions]
    texts = model.verbalize(trees, processor=processor, max_new_tokens=options.max_new_tokens)
    return "\n".join(f"{text}\t{written_tree(model.language, tree)}" for text, tree in zip(texts, trees, strict=True))


def _sentences_with_trees(model, processor, options: argparse.Namespace) -> str:
    """Draws from p(x, z) as they are: there is no temperature that words and trees would share."""
    if options.temperature != 1.0:
        raise ValueError(f"{options.model} writes words and trees by turns, without temperature: leave it out")
    written = model.sample(
        options.num_texts,
        processor=processor,
        max_words=options.max_new_tokens,
        generator=torch.Generator().manual_seed(options.seed),
    )
    if options.format == "plain":
        return "\n".join(sentence.text for sentence in written)
    if options.format == "brackets":
        # An empty line stands for a sentence that was cut, so that lines keep their numbers.
        return "\n".join("" if each.tree is None else read_tree(each.tree).write(name=repr(each.text)) for each in written)
    return "\n\n".join(
        f"{each.text} ... (cut, without a tree)" if each.tree is None else tree_text(each.tree) for each in written
    )
