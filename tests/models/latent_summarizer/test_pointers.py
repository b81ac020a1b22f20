"""Pointers and mixtures: one density for sampler, score and beams, over words and not over places."""

import itertools

import pytest
import torch

from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import END, START, batch_of, perturb, row_generators, tiny_config

SENTENCES = [[3, 4, 3, END], [4, 4, END]]
SAMPLED = {"estimator": "rloo", "decoder": "hf_lvm_lstm_decoder"}


# Language models that write compressions, attending to the sentence or with its states as their prompt.
COMPRESSORS = {
    "vocab": ("gpt2", "cross_attention"),
    "vocab by BART": ("bart", "cross_attention"),
    "vocab by T5": ("hf_lvm_t5_decoder", "cross_attention"),
    "vocab by Llama": ("llama", "prompt"),
    "vocab by prompted GPT-2": ("gpt2", "prompt"),
}
# The norms of Llama and T5 are float32 inside, whatever the model is.
SINGLE = {"vocab by Llama", "vocab by T5"}


def summarizer(posterior_type: str, vocab_size: int = 5, **options):
    if posterior_type in COMPRESSORS:
        family, options["compressor_injection"] = COMPRESSORS[posterior_type]
        options["compressor"] = tiny_config(family, vocab_size=vocab_size)
        options.setdefault("max_summary_words", 3)
        posterior_type = "vocab"
    model = tiny_summarizer(posterior_type=posterior_type, vocab_size=vocab_size, **SAMPLED | options).double()
    return perturb(model, 0.4, seed=5)


def every_compression(model, batch: dict) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """All sequences of up to three symbols as values (R, B, T), whether they can be or not, and their tokens."""
    source = model.source_of(batch["labels"], None)
    end = model.posterior_head.end_symbol(source)
    symbols = range(source.num_words) if model.config.posterior_type == "pointer" else (3, 4)
    sequences = [list(each) for length in range(4) for each in itertools.product(symbols, repeat=length)]
    values = torch.tensor([each + [end] * (4 - len(each)) for each in sequences]).unsqueeze(1)
    return values.expand(-1, len(source.words), -1), sequences


