"""The cards of all reproduced checkpoints, made from the results that stand in the repository as JSON.

python recipes/model_cards.py           # write model_cards/
python recipes/model_cards.py --check   # fail when a card says something else
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from hf_lvm.cards import card_from_results

ROOT = Path(__file__).parent.parent
CARDS = ROOT / "model_cards"
CHECKPOINT = (
    "The weights are not published: the command under [Training](#training) makes them, and `name` below is its `output_dir`. "
    "This card was made by `python recipes/model_cards.py` from {files}."
)
# Rows that are measured and are no checkpoint of their own.
LEFT_OUT = {
    "latent_summarizer/google_1000_heavy": "`google_1000` with another weight, for comparison",
    "neural_topic/documentation_start_alone": "topics as `documentation` begins with them, without training",
    "neural_topic/documentation_without_start": "`documentation` begun without them, for comparison",
}
# Models that are about no texts.
WITHOUT_LANGUAGE = ("referential_game", "task_and_talk")
# What a results file does not say and the README beside its table does.
REMARKS = {
    "latent_class/demo": ("The settings were chosen by looking at these same held-out sentences.",),
    "latent_class/documentation": ("The settings were chosen on the validation split.",),
    "text_vae/conditional_documentation": (
        "The settings were changed once, from a larger model without an autoencoder start, for its time and on the validation "
        "split.",
    ),
    "text_vae/demo": (
        "The settings were chosen by looking at these same held-out sentences, not at the validation split, so the numbers "
        "are somewhat optimistic; the language model was trained with the settings of the VAE, not with its own.",
    ),
}
RULE = """\
# Model cards

One card for each checkpoint that was trained for the tables of [recipes/](../recipes), made by

```bash
python recipes/model_cards.py
```

from the committed results alone; a test makes them again and compares. `hf-lvm train` writes the same card, with its
figures, as `README.md` into the folder of every run, and `hf-lvm card FOLDER` makes it again. The weights are not published.

What has a card: every `recipes/MODEL/results/NAME.json` that a training run wrote. `NAME_seed1.json`, `NAME_seed2.json` and so
on share the card of `NAME`, which gives their mean and each of them. Benchmarks and files that compare many models have none,
nor have:

"""


def rows() -> dict[str, list[Path]]:
    """The results files of every card, `MODEL/NAME` -> one a seed, sorted."""
    found: dict[str, list[tuple[Any, Path]]] = {}
    for path in sorted((ROOT / "recipes").glob("*/results/*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        row = f"{path.parent.parent.name}/{re.sub(r'_seed[0-9]+$', '', path.stem)}"
        is_run = {"steps", "training_seconds"} <= results.keys() and "model_type" in results["settings"]
        if is_run and row not in LEFT_OUT:
            found.setdefault(row, []).append((results["settings"]["seed"], path))
    return {row: [path for _, path in sorted(files)] for row, files in found.items()}


def card_of(row: str, files: list[Path]) -> str:
    """The card of a row as text."""
    model, name = row.split("/")
    links = ", ".join(f"[{path.name}](../../{path.relative_to(ROOT).as_posix()})" for path in files)
    is_demo = name == "demo"
    card = card_from_results(
        [json.loads(path.read_text(encoding="utf-8")) for path in files],
        name=f"hf-lvm-demo/{model.replace('_', '-')}" if is_demo else "path/to/output_dir",
        model_name=f"{model}-{name}".replace("_", "-"),
        checkpoint=CHECKPOINT.format(files=links),
        language=None if model in WITHOUT_LANGUAGE else "en",
        remarks=REMARKS.get(row, ()),
    )
    return str(card).rstrip("\n") + "\n"


def documents() -> dict[Path, str]:
    """Every file of model_cards/ with what it holds."""
    found = rows()
    written = {CARDS / f"{row}.md": card_of(row, files) for row, files in found.items()}
    left_out = "".join(f"- `{row}`: {why}\n" for row, why in LEFT_OUT.items())
    table = "| card | results |\n|---|---|\n"
    for row, files in found.items():
        links = ", ".join(f"[{path.name}](../{path.relative_to(ROOT).as_posix()})" for path in files)
        table += f"| [{row}]({row}.md) | {links} |\n"
    return {CARDS / "README.md": f"{RULE}{left_out}\n{table}", **written}


def main(check: bool) -> int:
    """Write or check every card; the number of files that are out of date."""
    wanted = documents()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    left_over = [path for path in CARDS.rglob("*") if path.is_file() and path not in wanted]
    if check:
        for path in [*stale, *left_over]:
            print(f"{path.relative_to(ROOT)} is not what the results say: run python recipes/model_cards.py", file=sys.stderr)
        return len(stale) + len(left_over)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
