"""Utterances with their meanings, where those are known, and which meanings stand on both sides of a split."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Value

from hf_lvm.data import documentation, synthetic_meanings
from hf_lvm.data.loading import complete_texts, name_columns, read_sources
from hf_lvm.data.splits import check_fractions
from hf_lvm.data.text_files import read_file
from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import Language, build_language

logger = logging.getLogger(__name__)

DOCUMENTATION, SYNTHETIC = "documentation", "synthetic_meanings"
_COLUMNS = Features({"text": Value("string"), "meaning": Value("string")})


@dataclass(frozen=True)
class SkippedMeaning:
    """A row that was left out: where it stood, its meaning and what is wrong with it."""

    split: str
    row: int
    meaning: str | None
    reason: str


@dataclass(frozen=True)
class MeaningReport:
    """What was read.

    Attributes:
        counts: split -> `pairs`, `utterances` (without a meaning), `meanings` (without an utterance).
        skipped: the rows that were left out because of their meaning, in order.
    """

    counts: Mapping[str, Mapping[str, int]]
    skipped: tuple[SkippedMeaning, ...]

    def describe(self) -> str:
        """A line with the sizes, and one for each row that was left out."""
        sizes = "; ".join(
            f"{split} " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
            for split, counts in self.counts.items()
        )
        skipped = [f"  {each.reason}" for each in self.skipped]
        return "\n".join([sizes + (f"; {len(skipped)} rows left out:" if skipped else ""), *skipped])


def load_meanings(
    dataset: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    language: Language | None = None,
    text_column: str = "question",
    meaning_column: str = "mr",
    extra: str | os.PathLike | None = None,
    skip_invalid: bool = False,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    min_words: int | None = None,
    max_words: int | None = None,
    config_name: str | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> tuple[DatasetDict, MeaningReport]:
    """Load utterances and meanings, with the splits `train`, `validation` and `test`, as `load_texts` loads texts.

    Args:
        dataset: As of `load_texts`, or `None` or `"documentation"`: [`documentation_meanings`]; `"synthetic_meanings"`:
            [`hf_lvm.data.synthetic_meanings`]. Both have columns and language of their own.
        data_dir, validation_fraction, test_fraction, min_words, max_words, config_name, cache_dir: As of `load_texts`. What is
            missing of validation and test is cut from the training rows by a hash of each utterance.
        language: Of the meanings. None: `lambda_calculus`, and `python` for the documentation.
        text_column: The column with utterances. A training row without one is a meaning alone, and goes to the split `extra`.
        meaning_column: The column with meanings. A training row without one is an utterance alone, and stays in `train`.
        extra: A file of meanings alone, which go to the split `extra`; utterances in it are not read. Meanings of held-out
            rows may be among them: see [`without_held_out`].
        skip_invalid: Whether rows with a meaning that the language does not derive are left out and listed in the report.

    Returns:
        In memory, the columns `text` and `meaning`, as they were, either one None where it is not known, and in the first
        three splits every other column under its name; and the report. Rows with neither are left out, as a log line says.

    Raises:
        FileNotFoundError, ConnectionError: As `load_texts`.
        ValueError: As `load_texts`; no training row with both; and, with the row named, a meaning that the language does not
            derive (unless `skip_invalid`), with the place in it and what is expected there, or a held-out row that lacks its
            utterance or its meaning.
    """
    check_fractions(validation_fraction, test_fraction)
    name = DOCUMENTATION if dataset is None and data_dir is None else str(dataset if data_dir is None else data_dir)
    built_in = data_dir is None and name in (DOCUMENTATION, SYNTHETIC)
    language = language or build_language("python" if built_in and name == DOCUMENTATION else "lambda_calculus")
    reader = _Reader(language, skip_invalid)
    if built_in:
        loaded = documentation_meanings() if name == DOCUMENTATION else synthetic_meanings.load()
        sources = {split: reader.rows(rows, split, name) for split, rows in loaded.items()}
    else:
        sources, name = read_sources(dataset, data_dir, text_column, config_name, cache_dir)
        columns = {"text": text_column, "meaning": meaning_column}
        sources = {
            split: reader.rows(name_columns(rows, columns, f"{name} ({split})"), split, name)
            for split, rows in sources.items()
        }
    alone = reader.take_alone(sources)
    if extra is not None:
        alone += reader.extra(Path(extra).expanduser(), meaning_column)
    if not any(sources["train"]["meaning"][:]):
        raise ValueError(
            f"{name} has no row to train on with both an utterance ({text_column}) and a meaning ({meaning_column}): a parser "
            "starts from some; label a few."
        )
    given = set(sources)
    splits = complete_texts(sources, validation_fraction, test_fraction, min_words, max_words, name)
    for split in {"validation", "test"} - given:
        splits[split] = _with_meaning(splits[split], split, name)
    if alone:
        splits["extra"] = Dataset.from_dict({"text": [None] * len(alone), "meaning": alone}, _COLUMNS)
    report = MeaningReport({split: _counted(rows) for split, rows in splits.items()}, tuple(reader.skipped))
    logger.info("%s: %s", name, report.describe())
    return splits, report


def documentation_meanings(include_site_packages: bool = False) -> DatasetDict:
    """The documentation corpus as meanings: what a function does, and its signature as a statement of Python.

    About 5,400 pairs. A text that differs in capitals and punctuation alone stands there once, with the first signature; then
    texts are split by their hash. Different functions may have the same signature: see [`meaning_overlap`].

    Returns:
        The columns `text`, the summary line of a function, and `meaning`, its `def` statement with `pass` for a body.
    """
    loaded = documentation.load("signatures", include_site_packages)
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {"text": rows["text"][:], "meaning": [f"{signature}: pass" for signature in rows["signature"][:]]}, _COLUMNS
            )
            for split, rows in loaded.items()
        }
    )


def canonical_meaning(language: Language, rule: str = "full") -> Callable[[str], Node]:
    """A function from the text of a meaning to its canonical tree by a rule, each text read once; see `Language.canonical`."""

    @cache
    def canonical(text: str) -> Node:
        return language.canonical(language.parse(text), rule)

    return canonical


def meaning_overlap(
    known: Iterable[str], others: Mapping[str, Iterable[str]], canonical: Callable[[str], Hashable]
) -> dict[str, list[int]]:
    """Which meanings occur among known ones: how far a split asks for meanings that training has shown.

    On ATIS (anonymised, 4,433 training rows), 346 of the 448 test meanings occur in training by the same text, and 347 by
    either canonical form.

    Args:
        known: meanings, such as those of the training rows.
        others: a name -> other meanings.
        canonical: from a text to what is compared: [`canonical_meaning`], or `str` for the texts as they are.

    Returns:
        For each name the numbers of the rows whose meaning is known.
    """
    seen = set(map(canonical, known))
    return {name: [row for row, text in enumerate(texts) if canonical(text) in seen] for name, texts in others.items()}


def without_held_out(
    extra: Dataset, held_out: Iterable[Dataset], canonical: Callable[[str], Hashable]
) -> tuple[Dataset, list[int]]:
    """Meanings alone without those of held-out rows, which nothing that is trained may have seen.

    On ATIS, of 3,797 extra meanings 160 go by the same text, 191 by the published canonical form and 194 by the full one.

    Args:
        extra: with a column `meaning`.
        held_out: validation and test rows, with the same column.
        canonical: as of [`meaning_overlap`].

    Returns:
        What is left, and the numbers of the rows that are not.
    """
    held = [text for rows in held_out for text in rows["meaning"][:]]
    removed = meaning_overlap(held, {"extra": extra["meaning"][:]}, canonical)["extra"]
    gone = set(removed)
    return extra.select([row for row in range(len(extra)) if row not in gone]), removed


class _Reader:
    """Checks meanings row by row, and collects the rows that are left out."""

    def __init__(self, language: Language, skip_invalid: bool):
        self.language, self.skip_invalid, self.skipped = language, skip_invalid, []
        self._derived: set[str] = set()

    def rows(self, rows: Dataset, split: str, name: str) -> Dataset:
        """Rows with None for what is empty, without those that are left out."""
        texts = [text if text and text.strip() else None for text in rows["text"][:]]
        meanings = [meaning if meaning and meaning.strip() else None for meaning in rows["meaning"][:]]
        kept = []
        for row, (text, meaning) in enumerate(zip(texts, meanings, strict=True)):
            place = f"{name} ({split}), row {row}"
            if split != "train" and (text is None) != (meaning is None):
                what = "utterance" if text is None else "meaning"
                self._leave_out(f"{place} has no {what}: a held-out row needs one.", split, row, meaning)
            elif (text or meaning) and self._is_derived(meaning, place, split, row):
                kept.append(row)
        if empty := sum(text is None and meaning is None for text, meaning in zip(texts, meanings, strict=True)):
            logger.info("%s (%s): %d rows with neither utterance nor meaning are left out.", name, split, empty)
        others = rows.remove_columns(["text", "meaning"])
        columns = {"text": [texts[row] for row in kept], "meaning": [meanings[row] for row in kept]}
        made = Dataset.from_dict(columns, _COLUMNS)
        if others.column_names:
            others = others.select(kept)
            for column in others.column_names:
                made = made.add_column(column, others[column][:])
        return made

    def take_alone(self, sources: dict[str, Dataset]) -> list[str]:
        """The meanings of the training rows without an utterance, which are taken out."""
        rows = sources["train"]
        texts = rows["text"][:]
        alone = [meaning for text, meaning in zip(texts, rows["meaning"][:], strict=True) if text is None]
        if alone:
            sources["train"] = rows.select([row for row, text in enumerate(texts) if text is not None])
        return alone

    def extra(self, path: Path, meaning_column: str) -> list[str]:
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {str(path)!r} with meanings alone (looked from {Path.cwd()}).")
        rows = name_columns(read_file(path, meaning_column), {"meaning": meaning_column}, str(path))
        return [
            meaning
            for row, meaning in enumerate(rows["meaning"][:])
            if meaning and meaning.strip() and self._is_derived(meaning, f"{path}, row {row}", "extra", row)
        ]

    def _is_derived(self, meaning: str | None, place: str, split: str, row: int) -> bool:
        if meaning is None or meaning in self._derived:
            return True
        try:
            self.language.parse(meaning, place)
        except ValueError as error:
            self._leave_out(str(error), split, row, meaning)
            return False
        except RecursionError:
            self._leave_out(f"{place} has brackets in one another deeper than can be read.", split, row, meaning)
            return False
        self._derived.add(meaning)
        return True

    def _leave_out(self, reason: str, split: str, row: int, meaning: str | None) -> None:
        if not self.skip_invalid:
            raise ValueError(f"{reason} Mend it, or leave such rows out with skip_invalid=True, which lists them.")
        self.skipped.append(SkippedMeaning(split, row, meaning, reason))


def _with_meaning(rows: Dataset, split: str, name: str) -> Dataset:
    """Of a split that was cut from the training rows those with a meaning: others cannot be held out."""
    kept = [row for row, meaning in enumerate(rows["meaning"][:]) if meaning is not None]
    if not kept:
        raise ValueError(
            f"{name}: of the {len(rows)} rows that became the split {split!r} none has a meaning: give a file for it, or "
            f"a larger {split}_fraction."
        )
    if len(kept) < len(rows):
        logger.info("%s: %d utterances without a meaning are left out of the split %r.", name, len(rows) - len(kept), split)
    return rows.select(kept)


def _counted(rows: Dataset) -> dict[str, int]:
    pairs = zip(rows["text"][:], rows["meaning"][:], strict=True)
    kinds = Counter("meanings" if text is None else "utterances" if meaning is None else "pairs" for text, meaning in pairs)
    return {kind: kinds[kind] for kind in ("pairs", "utterances", "meanings")}
