"""What a training step of a text VAE costs beside the steps of its two parts.

ours:    zero_grad, forward and backward of TextVAEModel.
theirs:  zero_grad, forward and backward of the bare encoder, then forward with labels and backward of the bare
         decoder: the very modules inside the VAE, on the same batch, with the same dropout. The encoder's loss is a
         fixed random combination of its mean-pooled states (their plain mean would be constant after the last layer
         norm, and leave next to no gradient). The decoder keeps no cache.

The optimizer is left out on both sides: its cost is the same and would only bring the ratio nearer to 1. No row is padded.
Freed memory is kept for the next step on both sides, because asking the kernel for it again scatters the pairs. The
injection `cross_attention` is measured twice: against the decoder with its cross-attention layers, given as many states,
and against the same decoder without such layers.

With an accelerator: --device cuda --bf16 --shape base, which also tells the tokens a second of both sides, those of encoder
and decoder together.
"""

import argparse
from collections.abc import Callable

import torch
from measured_models import SHAPES, START, build_bare_decoder, build_text_vae
from paired_timing import Comparison, add_device, add_threads, argument_parser, autocast, interleaved, run_comparisons
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.models.text_vae import TextVAEModel

ENCODER = "bert"
BATCH_SIZE = 32
LENGTH = 64
LATENT_SIZE = 32
# decoder, injection, the most that the ratio may be
ROWS = [
    ("gpt2", "embedding", 1.05),
    ("llama", "embedding", 1.05),
    ("gpt2", "prefix", None),
    ("gpt2", "memory", None),
    ("gpt2", "cross_attention", None),
    ("gpt2", "logits", None),
]


def random_batch(vocab_size: int, device: str) -> dict[str, torch.Tensor]:
    """Full rows for both parts; the labels end in no end token, which costs the same."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, vocab_size, (2, BATCH_SIZE, LENGTH), generator=generator).to(device)
    return {"input_ids": tokens[0], "attention_mask": torch.ones_like(tokens[0]), "labels": tokens[1]}


def vae_step(vae: TextVAEModel, batch: dict[str, torch.Tensor], options: argparse.Namespace) -> Callable[[], None]:
    def step() -> None:
        vae.zero_grad()
        with autocast(options):
            loss = vae(**batch).loss
        loss.backward()

    return step


def parts_step(
    encoder: PreTrainedModel,
    decoder: PreTrainedModel,
    batch: dict[str, torch.Tensor],
    options: argparse.Namespace,
    states: torch.Tensor | None = None,
) -> Callable[[], None]:
    """The steps of both parts; a decoder with cross-attention attends to `states` (B, length, hidden size)."""
    width = encoder.config.hidden_size
    direction = torch.randn(BATCH_SIZE, width, generator=torch.Generator().manual_seed(0)).to(options.device)
    start = batch["labels"].new_full((BATCH_SIZE, 1), START)
    decoder_inputs = {
        "input_ids": torch.cat([start, batch["labels"][:, :-1]], dim=1),
        "labels": batch["labels"],
        # Already lined up with the logits; without this transformers shifts them itself and scores one token less.
        "shift_labels": batch["labels"],
        "use_cache": False,
    }
    if states is not None:
        decoder_inputs["encoder_hidden_states"] = states

    def step() -> None:
        encoder.zero_grad()
        decoder.zero_grad()
        with autocast(options):
            hidden = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
            loss = (hidden.mean(1) * direction).mean()
        loss.backward()
        with autocast(options):
            loss = decoder(**decoder_inputs).loss
        loss.backward()

    return step


def check_same_parts(vae: TextVAEModel, decoder: nn.Module) -> None:
    """Both sides train, with one attention implementation."""
    implementations = {part.config._attn_implementation for part in (vae.encoder, vae.decoder, decoder)}
    if len(implementations) > 1 or not (vae.training and vae.decoder.training and decoder.training):
        raise RuntimeError(f"The two sides differ: attention {implementations}, training {decoder.training}.")


def measure(decoder: str, injection: str, at_most: float | None, options: argparse.Namespace) -> list[Comparison]:
    sizes = SHAPES[options.shape]
    vae = build_text_vae(ENCODER, decoder, injection, LATENT_SIZE, sizes).to(options.device).train()
    batch = random_batch(sizes["vocab_size"], options.device)
    if injection != "cross_attention":
        denominators = {f"{ENCODER} + {decoder}": parts_step(vae.encoder, vae.decoder, batch, options)}
        check_same_parts(vae, vae.decoder)
    else:
        bare = build_bare_decoder(decoder, sizes).to(options.device).train()
        check_same_parts(vae, bare)
        with torch.no_grad():
            states = vae.condition(vae.prior(BATCH_SIZE).sample())["cross_attention"]
        denominators = {
            f"{ENCODER} + {decoder} with cross-attention": parts_step(vae.encoder, vae.decoder, batch, options, states),
            f"{ENCODER} + {decoder}": parts_step(vae.encoder, bare, batch, options),
        }
    ours, tokens = vae_step(vae, batch, options), 2 * BATCH_SIZE * LENGTH
    return [
        Comparison(
            f"{decoder}, {injection}", name, "s", interleaved(ours, step, options.pairs), at_most=at_most, tokens=tokens
        )
        for name, step in denominators.items()
    ]


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=15)
    add_threads(parser)
    add_device(parser)
    parser.add_argument("--injection", help="measure the rows with this injection only")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if arguments.injection in (None, row[1])]
    if not rows:
        parser.error(f"no row has the injection {arguments.injection!r}")
    shapes = SHAPES[arguments.shape] | {
        "encoder": ENCODER, "batch_size": BATCH_SIZE, "length": LENGTH, "latent_size": LATENT_SIZE,
        "dtype": "bfloat16 by autocast" if arguments.bf16 else "float32", "device": arguments.device,
    }  # fmt: skip
    run_comparisons(arguments, lambda _: [comparison for row in rows for comparison in measure(*row, arguments)], shapes)


if __name__ == "__main__":
    main()
