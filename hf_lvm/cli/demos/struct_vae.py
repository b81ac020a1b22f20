"""`hf-lvm demo struct-vae`: a line of documentation goes in, and the signature comes out of the function it may be of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_lvm.training.demo import Demo, run_demo

console = Console(highlight=False, soft_wrap=True)

SHOWN, TOLD = 6, 2
# Signatures that need no parser.
CONTROLS = {"the usual signature": "majority_template", "that of the nearest labelled line": "nearest_neighbour"}


def main(output_dir: Path, flags: Sequence[str], compare: bool) -> None:
    """Train on labels, then on all lines; show parses beside signatures, compare them, and say what to run next.

    Args:
        compare: not asked for; it always does.
    """
    demo = run_demo("struct-vae", output_dir, flags, on_prepared=_introduce)
    _show(demo)
    _explain(demo)
    _what_next(output_dir)


def _introduce(trainer, corpus: str) -> None:
    grammar, rows = trainer.model.grammar, trainer.train_dataset
    told = sum(map(bool, rows["meaning_ids"][:]))
    console.print("\n[bold]What does it mean?[/bold]")
    console.print(
        f"Lines of documentation and signatures: {escape(corpus)}.\n\nA meaning z is a tree of Python's own grammar, written "
        f"in up to {grammar.max_actions} actions. A parser writes it (q(z|x)) and never leaves the grammar; a model of trees "
        "knows how signatures look (p(z)); a decoder has to tell the line from the tree alone (p(x|z)). First all of "
        f"them learn from {told:,} lines whose signature is known. Then come those without: the parser draws trees, "
        "and learns from how well each tells the line.\n"
    )


def _show(demo: Demo) -> None:
    model, processor = demo.trainer.model, demo.trainer.processing_class
    # Long enough to say something, and a signature that fits a terminal.
    rows = [
        row
        for row, (words, meaning) in enumerate(zip(demo.test["num_words"][:], demo.test["meaning"][:], strict=True))
        if 5 <= words <= 14 and len(meaning) <= 60
    ]
    # Neighbours are of one module.
    rows = rows[:: max(len(rows) // SHOWN, 1)][:SHOWN]
    texts, gold = ([demo.test[column][row] for row in rows] for column in ("text", "meaning"))
    console.print("\n[bold]Lines it has not seen[/bold], the best signature that it finds, and the one they have\n")
    for text, found, known in zip(texts, model.parse(texts, processor=processor), gold, strict=True):
        console.print(f"  {escape(text)}")
        console.print(f"    [bold]found[/bold]  [green]{escape(_one_line(found.text or str(found.tree)))}[/green]")
        console.print(f"    known  [dim]{escape(_one_line(known))}[/dim]\n")
    writable = [row for row in rows if demo.test["meaning_ids"][row]][:TOLD]
    if writable:
        meanings = [demo.test["meaning"][row] for row in writable]
        console.print("[bold]And the other way round[/bold]: what it says of a signature\n")
        for meaning, line in zip(meanings, model.verbalize(meanings, processor=processor, max_new_tokens=20), strict=True):
            console.print(f"  [dim]{escape(_one_line(meaning))}[/dim]\n    [green]{escape(line)}[/green]")


def _one_line(signature: str) -> str:
    return " ".join(signature.split())


def _explain(demo: Demo) -> None:
    test, first = demo.results["test"], demo.first.get("test")
    table = Table(
        title=f"\nSignatures of {test['parsing']['sentences']} lines it has not seen, compared with those they have",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("signatures", no_wrap=True)
    for head in ("token F1", "exact match", "well-formed"):
        table.add_column(head, justify="right", no_wrap=True)
    for label, name in CONTROLS.items():
        table.add_row(label, *_scores(test["controls"][name]))
    if first is not None:
        table.add_row("found, by labels alone", *_scores(first["parsing"]))
    table.add_row("[bold]found[/bold], by all lines", *_scores(test["parsing"]))
    console.print(table)
    line = f"\n  -ELBO of a line {test['bound']['nats_per_sentence']:.2f} nats"
    if first is not None:
        line += f", by labels alone {first['bound']['nats_per_sentence']:.2f}"
    if "likelihood" in test:
        likelihood = test["likelihood"]
        line += f"; -log p(x), with {likelihood['num_samples']} trees of each, {likelihood['nats_per_sentence']:.2f}"
    console.print(f"{line}.")


def _scores(scores: dict[str, Any]) -> list[str]:
    return [f"{scores['token_f1']:.3f}", f"{scores['exact_match_published']:.1f}", f"{scores['well_formed']:.1%}"]


def _what_next(output_dir: Path) -> None:
    console.print(f"\n[bold]What next[/bold]  (model, results.json, parses.txt and figures are in {output_dir})")
    for command, meaning in (
        (f'hf-lvm parse "return the name of the file ." --model {output_dir} --num_trees 5', "a line of your own"),
        (f"hf-lvm sample --model {output_dir}", "signatures that p(z) draws, and what is said of them"),
        (
            "hf-lvm train --model_type hf_lvm_struct_vae --dataset my_pairs.jsonl --text_column text --meaning_column meaning "
            "--output_dir runs/mine",
            "your own utterances and meanings, in lambda calculus or (--language) Python, s-expressions or a grammar of yours",
        ),
    ):
        console.print(f"  [cyan]{escape(command)}[/cyan]\n      {meaning}")
