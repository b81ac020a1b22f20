"""A model that is shared by its own `push_to_hub` has a card of this package, and leaves one that is there alone."""

import importlib
import math
import os
from pathlib import Path

from huggingface_hub import HfApi, ModelCard

_CARD = "README.md"
# Cards are made floors above this one, from models among other things: found by name, when a model is shared.
_CARDS = "hf_lvm.cards"


class OwnCard:
    """A mixin in front of `PreTrainedModel`.

    transformers (5.17 to 5.23) puts a card into the folder that it uploads: a stock one where the repository has none, else
    that of the repository with its metadata written anew.
    """

    def _upload_modified_files(
        self, working_dir: str | os.PathLike, repo_id: str, files_timestamps: dict[str, float], *args, **kwargs
    ):
        """Upload what was saved, with the card of this package or, where the repository has a card, without one."""
        card, token = Path(working_dir) / _CARD, kwargs.get("token")
        if card.exists():
            if self._has_card(repo_id, token, kwargs.get("revision")):
                # A file that is no newer than this is not uploaded.
                files_timestamps = {**files_timestamps, _CARD: math.inf}
            else:
                tags = ModelCard.load(card).data.tags or ()
                own = importlib.import_module(_CARDS).pushed_card(self, repo_id, tags)
                if own is not None:
                    card.write_text(own, encoding="utf-8")
        return super()._upload_modified_files(working_dir, repo_id, files_timestamps, *args, **kwargs)

    @staticmethod
    def _has_card(repository: str, token: str | bool | None, revision: str | None) -> bool:
        # A branch that is made now begins as the main one.
        return any(
            HfApi().file_exists(repository, _CARD, revision=each, token=token) for each in dict.fromkeys((None, revision))
        )
