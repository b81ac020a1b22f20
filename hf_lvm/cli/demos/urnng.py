"""`hf-lvm demo urnng`: sentences go in, and trees come out that nobody has drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_lvm.analysis.tree_drawing import tree_text
from hf_lvm.data import read_tree
from hf_lvm.grammars.brackets import Bracketing
from hf_lvm.training.demo import Demo, run_demo

console = Console(highlight=False, soft_wrap=True)

SHOWN, WRITTEN = 3, 3
PROTOCOL = "prpn"
# Every baseline of `bracket_f1` that needs neither parser nor gold trees.
RIVALS = ("left_branching", "right_branching", "right_branching_last_on_top", "balanced", "random")


def main(output_dir: Path, flags: Sequence[str], compare: bool) -> None:
    """Train, compare with trees that need no parser, show trees found and written, and say what to run next.

    Args:
        compare: not asked for; it always does.
    """
    demo = run_demo("urnng", output_dir, flags, on_prepared=_introduce)
    _show(demo)
    _explain(demo.results["test"])
    _what_next(output_dir)


def _introduce(trainer, corpus: str) -> None:
    first, second = trainer.train_dataset["text"][:2]
    console.print("\n[bold]A grammar that nobody has taught[/bold]")
    console.print(
        f"Sentences of the {corpus}, such as\n\n  {escape(first)}\n  {escape(second)}\n\n"
        "A parser reads a sentence and says which trees it may have (q(z|x), a distribution over all binary trees); a grammar "
        "writes the words and the brackets, one after the other (p(x, z)). The parser learns what makes the words easy to "
        "write. No tree is shown to either of them: the known ones are compared with at the end.\n"
    )


def _show(demo: Demo) -> None:
    model, processor = demo.trainer.model, demo.trainer.processing_class
    # Long enough to have something to get wrong, short enough for a terminal.
    rows = [row for row, words in enumerate(demo.test["num_words"][:]) if 6 <= words <= 9][:SHOWN]
    texts, gold = ([demo.test[column][row] for row in rows] for column in ("text", "tree"))
    console.print("\n[bold]Trees it has found[/bold], of sentences it has not seen\n")
    for tree, known in zip(model.parse(texts, processor=processor), gold, strict=True):
        found, known = read_tree(tree), read_tree(known)
        console.print(escape(_indented(tree_text(tree))))
        if set(found.spans) == set(known.spans):
            console.print("  [green]as in the grammar that made the sentence[/green]\n")
        else:
            console.print("  in the grammar that made the sentence:\n")
            console.print(escape(_indented(tree_text(Bracketing(known.words, known.spans).write()))) + "\n")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        written = model.sample(WRITTEN, processor=processor, max_words=14)
    console.print("[bold]Sentences that it writes[/bold], word by word and bracket by bracket\n")
    for sentence in written:
        console.print(f"  [green]{escape(sentence.text)}[/green]")


def _indented(drawn: str) -> str:
    return "\n".join(f"  {line}" for line in drawn.splitlines())


def _explain(test: dict[str, Any]) -> None:
    scores = test["brackets"][PROTOCOL]
    sentences = test["bound"]["sentences"]
    table = Table(title=f"\n\nOn {sentences} sentences it has not seen", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("trees", no_wrap=True)
    table.add_column("F1", justify="right", no_wrap=True)
    table.add_column()
    rivals = {name: scores["baselines"][name]["sentence_f1"] for name in RIVALS}
    for name, value in sorted(rivals.items(), key=lambda pair: pair[1]):
        table.add_row(name.replace("_", "-"), f"{value:.1f}", "")
    table.add_row(
        "[bold]found[/bold]",
        f"[bold]{scores['sentence_f1']:.1f}[/bold]",
        f"{scores['sentence_f1'] - max(rivals.values()):+.1f} over the best tree that needs no parser",
    )
    console.print(table)
    likelihood, exact = test["likelihood"], test.get("exact")
    console.print(
        f"\n  -ELBO {test['bound']['nats_per_sentence']:.2f} nats/sentence; -log p(x) "
        f"{likelihood['normalized']['nats_per_sentence']:.2f}, with {likelihood['num_samples']} trees of each sentence."
    )
    if exact is not None:
        console.print(
            f"  Sentences of up to {exact['most_words']} words have few enough trees to sum over: -log p(x) is "
            f"{exact['nats_per_sentence']:.2f} there, and {exact['importance_weighted_nats_per_sentence']:.2f} by samples."
        )


def _what_next(output_dir: Path) -> None:
    console.print(f"\n[bold]What next[/bold]  (model, results.json, trees.txt and figures are in {output_dir})")
    for command, meaning in (
        (f'hf-lvm parse "kings feeding goats crossed rivers proudly" --model {output_dir}', "a sentence of your own"),
        (
            f'hf-lvm parse "kings feeding goats crossed rivers proudly" --model {output_dir} --num_trees 3 --surprisal',
            "other trees it may have, and what each word costs",
        ),
        ("hf-lvm train --model_type hf_lvm_urnng --dataset my_sentences.txt --output_dir runs/mine", "your own sentences"),
    ):
        console.print(f"  [cyan]{escape(command)}[/cyan]\n      {meaning}")
