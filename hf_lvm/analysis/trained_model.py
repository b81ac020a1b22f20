"""A trained model and its processor, from the folder of a run or from the hub."""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoModel, AutoProcessor, PreTrainedModel
from transformers.utils import logging

from hf_lvm.data import LatentTextProcessor, check_hub_repository, is_hub_id

# What a method is for where its name does not say so, and a model that has it.
_MEANS = {"surprisal": "find trees", "meaning_prior": "judge meanings", "verbalize": "tell meanings"}
_FOR_EXAMPLE = {
    "parse": "a URNNG, a StructVAE, a neural hidden Markov model or a neural topic model",
    "surprisal": "a URNNG",
    "summarize": "a latent summarizer",
    "meaning_prior": "a StructVAE",
}


def load_trained(
    name: str, needs: str | Sequence[str], revision: str | None = None
) -> tuple[PreTrainedModel, LatentTextProcessor]:
    """The model, in evaluation mode, and its processor.

    Args:
        name: the output folder of a run, or a hub id.
        needs: a method that the model is loaded for, or several of which it has one.
        revision: of a hub id, the branch, tag or commit that all files are read from; None for the main branch.

    Raises:
        FileNotFoundError: no such folder, no model in it, or no such revision.
        ValueError: a model of another kind, without such a method, or one whose files are damaged; a revision of a folder.
        ConnectionError: the hub does not answer.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision {revision!r} is a version (branch, tag or commit) of a repository on the hub, and {name} is a "
                "folder here, which has one version: leave it out, or give a hub id (owner/name)"
            )
        name = str(path)
        if not (path / "config.json").exists():
            raise FileNotFoundError(f"{name} holds no config.json, so it is no trained model: give the output_dir of a run")
    elif is_hub_id(name):
        check_hub_repository(name, revision=revision)
    else:
        raise FileNotFoundError(f"there is no folder {name!r}: give the output_dir of a run, or a hub id (owner/name)")
    logging.disable_progress_bar()
    version = {} if revision is None else {"revision": revision}
    try:
        model = AutoModel.from_pretrained(name, **version).eval()
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:  # of safetensors, or of a config whose values have the wrong kind
        raise ValueError(f"{name} holds no model that can be loaded: {error}") from error
    methods = [needs] if isinstance(needs, str) else needs
    if not any(hasattr(model, method) for method in methods):
        cannot = " or ".join(_MEANS.get(method, method.replace("_", " ")) for method in methods)
        raise ValueError(
            f"{name} holds a {model.config.model_type!r} model, which cannot {cannot}: give the output_dir of a model that "
            f"can, such as {_FOR_EXAMPLE.get(methods[0], 'a text VAE')}"
        )
    processor = AutoProcessor.from_pretrained(name, **version)
    if hasattr(model, "connect_prior"):
        model.connect_prior(processor)
    return model, processor
