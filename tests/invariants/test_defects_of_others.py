"""What implementations of text VAEs have got wrong, each as a test that fails when it happens here.

The list is of defects found in published code. Some are tested where the thing itself is tested:

| defect | test |
|---|---|
| the sign of log p(z) - log q(z|x) reversed in importance weights | here; `objectives/test_importance_weighting.py` |
| token ids and attention mask exchanged on the way to the encoder | here |
| a batch's loss multiplied by sentence length, padding trained on | here; `contract.py` (batch == single) |
| token-mean cross-entropy against a summed KL: the KL weight depends on length | here; `training/phases/test_kl_control.py` |
| gradients clipped before they exist | `training/test_latent_trainer.py`, `training/phases/test_aggressive.py` |
| a KL schedule longer than the training | `training/test_latent_trainer.py`, `objectives/test_kl_schedules.py` |
| tokens counted that were never predicted (BOS); sentences counted twice | here; `metrics/test_text_likelihood.py` |
| dropout on at evaluation | here; `training/phases/test_collapse_guard.py` |
| word dropout that drops embeddings, or labels | here; `training/test_latent_trainer.py` |
| test texts cut to a length, so that they cost less | here |
| training batches in the order of the file | `training/test_latent_trainer.py` |
| the unknown word of a corpus split into pieces | here |
| commands that name another recipe's file | `recipes/test_recipes.py` |
| convolutions that generate from a context of one token | `backbones/test_dilated_cnn_decoder.py` |
| a checkpoint that is saved but never resumed from | `contract.py`, `training/test_checkpoints.py` |
| the KL of a von Mises-Fisher posterior by another formula | `distributions/test_von_mises_fisher.py` |
"""

import math

import pytest
import torch
from datasets import Dataset

from hf_lvm.data import (
    LatentTextCollator,
    LatentTextProcessor,
    encode_dataset,
    train_bpe_tokenizer,
    train_word_tokenizer,
)
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood
from hf_lvm.training.word_dropout import drop_words
from tests.tiny_parts import END, batch_of, perturb, random_rows, row_generators, tiny_vae

TEXTS = ["a small cat sees the dog", "the dog sleeps", "a bird hears the small cat and the dog"]


@pytest.fixture(scope="module")
def processor() -> LatentTextProcessor:
    tokenizer = train_word_tokenizer(TEXTS)
    return LatentTextProcessor(tokenizer, tokenizer)


@torch.no_grad()
def test_importance_weights_have_the_sign_of_the_bound():
    """Reversed, they overestimate log p(x), which looks like a better model."""
    model, batch = perturb(tiny_vae(injection="embedding", latent_size=2), 0.3), batch_of(random_rows(4))
    estimate = model.estimate_log_likelihood(**batch, num_samples=4000, keep_log_weights=True, generator=row_generators(4))
    posterior = model.encode(batch["input_ids"], batch["attention_mask"])
    samples = posterior.sample((4000,), generator=row_generators(4))
    likelihood = torch.stack([-model(labels=batch["labels"], latents=z).reconstruction for z in samples[:50]])
    ratio = model.prior_of(4).log_prob(samples[:50]) - posterior.log_prob(samples[:50])
    torch.testing.assert_close(estimate.log_weights[:50].float(), likelihood + ratio, rtol=1e-4, atol=1e-4)
    # E_q[p(z) / q(z|x)] = 1 says which way round the ratio is, whatever the decoder.
    weights = (model.prior_of(4).log_prob(samples) - posterior.log_prob(samples)).exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert ((weights.mean(0) - 1).abs() < 5 * error).all() and (error < 0.2).all()


def test_ids_and_mask_reach_the_encoder_under_their_own_names(processor):
    encoded = [{"input_ids": ids, "labels": labels} for ids, labels in zip(*processor.tokenize(TEXTS), strict=True)]
    batch = LatentTextCollator(processor)(encoded)
    assert set(batch["attention_mask"].unique().tolist()) == {0, 1}
    for row, features in enumerate(encoded):
        kept = batch["input_ids"][row][batch["attention_mask"][row] == 1]
        assert kept.tolist() == features["input_ids"]


