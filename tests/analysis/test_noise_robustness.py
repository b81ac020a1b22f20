"""How far latents move when words are missing, against posteriors compared by hand."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from hf_lvm.analysis.noise_robustness import drop_words, measure_noise_robustness
from hf_lvm.analysis.trained_model import load_trained


@pytest.fixture(scope="module")
def trained(trained_run):
    return load_trained(str(trained_run.folder), "encode_texts")


@pytest.fixture(scope="module")
def texts(trained_run):
    return trained_run.texts.read_text().splitlines()[:12]


def test_so_many_words_are_left_out_and_one_stays():
    words = [f"w{number}" for number in range(4000)]
    (kept,) = drop_words([" ".join(words)], 0.3)
    assert sorted(kept.split(), key=words.index) == kept.split() and len(set(kept.split())) == len(kept.split())
    # A standard deviation is 29 words.
    assert abs(len(kept.split()) - 2800) < 120
    assert drop_words(["one two"] * 50, 0.999) == ["one"] * 50 and drop_words(["a b c d"] * 9, 0.5, 1) != ["a b c d"] * 9
    for share in (0, 1, -0.5):
        with pytest.raises(ValueError, match="lies between 0 and 1"):
            drop_words(["a b"], share)


def test_moves_are_those_of_the_posteriors(trained, texts):
    model, processor = trained
    found = measure_noise_robustness(model, texts, processor, share=0.4, batch_size=5, seed=3)
    with torch.no_grad():
        own = model.encode_texts(texts, processor=processor)
        moved = model.encode_texts(drop_words(texts, 0.4, 3), processor=processor)
    kl = kl_divergence(Normal(moved.mean, moved.stddev), Normal(own.mean, own.stddev)).sum(-1).mean().item()
    distance = ((moved.mean - own.mean) / own.stddev).square().mean(-1).sqrt().mean().item()
    assert found["kl_nats"] == pytest.approx(kl, rel=1e-3) and kl > 1e-4
    assert found["distance"] == pytest.approx(distance, rel=1e-3)
    assert found["sentences"] == 12 and found["kl_nats_of_other_texts"] > 0 and 0.2 < found["content_words_left"] < 0.95
    assert 0 <= found["lost_content_words_recovered"] <= 1


def test_texts_that_lose_nothing_stay_where_they_are(trained, texts):
    model, processor = trained
    single = [text.split()[-2] for text in texts]  # the noun before the full stop
    found = measure_noise_robustness(model, single, processor, share=0.9)
    assert found["kl_nats"] == pytest.approx(0, abs=1e-9) and found["distance"] == 0
    assert found["content_words_left"] == 1 and found["lost_content_words_recovered"] is None
    assert found["content_words_recovered"] == found["content_words_recovered_without_noise"]
    with pytest.raises(ValueError, match="at least 2 texts"):
        measure_noise_robustness(model, single[:1], processor)
