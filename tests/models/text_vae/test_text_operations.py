"""Texts in, texts out, on a model that has learned a few sentences by heart."""

import pytest
import torch

from hf_lvm import TextVAEModel
from tests.tiny_parts import tiny_vae

TEXTS = ["a b c d", "e f g", "a f c", "h i j k l", "m n", "e b g"]


@pytest.fixture(scope="module")
def learned(word_processor) -> TextVAEModel:
    torch.manual_seed(0)
    model = tiny_vae(
        injection=["prefix", "embedding"], latent_size=8, encoder_hidden_size=32, decoder_hidden_size=32,
        encoder_max_position_embeddings=64, decoder_max_position_embeddings=64, posterior_initial_stddev=0.1,
    ).train()  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    batch = word_processor(TEXTS)
    for _ in range(150):
        optimizer.zero_grad()
        model(**batch, kl_weight=0.01).loss.backward()
        optimizer.step()
    return model.eval()


def test_encode_texts(learned, word_processor):
    posterior = learned.encode_texts(TEXTS, processor=word_processor)
    assert posterior.batch_shape == (6,) and posterior.event_shape == (8,)
    alone = learned.encode_texts(TEXTS[1], processor=word_processor)
    torch.testing.assert_close(alone.mean[0], posterior.mean[1], rtol=1e-4, atol=1e-5)


def test_reconstruct(learned, word_processor):
    assert learned.reconstruct(TEXTS, processor=word_processor) == TEXTS
    assert learned.reconstruct(TEXTS[0], processor=word_processor, num_beams=3) == TEXTS[:1]


def test_operations_work_in_training_mode_without_dropout_and_restore_it(learned, word_processor):
    learned.train()
    assert learned.reconstruct(TEXTS, processor=word_processor) == TEXTS
    assert learned.training and learned.decoder.training
    learned.eval()


def test_sample(learned, word_processor):
    generator = torch.Generator().manual_seed(0)
    texts = learned.sample(5, processor=word_processor, generator=generator, max_new_tokens=6)
    assert len(texts) == 5 and len(set(texts)) > 1
    assert all(len(text.split()) <= 6 and "<" not in text.replace("<unk>", "") for text in texts)
    one, other = (
        learned.sample(3, processor=word_processor, generator=torch.Generator().manual_seed(4), do_sample=False)
        for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_interpolate(learned, word_processor, path):
    way = learned.interpolate(TEXTS[0], TEXTS[3], processor=word_processor, steps=6, path=path)
    assert len(way) == 6 and way[0] == TEXTS[0] and way[-1] == TEXTS[3]


def test_analogy(learned, word_processor):
    assert learned.analogy(TEXTS[0], TEXTS[0], TEXTS[4], processor=word_processor) == TEXTS[4]
    assert learned.analogy(TEXTS[0], TEXTS[3], TEXTS[0], processor=word_processor) == TEXTS[3]


def test_decode_latents(learned, word_processor):
    latents = learned.encode_texts(TEXTS[:2], processor=word_processor).mode
    assert learned.decode_latents(latents, processor=word_processor) == TEXTS[:2]


@pytest.mark.parametrize(
    ("text", "answer"), [("a ___ c d", "a b c d"), ("h i ___ l", "h i j k l"), ("___ f g", "e f g"), ("m ___", "m n")]
)
def test_impute_keeps_both_sides_and_finds_the_sentence(learned, word_processor, text, answer):
    torch.manual_seed(1)
    filled = learned.impute(text, processor=word_processor, max_words=3)
    left, right = (side.strip() for side in text.split("___"))
    assert filled.startswith(left) and filled.endswith(right)
    assert filled == answer


def test_impute_refuses_a_text_without_one_blank(learned, word_processor):
    for text, times in (("a b", 0), ("a ___ b ___", 2)):
        with pytest.raises(ValueError, match=f"must hold the blank '___' once, and holds it {times} times"):
            learned.impute(text, processor=word_processor)
    assert learned.impute("a # c d", processor=word_processor, blank="#", max_words=2).startswith("a ")
