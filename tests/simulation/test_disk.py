"""The simulated disk: what a crash loses, and what a sync vouches for after a truncation."""

from tests.simulation.disk import MemoryDisk


def written(count: int) -> MemoryDisk:
    disk = MemoryDisk()
    for seqno in range(1, count + 1):
        disk.write(seqno, b"frame %d" % seqno)
    return disk


def test_a_crash_loses_what_is_not_synced() -> None:
    disk = written(2)
    disk.begin_sync()
    disk.end_sync()
    disk.write(3, b"frame 3")
    disk.crash()
    assert disk.frames == [b"frame 1", b"frame 2"]


def test_a_sync_covers_what_was_written_when_it_began() -> None:
    disk = written(2)
    assert disk.begin_sync()
    disk.write(3, b"frame 3")
    assert disk.end_sync() == (2, False)


def test_a_sync_overtaken_by_a_truncation_vouches_for_no_more_than_remains() -> None:
    disk = written(4)
    disk.begin_sync()
    disk.truncate(1)
    for seqno in (2, 3, 4):
        disk.write(seqno, b"another")
    assert disk.end_sync() == (1, False)


def test_requests_during_a_sync_become_one_more() -> None:
    disk = written(1)
    assert disk.begin_sync()
    disk.write(2, b"frame 2")
    assert not disk.begin_sync()
    assert disk.end_sync() == (1, True)
    assert disk.begin_sync()
    assert disk.end_sync() == (2, False)
