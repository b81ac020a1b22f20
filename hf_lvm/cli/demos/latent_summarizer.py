"""`hf-lvm demo latent-summarizer`: a long text goes in, and the few words come out that say what it is about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_lvm.metrics.compression.words import first_words
from hf_lvm.training.demo import Demo, run_demo

console = Console(highlight=False, soft_wrap=True)

SHOWN, WORDS = 5, 8
# Compressions that need no model, as many words as that of the model has.
CONTROLS = {"first words": "first_k", "random words": "random_k", "whole text": "keep_all"}


def main(output_dir: Path, flags: Sequence[str], compare: bool) -> None:
    """Train, show compressions beside summary lines and first words, compare them, and say what to run next.

    Args:
        compare: not asked for; it always does.
    """
    demo = run_demo("latent-summarizer", output_dir, flags, on_prepared=_introduce)
    _show(demo)
    _explain(demo.results["test"])
    _what_next(output_dir)


def _introduce(trainer, corpus: str) -> None:
    rows = trainer.train_dataset
    told = sum(any(kept) for kept in rows["kept"][:]) if "kept" in rows.column_names else 0
    console.print("\n[bold]What matters in a text[/bold]")
    console.print(
        f"Docstrings: {escape(corpus)}.\n\nA compression c keeps a few words of a text. An encoder chooses them (q(c|x), a "
        "distribution over all compressions), a model of language knows how they look (p(c)), and a decoder has to write the "
        f"text from nothing else (p(x|c)). Of {told:,} of {len(rows):,} training texts the encoder is told which words the "
        "summary line has, too, with which somebody began that docstring; of the others nothing. All compressions are summed "
        "over: nothing is sampled.\n"
    )


def _show(demo: Demo) -> None:
    model, processor = demo.trainer.model, demo.trainer.processing_class
    # Long enough to be compressed, short enough for a terminal.
    rows = [row for row, words in enumerate(demo.test["num_words"][:]) if 15 <= words <= 35][:SHOWN]
    texts, lines = ([demo.test[column][row] for row in rows] for column in ("text", "summary"))
    found = model.explain(texts, processor=processor, words=WORDS)
    console.print(
        "\n[bold]Docstrings it has not seen[/bold]; after each word, the nats by which the text is easier to write\n"
    )
    for text, line, credits in zip(texts, lines, found, strict=True):
        words = " ".join(f"[green]{escape(each.word)}[/green] [dim]{each.nats:.0f}[/dim]" for each in credits)
        console.print(f"  {escape(text)}")
        console.print(f"    [bold]found[/bold]         {words}")
        console.print(f"    first words   [dim]{escape(first_words(text, WORDS))}[/dim]")
        console.print(f"    summary line  [dim]{escape(line or '-')}[/dim]\n")


def _explain(test: dict[str, Any]) -> None:
    ways = test["compression"]
    name = f"{WORDS} words" if f"{WORDS} words" in ways else next(iter(ways))
    scores = ways[name]
    table = Table(
        title=f"\nROUGE-1 with the summary lines of {scores['sentences']} docstrings it has not seen, {name}",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("words", no_wrap=True)
    table.add_column("ROUGE-1", justify="right", no_wrap=True)
    table.add_column()
    rivals = {label: scores["controls"][control]["rouge1"] for label, control in CONTROLS.items()}
    for label, value in sorted(rivals.items(), key=lambda pair: pair[1]):
        table.add_row(label, f"{value:.1f}", "")
    table.add_row(
        "[bold]found[/bold]",
        f"[bold]{scores['rouge1']:.1f}[/bold]",
        f"{scores['gain_over_first_k']['rouge1']:+.1f} over as many first words",
    )
    console.print(table)
    bound, likelihood = test["bound"], test["likelihood"]
    console.print(
        f"\n  -ELBO {bound['nats_per_sentence']:.2f} nats/text; -log p(x), summed over all compressions, "
        f"{likelihood['nats_per_sentence']:.2f}. A word of a compression explains "
        f"[bold]{scores['explained_nats_per_word']:.2f}[/bold] nats of its text."
    )


def _what_next(output_dir: Path) -> None:
    console.print(f"\n[bold]What next[/bold]  (model, results.json, summaries.txt and figures are in {output_dir})")
    text = "the file is opened for reading , and its lines are decoded with the encoding that the first line names ."
    for command, meaning in (
        (f'hf-lvm summarize "{text}" --model {output_dir} --words 6 --explain', "a text of your own"),
        (f"hf-lvm evaluate --model {output_dir} --data_dir {output_dir / 'texts'} --report_words 4 12", "at other lengths"),
        (
            "hf-lvm train --model_type hf_lvm_latent_summarizer --dataset my_texts.jsonl --num_labelled -1 "
            "--output_dir runs/mine",
            "your own texts, in the column text, and in summary compressions of some",
        ),
    ):
        console.print(f"  [cyan]{escape(command)}[/cyan]\n      {meaning}")
