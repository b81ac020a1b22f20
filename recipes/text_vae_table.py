"""The rows of recipes/text_vae/README.md: published numbers beside those measured here."""

from pathlib import Path
from typing import Any

from table_rows import runs_of, several, table_head, table_row, versions

RESULTS = Path(__file__).parent / "text_vae" / "results"

# recipe, what it is, what was published
ROWS = (
    ("ptb_language_model", "LSTM language model", "about 100.5 per word"),
    ("ptb_linear_annealing", "linear annealing (He et al. 2019)", "101.4 (ELBO), 0 active"),
    ("ptb_autoencoder_free_bits", "autoencoder start + free bits (Li et al. 2019)", "96.86 (IW), 32 active, MI 5.3"),
    ("ptb_batch_norm", "batch-normalised posterior (Zhu et al. 2020)", "-"),
    ("ptb_cyclical", "cyclical annealing (Fu et al. 2019)", "108.8 (ELBO 102.8 nats), 5 active, MI 1.3"),
    ("ptb_aggressive", "aggressive inference (He et al. 2019)", "99.8 (IW), 4 active, MI 0.8"),
    ("ptb_dilated_cnn", "dilated CNN, word dropout (Yang et al. 2017)", "-"),
    ("ptb_transformer", "transformer decoder, linear annealing", "103.1 (ELBO)"),
    ("conditional_documentation", "p(z given a signature), x its summary (Sohn et al. 2015)", "-"),
    ("conditional_documentation_without", "its control: the same summaries, z ~ N(0, I)", "-"),
    ("short_yelp", "autoencoder start + free bits in one run, short Yelp", "-"),
    ("captions", "the same on image captions", "-"),
)
COLUMNS = (
    "recipe", "what", "published perplexity per word", "-ELBO, nats", "perplexity (ELBO)", "-log p(x), nats",
    "perplexity (IW)", "KL, nats", "active", "MI, nats", "epochs", "seeds",
)  # fmt: skip


def text_vae_table() -> str:
    """One line a recipe; a dash where nothing was measured."""
    lines = table_head(COLUMNS)
    notes = []
    for name, what, published in ROWS:
        runs = runs_of(RESULTS, name)
        cells = _cells(runs) if runs else ["-"] * (len(COLUMNS) - 3)
        lines.append(table_row([f"`{name}.yaml`", what, published, *cells]))
        notes += [_note(name, run) for run in runs]
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else "")


def _cells(runs: list[dict[str, Any]]) -> list[str]:
    tests = [run["test"] for run in runs]
    if "likelihood" in tests[0]:
        likelihoods = [test["likelihood"] for test in tests]
        exact = [
            several([each["nats_per_sentence"] for each in likelihoods], 2),
            several([each["word_perplexity"] for each in likelihoods], 2),
        ]
        measured = ["", "", *exact, "", "", ""]
    else:
        bounds, latents = [test["bound"] for test in tests], [test["latent"] for test in tests]
        weighted = [test["importance_weighted"] for test in tests if "importance_weighted" in test]
        measured = [
            several([each["nats_per_sentence"] for each in bounds], 2),
            several([each["word_perplexity"] for each in bounds], 2),
            several([each["nats_per_sentence"] for each in weighted], 2) if weighted else "-",
            several([each["word_perplexity"] for each in weighted], 2) if weighted else "-",
            several([each["kl_nats_per_sentence"] for each in tests], 2),
            f"{several([each['active_units'] for each in latents], 0)} of {latents[0]['latent_size']}",
            several([each["mutual_information"] for each in latents], 2),
        ]
    epochs = ", ".join(f"{run['epochs']:.0f}" for run in runs)
    return [*measured, epochs, ", ".join(str(run["settings"]["seed"]) for run in runs)]


def _note(name: str, run: dict[str, Any]) -> str:
    precision = "bfloat16 products in training, float32 in evaluation" if run["settings"].get("bf16") else "float32"
    note = (
        f"`{name}`, seed {run['settings']['seed']}: {run['training_seconds'] / 60:.0f} min of training on {run['hardware']}, "
        f"{precision}; {versions(run)}."
    )
    if "permuted_conditions" in run["test"]:
        note += f" {_conditions(run['test'])}"
    return f"{note} {run['remark']}" if "remark" in run else note


def _conditions(test: dict[str, Any]) -> str:
    """What the conditions are worth to a model that reads them."""
    permuted = test["permuted_conditions"]
    own, others = test["samples_given_conditions"], test["samples_given_other_conditions"]
    return (
        f"With the conditions of other texts the bound is {permuted['cost_nats_per_sentence']:.2f} nats worse (standard error "
        f"{permuted['cost_standard_error']:.2f}), log p(x given c) {permuted['likelihood_cost_nats_per_sentence']:.2f} "
        f"({permuted['likelihood_cost_standard_error']:.2f}), and with those for the prior alone the KL "
        f"{permuted['prior_cost_nats_per_sentence']:.2f}. Samples from a condition have {own['content_word_recall']:.1%} of "
        f"the content words of its text, and {others['content_word_recall']:.1%} of those of another text."
    )
