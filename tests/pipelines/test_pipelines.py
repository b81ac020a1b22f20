"""`transformers.pipeline` to latents and back: the same as the model's own methods, and no remote code in what is saved."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, pipeline

import hf_lvm  # noqa: F401
from hf_lvm import NeuralHMMConfig, NeuralHMMModel, NeuralTopicConfig, NeuralTopicModel
from hf_lvm.pipelines import LatentEncodingPipeline
from tests.tiny_parts import PAD, START, VOCABULARY, perturb, tiny_classes, tiny_config, tiny_vae

TEXTS = ["a b c d", "e", "f g h", "r q p o n m"]
TASKS = ("latent-encoding", "latent-generation")


@pytest.fixture(scope="module")
def vae():
    return perturb(tiny_vae("bert", "gpt2", injection=["embedding", "logits"]), 0.3)


@pytest.fixture(scope="module")
def classes():
    return perturb(tiny_classes("bert", "gpt2", num_variables=2, num_classes=[2, 3], injection="embedding"), 0.3)


@pytest.fixture(scope="module")
def encode(vae, word_processor):
    return pipeline("latent-encoding", model=vae, processor=word_processor)


@pytest.fixture(scope="module")
def write(vae, word_processor):
    return pipeline("latent-generation", model=vae, processor=word_processor, max_new_tokens=6)


def text_of(result: list[dict]) -> str:
    assert len(result) == 1
    return result[0]["generated_text"]


# ---- encoding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3])
def test_encoding_is_the_posterior_of_the_model_whatever_the_batch(vae, encode, word_processor, batch_size):
    posterior = vae.encode_texts(TEXTS, processor=word_processor)
    found = encode(TEXTS, batch_size=batch_size)
    assert [set(each) for each in found] == [{"latent", "stddev"}] * len(TEXTS)
    torch.testing.assert_close(torch.tensor([each["latent"] for each in found]), posterior.mode, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.tensor([each["stddev"] for each in found]), posterior.stddev, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encode(TEXTS[0])["latent"], found[0]["latent"], atol=1e-5)
    assert isinstance(encode(TEXTS[0], return_tensors=True)["latent"], torch.Tensor)
    assert encode([]) == []


def test_samples_scatter_as_the_posterior_says(encode):
    torch.manual_seed(0)
    found = encode(TEXTS[:1] * 400, batch_size=400, sample=True)
    mode = encode(TEXTS[0])
    drawn = np.array([each["latent"] for each in found])
    error = np.array(mode["stddev"]) / 20
    assert (abs(drawn.mean(0) - mode["latent"]) < 4.5 * error).all() and (drawn.std(0) > 14 * error).all()


def test_a_stream_of_texts_and_a_cut(encode):
    first, *_ = encode(text for text in TEXTS)
    assert first["latent"] == pytest.approx(encode(TEXTS[0])["latent"], abs=1e-5)
    long = "a b c d e f g h"
    assert encode(long, max_length=5)["latent"] == pytest.approx(encode("a b c")["latent"], abs=1e-5)


def test_classes_come_with_their_probabilities(classes, word_processor):
    encode = pipeline("latent-encoding", model=classes, processor=word_processor)
    found = encode(TEXTS, batch_size=2)
    inputs = word_processor(TEXTS)
    expected = classes.class_probabilities(**inputs)
    torch.testing.assert_close(torch.tensor([each["probabilities"] for each in found]), expected, rtol=1e-5, atol=1e-6)
    assert [each["latent"] for each in found] == expected.argmax(-1).tolist()
    torch.manual_seed(0)
    drawn = torch.tensor([each["latent"] for each in encode(TEXTS[:1] * 300, batch_size=300, sample=True)])
    assert (drawn[:, 0] == 1).double().mean() == pytest.approx(expected[0, 0, 1].item(), abs=0.13)


def test_topics_come_as_shares(word_processor):
    encoder = tiny_config("bert")
    model = NeuralTopicModel(
        NeuralTopicConfig(encoder=encoder, vocab_size=VOCABULARY, num_topics=3, ignored_token_ids=[PAD, START, 2])
    )
    perturb(model.eval(), 0.3)
    found = pipeline("latent-encoding", model=model, processor=word_processor)(TEXTS, batch_size=4)
    inputs = word_processor(TEXTS)
    expected = model.topic_shares(inputs["input_ids"], inputs["attention_mask"])
    torch.testing.assert_close(torch.tensor([each["shares"] for each in found]), expected, rtol=1e-5, atol=1e-6)


# ---- generation ------------------------------------------------------------------------------------------------------


def test_latents_texts_and_what_encoding_gave_are_written_alike(vae, encode, write, word_processor):
    expected = vae.reconstruct(TEXTS, processor=word_processor, max_new_tokens=6)
    assert len(set(expected)) > 1
    encoded = encode(TEXTS)
    latents = torch.tensor([each["latent"] for each in encoded])
    for inputs in (TEXTS, encoded, latents, latents.numpy(), latents.tolist(), tuple(latents)):
        assert list(map(text_of, write(inputs, batch_size=4))) == expected
    assert list(map(text_of, write(TEXTS))) == expected
    for one in (TEXTS[0], encoded[0], latents[0], latents[0].numpy(), latents[0].tolist()):
        assert text_of(write(one)) == expected[0]


def test_options_of_generate_reach_it(vae, write, word_processor):
    latent = vae.encode_texts(TEXTS[:1], processor=word_processor).mode
    best = vae.decode_latents(latent, processor=word_processor, num_beams=3, num_return_sequences=2, max_new_tokens=5)
    found = write(latent[0], num_beams=3, num_return_sequences=2, max_new_tokens=5, return_latents=True)
    assert [each["generated_text"] for each in found] == best
    assert found[0]["latent"] == pytest.approx(latent[0].tolist())
    # A temperature alone draws words, and from all of them: under a high one, all 23 tokens alike.
    torch.manual_seed(1)
    drawn = {text_of(each) for each in write([latent[0]] * 60, batch_size=60, temperature=1e4, max_new_tokens=1)}
    assert len(drawn) > 12


def test_prompts_are_continued(vae, write, word_processor):
    latent = vae.encode_texts(TEXTS[0], processor=word_processor).mode
    found = write([{"latent": latent[0], "prompt": "k l"}, TEXTS[0]], prompt="b", batch_size=2)
    tokens = word_processor.decoder_tokenizer("k l", add_special_tokens=False, return_tensors="pt")["input_ids"]
    alone = vae.decode_latents(latent, processor=word_processor, decoder_input_ids=tokens, max_new_tokens=6)
    assert text_of(found[0]) == alone[0] and alone[0].startswith("k l")
    assert text_of(found[1]).startswith("b")


def test_draws_from_the_prior_and_from_the_posterior(vae, write, word_processor):
    torch.manual_seed(3)
    found = write(return_latents=True)
    torch.manual_seed(3)
    latents = vae.prior_of(1).sample()
    expected = vae.decode_latents(latents, processor=word_processor, do_sample=True, top_k=0, max_new_tokens=6)
    assert text_of(found) == expected[0] and found[0]["latent"] == pytest.approx(latents[0].tolist())
    found = write(num_texts=5, batch_size=5, return_latents=True)
    assert len({tuple(each[0]["latent"]) for each in found}) == 5
    latents = [each[0]["latent"] for each in write(TEXTS[:1] * 3, sample=True, return_latents=True, batch_size=3)]
    assert len(set(map(tuple, latents))) == 3
    both = write([None, TEXTS[0]], batch_size=2)
    assert text_of(both[1]) == text_of(write(TEXTS[0]))


def test_texts_of_asked_classes(classes, word_processor):
    write = pipeline("latent-generation", model=classes, processor=word_processor, max_new_tokens=5)
    asked = torch.tensor([[0, 2], [1, 1]])
    expected = classes.decode_latents(asked, processor=word_processor, max_new_tokens=5)
    assert list(map(text_of, write(asked.tolist()))) == expected == list(map(text_of, write(asked, batch_size=2)))
    points = torch.nn.functional.one_hot(asked, 3).float()
    assert list(map(text_of, write(points, batch_size=2))) == expected
    assert text_of(write([1, 1])) == expected[1]
    assert len(write(num_texts=3, batch_size=3)) == 3


# ---- saved, loaded, refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_what_is_saved_needs_no_remote_code(vae, encode, write, word_processor, tmp_path, task):
    pipe = encode if task == TASKS[0] else write
    pipe.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "custom_pipelines" not in config and "auto_map" not in config
    assert not list(tmp_path.glob("*.py"))
    model = AutoModel.from_pretrained(tmp_path, trust_remote_code=False)
    assert all(torch.equal(value, vae.state_dict()[name]) for name, value in model.state_dict().items())
    assert AutoProcessor.from_pretrained(tmp_path)(TEXTS)["labels"].tolist() == word_processor(TEXTS)["labels"].tolist()
    again = pipeline(task, model=str(tmp_path), device="cpu", **({} if task == TASKS[0] else {"max_new_tokens": 6}))
    (expected,), (found,) = (([each] if isinstance(each, dict) else each) for each in (pipe(TEXTS[0]), again(TEXTS[0])))
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(expected[key], abs=1e-5) for key in expected)


def test_refusals(vae, classes, write, encode, word_processor):
    hmm = NeuralHMMModel(NeuralHMMConfig(vocab_size=VOCABULARY, num_states=2, hidden_size=8, eos_token_id=2))
    with pytest.raises(ValueError, match="hf_lvm_neural_hmm' model is no row of features .*model.parse"):
        pipeline("latent-encoding", model=hmm, processor=word_processor)
    with pytest.raises(ValueError, match="writes no text from a given latent"):
        pipeline("latent-generation", model=hmm, processor=word_processor)
    with pytest.raises(ValueError, match="needs the LatentTextProcessor"):
        LatentEncodingPipeline(vae)
    with pytest.raises(ValueError, match="no default model"):
        pipeline("latent-encoding")
    with pytest.raises(ValueError, match="takes a text or a list of texts, and got int"):
        encode([3])
    with pytest.raises(ValueError, match=r"takes \(batch, 4\)"):
        write([0.0, 1.0])
    with pytest.raises(ValueError, match="both a latent and a text"):
        write({"latent": [0.0] * 4, "text": "a"})
    with pytest.raises(ValueError, match="none of the keys"):
        write({"latents": [0.0] * 4})
    with pytest.raises(ValueError, match="several shapes"):
        write([torch.zeros(4), torch.zeros(3)], batch_size=2)
    with pytest.raises(ValueError, match="leave the inputs out"):
        write("a", num_texts=2)
