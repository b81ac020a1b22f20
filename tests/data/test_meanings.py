"""Utterances with meanings: what is read and what is refused or listed, and meanings on both sides of a split."""

import json

import pytest
from datasets import Dataset, DatasetDict

from hf_lvm.data import canonical_meaning, documentation, load_meanings, meaning_overlap, synthetic_meanings, without_held_out
from hf_lvm.grammars.languages import build_language

CALCULUS = build_language("lambda_calculus")
PAIRS = [
    ("red boats", "( lambda $0 e ( and ( boat $0 ) ( red $0 ) ) )"),
    ("boats in pier0", "( lambda $0 e ( and ( boat $0 ) ( in $0 pier0 ) ) )"),
    ("how many boats", "( count $0 ( boat $0 ) )"),
]
HELD_OUT = [("old boats", "( lambda $0 e ( boat $0 ) )")]
WRONG = "( lambda e ( boat $0 ) )"


def written(path, rows, columns=("question", "mr")):
    path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path):
    for split, rows in (("train", PAIRS), ("dev", HELD_OUT), ("test", HELD_OUT)):
        written(tmp_path / f"{split}.jsonl", rows)
    return tmp_path


def test_a_folder_keeps_its_splits(folder):
    splits, report = load_meanings(data_dir=folder)
    assert list(zip(splits["train"]["text"], splits["train"]["meaning"], strict=True)) == PAIRS
    assert splits["test"].column_names == ["text", "meaning"] and set(splits) == {"train", "validation", "test"}
    assert report.counts["train"] == {"pairs": 3, "utterances": 0, "meanings": 0} and report.skipped == ()
    assert report.describe() == "train 3 pairs; validation 1 pairs; test 1 pairs"


def test_several_data_sets_in_one_folder(folder):
    for split, rows in (("train", PAIRS[:2]), ("dev", HELD_OUT), ("test", HELD_OUT)):
        written(folder / f"small.{split}.jsonl", rows)
        written(folder / f"small_other.{split}.jsonl", PAIRS)
    assert len(load_meanings(data_dir=folder, config_name="small")[0]["train"]) == 2
    with pytest.raises(ValueError, match=r"has no file named smal\.\*; the files there: .*small\.train\.jsonl"):
        load_meanings(data_dir=folder, config_name="smal")
    (folder / "train.jsonl").unlink()
    with pytest.raises(ValueError, match="has 2 files for the split 'train'.*config_name="):
        load_meanings(data_dir=folder)


def test_what_stands_alone(folder):
    rows = [(None, PAIRS[0][1]), ("fast boats", None), (" ", PAIRS[1][1]), ("", ""), *PAIRS]
    written(folder / "train.jsonl", rows)
    extra = written(folder / "more.jsonl", [(None, "( boat boat0 )"), ("not read", PAIRS[2][1]), (None, None)])
    splits, report = load_meanings(data_dir=folder, extra=extra)
    assert splits["train"]["text"][:] == ["fast boats", *(text for text, _ in PAIRS)]
    assert splits["train"]["meaning"][0] is None
    assert splits["extra"]["meaning"][:] == [PAIRS[0][1], PAIRS[1][1], "( boat boat0 )", PAIRS[2][1]]
    assert splits["extra"]["text"][:] == [None] * 4
    assert report.counts["train"] == {"pairs": 3, "utterances": 1, "meanings": 0}
    assert report.counts["extra"] == {"pairs": 0, "utterances": 0, "meanings": 4}
    for row, what in (((None, PAIRS[0][1]), "utterance"), (("fast boats", None), "meaning")):
        written(folder / "test.jsonl", [*HELD_OUT, row])
        with pytest.raises(ValueError, match=rf"\(test\), row 1 has no {what}: a held-out row needs one"):
            load_meanings(data_dir=folder)
        _, report = load_meanings(data_dir=folder, skip_invalid=True)
        assert [(each.split, each.row) for each in report.skipped] == [("test", 1)]
    with pytest.raises(FileNotFoundError, match="no file .*lost.jsonl' with meanings alone"):
        load_meanings(data_dir=folder, extra=folder / "lost.jsonl", skip_invalid=True)


def test_rows_that_cannot_be_derived_are_refused_or_listed(folder):
    written(folder / "train.jsonl", [PAIRS[0], ("boats", WRONG), ("boat", "( " * 5000 + "boat" + " )" * 5000), *PAIRS[1:]])
    extra = written(folder / "more.jsonl", [(None, WRONG)])
    message = r"\(train\), row 1 cannot be derived: at token 2 there is 'e', where variable is expected. .*skip_invalid=True"
    with pytest.raises(ValueError, match=message):
        load_meanings(data_dir=folder)
    splits, report = load_meanings(data_dir=folder, extra=extra, skip_invalid=True)
    assert splits["train"]["text"][:] == [text for text, _ in PAIRS]
    assert [(each.split, each.row) for each in report.skipped] == [("train", 1), ("train", 2), ("extra", 0)]
    assert report.skipped[0].meaning == WRONG
    described = report.describe().splitlines()
    assert described[0].endswith("3 rows left out:") and "row 1 cannot be derived: at token 2" in described[1]
    written(folder / "train.jsonl", [("fast boats", None), (None, PAIRS[0][1])])
    with pytest.raises(ValueError, match=r"no row to train on with both an utterance \(question\) and a meaning \(mr\)"):
        load_meanings(data_dir=folder)


