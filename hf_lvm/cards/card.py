"""A model card from the results of a run: what the model is, how to use it, where it comes from, what it can and cannot do."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_lvm.cards.citations import bibtex, papers_of
from hf_lvm.cards.kinds import ModelKind, facts_of, kind_of
from hf_lvm.cards.limits import limits_of
from hf_lvm.cards.measures import SPLITS, measures_of, reported_split
from hf_lvm.cards.numbers import Measure, by_key, shown
from hf_lvm.cards.usage import usage_code
from hf_lvm.data.hub import is_hub_id
from hf_lvm.data.text_files import FILE_TYPES

# What `results.json` of every run has.
REQUIRED = ("command", "settings", "training_seconds", "hardware", "versions", "corpus", "steps")
ENGLISH = ("documentation corpus of Python", "synthetic_grammar")
# Corpora that a program writes.
GENERATED = ("combinations of", "synthetic_grammar")
MODEL_PARTS = ("encoder", "decoder", "prior", "compressor", "language_model")
CAPTIONS = {
    "training_curves": "Training curves",
    "latent_map": "The posterior means of the test texts, projected to two dimensions",
    "kl_per_dimension": "KL of each latent dimension",
    "message_lengths": "How long messages are",
}
WEIGHTS = "The weights are in this folder (`model.safetensors`); they load without code of their own."


def card_from_results(
    results: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    name: str = "path/to/the/run",
    model_name: str | None = None,
    config: Mapping[str, Any] | None = None,
    figures: Iterable[str] = (),
    checkpoint: str = WEIGHTS,
    num_parameters: int | None = None,
    language: str | None = None,
    license: str | None = None,
    tags: Iterable[str] = (),
    remarks: Iterable[str] = (),
) -> ModelCard:
    """A card from `results.json` alone.

    Args:
        results: what a `results.json` holds; several of them where a card is about several seeds of one run.
        name: folder or hub id that stands in the code.
        model_name: what the model index calls the model; by default the last part of `name`.
        config: `config.json` of the model.
        figures: paths relative to the card.
        checkpoint: where the weights are.
        num_parameters: of the model.
        language: of the texts, such as `en`; by default that of corpora of which it is known.
        license: of the model; left out where nobody says it.
        tags: beside its own.
        remarks: what the results do not say and a reader should know.

    Raises:
        ValueError: no results, results of another layout, of different models, or of a model without a card.
    """
    runs = [dict(results)] if isinstance(results, Mapping) else [dict(run) for run in results]
    check_results(runs)
    first = runs[0]
    settings = first["settings"]
    model_type = settings["model_type"]
    kind, own_tag = kind_of(model_type), model_type.replace("_", "-").removeprefix("hf-lvm-")
    measures = by_key(map(measures_of, runs))
    model_name = model_name or PurePosixPath(name.replace("\\", "/")).name or kind.title
    metadata = ModelCardData(
        language=language or language_of(first),
        license=license,
        library_name="hf-lvm",
        tags=list(dict.fromkeys(("hf-lvm", "latent-variable-model", own_tag, *kind.tags, *tags))),
        pipeline_tag=kind.pipeline_tag,
        datasets=_hub_dataset(settings),
        base_model=_base_models(settings),
        model_name=model_name,
        eval_results=_eval_results(measures, first, kind) or None,
    )
    with as_file(files("hf_lvm.cards") / "card.md.jinja") as template:
        return ModelCard.from_template(
            metadata,
            template_path=str(template),
            title=f"{kind.title}: {model_name}",
            what=kind.what,
            class_name=kind.name,
            model_type=model_type,
            facts=[(label, _cell(value)) for label, value in _facts(settings, config, num_parameters)],
            checkpoint=checkpoint,
            usage=usage_code(settings, name).rstrip(),
            data=_data(first),
            command="\n".join(dict.fromkeys(run["command"] for run in runs if run["command"])),
            settings_of="Settings" if len(runs) == 1 else f"Settings of seed {settings.get('seed')}",
            script=_script(first["command"]),
            training=_training(runs),
            config=_yaml(settings),
            results_of=_results_of(first, runs, kind),
            results=_rows(measures, "results"),
            controls=_rows(measures, "controls"),
            latent=_rows(measures, "latent"),
            figures=[(_caption(path), path) for path in figures],
            limits=limits_of(runs, kind),
            remarks=[*remarks, *(_remark(run, runs) for run in runs if run.get("remark"))],
            citations="\n\n".join(map(bibtex, papers_of(settings, kind.papers))),
        )


def check_results(runs: Sequence[Mapping[str, Any]]) -> None:
    """Raise a `ValueError` unless these are results of runs of one model, in the layout of this version."""
    if not runs:
        raise ValueError("there are no results to make a card of: give at least one results.json")
    for run in runs:
        missing = [key for key in REQUIRED if key not in run]
        if missing:
            raise ValueError(
                f"these results have no {', '.join(missing)}: they are not those of a training run, or were written by an "
                "older version of hf-lvm. A card needs the results.json that `hf-lvm train` writes"
            )
        if not isinstance(run["settings"], Mapping) or "model_type" not in run["settings"]:
            raise ValueError("these results have no settings.model_type: a card needs the results.json of `hf-lvm train`")
        kind_of(run["settings"]["model_type"])
    types = {run["settings"]["model_type"] for run in runs}
    if len(types) > 1:
        raise ValueError(f"these are results of several models, {', '.join(sorted(types))}: a card is about one")


def language_of(results: Mapping[str, Any]) -> str | None:
    """`en` for corpora that are known to be English, else None."""
    return "en" if (results["corpus"] or "").startswith(ENGLISH) else None


def _facts(settings: dict, config: Mapping[str, Any] | None, num_parameters: int | None) -> list[tuple[str, str]]:
    facts = facts_of(settings, None if config is None else dict(config))
    return facts if num_parameters is None else [*facts, ("parameters", f"{num_parameters:,}")]


def _cell(text: str) -> str:
    """Text that cannot break a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _rows(measures: Sequence[Sequence[Measure]], section: str) -> list[dict[str, str]]:
    return [
        {"name": _cell(each[0].name), "value": shown(each), "unit": each[0].unit}
        for each in measures
        if each[0].section == section
    ]


