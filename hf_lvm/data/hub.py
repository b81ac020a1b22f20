"""Ask the hub once, quickly, before a download that would retry for half a minute when the hub cannot be reached."""

import re
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
TIMEOUT_SECONDS = 10.0


def is_hub_id(name: str) -> bool:
    """Whether `name` reads as `owner/name` of the hub: one "/", and no file or folder of that name here."""
    return HUB_ID.fullmatch(name) is not None and name[0] not in ".~" and not Path(name).exists()


def check_hub_repository(repository: str, kind: Literal["model", "dataset"] = "model", revision: str | None = None) -> None:
    """Raise one clear error when `repository` cannot be had from the hub, after a single request.

    Args:
        revision: a branch, tag or commit that it should have; None for its main branch.

    Does nothing in offline mode (`HF_HUB_OFFLINE=1`), where only the local cache is read.

    Raises:
        ConnectionError: when the hub does not answer.
        FileNotFoundError: when the hub knows no such repository or no such revision of it, or this user may not see it.
    """
    if constants.HF_HUB_OFFLINE:
        return
    api = HfApi()
    try:
        (api.dataset_info if kind == "dataset" else api.model_info)(repository, revision=revision, timeout=TIMEOUT_SECONDS)
    except GatedRepoError as error:
        raise FileNotFoundError(
            f"The {kind} {repository!r} is gated: accept its terms at {api.endpoint} and log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"The {kind} {repository!r} at {api.endpoint} has no revision {revision!r}: give the name of a branch or a tag, "
            "or the hash of a commit that its history shows, or leave it out for the newest version."
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"There is no {kind} {repository!r} at {api.endpoint}, and no file or folder of that name here "
            f"(looked in {Path.cwd()}). Check the spelling; for a private one, log in with `hf auth login`."
        ) from error
    except Exception as error:  # the class depends on the HTTP library that this version of huggingface_hub uses
        raise ConnectionError(
            f"Could not reach {api.endpoint} for the {kind} {repository!r} ({type(error).__name__}: {error}). Check "
            "the connection; HF_HUB_OFFLINE=1 reads earlier downloads from the cache; a local path needs no hub."
        ) from error
