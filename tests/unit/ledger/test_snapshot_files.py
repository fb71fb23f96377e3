"""Snapshot files: names, a file appears whole or not at all, and what is found."""

import errno
import os
from pathlib import Path

import pytest

from dataplane.ledger.snapshot_files import SnapshotFiles, SnapshotName, parse_snapshot_name


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("snapshot_99_100.committed", (99, 100)),
        ("snapshot_99_100", None),
        ("snapshot_99_100.committed_120", None),  # CCF 1.x
        ("snapshot_099_100.committed", None),
        ("snapshot_99_100.committed.old", None),
        ("../snapshot_99_100.committed", None),
        ("ledger_1-2.committed", None),
    ],
)
def test_names(name: str, parsed: tuple[int, int] | None) -> None:
    assert parse_snapshot_name(name) == parsed
    if parsed is not None:
        assert str(SnapshotName(*parsed)) == name


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path / "new")
    path = files.write(SnapshotName(5, 7), [b"frame", b"receipt"])
    assert names(tmp_path / "new") == ["snapshot_5_7.committed"]
    assert path.read_bytes() == b"framereceipt"


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    files = SnapshotFiles(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif call == "rename":
        monkeypatch.setattr(Path, "rename", full)
    else:
        (tmp_path / "snapshot_5_7").mkdir()  # cannot be opened for writing
    with pytest.raises(OSError, match=r"."):
        files.write(SnapshotName(5, 7), [b"frame"])
    monkeypatch.undo()
    assert files.newest() is None
    assert [name for name in names(tmp_path) if (tmp_path / name).is_file()] == []


def test_it_failed_but_took_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory cannot be synced: the file is there and whole, and stays."""
    files = SnapshotFiles(tmp_path)
    real = os.fsync
    calls: list[int] = []

    def second_fails(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(OSError, match="Input/output"):
        files.write(SnapshotName(5, 7), [b"frame"])
    assert files.newest() == (5, 7)
    assert (tmp_path / "snapshot_5_7.committed").read_bytes() == b"frame"


def test_the_newest_is_found_wherever_it_is(tmp_path: Path) -> None:
    main, other = tmp_path / "main", tmp_path / "other"
    files = SnapshotFiles(main, [other])
    assert files.newest() is None
    other.mkdir()
    (other / "snapshot_20_21.committed").write_bytes(b"x")
    (main / "snapshot_9_12.committed").write_bytes(b"x")
    (main / "snapshot_100_101.committed").write_bytes(b"")
    (main / "snapshot_50_51").write_bytes(b"unfinished")
    (main / "notes.txt").write_bytes(b"x")
    assert files.newest() == (20, 21)
    assert files.newest(since=19) == (20, 21)
    assert files.newest(since=20) is None
    assert files.path_of("snapshot_20_21.committed") == other / "snapshot_20_21.committed"
    assert files.path_of("snapshot_50_51") is None
    assert files.path_of("../main/snapshot_9_12.committed") is None
    usable, empty = files.usable()
    assert [name for name, _ in usable] == [(20, 21), (9, 12)]
    assert empty == ["snapshot_100_101.committed"]
