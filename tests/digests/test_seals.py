"""Seals: every changed bit is found, in texts, checkpoints and folders; what never had a seal is told apart."""

import json
import zipfile
from types import SimpleNamespace

import pytest
import torch

from amid import pairs
from amid.digests.fingerprint import MODEL_FILE_PATTERNS, FileDigests
from amid.digests.seals import (
    SEAL_FILE,
    DamagedError,
    check_folder,
    check_zip,
    file_digest,
    seal,
    seal_folder,
    seal_zip,
    unseal,
)
from amid.pairs import gguf

VALUES = {
    "index": 3,
    "response": 'a "quoted"\ttext, \u00e9',
    "ended": True,
    "loss": float("inf"),
    "of": [1, {"b": None}],
}


def flips(data):
    """Every version of the bytes with one bit changed."""
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield bytes(changed)


@pytest.mark.parametrize("values", [VALUES, {}])
@pytest.mark.parametrize("indent", [None, 1])
def test_what_was_sealed_comes_back_and_is_vouched_for(values, indent):
    assert unseal(seal(values, indent=indent).encode()) == (values, True)


def test_a_sealed_text_is_json_with_its_digest_as_last_entry():
    text = seal(VALUES)
    assert "\n" not in text
    assert list(json.loads(text)) == [*VALUES, "digest"]


def test_every_changed_bit_of_a_sealed_text_is_found():
    for changed in flips(seal(VALUES).encode()):
        with pytest.raises(ValueError, match=r"its digest|not JSON"):
            unseal(changed)


def test_every_changed_bit_of_a_padded_text_is_found():
    for changed in flips(seal({"a": 1}).encode().ljust(70) + b"\n"):
        with pytest.raises(ValueError, match=r"its digest|not JSON"):
            unseal(changed)


@pytest.mark.parametrize("values", [VALUES, {"digest": "not ours"}, {"digest": "0123456789abcdefg"}, {}])
def test_a_text_from_before_seals_is_read_and_not_vouched_for(values):
    assert unseal(json.dumps(values).encode()) == (values, False)


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "\udcff", seal(VALUES)[:-1], seal(VALUES)[:-30]])
def test_what_is_no_object_is_damaged(text):
    with pytest.raises(ValueError, match="it is not|its digest"):
        unseal(text.encode(errors="surrogateescape"))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.arange(5.0), "step": 3}, path)
    seal_zip(path)
    return path


def test_a_sealed_checkpoint_is_read_by_torch_and_by_zip_tools_as_before(checkpoint):
    assert check_zip(checkpoint, remedy="") is True
    for mmap in (False, True):
        assert torch.load(checkpoint, weights_only=True, mmap=mmap)["step"] == 3
    assert zipfile.ZipFile(checkpoint).testzip() is None


@pytest.mark.long
def test_every_changed_bit_of_a_sealed_checkpoint_is_found(checkpoint):
    sealed = checkpoint.read_bytes()
    for changed in flips(sealed):
        checkpoint.write_bytes(changed)
        with pytest.raises(DamagedError, match=r"last.ckpt is damaged \(its digest .*\); use the other"):
            check_zip(checkpoint, remedy="use the other")


def test_a_checkpoint_from_before_seals_is_not_vouched_for(tmp_path):
    torch.save({"step": 3}, tmp_path / "old.ckpt")
    assert check_zip(tmp_path / "old.ckpt", remedy="") is False


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(64)))
    (folder / "deep" / "config.json").write_text('{"layers": 2}')
    return folder


def test_every_changed_bit_of_every_file_of_a_sealed_folder_is_found_and_its_file_named(folder):
    seal_of_folder = seal_folder(folder)
    assert check_folder(folder, expected=seal_of_folder, remedy="") == seal_of_folder
    for path in (folder / "model.safetensors", folder / "deep" / "config.json"):
        sound = path.read_bytes()
        for changed in flips(sound):
            path.write_bytes(changed)
            for expected in (seal_of_folder, None):
                with pytest.raises(DamagedError, match=f"{path} is damaged .*; build it again"):
                    check_folder(folder, expected=expected, remedy="build it again")
        path.write_bytes(sound)
    assert check_folder(folder, expected=seal_of_folder, remedy="") == seal_of_folder