def _eval_results(measures: Sequence[Sequence[Measure]], results: dict[str, Any], kind: ModelKind) -> list[EvalResult]:
    dataset = _hub_dataset(results["settings"])
    corpus = (results["corpus"] or "unnamed").split(":")[0]
    found = []
    for each in measures:
        measure = each[0]
        if measure.section == "controls":
            continue
        seeds = f", mean of {len(each)} seeds" if len(each) > 1 else ""
        unit = f" ({measure.unit})" if measure.unit else ""
        found.append(
            EvalResult(
                task_type=kind.task,
                dataset_type=dataset or re.sub(r"[^a-z0-9]+", "-", corpus.lower()).strip("-"),
                dataset_name=corpus,
                dataset_split=measure.split if measure.split in SPLITS else None,
                metric_type=measure.key,
                metric_name=f"{measure.name}{unit}{seeds}",
                # As many digits as a JSON file keeps would say nothing, and differ between machines.
                metric_value=float(f"{sum(one.value for one in each) / len(each):.6g}"),
            )
        )
    return found


def _hub_dataset(settings: dict[str, Any]) -> str | None:
    """The dataset where it is a hub id; a name that could as well be a local file is none."""
    name = settings.get("dataset")
    return name if isinstance(name, str) and is_hub_id(name) and not name.lower().endswith(tuple(FILE_TYPES)) else None


def _base_models(settings: dict[str, Any]) -> list[str] | None:
    found = [settings[part] for part in MODEL_PARTS if isinstance(settings.get(part), str) and is_hub_id(settings[part])]
    return list(dict.fromkeys(found)) or None


