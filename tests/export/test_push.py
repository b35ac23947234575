"""Uploading: only what has a licence, only with a token, and one line for whatever the hub says to it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import RepoUrl, errors

from amid.errors import RequestError, RunError
from amid.export.folder import MARKER
from amid.export.licence import Licence
from amid.export.options import Options
from amid.export.push import check_push, pushed

REPO = "me/my-model"
LICENSED = Options(licence=Licence("mit"), push=REPO)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub that notes what it is asked for."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def create_repo(_: object, repo: str, **options: object) -> RepoUrl:
        asked["create"] = (repo, options)
        return RepoUrl(f"https://huggingface.co/{repo}")

    def upload_folder(_: object, **options: object) -> None:
        asked["upload"] = options

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", create_repo)
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", upload_folder)
    return asked


def card(folder: Path, fields: str) -> Path:
    (folder / "README.md").write_text(f"---\n{fields}\n---\n\n# A model\n")
    return folder


def test_it_is_private_unless_it_is_said_otherwise(tmp_path: Path, hub: dict[str, Any]) -> None:
    assert pushed(tmp_path, REPO, public=False) == (
        "pushed to https://huggingface.co/me/my-model (private unless it was there before)"
    )
    assert hub["create"] == (REPO, {"private": True, "exist_ok": True})
    assert hub["upload"]["folder_path"] == tmp_path
    assert hub["upload"]["repo_id"] == REPO
    assert hub["upload"]["ignore_patterns"] == [MARKER]
    pushed(tmp_path, REPO, public=True)
    assert hub["create"][1]["private"] is False


def test_nothing_is_pushed_without_a_licence(tmp_path: Path) -> None:
    check_push(REPO, None, LICENSED)
    with pytest.raises(RequestError, match="nothing is pushed without a licence: --licence NAME"):
        check_push(REPO, None, Options(push=REPO))
    unfilled = "license: other\nlicense_name: to-be-filled-in\nlicense_link: to-be-filled-in"
    for fields in (unfilled, "tags: [a]", "license: other\nlicense_name: mine\nlicense_link: to-be-filled-in"):
        with pytest.raises(RequestError, match=r"or fill it in in .*README\.md"):
            check_push(REPO, card(tmp_path, fields), Options(push=REPO))
    check_push(REPO, card(tmp_path, "license: mit"), Options(push=REPO))
    with pytest.raises(RequestError, match="has a card already"):
        check_push(REPO, card(tmp_path, "license: mit"), LICENSED)
    for text in ("# no fields", "---\n: [\n---\n", "---\n- a list\n---\n"):
        (tmp_path / "README.md").write_text(text)
        with pytest.raises(RequestError, match=r"README\.md"):
            check_push(REPO, tmp_path, Options(push=REPO))


def test_without_token_or_hub_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="no name of a repository"):
        check_push("a/b/c", None, LICENSED)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(RequestError, match="--push needs a token that may write: set HF_TOKEN"):
        check_push(REPO, None, LICENSED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RequestError, match="HF_HUB_OFFLINE=1 forbids"):
        check_push(REPO, None, LICENSED)


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "the hub refuses your token"), (403, "your token may not write to me/my-model"), (500, "it is broken")],
)
def test_a_refusal_is_one_line_and_the_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
        raise errors.HfHubHTTPError("it is broken", response=response)

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    card(tmp_path, "license: mit")
    with pytest.raises(RunError, match=f"is written, and was not pushed to me/my-model: {said}"):
        pushed(tmp_path, REPO, public=False)
    assert (tmp_path / "README.md").is_file()


def test_without_a_network_it_says_that_the_command_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", refuse)
    with pytest.raises(RunError, match="the hub cannot be reached; check the network and repeat"):
        pushed(tmp_path, REPO, public=False)
