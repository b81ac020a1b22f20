"""The report of a run: one page, everything in it, nothing that runs or is fetched, and data that stays data."""

import json
import os
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from matplotlib.image import imread

from hf_lvm.analysis.figures import draw_kl_per_dimension
from hf_lvm.analysis.html_elements import number, numbers
from hf_lvm.analysis.html_report import html_report, write_html_report
from hf_lvm.analysis.tree_drawing import draw_tree
from hf_lvm.cli.main import main

ATTACK = "<script>alert(\"1\")</script><img src=x onerror=alert(2)> & 'q' </pre></style> \x1b[31m \ud800"
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Elements and text of a page; an element that is not closed where it should be is an error."""

    def __init__(self, content: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@cache
def figure() -> bytes:
    with TemporaryDirectory() as folder:
        return draw_kl_per_dimension(np.arange(4.0), Path(folder) / "figure.png").read_bytes()


def write_run(folder: Path, words: str = "the dog barks", **results) -> Path:
    """A run that holds every kind of file, with `words` in all places that data reaches."""
    folder.mkdir(parents=True)
    described = {
        "command": f"hf-lvm train --dataset {words}",
        "settings": {"model_type": "hf_lvm_text_vae", "dataset": words, "seed": 7},
        "training_seconds": 7300.0, "finished": "2026-01-02T03:04:05+00:00", "hardware": words, "versions": {"torch": words},
        "corpus": words, "steps": 1200, "epochs": 2.0,
        "test": {"latent": {"active_units": 3, "latent_size": 4, words: 1.5}, "rows": [{words: words, "f1": 0.25}] * 3},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(described | results))
    (folder / "config.json").write_text(json.dumps({"model_type": "hf_lvm_text_vae", "name": words}))
    (folder / "examples.txt").write_text(
        f"Reconstructions (text, then)\n\n  {words} a\n  -> {words} b\n\nSamples\n\n  {words}\n\n"
        f"Interpolation\n\n  {words}\n  end\n",
        errors="replace",
    )
    for name in ("trees.txt", "dialogs.txt", "lexicon.txt"):
        (folder / name).write_text(f"{name} holds {words}\n", errors="replace")
    row = {"form": words, "form_count": 9, "attribute": words, "value": words, "probability": 0.5}
    (folder / "lexicon.json").write_text(json.dumps({"symbol": [row]}))
    draw_tree({"words": ["a", "b", words], "spans": [(0, 1)]}, folder / "figures" / "tree_0.svg")
    (folder / "figures" / "kl_per_dimension.png").write_bytes(figure())
    return folder


def test_a_page_holds_everything_of_the_run(tmp_path):
    page = Page(html_report(write_run(tmp_path / "my run")))
    for words in ("Text VAE", "my run", "the dog barks", "hf-lvm train --dataset", "1,200 steps", "2.0 hours",
                  "of 4 dimensions", "Samples from the prior", "trees.txt holds", "dialogs.txt holds", "lexicon.txt holds",
                  "0.250", "dataset", "torch the dog", '"model_type": "hf_lvm_text_vae"'):  # fmt: skip
        assert words in page.text, words
    assert {attributes["href"] for attributes in page.all("a")} == {
        f"#{attributes['id']}" for attributes in page.all("section") if "id" in attributes
    }
    kinds = [re.match("data:image/([a-z+]+);base64,", attributes["src"])[1] for attributes in page.all("img")]
    assert kinds == ["png", "svg+xml"]
    # Words that both texts have are marked, and those alone.
    assert len(page.all("mark")) == 3


def test_nothing_is_fetched_and_nothing_runs(tmp_path):
    content = html_report(write_run(tmp_path / "run", ATTACK))
    page = Page(content)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "iframe", "object", "embed", "link", "base", "form"})
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert attributes.get(name) is None or attributes[name].startswith(("data:image/", "#")), attributes
    (policy,) = (each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src" not in policy
    style = content[content.index("<style>") : content.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_what_comes_from_data_stays_text(tmp_path):
    content = html_report(write_run(tmp_path / "run", ATTACK))
    page = Page(content)
    assert not page.all("script") and all(attributes["src"].startswith("data:") for attributes in page.all("img"))
    # A "<" within the value of an attribute ends nothing, as long as quotes are written in another way.
    assert "<script" not in re.sub(r'"[^"]*"', "", content)
    shown = page.text
    # The command, a key and a value of results, settings, config, examples, texts, lexicon, captions.
    assert shown.count("<script>alert(\"1\")</script><img src=x onerror=alert(2)> & 'q' </pre></style>") >= 12
    assert "\x1b" not in content and "\ud800" not in content
    assert content.encode("utf-8")


def test_a_name_of_a_folder_is_data_too(tmp_path):
    content = html_report(write_run(tmp_path / "<b>bold"))
    assert "<b>" not in content and "&lt;b&gt;bold" in content


def test_a_run_of_results_alone_has_a_page(tmp_path):
    (tmp_path / "results.json").write_text('{"number": 1.5}')
    page = Page(html_report(tmp_path))
    assert "number" in page.text and "1.500" in page.text and not page.all("img")


def test_results_by_another_version_are_shown_as_they_are(tmp_path):
    page = Page(html_report(write_run(tmp_path / "run", test={"bound": 3.25})))
    assert "bound" in page.text and "3.250" in page.text


@pytest.mark.parametrize("content", ["Something else\n\n  text\n", "  text first\n", ""])
def test_examples_in_another_form_are_shown_as_they_are(tmp_path, content):
    folder = write_run(tmp_path / "run")
    (folder / "examples.txt").write_text(content)
    assert content.strip() in Page(html_report(folder)).text.replace("Something else text", "Something else\n\n  text")


def test_numbers_are_written_for_people():
    shown = {
        1234567: "1,234,567",
        0.123456: "0.123",
        -3.14159: "−3.142",
        1234.5: "1,234",
        1e-7: "1e−07",
        128.0: "128",
        True: "yes",
    }
    assert {value: number(value) for value in shown} == shown
    assert number(None) == "–" and number(float("nan")) == "nan" and number("x") == "x"


def test_columns_of_numbers_stand_to_the_right():
    rows = {"a": {"size": 1e-7, "kind": "x"}, "b": {"size": -2.5, "kind": "y"}}
    head = next(numbers({"group": rows})[0].iter("thead"))
    assert [cell.get("class") for cell in head.iter("th")] == [None, "number", None]


def test_every_number_of_nested_results_is_on_the_page():
    rows = [{"step": step, "f1": step / 7} for step in range(60)]
    results = {"a": {"b": {"c": 1.25}, "d": [1.5, 2.5]}, "many": [float(k) for k in range(30)], "rows": rows,
               "empty": {}, "grid": [[1.125, 2.125], [3.125, 4.125]], "one": {"x": {"y": 5.5}, "z": {"y": 6.5}},
               "lines": ["a  b", "c  d"]}  # fmt: skip
    parts = numbers(results)
    words = " ".join(text for part in parts for text in part.itertext())
    for shown in ("1.250", "1.500, 2.500", "30 values", "8.429", "3.125", "6.500", "a  b\nc  d", "20 more"):
        assert shown in words, shown
    assert sum(len(list(part.iter("rect"))) for part in parts) == 30


def test_a_trained_run_has_its_report(trained_run):
    path = trained_run.folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert f"{trained_run.results['test']['kl_nats_per_sentence']:.2f} nats/sentence" in page.text
    assert len(page.all("img")) == len(list((trained_run.folder / "figures").iterdir())) >= 3
    assert "latent_size" in page.text and "Interpolations" in page.text
    assert not list(trained_run.folder.glob(".incomplete*"))


def test_the_command_writes_where_it_is_told(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert main(["report", str(folder), "--output", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text() == (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no results.json.*output_dir"),
        (lambda folder: (folder / "results.json").write_text("{"), "is no JSON"),
        (lambda folder: (folder / "results.json").write_text("[1]"), "holds no JSON object but a list"),
    ],
)
def test_a_folder_without_results_is_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        write_html_report(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_html_report(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="to write the report into"):
        write_html_report(write_run(tmp_path / "run"), tmp_path / "no" / "page.html")


@pytest.mark.slow
def test_a_browser_shows_it(tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    page, shot = write_html_report(write_run(tmp_path / "run", "the dog " * 40)), tmp_path / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}",
             "--window-size=1280,2400", f"--screenshot={shot}"]  # fmt: skip
    subprocess.run([browser, *flags, page.as_uri()], check=True, capture_output=True, timeout=300, env=os.environ)
    seen = (imread(shot)[..., :3] * 255).round().astype(int)
    assert seen.shape[:2] == (2400, 1280)
    # Dark letters on a light page, both figures drawn, and nothing wide that breaks out of the column to the right.
    brightness = seen.mean(-1)
    assert 0.002 < (brightness < 100).mean() < 0.2 and (brightness > 225).mean() > 0.6
    assert (np.abs(seen - [0, 114, 178]).max(-1) < 6).sum() > 5000, "the bars of the figure are missing"
    assert (seen[:, 1215:] == seen[0, -1]).all(-1).mean() > 0.97, "only the line below the links goes from side to side"
