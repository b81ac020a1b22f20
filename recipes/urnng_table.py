"""The tables of recipes/urnng/README.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from table_rows import machine, runs_of, several, table_head, table_row

RESULTS = Path(__file__).parent / "urnng" / "results"

# results, recipe, what it is
ROWS = (
    ("wsj_language_model", "wsj_language_model", "LSTM language model, no trees"),
    ("wsj_supervised", "wsj_supervised", "RNNG, gold trees"),
    ("wsj_urnng", "wsj_urnng", "URNNG, published settings"),
    ("wsj_headline", "wsj_headline", "URNNG begun with trees of punctuation: the best found without gold trees"),
    ("wsj_supervised_then_urnng", "wsj_supervised_then_urnng", "RNNG, gold trees, then without"),
    ("wsj_full_language_model", "wsj_language_model", "sentences of any length: LSTM language model"),
    ("wsj_full_supervised", "wsj_supervised", "sentences of any length: RNNG, gold trees"),
    ("wsj_full_urnng", "wsj_urnng", "sentences of any length: URNNG, published settings"),
    ("wsj_full_supervised_then_urnng", "wsj_supervised_then_urnng", "sentences of any length: gold trees, then without"),
)
COLUMNS = (
    "recipe", "what", "-log p(x), nats", "perplexity, end counted", "perplexity, published convention", "-ELBO, nats",
    "corpus / sentence F1, `urnng-script`", "corpus F1, `urnng-evalb`", "sentence F1, `prpn`",
    "corpus / sentence F1, `compound-pcfg`", "seeds",
)  # fmt: skip
PROTOCOLS = ("urnng-script", "urnng-evalb", "prpn", "compound-pcfg")
BASELINES = ("right_branching", "right_branching_last_on_top", "left_branching", "balanced", "random", "best_binary")
# The published code on the test sentences after epoch 10, 20 trees a sentence.
PUBLISHED_TEST = (
    "| - | the code of Kim et al., run once on the same sentences | - | - | 92.2 | - | 37.1 / 38.7 | - | - | - | - |"
)
# The published code, run once on the same sentences: validation after each epoch (5 trees), and F1 by urnng-script.
PUBLISHED_EPOCHS = (224.7, 168.1, 154.7, 152.7, 137.4, 126.0, 111.6, 110.4, 103.1, 101.3)
PUBLISHED_F1 = (
    "39.4/40.7", "39.4/40.7", "39.4/40.7", "39.5/40.8", "39.2/40.6", "39.4/40.7", "39.3/40.6", "39.3/40.6", "39.2/40.5",
    "40.0/41.2",
)  # fmt: skip


def urnng_table() -> str:
    """A line a recipe, a dash where nothing was measured; then the epochs beside those of the published code."""
    lines = table_head(COLUMNS)
    notes, baselines = [], None
    for name, recipe, what in ROWS:
        runs = runs_of(RESULTS, name)
        if not runs:
            lines.append(table_row([f"`{recipe}.yaml`", what, *["-"] * (len(COLUMNS) - 2)]))
            continue
        tests = [run["test"] for run in runs]
        seeds = ", ".join(str(run["settings"]["seed"]) for run in runs)
        lines.append(table_row([f"`{recipe}.yaml`", what, *_cells(tests), seeds]))
        notes += [_note(name, run) for run in runs]
        if name == "wsj_urnng":
            lines.append(PUBLISHED_TEST)
        if "brackets" in tests[0] and not name.startswith("wsj_full"):
            baselines = tests[0]["brackets"]
    text = "\n".join(lines) + "\n"
    if baselines is not None:
        text += "\n" + _baseline_table(baselines)
    text += "\n" + _epoch_table()
    text += "\n" + _demo_table()
    return text + ("\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else "")


def _cells(tests: Sequence[dict[str, Any]]) -> list[str]:
    likelihoods = [test["likelihood"] for test in tests]
    if "normalized" not in likelihoods[0]:  # of a language model, which has no trees
        nats = several([each["nats_per_sentence"] for each in likelihoods], 2)
        return [nats, several([each["word_perplexity"] for each in likelihoods], 1), *["-"] * 6]
    own, published = ([each[name] for each in likelihoods] for name in ("normalized", "published"))
    cells = [
        several([each["nats_per_sentence"] for each in own], 2),
        several([each["word_perplexity"] for each in own], 1),
        several([each["word_perplexity"] for each in published], 1),
        several([test["bound"]["nats_per_sentence"] for test in tests], 2),
    ]
    for protocol, scores in (
        ("urnng-script", ("corpus_f1", "sentence_f1")),
        ("urnng-evalb", ("corpus_f1",)),
        ("prpn", ("sentence_f1",)),
        ("compound-pcfg", ("corpus_f1", "sentence_f1")),
    ):
        found = [test.get("brackets", {}).get(protocol) for test in tests]
        cells.append("-" if None in found else " / ".join(several([each[score] for each in found], 1) for score in scores))
    return cells


def _baseline_table(brackets: dict[str, Any]) -> str:
    lines = [
        "Trees that need no parser, on the same test sentences (corpus / sentence F1):",
        "",
        "| trees | " + " | ".join(f"`{protocol}`" for protocol in PROTOCOLS if protocol in brackets) + " |",
    ]
    lines.append("|" + "---|" * (lines[-1].count("|") - 1))
    for baseline in BASELINES:
        scores = [brackets[protocol]["baselines"][baseline] for protocol in PROTOCOLS if protocol in brackets]
        cells = [f"{score['corpus_f1']:.1f} / {score['sentence_f1']:.1f}" for score in scores]
        lines.append(table_row([baseline.replace("_", " "), *cells]))
    return "\n".join(lines) + "\n"


def _epoch_table() -> str:
    """Validation perplexity and F1 after each epoch of the published settings, beside the published code's."""
    measured = runs_of(RESULTS, "wsj_urnng")
    lines = [
        "Validation after each epoch of the published settings: perplexity of 5 trees, the end not counted, and corpus / "
        "sentence F1 by `urnng-script`. An epoch of the published code has 139 updates, one here 126:",
        "",
        "| epoch | published code | " + " | ".join(f"seed {run['settings']['seed']}" for run in measured) + " |",
    ]
    lines.append("|" + "---|" * (lines[-1].count("|") - 1))
    runs = [{round(entry["epoch"]): entry for entry in run["evaluations"]} for run in measured]
    if not runs:
        return ""
    for epoch in range(1, 1 + max(max(run) for run in runs)):
        known = epoch <= len(PUBLISHED_EPOCHS)
        cells = [f"{PUBLISHED_EPOCHS[epoch - 1]} ({PUBLISHED_F1[epoch - 1]})" if known else "-"]
        for run in runs:
            entry = run.get(epoch)
            cells.append(
                "-"
                if entry is None or "published_perplexity" not in entry
                else f"{entry['published_perplexity']:.1f} ({entry['corpus_f1']:.1f}/{entry['sentence_f1']:.1f})"
            )
        lines.append(table_row([str(epoch), *cells]))
    return "\n".join(lines) + "\n"


