"""A prior with another tokenizer: mapped ids against re-scoring, and the bridge of texts against enumeration."""

import itertools
import json
import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BartTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from hf_lvm.data import train_word_tokenizer
from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.relaxed_sequences import embed_sequences, relaxed_sequences
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.generation.token_bridge import PriorBridge
from tests.generation.decoders import tiny_model
from tests.tiny_parts import row_generators

END_OF_TEXT = "<|endoftext|>"
BART_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
# The two bytes of é are characters of their own for a byte-level tokenizer; one alone is no text.
TEXTS = ["ab ab", "é aab", "ba ab", "ab"]


def learnt(texts: list[str], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Token strings and merges of a byte-level tokenizer that knows only the bytes of the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    vocabulary = tokenizer.get_vocab()
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    return sorted(vocabulary, key=vocabulary.get), merges


TOKENS, MERGES = learnt(TEXTS, 8)


def gpt2_like(tokens=TOKENS, merges=MERGES, **options) -> GPT2Tokenizer:
    return GPT2Tokenizer({token: index for index, token in enumerate([*tokens, END_OF_TEXT])}, merges, **options)


def bart_like(tokens=TOKENS, merges=MERGES, extra=(), **options) -> BartTokenizer:
    """The same pieces under other ids, special tokens around them, as BART numbers those of GPT-2."""
    renumbered = [*BART_SPECIAL, *reversed(tokens), *extra, "<mask>"]
    return BartTokenizer({token: index for index, token in enumerate(renumbered)}, merges, **options)


def metaspace() -> PreTrainedTokenizerFast:
    """Pieces that begin words with a mark of their own, the first one too, as those of Llama and T5."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=10, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(["ab ab", "b ab"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", bos_token="</s>")


def prior_model(tokenizer, family="gpt2"):
    return tiny_model(family, vocabulary=len(tokenizer))


def scored_by_hand(model, start: int, end: int, rows: list[list[int]]) -> torch.Tensor:
    """log p of rows of the prior's ids with their EOS, from one pass of the bare model: (N,)."""
    width = max(map(len, rows)) + 1
    labels = torch.tensor([[*row, end, *[0] * (width - 1 - len(row))] for row in rows])
    inputs = torch.cat([torch.full((len(rows), 1), start), labels[:, :-1]], dim=1)
    with torch.no_grad():
        steps = model(input_ids=inputs).logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return (steps * (torch.arange(width) <= torch.tensor([len(row) for row in rows]).unsqueeze(1))).sum(-1)


def all_values(bridge: PriorBridge, size: int, longest: int) -> torch.Tensor:
    """Every sequence of up to `longest` symbols, (S, 1, longest + 1)."""
    symbols = [index for index in range(size) if index != bridge.eos_token_id and index not in bridge.unscorable]
    rows = [row for length in range(longest + 1) for row in itertools.product(symbols, repeat=length)]
    return torch.tensor([[*row, *[bridge.eos_token_id] * (longest + 1 - len(row))] for row in rows]).unsqueeze(1)


def read_by_prior(bridge: PriorBridge, values: torch.Tensor) -> list[tuple[int, ...]]:
    """What the prior's tokenizer makes of sequences, up to its EOS."""
    compressor, prior = bridge.compressor_tokenizer, bridge.prior_tokenizer
    rows = []
    for row in values.flatten(0, -2).tolist():
        text = compressor.decode(row[: row.index(bridge.eos_token_id)], skip_special_tokens=False)
        if getattr(compressor, "add_prefix_space", False):
            text = text.removeprefix(" ")
        read = [*prior.encode(text, add_special_tokens=False), prior.eos_token_id]
        rows.append(tuple(read[: read.index(prior.eos_token_id)]))
    return rows


# ---- mapped ids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["gpt2 scores bart", "bart scores gpt2"])
def test_a_renumbered_vocabulary_is_scored_exactly(direction):
    compressor, prior = (bart_like(), gpt2_like()) if direction == "gpt2 scores bart" else (gpt2_like(), bart_like())
    bridge = PriorBridge(compressor, prior)
    assert bridge.kind == "permutation" and bridge.reason is None
    model, texts = prior_model(prior), ["ab ab", "é", "aab ba", ""]
    rows = [compressor.encode(text, add_special_tokens=False) for text in texts]
    width = max(map(len, rows)) + 3
    # EOS and, behind it, anything.
    filler = torch.randint(0, len(compressor), (len(rows), width))
    values = torch.tensor([[*row, bridge.eos_token_id, *filler[i, len(row) + 1 :]] for i, row in enumerate(rows)])
    by_text = [prior.encode(text, add_special_tokens=False) for text in texts]
    expected = scored_by_hand(model, prior.bos_token_id, prior.eos_token_id, by_text)
    score = bridge.score(model, values)
    torch.testing.assert_close(score.log_prob, expected, rtol=0.0, atol=1e-10)
    assert (score.charge == 0).all() and score.non_canonical_share == 0 and not score.spelled.any()
    # Any tokens, canonical or not, in any shape; padding behind the end may be none of the ids.
    values = torch.stack([values, values.masked_fill((values == bridge.eos_token_id).cumsum(-1) > 0, bridge.eos_token_id)])
    values[1, :, -1] = -100
    torch.testing.assert_close(bridge.log_prob(model, values), expected.expand(2, -1), rtol=0.0, atol=1e-10)
    cut = [index for index in range(len(compressor)) if index not in compressor.all_special_ids][:4]
    strings = compressor.convert_ids_to_tokens(cut)
    other = scored_by_hand(model, prior.bos_token_id, prior.eos_token_id, [prior.convert_tokens_to_ids(strings)])
    value = torch.tensor([[*cut, bridge.eos_token_id]])
    torch.testing.assert_close(bridge.log_prob(model, value), other, rtol=0.0, atol=1e-10)


def test_the_same_tokenizer_is_scored_as_it_is_and_sums_to_one():
    tokenizer = gpt2_like()
    bridge = PriorBridge(tokenizer, gpt2_like())
    assert bridge.kind == "same" and bridge.unscorable == ()
    model = prior_model(tokenizer, "lstm")
    decoder = CachedDecoder(model, prompt=torch.tensor([[tokenizer.bos_token_id]]), conditions=None)
    values = all_values(bridge, len(tokenizer), 2)
    log_prob = bridge.log_prob(decoder, values)
    longer = SymbolSequences(decoder, tokenizer.eos_token_id, 3)
    torch.testing.assert_close(log_prob, longer.log_prob(values), rtol=0.0, atol=1e-10)
    # Together with what is longer, whose end is free: EOS counts exactly once.
    more = all_values(bridge, len(tokenizer), 3)
    more = more[(more[:, 0, :3] != tokenizer.eos_token_id).all(-1)]
    total = log_prob.exp().sum() + longer.log_prob(more).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-10)