@torch.no_grad()
def test_the_loss_of_a_sentence_is_the_sum_of_its_own_tokens():
    """Whatever else is in the batch: no mean over tokens, nothing from the padding, nothing times the length."""
    model, rows = perturb(tiny_vae(injection="embedding"), 0.3), random_rows(5, longest=9)
    latents = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    together = model(labels=batch_of(rows, extra_padding=6)["labels"], latents=latents)
    for index, row in enumerate(rows):
        log_probabilities = model(labels=torch.tensor([row]), latents=latents[index : index + 1]).logits.log_softmax(-1)
        by_hand = -sum(log_probabilities[0, place, token].item() for place, token in enumerate(row))
        assert together.reconstruction[index].item() == pytest.approx(by_hand, rel=1e-5)
    assert together.loss.item() == pytest.approx(together.reconstruction.mean().item())


def test_perplexity_counts_the_tokens_that_were_predicted(processor):
    labels = processor.tokenize(TEXTS)[1]
    predicted = sum(map(len, labels))
    assert predicted == sum(len(text.split()) + 1 for text in TEXTS), "words and the end, not the start"
    # A uniform model over V tokens has perplexity V whatever the lengths are, if the same tokens are summed and counted.
    nll = [len(row) * math.log(50) for row in labels]
    words, size = [len(text.split()) for text in TEXTS], [len(text) for text in TEXTS]
    likelihood = compute_text_likelihood(nll, num_tokens=list(map(len, labels)), num_words=words, num_bytes=size)
    assert likelihood["token_perplexity"] == pytest.approx(50) and likelihood["tokens"] == predicted
    assert likelihood["sentences"] == len(TEXTS)


def test_a_text_is_read_whole_or_left_out(processor):
    """Cut to a length, long texts would cost less than they do."""
    texts = Dataset.from_dict({"text": [*TEXTS, " ".join(TEXTS * 4)]})
    assert [len(row) for row in encode_dataset(texts, processor)["labels"]] == [
        len(text.split()) + 1 for text in texts["text"]
    ]
    kept = encode_dataset(texts, processor, max_length=9, keep_columns=("text",))
    assert kept["text"][:] == [text for text in texts["text"] if len(text.split()) + 1 <= 9] != texts["text"][:]
    assert [len(row) for row in kept["labels"]] == [len(text.split()) + 1 for text in kept["text"]]


def test_the_unknown_word_of_a_corpus_is_one_token():
    """Split into pieces, it would be predicted piece by piece, each nearly certain after the one before."""
    texts = ["the <unk> sees the dog", "a <unk> bird"] * 20
    for tokenizer in (train_bpe_tokenizer(texts, vocab_size=300), train_word_tokenizer(texts)):
        ids = tokenizer("the <unk> sees", add_special_tokens=False)["input_ids"]
        assert ids.count(tokenizer.unk_token_id) == 1
        others = tokenizer.decode([token for token in ids if token != tokenizer.unk_token_id])
        assert others.split() == ["the", "sees"], "no piece of it is left"


@torch.no_grad()
def test_dropout_is_off_where_a_likelihood_is_measured():
    options = {"encoder_hidden_dropout_prob": 0.5, "decoder_resid_pdrop": 0.5, "decoder_embd_pdrop": 0.5}
    model = tiny_vae(injection="embedding", **options)
    model.config.encoder.hidden_dropout_prob = 0.5
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    batch = batch_of(random_rows(3))
    model.train()
    scores = [model.estimate_log_likelihood(**batch, num_samples=3, generator=row_generators(3)) for _ in range(2)]
    assert torch.equal(scores[0].log_likelihood, scores[1].log_likelihood)
    assert model.training, "and on again afterwards"
    losses = {model(**batch, generator=row_generators(3)).loss.item() for _ in range(3)}
    assert len(losses) == 3, "in training it is on"


def test_word_dropout_hides_whole_words_from_the_decoder_and_nothing_else():
    rows = torch.randint(5, 20, (200, 12), generator=torch.Generator().manual_seed(0))
    dropped = drop_words(rows, 0.4, 3, [torch.Generator().manual_seed(row) for row in range(200)])
    hidden = dropped != rows
    assert (dropped[hidden] == 3).all(), "a dropped word is the unknown word, not a vector of zeros"
    assert not hidden[:, 0].any(), "the start token stays"
    assert hidden[:, 1:].float().mean().item() == pytest.approx(0.4, abs=0.03)
    labels = torch.tensor([[5, 6, END]])
    model = tiny_vae(injection="embedding")
    start = model.shift_right(labels)
    one, other = (
        model(labels=labels, latents=torch.zeros(1, 4), decoder_input_ids=ids).reconstruction
        for ids in (start, drop_words(start, 0.9, 3, row_generators(1)))
    )
    assert not torch.equal(one, other), "the labels are scored whole, under another input"