def _data(results: dict[str, Any]) -> str:
    settings = results["settings"]
    if results["corpus"] is None:
        return "The texts were given by the program that trained the model, which did not say what they are."
    corpus, dataset = results["corpus"].rstrip("."), _hub_dataset(settings)
    lines = [f"Corpus: {corpus}."]
    if dataset is not None:
        lines.append(f"From the hub: [{dataset}](https://huggingface.co/datasets/{dataset}).")
    bounds = [f"at least {settings['min_words']}" if settings.get("min_words") else ""]
    bounds.append(f"at most {settings['max_words']}" if settings.get("max_words") else "")
    if any(bounds):
        lines.append(f"Texts of {' and '.join(filter(None, bounds))} words.")
    if results.get("left_out"):
        lines.append(f"Left out: {', '.join(f'{count} {why}' for why, count in results['left_out'].items())}.")
    if not corpus.startswith(GENERATED) and settings["model_type"] != "hf_lvm_task_and_talk":
        lines.append("This card holds no text of it. Its licence is that of its publisher; none is claimed here.")
    return " ".join(lines)


def _script(command: str | None) -> str | None:
    """The name of a script of recipes/ that a command begins with."""
    found = re.match(r"train_\w+\.py", command or "")
    return None if found is None else found[0]


def _training(runs: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    first = runs[0]
    seconds = [run["training_seconds"] for run in runs]
    rows = [
        ("hardware", "; ".join(dict.fromkeys(run["hardware"] for run in runs))),
        ("wall-clock time", "; ".join(_duration(each) for each in seconds)),
        ("steps", "; ".join(f"{run['steps']:,}" for run in runs)),
    ]
    if first.get("epochs") is not None:
        rows.append(("epochs", "; ".join(f"{run['epochs']:.2f}" for run in runs if run.get("epochs") is not None)))
    rows += [
        ("seed", "; ".join(str(run["settings"].get("seed")) for run in runs)),
        ("finished", "; ".join(str(run.get("finished", "not said")) for run in runs)),
        ("versions", ", ".join(f"{package} {version}" for package, version in first["versions"].items())),
    ]
    if first.get("first_run"):
        before = first["first_run"]
        rows.append(("before it", f"a run of {before['steps']:,} steps in {_duration(before['training_seconds'])}"))
    return [(label, _cell(value)) for label, value in rows]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _yaml(settings: dict[str, Any]) -> str:
    """The settings as a file that `hf-lvm train --config` reads: parts' sizes under the names of their flags."""
    flat = {key: value for key, value in settings.items() if key != "part_options"}
    for part, options in (settings.get("part_options") or {}).items():
        flat |= {f"{part}_{key}": value for key, value in options.items()}
    kept = {key: value for key, value in flat.items() if value is not None and value != []}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=110).rstrip()


def _results_of(first: dict[str, Any], runs: Sequence[dict[str, Any]], kind: ModelKind) -> str:
    split = reported_split(first)
    if split is None:
        return f"Shares of pairs of {kind.unit}, by greedy dialogs."
    seeds = f" Mean of {len(runs)} seeds, each in brackets." if len(runs) > 1 else ""
    return (
        f"On the {split} split. Behind ± is the standard error over {kind.unit}s where it was computed.{seeds} Perplexities "
        f"say what they count."
    )


def _caption(path: str) -> str:
    stem = PurePosixPath(path).stem
    return CAPTIONS.get(stem, stem.replace("_", " ").capitalize())


def _remark(run: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    return run["remark"] if len(runs) == 1 else f"Seed {run['settings'].get('seed')}: {run['remark']}"


def figures_of(folder: Path) -> list[str]:
    """The figures of a run relative to its folder: training curves first, of drawn trees the first three."""
    found = sorted(path.name for path in (folder / "figures").glob("*") if path.suffix in (".png", ".svg"))
    trees = sorted((name for name in found if name.startswith("tree_")), key=lambda name: (len(name), name))[:3]
    others = sorted((name for name in found if not name.startswith("tree_")), key=lambda name: name != "training_curves.png")
    return [f"figures/{name}" for name in [*others, *trees]]
