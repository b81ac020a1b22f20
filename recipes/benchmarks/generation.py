"""How fast a text VAE generates beside its bare decoder.

ours:    tokens a second of vae.generate(latents=...), greedy, from the start token alone.
theirs:  tokens a second of decoder.generate of the very decoder inside the VAE, with the same options and as many new
         tokens. For `cross_attention` it is given as many states to attend to, and both sides have to write the same.

The end token is switched off on both sides, so that every row has its full length.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from measured_models import START, build_text_vae
from paired_timing import HEADER, Comparison, add_threads, argument_parser, interleaved, table, write_comparisons

ENCODER = "bert"
BATCH_SIZE = 32
NEW_TOKENS = 64
LATENT_SIZE = 32
SIZES = {
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "vocab_size": 8000,
    "max_position_embeddings": 256,
}
AT_LEAST = 0.95
ROWS = [
    ("gpt2", "prefix"),
    ("gpt2", "embedding"),
    ("gpt2", "memory"),
    ("gpt2", "cross_attention"),
    ("gpt2", "logits"),
    ("llama", "embedding"),
]


def generators(decoder: str, injection: str) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Ours and theirs, each writing start token + `NEW_TOKENS` tokens: (B, 1 + NEW_TOKENS)."""
    vae = build_text_vae(ENCODER, decoder, injection, LATENT_SIZE, SIZES).eval()
    latents = vae.prior(BATCH_SIZE).sample()
    start = torch.full((BATCH_SIZE, 1), START)
    prompt: dict[str, Any] = {"input_ids": start, "attention_mask": torch.ones_like(start)}
    if injection == "cross_attention":
        with torch.no_grad():
            prompt["encoder_hidden_states"] = vae.condition(latents)["cross_attention"]
    for model in (vae, vae.decoder):
        model.generation_config.eos_token_id = None
    options = {"do_sample": False, "max_new_tokens": NEW_TOKENS}
    return (
        lambda: vae.generate(latents=latents, **options),
        lambda: vae.decoder.generate(**prompt, **options),
    )


def measure(decoder: str, injection: str, num_pairs: int) -> Comparison:
    ours, theirs = generators(decoder, injection)
    written = ours(), theirs()
    if any(ids.shape != (BATCH_SIZE, 1 + NEW_TOKENS) for ids in written):
        raise RuntimeError(f"The two sides do not write as much: {[tuple(ids.shape) for ids in written]}.")
    if injection == "cross_attention" and not torch.equal(*written):
        raise RuntimeError("Under the same states the two sides wrote different tokens.")
    tokens = BATCH_SIZE * NEW_TOKENS
    pairs = [(tokens / mine, tokens / bare) for mine, bare in interleaved(ours, theirs, num_pairs)]
    denominator = f"{decoder} with cross-attention" if injection == "cross_attention" else decoder
    return Comparison(f"{decoder}, {injection}", denominator, "tokens/s", pairs, at_least=AT_LEAST)


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=15)
    add_threads(parser)
    parser.add_argument("--injection", help="measure the rows with this injection only")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows = [row for row in ROWS if arguments.injection in (None, row[1])]
    if not rows:
        parser.error(f"no row has the injection {arguments.injection!r}")
    started = time.perf_counter()
    comparisons = [measure(*row, arguments.pairs) for row in rows]
    print(table(HEADER, [comparison.as_row() for comparison in comparisons]))
    shapes = SIZES | {"batch_size": BATCH_SIZE, "new_tokens": NEW_TOKENS, "latent_size": LATENT_SIZE}
    write_comparisons(arguments.output, shapes | {"dtype": "float32"}, comparisons, started)


if __name__ == "__main__":
    main()
