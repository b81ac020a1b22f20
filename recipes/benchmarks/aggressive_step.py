"""What an inner step of aggressive training costs beside a full training step.

ours:    forward, backward, clipping and SGD update of the encoder's side alone, as the inner loop of `AggressiveTraining`
         takes them: no gradient of a decoder weight is computed.
theirs:  forward, backward, clipping and SGD update of the whole model, on the same batch with the same noise.

SGD without momentum and clipping at 5 are those of He et al. (2019). The target is for the model of their rows, LSTMs on
sentences as long as those of the Penn Treebank are on average. Beside it transformers in the shape of all benchmarks here: an
inner step saves a third of the matrix products of the decoder's side, which is 21% of all where the two parts are about as
large, and nothing of dropout, attention and the loss.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from measured_models import build_text_vae
from paired_timing import Comparison, add_threads, argument_parser, interleaved, run_comparisons
from torch.nn import Parameter

from hf_lvm.models.text_vae import TextVAEModel
from hf_lvm.training.phases.aggressive import without_gradients

BATCH_SIZE = 32
LATENT_SIZE = 32
CLIP = 5.0
# encoder, decoder, injection, tokens of a sentence, the most that the ratio may be, sizes of a part
ROWS = [
    (
        "bert",
        "gpt2",
        "embedding",
        64,
        None,
        {
            "num_hidden_layers": 4,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "vocab_size": 8000,
            "max_position_embeddings": 256,
        },
    ),
    (
        "hf_lvm_lstm_encoder",
        "hf_lvm_lstm_decoder",
        ["concatenation", "initial_state"],
        22,
        0.80,
        {"hidden_size": 256, "num_hidden_layers": 1, "vocab_size": 10_000},
    ),
]


def random_batch(length: int, vocab_size: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, vocab_size, (2, BATCH_SIZE, length), generator=generator)
    return {"input_ids": tokens[0], "attention_mask": torch.ones_like(tokens[0]), "labels": tokens[1]}


def step(vae: TextVAEModel, batch: dict[str, torch.Tensor], fixed: Iterable[Parameter]) -> Callable[[], None]:
    """A whole update with a rate of 0, so that both sides stay the same model."""
    fixed = list(fixed)
    optimizer = torch.optim.SGD(vae.parameters(), lr=0.0)

    def run() -> None:
        with without_gradients(fixed) if fixed else nullcontext():
            vae(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return run


def measure(
    encoder: str,
    decoder: str,
    injection: str | list[str],
    length: int,
    at_most: float | None,
    sizes: dict[str, int],
    num_pairs: int,
) -> Comparison:
    vae = build_text_vae(encoder, decoder, injection, LATENT_SIZE, sizes).train()
    batch = random_batch(length, sizes["vocab_size"])
    inner = step(vae, batch, (parameter for _, parameter in vae.generative_parameters()))
    pairs = interleaved(inner, step(vae, batch, ()), num_pairs)
    name = f"inner step, {encoder.removeprefix('hf_lvm_')} + {decoder.removeprefix('hf_lvm_')}"
    return Comparison(name, "full step", "s", pairs, at_most=at_most)


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=15)
    add_threads(parser)
    names = ("encoder", "decoder", "injection", "length", "at_most", "sizes")
    shapes = {
        "rows": [dict(zip(names, row, strict=True)) for row in ROWS],
        "batch_size": BATCH_SIZE,
        "latent_size": LATENT_SIZE,
        "dtype": "float32",
    }
    run_comparisons(parser.parse_args(), lambda pairs: [measure(*row, pairs) for row in ROWS], shapes)


if __name__ == "__main__":
    main()
