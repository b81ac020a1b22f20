"""The tables of measured results, made from the results that stand in the repository as JSON.

python recipes/results_table.py           # write them into the Markdown files
python recipes/results_table.py --check   # fail when a Markdown file says something else
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measured_ratios import HEADER, ratios_of
from latent_class_table import latent_class_table
from latent_summarizer_table import latent_summarizer_table
from neural_hmm_table import neural_hmm_table
from neural_topic_table import neural_topic_table
from referential_game_table import referential_game_table
from struct_vae_table import struct_vae_table
from table_rows import machine, read, versions
from task_and_talk_table import task_and_talk_table
from text_vae_table import text_vae_table
from urnng_table import urnng_table

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results: made by recipes/results_table.py -->\n", "<!-- /results -->\n"

# paper, class, recipe, results files (one a seed)
ROWS = (
    (
        "Kingma & Welling 2014; Bowman et al. 2015",
        "`TextVAEModel`",
        "`hf-lvm demo --compare`",
        ("recipes/text_vae/results/demo.json",),
    ),
)
# paper, class, recipe, where the numbers are
TABLES = (
    (
        "Yang et al. 2017; He et al. 2019; Li et al. 2019, and the other cures of posterior collapse",
        "`TextVAEModel` over `LSTMDecoderModel`, `DilatedCNNDecoderModel` or a transformer",
        "`recipes/text_vae/ptb_*.yaml`",
        "[a line each, beside the published numbers](recipes/text_vae/README.md#measured)",
    ),
    (
        "Sohn et al. 2015; Zhao et al. 2017",
        "`TextVAEModel` with `prior_type: conditional_gaussian`",
        "`recipes/text_vae/conditional_documentation.yaml`",
        "[bound and likelihood beside those without conditions, and with exchanged ones](recipes/text_vae/README.md#measured)",
    ),
    (
        "Maddison et al. 2017; Jang et al. 2017; Kingma et al. 2014 (M2)",
        "`LatentClassModel`",
        "`hf-lvm demo latent-class`, `recipes/latent_class/*.yaml`",
        "[likelihood, I(x; z), classes used, accuracy from few labels, estimators side by side]"
        "(recipes/latent_class/README.md#measured)",
    ),
    (
        "Rabiner 1989; Tran et al. 2016",
        "`NeuralHMMModel` on `LinearChainCRF`",
        "`recipes/neural_hmm/*.yaml`",
        "[likelihood, V-measure and accuracies](recipes/neural_hmm/README.md#measured)",
    ),
    (
        "Miao et al. 2016; Srivastava & Sutton 2017; Dieng et al. 2020",
        "`NeuralTopicModel`",
        "`recipes/neural_topic/*.yaml`",
        "[NPMI and diversity beside scikit-learn's LDA](recipes/neural_topic/README.md#measured)",
    ),
    (
        "Kim et al. 2019; Dyer et al. 2016",
        "`URNNGModel` on `BinaryTreeCRF`, over `RNNGDecoderModel` or a transformer",
        "`hf-lvm demo urnng`, `recipes/urnng/*.yaml`",
        "[perplexity in two conventions, F1 by four protocols](recipes/urnng/README.md#measured)",
    ),
    (
        "Miao & Blunsom 2016",
        "`LatentSummarizerModel` on `CanonicalDeletion` or pointers",
        "`hf-lvm demo latent-summarizer`, `recipes/latent_summarizer/*.yaml`",
        "[token F1 and ROUGE beside as many first words, other domains](recipes/latent_summarizer/README.md#measured)",
    ),
    (
        "Yin et al. 2018",
        "`StructVAEModel` on a grammar of meanings",
        "`hf-lvm demo struct-vae`, `recipes/struct_vae/*.yaml`",
        "[exact match by two rules, beside the published numbers](recipes/struct_vae/README.md#measured)",
    ),
    (
        "Havrylov & Titov 2017",
        "`ReferentialGameModel`, any sender and receiver",
        "`hf-lvm demo referential-game`, `recipes/referential_game/*.yaml`",
        "[accuracy on unseen objects, length, compositionality](recipes/referential_game/README.md#measured)",
    ),
    (
        "Kottur et al. 2017",
        "`TaskAndTalkModel`, all seeds as one program",
        "`recipes/task_and_talk/*.yaml`",
        "[share of runs that solve the training objects, accuracy on unseen ones](recipes/task_and_talk/README.md#measured)",
    ),
)
BENCHMARKS = (
    "training_step", "generation", "import_time", "lstm_training", "aggressive_step", "linear_chain", "binary_tree",
    "class_enumeration", "urnng_training", "summarizer_step", "grammar_decoding", "parsing_throughput", "padding",
    "estimators",
)  # fmt: skip


def models_table() -> str:
    """Which paper is which class, trained by which recipe, with which numbers; and which numbers there are."""
    lines = ["| paper | class | recipe | measured on held-out text |", "|---|---|---|---|"]
    notes = []
    for paper, model, recipe, files in ROWS:
        runs = [_read(file) for file in files]
        lines.append(f"| {paper} | {model} | {recipe} | {'; '.join(map(_measured, runs))} |")
        for file, run in zip(files, runs, strict=True):
            notes.append(
                f"[{Path(file).name}]({file}): {run['corpus']}; {run['hardware']}, trained in "
                f"{run['training_seconds']:.0f} s; {versions(run)}; seed {run['settings']['seed']}. Of "
                f"{run['test']['num_reconstructions']} reconstructions, "
                f"{run['test']['greedy_reconstruction']['triple_repeats']} repeat a word three times in a row."
            )
    lines += [f"| {' | '.join(row)} |" for row in TABLES]
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


def benchmarks_table() -> str:
    """Every measured ratio with the spread of its pairs and its target."""
    lines = [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    runs = {name: _read(f"recipes/benchmarks/results/{name}.json") for name in BENCHMARKS}
    for name, run in runs.items():
        lines += [f"| {' | '.join(ratio.cells(with_verdict=False))} |" for ratio in ratios_of(name, run)]
    lines += ["", f"{machine(runs['padding'])}.", "", *_estimators_table()]
    return "\n".join(lines) + "\n"


def _estimators_table() -> list[str]:
    """Bias and variance of each estimator on each toy, `rloo` being the measure."""
    run = _read("recipes/benchmarks/results/estimators.json")
    rows = run["estimators"]
    lines = [
        f"`estimators.py`, {run['settings']['draws']:,} draws, {run['settings']['num_samples']} values of z scored in each; "
        "bias and variance in units of the exact gradient's norm and its square. Where there is no bias, about the standard "
        "error is measured as one. What learns (moving averages, baselines, control variates) has had 200 updates of 100 "
        "draws before it is measured, beside a model that does not move; the other estimators need none.",
        "",
        "| toy | objective | estimator | scored | bias | standard error | cosine | variance | variance / `rloo` |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rloo = next(other for other in rows if other["problem"] == row["problem"] and other["estimator"] == "rloo")
        ratio = f"{row['variance'] / rloo['variance']:.2f}" if row["objective"] == "elbo" else ""
        lines.append(
            f"| {row['problem']} | {row['objective']} | {row['estimator'] or '-'} | {row['scored_latents']} | "
            f"{row['relative_bias']:.3f} | {row['standard_error']:.3f} | {row['cosine']:.3f} | {row['variance']:.3g} | "
            f"{ratio} |"
        )
    return lines


DOCUMENTS: dict[str, Callable[[], str]] = {
    "README.md": models_table,
    "recipes/text_vae/README.md": text_vae_table,
    "recipes/latent_class/README.md": latent_class_table,
    "recipes/neural_hmm/README.md": neural_hmm_table,
    "recipes/neural_topic/README.md": neural_topic_table,
    "recipes/urnng/README.md": urnng_table,
    "recipes/latent_summarizer/README.md": latent_summarizer_table,
    "recipes/struct_vae/README.md": struct_vae_table,
    "recipes/referential_game/README.md": referential_game_table,
    "recipes/task_and_talk/README.md": task_and_talk_table,
    "recipes/benchmarks/README.md": benchmarks_table,
}


def _measured(run: dict[str, Any]) -> str:
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
        f"content words recovered {test['content_word_recovery_ratio']:.1f} times as often as by chance",
    ]
    if "comparison" in run:
        comparison = run["comparison"]
        parts.append(
            f"{comparison['ratio']:.3f} times the same decoder as a language model "
            f"({comparison['language_model_nats_per_sentence']:.1f})"
        )
    return ", ".join(parts)


def _read(file: str) -> dict[str, Any]:
    return read(ROOT / file)


def main(check: bool) -> int:
    """Write or check every document; the number of those that are out of date."""
    stale = 0
    for name, table in DOCUMENTS.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        wanted = before + BEGIN + table() + END + after
        if wanted == text:
            continue
        if check:
            print(f"{name} does not show the committed results: run python recipes/results_table.py", file=sys.stderr)
            stale += 1
        else:
            (ROOT / name).write_text(wanted, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
