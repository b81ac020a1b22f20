import json

import pytest

from hf_lvm.data import load_bracketings, load_trees, read_tree

SENTENCES = [f"word{n} sleeps on mat{n}" for n in range(60)]
TREES = ["(S (NP {}) (VP {} (PP {} {})))".format(*sentence.split()) for sentence in SENTENCES]
CUT = {"validation_fraction": 0.2, "test_fraction": 0.2}


def write(path, rows):
    if path.suffix == ".txt":
        path.write_text("\n".join(row["tree"] for row in rows) + "\n", encoding="utf-8")
    else:
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def all_rows(loaded):
    return sorted((row["text"], row["tree"]) for rows in loaded.values() for row in rows)


@pytest.mark.parametrize("name", ["trees.txt", "trees.jsonl"])
def test_texts_are_made_from_leaves(tmp_path, name):
    path = write(tmp_path / name, [{"tree": tree} for tree in TREES])
    loaded = load_trees(path, **CUT)
    assert list(loaded) == ["train", "validation", "test"]
    assert set(loaded["train"].column_names) == {"text", "tree"}
    assert all_rows(loaded) == sorted(zip(SENTENCES, TREES, strict=True))


def test_columns_are_renamed_and_the_others_kept(tmp_path, caplog):
    rows = [
        {"words": sentence, "text": "unused", "parse": tree.replace(" (VP", "\n (VP"), "file": "a"}
        for sentence, tree in zip(SENTENCES, TREES, strict=True)
    ]
    path = write(tmp_path / "trees.jsonl", rows)
    loaded = load_trees(path, tree_column="parse", text_column="words", max_words=4, **CUT)
    assert set(loaded["train"].column_names) == {"text", "tree", "text_unused", "file"}
    assert all_rows(loaded) == sorted(zip(SENTENCES, TREES, strict=True))


def test_columns_may_have_each_others_names(tmp_path):
    rows = [{"text": tree, "tree": sentence} for sentence, tree in zip(SENTENCES, TREES, strict=True)]
    path = write(tmp_path / "trees.jsonl", rows)
    assert all_rows(load_trees(path, tree_column="text", text_column="tree", **CUT)) == sorted(
        zip(SENTENCES, TREES, strict=True)
    )
    path = write(tmp_path / "alone.jsonl", [{"text": tree} for tree in TREES])
    assert all_rows(load_trees(path, tree_column="text", **CUT)) == sorted(zip(SENTENCES, TREES, strict=True))


def test_a_folder_keeps_its_splits_and_trees_may_be_missing(tmp_path):
    for split, first in (("train", 0), ("valid", 20), ("test", 40)):
        rows = [{"text": SENTENCES[n], "tree": TREES[n] if n % 2 else ""} for n in range(first, first + 20)]
        write(tmp_path / f"{split}.jsonl", rows)
    loaded = load_trees(data_dir=tmp_path)
    assert loaded["validation"]["text"][:] == SENTENCES[20:40]
    assert loaded["validation"]["tree"][:] == [TREES[n] if n % 2 else None for n in range(20, 40)]


def test_trees_without_labels_and_empty_lines(tmp_path):
    path = tmp_path / "trees.txt"
    lines = [f"(w{n} (sleeps here))" for n in range(30)] + ["", "((they do) sleep)"]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert all_rows(load_trees(path, **CUT)) == sorted(
        [(f"w{n} sleeps here", f"(w{n} (sleeps here))") for n in range(30)] + [("they do sleep", "((they do) sleep)")]
    )


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"text": "a b"}], {}, r"no column 'tree'; its columns are text. Name one of them with tree_column"),
        ([{"tree": "(S a b)"}], {"text_column": "words"}, r"no column 'words'; .* text_column"),
        ([{"tree": 3}], {}, r"'tree' of .* holds .*int64.*, not strings"),
        ([{"tree": "(S a b)"}, {"tree": "(S a b"}], {}, r"x.jsonl \(train\), tree 1 is not one bracketed sentence"),
        ([{"tree": "(S a b)", "text": "a c"}], {}, r"x.jsonl \(train\), tree 0 does not fit its sentence"),
        ([{"tree": "(S a b)"}] * 3, {"validation_fraction": 1.0}, "below 1"),
    ],
)
def test_what_is_no_data_set_of_trees(tmp_path, rows, options, message):
    with pytest.raises(ValueError, match=message):
        load_trees(write(tmp_path / "x.jsonl", rows), **options)


def test_trees_of_another_parser_are_found_by_their_words(tmp_path):
    path = write(tmp_path / "pcfg.txt", [{"tree": tree.lower()} for tree in reversed(TREES)])
    texts = [SENTENCES[5].capitalize(), SENTENCES[3], SENTENCES[5]]
    found = load_bracketings(path, texts)
    assert found[0] == "(X Word5 (X sleeps (X on mat5)))"
    for text, tree in zip(texts, found, strict=True):
        assert read_tree(tree, text.split()).spans == ((2, 3), (1, 3), (0, 3))


def test_missing_trees_are_named_or_counted(tmp_path, caplog):
    caplog.set_level("INFO")
    write(tmp_path / "train.jsonl", [{"parse": TREES[0]}])
    write(tmp_path / "test.jsonl", [{"parse": TREES[1]}])
    texts = [SENTENCES[1], SENTENCES[7], SENTENCES[0]]
    with pytest.raises(ValueError, match=r"no tree for sentence 1, 'word7 sleeps on mat7': 1 of 3 sentences"):
        load_bracketings(tmp_path, texts, tree_column="parse")
    assert [tree is None for tree in load_bracketings(tmp_path, texts, "parse", strict=False)] == [False, True, False]
    assert "1 of 3 sentences have no tree" in caplog.text
    with pytest.raises(ValueError, match=r"no tree for sentence 0, .*: 1 of 1 sentences"):
        load_bracketings(tmp_path, texts[1:2], "parse", strict=False)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load_bracketings(tmp_path / "nothing.txt", texts)
