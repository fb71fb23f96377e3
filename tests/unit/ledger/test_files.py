"""Ledger files: layout on disk, rollback, renaming at commit, start rules, and what happens when the disk fails."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dataplane.ledger import files as files_module
from dataplane.ledger.chunk import positions_table, read_layout
from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.files import LedgerFailed, LedgerFiles, SeqnoNotFound
from tests.support.frames import frame

END = EntryFlags.CHUNK_AFTER


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def filled(directory: Path, *flags: int) -> LedgerFiles:
    """A ledger with one frame per flag, appended and synced."""
    ledger = LedgerFiles(directory)
    for seqno, flag in enumerate(flags, 1):
        ledger.append(frame(seqno, flags=flag), seqno)
    ledger.sync()
    return ledger


def test_chunks_end_where_the_flags_say(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, END, 0, 0, EntryFlags.CHUNK_BEFORE, 0)
    assert names(tmp_path) == ["ledger_1", "ledger_3", "ledger_5"]
    first = (tmp_path / "ledger_1").read_bytes()
    layout = read_layout(first)
    assert layout.complete
    assert first[8 : layout.end] == frame(1) + frame(2, flags=END)
    assert first[layout.end :] == positions_table([8, 8 + len(frame(1))])
    assert read_layout((tmp_path / "ledger_3").read_bytes()).complete
    assert (tmp_path / "ledger_5").read_bytes()[:8] == bytes(8)
    ledger.close()


def test_committed_chunks_get_their_name(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, END, 0, END, 0)
    ledger.commit(3)
    assert names(tmp_path) == ["ledger_1-2.committed", "ledger_3", "ledger_5"]
    ledger.commit(4)
    assert names(tmp_path) == ["ledger_1-2.committed", "ledger_3-4.committed", "ledger_5"]
    assert ledger.chunk_with(2) == tmp_path / "ledger_1-2.committed"
    assert ledger.chunk_with(5) == tmp_path / "ledger_5"
    assert ledger.chunk_with(6) is None
    assert ledger.committed_chunks() == [tmp_path / "ledger_1-2.committed", tmp_path / "ledger_3-4.committed"]
    ledger.close()


def test_a_chunk_is_not_renamed_before_it_is_synced(tmp_path: Path) -> None:
    ledger = LedgerFiles(tmp_path)
    ledger.append(frame(1, flags=END), 1)
    ledger.commit(1)
    assert names(tmp_path) == ["ledger_1"]
    assert ledger.sync() == 1
    assert names(tmp_path) == ["ledger_1-1.committed"]
    ledger.close()


def test_reading_spans_chunks_and_pending_frames(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, END, 0)
    ledger.commit(2)
    ledger.append(frame(4), 4)
    assert ledger.read(1, 4) == [frame(1), frame(2, flags=END), frame(3), frame(4)]
    assert ledger.read(2, 3) == [frame(2, flags=END), frame(3)]
    assert ledger.read(3, 2) == []
    for first, last in ((4, 5), (0, 1), (6, 6)):
        with pytest.raises(SeqnoNotFound):
            ledger.read(first, last)
    ledger.close()


def test_reading_some_stops_at_a_size_but_not_before_the_first(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, 0, END, 0)
    ledger.commit(3)
    size = len(frame(1))
    assert ledger.read_some(1, 4, 1) == [frame(1)]
    assert ledger.read_some(1, 4, 2 * size) == [frame(1), frame(2)]
    assert ledger.read_some(2, 2, 9 * size) == [frame(2)]
    assert ledger.read_some(2, 4, 9 * size) == [frame(2), frame(3, flags=END)]  # of one chunk
    with pytest.raises(SeqnoNotFound):
        ledger.read_some(5, 5, 9 * size)
    ledger.close()


def test_rollback_reopens_a_complete_chunk(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, 0, END, 0, END, 0)
    ledger.truncate(2)
    assert names(tmp_path) == ["ledger_1"]
    assert (tmp_path / "ledger_1").read_bytes() == bytes(8) + frame(1) + frame(2)
    ledger.append(frame(3, view=3), 3)
    ledger.sync()
    assert ledger.read(1, 3) == [frame(1), frame(2), frame(3, view=3)]
    ledger.close()


def test_rollback_to_a_chunk_end_keeps_it_complete(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, END, 0)
    ledger.truncate(2)
    assert names(tmp_path) == ["ledger_1"]
    assert read_layout((tmp_path / "ledger_1").read_bytes()).complete
    ledger.append(frame(3), 3)
    ledger.close()
    assert names(tmp_path) == ["ledger_1", "ledger_3"]


def test_committed_entries_cannot_be_dropped(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, 0, 0)
    ledger.commit(2)
    with pytest.raises(ValueError, match="2 is committed"):
        ledger.truncate(1)
    assert ledger.last_seqno == 3
    ledger.close()


def test_gaps_are_refused(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, 0)
    for seqno in (2, 4):
        with pytest.raises(ValueError, match="does not follow 2"):
            ledger.append(frame(seqno), seqno)
    assert ledger.read(1, 2) == [frame(1), frame(2)]
    ledger.close()


def test_a_ledger_may_start_after_a_snapshot(tmp_path: Path) -> None:
    ledger = LedgerFiles(tmp_path)
    ledger.append(frame(40), 40)
    ledger.close()
    assert names(tmp_path) == ["ledger_40"]
    again = LedgerFiles(tmp_path)
    assert (again.last_seqno, again.read(40, 40)) == (40, [frame(40)])
    again.close()


def test_opening_goes_on_where_the_ledger_ended(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, END, 0, 0)
    ledger.commit(2)
    ledger.close()
    again = LedgerFiles(tmp_path)
    assert again.last_seqno == 4
    again.append(frame(5, flags=END), 5)
    again.sync()
    again.commit(5)
    assert names(tmp_path) == ["ledger_1-2.committed", "ledger_3-5.committed"]
    again.close()


def test_opening_drops_a_torn_frame(tmp_path: Path) -> None:
    filled(tmp_path, 0, 0).close()
    path = tmp_path / "ledger_1"
    path.write_bytes(path.read_bytes() + frame(3)[:-1])
    ledger = LedgerFiles(tmp_path)
    assert ledger.last_seqno == 2
    assert path.read_bytes() == bytes(8) + frame(1) + frame(2)
    ledger.close()


def test_opening_survives_a_header_whose_table_was_lost(tmp_path: Path) -> None:
    filled(tmp_path, 0, END).close()
    path = tmp_path / "ledger_1"
    path.write_bytes(path.read_bytes()[:-4])
    ledger = LedgerFiles(tmp_path)
    assert ledger.last_seqno == 2
    assert path.read_bytes() == bytes(8) + frame(1) + frame(2, flags=END)
    ledger.close()


def test_opening_ignores_leftovers(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, END, 0)
    ledger.commit(2)
    ledger.close()
    (tmp_path / "ledger_2").write_bytes(bytes(8) + frame(2))  # its entries are committed elsewhere
    (tmp_path / "ledger_9").write_bytes(bytes(8) + frame(9))  # nothing leads there
    (tmp_path / "ledger_4-4.committed.recovery").write_bytes(bytes(8) + frame(4))
    again = LedgerFiles(tmp_path)
    assert again.last_seqno == 3
    assert names(tmp_path) == [
        "ledger_1-2.committed",
        "ledger_2.ignored",
        "ledger_3",
        "ledger_4-4.committed.recovery.ignored",
        "ledger_9.ignored",
    ]
    again.close()


def test_read_only_directories_offer_committed_chunks(tmp_path: Path) -> None:
    old = filled(tmp_path / "old", 0, END, 0)
    old.commit(2)
    old.close()
    ledger = LedgerFiles(tmp_path / "new", read_only=[tmp_path / "old"])
    assert ledger.last_seqno == 2
    ledger.append(frame(3), 3)
    assert ledger.read(1, 3) == [frame(1), frame(2, flags=END), frame(3)]
    assert names(tmp_path / "old") == ["ledger_1-2.committed", "ledger_3"]
    ledger.close()


Fault = Callable[..., object]


def fails(call: Callable[..., object], *, after: bool) -> Fault:
    """`call` that fails with a full disk, before or after it took effect."""

    def failing(*args: object) -> object:
        if after:
            call(*args)
        raise OSError(errno.ENOSPC, "no space left on device")

    return failing


@pytest.mark.parametrize("after", [False, True], ids=["it failed", "it failed but took effect"])
@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "fsync"])
def test_a_failed_sync_stops_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    ledger = LedgerFiles(tmp_path)
    ledger.append(frame(1), 1)
    with monkeypatch.context() as patch:
        patch.setattr(files_module.os, call, fails(getattr(os, call), after=after))
        with pytest.raises(LedgerFailed):
            ledger.sync()
    for refused in (
        lambda: ledger.append(frame(2), 2),
        ledger.sync,
        lambda: ledger.truncate(0),
        lambda: ledger.commit(1),
        lambda: ledger.read(1, 1),
    ):
        with pytest.raises(LedgerFailed):
            refused()
    ledger.close()
    again = LedgerFiles(tmp_path)
    assert again.last_seqno == (0 if call == "pwrite" and not after else 1)
    again.close()


@pytest.mark.parametrize("after", [False, True], ids=["it failed", "it failed but took effect"])
def test_a_failed_rename_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    ledger = filled(tmp_path, 0, END)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fails(Path.rename, after=after))
        with pytest.raises(LedgerFailed):
            ledger.commit(2)
    ledger.close()
    again = LedgerFiles(tmp_path)
    assert again.read(1, 2) == [frame(1), frame(2, flags=END)]
    assert names(tmp_path) == ["ledger_1-2.committed" if after else "ledger_1"]
    again.close()


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(files_module.os, "pwrite", lambda fd, data, at: real(fd, data[: max(1, len(data) // 2)], at))
    ledger = filled(tmp_path, 0, END)
    assert ledger.read(1, 2) == [frame(1), frame(2, flags=END)]
    ledger.close()
    assert read_layout((tmp_path / "ledger_1").read_bytes()).complete


def test_a_first_chunk_that_a_crash_emptied_takes_the_later_ones_with_it(tmp_path: Path) -> None:
    (tmp_path / "ledger_1").write_bytes(b"")
    (tmp_path / "ledger_2").write_bytes(bytes(8) + frame(2))
    files = LedgerFiles(tmp_path)
    assert files.last_seqno == 0
    files.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger_1.ignored", "ledger_2.ignored"]


def test_a_joiner_begins_after_its_snapshot_and_sets_aside_what_lies_beyond(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 0, END, 0, END, 0, END, 0)
    ledger.commit(6)
    ledger.close()
    ledger = LedgerFiles(tmp_path)
    ledger.begin_after(4)
    assert ledger.last_seqno == 4
    assert names(tmp_path) == [
        "ledger_1-2.committed",
        "ledger_3-4.committed",
        "ledger_5",
        "ledger_7",
    ]
    with pytest.raises(ValueError, match="does not follow"):
        ledger.append(frame(6), 6)
    ledger.append(frame(5, flags=END), 5)
    assert {"ledger_5.ignored", "ledger_7.ignored"} < set(names(tmp_path))
    ledger.sync()
    ledger.commit(5)
    assert ledger.read(1, 5) == [frame(1), frame(2, flags=END), frame(3), frame(4, flags=END), frame(5, flags=END)]
    assert (tmp_path / "ledger_5-5.committed").exists()
    ledger.close()


def test_the_ledger_of_a_joiner_that_never_heard_of_its_service_is_whole(tmp_path: Path) -> None:
    """CCF issue 4557: an isolated node began with an old snapshot, and its directory is all that is left."""
    ledger = filled(tmp_path, 0, END, 0, END, 0, END, 0)
    ledger.commit(6)
    whole = ledger.read(1, 7)
    ledger.close()
    ledger = LedgerFiles(tmp_path)
    ledger.begin_after(2)
    ledger.close()
    ledger = LedgerFiles(tmp_path)
    assert ledger.last_seqno == 7
    assert ledger.read(1, 7) == whole
    ledger.close()


def test_a_joiner_without_a_snapshot_writes_its_ledger_anew(tmp_path: Path) -> None:
    """Read-only directories keep what they hold, and overlap with what is written."""
    other, own = tmp_path / "other", tmp_path / "own"
    for directory in (other, own):
        ledger = filled(directory, 0, END, 0, 0, END)
        ledger.commit(5)
        ledger.close()
    ledger = LedgerFiles(own, [other])
    ledger.begin_after(0)
    assert ledger.last_seqno == 0
    assert names(own) == ["ledger_1", "ledger_3"]
    for seqno, flags in enumerate((0, 0, END, 0), 1):
        ledger.append(frame(seqno, flags=flags), seqno)
    ledger.sync()
    ledger.commit(3)
    assert {"ledger_1.ignored", "ledger_3.ignored"} < set(names(own))
    assert names(other) == ["ledger_1-2.committed", "ledger_3-5.committed"]
    assert ledger.read(1, 5) == [frame(1), frame(2), frame(3, flags=END), frame(4), frame(5, flags=END)]
    assert ledger.first_seqno == 1
    ledger.close()


def test_a_ledger_that_begins_late_says_so(tmp_path: Path) -> None:
    ledger = LedgerFiles(tmp_path)
    assert ledger.first_seqno == 0
    ledger.begin_after(8)
    ledger.append(frame(9), 9)
    assert ledger.first_seqno == 9
    with pytest.raises(SeqnoNotFound):
        ledger.read(8, 9)
    ledger.close()


def test_a_read_only_directory_may_be_filled_later(tmp_path: Path) -> None:
    late = tmp_path / "late"
    ledger = LedgerFiles(tmp_path / "own", [late])
    ledger.begin_after(2)
    with pytest.raises(SeqnoNotFound):
        ledger.read(1, 2)
    other = filled(late, 0, END)
    other.commit(2)
    other.close()
    assert ledger.read(1, 2) == [frame(1), frame(2, flags=END)]
    ledger.close()


@pytest.mark.parametrize("content", [b"", bytes(300), b"\xff" * 8 + bytes(300), b"\x10" + bytes(30)])
def test_a_damaged_read_only_chunk_holds_nothing(tmp_path: Path, content: bytes) -> None:
    """Nor does it break the ledger: once the file is whole, it is read."""
    other = tmp_path / "other"
    other.mkdir()
    damaged = other / "ledger_1-2.committed"
    damaged.write_bytes(content)
    ledger = LedgerFiles(tmp_path / "own", [other])
    ledger.begin_after(2)
    ledger.append(frame(3), 3)
    with pytest.raises(SeqnoNotFound):
        ledger.read(1, 3)
    assert ledger.read(3, 3) == [frame(3)]
    filled(tmp_path / "whole", 0, END).close()
    damaged.write_bytes((tmp_path / "whole" / "ledger_1").read_bytes())
    assert ledger.read(1, 3) == [frame(1), frame(2, flags=END), frame(3)]
    ledger.close()
