"""The Hugging Face hub: the commit and the files of a model, and what is to be done where they are out of reach.

No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amid.errors import RequestError, one_line

TOKENS = "https://huggingface.co/settings/tokens"


def hub_revision(name: str, revision: str | None) -> str:
    """The commit (40 hex digits) that a model-hub name stands for, from the local hub cache or the hub itself.

    Raises RequestError if the model is neither cached nor reachable.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, revision=revision, local_files_only=True, allow_patterns="config.json")
        ).name
    except HFValidationError as err:
        raise RequestError(f"model '{name}' is neither a local folder nor a hub name: {one_line(str(err))}") from err
    except LocalEntryNotFoundError:
        pass
    try:
        sha = HfApi().model_info(name, revision=revision, timeout=10).sha
    except Exception as err:
        # The hub client lets errors of its HTTP library through, which differs between its versions.
        raise RequestError(
            hub_problem(err, name, revision=revision)
            or f"model '{name}' is not a local folder, not in the hub cache, and the hub did not answer "
            f"({_reason(err)}); give a folder with config.json and weights, or download it first: hf download {name}"
        ) from err
    if sha is None:
        raise RequestError(f"model '{name}': the hub names no commit for revision '{revision}'")
    return sha


def hub_file(name: str, revision: str | None, file: str) -> Path:
    """The local copy of one file of a hub model, downloaded if it is not there.

    Raises RequestError if it is neither cached nor reachable.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except Exception as err:
        # The hub client lets errors of its HTTP library through, which differs between its versions.
        raise RequestError(
            hub_problem(err, name, revision=revision)
            or f"model '{name}': its {file} could not be read: {one_line(str(err))[:160]}"
        ) from err


def hub_problem(err: BaseException, name: str, *, revision: str | None = None, kind: str = "model") -> str | None:
    """One line, with the remedy, for what the hub or the way to it refused; None for any other error.

    Looks through what an error was raised from: libraries put their own words around the hub's. kind: model or dataset.
    """
    from huggingface_hub import errors

    noun = "data set" if kind == "dataset" else kind
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name}"
    download = f"hf download {'--repo-type dataset ' if kind == 'dataset' else ''}{name}"
    causes = list(_causes(err))
    status = status_of(err)
    has_token = _has_token()
    if _one_of(causes, errors.GatedRepoError):
        account = "the account of your token" if has_token else "your account, and set HF_TOKEN to a token of it"
        return f"{noun} '{name}' is gated: accept its licence at {page} with {account} ({TOKENS})"
    if has_token and (status == 401 or _says(causes, "invalid user token", "invalid credentials", "invalid token")):
        return f"{noun} '{name}': the hub refuses your token; set HF_TOKEN to a valid one ({TOKENS}), or unset it"
    if _one_of(causes, errors.RevisionNotFoundError):
        return f"{noun} '{name}' has no revision '{revision}'; its commits, tags and branches are at {page}/tree/main"
    if _one_of(causes, errors.RepositoryNotFoundError):
        private = "your token has no access to it" if has_token else f"set HF_TOKEN if it is private ({TOKENS})"
        return f"{noun} '{name}' is neither a local folder nor a repository of the hub that you may read; {private}"
    if _one_of(causes, errors.OfflineModeIsEnabled) or (
        _one_of(causes, errors.LocalEntryNotFoundError) and is_offline()
    ):
        return (
            f"{noun} '{name}' is not in the hub cache, and HF_HUB_OFFLINE=1 forbids to ask the hub: unset it, "
            f"or download it first: {download}"
        )
    if _one_of(causes, errors.LocalEntryNotFoundError) or is_unreachable(err):
        return (
            f"{noun} '{name}' is not in the hub cache, and the hub cannot be reached: check the network, or download "
            f"it where there is one ({download}) and give the folder"
        )
    return None


def status_of(err: BaseException) -> int | None:
    """The HTTP status of the hub's answer behind an error; None where there was none."""
    for each in _causes(err):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_unreachable(err: BaseException) -> bool:
    """Whether no answer came at all; the HTTP library, and so its classes, differs between releases of the client."""
    names = ("ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError")
    return any(
        isinstance(each, ConnectionError | TimeoutError) or type(each).__name__ in names for each in _causes(err)
    )


def is_offline() -> bool:
    """Whether the environment forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _causes(err: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while err is not None and id(err) not in seen:
        seen.add(id(err))
        yield err
        err = err.__cause__ or err.__context__


def _one_of(causes: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(each, kind) for each in causes)


def _says(causes: list[BaseException], *texts: str) -> bool:
    return any(text in str(each).lower() for each in causes for text in texts)


def _reason(err: BaseException) -> str:
    return one_line(str(err)).split(". ")[0][:160]


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None
