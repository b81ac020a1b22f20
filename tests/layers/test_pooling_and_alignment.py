import pytest
import torch

from hf_lvm.layers.alignment import left_align
from hf_lvm.layers.pooling import POOLINGS, Pooling

HIDDEN = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
LENGTHS = [5, 2, 1]
MASK = torch.tensor([[1] * length + [0] * (5 - length) for length in LENGTHS])


def by_loops(name: str) -> torch.Tensor:
    rows = []
    for hidden, length in zip(HIDDEN, LENGTHS, strict=True):
        tokens = [hidden[position] for position in range(length)]
        rows.append(
            {
                "first": tokens[0],
                "last": tokens[-1],
                "mean": sum(tokens) / length,
                "max": torch.stack(tokens).max(0).values,
                "attention": sum(tokens) / length,
            }[name]
        )
    return torch.stack(rows)


@pytest.mark.parametrize("name", POOLINGS)
def test_against_loops(name):
    pooling = Pooling(name, 4)
    pooling.init_weights()
    torch.testing.assert_close(pooling(HIDDEN, MASK), by_loops(name))


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_is_never_read(name):
    pooling = Pooling(name, 4)
    garbage = HIDDEN.masked_fill(MASK.unsqueeze(-1) == 0, 1e9)
    assert torch.equal(pooling(garbage, MASK), pooling(HIDDEN.masked_fill(MASK.unsqueeze(-1) == 0, 0.0), MASK))


def test_attention_learns_which_tokens_matter():
    pooling = Pooling("attention", 4)
    with torch.no_grad():
        pooling.score.weight.copy_(torch.tensor([[50.0, 0, 0, 0]]))
    chosen = HIDDEN[:, :, 0].masked_fill(MASK == 0, -1e9).argmax(1)
    torch.testing.assert_close(pooling(HIDDEN, MASK), HIDDEN[torch.arange(3), chosen], rtol=0, atol=0.2)
    expected = torch.stack([(50 * h[:n, 0]).softmax(0) @ h[:n] for h, n in zip(HIDDEN, LENGTHS, strict=True)])
    torch.testing.assert_close(pooling(HIDDEN, MASK), expected)


def test_rows_move_to_the_left_and_keep_their_order():
    ids = torch.tensor([[0, 0, 7, 8], [9, 1, 0, 0], [0, 5, 0, 6], [1, 2, 3, 4]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]])
    aligned, aligned_mask = left_align(ids, mask)
    assert aligned.tolist() == [[7, 8, 0, 0], [9, 1, 0, 0], [5, 6, 0, 0], [1, 2, 3, 4]]
    assert aligned_mask.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert torch.equal(left_align(ids, mask.bool())[0], aligned)


def test_unknown_pooling():
    with pytest.raises(
        ValueError, match="Unknown pooling 'median': choose one of 'first', 'last', 'mean', 'max', 'attention'"
    ):
        Pooling("median", 4)