def test_special_tokens_that_only_one_side_has_are_left_out():
    compressor = bart_like(extra=["madeupword0000", END_OF_TEXT])
    bridge = PriorBridge(compressor, gpt2_like(), vocabulary_size=len(compressor) + 2)
    assert bridge.kind == "permutation"
    names = [*(compressor.convert_ids_to_tokens(index) for index in bridge.unscorable[:-2])]
    assert names == ["<s>", "<pad>", "<unk>", "madeupword0000", END_OF_TEXT, "<mask>"]
    assert bridge.unscorable[-2:] == (len(compressor), len(compressor) + 1)
    model, end = prior_model(gpt2_like()), bridge.eos_token_id
    for symbol in (bridge.unscorable[1], bridge.unscorable[-1], len(compressor) + 7, -100):
        with pytest.raises(ValueError, match=f"cannot score .*{symbol}.*forbidden=bridge.unscorable"):
            bridge.log_prob(model, torch.tensor([[5, symbol, end]]))
    with pytest.raises(ValueError, match="has no EOS"):
        bridge.log_prob(model, torch.tensor([[5, 6, 7]]))


def test_samples_of_a_compressor_are_scored_row_by_row_with_a_gradient():
    compressor, prior = bart_like(), gpt2_like()
    bridge = PriorBridge(compressor, prior)
    decoder = CachedDecoder(tiny_model("llama", len(compressor)), prompt=torch.tensor([[2], [2]]))
    q = SymbolSequences(decoder, bridge.eos_token_id, 5, pad_token_id=1, forbidden=bridge.unscorable)
    samples, model = q.sample((3,), row_generators(2)), prior_model(prior)
    log_prob = bridge.log_prob(model, samples)
    assert log_prob.shape == (3, 2) and log_prob.requires_grad
    # A prior that begins with something of its own in each row.
    prompts = torch.tensor([[prior.bos_token_id, 0], [prior.bos_token_id, 1]])
    rows = bridge.log_prob(CachedDecoder(model, prompt=prompts), samples)
    for row in range(2):
        alone = bridge.log_prob(CachedDecoder(model, prompt=prompts[row : row + 1]), samples[:, row])
        torch.testing.assert_close(rows[:, row], alone, rtol=0.0, atol=1e-10)
    assert (rows - log_prob).abs().max() > 1e-3


