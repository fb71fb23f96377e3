"""The files of a recovery: cut at the last signature, marked until the service is open, given up without a trace."""

from pathlib import Path

import pytest

from dataplane.ledger.chunk import read_layout
from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.files import LedgerFiles, SeqnoNotFound
from tests.support.frames import frame
from tests.unit.ledger.test_files import END, filled, names

BEGIN = EntryFlags.CHUNK_BEFORE


def committed(directory: Path) -> None:
    """`ledger_1-3.committed`, `ledger_4-6.committed`, `ledger_7`."""
    ledger = filled(directory, 0, 0, END, 0, 0, END, 0, 0)
    ledger.commit(6)
    ledger.close()


def recovered(directory: Path, seqno: int, read_only: tuple[Path, ...] = ()) -> LedgerFiles:
    ledger = LedgerFiles(directory, read_only)
    ledger.recover_until(seqno)
    return ledger


@pytest.mark.parametrize("seqno", [1, 2, 3, 4, 5, 6, 7, 8])
def test_the_ledger_ends_where_it_is_told_and_goes_on_in_a_marked_chunk(tmp_path: Path, seqno: int) -> None:
    committed(tmp_path)
    ledger = recovered(tmp_path, seqno)
    assert ledger.last_seqno == seqno
    assert ledger.read(1, seqno) == LedgerFiles(tmp_path).read(1, seqno)
    with pytest.raises(SeqnoNotFound):
        ledger.read(seqno + 1, seqno + 1)
    for offset, flag in enumerate((BEGIN, END, 0), 1):
        ledger.append(frame(seqno + offset, view=4, flags=flag), seqno + offset)
    ledger.sync()
    ledger.commit(seqno + 2)
    assert {f"ledger_{seqno + 1}-{seqno + 2}.committed.recovery", f"ledger_{seqno + 3}.recovery"} <= set(
        names(tmp_path)
    )
    assert ledger.read(seqno + 1, seqno + 1) == [frame(seqno + 1, view=4, flags=BEGIN)]
    ledger.complete_recovery()
    assert not [name for name in names(tmp_path) if name.endswith(".recovery")]
    assert ledger.read(1, seqno + 3)[-1] == frame(seqno + 3, view=4)
    ledger.append(frame(seqno + 4, flags=END), seqno + 4)
    ledger.sync()
    ledger.commit(seqno + 4)
    assert f"ledger_{seqno + 3}-{seqno + 4}.committed" in names(tmp_path)
    ledger.close()
    again = LedgerFiles(tmp_path)
    assert again.last_seqno == seqno + 4
    again.close()


def test_what_follows_the_cut_is_set_aside_not_destroyed(tmp_path: Path) -> None:
    committed(tmp_path)
    recovered(tmp_path, 2).close()
    assert names(tmp_path) == [
        "ledger_1",
        "ledger_1-3.committed.ignored",
        "ledger_4-6.committed.ignored",
        "ledger_7.ignored",
    ]
    layout = read_layout((tmp_path / "ledger_1").read_bytes())
    assert (len(layout.positions), layout.complete) == (2, False)


def test_read_only_directories_stay_as_they_are(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    committed(old)
    before = names(old)
    ledger = recovered(new, 5, (old,))
    assert names(old) == before
    assert ledger.read(1, 5) == LedgerFiles(old).read(1, 5)
    assert names(new) == ["ledger_4"]
    ledger.append(frame(6, view=4, flags=BEGIN), 6)
    assert ledger.read(6, 6) == [frame(6, view=4, flags=BEGIN)]
    ledger.close()


def test_a_recovery_that_was_given_up_leaves_the_ledger_to_the_next_one(tmp_path: Path) -> None:
    committed(tmp_path)
    ledger = recovered(tmp_path, 8)
    for seqno, flag in ((9, BEGIN), (10, END), (11, 0)):
        ledger.append(frame(seqno, view=4, flags=flag), seqno)
    ledger.sync()
    ledger.commit(10)
    ledger.close()
    again = LedgerFiles(tmp_path)
    assert again.last_seqno == 8
    assert {"ledger_9-10.committed.recovery.ignored", "ledger_11.recovery.ignored"} <= set(names(tmp_path))
    again.close()


def test_a_recovery_from_a_snapshot_alone_begins_after_it(tmp_path: Path) -> None:
    ledger = recovered(tmp_path, 40)
    ledger.append(frame(41, flags=BEGIN), 41)
    assert (ledger.last_seqno, names(tmp_path)) == (41, ["ledger_41.recovery"])
    ledger.close()


def test_a_joiner_marks_only_what_the_recovered_service_wrote(tmp_path: Path) -> None:
    ledger = LedgerFiles(tmp_path)
    ledger.mark_recovery(3)
    for seqno, flag in ((1, 0), (2, END), (3, 0), (4, BEGIN)):
        ledger.append(frame(seqno, flags=flag), seqno)
    ledger.sync()
    ledger.commit(3)
    assert names(tmp_path) == ["ledger_1-2.committed", "ledger_3-3.committed", "ledger_4.recovery"]
    ledger.close()