@torch.no_grad()
@pytest.mark.parametrize("posterior_type", ["pointer", "pointer_vocab", *COMPRESSORS])
def test_all_outputs_together_have_the_probability_one(posterior_type):
    model, batch = summarizer(posterior_type), batch_of(SENTENCES)
    tolerance = 1e-5 if posterior_type in SINGLE else 1e-10
    posterior = model.encode(**batch)
    values, sequences = every_compression(model, batch)
    log_q = posterior.log_prob(values)
    torch.testing.assert_close(log_q.logsumexp(0), torch.zeros(2, dtype=torch.float64), atol=tolerance, rtol=0)
    assert log_q[0].tolist() == [-torch.inf] * 2, "an empty one cannot be"
    if posterior_type in COMPRESSORS:
        assert (log_q[1:, 0] - log_q[1:, 1]).abs().max() > 1e-3, "it sees the sentence"
    else:
        longer = torch.tensor([len(each) > 2 for each in sequences])
        assert (log_q[longer, 1] == -torch.inf).all(), "nor one that is longer than its sentence"
    # Draws have the probability that the sampler says, and are as frequent as that.
    drawn = posterior.draw((4000,), torch.Generator().manual_seed(1))
    torch.testing.assert_close(posterior.log_prob(drawn.sequences), drawn.log_prob, atol=tolerance, rtol=tolerance)
    equal = (drawn.sequences.unsqueeze(1) == values.unsqueeze(0)).all(-1).double().mean(0)
    error = (log_q.exp() * (1 - log_q.exp()) / 4000).sqrt()
    # One of the rarest may come once or twice, and what cannot be never does.
    assert ((equal - log_q.exp()).abs() < 4.5 * error + 3 / 4000).all() and (equal[log_q == -torch.inf] == 0).all()
    found = posterior.beam(3, 60)
    torch.testing.assert_close(found.log_prob, log_q.topk(3, 0).values, atol=tolerance, rtol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("posterior_type", ["pointer", "pointer_vocab"])
def test_a_word_that_stands_twice_is_one_symbol(posterior_type):
    """Its probability is that of both places, and the divergence from a prior over words is none below zero."""
    model, batch = summarizer(posterior_type), batch_of(SENTENCES)
    source = model.source_of(batch["labels"], None)
    values, _ = every_compression(model, batch)
    log_q = model.encode(**batch).log_prob(values)
    possible = log_q > -torch.inf
    labels = model.posterior_head.labels_of(values, source)
    for row in range(2):
        texts = {tuple(each) for each in labels[possible[:, row], row].tolist()}
        assert len(texts) == possible[:, row].sum(), "no compression twice"
    log_p = model.log_prior(source, values)
    terms = torch.where(possible, log_q.exp() * (log_q - log_p), 0.0)
    assert (terms.sum(0) > 0).all()
    torch.manual_seed(2)
    many = {name: value.repeat(3000, 1) for name, value in batch.items()}
    kl = model(**many).kl.view(3000, 2)
    assert ((kl.mean(0) - terms.sum(0)).abs() < 4 * kl.std(0) / 3000**0.5).all()


@torch.no_grad()
def test_mixtures_are_what_they_say():
    """The first symbol of a sentence with a word twice, by hand."""
    model, batch = summarizer("pointer_vocab", vocab_size=6), batch_of([[3, 4, 3, END]])
    source = model.source_of(batch["labels"], None)
    encoded, network = model.encoded(source, **{name: batch[name] for name in ("input_ids", "attention_mask")}), None
    network = model.posterior_head.network
    hidden = network.begin(encoded.features).tanh().unsqueeze(0)
    output, _ = network.lstm(network.start.expand(1, 1, -1), (hidden, torch.zeros_like(hidden)))
    keys = torch.cat([network.key(encoded.states), network.end.expand(1, 1, -1)], 1)
    places = (network.query(output) @ keys.mT * output.shape[-1] ** -0.5).softmax(-1)[0, 0]
    mixed = network.mixed(torch.cat([output[0, 0], places[:3] @ encoded.states[0]])).tanh()
    written = network.words.logits(mixed).softmax(-1)
    share = network.copies(mixed).sigmoid()
    copied = torch.zeros(6, dtype=torch.float64)
    for place, token in enumerate([3, 4, 3, END]):
        copied[token] += places[place]
    mixture = share * copied + (1 - share) * written
    mixture[END] = 0.0  # c has a word
    found = model.encode(**batch).decoder.begin().logits.softmax(-1)[0]
    torch.testing.assert_close(found, mixture / mixture.sum())
    assert found[0] == found[START] == 0 < found[5]


@pytest.mark.parametrize("posterior_type", ["pointer", "pointer_vocab", "vocab", "vocab by Llama"])
def test_training_with_and_without_summaries(posterior_type):
    model = summarizer(posterior_type, vocab_size=9, classification_weight=0.5, empty_weight=0.1).train()
    batch = batch_of([[3, 4, 3, 5, END], [6, 7, END], [8, 3, 4, END]])
    summary_ids = torch.tensor([[3, 5, END], [-100, -100, -100], [4, END, -100]])
    output = model(**batch, summary_ids=summary_ids, generator=row_generators(3))
    output.loss.backward()
    still = [key for key, each in model.named_parameters() if each.grad is None or not each.grad.isfinite().all()]
    assert not still
    with torch.no_grad():
        values = model.posterior_head.told(model.source_of(batch["labels"], None), None, summary_ids)[0]
        log_q = model.encode(**batch).log_prob(values)
        alone = model(**batch_of([[6, 7, END]]), generator=[row_generators(3)[1]])
    for row in (0, 2):
        wanted = output.reconstruction[row] + output.kl[row] - 0.5 * log_q[row]
        torch.testing.assert_close(output.row_loss[row].detach(), wanted)
    torch.testing.assert_close(output.row_loss[1].detach(), alone.row_loss[0])
    told = model(**batch, kept=torch.tensor([[True, False, False, True], [False] * 4, [False, False, True, False]]),
                 generator=row_generators(3))  # fmt: skip
    torch.testing.assert_close(told.loss, output.loss)


@torch.no_grad()
@pytest.mark.parametrize("posterior_type", ["pointer", "pointer_vocab"])
def test_lengths(posterior_type):
    model, batch = summarizer(posterior_type, target_ratio=0.5), batch_of([[3, 4, 3, 4, END], [4, 3, END]])
    source = model.source_of(batch["labels"], None)
    values = model.encode(**batch).sample((20,))
    assert model.posterior_head.counts_of(values, source).tolist() == [[2, 1]] * 20
    model = summarizer(posterior_type, min_summary_words=2, max_summary_words=3)
    counts = model.posterior_head.counts_of(model.encode(**batch).sample((50,)), source)
    assert counts[:, 0].min() == 2 and counts[:, 0].max() == 3 and (counts[:, 1] == 2).all()


@torch.no_grad()
@pytest.mark.parametrize("posterior_type", ["pointer", "pointer_vocab"])
def test_batch_and_padding_do_not_matter(posterior_type):
    model = summarizer(posterior_type, vocab_size=9)
    rows = [[3, 4, 3, 5, 6, END], [6, 7, END], [8, 8, 4, END]]
    together = model(**batch_of(rows, extra_padding=2), generator=row_generators(3))
    for index, row in enumerate(rows):
        alone = model(**batch_of([row]), generator=[row_generators(3)[index]])
        for field in ("kl", "reconstruction"):
            torch.testing.assert_close(together[field][index], alone[field][0])


@pytest.mark.parametrize(
    ("posterior_type", "summary", "said"),
    [
        ("pointer", [7, END, -100, -100], r"row\(s\) \[0\] have words that their sentences do not have.*'pointer_vocab'"),
        ("pointer", [3, 4, 3, END], r"row\(s\) \[0\] are longer than their sentences"),
        ("pointer_vocab", [3, 4, 3, END], "are longer than their sentences"),
        ("vocab", [3, 3, 3, 3, END], "have more tokens than max_summary_words, 3"),
        ("pointer", [END, -100, -100, -100], "fewer words than min_summary_words, 1"),
        ("pointer_vocab", [3, 4, -100, -100], "do not end with the token 2"),
    ],
)
def test_summaries_that_cannot_be_are_refused(posterior_type, summary, said):
    model = summarizer(posterior_type, vocab_size=9)
    with pytest.raises(ValueError, match=said):
        model(**batch_of([[3, 4, END]]), summary_ids=torch.tensor([summary]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"posterior_type": "words"}, "Unknown posterior_type 'words': choose one of 'delete', 'pointer'"),
        ({"posterior_type": "pointer"}, "A segment decoder fills the gaps"),
        ({"estimator": "exact", "decoder": "gpt2"}, "'elbo' does not take the estimator 'exact'"),
        (
            {"injection": "cross_attention", "decoder": "llama"},
            "A 'llama' decoder without layers that attend.*would ignore them",
        ),
        ({"posterior_type": "vocab"}, "A compressor is for the posterior_type 'vocab'"),
        ({"target_ratio": 0}, "target_ratio is 0: it is above 0 and at most 1"),
        ({"target_ratio": 1.5}, "target_ratio is 1.5"),
        ({"min_summary_words": 0}, "leave no length"),
        ({"injection": "memory", "decoder": "gpt2"}, "Unknown injection 'memory': choose one of 'prompt', 'cross_attention'"),
        ({"prior_weight": -1}, "prior_weight must be 0 or more"),
        ({"reader": "bert"}, "A reader of c is for a decoder that attends to it"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    own = {"estimator": "rloo", **options}
    if own.get("posterior_type") == "vocab":
        own["decoder"] = "gpt2"
    with pytest.raises(ValueError, match=said):
        tiny_summarizer(**own)


def test_a_prior_of_fewer_words_is_refused():
    from hf_lvm import BigramDecoderConfig, LatentSummarizerConfig
    from tests.tiny_parts import tiny_config

    with pytest.raises(ValueError, match="The prior knows 7 tokens and the decoder.*23"):
        LatentSummarizerConfig(decoder=tiny_config("gpt2"), estimator="rloo", prior=BigramDecoderConfig(vocab_size=7))
