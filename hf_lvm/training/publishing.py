"""Sharing a run over the Hub: all of it in one commit, or nothing.

`HfApi.upload_folder` may cut an upload into several commits (huggingface_hub 2), so that one that is interrupted leaves half a
model behind. Here large files are sent first, where nobody sees them, and one commit shows everything.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from hf_lvm.cards.run_card import with_figures
from hf_lvm.training.run_cards import address_card
from hf_lvm.training.run_files import CARD, RunFiles, is_loaded, run_files

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MESSAGE = "Upload model, processor, card and results"


@dataclass(frozen=True)
class PublishedRun:
    """What an upload came to.

    Attributes:
        repository: "owner/name".
        url: of the repository.
        revision: the commit that holds the run; `from_pretrained` takes it as `revision`.
        files: what it holds of the run.
        unchanged: whether all of it was there already, so that no commit was made.
    """

    repository: str
    url: str
    revision: str
    files: RunFiles
    unchanged: bool


def publish_run(
    folder: str | Path,
    repository: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
    exclude: Sequence[str] = (),
    without_texts: bool = False,
    without_card: bool = False,
) -> PublishedRun:
    """Upload a run in one commit, after a check that it is whole; see [`hf_lvm.training.run_files.run_files`] for what goes.

    The card is the `README.md` of the folder; one that nobody has edited is made again first, so that its code names the
    repository, and is uploaded without the figures that are left out. A folder without one leaves that of the repository
    alone. Files of an earlier model that `from_pretrained` would read are deleted in the same commit; all others in the
    repository stay.

    Args:
        folder: `output_dir` of a run, or any folder that `save_pretrained` wrote into.
        repository: "owner/name"; made where there is none.
        private: whether a new repository is private; None for what the Hub does by itself. One that is there stays what it is,
            and if it is public, `private=True` is an error.
        revision: branch to commit to, made from the main one where there is none. *optional*, defaults to the main one.
        commit_message: *optional*.
        token: *optional*, defaults to that of `HF_TOKEN` or `hf auth login`.
        exclude: patterns of files to leave out.
        without_texts: leave out every report that may show texts of the corpus.
        without_card: share it even without a card.

    Raises:
        FileNotFoundError, ValueError: the folder is not whole, or an argument means nothing; before the Hub is asked.
        PermissionError: there is no token, or it may not do this.
        ConnectionError: the Hub could not be reached or did not answer as it should. The branch is as it was, unless the
            answer to the commit itself was lost; to upload again is always right.
    """
    check_repository_name(repository)
    run_files(folder, exclude, without_texts)
    address_card(folder, repository)
    files = run_files(folder, exclude, without_texts)
    if revision is not None and _COMMIT.fullmatch(revision):
        raise ValueError(f"revision {revision!r} is a commit, and a commit does not change: give the name of a branch")
    if CARD not in files.shared and not without_card:
        raise FileNotFoundError(
            f"{files.folder} holds no card ({CARD}): make one with `hf-lvm card {files.folder}`, or share it --without_card"
        )
    contents = {name: _content(files, name) for name in files.shared}
    api = HfApi(token=token)
    create_repository(api, repository, private)
    with _clear_errors(api, repository):
        if revision not in (None, constants.DEFAULT_REVISION):
            api.create_branch(repository, branch=revision, exist_ok=True)
        # What is deleted follows from this commit, so the new one must come right after it.
        before = api.model_info(repository, revision=revision)
        present = {sibling.rfilename for sibling in before.siblings or ()}
        stale = sorted(name for name in present - files.shared.keys() if is_loaded(name))
        commit = api.create_commit(
            repository,
            [
                *(CommitOperationDelete(name, is_folder=False) for name in stale),
                *(CommitOperationAdd(name, content) for name, content in contents.items()),
            ],
            commit_message=commit_message or _MESSAGE,
            revision=revision,
            parent_commit=before.sha,
        )
    url = f"{api.endpoint}/{repository}"
    return PublishedRun(repository, url, commit.oid, files, unchanged=commit.oid == before.sha)


def _content(files: RunFiles, name: str) -> str | bytes:
    """The path of a file to upload; of the card its text, without figures that are not uploaded."""
    path = files.folder / name
    if name != CARD:
        return str(path)
    try:
        return with_figures(path.read_bytes().decode("utf-8"), files.shared).encode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}), and the Hub takes no other card: save it as UTF-8") from error


def check_repository_name(repository: str) -> None:
    """Raise a `ValueError` for what is no "owner/name"."""
    if repository.count("/") != 1:
        raise ValueError(f"{repository!r} is no repository: give owner/name, such as your-name/text-vae")
    validate_repo_id(repository)


def create_repository(api: HfApi, repository: str, private: bool | None) -> str:
    """Make a repository where there is none, and return its whole name.

    Args:
        api: with the token, if it is not that of the environment.
        repository: "owner/name", or a name in the namespace of whoever the token is of.

    Raises:
        PermissionError: there is no token, or it may not write there.
        ValueError: `private` is asked for and the repository is public already.
        ConnectionError: the Hub could not be reached.
    """
    if (api.token or get_token()) is None:
        raise PermissionError(
            f"there is no token to write to {api.endpoint} with: log in with `hf auth login`, or set HF_TOKEN to a token with "
            "the permission to write"
        )
    with _clear_errors(api, repository):
        name = api.create_repo(repository, private=private, exist_ok=True).repo_id
        is_public = bool(private) and not api.model_info(name).private
    if is_public:
        raise ValueError(
            f"{name} is there already, and public: what goes there is seen by everybody. Make it private in its settings, or "
            "give a name that is not taken"
        )
    return name


@contextmanager
def _clear_errors(api: HfApi, repository: str) -> Iterator[None]:
    """One sentence for whatever the Hub or the network refuses."""
    try:
        yield
    except Exception as error:
        # A large file that could not be sent is reported by an error around the real one.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        explained = _explained(cause, api.endpoint, repository)
        if explained is None:
            raise
        raise explained from error


def _explained(error: BaseException, endpoint: str, repository: str) -> OSError | None:
    """What to raise for an error of the Hub or of the network; None for one of another kind."""
    unharmed = f"nothing of the run was published in {repository}"
    if isinstance(error, OfflineModeIsEnabled):
        return ConnectionError("the Hub is not asked in offline mode: unset HF_HUB_OFFLINE")
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, error.response.headers.get("X-Error-Message") or error.server_message or ""
        if status == 401 and "credentials" in said:
            return PermissionError(
                f"{endpoint} does not know this token: log in again with `hf auth login`, or set HF_TOKEN; {unharmed}"
            )
        if status in (401, 403, 404):
            return PermissionError(
                f"this token may not write to {repository}, or there is no such repository or branch: check the name, and "
                f"that the token has the permission to write there; {unharmed}"
            )
        if status in (409, 412):
            return ConnectionError(
                f"{repository} was changed by somebody else in the meantime, and {unharmed}: look at it and upload again"
            )
        return ConnectionError(f"{endpoint} answered {status} ({said or error}), and {unharmed}")
    # The HTTP library depends on the version of huggingface_hub; hf_xet, which may send large files, raises RuntimeError.
    is_of_network = isinstance(error, (ConnectionError, TimeoutError, RuntimeError))
    if is_of_network or type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "hf_xet", "requests"):
        return ConnectionError(
            f"the connection to {endpoint} failed ({type(error).__name__}: {error}), and {unharmed} as far as can be seen: "
            "upload again when it is there"
        )
    return None
