import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hf_lvm.data import LatentTextCollator, LengthBucketedSampler, padding_share


def test_collated_rows_equal_the_processor_on_the_same_texts(corpus, encoded_train, processor):
    rows = [encoded_train[row] for row in range(8)]
    batch = LatentTextCollator(processor)(rows)
    expected = processor(corpus["train"]["text"][:8])
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    for name, value in batch.items():
        assert value.dtype == torch.int64
        assert torch.equal(value, expected[name])


def test_collator_pads_on_the_side_of_the_tokenizer(encoded_train, processor):
    rows = [encoded_train[row] for row in range(8)]
    right = LatentTextCollator(processor)(rows)
    processor.tokenizer.padding_side = "left"
    try:
        left = LatentTextCollator(processor)(rows)
    finally:
        processor.tokenizer.padding_side = "right"
    assert torch.equal(left["attention_mask"], right["attention_mask"].flip(1))
    assert torch.equal(left["input_ids"][left["attention_mask"].bool()], right["input_ids"][right["attention_mask"].bool()])
    assert torch.equal(left["labels"], right["labels"])


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200),
    batch_size=st.integers(1, 9),
    mega_batches=st.integers(1, 9),
    epoch=st.integers(0, 3),
)
def test_every_row_comes_once_and_runs_are_sorted_batches(lengths, batch_size, mega_batches, epoch):
    sampler = LengthBucketedSampler(lengths, batch_size, seed=7, mega_batches=mega_batches)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths))) and len(sampler) == len(order)
    for first in range(0, len(order), batch_size):
        run = [lengths[row] for row in order[first : first + batch_size]]
        assert run == sorted(run)


def test_order_depends_on_seed_and_epoch_alone(encoded_train):
    lengths = encoded_train["length"][:]

    def order(seed, epoch):
        sampler = LengthBucketedSampler(lengths, 32, seed=seed)
        list(sampler)  # what was drawn before does not matter
        sampler.set_epoch(epoch)
        return tuple(sampler)

    assert order(0, 1) == order(0, 1)
    assert len({order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize("batch_size", [16, 32, 64])
def test_documentation_is_batched_with_at_most_five_percent_padding(encoded_train, batch_size):
    lengths = encoded_train["length"][:]
    sampler = LengthBucketedSampler(lengths, batch_size)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert padding_share(lengths, list(sampler), batch_size) <= 0.05
    assert padding_share(lengths, range(len(lengths)), batch_size) > 0.4


def test_loader_pads_as_little_as_promised(encoded_train, processor):
    sampler = LengthBucketedSampler(encoded_train["length"][:], 32)
    loader = DataLoader(encoded_train, batch_size=32, sampler=sampler, collate_fn=LatentTextCollator(processor))
    kept = total = rows = 0
    for batch in loader:
        kept += int(batch["attention_mask"].sum()) + int((batch["labels"] != -100).sum())
        total += batch["attention_mask"].numel() + batch["labels"].numel()
        rows += len(batch["labels"])
    assert rows == len(encoded_train)
    assert 1 - kept / total <= 0.05


def test_batches_come_in_mixed_order_and_mix_differently_each_epoch(encoded_train):
    lengths = encoded_train["length"][:]
    sampler = LengthBucketedSampler(lengths, 32)
    order = list(sampler)
    means = [sum(lengths[row] for row in order[n : n + 32]) / 32 for n in range(0, len(order) - 32, 32)]
    rising = sum(a < b for a, b in zip(means, means[1:], strict=False)) / (len(means) - 1)
    assert 0.4 < rising < 0.6
    first = {frozenset(order[n : n + 32]) for n in range(0, len(order), 32)}
    sampler.set_epoch(1)
    order = list(sampler)
    assert len(first & {frozenset(order[n : n + 32]) for n in range(0, len(order), 32)}) < 3


def test_padding_share_by_hand():
    # Batches (1, 3) and (2,): filled to 3 + 3 + 2 = 8 for 6 tokens.
    assert padding_share([1, 2, 3], [0, 2, 1], 2) == pytest.approx(1 - 6 / 8)
    assert padding_share([4, 4, 4], [0, 1, 2], 2) == 0.0


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        LengthBucketedSampler([1, 2], 0)
    with pytest.raises(ValueError, match="at least 1"):
        LengthBucketedSampler([1, 2], 2, mega_batches=0)
    with pytest.raises(ValueError, match="empty"):
        LengthBucketedSampler([], 2)


def test_the_batch_that_is_not_full_is_of_any_length():
    """It comes last, so what it does to a model is what an evaluation at the end of the epoch sees."""
    lengths = list(range(1, 101)) * 2  # 200 rows, the last 8 of them in a batch that is not full
    sampler = LengthBucketedSampler(lengths, batch_size=16)
    last = []
    for epoch in range(200):
        sampler.set_epoch(epoch)
        last.append(sum(lengths[row] for row in list(sampler)[-8:]) / 8)
    assert min(last) < 15 and max(last) > 85
    assert sum(last) / len(last) == pytest.approx(50.5, abs=7)  # 3.5 standard errors
