"""How much of a batch is padding on the documentation corpus, with batches bucketed by length and without.

Counted in the batches that the collator really builds, over whole epochs: the cells of `attention_mask` that are 0
(encoder side) and those of `labels` that are -100 (decoder side). The tokenizer is a BPE trained on the training
split. Nothing is timed, so one run is enough.
"""

import time
from collections.abc import Sequence

from datasets import Dataset
from paired_timing import argument_parser, table, write_measurement
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler

from hf_lvm.data import (
    LatentTextCollator,
    LatentTextProcessor,
    LengthBucketedSampler,
    documentation,
    encode_dataset,
    train_bpe_tokenizer,
)
from hf_lvm.data.processor import IGNORED_LABEL

BATCH_SIZE = 32
VOCABULARY = 8000
EPOCHS = 3
AT_MOST = 0.05


def padding_of_batches(
    rows: Dataset, sampler: Sampler, processor: LatentTextProcessor, epochs: Sequence[int]
) -> dict[str, float]:
    """The share of cells that are padding, over all batches of these epochs, for either side."""
    padded, cells = {"encoder": 0, "decoder": 0}, {"encoder": 0, "decoder": 0}
    loader = DataLoader(rows, BATCH_SIZE, sampler=sampler, collate_fn=LatentTextCollator(processor))
    for epoch in epochs:
        if isinstance(sampler, LengthBucketedSampler):
            sampler.set_epoch(epoch)
        for batch in loader:
            for side, is_padding in (
                ("encoder", batch["attention_mask"] == 0),
                ("decoder", batch["labels"] == IGNORED_LABEL),
            ):
                padded[side] += int(is_padding.sum())
                cells[side] += is_padding.numel()
    return {side: padded[side] / cells[side] for side in padded}


def main() -> None:
    arguments = argument_parser(__doc__).parse_args()
    started = time.perf_counter()
    texts = documentation.load()
    corpus = documentation.describe(texts)
    tokenizer = train_bpe_tokenizer(texts["train"]["text"], vocab_size=VOCABULARY)
    processor = LatentTextProcessor(tokenizer, tokenizer)
    rows = encode_dataset(texts["train"], processor)
    samplers = {
        "bucketed by length": (LengthBucketedSampler(rows["length"], BATCH_SIZE), range(EPOCHS)),
        "shuffled": (RandomSampler(rows), range(1)),
        "as they come": (SequentialSampler(rows), range(1)),
    }
    shares = {name: padding_of_batches(rows, sampler, processor, epochs) for name, (sampler, epochs) in samplers.items()}
    print(f"{corpus}\n")
    lines = []
    for name, share in shares.items():
        is_met = "yes" if max(share.values()) <= AT_MOST else "NO"
        target = f"<= {AT_MOST:.0%}: {is_met}" if name == "bucketed by length" else ""
        lines.append([name, f"{share['encoder']:.1%}", f"{share['decoder']:.1%}", target])
    print(table(["batches", "padding, encoder side", "padding, decoder side", "target"], lines))
    shapes = {
        "batch_size": BATCH_SIZE,
        "vocabulary": VOCABULARY,
        "epochs": EPOCHS,
        "rows": len(rows),
        "corpus": corpus,
    }
    measured = {"padding": shares, "target": {"at_most": AT_MOST}}
    write_measurement(arguments.output, shapes, measured, started)


if __name__ == "__main__":
    main()
