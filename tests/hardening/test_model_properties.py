"""Whatever the lengths, the padding, the order, the batch size and the precision: a sentence gets the same numbers.

Five examples a test by default, always the same ones; as many others as are wished for by

    HF_LVM_EXAMPLES=200 python -m pytest tests/hardening/test_model_properties.py
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.hardening.examples import close, examples
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.models.neural_hmm.test_neural_hmm import build as tiny_hmm
from tests.models.urnng.tiny_grammars import tiny_urnng
from tests.tiny_parts import END, VOCABULARY, batch_of, perturb, row_generators, tiny_classes, tiny_vae

ROWS = st.lists(
    st.lists(st.integers(3, VOCABULARY - 1), max_size=8).map(lambda row: [*row, END]), min_size=1, max_size=5
)  # a sentence without a word among them
TEXTS = st.lists(st.lists(st.sampled_from("abcdefghijklmnopqr"), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=5)
COMPOSED = {
    "bert, gpt2": lambda: perturb(tiny_vae(injection=["prefix", "embedding"]), 0.1),
    "modernbert, llama": lambda: perturb(tiny_vae("modernbert", "llama", injection="memory"), 0.1),
    "lstms": lambda: perturb(
        tiny_vae("hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder", injection=["concatenation", "initial_state"]), 0.1
    ),
    "t5": lambda: perturb(tiny_vae("t5", "t5", injection="cross_attention"), 0.1),
    "classes": lambda: perturb(tiny_classes(num_variables=2), 0.1),
}


@pytest.fixture(scope="module", params=COMPOSED)
def composed(request):
    return COMPOSED[request.param]()


# ---- Tensors ----


@examples
@given(rows=ROWS, side=st.sampled_from(["left", "right"]), extra=st.integers(0, 6), seed=st.integers(0, 99))
@torch.no_grad()
def test_padding_and_order_change_no_sentence(composed, rows, side, extra, seed):
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    plain = composed(**batch_of(rows), generator=row_generators(len(rows)))
    generators = row_generators(len(rows))
    moved = composed(**batch_of([rows[row] for row in order], side, extra), generator=[generators[row] for row in order])
    for field in ("kl", "reconstruction"):
        assert plain[field].shape == (len(rows),) and plain[field].isfinite().all()
        close(moved[field], plain[field][order])
    assert (plain.kl >= -1e-5).all() and (plain.reconstruction >= 0).all()
    close(plain.loss, (plain.kl + plain.reconstruction).mean())


@examples
@given(rows=ROWS)
@torch.no_grad()
def test_a_batch_is_its_sentences(composed, rows):
    estimates = composed.estimate_log_likelihood(**batch_of(rows), num_samples=2, generator=row_generators(len(rows)))
    batch = batch_of(rows)
    posterior = composed.encode(batch["input_ids"], batch["attention_mask"])
    latents = posterior.mode
    written = composed.generate(latents=latents, max_new_tokens=4, eos_token_id=None, do_sample=False)
    assert written.shape[0] == len(rows) and written.shape[1] == 5
    for row, (tokens, generator) in enumerate(zip(rows, row_generators(len(rows)), strict=True)):
        alone = batch_of([tokens])
        one = composed.estimate_log_likelihood(**alone, num_samples=2, generator=[generator])
        close(estimates.log_likelihood[row], one.log_likelihood[0])
        assert estimates.log_likelihood[row] < 0
        close(composed.encode(alone["input_ids"], alone["attention_mask"]).mode[0], latents[row])
        close(
            posterior.log_prob(latents)[row],
            composed.encode(alone["input_ids"], alone["attention_mask"]).log_prob(latents[[row]])[0],
            1e-4,
        )


@examples
@given(rows=ROWS)
@torch.no_grad()
def test_bounds_in_bfloat16_are_those_of_float32_nearly(rows):
    """Parts run in bfloat16 under autocast; sums over words and the KL do not."""
    model = _VAE["bert, gpt2"]
    exact = model(**batch_of(rows), generator=row_generators(len(rows)))
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(**batch_of(rows), generator=row_generators(len(rows)))
    for field in ("kl", "reconstruction", "loss"):
        assert rough[field].dtype == torch.float32
        torch.testing.assert_close(rough[field], exact[field], rtol=0.05, atol=0.1)


_VAE = {"bert, gpt2": COMPOSED["bert, gpt2"]()}


@pytest.mark.parametrize("name", ["bert, gpt2", "classes"])
def test_nothing_to_read_is_one_clear_error(name):
    """An empty batch, or a row without a token to score, has no bound."""
    model = _VAE.setdefault(name, COMPOSED[name]())
    empty = {key: value[:0] for key, value in batch_of([[5, END]]).items()}
    with pytest.raises(ValueError, match="at least one sentence"):
        model(**empty)


@examples
@given(rows=ROWS, seed=st.integers(0, 99))
@torch.no_grad()
def test_a_hidden_markov_model_scores_a_batch_as_its_sentences(rows, seed):
    model = _HMM
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    together = model(labels=batch_of(rows)["labels"]).loss
    alone = torch.stack([model(labels=batch_of([row])["labels"]).loss for row in rows])
    close(together, alone.mean())
    moved = model(labels=batch_of([rows[row] for row in order], extra_padding=0)["labels"])
    close(moved.loss, together)


_HMM = tiny_hmm()

# ---- Texts ----

WRITERS = {
    "reconstruct": (lambda: _VAE["bert, gpt2"], lambda model, texts, **how: model.reconstruct(texts, max_new_tokens=6, **how)),
    "classify": (
        lambda: _VAE.setdefault("classes", COMPOSED["classes"]()),
        lambda model, texts, **how: [
            each if isinstance(each, (int, str)) else tuple(each) for each in model.classify(texts, **how)
        ],
    ),
    "tag": (lambda: _HMM, lambda model, texts, **how: [tuple(map(tuple, each)) for each in model.parse(texts, **how)]),
    "parse": (
        lambda: _VAE.setdefault("urnng", tiny_urnng(vocab_size=VOCABULARY, perturbation=0.3)),
        lambda model, texts, **how: [str(tree) for tree in model.parse(texts, **how)],
    ),
    "summarize": (
        lambda: _VAE.setdefault("summarizer", tiny_summarizer(vocab_size=VOCABULARY, perturbation=0.3)),
        lambda model, texts, **how: model.summarize(texts, ratio=0.5, **how),
    ),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("texts", [[], [""], ["a b", " "], [3]])
def test_no_text_is_nothing_or_one_clear_error(name, texts, word_processor):
    build, write = WRITERS[name]
    try:
        assert len(write(build(), texts, processor=word_processor)) == len(texts)
    except ValueError as error:
        assert len(str(error).split()) > 4


@pytest.mark.parametrize("name", WRITERS)
@examples
@given(texts=TEXTS, seed=st.integers(0, 99))
@torch.no_grad()
def test_what_a_text_gets_does_not_depend_on_its_neighbours(name, word_processor, texts, seed):
    build, write = WRITERS[name]
    model = build()
    together = write(model, texts, processor=word_processor)
    assert len(together) == len(texts)
    assert together == [write(model, [text], processor=word_processor)[0] for text in texts]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    assert write(model, [texts[row] for row in order], processor=word_processor) == [together[row] for row in order]
