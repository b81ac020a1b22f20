"""Scores of compressions as a table, with those of their controls."""

from collections.abc import Mapping

_COLUMNS = {
    "rouge1": ("ROUGE-1", ".2f"),
    "rouge2": ("ROUGE-2", ".2f"),
    "rougeL": ("ROUGE-L", ".2f"),
    "rouge1_recall": ("ROUGE-1 recall", ".2f"),
    "rouge2_recall": ("ROUGE-2 recall", ".2f"),
    "rougeL_recall": ("ROUGE-L recall", ".2f"),
    "token_f1": ("token F1", ".3f"),
    "compression_ratio": ("ratio of words", ".3f"),
    "copied_share": ("copied words", ".3f"),
    "prefix_share": ("prefixes", ".3f"),
    "empty_share": ("empty", ".3f"),
    "reconstruction_nats_per_word": ("nats / source word", ".3f"),
}
_CONTROLS = {
    "first_k": "first words, as many in each sentence",
    "first_k_corpus": "first {} words",
    "random_k": "random words, as many in each sentence",
    "keep_all": "whole source",
}
_SETTINGS = ("words", "multiple_references", "limit_bytes")


def compression_table(results: Mapping[str, Mapping]) -> str:
    """Markdown table of results of `compute_compression`, each with its controls and its gain over `first_k` below it.

    Args:
        results: name of a system -> what `compute_compression` returned for it. Columns that none of them has are left out.

    Returns:
        The table, and a line under it that says how words and several references were treated.

    Raises:
        ValueError: no result, one without its controls, which say what its scores are worth, or results of other
            definitions of words, references or recall, which cannot be compared.
    """
    if not results:
        raise ValueError("there is no result; give at least one, as in {'pointer': compute_compression(...)}")
    rows: list[tuple[str, Mapping, str]] = []  # label, values, sign option of their format
    for name, result in results.items():
        rows += _block(name.replace("|", "\\|"), result)
    settings = {name: tuple(result[setting] for setting in _SETTINGS) for name, result in results.items()}
    if len(set(settings.values())) > 1:
        raise ValueError(f"results of other {', '.join(_SETTINGS)} cannot stand in one table: {settings}")
    columns = [key for key in _COLUMNS if any(values.get(key) is not None for _, values, _ in rows)]
    lines = ["| | " + " | ".join(_COLUMNS[key][0] for key in columns) + " |", "|---|" + "---:|" * len(columns)]
    for label, values, sign in rows:
        cells = ["" if values.get(key) is None else format(values[key], sign + _COLUMNS[key][1]) for key in columns]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    words, multiple_references, limit_bytes = next(iter(settings.values()))
    recall = "" if limit_bytes is None else f" Recall of the first {limit_bytes} bytes."
    several = {"best": "the best of several references", "mean": "the mean over several references"}[multiple_references]
    lines += ["", f"ROUGE F1 with stemming, 0-100; token F1 0-1; {several}; words by {words}.{recall}"]
    return "\n".join(lines)


def _block(name: str, result: Mapping) -> list[tuple[str, Mapping, str]]:
    controls = result.get("controls", {})
    missing = [control for control in _CONTROLS if control not in controls]
    if missing or "gain_over_first_k" not in result:
        raise ValueError(
            f"the result of {name!r} has no {' and no '.join(missing or ['gain_over_first_k'])}; scores are not printed "
            "without their controls: give the whole result of compute_compression"
        )
    labels = {key: label.format(result["first_k_corpus_words"]) for key, label in _CONTROLS.items()}
    return [
        (f"**{name}**", result, ""),
        *((f"{name}: {label}", controls[control], "") for control, label in labels.items()),
        (f"{name}: gain over first words", result["gain_over_first_k"], "+"),
    ]