def test_relaxed_sequences_are_read_by_a_reordered_table():
    compressor, prior = bart_like(), gpt2_like()
    bridge, model = PriorBridge(compressor, prior), prior_model(prior)
    decoder = CachedDecoder(tiny_model("gpt2", len(compressor)), prompt=torch.tensor([[0]]))
    q = SymbolSequences(decoder, bridge.eos_token_id, 4, forbidden=bridge.unscorable)
    relaxed = relaxed_sequences(q, 1.0, (3,), straight_through=True)
    table = model.get_input_embeddings().weight
    embeds = embed_sequences(relaxed, bridge.reordered(table)).embeds
    tokens = [compressor.convert_ids_to_tokens(row) for row in relaxed.points.argmax(-1)[:, 0].tolist()]
    names = {"</s>": END_OF_TEXT}
    ids = torch.tensor([prior.convert_tokens_to_ids([names.get(token, token) for token in row]) for row in tokens])
    torch.testing.assert_close(embeds[:, 0], table[ids])


# ---- what keeps ids from being mapped ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compressor", "prior", "reason"),
    [
        (bart_like, lambda: gpt2_like(TOKENS[:-1], MERGES[:-1]), "lacks the token"),
        (lambda: gpt2_like(TOKENS[:-1], MERGES[:-1]), bart_like, "is cut into"),
        # The same strings, but a blank goes in front of the first word.
        (bart_like, lambda: gpt2_like(add_prefix_space=True), "is cut into"),
        # The same strings, joined in another order.
        (bart_like, lambda: gpt2_like(["a", "b", "c", "ab", "bc"], [("a", "b"), ("b", "c")]), "lacks the token"),
        (
            lambda: bart_like(["a", "b", "c", "ab", "bc", "Ġ"], [("b", "c"), ("a", "b")]),
            lambda: gpt2_like(["a", "b", "c", "ab", "bc", "Ġ"], [("a", "b"), ("b", "c")]),
            "is cut into",
        ),
        # The same strings, but whole words that are joined with blanks.
        (
            lambda: train_word_tokenizer(["a b ab"]),
            lambda: bart_like(["a", "b", "ab"], [("a", "b")]),
            "are read as",
        ),
    ],
)
def test_tokenizers_that_cut_otherwise_get_the_bridge_of_texts(compressor, prior, reason):
    bridge = PriorBridge(compressor(), prior())
    assert bridge.kind == "text" and reason in bridge.reason
    with pytest.raises(ValueError, match="whose symbols are those of the compressor"):
        bridge.reordered(torch.zeros(20, 4))


