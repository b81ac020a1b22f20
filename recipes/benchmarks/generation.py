"""How fast a text VAE generates beside its bare decoder.

ours:    tokens a second of vae.generate(latents=...), greedy, from the start token alone.
theirs:  tokens a second of decoder.generate of the very decoder inside the VAE, with the same options and as many new
         tokens. For `cross_attention` it is given as many states to attend to, and both sides have to write the same.

The end token is switched off on both sides, so that every row has its full length. With an accelerator: --device cuda --bf16
--shape base.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from measured_models import SHAPES, START, build_text_vae
from paired_timing import Comparison, add_device, add_threads, argument_parser, autocast, interleaved, run_comparisons

ENCODER = "bert"
BATCH_SIZE = 32
NEW_TOKENS = 64
LATENT_SIZE = 32
AT_LEAST = 0.95
ROWS = [
    ("gpt2", "prefix"),
    ("gpt2", "embedding"),
    ("gpt2", "memory"),
    ("gpt2", "cross_attention"),
    ("gpt2", "logits"),
    ("llama", "embedding"),
]


def generators(
    decoder: str, injection: str, options: argparse.Namespace
) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Ours and theirs, each writing start token + `NEW_TOKENS` tokens: (B, 1 + NEW_TOKENS)."""
    vae = build_text_vae(ENCODER, decoder, injection, LATENT_SIZE, SHAPES[options.shape]).to(options.device).eval()
    latents = vae.prior(BATCH_SIZE).sample()
    start = torch.full((BATCH_SIZE, 1), START, device=options.device)
    prompt: dict[str, Any] = {"input_ids": start, "attention_mask": torch.ones_like(start)}
    if injection == "cross_attention":
        with torch.no_grad():
            prompt["encoder_hidden_states"] = vae.condition(latents)["cross_attention"]
    for model in (vae, vae.decoder):
        model.generation_config.eos_token_id = None
    settings = {"do_sample": False, "max_new_tokens": NEW_TOKENS}

    def ours() -> torch.Tensor:
        with autocast(options):
            return vae.generate(latents=latents, **settings)

    def theirs() -> torch.Tensor:
        with autocast(options):
            return vae.decoder.generate(**prompt, **settings)

    return ours, theirs


def measure(decoder: str, injection: str, options: argparse.Namespace) -> Comparison:
    ours, theirs = generators(decoder, injection, options)
    written = ours(), theirs()
    if any(ids.shape != (BATCH_SIZE, 1 + NEW_TOKENS) for ids in written):
        raise RuntimeError(f"The two sides do not write as much: {[tuple(ids.shape) for ids in written]}.")
    if injection == "cross_attention" and not torch.equal(*written):
        raise RuntimeError("Under the same states the two sides wrote different tokens.")
    tokens = BATCH_SIZE * NEW_TOKENS
    pairs = [(tokens / mine, tokens / bare) for mine, bare in interleaved(ours, theirs, options.pairs)]
    denominator = f"{decoder} with cross-attention" if injection == "cross_attention" else decoder
    return Comparison(f"{decoder}, {injection}", denominator, "tokens/s", pairs, at_least=AT_LEAST)


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
        "batch_size": BATCH_SIZE, "new_tokens": NEW_TOKENS, "latent_size": LATENT_SIZE,
        "dtype": "bfloat16 by autocast" if arguments.bf16 else "float32", "device": arguments.device,
    }  # fmt: skip
    run_comparisons(arguments, lambda _: [measure(*row, arguments) for row in rows], shapes)


if __name__ == "__main__":
    main()
