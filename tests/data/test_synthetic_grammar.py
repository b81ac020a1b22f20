from functools import cache
from itertools import islice

import pytest

import hf_lvm.metrics
from hf_lvm.data import load_texts, load_trees, read_trees, synthetic_grammar
from hf_lvm.data.synthetic_grammar import BRANCHING, KINDS, NAMES, SENTENCE_TYPES, WORDS, generate, load, rules_of


@pytest.fixture(scope="module", params=BRANCHING)
def corpus(request):
    return request.param, load(request.param, num_sentences=800)


def baselines(rows):
    trees = rows["tree"][:]
    scores = hf_lvm.metrics.load("bracket_f1").compute(predictions=trees, references=trees, protocol="prpn")
    assert scores["corpus_f1"] == 100
    return {name: each["sentence_f1"] for name, each in scores["baselines"].items()}


def count_parses(words, rules):
    @cache
    def count(symbol, first, end):
        if symbol in WORDS:
            return int(end - first == 1 and words[first] in WORDS[symbol])
        total = 0
        for _, parts in rules[symbol]:
            left, *right = parts.split()
            if right:
                total += sum(count(left, first, split) * count(right[0], split, end) for split in range(first + 1, end))
            else:
                total += count(left, first, end)
        return total

    return sum(count(kind, 0, len(words)) for kind in SENTENCE_TYPES)


def test_trees_are_binary_and_over_the_words(corpus):
    _, splits = corpus
    rows = splits["train"]
    assert rows.column_names == ["text", "tree", "sentence_type"]
    sentences = [text.split() for text in rows["text"]]
    for tree, words in zip(read_trees(rows["tree"][:], sentences), sentences, strict=True):
        assert tree.is_binary_tree and 4 <= len(words) <= 14
        assert None not in tree.tags and None not in tree.labels
    assert set(rows["sentence_type"]) == set(SENTENCE_TYPES)
    assert 60 <= len({word for words in sentences for word in words}) <= 150


def test_no_sentence_is_ambiguous(corpus):
    branching, splits = corpus
    rules = rules_of(branching)
    for text in splits["train"]["text"][:100]:
        words = text.split()[::-1] if branching == "left" else text.split()
        assert count_parses(tuple(words), rules) == 1, text


def test_splits_share_nothing_and_are_those_of_the_seed(corpus):
    branching, splits = corpus
    texts = [text for rows in splits.values() for text in rows["text"]]
    assert len(set(texts)) == len(texts) == 800
    assert all(len(rows) > 20 for rows in splits.values())
    fewer = load(branching, num_sentences=300)
    assert set(fewer["train"]["text"]) < set(splits["train"]["text"])
    assert load(branching, 300)["test"][:] == fewer["test"][:] != load(branching, 300, seed=1)["test"][:]


def test_the_first_sentences_are_always_these():
    drawn = [" ".join(phrase.words()) for _, phrase in islice(generate(), 2)]
    assert drawn == [
        "rivers tamed wolves draining tides steadily",
        "pay farmers taming wolves praising kings driving trains now",
    ]


def test_no_baseline_comes_near_mixed_trees():
    scores = baselines(load(num_sentences=800)["train"])
    assert max(scores[name] for name in ("left_branching", "right_branching", "balanced", "random")) < 45
    assert scores["right_branching_last_on_top"] < 65 and scores["best_binary"] == 100


def test_the_adverb_of_a_mixed_sentence_is_of_its_subject_and_objects_are_of_their_verbs():
    kind_of = {word: kind for kind, symbols in KINDS.items() for words in symbols.values() for word in words.split()}
    adverbs = {word for symbols in KINDS.values() for word in symbols["RB"].split()}
    verbs = {word for symbols in KINDS.values() for name in ("VBG", "VB", "VBD_object") for word in symbols[name].split()}
    for text in load(num_sentences=300)["train"]["text"]:
        words = text.split()
        if words[-1] in adverbs:
            assert kind_of[words[0]] == kind_of[words[-1]], text
        assert all(kind_of[verb] == kind_of[noun] for verb, noun in zip(words, words[1:], strict=False) if verb in verbs), text


@pytest.mark.parametrize("branching", ["left", "right"])
def test_one_direction_prevails(branching):
    scores = baselines(load(branching, num_sentences=500)["train"])
    other = {"left": "right", "right": "left"}[branching]
    assert scores[f"{branching}_branching"] > 80 and scores[f"{other}_branching"] < 20


@pytest.mark.parametrize("name", NAMES)
def test_it_is_loaded_by_name(name, monkeypatch):
    small = load(NAMES[name], num_sentences=200)
    monkeypatch.setattr(synthetic_grammar, "load", lambda branching: small if branching == NAMES[name] else None)
    texts, trees = load_texts(name, max_words=8), load_trees(name, max_words=8)
    assert list(texts) == ["train", "validation", "test"]
    for split in texts:
        assert texts[split]["text"][:] == trees[split]["text"][:] == [t for t in small[split]["text"] if len(t.split()) <= 8]
        assert sorted(texts[split][0].items()) == sorted(trees[split][0].items())


def test_what_there_is_not():
    with pytest.raises(ValueError, match=r"no grammar with branching 'up'; choose one of 'mixed', 'left', 'right'"):
        load("up")
    with pytest.raises(ValueError, match="num_sentences=0"):
        load(num_sentences=0)
    with pytest.raises(FileNotFoundError, match=r"Did you mean synthetic_grammar"):
        load_texts("synthetic_gramar")