def test_a_changed_bit_in_the_list_is_found_or_made_up_for_by_the_digest_that_was_kept(folder):
    seal_of_folder = seal_folder(folder)
    path = folder / SEAL_FILE
    sound = path.read_bytes()
    for changed in flips(sound):
        path.write_bytes(changed)
        assert check_folder(folder, expected=seal_of_folder, remedy="") == seal_of_folder
        with pytest.raises(DamagedError, match=SEAL_FILE):
            check_folder(folder, expected=None, remedy="")
        with pytest.raises(DamagedError, match=SEAL_FILE):
            check_folder(folder, expected="0" * 16, remedy="")


def test_a_missing_cut_or_exchanged_file_is_found(folder):
    seal_of_folder = seal_folder(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(range(63)))
    with pytest.raises(DamagedError, match="it has 63 bytes, 64 were written"):
        check_folder(folder, expected=None, remedy="")
    weights.unlink()
    with pytest.raises(DamagedError, match="model.safetensors is damaged .it is missing"):
        check_folder(folder, expected=None, remedy="")
    seal_folder(folder)  # a consistent list, but of another folder than was published
    with pytest.raises(DamagedError, match="not the list that was published"):
        check_folder(folder, expected=seal_of_folder, remedy="")


def test_a_list_that_is_gone_is_missed_only_where_there_was_one(folder):
    assert check_folder(folder, expected=None, remedy="") is None
    seal_of_folder = seal_folder(folder)
    (folder / SEAL_FILE).unlink()
    assert check_folder(folder, expected=seal_of_folder, remedy="") == seal_of_folder  # its files vouch for each other
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(DamagedError, match="it is missing"):
        check_folder(folder, expected=seal_of_folder, remedy="")


def test_a_seal_does_not_change_what_a_model_folder_is(folder, tmp_path):
    digests = FileDigests(tmp_path / "cache")
    before = digests.folder(folder)
    seal_folder(folder)
    assert digests.folder(folder) == before
    assert not any((folder / SEAL_FILE).match(pattern) for pattern in MODEL_FILE_PATTERNS)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_sealed_folder_is_checked_whenever_its_weights_are_loaded(tiny_model, tmp_path):
    folder = tmp_path / "teacher"
    tiny_model.save_pretrained(folder)
    pairs.load_model(str(folder), revision=None, cache=tmp_path)  # somebody else's, without a seal
    seal_folder(folder)
    pairs.load_model(str(folder), revision=None, cache=tmp_path)
    flip(folder / "model.safetensors")
    with pytest.raises(DamagedError, match="model.safetensors is damaged .*; put back what it held, or name another"):
        pairs.load_model(str(folder), revision=None, cache=tmp_path)


def test_a_damaged_conversion_in_the_cache_is_made_again(tmp_path, monkeypatch, caplog):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "small.gguf").write_bytes(b"gguf")
    monkeypatch.setattr(
        gguf.importlib.util,
        "find_spec",
        lambda name: SimpleNamespace(submodule_search_locations=[str(tmp_path / "package")]),
    )
    conversions = []

    def convert(path, target):
        conversions.append(path.name)
        target.mkdir(parents=True)
        (target / "model.safetensors").write_bytes(b"converted")
        seal_folder(target)

    monkeypatch.setattr(gguf, "_convert_gguf", convert)
    for _ in range(2):
        folder = gguf._converted_gguf("package", tmp_path / "cache")
    assert conversions == ["small.gguf"]
    flip(folder / "model.safetensors")
    assert gguf._converted_gguf("package", tmp_path / "cache") == folder
    assert conversions == ["small.gguf"] * 2
    assert "model.safetensors is damaged" in caplog.text and "it is converted again" in caplog.text


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_a_digest_covers_every_byte_whatever_the_length(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(b"x" * size + b"end")
    whole = file_digest(path)
    assert file_digest(path, num_bytes=size + 3) == whole
    for place in {0, size, size + 2}:
        changed = bytearray(b"x" * size + b"end")
        changed[place] ^= 1
        path.write_bytes(changed)
        assert file_digest(path) != whole
