"""The segment decoder and the bigram model against loops over words, and their probabilities against 1."""

import itertools

import pytest
import torch

from hf_lvm import BigramDecoderConfig, BigramDecoderModel, SegmentDecoderConfig, SegmentDecoderModel
from tests.tiny_parts import END, PAD, START, perturb

IDS = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}


def segments(vocab_size: int = 7, **options) -> SegmentDecoderModel:
    config = SegmentDecoderConfig(vocab_size=vocab_size, hidden_size=4, gap_places=2, initializer_range=0.5, **IDS, **options)
    return perturb(SegmentDecoderModel(config).double(), 0.3).eval()


def bigrams(vocab_size: int = 7) -> BigramDecoderModel:
    config = BigramDecoderConfig(vocab_size=vocab_size, hidden_size=4, initializer_range=0.5, **IDS)
    return perturb(BigramDecoderModel(config).double(), 0.3).eval()


def gap_by_hand(model: SegmentDecoderModel, left: int, gap: list[int], right: int) -> torch.Tensor:
    """log p(gap | the words around it), word by word, over the whole vocabulary."""
    embed, total = model.embeddings.weight, torch.zeros((), dtype=torch.float64)
    for place, (previous, word) in enumerate(zip([left, *gap], [*gap, None], strict=True)):
        sides = {"left": embed[left], "previous": embed[previous], "right": embed[right]}
        units = {side: model.stops[side](each) for side, each in sides.items()}
        stop = sum(each[0] for each in units.values()) + model.stop_at[min(place, 1)]
        stop = stop + (units["left"][1:5] @ units["right"][1:5] + units["previous"][1:5] @ units["right"][5:]) / 2
        if word is None:
            return total + torch.nn.functional.logsigmoid(stop)
        gates = sum(model.gates[side](each) for side, each in sides.items()).softmax(-1)
        mixture = torch.zeros(len(embed), dtype=torch.float64)
        for gate, (side, each) in zip(gates, sides.items(), strict=True):
            logits = model.words.output(each + model.contexts[side](each).tanh())
            mixture = mixture + gate * logits.masked_fill(torch.arange(len(embed)) < 3, -torch.inf).softmax(-1)
        if right != END:
            mixture[right] = 0.0
        total = total + torch.nn.functional.logsigmoid(-stop) + (mixture / mixture.sum())[word].log()


@torch.no_grad()
def test_gaps_are_those_of_a_loop_over_words():
    model, words = segments(), [5, 3, 5, 6, 4]
    pairs = model(torch.tensor([words])).pair_log_probs[0]
    for left, right in itertools.combinations(range(len(words) + 2), 2):
        # Nodes count from the begin, and `right` is a place one behind.
        gap, following = words[left : right - 1], [*words, END][right - 1]
        found = pairs[left, right - 1]
        if following in gap:
            assert found == -torch.inf
        else:
            torch.testing.assert_close(found, gap_by_hand(model, [START, *words][left], gap, following))


@torch.no_grad()
@pytest.mark.parametrize("following", [4, END])
def test_the_gaps_of_a_pair_have_the_probability_one(following):
    model, total = segments(vocab_size=5), 0.0
    model.stop_at.fill_(2.5)
    behind = [] if following == END else [following]
    for length in range(8):
        texts = torch.tensor([[3, *gap, *behind] for gap in itertools.product((3, 4), repeat=length)])
        total += model(texts).pair_log_probs[:, 1, length + 1].exp().sum()
    assert total.item() == pytest.approx(1, abs=2e-4) and total < 1 + 1e-9


def test_padding_changes_nothing_and_all_weights_learn():
    model, words = segments(), torch.tensor([[3, 4, 3, 5], [3, 5, PAD, PAD]])
    pairs = model(words, torch.tensor([4, 2])).pair_log_probs
    torch.testing.assert_close(pairs[1][:3, [0, 1, 4]], model(words[1:, :2]).pair_log_probs[0])
    pairs[pairs > -torch.inf].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_what_is_no_word_is_refused():
    with pytest.raises(ValueError, match=r"Row\(s\) \[1\] hold padding, a start token or the end"):
        segments()(torch.tensor([[3, 4], [3, END]]))
    with pytest.raises(ValueError, match="set bos_token_id and eos_token_id"):
        SegmentDecoderModel(SegmentDecoderConfig(vocab_size=5, hidden_size=4))(torch.tensor([[3]]))
    with pytest.raises(ValueError, match="gap_places must be at least 1, but is 0"):
        SegmentDecoderConfig(gap_places=0)


@torch.no_grad()
def test_pairs_of_a_bigram_model_are_its_own_predictions():
    model, words = bigrams(), torch.tensor([[5, 3, 5]])
    logits = model(torch.tensor([[START, 5, 3, 5]])).logits[0].log_softmax(-1)
    assert (logits[:, [PAD, START]] == -torch.inf).all()
    wanted = logits[:, [5, 3, 5, END]]
    torch.testing.assert_close(model.pair_log_probs(words, START, END, allow_empty=True)[0], wanted)
    given = model.pair_log_probs(words, START, END)[0]
    torch.testing.assert_close(given[1:], wanted[1:])
    torch.testing.assert_close(given[0, :3], wanted[0, :3] - torch.log1p(-wanted[0, 3].exp()))
    assert given[0, 3] == -torch.inf


@torch.no_grad()
def test_a_bigram_model_generates_with_its_cache():
    model = bigrams().float()
    prompt = torch.tensor([[START, 4], [PAD, START]])
    mask = torch.tensor([[1, 1], [0, 1]])
    cached = model.generate(prompt, attention_mask=mask, max_new_tokens=6, num_beams=2)
    plain = model.generate(prompt, attention_mask=mask, max_new_tokens=6, num_beams=2, use_cache=False)
    assert torch.equal(cached, plain)
