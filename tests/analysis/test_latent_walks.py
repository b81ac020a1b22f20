"""Ways through latent spaces and calculations with attributes, of models whose answers are known."""

import pytest
import torch

from hf_lvm.analysis.attribute_arithmetic import attribute_direction, measure_attribute_arithmetic
from hf_lvm.analysis.latent_walks import (
    position_similarity,
    rank_correlation,
    score_interpolations,
    score_walk,
    traverse,
)
from hf_lvm.analysis.text_latents import encode_texts
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.distributions import DiagonalGaussian


class CountingModel:
    """A latent space that is known: z[0] is the number of words, z[1] more than 0 makes a question, z[2] says nothing."""

    device = torch.device("cpu")
    training = False

    def eval(self):
        return self

    def train(self, mode=True):
        return self

    def modules(self):
        return iter(())

    def decode_latents(self, latents, *, processor):
        return [" ".join([*["word"] * max(0, round(z[0].item())), "?" if z[1] > 0 else "."]) for z in latents]

    def encode_texts(self, texts, *, processor):
        means = [[len(text.split()) - 1.0, 1.0 if text.endswith("?") else -1.0, 0.5] for text in texts]
        return DiagonalGaussian(torch.tensor(means), torch.ones(len(means), 3))


TEXTS = [f"{'word ' * (k % 5 + 1)}{'?' if k % 2 else '.'}" for k in range(40)]


def test_a_dimension_that_counts_words_is_found():
    origins = torch.tensor([[2.0, -1.0, 0.0], [3.0, 1.0, 0.0]])
    found = traverse(CountingModel(), origins, None, grid=[0.0, 1.0, 2.0, 4.0])
    assert found.texts[0] == [[".", "word .", "word word .", "word word word word ."],
                              ["?", "word ?", "word word ?", "word word word word ?"]]  # fmt: skip
    assert found.metrics["0"]["monotone"]["length"] == {"mean": pytest.approx(1.0), "standard_error": 0.0, "changes": 1.0}
    # Edits of 1 in 2 words, 1 in 3, 2 in 5.
    assert found.metrics["0"]["neighbour_distance"] == pytest.approx((1 / 2 + 1 / 3 + 2 / 5) / 3)
    assert found.metrics["0"]["largest_step"] == pytest.approx(0.5) and found.metrics["0"]["distinct_share"] == 1.0
    still = found.metrics["2"]
    assert still["distinct_share"] == 0.25 and still["neighbour_distance"] == 0.0
    assert still["monotone"]["length"] == {"mean": 0.0, "standard_error": 0.0, "changes": 0.0}
    assert (origins == torch.tensor([[2.0, -1.0, 0.0], [3.0, 1.0, 0.0]])).all(), "origins are left as they are"


def test_attributes_of_ones_own_and_falling_ones():
    options = {"dimensions": [0], "grid": [0.0, 1.0, 2.0], "attributes": {"few": lambda text: -len(text)}}
    found = traverse(CountingModel(), torch.zeros(1, 3), None, **options)
    assert list(found.metrics) == ["0"]
    assert found.metrics["0"]["monotone"]["few"] == {"mean": pytest.approx(-1.0), "standard_error": None, "changes": 1.0}


@pytest.mark.parametrize(
    ("origins", "options", "message"),
    [
        (torch.zeros(3), {}, "shape"),
        (torch.zeros(2, 3), {"dimensions": [3]}, "no dimension 3: z has 3"),
        (torch.zeros(2, 3), {"grid": [1.0, 1.0]}, "rising"),
    ],
)
def test_traversals_that_make_no_sense(origins, options, message):
    with pytest.raises(ValueError, match=message):
        traverse(CountingModel(), origins, None, **options)


