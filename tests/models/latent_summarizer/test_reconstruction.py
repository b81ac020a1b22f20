"""Causal language models that write the sentence from its compression: what they score, and what an empty one is for."""

import pytest
import torch

from hf_lvm.models.latent_summarizer.source_words import SourceWords
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import END, START, batch_of, row_generators

DECODERS = {
    "prompt of an LSTM": {"decoder": "hf_lvm_lstm_decoder"},
    "prompt of GPT-2": {"decoder": "gpt2"},
    "prompt of Llama": {"decoder": "llama", "prior": "gpt2"},
    "GPT-2 attends to the encoder": {"encoder": "bert", "decoder": "gpt2", "injection": "cross_attention"},
    "an LSTM attends to the encoder": {"decoder": "hf_lvm_lstm_decoder", "injection": "cross_attention"},
    "T5 attends to a reader": {"decoder": "hf_lvm_t5_decoder", "injection": "cross_attention", "reader": "bert"},
}
SAMPLED = {"estimator": "rloo", "num_samples": 3}
TEXTS = [[5, 9, 5, 7, 6, END], [8, 4, END], [3, 3, 4, 5, END]]


def summarizer(parts: dict, **options):
    return tiny_summarizer(**parts, perturbation=0.05, **SAMPLED | options)


@torch.no_grad()
@pytest.mark.parametrize("name", ["prompt of an LSTM", "prompt of GPT-2", "prompt of Llama"])
def test_a_sentence_is_written_behind_its_compression(name):
    model = summarizer(DECODERS[name])
    kept = torch.tensor([[True, False, False, True, False], [False, True, False, False, False], [True] * 4 + [False]])
    found = model(labels=batch_of(TEXTS)["labels"], latents=kept).reconstruction
    for row, (text, mask) in enumerate(zip(TEXTS, kept.tolist(), strict=True)):
        compression = [word for word, keep in zip(text, mask, strict=False) if keep]
        tokens = torch.tensor([[*compression, END, START, *text]])
        logits = model.decoder(tokens).logits[0, -len(text) - 1 : -1].log_softmax(-1)
        wanted = -logits[torch.arange(len(text)), torch.tensor(text)].sum()
        torch.testing.assert_close(found[row], wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", DECODERS)
def test_neither_other_rows_nor_other_samples_matter(name):
    model, batch = summarizer(DECODERS[name]), batch_of(TEXTS)
    together = model(**batch, generator=row_generators(3))
    for row, text in enumerate(TEXTS):
        alone = model(**batch_of([text]), generator=[row_generators(3)[row]])
        for field in ("reconstruction", "kl"):
            torch.testing.assert_close(together[field][row], alone[field][0], rtol=1e-5, atol=1e-5)
    one = model(labels=batch["labels"], latents=together.latents[1])
    source = model.source_of(batch["labels"], None)
    torch.testing.assert_close(one.reconstruction, -model.log_likelihood(source, together.latents)[1], rtol=1e-5, atol=1e-5)
    others = model(labels=batch["labels"], latents=together.latents[1] ^ model.source_of(batch["labels"], None).inside)
    assert ((others.reconstruction - one.reconstruction).abs() > 1e-6).all(), "the decoder must hear c"


@pytest.mark.parametrize("name", DECODERS)
def test_all_parts_learn(name):
    model = summarizer(DECODERS[name], empty_weight=0.5).train()
    model(**batch_of(TEXTS)).loss.backward()
    still = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # GPT-2 and BERT have positions and token types that these sentences do not reach or need.
    assert not [key for key in still if "estimator" not in key and "bias" not in key], still


@torch.no_grad()
def test_the_prior_is_that_of_nonempty_compressions():
    model = summarizer(DECODERS["prompt of Llama"])
    kept = torch.tensor([[True, False, False, True, False]])
    source = model.source_of(batch_of(TEXTS[:1])["labels"], None)
    logits = model.prior(torch.tensor([[START, 5, 7]])).logits[0].log_softmax(-1)
    wanted = logits[0, 5] + logits[1, 7] + logits[2, END] - torch.log1p(-logits[0, END].exp())
    torch.testing.assert_close(model.log_prior(source, kept.unsqueeze(0))[0, 0], wanted, rtol=1e-5, atol=1e-5)


def test_an_empty_compression_is_a_baseline_and_a_loss():
    plain = summarizer(DECODERS["prompt of GPT-2"], estimator="reinforce")
    batch, generators = batch_of(TEXTS), row_generators(3)
    value = plain(**batch, generator=generators)
    centred = summarizer(DECODERS["prompt of GPT-2"], estimator="reinforce", empty_baseline=True)
    output = centred(**batch, generator=row_generators(3))
    for field in ("row_loss", "reconstruction", "kl"):
        torch.testing.assert_close(output[field], value[field], rtol=1e-5, atol=1e-5)
    # The gradient of the decoder is the same, that of q another one, with the same mean.
    weights = [(model.decoder.lm_head.weight, model.posterior_head.scores.keep.weight) for model in (plain, centred)]
    ours, theirs = (torch.autograd.grad(out.loss, own) for out, own in zip((value, output), weights, strict=True))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-5)
    assert (ours[1] - theirs[1]).abs().max() > 1e-3
    source = plain.source_of(batch["labels"], None)
    empty = plain.log_empty(source)
    tokens = torch.tensor([[END, START, *TEXTS[1]]])
    logits = plain.decoder(tokens).logits[0, 1:-1].log_softmax(-1)
    torch.testing.assert_close(empty[1], logits[torch.arange(3), torch.tensor(TEXTS[1])].sum(), rtol=1e-5, atol=1e-5)
    weighed = summarizer(DECODERS["prompt of GPT-2"], estimator="reinforce", empty_weight=0.5)
    torch.testing.assert_close(
        weighed(**batch, generator=row_generators(3)).row_loss, value.row_loss - 0.5 * empty, rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_words_of_several_pieces_are_kept_whole():
    model = summarizer(DECODERS["prompt of GPT-2"])
    labels = torch.tensor([[5, 6, 7, 5, 6, END]])
    word_ids = torch.tensor([[0, 0, 1, 2, 2, -1]])
    source = model.source_of(labels, word_ids)
    assert source.words.tolist() == [[0, 1, 0]] and not source.are_tokens and source.lengths.tolist() == [3]
    kept = torch.tensor([[False, False, True]])
    assert source.labels_of_masks(kept).tolist() == [[5, 6, END]]
    batch = {"input_ids": labels[:, :-1], "word_ids": word_ids[:, :-1], "labels": labels, "decoder_word_ids": word_ids}
    posterior = model.encode(**batch)
    assert posterior.log_prob(kept) == -torch.inf and posterior.canonical(kept).tolist() == [[True, False, False]]
    assert model(**batch).loss.isfinite()


@torch.no_grad()
def test_words_dropped_from_what_the_decoder_reads():
    model, text = summarizer(DECODERS["prompt of GPT-2"]), TEXTS[1]
    read, kept = torch.tensor([[START, 3, 4]]), torch.tensor([[True, False]])
    found = model(labels=torch.tensor([text]), latents=kept, decoder_input_ids=read).reconstruction
    logits = model.decoder(torch.tensor([[8, END, START, 3, 4]])).logits[0, 2:].log_softmax(-1)
    torch.testing.assert_close(-found[0], logits[torch.arange(3), torch.tensor(text)].sum(), rtol=1e-5, atol=1e-5)


def test_compressions_as_labels():
    source = SourceWords.of_labels(torch.tensor([[7, 8, 9, END], [5, END, -100, -100]]), None, END)
    masks = torch.tensor([[[True, False, True], [False, False, False]], [[False] * 3, [True, False, False]]])
    assert source.labels_of_masks(masks).tolist() == [
        [[7, 9, END], [END, -100, -100]],
        [[END, -100, -100], [5, END, -100]],
    ]
