"""Committed entries read back from wherever they lie, also from files that appear, vanish or are damaged meanwhile."""

import shutil
from pathlib import Path

import pytest

from dataplane.ledger.archive import EntriesUnreadable, LedgerArchive
from dataplane.ledger.chunk import parse_name
from dataplane.ledger.files import LedgerFiles
from tests.support.service_ledger import ServiceLedger, filled_ledger


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    return filled_ledger(60, chunk_size=6_000)


def frames(ledger: ServiceLedger, first: int, last: int) -> list[bytes]:
    return [entry.frame for entry in ledger.entries[first - 1 : last]]


def committed(directory: Path) -> list[Path]:
    """Chunks in order."""
    return sorted(directory.glob("*.committed"), key=lambda path: parse_name(path.name))  # type: ignore[arg-type, return-value]


@pytest.fixture
def whole(ledger: ServiceLedger, tmp_path: Path) -> Path:
    return ledger.write_to(tmp_path / "whole")


@pytest.fixture
def files(tmp_path: Path) -> LedgerFiles:
    """A node that holds nothing itself."""
    return LedgerFiles(tmp_path / "main")


def test_everything_from_the_node_that_wrote_it(ledger: ServiceLedger, whole: Path) -> None:
    archive = LedgerArchive(LedgerFiles(whole), [whole])
    last = len(ledger.entries)
    assert len(committed(whole)) > 3
    assert archive.read(1, last) == frames(ledger, 1, last)
    for first in range(1, last, 7):
        assert archive.read(first, first) == frames(ledger, first, first)
        assert archive.read(first, min(first + 20, last)) == frames(ledger, first, min(first + 20, last))
    assert list(archive.read_on(5, 40)) == frames(ledger, 5, 40)


def test_chunks_of_a_recovery_that_was_given_up_are_not_read(whole: Path, files: LedgerFiles) -> None:
    """They lie in read-only directories and hold other entries than this service under the same seqnos."""
    chunk = committed(whole)[1]
    name = parse_name(chunk.name)
    assert name is not None
    chunk.rename(chunk.with_name(f"{chunk.name}.recovery"))
    with pytest.raises(EntriesUnreadable, match="Cannot find"):
        LedgerArchive(files, [whole.with_name("main"), whole]).read(name.first, name.first)


def test_what_is_not_written_yet_is_there_too(ledger: ServiceLedger, tmp_path: Path) -> None:
    files = LedgerFiles(tmp_path)
    archive = LedgerArchive(files, [tmp_path])
    for seqno, frame in enumerate(frames(ledger, 1, 40), 1):
        files.append(frame, seqno)
    assert archive.read(1, 40) == frames(ledger, 1, 40)
    files.sync()
    files.commit(40)
    assert archive.read(1, 40) == frames(ledger, 1, 40)


def test_a_closed_ledger(ledger: ServiceLedger, whole: Path) -> None:
    files = LedgerFiles(whole)
    files.close()
    with pytest.raises(EntriesUnreadable, match="closed"):
        LedgerArchive(files, [whole]).read(1, 1)


def test_chunks_may_appear_later(ledger: ServiceLedger, whole: Path, files: LedgerFiles, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    archive = LedgerArchive(files, [tmp_path / "main", mounted])
    with pytest.raises(EntriesUnreadable, match="Cannot find ledger file for seqno 3"):
        archive.read(3, 3)
    mounted.mkdir()
    with pytest.raises(EntriesUnreadable):
        archive.read(3, 3)
    shutil.copytree(whole, mounted, dirs_exist_ok=True)
    assert archive.read(3, 3) == frames(ledger, 3, 3)


def test_chunks_may_move(ledger: ServiceLedger, whole: Path, files: LedgerFiles, tmp_path: Path) -> None:
    """As the suffix of a recovery goes when the service opens."""
    chunk = committed(whole)[0]
    moved = chunk.rename(chunk.with_name(f"{chunk.name}.recovery"))
    archive = LedgerArchive(files, [whole])
    assert archive.read(3, 3) == frames(ledger, 3, 3)
    moved.rename(chunk)
    assert archive.read(3, 3) == frames(ledger, 3, 3)


def test_a_good_copy_stands_in_for_a_bad_one(
    ledger: ServiceLedger, whole: Path, files: LedgerFiles, tmp_path: Path
) -> None:
    bad = shutil.copytree(whole, tmp_path / "bad")
    for chunk in committed(bad):
        chunk.write_bytes(b"")
    assert LedgerArchive(files, [bad, whole]).read(1, 30) == frames(ledger, 1, 30)


def test_damaged_files_say_what_is_wrong(ledger: ServiceLedger, whole: Path, files: LedgerFiles) -> None:
    chunk = committed(whole)[1]
    name = parse_name(chunk.name)
    assert name is not None
    good = chunk.read_bytes()
    table = int.from_bytes(good[:8], "little")
    archive = LedgerArchive(files, [whole])
    for content, reason in (
        (b"", "Failed to read positions offset from ledger file"),
        (bytes(len(good)), r"cannot be read: invalid table offset \(0\)"),
        ((len(good) + 1).to_bytes(8, "little") + good[8:], "greater than total file size"),
        (good[:-4], "does not hold as many"),
        (good + bytes(4), "does not hold as many"),
        (good[:table] + good[table + 4 : table + 8] + good[table : table + 4] + good[table + 8 :], "out of order"),
        (good[:table] + bytes(4) + good[table + 4 :], "out of order"),
    ):
        chunk.write_bytes(content)
        with pytest.raises(EntriesUnreadable, match=reason):
            archive.read(name.first, name.first)
    chunk.write_bytes(good)
    assert archive.read(name.first, name.last or 0) == frames(ledger, name.first, name.last or 0)


def test_a_file_that_may_not_be_opened(ledger: ServiceLedger, whole: Path, files: LedgerFiles) -> None:
    chunk = committed(whole)[0]
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(EntriesUnreadable, match="cannot be read"):
        LedgerArchive(files, [whole]).read(1, 1)
    chunk.rmdir()
    chunk.symlink_to(whole / "nowhere")
    with pytest.raises(EntriesUnreadable, match="Could not open ledger file"):
        LedgerArchive(files, [whole]).read(1, 1)


def test_reading_old_files_never_stops_the_node(ledger: ServiceLedger, whole: Path) -> None:
    """An error of the writer's own files does; those that others may touch are read beside it."""
    files = LedgerFiles(whole)
    committed(whole)[0].unlink()
    with pytest.raises(EntriesUnreadable):
        LedgerArchive(files, [whole]).read(1, 1)
    assert files.sync() == len(ledger.entries)
