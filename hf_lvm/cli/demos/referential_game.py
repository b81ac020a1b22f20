"""`hf-lvm demo referential-game`: two agents invent a language, and speak it about what they have never seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_lvm.analysis.game_report import play_games
from hf_lvm.training.demo import Demo, run_demo

console = Console(highlight=False, soft_wrap=True)

SHOWN, FORMS = 8, 12


def main(output_dir: Path, flags: Sequence[str], compare: bool) -> None:
    """Train, show messages about unseen objects and what their symbols go with, and say what to run next.

    Args:
        compare: not asked for; what needs no language is always beside it.
    """
    demo = run_demo("referential-game", output_dir, flags, on_prepared=_introduce)
    _show(demo)
    _explain(demo.results)
    _lexicon(demo.results["lexicon"]["symbol"])
    _what_next(output_dir)


def _introduce(trainer, corpus: str) -> None:
    config = trainer.model.config
    console.print("\n[bold]A language that nobody has taught[/bold]")
    console.print(
        f"Objects: {escape(corpus)}.\n\nA sender sees an object and writes a message m of up to {config.max_length} symbols "
        f"of {config.num_symbols} (q(m|object)). A receiver reads it, and has to find the object among "
        f"{config.num_distractors} others (p(x|m)). What the symbols mean is up to the two. Some objects are kept for the "
        "end: each of their values has been talked about, their combination never.\n"
    )


def _show(demo: Demo) -> None:
    games = demo.test.select(range(min(SHOWN, len(demo.test))))
    collate = demo.trainer.data_collator
    played = play_games(demo.trainer.model, games, collate)
    table = Table(title="\nObjects that they have never seen", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for head in ("object", "message", "the receiver chose"):
        table.add_column(head, no_wrap=True)
    for game, message, log_probs, right in zip(games, played.messages, played.log_probs, played.is_right, strict=True):
        target, chosen = (
            " ".join(map(str, collate.objects[game["candidates"][place]].tolist()))
            for place in (game["labels"], int(log_probs.argmax()))
        )
        said = " ".join(map(str, message)) or "(nothing)"
        table.add_row(target, f"[green]{said}[/green]", "the object" if right else f"[dim]{chosen}[/dim]")
    console.print(table)


def _explain(results: dict[str, Any]) -> None:
    test, language = results["test"], results["language"]
    console.print(f"\n[bold]{test['games']:,} games about unseen objects[/bold]")
    console.print(
        f"  [bold]{test['accuracy']:.1%}[/bold] are won; a guess wins {test['chance']:.1%}. {test['mean_length']:.1f} symbols "
        f"a message, {test['distinct_messages']:,} different messages.\n"
        f"  topographic similarity [bold]{_number(language['topographic_similarity'])}[/bold]: are messages alike where "
        "objects are; 1 is a code with a symbol for each value, and a language may well be understood without."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _lexicon(lines: Sequence[str]) -> None:
    console.print("\n[bold]What symbols go with[/bold], wherever they stand in a message: attribute = value, and how often\n")
    for line in lines[:FORMS]:
        console.print(f"  {escape(line)}")


def _what_next(output_dir: Path) -> None:
    console.print(
        f"\n[bold]What next[/bold]  (model, results.json, messages.txt, lexicon.txt and figures are in {output_dir})"
    )
    for command, meaning in (
        (
            "hf-lvm train --model_type hf_lvm_referential_game --estimator rloo --num_samples 4 --output_dir runs/rloo",
            "the same game by the score function, without bias",
        ),
        (
            "hf-lvm train --model_type hf_lvm_referential_game --prior_type length --prior_weight 0.05 --output_dir runs/a",
            "where each symbol costs something",
        ),
        (
            "hf-lvm train --model_type hf_lvm_referential_game --objects text_latents --text_vae runs/text_vae --output_dir "
            "runs/sentences",
            "sentences, as a text VAE sees them",
        ),
    ):
        console.print(f"  [cyan]{escape(command)}[/cyan]\n      {meaning}")