# ---- the bridge of texts -----------------------------------------------------------------------------------------------


FEWER = (TOKENS[:-2], MERGES[:-2])
BRIDGES = {
    "other merges": (gpt2_like, lambda: gpt2_like(*FEWER)),
    "blank in front": (bart_like, lambda: gpt2_like(add_prefix_space=True)),
    "blank in front of its own": (lambda: bart_like(add_prefix_space=True), gpt2_like),
    # Of these all but 'ab' is unknown, and capitals are folded: very different texts are one to the prior.
    "unknown words": (gpt2_like, lambda: train_word_tokenizer(["ab"], lowercase=True)),
    # Bytes that the prior does not know are read as its end.
    "unknown bytes": (gpt2_like, lambda: gpt2_like(["a", "b", "Ġ"], [])),
    "words": (lambda: train_word_tokenizer(["a b ab"]), gpt2_like),
    "marks": (metaspace, gpt2_like),
    "into marks": (gpt2_like, metaspace),
}


@pytest.mark.parametrize("case", BRIDGES)
def test_what_is_charged_is_a_distribution_over_tokens(case):
    """Of all tokens that the prior reads as one sequence of its own, the shares sum to one at most."""
    compressor, prior = (make() for make in BRIDGES[case])
    bridge = PriorBridge(compressor, prior, epsilon=0.2)
    assert bridge.kind == "text"
    values = all_values(bridge, len(compressor), 4 if case == "other merges" else 3)
    score = bridge.score(prior_model(prior), values)
    assert score.log_prob.isfinite().all() and (score.charge > 0).all()
    sums: dict[tuple, float] = {}
    for read, charge in zip(read_by_prior(bridge, values), score.charge.flatten().tolist(), strict=True):
        sums[read] = sums.get(read, 0.0) + math.exp(-charge)
    assert max(sums.values()) <= 1.0 + 1e-12
    assert max(sums.values()) > 0.8
    assert score.log_prob.exp().sum() <= 1.0


