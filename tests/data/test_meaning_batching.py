"""Utterances and meanings as a model takes them; which are labelled, and what a prior reads."""

import pytest
import torch
from datasets import Dataset, DatasetDict

from hf_lvm.data import (
    LatentTextProcessor,
    MeaningCollator,
    canonical_meaning,
    encode_meanings,
    meaning_actions,
    prior_meanings,
    rows_with_meanings,
    train_word_tokenizer,
    trees_of,
)
from hf_lvm.grammars.languages import build_language
from hf_lvm.grammars.transition_system import END, ActionVocabulary, tree_of
from hf_lvm.models.struct_vae.meaning_grammar import MeaningGrammar

TEXTS = ["red boats in pier1", "  all   ferries ", "boats of captain0"]
MEANINGS = [
    "( lambda $0 e ( and ( boat $0 ) ( red $0 ) ( in $0 pier1 ) ) )",
    "( lambda $0 e ( ferry $0 ) )",
    "( lambda $0 e ( owner $0 captain0 ) )",
]
LANGUAGE = build_language("lambda_calculus")


def grammar_of(max_actions: int = 40, max_spelled: int = 40, copy_slots: int = 8) -> MeaningGrammar:
    """Of a model that has the values of the training meanings and copies words of the source."""
    lexicons = LANGUAGE.lexicons(trees_of(LANGUAGE, MEANINGS))
    vocabulary = ActionVocabulary(LANGUAGE.grammar, lexicons, copy_slots, ["entity"])
    return MeaningGrammar(vocabulary.to_dict(), max_actions, max_spelled)


@pytest.fixture(scope="module")
def processor():
    return LatentTextProcessor(train_word_tokenizer(TEXTS))


def rows(texts, meanings) -> Dataset:
    return Dataset.from_dict({"text": texts, "meaning": meanings, "other": list(range(len(texts)))})


def test_meanings_are_spelled_and_words_are_those_of_the_encoder(processor):
    encoded = encode_meanings(rows(TEXTS, [*MEANINGS[:2], None]), processor, LANGUAGE, grammar_of())
    assert encoded["words"][:] == [text.split() for text in TEXTS]
    assert [max(ids) + 1 for ids in encoded["word_ids"]] == [4, 2, 3]
    for ids, meaning in zip(encoded["meaning_ids"][:2], MEANINGS, strict=False):
        assert ids[-1] == END and max(ids) < grammar_of().vocabulary.first_copy
        assert tree_of(grammar_of().vocabulary, ids) == LANGUAGE.parse(meaning)
    assert encoded["meaning_ids"][2] == [] and encoded["meaning"][:] == [*MEANINGS[:2], None]
    batch = MeaningCollator(processor)([encoded[row] for row in (0, 2)])
    assert batch["words"] == [TEXTS[0].split(), TEXTS[2].split()]
    assert batch["meaning_ids"].shape == (2, len(encoded[0]["meaning_ids"])) and (batch["meaning_ids"][1] == -100).all()
    assert batch["input_ids"].shape == batch["word_ids"].shape
    assert "guessed_ids" not in batch


def test_guesses_are_collated_beside_what_is_known(processor):
    encoded = encode_meanings(rows(TEXTS, [MEANINGS[0], None, None]), processor, LANGUAGE, grammar_of())
    encoded = encoded.add_column("guessed_ids", [[], encoded[0]["meaning_ids"], []])
    batch = MeaningCollator(processor)([encoded[row] for row in range(3)])
    torch.testing.assert_close(batch["guessed_ids"][1], batch["meaning_ids"][0])
    assert (batch["guessed_ids"][[0, 2]] == -100).all() and (batch["meaning_ids"][1:] == -100).all()


@pytest.mark.parametrize(
    ("meaning", "limits", "said"),
    [
        ("( lambda $0 e ( tug $0 ) )", {}, "'tug'"),
        (MEANINGS[0], {"max_spelled": 10, "max_actions": 10}, "takes .* the limit is 10"),
        # With copies it takes fewer steps than max_spelled, and still too many for the parser.
        (MEANINGS[0], {"max_actions": 12}, "takes .* the limit is 12"),
    ],
)
def test_a_meaning_that_the_model_cannot_write_stays_without_actions(processor, caplog, meaning, limits, said):
    grammar = grammar_of(**limits)
    with pytest.raises(ValueError, match=said):
        meaning_actions(LANGUAGE, grammar, meaning, TEXTS[0].split())
    with caplog.at_level("INFO"):
        encoded = encode_meanings(rows(TEXTS[:2], [meaning, MEANINGS[1]]), processor, LANGUAGE, grammar)
    assert encoded["meaning_ids"][0] == [] and encoded["meaning_ids"][1] and encoded["meaning"][0] == meaning
    assert "1 of 2 meanings cannot be written" in caplog.text


def test_rows_with_an_utterance_and_a_meaning():
    table = rows(["a"] * 40, [MEANINGS[0] if row % 2 else None for row in range(40)])
    assert rows_with_meanings(table) == list(range(1, 40, 2))
    with pytest.raises(ValueError, match="No training row has both"):
        rows_with_meanings(rows(["a"], [None]))


def test_the_prior_reads_no_meaning_of_held_out_rows_but_those_that_training_has():
    swapped = "( lambda $0 e ( and ( red $0 ) ( boat $0 ) ( in $0 pier1 ) ) )"
    splits = DatasetDict(
        train=rows(["a", "b", "c"], [MEANINGS[0], MEANINGS[1], None]),
        validation=rows(["d"], [swapped]),
        test=rows(["e"], [MEANINGS[2]]),
        extra=Dataset.from_dict({"text": [None] * 3, "meaning": [MEANINGS[2], swapped, "( lambda $0 e ( boat $0 ) )"]}),
    )
    canonical = canonical_meaning(LANGUAGE, "published")
    found = prior_meanings(splits, [1], "labelled", canonical)
    assert found.texts == [MEANINGS[1]] and found.counts["validation"] == found.counts["test"] == 0
    found = prior_meanings(splits, [1], "train", canonical)
    assert found.texts == [MEANINGS[1], MEANINGS[0]]
    assert found.counts == {"labelled": 1, "train": 1, "extra": 0, "extra_held_out": 0, "validation": 1, "test": 0}
    # Of the extra ones those that held-out rows have are gone, in whatever order; what a label says is not.
    found = prior_meanings(splits, [0], "extra", canonical)
    assert found.texts == [MEANINGS[0], "( lambda $0 e ( boat $0 ) )"]
    assert (found.counts["extra"], found.counts["extra_held_out"]) == (1, 2)
    assert "2 meanings (1 labelled, 1 extra, without 2 that held-out rows have)" in found.describe()
    with pytest.raises(ValueError, match="there are none: name a file"):
        prior_meanings({name: splits[name] for name in ("train", "validation", "test")}, [0], "extra", canonical)
    with pytest.raises(ValueError, match="'test': it is one of"):
        prior_meanings(splits, [0], "test", canonical)
