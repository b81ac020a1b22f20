"""One page that shows a run: `report.html`, which holds its pictures and styles and needs no network and no program.

It is made of the files of the run alone, so it can be made of any run at any time, of runs of other people, too. What comes
from them is escaped (see `html_elements`), and the page forbids itself to run or fetch anything by a content security policy.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

from hf_lvm.analysis.html_elements import code, element, folded, number, numbers, picture, table, words
from hf_lvm.analysis.html_examples import show_examples, show_lexicon, show_text
from hf_lvm.analysis.html_style import STYLE
from hf_lvm.analysis.report_table import Row, class_report_rows, report_rows, tree_report_rows
from hf_lvm.data.run_results import read_results

REPORT = "report.html"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
KINDS = {
    "text_vae": "Text VAE",
    "latent_class": "Latent class model",
    "neural_hmm": "Neural hidden Markov model",
    "neural_topic": "Neural topic model",
    "latent_summarizer": "Latent summarizer",
    "urnng": "Unsupervised RNNG",
    "struct_vae": "StructVAE",
    "referential_game": "Referential game",
    "task_and_talk": "Task & Talk",
    "language_model": "Language model",
}
# Models whose results have a table for people.
ROWS: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "text_vae": report_rows,
    "latent_class": class_report_rows,
    "urnng": tree_report_rows,
}
# (place in results.json, name, unit): the first six that a run has are shown on top. * in a place is the first key there.
HEADLINES = (
    ("test.accuracy", "accuracy", "of messages understood"),
    ("of_solved_runs.test_both.mean", "unseen objects, runs that solved the task", "both answers right"),
    ("all_runs.test_both.mean", "unseen objects, all runs", "both answers right"),
    ("all_runs.purity.mean", "purity", "of the lexicon, mean of runs"),
    ("test.parsing.exact_match_published", "exact match", "percent of sentences, as published"),
    ("test.compression.*.rouge1", "ROUGE-1", "0 to 100"),
    ("test.compression.*.rougeL", "ROUGE-L", "0 to 100"),
    ("test.brackets.*.sentence_f1", "bracket F1", "0 to 100, mean of sentences"),
    ("test.bound.nats_per_sentence", "−ELBO", "nats per sentence"),
    ("test.importance_weighted.nats_per_sentence", "−log p(x)", "nats per sentence, importance-weighted"),
    ("test.importance_weighted.word_perplexity", "perplexity", "per word"),
    ("test.likelihood.nats_per_sentence", "−log p(x)", "nats per sentence"),
    ("test.likelihood.normalized.nats_per_sentence", "−log p(x)", "nats per sentence, importance-weighted"),
    ("test.likelihood.word_perplexity", "perplexity", "per word"),
    ("test.log_likelihood.nats_per_document", "−log p(x)", "nats per document"),
    ("test.log_likelihood.word_perplexity", "perplexity", "per word"),
    ("test.kl_nats_per_sentence", "KL", "nats per sentence"),
    ("test.latent.active_units", "active units", "dimensions in use"),
    ("test.latent.mutual_information", "mutual information", "nats, between text and latent"),
    ("test.topics.npmi", "coherence", "NPMI of topics, −1 to 1"),
    ("test.states.used", "states used", ""),
    ("test.distinct_messages", "different messages", "of the test games"),
    ("test.mean_length", "length", "symbols a message"),
    ("language.topographic_similarity", "topographic similarity", "rank correlation, −1 to 1"),
)
_SHARES = ("accuracy", "of_solved_runs.test_both.mean", "all_runs.test_both.mean")
NUM_HEADLINES = 6
# Stem of a figure -> what it shows; others are called by their name.
CAPTIONS = {
    "latent_map": "The latent map: posterior means of the test texts in the plane, with some texts beside their points.",
    "latent_map_tsne": "The same means by t-SNE: who is beside whom. Distances between groups mean nothing here.",
    "training_curves": "What was logged while training, on training and on held-out texts.",
    "kl_per_dimension": "What each dimension of the latent carries: its KL, largest first.",
    "position_information": "How much each position of the messages tells of each attribute.",
    "message_lengths": "How long the messages are.",
    "length_accuracy": "How often messages of each length are understood.",
    "lexicon_position": "What symbols at their positions go with.",
    "lexicon_symbol": "What symbols go with, wherever they stand.",
}
_FIRST_FIGURES = ("latent_map", "latent_map_tsne", "kl_per_dimension")
# Trees that are shown at once.
OPEN_TREES = 3
_TREE = re.compile(r"tree_(\d+)")
_SVG_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
# Keys of results.json that hold no measured numbers.
_DESCRIPTION = (
    "command", "settings", "training_seconds", "finished", "hardware", "versions", "corpus", "steps", "epochs", "lexicon",
)  # fmt: skip
# Text files of a run, each under the name its recipe gives it, and the heading they have.
TEXTS = {
    "trees.txt": "Trees",
    "summaries.txt": "Summaries",
    "parses.txt": "Meanings",
    "classes.txt": "Classes",
    "topics.txt": "Topics",
    "states.txt": "States",
    "messages.txt": "Messages",
    "dialogs.txt": "Dialogs",
}


def write_html_report(run: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of a run, a page that opens without a network.

    Args:
        run: `output_dir` of a run.
        path: HTML file to write; `report.html` in the folder of the run by default.

    Returns:
        Where it is.

    Raises:
        FileNotFoundError: no such folder, no `results.json` in it, or no folder to write into.
        ValueError: `results.json` holds no JSON object.
    """
    page = html_report(run)
    path = Path(run).expanduser() / REPORT if path is None else Path(path).expanduser()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to write the report into: make it, or name another")
    staged = path.with_name(f".incomplete-{path.name}")
    staged.write_text(page, encoding="utf-8")
    staged.replace(path)
    return path