def test_segmentations_of_one_text_are_charged_as_documented():
    compressor, prior = gpt2_like(), gpt2_like(*FEWER)
    bridge = PriorBridge(compressor, prior, epsilon=0.01)
    text, number = "ab ab", {token: index for index, token in enumerate(TOKENS)}
    pieces = [
        [number[string[start:stop]] for start, stop in itertools.pairwise((0, *cuts, 5))]
        for string in ["abĠab"]
        for size in range(5)
        for cuts in itertools.combinations(range(1, 5), size)
        if all(string[start:stop] in number for start, stop in itertools.pairwise((0, *cuts, 5)))
    ]
    assert len(pieces) > 3
    values = torch.full((len(pieces), 6), bridge.eos_token_id)
    for index, row in enumerate(pieces):
        values[index, : len(row)] = torch.tensor(row)
    model = prior_model(prior)
    score = bridge.score(model, values)
    canonical = torch.tensor([row == compressor.encode(text, add_special_tokens=False) for row in pieces])
    assert torch.equal(score.canonical, canonical) and canonical.sum() == 1 and not score.spelled.any()
    assert score.non_canonical_share == pytest.approx(1 - 1 / len(pieces))
    log_string = scored_by_hand(model, prior.bos_token_id, prior.eos_token_id, [prior.encode(text, add_special_tokens=False)])
    shares = torch.where(canonical, 0.99, torch.tensor(0.01 * 2.0**-4, dtype=torch.float64))
    expected = log_string + shares.log()
    torch.testing.assert_close(score.log_prob, expected, rtol=0.0, atol=1e-10)
    assert score.charge.neg().exp().sum() <= 1.0


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("other", [True, False])
@pytest.mark.parametrize("family", ["bytes", "marks"])
def test_a_blank_in_front_is_each_tokenizers_own_affair(own, other, family):
    compressor = bart_like(add_prefix_space=own)
    prior = metaspace() if family == "marks" else gpt2_like(*FEWER, add_prefix_space=other)
    bridge, model, texts = PriorBridge(compressor, prior, epsilon=0.01), prior_model(prior), ["ab ab", "b", "ab b ab"]
    rows = [compressor.encode(text, add_special_tokens=False) for text in texts]
    values = torch.full((3, max(map(len, rows)) + 1), bridge.eos_token_id)
    for index, row in enumerate(rows):
        values[index, : len(row)] = torch.tensor(row)
    score = bridge.score(model, values)
    assert bridge.kind == "text" and score.canonical.all() and not score.spelled.any()
    by_text = [prior.encode(text, add_special_tokens=False) for text in texts]
    log_string = scored_by_hand(model, prior.bos_token_id, prior.eos_token_id, by_text)
    expected = log_string + torch.tensor(0.99, dtype=torch.float64).log()
    torch.testing.assert_close(score.log_prob, expected, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("case", BRIDGES)
def test_the_divergence_is_at_least_that_of_the_strings(case):
    compressor, prior = (make() for make in BRIDGES[case])
    bridge, model = PriorBridge(compressor, prior), prior_model(prior)
    decoder = CachedDecoder(tiny_model("gpt2", len(compressor)), prompt=torch.tensor([[0]]))
    q = SymbolSequences(decoder, bridge.eos_token_id, 3, forbidden=bridge.unscorable)
    values = all_values(bridge, len(compressor), 3)
    with torch.no_grad():
        log_q, score = q.log_prob(values).squeeze(1), bridge.score(model, values)
    assert log_q.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
    reported = (log_q.exp() * (log_q - score.log_prob.squeeze(1))).sum().item()
    # What the prior tells apart, with its probability and that under q.
    read = read_by_prior(bridge, values)
    kinds = {row: number for number, row in enumerate(dict.fromkeys(read))}
    which = torch.tensor([kinds[row] for row in read])
    q_strings = torch.zeros(len(kinds), dtype=torch.float64).index_add(0, which, log_q.exp())
    log_p = scored_by_hand(model, prior.bos_token_id, prior.eos_token_id, [list(row) for row in kinds])
    divergence = (q_strings * (q_strings.log() - log_p)).sum().item()
    assert 0.0 < divergence <= reported
    uncharged = (log_q.exp() * (log_q - log_p[which])).sum().item()
    # Without the charge it is no bound wherever texts can be written in several ways.
    assert len(kinds) < len(values) and uncharged < divergence - 0.01


# ---- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [({"epsilon": 0.0}, "above 0"), ({"epsilon": 0.9}, "above 0"), ({"vocabulary_size": 2}, "outside its vocabulary_size")],
)
def test_options_that_leave_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PriorBridge(gpt2_like(), bart_like(), **options)


def test_tokenizers_without_ends_or_beginnings_are_refused():
    without = metaspace()
    without.eos_token = None
    with pytest.raises(ValueError, match="compressor's tokenizer has neither"):
        PriorBridge(without, gpt2_like())
    without = gpt2_like()
    without.bos_token = None
    with pytest.raises(ValueError, match="pass start_token_id"):
        PriorBridge(gpt2_like(), without)
    assert PriorBridge(gpt2_like(), without, start_token_id=0).kind == "same"


def test_sequences_that_are_no_values_are_refused_by_the_bridge_of_texts():
    compressor, prior = gpt2_like(), gpt2_like(*FEWER)
    bridge = PriorBridge(compressor, prior, vocabulary_size=len(compressor) + 1)
    assert bridge.unscorable == (len(compressor),)
    model = prior_model(prior)
    with pytest.raises(ValueError, match="has no EOS"):
        bridge.score(model, torch.tensor([[0, 1]]))
    for symbol in (-100, len(compressor)):
        with pytest.raises(ValueError, match=f"cannot score .*{symbol}"):
            bridge.score(model, torch.tensor([[0, symbol, bridge.eos_token_id]]))
