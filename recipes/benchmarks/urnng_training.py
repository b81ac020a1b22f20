"""A training step of an unsupervised recurrent neural network grammar beside the published one, and where its time goes.

ours:    forward, backward, both clippings and the composite optimizer's step of URNNGModel.
theirs:  the same of the model that Kim et al. (2019) published, built from a checkout of their repository that `--peer` names
         (https://github.com/harvardnlp/urnng): their modules, their three optimizers, the objective of their first epoch. It
         is written for GPUs; here its `.cuda()` leaves tensors where they are.

Both see the same batches of 16 sentences of one length over 2,823 words, draw 8 trees a sentence, and have dropout .5. Sizes
are those of the paper, 650 for words and stack and 256 a direction for the encoder, and 128 and 64. q(z|x) learns in these
steps, which in the recipe it does in the first epoch only; a step with q as it is is timed too. Without `--peer` only ours is
timed. `--bf16` times ours once more under autocast.
"""

import argparse
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

from hf_lvm import LSTMEncoderConfig, RNNGDecoderConfig, URNNGConfig, URNNGModel
from hf_lvm.training.memory import keep_freed_memory

BATCH_SIZE, LENGTH, WORDS, SAMPLES = 16, 20, 2823, 8
# Words and stack; the encoder, each direction.
SIZES = {"128/64": (128, 64), "650/256": (650, 256)}
# A twelfth and a third of their time.
TARGETS = {"128/64": 0.083, "650/256": 0.333}
START, END = 2, 3
KINDS = {
    "products of matrices": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "softmax and its gradient": ("softmax", "aten::exp", "logsumexp", "aten::log"),
    "encoder LSTM": ("rnn", "lstm"),
    "gathering and putting in place": ("index", "gather", "scatter", "aten::cat", "aten::copy_", "unique", "sort"),
    "dropout masks": ("bernoulli", "uniform"),
}


def build_ours(size: int, encoder_size: int) -> URNNGModel:
    torch.manual_seed(0)
    special = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": 0}
    encoder = LSTMEncoderConfig(
        vocab_size=WORDS,
        embedding_size=size,
        hidden_size=2 * encoder_size,
        num_hidden_layers=1,
        bidirectional=True,
        dropout=0.5,
        **special,
    )
    config = URNNGConfig(
        encoder=encoder,
        decoder=RNNGDecoderConfig(vocab_size=WORDS, hidden_size=size, num_hidden_layers=2, dropout=0.5, **special),
        posterior_dropout=0.5,
        tie_encoder_decoder_embeddings=True,
        num_samples=SAMPLES,
    )
    return URNNGModel(config).train()


def build_theirs(checkout: str, size: int, encoder_size: int):
    sys.path.insert(0, str(Path(checkout).resolve()))
    import models

    torch.manual_seed(0)
    random.seed(0)
    model = models.RNNG(vocab=WORDS, w_dim=size, h_dim=size, dropout=0.5, num_layers=2, q_dim=encoder_size)
    for parameter in model.parameters():
        parameter.data.uniform_(-0.1, 0.1)
    return model.train()


@contextmanager
def on_the_cpu() -> Iterator[None]:
    """Their `.cuda()` leaves tensors where they are."""
    cuda = torch.Tensor.cuda
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    try:
        yield
    finally:
        torch.Tensor.cuda = cuda


def sentences() -> torch.Tensor:
    return torch.randint(4, WORDS, (BATCH_SIZE, LENGTH), generator=torch.Generator().manual_seed(0))


def our_step(model: URNNGModel, words: torch.Tensor, bf16: bool = False, learns: bool = True) -> Callable[[], None]:
    end = words.new_full((BATCH_SIZE, 1), END)
    inputs = {"input_ids": torch.cat([words.new_full((BATCH_SIZE, 1), START), words, end], 1)}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["labels"] = torch.cat([words, end], 1)
    parts = {name: [value for _, value in pairs] for name, pairs in model.parameter_parts().items()}
    known = {id(value) for part in parts.values() for value in part}
    rest = [value for value in model.parameters() if id(value) not in known]
    optimizers = [
        torch.optim.SGD(rest, lr=1e-3),
        torch.optim.SGD(parts["action_head"], lr=1e-4),
        torch.optim.Adam(parts["encoder"], lr=1e-4),
    ]

    def step() -> None:
        for value in parts["encoder"]:
            value.requires_grad_(learns)
        for optimizer in optimizers:
            optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(**inputs, kl_weight=0.5).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*rest, *parts["action_head"]], 5.0)
        if learns:
            torch.nn.utils.clip_grad_norm_(parts["encoder"], 1.0)
        for optimizer in optimizers:
            optimizer.step()

    return step