def html_report(run: str | Path) -> str:
    """The page that [`write_html_report`] writes."""
    folder = Path(run).expanduser()
    results = read_results(folder)
    settings = results.get("settings") if isinstance(results.get("settings"), dict) else {}
    config = _read_object(folder / "config.json")
    kind = str(settings.get("model_type") or config.get("model_type") or "run").removeprefix("hf_lvm_")
    sections = [section for section in _sections(folder, results, settings, config, kind) if len(section[2])]
    name = folder.resolve().name
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{KINDS.get(kind, words(kind))}: {name}"),
        element("style", STYLE),
    )
    links = (element("li", element("a", title, href=f"#{anchor}")) for anchor, title, _ in sections)
    body = element(
        "body",
        element(
            "header",
            element("p", KINDS.get(kind, words(kind)), class_="kind"),
            element("h1", name),
            element("p", _about(results), class_="about"),
            _tiles(results),
        ),
        element("nav", element("ul", links)),
        element("main", (element("section", element("h2", title), parts, id=anchor) for anchor, title, parts in sections)),
        element("footer", _footer(results)),
    )
    page = element("html", head, body, lang="en")
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _sections(
    folder: Path, results: dict[str, Any], settings: dict[str, Any], config: dict[str, Any], kind: str
) -> Iterator[tuple[str, str, list[Element]]]:
    """Anchor, title and parts of each section; those without parts are left out."""
    yield "results", "Results", _results(results, kind)
    figures = sorted(path for path in (folder / "figures").glob("*") if path.suffix.lower() in (".png", ".svg"))
    trees = sorted((path for path in figures if _TREE.fullmatch(path.stem)), key=lambda path: int(path.stem[5:]))
    drawn = [_figure(path) for path in sorted(set(figures) - set(trees), key=_order)]
    yield "figures", "Figures", [element("div", drawn, class_="figures")] if drawn else []
    examples = _read_text(folder / "examples.txt")
    yield "examples", "Examples", [] if examples is None else show_examples(examples)
    if trees:
        first, rest = trees[:OPEN_TREES], trees[OPEN_TREES:]
        more = [folded(f"{len(rest)} more", *map(_tree, rest))] if rest else []
        yield "trees", "Trees", [*map(_tree, first), *more, *_text(folder, "trees.txt")]
    for name, title in TEXTS.items():
        if name != "trees.txt" or not trees:
            yield name.removesuffix(".txt"), title, _text(folder, name)
    yield "lexicon", "Lexicon", _lexicon(folder, results)
    yield "run", "Run", _run(results, settings, config)


def _results(results: dict[str, Any], kind: str) -> list[Element]:
    parts, measured = [], {key: value for key, value in results.items() if key not in _DESCRIPTION and value not in ({}, [])}
    # What evaluations said while training stands below what was measured in the end.
    measured = dict(sorted(measured.items(), key=lambda item: isinstance(item[1], list)))
    split = next((name for name in ("test", "validation", "train") if isinstance(measured.get(name), dict)), None)
    if kind in ROWS and split is not None:
        try:
            rows = ROWS[kind](measured[split])
        except (KeyError, TypeError):
            # A run of another version, whose numbers have other names: they all stand below.
            rows = []
        if rows:
            parts += [element("h3", f"On the {split} split"), _measures(rows)]
            everything = numbers(measured)
            return [*parts, folded("All numbers", element("div", everything))]
    return [*parts, *numbers(measured)]


def _measures(rows: list[Row]) -> Element:
    """A table of a name, a value and what it means; names with blanks before them are parts of the row above."""
    whole = table(
        ["measure", "value", "what it says"], [(name.strip(), value, remark) for name, value, remark in rows], "measures"
    )
    for line, (name, _, _) in zip(whole.iter("tr"), [("", "", ""), *rows], strict=True):
        if name.startswith(" "):
            line[0].set("class", "part")
    return whole


