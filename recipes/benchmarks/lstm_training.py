"""Training steps a second of the LSTM text VAE on the Penn Treebank's shape, and where the time of a step goes.

ours:    forward, backward, clipping and SGD update of TextVAEModel over our LSTM encoder and decoder.
theirs:  the same of the model that He et al. (2019) published, built from a checkout of their repository that `--peer` names
         (https://github.com/jxhe/vae-lagging-encoder): their modules, their two optimizers, one clipping over all weights.

Both see the same batches of 32 sentences of one length, the mean length of the corpus, over 10,000 words; one sample of z,
dropout .5 and .5, float32. Without `--peer` only ours is timed. `--bf16` times ours once more under autocast. Freed memory is
kept on both sides; ours does so in every run on a CPU.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from paired_timing import (
    HEADER,
    Comparison,
    add_threads,
    argument_parser,
    interleaved,
    seconds,
    table,
    write_comparisons,
)
from torch.profiler import ProfilerActivity, profile

from hf_lvm import LSTMDecoderConfig, LSTMEncoderConfig, TextVAEConfig, TextVAEModel
from hf_lvm.training.memory import keep_freed_memory

BATCH_SIZE, LENGTH, WORDS, HIDDEN, LATENT = 32, 22, 10_000, 256, 32
START, END = 1, 2
# How many steps one timing spans.
STEPS = 5
# What a step is made of, by the names that torch gives its operations.
KINDS = {
    "output layer and other products": ("aten::mm", "aten::addmm"),
    "softmax and its gradient": ("softmax", "aten::exp", "gather", "scatter"),
    "LSTMs": ("rnn", "lstm"),
    "dropout masks": ("bernoulli", "uniform"),
    "embeddings": ("embedding", "index"),
}


def build_ours() -> TextVAEModel:
    torch.manual_seed(0)
    special = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": 0}
    config = TextVAEConfig(
        encoder=LSTMEncoderConfig(vocab_size=WORDS, hidden_size=HIDDEN),
        decoder=LSTMDecoderConfig(vocab_size=WORDS, hidden_size=HIDDEN, **special),
        latent_size=LATENT,
        injection=["concatenation", "initial_state"],
        pooling="last",
    )
    return TextVAEModel(config).train()


def build_theirs(checkout: str):
    """Their model over a vocabulary of as many words."""
    sys.path.insert(0, str(Path(checkout).resolve()))
    from modules.decoders.dec_lstm import LSTMDecoder
    from modules.encoders.enc_lstm import LSTMEncoder
    from modules.vae import VAE

    torch.manual_seed(0)
    sizes = SimpleNamespace(
        ni=HIDDEN, enc_nh=HIDDEN, dec_nh=HIDDEN, nz=LATENT, dec_dropout_in=0.5, dec_dropout_out=0.5, device="cpu"
    )
    uniform = [lambda weight, span=span: torch.nn.init.uniform_(weight, -span, span) for span in (0.01, 0.1)]
    vocabulary = {f"word{index}": index for index in range(WORDS)}
    encoder = LSTMEncoder(sizes, len(vocabulary), *uniform)
    return VAE(encoder, LSTMDecoder(sizes, vocabulary, *uniform), sizes).train()


def batch() -> torch.Tensor:
    """Sentences (B, T) that end in the end token."""
    tokens = torch.randint(5, WORDS, (BATCH_SIZE, LENGTH), generator=torch.Generator().manual_seed(0))
    tokens[:, -1] = END
    return tokens


def our_step(model: TextVAEModel, tokens: torch.Tensor, bf16: bool = False) -> Callable[[], None]:
    start = tokens.new_full((BATCH_SIZE, 1), START)
    # Their encoder reads the start token too.
    inputs = {"input_ids": torch.cat([start, tokens], 1), "labels": tokens}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = model(**inputs, kl_weight=0.5).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()

    return step


def their_step(model, tokens: torch.Tensor) -> Callable[[], None]:
    sentences = torch.cat([tokens.new_full((BATCH_SIZE, 1), START), tokens], 1)
    optimizers = [torch.optim.SGD(part.parameters(), lr=1e-3) for part in (model.encoder, model.decoder)]

    def step() -> None:
        for _ in range(STEPS):
            for optimizer in optimizers:
                optimizer.zero_grad()
            model.loss(sentences, 0.5)[0].mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            for optimizer in optimizers:
                optimizer.step()

    return step


def where_time_goes(step: Callable[[], None]) -> list[list[str]]:
    """Share of a step by kind of operation, the largest first."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        step()
    totals = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in record.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), "everything else")
        totals[kind] += event.self_cpu_time_total
    whole = sum(totals.values())
    return [[kind, f"{time / whole:.0%}"] for kind, time in sorted(totals.items(), key=lambda pair: -pair[1])]


def tokens_per_second(duration: float) -> float:
    return STEPS * BATCH_SIZE * LENGTH / duration


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=15)
    add_threads(parser)
    parser.add_argument("--peer", help="a checkout of https://github.com/jxhe/vae-lagging-encoder to compare with")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True, help="time ours under autocast too")
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    started, tokens = time.perf_counter(), batch()
    model = build_ours()
    ours, comparisons = our_step(model, tokens), []
    speeds = []
    if arguments.peer:
        pairs = interleaved(ours, their_step(build_theirs(arguments.peer), tokens), arguments.pairs)
        comparisons.append(Comparison("LSTM text VAE, float32", "He et al. 2019", "s", pairs, at_most=1.0))
        speeds = [
            ["ours, float32", f"{tokens_per_second(statistics.median(pair[0] for pair in pairs)):,.0f}"],
            ["He et al. 2019, float32", f"{tokens_per_second(statistics.median(pair[1] for pair in pairs)):,.0f}"],
        ]
    if arguments.bf16:
        pairs = interleaved(our_step(model, tokens, bf16=True), ours, arguments.pairs)
        comparisons.append(Comparison("LSTM text VAE, bfloat16", "the same in float32", "s", pairs))
        speeds.append(["ours, bfloat16", f"{tokens_per_second(statistics.median(pair[0] for pair in pairs)):,.0f}"])
    if not speeds:
        speeds.append(["ours, float32", f"{tokens_per_second(statistics.median(seconds(ours) for _ in range(5))):,.0f}"])
    print(table(["training", "tokens/s"], speeds))
    print(table(["where the time of our float32 step goes", "share"], where_time_goes(ours)))
    if comparisons:
        print(table(HEADER, [comparison.as_row() for comparison in comparisons]))
    shapes = {"batch_size": BATCH_SIZE, "length": LENGTH, "words": WORDS, "hidden_size": HIDDEN, "latent_size": LATENT}
    shapes["tokens_per_second"] = {name: float(speed.replace(",", "")) for name, speed in speeds}
    write_comparisons(arguments.output, shapes, comparisons, started)


if __name__ == "__main__":
    main()