def _demo_table() -> str:
    """The demo, each seed beside the trees that need no parser."""
    runs = runs_of(RESULTS, "demo")
    if not runs:
        return ""
    scores = runs[0]["test"]["brackets"]["prpn"]["baselines"]
    others = ", ".join(
        f"{name.replace('_', ' ')} {scores[name]['sentence_f1']:.1f}" for name in BASELINES if name != "best_binary"
    )
    run = runs[0]
    lines = [
        f"`hf-lvm demo urnng`: {run['corpus']}. Trees that need no parser have a sentence F1 by `prpn` of {others}:",
        "",
        "| seed | sentence F1 | corpus F1 | -ELBO, nats | -log p(x), nats | training, s |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        test = run["test"]
        found = test["brackets"]["prpn"]
        lines.append(
            f"| {run['settings']['seed']} | {found['sentence_f1']:.1f} | {found['corpus_f1']:.1f} | "
            f"{test['bound']['nats_per_sentence']:.2f} | {test['likelihood']['normalized']['nats_per_sentence']:.2f} | "
            f"{run['training_seconds']:.0f} |"
        )
    return "\n".join(lines) + f"\n\n{run['hardware']}. {run.get('remark', '')}".rstrip() + "\n"


def _note(name: str, run: dict[str, Any]) -> str:
    note = (
        f"`{name}`, seed {run['settings']['seed']}: {run['corpus']}; {run['epochs']:.0f} epochs, "
        f"{run['training_seconds'] / 60:.0f} min on {machine(run)}."
    )
    likelihood, exact = run["test"].get("likelihood", {}), run["test"].get("exact")
    if "num_samples" in likelihood:
        note += (
            f" {likelihood['num_samples']} trees a sentence at temperature {likelihood['proposal_temperature']:g}, effective "
            f"{likelihood['mean_effective_sample_size']:.0f}, standard error "
            f"{likelihood['sampling_standard_error']:.3f} nats."
        )
    if exact is not None and "importance_weighted_nats_per_sentence" in exact:
        note += (
            f" The {exact['sentences']} sentences of {exact['most_words']} words or fewer summed over all trees: "
            f"{exact['nats_per_sentence']:.3f} nats, estimated {exact['importance_weighted_nats_per_sentence']:.3f}."
        )
    return note + (f" {run['remark']}" if "remark" in run else "")