def their_step(model, words: torch.Tensor, learns: bool = True) -> Callable[[], None]:
    end = words.new_full((BATCH_SIZE, 1), END)
    batch = torch.cat([words.new_full((BATCH_SIZE, 1), START), words, end], 1)
    action, posterior, rest = [], [], []
    for name, value in model.named_parameters():
        (action if "action" in name else posterior if "q_" in name else rest).append(value)
    optimizers = [
        torch.optim.SGD(rest, lr=1e-3),
        torch.optim.SGD(action, lr=1e-4),
        torch.optim.Adam(posterior, lr=1e-4),
    ]

    def step() -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        with on_the_cpu():
            log_words, log_actions, log_trees, _, entropy = model(batch, samples=SAMPLES, has_eos=True)
        scores = log_words + 0.5 * log_actions
        objective = scores.mean(1)
        if learns:
            others = (scores.detach().sum(1, keepdim=True) - scores.detach()) / (SAMPLES - 1)
            objective = objective + 0.5 * entropy + ((scores.detach() - others) * log_trees).mean(1)
        (-objective.mean()).backward()
        torch.nn.utils.clip_grad_norm_([*rest, *action], 5.0)
        torch.nn.utils.clip_grad_norm_(posterior, 1.0)
        for optimizer in optimizers:
            optimizer.step()

    return step


def where_time_goes(step: Callable[[], None]) -> dict[str, float]:
    """Share of a step by kind of operation."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        step()
    totals = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in record.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), "everything else")
        totals[kind] += event.self_cpu_time_total
    whole = sum(totals.values())
    return {kind: time / whole for kind, time in sorted(totals.items(), key=lambda pair: -pair[1])}


def tokens_per_second(duration: float) -> float:
    """Words of a batch a second, the end of a sentence not counted."""
    return BATCH_SIZE * LENGTH / duration


def main() -> None:
    # What they use of torch is of 2019, and torch says so at every call.
    warnings.filterwarnings("ignore", message=".*deprecated.*")
    parser = argument_parser(__doc__, default_pairs=5)
    add_threads(parser)
    parser.add_argument("--peer", help="a checkout of https://github.com/harvardnlp/urnng to compare with")
    parser.add_argument("--size", choices=SIZES, action="append", help="only these sizes (default: all)")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True, help="time ours under autocast too")
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    started, words = time.perf_counter(), sentences()
    comparisons, speeds, profiles = [], {}, {}
    for size in arguments.size or SIZES:
        model = build_ours(*SIZES[size])
        ours = our_step(model, words)
        if arguments.peer:
            peer = build_theirs(arguments.peer, *SIZES[size])
            for learns, name in ((True, "q learns"), (False, "q stays")):
                pairs = interleaved(
                    our_step(model, words, learns=learns), their_step(peer, words, learns), arguments.pairs, warm_up=1
                )
                target = TARGETS[size] if learns else None
                comparisons.append(Comparison(f"URNNG {size}, {name}", "Kim et al. 2019", "s", pairs, at_most=target))
                for side, times in zip(("ours", "theirs"), zip(*pairs, strict=True), strict=True):
                    speeds[f"{size}, {name}, {side}"] = tokens_per_second(statistics.median(times))
        if arguments.bf16:
            pairs = interleaved(our_step(model, words, bf16=True), ours, arguments.pairs, warm_up=1)
            comparisons.append(Comparison(f"URNNG {size}, bfloat16 products", "the same in float32", "s", pairs))
            speeds[f"{size}, ours, bfloat16"] = tokens_per_second(statistics.median(pair[0] for pair in pairs))
        if not arguments.peer and not arguments.bf16:
            speeds[f"{size}, ours"] = tokens_per_second(statistics.median(seconds(ours) for _ in range(5)))
        profiles[size] = where_time_goes(ours)
    print(table(["training", "words/s"], [[name, f"{speed:,.0f}"] for name, speed in speeds.items()]))
    for size, shares in profiles.items():
        rows = [[kind, f"{share:.0%}"] for kind, share in shares.items()]
        print(table([f"where the time of our float32 step goes, {size}", "share"], rows))
    if comparisons:
        print(table(HEADER, [comparison.as_row() for comparison in comparisons]))
    shapes = {"batch_size": BATCH_SIZE, "length": LENGTH, "words": WORDS, "trees": SAMPLES, "sizes": SIZES}
    write_comparisons(arguments.output, shapes, comparisons, started, words_per_second=speeds, profile=profiles)


if __name__ == "__main__":
    main()
