"""`hf-lvm demo latent-class`: first choose a class, then write; the classes are found without a label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from hf_lvm.training.demo import Demo, compare_with_language_model, run_demo

console = Console(highlight=False, soft_wrap=True)

TYPICAL, WRITTEN = 4, 2


def main(output_dir: Path, flags: Sequence[str], compare: bool) -> None:
    """Train, compare with a model of one class, show the classes, and say what to run next.

    Args:
        compare: not asked for; it always does.
    """
    demo = run_demo("latent-class", output_dir, flags, on_prepared=_introduce)
    _show(demo)
    _explain(demo.results["test"], compare_with_language_model(demo))
    _what_next(output_dir)


def _introduce(trainer, corpus: str) -> None:
    console.print("\n[bold]A mixture of sentences[/bold]")
    console.print(
        f"Sentences of the {corpus}.\nA class z is chosen (p(z), {trainer.model.config.support_size} of them, all alike), "
        "then a decoder writes a sentence of that class (p(x|z)). Nobody says what the classes are: they are summed over, and "
        "what makes sentences easier to write becomes a class.\n"
    )


def _show(demo: Demo) -> None:
    model, processor = demo.trainer.model, demo.trainer.processing_class
    texts = demo.test["text"][:]
    probabilities = torch.cat(
        [
            model.class_probabilities(**processor(texts[first : first + 64]).to(model.device), method="bayes")[:, 0]
            for first in range(0, len(texts), 64)
        ]
    )
    classes = probabilities.argmax(-1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        written = model.decode_latents(
            torch.arange(probabilities.shape[1]).repeat_interleave(WRITTEN).unsqueeze(1),
            processor=processor,
            do_sample=True,
            temperature=0.7,
            suppress_tokens=[processor.decoder_tokenizer.unk_token_id],
        )
    console.print("\n[bold]Typical sentences of each class[/bold], and (~) ones that it writes (without the unknown word)")
    for number in range(probabilities.shape[1]):
        share = (classes == number).double().mean().item()
        console.print(f"\n  [bold]class {number}[/bold], {share:.0%} of the sentences")
        for row in probabilities[:, number].argsort(descending=True, stable=True)[:TYPICAL].tolist():
            console.print(f"    {escape(texts[row])}")
        for text in written[number * WRITTEN : (number + 1) * WRITTEN]:
            console.print(f"  [green]~ {escape(text)}[/green]")


def _explain(test: dict[str, Any], comparison: dict[str, float]) -> None:
    usage, likelihood = test["usage"], test["likelihood"]
    console.print(f"\n\n[bold]On {likelihood['sentences']} sentences it has not seen[/bold]")
    console.print(
        f"  -log p(x), summed over all classes: [bold]{comparison['exact_nats_per_sentence']:.2f}[/bold] nats/sentence; the "
        f"same decoder with one class, trained for as many updates: "
        f"[bold]{comparison['language_model_nats_per_sentence']:.2f}[/bold].\n"
        f"  I(x; z) = [bold]{usage['mutual_information'][0]:.2f}[/bold] nats of at most "
        f"{usage['mutual_information_ceiling']:.2f}: how much a sentence tells about its class; at 0 all would be one.\n"
        f"  {usage['used_classes'][0]} of {usage['classes']} classes used, perplexity {usage['aggregate_perplexity'][0]:.1f}."
    )


def _what_next(output_dir: Path) -> None:
    console.print(f"\n[bold]What next[/bold]  (model, results.json, classes.txt and figures are in {output_dir})")
    for command, meaning in (
        (f"hf-lvm check-estimators --model {output_dir} --objective elbo", "every way to train it, beside the exact gradient"),
        ("hf-lvm train --model_type hf_lvm_latent_class --dataset my_texts.txt --output_dir runs/mine", "your own texts"),
        (
            "hf-lvm train --model_type hf_lvm_latent_class --dataset reviews.csv --class_column stars --num_labelled 100 "
            "--labelled_share 0.25 --output_dir runs/stars",
            "a hundred known classes, and the rest without",
        ),
    ):
        console.print(f"  [cyan]{escape(command)}[/cyan]\n      {meaning}")
