"""The card of a model that is shared by its own `push_to_hub`: that of its run where it has one, else one of its config."""

from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedModel

from hf_lvm.cards.citations import bibtex, papers_of
from hf_lvm.cards.kinds import FACTS, KINDS, facts_of, kind_of
from hf_lvm.cards.run_card import CARD_NAME, is_own, marked, model_card
from hf_lvm.cards.usage import usage_code
from hf_lvm.data.run_results import RESULTS_NAME


def pushed_card(model: PreTrainedModel, repository: str, tags: Iterable[str] = ()) -> str | None:
    """The text of the card for a new repository; None for a model that there is no card for.

    Args:
        model: one that was loaded from the folder of a run has the card of that run, whose code then names the repository; a
            card that somebody wrote or edited there is taken as it is.
        repository: "owner/name".
        tags: beside its own.

    Raises:
        ValueError: the `results.json` beside the card of a run cannot be read.
    """
    folder = Path(model.name_or_path) if model.name_or_path else None
    if folder is not None and (folder / CARD_NAME).is_file():
        text = (folder / CARD_NAME).read_text(encoding="utf-8")
        if not is_own(text) or not (folder / RESULTS_NAME).is_file():
            return text
        given = ModelCard(text).data
        options = {"language": given.language, "license": given.license, "tags": [*(given.tags or ()), *tags]}
        return marked(str(model_card(folder, model_id=repository, **options)))
    if model.config.model_type not in KINDS:
        return None
    return marked(str(card_from_config(model.config.to_dict(), repository, model.num_parameters(), tags)))


def card_from_config(
    config: dict[str, Any], repository: str, num_parameters: int | None = None, tags: Iterable[str] = ()
) -> ModelCard:
    """A card of what a configuration says: what the model is and how it is used, and no word of how it was trained.

    Args:
        config: of the model, as `config.json` has it.
        repository: "owner/name", for the code.
        num_parameters: of the model.
        tags: beside its own.

    Raises:
        ValueError: a model that there is no card for.
    """
    model_type = config["model_type"]
    kind, own_tag = kind_of(model_type), model_type.replace("_", "-").removeprefix("hf-lvm-")
    settings = {key: config[key] for key in FACTS if key in config and not isinstance(config[key], dict)}
    settings |= {"model_type": model_type, "objects": config.get("object_type")}
    settings |= {"attribute_sizes": config["attribute_sizes"]} if config.get("attribute_sizes") else {}
    facts = facts_of(settings, config)
    facts += [] if num_parameters is None else [("parameters", f"{num_parameters:,}")]
    name = repository.rsplit("/", 1)[-1]
    bases = [base["source"] for base in (config.get("adapter_bases") or {}).values() if not Path(base["source"]).is_dir()]
    metadata = ModelCardData(
        library_name="hf-lvm",
        tags=list(dict.fromkeys(("hf-lvm", "latent-variable-model", own_tag, *kind.tags, *tags))),
        pipeline_tag=kind.pipeline_tag,
        base_model=list(dict.fromkeys(bases)) or None,
    )
    with as_file(files("hf_lvm.cards") / "config_card.md.jinja") as template:
        return ModelCard.from_template(
            metadata,
            template_path=str(template),
            title=f"{kind.title}: {name}",
            what=kind.what,
            class_name=kind.name,
            model_type=model_type,
            facts=[(label, " ".join(value.split()).replace("|", "\\|")) for label, value in facts],
            usage=usage_code(settings, repository).rstrip(),
            citations="\n\n".join(map(bibtex, papers_of(settings, kind.papers))),
        )
