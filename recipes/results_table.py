"""The table of measured results in README.md, made from the results.json files that stand in the repository.

python recipes/results_table.py           # write it
python recipes/results_table.py --check   # fail when README.md says something else
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- results: made by recipes/results_table.py -->\n", "<!-- /results -->\n"

# paper, class, recipe, results files (one a seed), what is reported
ROWS = (
    (
        "Kingma & Welling 2014; Bowman et al. 2015",
        "`TextVAEModel`",
        "`hf-lvm demo --compare`",
        ("recipes/text_vae/results/demo.json",),
    ),
)
PLANNED = (
    ("Collapse: Yang et al. 2017, He et al. 2019, Li et al. 2019", "`TextVAEModel`, `DilatedCNNDecoder`, `LSTMDecoder`"),
    ("Maddison et al. 2017, Jang et al. 2017", "`LatentClassModel`, `NeuralHMMModel`, `NeuralTopicModel`"),
    ("Kim et al. 2019", "`URNNGModel`"),
    ("Miao & Blunsom 2016", "`LatentSummarizerModel`"),
    ("Yin et al. 2018", "`StructVAEModel`"),
    ("Havrylov & Titov 2017, Kottur et al. 2017", "`ReferentialGameModel`, `TaskAndTalkModel`"),
)


def table() -> str:
    """The table in Markdown, with what it was measured on below it."""
    lines = ["| paper | class | recipe | measured on held-out text |", "|---|---|---|---|"]
    notes = []
    for paper, model, recipe, files in ROWS:
        runs = [json.loads((ROOT / file).read_text(encoding="utf-8")) for file in files]
        lines.append(f"| {paper} | {model} | {recipe} | {'; '.join(map(measured, runs))} |")
        for file, run in zip(files, runs, strict=True):
            notes.append(
                f"[{Path(file).name}]({file}): {run['corpus']}; {run['hardware']}, {run['training_seconds']:.0f} s; "
                f"torch {run['versions']['torch']}, transformers {run['versions']['transformers']}; seed "
                f"{run['settings']['seed']}."
            )
    lines += [f"| {paper} | {model} | not there yet | - |" for paper, model in PLANNED]
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


def measured(run: dict[str, Any]) -> str:
    """One run in one cell."""
    test = run["test"]
    latent, weighted = test["latent"], test["importance_weighted"]
    parts = [
        f"-log p(x) {weighted['nats_per_sentence']:.1f} nats/sentence ({weighted['num_samples']} importance samples)",
        f"-ELBO {test['bound']['nats_per_sentence']:.1f}",
        f"KL {test['kl_nats_per_sentence']:.1f}",
        f"{latent['active_units']} of {latent['latent_size']} dimensions active",
        f"mutual information {latent['mutual_information']:.1f} nats",
        f"permuted latents +{test['permuted_latents_cost_nats_per_sentence']:.1f}",
    ]
    if "comparison" in run:
        comparison = run["comparison"]
        parts.append(
            f"{comparison['ratio']:.3f} times the same decoder as a language model "
            f"({comparison['language_model_nats_per_sentence']:.1f})"
        )
    return ", ".join(parts)


def main(check: bool) -> int:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + table() + END + after
    if check:
        if wanted != text:
            print("README.md does not show the committed results: run python recipes/results_table.py", file=sys.stderr)
        return int(wanted != text)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
