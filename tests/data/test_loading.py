import functools
import json
import logging
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hf_lvm.data import documentation, load_texts

ROWS = [{"text": f'line {n}, "quoted"', "stars": n} for n in range(60)]


def write_rows(path, rows=ROWS):
    """Write the same rows in the format that the ending of `path` asks for."""
    if path.suffix == ".txt":
        path.write_text("".join(row["text"] + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines = ['"{}"{}{}\n'.format(row["text"].replace('"', '""'), separator, row["stars"]) for row in rows]
        path.write_text(f"text{separator}stars\n" + "".join(lines), encoding="utf-8")
    return path


def all_texts(dataset):
    return sorted(text for rows in dataset.values() for text in rows["text"][:])


@pytest.mark.parametrize("ending", ["txt", "jsonl", "json", "csv", "tsv", "parquet"])
def test_every_file_type_gives_the_same_texts_and_splits(tmp_path, ending):
    loaded = load_texts(write_rows(tmp_path / f"corpus.{ending}"), validation_fraction=0.2, test_fraction=0.2)
    expected = load_texts(write_rows(tmp_path / "reference.txt"), validation_fraction=0.2, test_fraction=0.2)
    assert list(loaded) == ["train", "validation", "test"]
    assert all_texts(loaded) == sorted(row["text"] for row in ROWS)
    for split, rows in loaded.items():
        assert rows["text"][:] == expected[split]["text"][:]
    assert ending == "txt" or loaded["train"].column_names == ["text", "stars"]


def test_other_columns_stay_beside_their_text(tmp_path):
    loaded = load_texts(write_rows(tmp_path / "corpus.csv"), validation_fraction=0.3, test_fraction=0.3)
    for rows in loaded.values():
        assert all(row["text"] == f'line {row["stars"]}, "quoted"' for row in rows)


def test_documentation_is_the_default(corpus):
    assert documentation.fingerprint(load_texts()) == documentation.fingerprint(corpus)


def test_equal_texts_share_a_split_and_duplicates_stay(tmp_path):
    loaded = load_texts(write_rows(tmp_path / "corpus.jsonl", ROWS * 3), validation_fraction=0.2, test_fraction=0.2)
    assert len(all_texts(loaded)) == 3 * len(ROWS)
    texts = [set(rows["text"][:]) for rows in loaded.values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == len(ROWS)


def test_empty_lines_and_lengths_are_left_out_and_counted(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(["one", "", "  ", *(f"two words{n}" for n in range(40)), "three words here"]))
    loaded = load_texts(path, min_words=2, max_words=2, validation_fraction=0.2, test_fraction=0.2)
    assert all_texts(loaded) == sorted(f"two words{n}" for n in range(40))
    assert "2 empty texts are left out" in caplog.text
    assert "2 of 42 texts have fewer than min_words=2 or more than max_words=2" in caplog.text


def test_unusual_line_ends_do_not_cut_texts(tmp_path):
    path = tmp_path / "train.txt"
    texts = [f"{n} form\x0cfeed and \u2028 separator" for n in range(60)]
    path.write_text("\ufeff" + "\r\n".join(texts), encoding="utf-8", newline="")
    assert all_texts(load_texts(path, validation_fraction=0.2, test_fraction=0.2)) == sorted(texts)


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("train.jsonl", "dev.jsonl", "test.jsonl"),
        ("resplit_train.csv", "resplit_validation.csv", "resplit_test.csv"),
        ("train_10000.tsv", "val.tsv", "eval.tsv"),
    ],
)
@pytest.mark.parametrize("option", ["dataset", "data_dir"])
def test_folder_keeps_its_own_splits(tmp_path, names, option):
    for position, name in enumerate(names):
        write_rows(tmp_path / name, ROWS[20 * position : 20 * position + 20])
    (tmp_path / "README.md").write_text("not a data file")
    loaded = load_texts(**{option: tmp_path})
    assert [rows["text"][0] for rows in loaded.values()] == [ROWS[20 * position]["text"] for position in range(3)]
    assert [len(rows) for rows in loaded.values()] == [20, 20, 20]


def test_missing_split_is_cut_from_train_only(tmp_path):
    write_rows(tmp_path / "train.txt", ROWS[:50])
    write_rows(tmp_path / "test.txt", ROWS[50:])
    loaded = load_texts(data_dir=tmp_path, validation_fraction=0.3)
    assert loaded["test"]["text"][:] == [row["text"] for row in ROWS[50:]]
    assert sorted(loaded["train"]["text"][:] + loaded["validation"]["text"][:]) == sorted(row["text"] for row in ROWS[:50])
    assert len(loaded["validation"]) > 0


def test_text_column_is_renamed_to_text(tmp_path, caplog):
    rows = [{"text": "unused", "review": row["text"]} for row in ROWS]
    loaded = load_texts(
        write_rows_of_any_kind(tmp_path, rows), text_column="review", validation_fraction=0.2, test_fraction=0.2
    )
    assert all_texts(loaded) == sorted(row["text"] for row in ROWS)
    assert set(loaded["train"]["text_unused"]) == {"unused"}
    assert "text_unused" in caplog.text


def write_rows_of_any_kind(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "name", "options", "message"),
    [
        ("", "empty.txt", {}, r"'train' holds no text"),
        ("\n\n", "blank.txt", {}, r"'train' holds no text"),
        ("one text\n", "single.txt", {}, r"holds no text"),
        ('{"body": "a", "stars": 1}', "x.jsonl", {}, r"no column 'text'; its columns are body, stars.*text_column"),
        ('{"text": 3}', "x.jsonl", {}, r"'text' of .* holds .*int64.*, not strings"),
        ('{"text": "a"}\n{"text": ', "x.jsonl", {}, r"x.jsonl, line 2 is not JSON"),
        ('["a", "b"]', "x.json", {}, r"entry 1 is str, not an object"),
        ("a,b\n1\n", "x.csv", {}, r"x.csv could not be read as .csv"),
        (b"\xff\xfe\xfa", "x.txt", {}, r"x.txt could not be read as .txt"),
        ("text", "x.docx", {}, r"Unknown file type '.docx'.*.jsonl"),
        ("one\ntwo", "x.txt", {"validation_fraction": 1.0}, r"below 1"),
    ],
)
def test_bad_content_gets_one_clear_line(tmp_path, content, name, options, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        load_texts(path, **options)
    assert "\n" not in str(caught.value)


def test_wrong_names_are_met_with_near_ones(tmp_path, monkeypatch):
    write_rows(tmp_path / "corpus.jsonl")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Did you mean corpus.jsonl\?"):
        load_texts("corpsu.jsonl")
    with pytest.raises(FileNotFoundError, match=r"Did you mean corpus.jsonl\?"):
        load_texts(tmp_path / "corpus.json")
    with pytest.raises(FileNotFoundError, match=r"Did you mean documentation or documentation_"):
        load_texts("documentaton")
    with pytest.raises(FileNotFoundError, match="neither a file or folder here nor a built-in corpus.*owner/name"):
        load_texts("imdb")
    with pytest.raises(FileNotFoundError, match="'nowhere' does not exist either"):
        load_texts(Path("nowhere") / "corpus.txt")
    with pytest.raises(FileNotFoundError, match="data_dir='corpus.jsonl' is not a folder"):
        load_texts(data_dir="corpus.jsonl")
    with pytest.raises(ValueError, match="name one of them"):
        load_texts("documentation", data_dir=tmp_path)


def test_ambiguous_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no file that could be read"):
        load_texts(data_dir=tmp_path)
    write_rows(tmp_path / "a.train.txt")
    write_rows(tmp_path / "b.train.txt")
    with pytest.raises(ValueError, match="2 files for the split 'train': a.train.txt, b.train.txt"):
        load_texts(data_dir=tmp_path)
    (tmp_path / "a.train.txt").rename(tmp_path / "one.txt")
    (tmp_path / "b.train.txt").rename(tmp_path / "two.txt")
    with pytest.raises(ValueError, match="no file for training.*one.txt, two.txt"):
        load_texts(data_dir=tmp_path)


def test_conditions_have_a_column_of_their_own_whatever_the_names(tmp_path, caplog):
    rows = [{"text": f"about {n}", "condition": f"say {n}", "other": "x"} for n in range(40)]
    rows += [{"text": None, "condition": "say it of nothing", "other": "x"}, {"text": "  ", "condition": "say", "other": "x"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    load = functools.partial(load_texts, str(tmp_path / "rows.jsonl"))
    # The text is called condition, and the condition text.
    with caplog.at_level(logging.INFO):
        exchanged = load(text_column="condition", condition_column="text")
    pairs = {(row["condition"], row["text"]) for split in exchanged.values() for row in split}
    assert pairs == {(f"about {n}", f"say {n}") for n in range(40)}
    assert "2 texts without a condition are left out" in caplog.text
    third = load(text_column="condition", condition_column="other")
    assert all(row["text"].startswith("say") and row["condition"] == "x" for split in third.values() for row in split)
    assert "condition" in load()["train"].column_names, "without condition_column every column is kept as it is"
    for column, message in (("text", "both 'text'"), ("nowhere", "Name one of them with condition_column")):
        with pytest.raises(ValueError, match=message):
            load(condition_column=column)


def test_signatures_are_conditions_of_summaries():
    rows = load_texts("documentation_signatures", condition_column="signature", max_words=6)["test"]
    assert len(rows) > 20 and all(row["condition"].startswith(("def ", "async def ")) for row in rows)
