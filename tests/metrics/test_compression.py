"""Scores of compressions on sentences whose answer is counted by hand, and the controls beside them."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

import hf_lvm.metrics
from hf_lvm.metrics.compression.compression import compute_compression
from hf_lvm.metrics.compression.scoring import ROUGE, TextScorer
from hf_lvm.metrics.compression.words import control_texts

CONTROLS = ["first_k", "first_k_corpus", "random_k", "keep_all"]
SCORES = [*ROUGE, "token_f1"]


def random_corpus(rows: int = 30, seed: int = 0) -> dict[str, list]:
    """Sentences with repeated words, one to three references a row, predictions that are not always from the source."""
    generator = random.Random(seed)
    vocabulary = ["Cats", "cats", "running", "runs", "the", "of", "mat", "houses", "house", ",", "don't", "Oslo"]

    def sentence(most: int) -> str:
        return " ".join(generator.choices(vocabulary, k=generator.randint(1, most)))

    return {
        "predictions": [sentence(8) for _ in range(rows)],
        "references": [[sentence(8) for _ in range(generator.randint(1, 3))] for _ in range(rows)],
        "sources": [sentence(15) for _ in range(rows)],
    }


def test_order_counts_for_rouge_2_and_l_only():
    result = compute_compression(["a b c d"], ["a c b d"], ["a b c d e f g h"])
    assert {name: result[name] for name in SCORES} == pytest.approx({"rouge1": 100, "rouge2": 0, "rougeL": 75, "token_f1": 1})


def test_words_are_stemmed_in_rouge_and_stand_as_they_are_in_token_f1():
    result = compute_compression(["Houses burning !"], ["house burned"], ["The houses are burning !"])
    assert (result["rouge1"], result["rouge2"], result["rougeL"]) == pytest.approx((100, 100, 100))
    assert result["token_f1"] == 0
    assert result["copied_share"] == pytest.approx(2 / 3)  # "Houses" is not "houses"


def test_repeated_words_count_as_often_as_on_the_other_side():
    result = compute_compression(["the the the"], ["the cat the"], ["the cat sat on the mat"])
    assert result["token_f1"] == pytest.approx(2 * 2 / 6)
    assert result["rouge1"] == pytest.approx(100 * 2 / 3)
    assert result["copied_share"] == pytest.approx(2 / 3)
    assert result["novel_share"] == pytest.approx(1 / 3)


def test_of_several_references_the_best_for_each_score_or_the_mean():
    corpus = {"predictions": ["a b c d"], "references": [["a b", "d c b a"]], "sources": ["a b c d e"]}
    best, mean = (compute_compression(**corpus, multiple_references=name) for name in ("best", "mean"))
    expected = {"rouge1": (200 / 3, 100), "rouge2": (50, 0), "rougeL": (200 / 3, 25), "token_f1": (2 / 3, 1)}
    for name, scores in expected.items():
        assert best[name] == pytest.approx(max(scores))
        assert mean[name] == pytest.approx(sum(scores) / 2)
    assert best["reference_compression_ratio"] == mean["reference_compression_ratio"] == pytest.approx(3 / 5)


def test_recall_is_of_the_first_bytes_and_f1_of_the_whole():
    corpus = {"predictions": ["alpha beta gamma"], "references": ["beta gamma"], "sources": ["gamma alpha delta beta gamma"]}
    recalls = {limit: compute_compression(**corpus, limit_bytes=limit) for limit in (9, 10, 11, 15, 16, 75)}
    # A word that is cut is another word.
    assert {limit: result["rouge1_recall"] for limit, result in recalls.items()} == pytest.approx(
        {9: 0, 10: 50, 11: 50, 15: 50, 16: 100, 75: 100}
    )
    assert {limit: result["rouge2_recall"] for limit, result in recalls.items()} == pytest.approx(
        {9: 0, 10: 0, 11: 0, 15: 0, 16: 100, 75: 100}
    )
    assert [result["rouge1"] for result in recalls.values()] == pytest.approx([80] * 6)
    assert recalls[11]["controls"]["keep_all"]["rouge1_recall"] == pytest.approx(50)  # "gamma alpha"
    assert recalls[11]["gain_over_first_k"]["rouge1_recall"] == pytest.approx(0)
    assert "rouge1_recall" not in compute_compression(**corpus)


def test_bytes_do_not_count_characters_and_half_a_character_goes():
    corpus = {"predictions": ["é é word"], "references": ["word"], "sources": ["é é word"]}
    recalls = [compute_compression(**corpus, limit_bytes=limit)["rouge1_recall"] for limit in (1, 9, 10)]
    assert recalls == pytest.approx([0, 0, 100])


def test_counts_over_the_corpus():
    result = compute_compression(
        predictions=["a b", "", "x c d", "e f g"],
        references=["a", "b c", ["c d", "c d e f"], "e f"],
        sources=["a b c d", "a b c", "b c d", "e f g"],
        reconstruction_nats=[10, 9.5, 4, 2.5],
    )
    assert result["compression_ratio"] == pytest.approx(8 / 13)
    assert result["reference_compression_ratio"] == pytest.approx((1 + 2 + 3 + 2) / 13)
    assert result["copied_share"] == pytest.approx(7 / 8)
    assert result["novel_share"] == pytest.approx(1 / 8)
    assert (result["prefix_share"], result["whole_source_share"], result["empty_share"]) == (2 / 4, 1 / 4, 1 / 4)
    assert result["reconstruction_nats_per_word"] == pytest.approx(26 / 13)
    assert (result["sentences"], result["predicted_words"], result["source_words"]) == (4, 8, 13)
    assert result["first_k_corpus_words"] == 2


def test_empty_predictions_score_nothing_and_divide_by_nothing():
    result = compute_compression(["", " "], ["a", ["b", "c"]], ["a b", "b c d"], limit_bytes=75)
    assert all(result[name] == 0 for name in [*SCORES, "rougeL_recall", "compression_ratio", "prefix_share"])
    assert (result["copied_share"], result["novel_share"], result["empty_share"]) == (None, None, 1)
    for name in ("first_k", "first_k_corpus", "random_k"):
        assert all(value == 0 for value in result["controls"][name].values())
    assert result["controls"]["keep_all"]["rouge1_recall"] == 100
    assert result["reconstruction_nats_per_word"] is None


@pytest.mark.parametrize("multiple_references", ["best", "mean"])
def test_rouge_is_that_of_rouge_score(multiple_references):
    corpus = random_corpus()
    scorer = RougeScorer(list(ROUGE), use_stemmer=True)
    result = compute_compression(**corpus, multiple_references=multiple_references)
    for name in ROUGE:
        total = 0.0
        for prediction, references in zip(corpus["predictions"], corpus["references"], strict=True):
            scores = [scorer.score(reference, prediction)[name].fmeasure for reference in references]
            total += max(scores) if multiple_references == "best" else sum(scores) / len(scores)
        assert result[name] == pytest.approx(100 * total / 30)


@pytest.mark.parametrize("words", ["whitespace", "punctuation"])
def test_controls_are_scored_as_predictions_of_their_texts_would_be(words):
    corpus = random_corpus(seed=1)
    result = compute_compression(**corpus, words=words, seed=3, limit_bytes=12)
    counts = [len(text.split()) for text in corpus["predictions"]]  # by either rule: commas stand alone in these texts
    texts, _ = control_texts(corpus["sources"], counts, seed=3, rule=words)
    assert list(result["controls"]) == list(texts) == CONTROLS
    for name, predictions in texts.items():
        alone = compute_compression(**{**corpus, "predictions": predictions}, words=words, limit_bytes=12)
        assert {key: alone[key] for key in result["controls"][name]} == pytest.approx(result["controls"][name])
    for name, gain in result["gain_over_first_k"].items():
        assert gain == pytest.approx(result[name] - result["controls"]["first_k"][name])
    assert set(result["gain_over_first_k"]) == {*SCORES, *(f"{name}_recall" for name in ROUGE)}


def test_a_copy_of_the_first_words_gains_nothing():
    result = compute_compression(["a b", "d e f"], ["a c", "d f"], ["a b c", "d e f g"])
    assert set(result["gain_over_first_k"].values()) == {0}
    assert result["prefix_share"] == 1


def test_white_space_the_order_of_rows_and_one_reference_in_a_list_change_nothing():
    corpus = random_corpus(seed=2)
    corpus["references"] = [row[0] for row in corpus["references"]]
    result = compute_compression(**corpus, limit_bytes=20)
    spaced = {name: [f"  {text} ".replace(" ", " \t") for text in column] for name, column in corpus.items()}
    assert compute_compression(**spaced, limit_bytes=20) == result
    assert compute_compression(**{**corpus, "references": [(row,) for row in corpus["references"]]}, limit_bytes=20) == result
    turned = compute_compression(**{name: column[::-1] for name, column in corpus.items()}, limit_bytes=20)
    for other in (turned, result):
        del other["controls"]["random_k"]  # draws follow one another
    for name in ("controls", "gain_over_first_k"):
        for key, value in result.pop(name).items():
            assert turned[name][key] == pytest.approx(value)
        del turned[name]
    assert {key: value for key, value in turned.items() if value is not None} == pytest.approx(
        {key: value for key, value in result.items() if value is not None}
    )


def test_the_seed_is_of_the_random_words_only():
    corpus = random_corpus(seed=3)
    results = [compute_compression(**corpus, seed=seed) for seed in (0, 0, 1)]
    assert results[0] == results[1]
    assert results[0]["controls"].pop("random_k") != results[2]["controls"].pop("random_k")
    assert {**results[0], "seed": 1} == results[2]


def test_punctuation_may_be_a_word_of_its_own():
    corpus = {"predictions": ["Tom's cat sat."], "references": ["Tom's cat sat ."], "sources": ["Tom's old cat sat there."]}
    apart = compute_compression(**corpus, words="punctuation")
    together = compute_compression(**corpus)
    assert (apart["token_f1"], together["token_f1"]) == pytest.approx((1, 4 / 7))
    assert (apart["compression_ratio"], together["compression_ratio"]) == pytest.approx((4 / 6, 3 / 5))
    assert (apart["copied_share"], together["copied_share"]) == pytest.approx((1, 2 / 3))
    assert apart["rouge1"] == together["rouge1"]


def test_equal_pairs_are_scored_once():
    scorer = TextScorer(limit_bytes=75)
    calls = []
    score = scorer.rouge.score
    scorer.rouge.score = lambda *texts: calls.append(texts) or score(*texts)
    for _ in range(3):
        scorer.score("a b", ["a", "a", "b"])
    assert calls == [("a", "a b"), ("b", "a b")]


@pytest.mark.parametrize("references", [["a cat sat", "dogs bark"], [["a cat sat", "the cat"], ["dogs bark"]]])
def test_evaluate_takes_one_reference_or_several_in_batches(references, tmp_path):
    metric = hf_lvm.metrics.load("compression", cache_dir=str(tmp_path))
    corpus = {
        "predictions": ["cat sat", "dogs bark"],
        "references": references,
        "sources": ["a cat sat down", "all dogs bark"],
    }
    for row in range(2):
        metric.add_batch(**{name: column[row : row + 1] for name, column in corpus.items()})
    options = {"reconstruction_nats": [3.0, 4.0], "multiple_references": "mean", "limit_bytes": 5, "seed": 2}
    assert metric.compute(**options) == compute_compression(**corpus, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": ["a"]}, "1 predictions, 2 references and 2 sources"),
        ({"predictions": [], "references": [], "sources": []}, "at least one sentence"),
        ({"references": "a b"}, "references is one string"),
        ({"predictions": ["a", None]}, r"predictions\[1\] is a NoneType"),
        ({"sources": ["a b", " "]}, r"sources\[1\] holds no word"),
        ({"references": ["a", []]}, r"references\[1\] holds none"),
        ({"references": ["a", None]}, r"references\[1\] is a NoneType; one string or a list"),
        ({"references": ["a", ["b", ["c"]]]}, r"references\[1\]\[1\] is a list"),
        ({"references": ["a", ["b", ""]]}, r"references\[1\]\[1\] holds no word"),
        ({"multiple_references": "jackknife"}, "multiple_references is 'jackknife'; choose one of 'best', 'mean'"),
        ({"words": "bpe"}, "words is 'bpe'; choose one of 'whitespace', 'punctuation'"),
        ({"limit_bytes": 0}, "limit_bytes is 0"),
        ({"reconstruction_nats": [1.0]}, r"reconstruction_nats has shape \(1,\); one number for each of the 2"),
        ({"reconstruction_nats": [1.0, -2.0]}, r"reconstruction_nats\[1\] is -2.0, and 1 of 2"),
        ({"reconstruction_nats": [float("nan"), 2.0]}, r"reconstruction_nats\[0\] is nan"),
    ],
)
def test_wrong_input_is_named(change, message):
    corpus = {"predictions": ["a", "b"], "references": ["a", "b"], "sources": ["a b", "b c"]}
    with pytest.raises(ValueError, match=message):
        compute_compression(**{**corpus, **change})
