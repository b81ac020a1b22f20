"""What a sum over all values of a vector of categories costs, where the decoder hears them in its logits alone.

ours:    forward and backward pass of a latent class model that sums over 2 x 20 values of z, injection `logits`: the decoder
         reads each sentence once, and the values are biases on what comes out.
theirs:  the same model with the injection `embedding`, which reads each sentence once a value; and the same model where all
         of z is known, so that one value is scored.

The shape is that of `recipes/latent_class/yelp_few_labels.yaml`: short sentences, a small decoder, many words.
"""

from collections.abc import Callable

import torch
from measured_models import END, PAD, START
from paired_timing import Comparison, add_threads, argument_parser, interleaved, run_comparisons

from hf_lvm import LatentClassConfig, LatentClassModel
from hf_lvm.backbones.sources import config_from_scratch

BATCH_SIZE, LENGTH = 64, 12
CLASSES = [2, 20]
SIZES = {
    "num_hidden_layers": 1,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "vocab_size": 9000,
    "max_position_embeddings": 64,
}


def build(injection: str) -> LatentClassModel:
    torch.manual_seed(0)
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    config = LatentClassConfig(
        encoder=config_from_scratch("gpt2", special, **SIZES),
        decoder=config_from_scratch("gpt2", special, **SIZES),
        num_variables=len(CLASSES),
        num_classes=CLASSES,
        injection=injection,
        context_window=1,
        **special,
    )
    return LatentClassModel(config).train()


def step(model: LatentClassModel, *, known: bool = False) -> Callable[[], None]:
    """Forward and backward pass over one batch; with all of z known, if `known`."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, SIZES["vocab_size"], (2, BATCH_SIZE, LENGTH), generator=generator)
    batch = {"input_ids": tokens[0], "attention_mask": torch.ones_like(tokens[0]), "labels": tokens[1]}
    if known:
        batch["classes"] = torch.zeros(BATCH_SIZE, len(CLASSES), dtype=torch.long)

    def run() -> None:
        model(**batch).loss.backward()
        model.zero_grad()

    return run


def compare(num_pairs: int) -> list[Comparison]:
    summed, name = step(build("logits")), "sum over 40 values, injection logits"
    readings = interleaved(summed, step(build("embedding")), num_pairs)
    one_value = interleaved(summed, step(build("logits"), known=True), num_pairs)
    return [
        Comparison(name, "the same, injection embedding", "s", readings, at_most=0.1),
        Comparison(name, "one value, injection logits", "s", one_value),
    ]


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=9)
    add_threads(parser)
    shapes = {"batch_size": BATCH_SIZE, "length": LENGTH, "num_classes": CLASSES, "sizes": SIZES, "dtype": "float32"}
    run_comparisons(parser.parse_args(), compare, shapes)


if __name__ == "__main__":
    main()