def _figure(path: Path) -> Element:
    return picture(path, CAPTIONS.get(path.stem, words(path.stem).capitalize()))


def _order(path: Path) -> tuple[int, str]:
    place = _FIRST_FIGURES.index(path.stem) if path.stem in _FIRST_FIGURES else len(_FIRST_FIGURES)
    return place, path.name


def _tree(path: Path) -> Element:
    """A drawn tree, with its sentence below."""
    found = _SVG_TITLE.search(path.read_text(encoding="utf-8", errors="replace")) if path.suffix.lower() == ".svg" else None
    return picture(path, unescape(found.group(1)) if found else words(path.stem), "tree")


def _text(folder: Path, name: str) -> list[Element]:
    content = _read_text(folder / name)
    return [] if content is None else [show_text(name, content)]


def _lexicon(folder: Path, results: dict[str, Any]) -> list[Element]:
    content = _read_text(folder / "lexicon.txt")
    lexicons = {unit: rows for unit, rows in _read_object(folder / "lexicon.json").items() if isinstance(rows, list)}
    try:
        tables = show_lexicon(lexicons)
    except (KeyError, TypeError, ValueError):
        # A file that another program wrote; the text beside it stands for it.
        tables = []
    if content is None:
        # Some runs have theirs among the results alone.
        return tables or (numbers({"lexicon": results["lexicon"]}) if results.get("lexicon") else [])
    shown = show_text("lexicon.txt", content)
    return [*tables, folded("As text", code(content.rstrip("\n")))] if tables else [shown]


def _run(results: dict[str, Any], settings: dict[str, Any], config: dict[str, Any]) -> list[Element]:
    parts = []
    if results.get("command"):
        parts += [element("h3", "Command"), code(str(results["command"]), "command")]
    facts = {
        key: results[key] for key in ("corpus", "steps", "epochs", "hardware", "finished") if results.get(key) is not None
    }
    if isinstance(facts.get("epochs"), float):
        facts["epochs"] = f"{facts['epochs']:.4g}"
    if results.get("training_seconds") is not None:
        facts["training"] = _duration(results["training_seconds"])
    versions = results.get("versions") if isinstance(results.get("versions"), dict) else {}
    facts |= {"versions": ", ".join(f"{name} {version}" for name, version in versions.items())} if versions else {}
    if facts:
        rows = [(words(key), number(value)) for key, value in facts.items()]
        parts += [element("h3", "How it was made"), table(None, rows, "plain")]
    given = {key: value for key, value in settings.items() if value not in (None, [], {})}
    if given:
        rows = [(element("code", key), _setting(value)) for key, value in given.items()]
        listed = table(None, rows, "plain", open_rows=len(rows))
        parts += [element("h3", "Settings"), folded(f"{len(rows)} settings; those that are not set are left out", listed)]
    if config:
        parts += [
            element("h3", "Config of the model"),
            folded("config.json", code(json.dumps(config, indent=2, ensure_ascii=False))),
        ]
    return parts


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _about(results: dict[str, Any]) -> str:
    facts = [str(results["corpus"])] if results.get("corpus") else []
    if results.get("steps") is not None:
        facts.append(f"{number(results['steps'])} steps")
    if results.get("training_seconds") is not None:
        facts.append(f"{_duration(results['training_seconds'])} of training")
    if results.get("finished"):
        facts.append(f"finished {str(results['finished'])[:10]}")
    return " · ".join(facts)


def _tiles(results: dict[str, Any]) -> Element | None:
    tiles, seen = [], set()
    for place, name, unit in HEADLINES:
        value = _at(results, place.split("."))
        if isinstance(value, bool) or not isinstance(value, int | float) or name in seen or len(tiles) == NUM_HEADLINES:
            continue
        seen.add(name)
        is_share = place.removeprefix("test.") in _SHARES
        shown = f"{value:.1%}" if is_share else f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
        if place == "test.latent.active_units":
            unit = f"of {_at(results, ['test', 'latent', 'latent_size'])} dimensions"
        tiles.append(
            element(
                "div",
                element("dt", name),
                element("dd", shown.replace("-", "−"), class_="value"),
                element("dd", unit, class_="unit"),
            )
        )
    return element("dl", tiles, class_="tiles") if tiles else None


def _at(values: Any, keys: list[str]) -> Any:
    """What stands at a place of nested objects; None where there is no such place."""
    for key in keys:
        if not isinstance(values, Mapping) or not values:
            return None
        values = values.get(next(iter(values)) if key == "*" else key)
    return values


def _footer(results: dict[str, Any]) -> str:
    version = _at(results, ["versions", "hf-lvm"])
    return f"Made by hf-lvm{f' {version}' if version else ''} of the files of the run; `hf-lvm report` makes it again."


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return str(seconds)
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object of the folder, empty where there is none."""
    content = _read_text(path)
    try:
        found = None if content is None else json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
