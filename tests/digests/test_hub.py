"""What the hub refuses, or the way to it: one line each, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import errors

from amid.cells.model_reference import has_dropout, model_identity
from amid.digests.fingerprint import FileDigests
from amid.digests.hub import hub_problem
from amid.errors import RequestError
from amid.pairs.models import load_model
from amid.pairs.sizes import load_sizes
from amid.pairs.tokenizers import load_tokenizer

NAME = "some/model"


def answered(kind: type[Exception], status: int, text: str = "no") -> Exception:
    """An error of the client as it is raised for an answer of the hub."""
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    made: Exception = kind(text, response=response)  # type: ignore[call-arg]
    return made


def wrapped(err: Exception) -> Exception:
    """The error as transformers hands it on."""
    outer = OSError("We couldn't connect, or you are not authorised, or something else.\nSee the docs.")
    outer.__cause__ = err
    return outer


# (id, error, with a token, offline, what must be said)
CASES: list[tuple[str, Callable[[], Exception], bool, bool, tuple[str, ...]]] = [
    (
        "gated",
        lambda: answered(errors.GatedRepoError, 401),
        False,
        False,
        (f"'{NAME}' is gated", f"accept its licence at https://huggingface.co/{NAME}", "set HF_TOKEN"),
    ),
    (
        "gated-with-token",
        lambda: answered(errors.GatedRepoError, 403),
        True,
        False,
        ("is gated", "accept its licence", "the account of your token"),
    ),
    (
        "token-refused",
        lambda: answered(errors.RepositoryNotFoundError, 401, "Invalid credentials in Authorization header"),
        True,
        False,
        ("the hub refuses your token", "set HF_TOKEN to a valid one", "or unset it"),
    ),
    (
        "not-there",
        lambda: answered(errors.RepositoryNotFoundError, 401, "Repository Not Found"),
        False,
        False,
        ("neither a local folder nor a repository of the hub", "set HF_TOKEN if it is private"),
    ),
    (
        "not-there-with-token",
        lambda: answered(errors.RepositoryNotFoundError, 404),
        True,
        False,
        ("nor a repository of the hub that you may read", "your token has no access to it"),
    ),
    (
        "revision",
        lambda: answered(errors.RevisionNotFoundError, 404),
        False,
        False,
        ("has no revision 'v9'", f"https://huggingface.co/{NAME}/tree/main"),
    ),
    (
        "offline",
        lambda: errors.OfflineModeIsEnabled("offline"),
        False,
        True,
        ("is not in the hub cache", "HF_HUB_OFFLINE=1 forbids", "unset it", f"hf download {NAME}"),
    ),
    (
        "offline-file",
        lambda: errors.LocalEntryNotFoundError("cannot find it"),
        False,
        True,
        ("is not in the hub cache", "HF_HUB_OFFLINE=1 forbids", f"hf download {NAME}"),
    ),
    (
        "no-network",
        lambda: errors.LocalEntryNotFoundError("cannot find it"),
        False,
        False,
        ("the hub cannot be reached", "check the network", f"hf download {NAME}"),
    ),
    ("refused-connection", lambda: ConnectionRefusedError("no"), False, False, ("the hub cannot be reached",)),
]


def surroundings(monkeypatch: pytest.MonkeyPatch, *, token: bool, offline: bool) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x" if token else None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)


@pytest.mark.parametrize("around", [lambda err: err, wrapped], ids=["bare", "wrapped"])
@pytest.mark.parametrize(("error", "token", "offline", "said"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_each_refusal_is_one_line_with_its_remedy(
    error: Callable[[], Exception],
    token: bool,
    offline: bool,
    said: tuple[str, ...],
    around: Callable[[Exception], Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surroundings(monkeypatch, token=token, offline=offline)
    text = hub_problem(around(error()), NAME, revision="v9")
    assert text is not None
    assert "\n" not in text
    for part in said:
        assert part in text, text


def test_a_data_set_is_called_one() -> None:
    text = hub_problem(answered(errors.GatedRepoError, 403), "some/data", kind="dataset")
    assert text is not None and text.startswith("data set 'some/data' is gated")
    assert "https://huggingface.co/datasets/some/data" in text


def test_what_is_not_of_the_hub_is_not_explained() -> None:
    assert hub_problem(ValueError("a bad value"), NAME) is None
    assert hub_problem(OSError("no config.json"), NAME) is None


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in ("gated", "offline", "no-network")])
def test_every_way_to_a_model_says_it(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, error, token, offline, said = case
    surroundings(monkeypatch, token=token, offline=offline)

    def refuse(*_: object, **__: object) -> None:
        raise error()

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    for library in ("AutoModelForCausalLM", "AutoTokenizer", "AutoConfig"):
        monkeypatch.setattr(f"transformers.{library}.from_pretrained", lambda *_, **__: _raise(wrapped(error())))
    digests = FileDigests(tmp_path)
    ways: list[Callable[[], object]] = [
        lambda: model_identity(NAME, None, digests),
        lambda: has_dropout(NAME, None),
        lambda: load_model(NAME, revision=None, cache=tmp_path),
        lambda: load_tokenizer(NAME, revision=None, cache=tmp_path),
        lambda: load_sizes(NAME, revision=None, cache=tmp_path),
    ]
    for way in ways:
        with pytest.raises(RequestError) as caught:
            way()
        text = str(caught.value)
        assert "\n" not in text
        for part in said:
            assert part in text, text


def _raise(err: Exception) -> None:
    raise err
