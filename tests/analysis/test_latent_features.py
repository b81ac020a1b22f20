"""Latents as features: equal to what the models say, in scikit-learn and in `datasets`, and found again in its cache."""

import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from hf_lvm import LatentExtractor, LatentFeatures, NeuralHMMConfig, NeuralHMMModel, NeuralTopicConfig, NeuralTopicModel
from tests.tiny_parts import VOCABULARY, perturb, tiny_classes, tiny_config, tiny_vae

TEXTS = ["a b c d", "e", "f g h", "r q p o n m", "i j"]


@pytest.fixture(scope="module")
def vae():
    return perturb(tiny_vae("bert", "gpt2"), 0.3)


def test_vectors_are_modes_in_the_order_of_the_texts(vae, word_processor):
    features = LatentFeatures(vae.train(), word_processor, batch_size=2)
    found = features.fit_transform(TEXTS)
    assert vae.training, "the model is left as it was"
    expected = vae.eval().encode_texts(TEXTS, processor=word_processor).mode
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert found.dtype == np.float32
    assert features.get_feature_names_out().tolist() == ["latent0", "latent1", "latent2", "latent3"]


def test_directions_on_the_sphere_have_length_one(word_processor):
    model = tiny_vae(
        "hf_lvm_lstm_encoder",
        "hf_lvm_lstm_decoder",
        posterior_type="von_mises_fisher",
        prior_type="uniform_sphere",
        injection="embedding",
    )
    found = LatentExtractor(perturb(model, 0.3), word_processor).features(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_classes_are_probabilities_without_those_that_do_not_exist(word_processor):
    names = [["no", "yes"], ["x", "y", "z"]]
    model = tiny_classes("bert", "gpt2", num_variables=2, num_classes=[2, 3], class_names=names, injection="embedding")
    features = LatentFeatures(perturb(model, 0.3), word_processor).fit(TEXTS)
    found = features.transform(TEXTS)
    assert features.get_feature_names_out().tolist() == [
        "variable0_classno", "variable0_classyes", "variable1_classx", "variable1_classy", "variable1_classz",
    ]  # fmt: skip
    expected = model.class_probabilities(**word_processor(TEXTS))
    np.testing.assert_allclose(found[:, :2], expected[:, 0, :2], atol=1e-6)
    np.testing.assert_allclose(found[:, 2:], expected[:, 1], atol=1e-6)


def test_of_a_model_without_an_encoder_classes_are_by_bayes(word_processor):
    model = perturb(tiny_classes("bert", "gpt2", objective="marginal", injection="embedding"), 0.3)
    found = LatentExtractor(model, word_processor, batch_size=2).features(TEXTS)
    expected = model.class_probabilities(**word_processor(TEXTS), method="bayes")[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    by_encoder = model.class_probabilities(**word_processor(TEXTS))[:, 0]
    assert abs(found - by_encoder.numpy()).max() > 1e-3


@pytest.mark.parametrize("posterior_type", ["logistic_normal", "dirichlet"])
def test_topics_are_shares(posterior_type, word_processor):
    encoder = tiny_config("bert")
    config = NeuralTopicConfig(
        encoder=encoder, vocab_size=VOCABULARY, num_topics=3, ignored_token_ids=[0, 1, 2], posterior_type=posterior_type,
        prior_concentration=0.5,
    )  # fmt: skip
    found = LatentFeatures(perturb(NeuralTopicModel(config).eval(), 0.3), word_processor).fit(TEXTS).transform(TEXTS)
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert found.std(0).max() > 1e-3


def test_it_stands_before_a_classifier_and_clones_share_the_model(vae, word_processor):
    features = LatentFeatures(vae, word_processor)
    assert clone(features).model is vae and clone(features).get_params() == features.get_params()
    texts = [f"{first} {second} {third}" for first in "ab" for second in "klm" for third in "cdef"]
    labels = [text[0] for text in texts]
    classifier = make_pipeline(features, LogisticRegression(C=1e6, max_iter=5000))
    # Latents of a random encoder tell apart which of two words stands first.
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    assert cross_val_score(classifier, texts, labels, cv=folds).mean() > 0.8
    pipe = classifier.fit(texts, labels)
    assert pipe[:-1].get_feature_names_out().tolist() == ["latent0", "latent1", "latent2", "latent3"]
    assert pickle.loads(pickle.dumps(pipe)).predict(texts).tolist() == pipe.predict(texts).tolist()


def test_by_name_it_loads_the_run(trained_run):
    features = LatentFeatures(str(trained_run.folder))
    with pytest.raises(NotFittedError):
        features.transform(TEXTS)
    texts = trained_run.texts.read_text().splitlines()[:7]
    found = features.fit(texts).transform(texts)
    model, processor = features.extractor_.model, features.extractor_.processor
    np.testing.assert_allclose(found, model.encode_texts(texts, processor=processor).mode, atol=1e-5)


def test_map_gives_a_column_and_finds_it_in_the_cache(vae, word_processor, tmp_path):
    Dataset.from_dict({"sentence": TEXTS * 3}).save_to_disk(tmp_path / "data")
    dataset = Dataset.load_from_disk(str(tmp_path / "data"))
    extract = LatentExtractor(vae, word_processor, text_column="sentence", column="z", max_length=16)
    mapped = dataset.map(extract, batched=True, batch_size=4)
    np.testing.assert_allclose(np.array(mapped["z"]), extract.features(TEXTS * 3), atol=1e-5)
    # Used, pickled and loaded twice from one folder: always the same function to `datasets`.
    copies = [pickle.loads(pickle.dumps(extract)) for _ in range(2)]
    assert Hasher.hash(copies[0]) == Hasher.hash(copies[1])
    before = Hasher.hash(extract)
    extract(dataset[:2])
    assert Hasher.hash(extract) == before
    again = dataset.map(extract, batched=True, batch_size=4)
    assert again._fingerprint == mapped._fingerprint and again.cache_files == mapped.cache_files
    np.testing.assert_allclose(copies[0].features(TEXTS), extract.features(TEXTS), atol=1e-6)
    # And another one where anything differs.
    other = perturb(tiny_vae("bert", "gpt2"), 0.3)
    with torch.no_grad():
        other.posterior_head.mean.bias[0] += 1e-3
    hashes = {before, Hasher.hash(LatentExtractor(other, word_processor, text_column="sentence", column="z", max_length=16))}
    hashes.add(Hasher.hash(LatentExtractor(vae, word_processor, text_column="sentence", column="z")))
    assert len(hashes) == 3


def test_refusals(vae, word_processor):
    hmm = NeuralHMMModel(NeuralHMMConfig(vocab_size=VOCABULARY, num_states=2, hidden_size=8, eos_token_id=2))
    with pytest.raises(ValueError, match="'hf_lvm_neural_hmm' model is no row of features .*model.parse"):
        LatentFeatures(hmm, word_processor).fit(TEXTS)
    with pytest.raises(ValueError, match="the folder of a run, or a model and its processor"):
        LatentFeatures(vae).fit(TEXTS)
    extract = LatentExtractor(vae, word_processor)
    with pytest.raises(ValueError, match="one string"):
        extract.features("a b")
    with pytest.raises(ValueError, match="batched=True"):
        extract({"text": "a b"})
    with pytest.raises(ValueError, match="no column 'text', but 'sentence'"):
        extract({"sentence": ["a b"]})
    with pytest.raises(ValueError, match="not a string"):
        extract.features([3])
    with pytest.raises(ValueError, match="longer than the encoder"):
        extract.features([" ".join("a" * 40)])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        LatentExtractor(vae, word_processor, batch_size=0)
    assert LatentExtractor(vae, word_processor, max_length=8).features([" ".join("a" * 40)]).shape == (1, 4)
    assert extract.features([]).shape == (0, 4)
