"""Weights are read from safetensors files in the folder of a model, and from nothing else."""

import json
from pathlib import Path

INDEX = "model.safetensors.index.json"


class SafeLoading:
    """A mixin in front of `PreTrainedModel`: no pickle is opened, and an index of shards cannot point out of its folder."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """A saved model; see `PreTrainedModel.from_pretrained`.

        Raises:
            OSError: there are no weights in a safetensors file.
            ValueError: pickled weights are asked for, or an index names files elsewhere.
        """
        if kwargs.pop("use_safetensors", None) is False:
            raise ValueError(
                "use_safetensors is False, and models of this package are never read from a pickle, which can run code: leave "
                "it out, and save weights with save_pretrained."
            )
        if pretrained_model_name_or_path is not None:
            check_index(Path(str(pretrained_model_name_or_path), kwargs.get("subfolder") or ""))
        return super().from_pretrained(pretrained_model_name_or_path, *args, use_safetensors=True, **kwargs)


def check_index(folder: Path) -> None:
    """Raise a `ValueError` where the index of a folder's weights is damaged or names files that are not in the folder."""
    index = folder / INDEX
    if not index.is_file():
        return
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights ({error!r}): save the model again.") from error
    elsewhere = sorted(str(name) for name in names if not isinstance(name, str) or Path(name).name != name or "\\" in name)
    if elsewhere:
        raise ValueError(f"{index} names {elsewhere[0]!r}, which is no file of its folder: do not use it, or save it again.")
