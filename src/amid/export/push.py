"""Upload of an export to the Hugging Face hub, only when it is asked for. No torch here."""

from __future__ import annotations

import os
from pathlib import Path

from amid.digests.hub import TOKENS, is_offline, is_unreachable, status_of
from amid.errors import RequestError, RunError, one_line
from amid.export.folder import MARKER
from amid.export.licence import is_filled
from amid.export.options import Options


def check_push(repo: str, folder: Path | None, options: Options) -> None:
    """Raises RequestError for what cannot be uploaded: a name of no repository, no licence, no token, no hub.

    folder: an export that is there already; None for one that is still to be written.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as err:
        raise RequestError(f"--push {repo}: no name of a repository: {one_line(str(err))[:160]}") from err
    if folder is not None and options.licence is not None:
        raise RequestError(f"{folder} has a card already: fill its licence in there, or --overwrite to write it anew")
    if options.licence is None and (folder is None or not is_filled(folder)):
        where = "" if folder is None else f", or fill it in in {folder / 'README.md'}"
        raise RequestError(f"nothing is pushed without a licence: --licence NAME, as apache-2.0{where}")
    if is_offline():
        raise RequestError("--push needs the hub, and HF_HUB_OFFLINE=1 forbids to ask it; unset HF_HUB_OFFLINE")
    if get_token() is None:
        raise RequestError(f"--push needs a token that may write: set HF_TOKEN ({TOKENS}), or hf auth login")


def pushed(folder: Path, repo: str, *, public: bool) -> str:
    """One line on the repository that holds the folder now. Raises RunError, with what to do, if the hub refuses it."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=address.repo_id,
            folder_path=folder,
            commit_message="Upload a model distilled with AMiD Lab",
            ignore_patterns=[MARKER],
        )
    except Exception as err:
        # The hub client lets errors of its HTTP library through, which differs between its versions.
        raise RunError(f"{folder} is written, and was not pushed to {repo}: {_reason(err, repo)}") from err
    return f"pushed to {address} ({'public' if public else 'private'} unless it was there before)"


def _reason(err: Exception, repo: str) -> str:
    status = status_of(err)
    if status == 401:
        return f"the hub refuses your token; set HF_TOKEN to a valid one ({TOKENS})"
    if status == 403:
        return f"your token may not write to {repo}; give it write access ({TOKENS}), or name a repository of your own"
    if is_unreachable(err):
        return "the hub cannot be reached; check the network and repeat the command: the folder is pushed as it is"
    return one_line(str(err))[:200]