def test_columns_by_name_and_splits_by_hash(tmp_path):
    rows = [(number, f"boats {number}", f"( f a{number} )" if number % 2 else None) for number in range(200)]
    path = written(tmp_path / "rows.jsonl", rows, ("id", "said", "form"))
    splits, report = load_meanings(path, text_column="said", meaning_column="form")
    assert splits["train"].column_names == ["text", "meaning", "id"]
    # Utterances alone are trained on, and never held out.
    assert report.counts["train"]["utterances"] > 60 and None not in splits["test"]["meaning"][:]
    # The meanings may stand in a column "text".
    meanings_as_text = written(tmp_path / "other.jsonl", [row[1:] for row in rows], ("said", "text"))
    others, _ = load_meanings(meanings_as_text, text_column="said", meaning_column="text")
    assert others["train"]["text"][:] == splits["train"]["text"][:]
    assert others["train"]["meaning"][:] == splits["train"]["meaning"][:]
    for rows in splits.values():
        for row in rows:
            assert row["text"] == f"boats {row['id']}" and row["meaning"] in (None, f"( f a{row['id']} )")
    with pytest.raises(
        ValueError, match="no column 'mr'; its columns are id, said, form. Name one of them with meaning_column"
    ):
        load_meanings(path, text_column="said")


def test_another_language(tmp_path):
    path = written(tmp_path / "lines.jsonl", [(f"define f{i}", f"  def f{i} ( x ) :") for i in range(60)])
    splits, _ = load_meanings(path, language=build_language("python", complete_lines=True))
    assert splits["train"]["meaning"][0] == "  def f0 ( x ) :"
    with pytest.raises(ValueError, match="row 0 is not Python"):
        load_meanings(path, language=build_language("python"))


def test_overlap_depends_on_what_is_the_same(folder):
    train = ["( and ( p a ) ( q b ) )", "( or ( p a ) ( p b ) )"]
    others = {"test": ["( and ( q b ) ( p a ) )", "( or ( p b ) ( p a ) )", train[0], "( p a )"], "none": []}
    expected = {"text": [2], "published": [0, 2], "full": [0, 1, 2]}
    for rule, rows in expected.items():
        canonical = str if rule == "text" else canonical_meaning(CALCULUS, rule)
        assert meaning_overlap(train, others, canonical) == {"test": rows, "none": []}
    extra = written(
        folder / "more.jsonl", [(None, "( lambda $3 e ( boat $3 ) )"), (None, PAIRS[0][1]), (None, HELD_OUT[0][1])]
    )
    splits, _ = load_meanings(data_dir=folder, extra=extra)
    held = [splits["validation"], splits["test"]]
    left, removed = without_held_out(splits["extra"], held, canonical_meaning(CALCULUS))
    assert removed == [0, 2] and left["meaning"][:] == [PAIRS[0][1]]
    assert without_held_out(splits["extra"], held, str)[1] == [2]


def test_signatures_of_the_documentation_are_meanings(monkeypatch):
    signatures = ["def f(a, *, b: int=1) -> str", "async def g()", "def h(self, *names, **options)"]
    small = {"text": ["Does one.", "Does two.", "Does three."], "signature": signatures}
    corpus = DatasetDict({split: Dataset.from_dict(small) for split in ("train", "validation", "test")})
    monkeypatch.setattr(documentation, "load", lambda kind, site: corpus if kind == "signatures" and not site else None)
    splits, report = load_meanings()
    assert report.counts["test"]["pairs"] == 3 and splits["test"]["text"][:] == small["text"]
    language = build_language("python")
    trees = [language.parse(meaning) for meaning in splits["test"]["meaning"]]
    assert [language.write(tree) for tree in trees] == [f"{signature}:\n    pass" for signature in signatures]


def test_synthetic_questions_have_one_meaning_each():
    draws = synthetic_meanings.generate(3)
    canonical, known = canonical_meaning(CALCULUS), {}
    used = set()
    for _ in range(4000):
        text, meaning = next(draws)
        assert known.setdefault(text, meaning) == meaning
        used |= set(meaning.split())
    assert used > {"lambda", "count", "argmax", "argmin", "exists", "and", "or", "not", "<", ">", "$1"}
    assert len(set(map(canonical, known.values()))) < len(known) - 200


def test_synthetic_meanings_as_a_data_set():
    splits = synthetic_meanings.load(300, num_extra=50)
    known = {meaning for split in ("train", "validation", "test") for meaning in splits[split]["meaning"]}
    assert sum(map(len, splits.values())) == 350 and not known & set(splits["extra"]["meaning"])
    assert splits["extra"]["text"][:] == [None] * 50
    again = synthetic_meanings.load(200)
    assert set(again["train"]["text"]) < set(splits["train"]["text"])
    loaded, report = load_meanings("synthetic_meanings")
    assert report.skipped == () and sum(map(len, loaded.values())) == 3000
    with pytest.raises(ValueError, match="num_sentences=0 and num_extra=0: at least 1"):
        synthetic_meanings.load(0)
