"""`hf-lvm demo text-vae`: three minutes from nothing to a space of sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_lvm.training.demo import compare_with_language_model, run_demo

console = Console(highlight=False, soft_wrap=True)


def main(output_dir: Path, flags: Sequence[str], compare: bool) -> None:
    """Train, explain the figures, show what it writes, and say what to run next."""
    demo = run_demo("text-vae", output_dir, flags, on_prepared=_introduce)
    _explain(demo.results)
    _show(demo)
    if compare:
        _compare(compare_with_language_model(demo))
    _what_next(output_dir)


def _introduce(trainer, corpus: str) -> None:
    console.print("\n[bold]A variational autoencoder of text[/bold]")
    console.print(
        f"Sentences of the {corpus}.\nAn encoder reads a sentence and places it in a space of "
        f"{trainer.model.config.latent_size} dimensions (q(z|x)); a decoder writes the sentence back from that place "
        "(p(x|z)); a prior keeps the space smooth (p(z)).\n"
    )


def _explain(results: dict[str, Any]) -> None:
    test = results["test"]
    latent, weighted = test["latent"], test["importance_weighted"]
    own, shuffled = test["greedy_reconstruction"], test["greedy_reconstruction_from_shuffled_latents"]
    title = f"On {latent['sentences']} sentences it has not seen"
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    rows = (
        (
            "-ELBO",
            f"{test['bound']['nats_per_sentence']:.1f} nats/sentence",
            "The bound that was trained: what writing a sentence costs, plus what its latent costs.",
        ),
        (
            "-log p(x)",
            f"{weighted['nats_per_sentence']:.1f} nats/sentence",
            f"The likelihood itself, nearly: importance-weighted with {weighted['num_samples']} samples of z.",
        ),
        (
            "KL",
            f"{test['kl_nats_per_sentence']:.1f} nats/sentence",
            "What the latent says about a sentence; at 0 the latent would have collapsed.",
        ),
        (
            "active dimensions",
            f"{latent['active_units']} of {latent['latent_size']}",
            "Dimensions whose place differs between sentences (variance of the posterior mean at least 0.01).",
        ),
        (
            "mutual information",
            f"{latent['mutual_information']:.1f} nats",
            f"How well the latent tells these sentences apart; {latent['mutual_information_ceiling']:.1f} would be perfectly.",
        ),
        (
            "permuted latents",
            f"+{test['permuted_latents_cost_nats_per_sentence']:.1f} nats/sentence",
            "What it costs to write a sentence from the latent of another: how much the decoder listens.",
        ),
        (
            "content words",
            f"{own['content_word_recall']:.1%} / {shuffled['content_word_recall']:.1%}",
            "Content words found again in reconstructions, from its own latent and from another sentence's.",
        ),
        (
            "stuck",
            f"{own['triple_repeats']} of {test['num_reconstructions']}",
            "Reconstructions that repeat a word three times in a row.",
        ),
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _show(demo) -> None:
    model, processor = demo.trainer.model, demo.trainer.processing_class
    texts = demo.test["text"][:200:25]
    console.print("\n[bold]Reconstructions[/bold] (through 16 numbers and back)")
    for text, reconstruction in zip(texts, model.reconstruct(texts, processor=processor), strict=True):
        console.print(f"  {escape(text)}\n  [green]-> {escape(reconstruction)}[/green]")
    console.print("\n[bold]Samples[/bold] (a draw of the prior each)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        samples = model.sample(6, processor=processor, generator=torch.Generator().manual_seed(0), temperature=0.7)
    for sample in samples:
        console.print(f"  {escape(sample)}")
    start, end = "Return the name of the file.", "Raise an exception if the value is not an integer."
    console.print("\n[bold]Interpolation[/bold] (a straight line between two sentences)")
    for step in model.interpolate(start, end, processor=processor, steps=6):
        console.print(f"  {escape(step)}")


def _compare(comparison: dict[str, float]) -> None:
    console.print(
        "\n[bold]Beside a language model[/bold]: the same decoder trained without a latent for as many updates needs "
        f"{comparison['language_model_nats_per_sentence']:.1f} nats/sentence; the VAE needs "
        f"{comparison['importance_weighted_nats_per_sentence']:.1f} (importance-weighted), "
        f"{comparison['ratio']:.3f} times as much."
    )


def _what_next(output_dir: Path) -> None:
    console.print(f"\n[bold]What next[/bold]  (model, results.json and figures are in {output_dir})")
    for command, meaning in (
        (f"hf-lvm sample --model {output_dir}", "more sentences"),
        (f'hf-lvm interpolate --model {output_dir} "Return the name." "Raise an error."', "your own two sentences"),
        ("hf-lvm train --dataset my_texts.txt --output_dir runs/mine", "your own texts"),
        ("hf-lvm demo --compare", "the same decoder as a language model beside it"),
    ):
        console.print(f"  [cyan]{escape(command)}[/cyan]\n      {meaning}")
