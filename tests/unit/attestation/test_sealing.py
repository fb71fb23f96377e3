"""Sealed ledger secrets: only the same platform opens them, under their version, and nobody else reads the files."""

import json
import os
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from dataplane.attestation.sealing import SIMULATED_KEY_FILE, SealingFailed, seal_secret, unseal_secret

FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))


def test_a_sealed_secret_comes_back_and_others_are_absent(tmp_path: Path) -> None:
    directory = tmp_path / "sealed"
    seal_secret(directory, 1, FIRST)
    seal_secret(directory, 77, SECOND)
    assert unseal_secret(directory, 1) == FIRST
    assert unseal_secret(directory, 77) == SECOND
    assert unseal_secret(directory, 76) is None
    assert unseal_secret(tmp_path / "nowhere", 1) is None


def test_sealing_again_replaces_whole(tmp_path: Path) -> None:
    seal_secret(tmp_path, 5, FIRST)
    seal_secret(tmp_path, 5, SECOND)
    assert unseal_secret(tmp_path, 5) == SECOND
    assert sorted(os.listdir(tmp_path)) == ["5.sealed.json", SIMULATED_KEY_FILE]


def test_the_file_has_the_form_of_the_original_and_shows_no_secret(tmp_path: Path) -> None:
    seal_secret(tmp_path, 5, FIRST)
    sealed = json.loads((tmp_path / "5.sealed.json").read_text())
    assert set(sealed) == {"aad_text", "ciphertext"}
    assert json.loads(sealed["aad_text"]) == {"tcb_version": "0" * 16, "version": 5}
    blob = b64decode(sealed["ciphertext"])
    assert FIRST not in blob
    assert b64encode(FIRST) not in blob


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    directory = tmp_path / "sealed"
    seal_secret(directory, 5, FIRST)
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700


def test_another_platform_and_changed_files_open_nothing(tmp_path: Path) -> None:
    seal_secret(tmp_path, 5, FIRST)
    path = tmp_path / "5.sealed.json"
    good = path.read_text()
    sealed = json.loads(good)
    later = sealed["aad_text"].replace('"version":5', '"version":6')
    (tmp_path / "6.sealed.json").write_text(json.dumps(sealed | {"aad_text": later}))
    with pytest.raises(SealingFailed, match="tag"):
        unseal_secret(tmp_path, 6)
    (tmp_path / "7.sealed.json").write_text(good)
    with pytest.raises(SealingFailed, match="another version"):
        unseal_secret(tmp_path, 7)
    for bad in (
        "",
        "{}",
        "[]",
        good[:-20],
        json.dumps(sealed | {"ciphertext": "AAAA"}),
        json.dumps(sealed | {"aad_text": 1}),
    ):
        path.write_text(bad)
        with pytest.raises(SealingFailed):
            unseal_secret(tmp_path, 5)
    path.write_text(good)
    key = tmp_path / SIMULATED_KEY_FILE
    for other in (bytes(32), b"short"):
        key.write_bytes(other)
        with pytest.raises(SealingFailed):
            unseal_secret(tmp_path, 5)
    key.unlink()
    with pytest.raises(SealingFailed):
        unseal_secret(tmp_path, 5)
    assert not key.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SealingFailed, match="cannot be sealed"):
        seal_secret(tmp_path / "file", 1, FIRST)