def test_interpolations_are_scored_between_their_ends():
    smooth = score_interpolations([["a b c d", "a b c x", "a b x x", "a w x x", "v w x x"]])
    assert smooth["similarity_to_start"] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert smooth["similarity_to_end"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert smooth["order"] == pytest.approx(1.0) and smooth["neighbour_distance"] == 0.25 == smooth["largest_step"]
    back = score_interpolations([["a b", "c d", "a b", "c d"]])
    assert back["order"] < 0.5 and back["distinct_share"] == 0.5 and back["largest_step"] == 1.0
    assert score_interpolations([["a", "a", "a"]])["order"] == 0.0
    judged = score_interpolations([["a", "b", "c"], ["d", "e", "f"]], perplexity=lambda texts: float(len(texts)))
    assert (judged["inner_perplexity"], judged["end_perplexity"], judged["paths"]) == (2.0, 4.0, 2)


def test_parts_of_the_scores():
    assert position_similarity("a b c", "a x c d") == 0.5 and position_similarity("", "") == 1.0
    assert position_similarity("", "a") == 0.0
    assert rank_correlation([1, 2, 3], [5, 5, 5]) == 0.0 and rank_correlation([1, 2, 3], [1, 4, 9]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least 2"):
        score_walk(["a"])
    for paths in ([], [["a", "b"]], [["a", "b", "c"], ["a", "b", "c", "d"]]):
        with pytest.raises(ValueError, match="3 texts or more"):
            score_interpolations(paths)


def test_a_direction_is_the_difference_of_means():
    latents = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert attribute_direction(latents, torch.tensor([True, True, False])).tolist() == [2.0, -4.0]
    with pytest.raises(ValueError, match="3 of 3 texts have the attribute"):
        attribute_direction(latents, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="shape"):
        attribute_direction(latents, torch.ones(2, dtype=torch.bool))


def test_an_attribute_that_has_a_direction_flips_and_controls_do_not():
    found = measure_attribute_arithmetic(CountingModel(), TEXTS, None, lambda text: text.endswith("?"), strength=1.5).metrics
    for side in ("towards", "away"):
        assert found[side]["shift"]["flipped_share"] == 1.0
        assert found[side]["none"]["flipped_share"] == 0.0 and found[side]["none"]["edit_similarity"] == 1.0
        assert found[side]["random"]["flipped_share"] < 1.0
    assert found["towards"]["texts"] + found["away"]["texts"] == 20
    assert found["norm"] >= 3.0, "1.5 times the distance of -1 and 1"


def test_labels_choose_the_direction_and_the_judge_judges():
    short = [len(text.split()) <= 3 for text in TEXTS]
    found = measure_attribute_arithmetic(CountingModel(), TEXTS, None, lambda text: len(text.split()) <= 3, labels=short)
    assert found.metrics["towards"]["shift"]["flipped_share"] > found.metrics["towards"]["none"]["flipped_share"] == 0.0
    text, reconstruction, shifted = found.examples[0]
    assert len(shifted.split()) < len(text.split()) == len(reconstruction.split())
    with pytest.raises(ValueError, match="1 labels for 40 texts"):
        measure_attribute_arithmetic(CountingModel(), TEXTS, None, bool, labels=[True])
    with pytest.raises(ValueError, match="40 of 40 texts have the attribute: at least two"):
        measure_attribute_arithmetic(CountingModel(), TEXTS, None, lambda text: True)


def test_a_trained_model_can_be_walked_and_calculated_with(trained_run):
    model, processor = load_trained(str(trained_run.folder), "encode_texts")
    texts = trained_run.texts.read_text().splitlines()[:24]
    latents = encode_texts(model, texts, processor)
    found = traverse(model, latents[:2], processor, dimensions=[1], grid=[-2.0, 0.0, 2.0], max_new_tokens=8)
    assert [len(walk) for walk in found.texts[1]] == [3, 3] and all(text for walk in found.texts[1] for text in walk)
    # In the middle of its own value a walk is the reconstruction.
    own = traverse(model, latents[:1], processor, dimensions=[0], grid=[latents[0, 0].item(), 9.0], max_new_tokens=8)
    assert own.texts[0][0][0] == model.reconstruct(texts[:1], processor=processor, max_new_tokens=8)[0]
    pushed = measure_attribute_arithmetic(model, texts, processor, lambda text: "not" in text.split(), max_new_tokens=8)
    sides = [pushed.metrics[side] for side in ("towards", "away")]
    assert sum(side["texts"] for side in sides) == len(pushed.examples) in (12, 13)
    assert all(0 <= side[push]["flipped_share"] <= 1 for side in sides for push in ("shift", "random", "none"))
    scores = trained_run.results["test"]["interpolation"]
    assert scores["paths"] == 3 and scores["steps"] == 6 and scores["similarity_to_start"][0] == 1.0
