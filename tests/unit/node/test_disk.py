"""The ledger's duties on a disk that fails: at the write, the sync, the rename; and where it failed but took effect."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.files import LedgerFailed, LedgerFiles
from dataplane.node.disk import LedgerDisk
from dataplane.node.metrics import Counters
from dataplane.replica import Duties, Frame
from tests.support.frames import frame

END = EntryFlags.CHUNK_AFTER


def duties(*seqnos: int, truncate_after: int | None = None, end: bool = False) -> Duties:
    frames = tuple(Frame(seqno, frame(seqno, flags=END if end and seqno == seqnos[-1] else 0)) for seqno in seqnos)
    return Duties(truncate_after, frames, True, (), None, (), None)


class Shell:
    """A disk and what it reported."""

    def __init__(self, directory: Path) -> None:
        self.persisted: list[int] = []
        self.lost: list[LedgerFailed] = []
        self.disk = LedgerDisk(LedgerFiles(directory), Counters(), self.persisted.append, self.lost.append)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)


class Failure:
    """Makes one call of a module fail, before or after it has done its work; counts how often it was called since."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: object, name: str, code: int, *, after: bool) -> None:
        self._real, self._code, self._after = getattr(owner, name), code, after
        self.calls = 0
        patch.setattr(owner, name, self)

    def __get__(self, instance: object, owner: type) -> Callable[..., object]:
        return lambda *args: self(instance, *args)

    def __call__(self, *args: object) -> object:
        self.calls += 1
        if self._after:
            self._real(*args)
        raise OSError(self._code, os.strerror(self._code))


AFTER = pytest.mark.parametrize("after", [False, True], ids=["it failed", "it failed but took effect"])
CODES = pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])


@AFTER
@CODES
@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_failed_write_or_sync_reports_nothing_and_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, after: bool
) -> None:
    async def play() -> Shell:
        shell = Shell(tmp_path)
        assert shell.disk.write(duties(1, 2))
        await shell.until(lambda: shell.persisted == [2])
        with monkeypatch.context() as patch:
            failure = Failure(patch, os, call, code, after=after)
            assert shell.disk.write(duties(3, 4))
            await shell.until(lambda: shell.lost)
            calls = failure.calls
            assert not shell.disk.write(duties(5))
            assert not shell.disk.commit(2)
            assert failure.calls == calls, "the disk is left alone"
        assert not shell.disk.write(duties(5)), "also when it would work again"
        await shell.disk.close()
        return shell

    shell = asyncio.run(play())
    assert shell.persisted == [2]
    assert len(shell.lost) == 1
    assert os.strerror(code) in str(shell.lost[0])
    assert reopened(tmp_path) == [frame(1), frame(2), *([frame(3), frame(4)] if after or call == "fdatasync" else [])]


@AFTER
@CODES
@pytest.mark.parametrize("step", ["rename", "open", "truncate"])
def test_a_failed_rename_chunk_or_truncation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, after: bool
) -> None:
    async def play() -> Shell:
        shell = Shell(tmp_path)
        assert shell.disk.write(duties(1, 2, end=True))
        await shell.until(lambda: shell.persisted == [2])
        with monkeypatch.context() as patch:
            if step == "rename":
                Failure(patch, Path, "rename", code, after=after)
                assert not shell.disk.commit(2)
            elif step == "open":
                Failure(patch, os, "open", code, after=after)
                assert not shell.disk.write(duties(3))
            else:
                Failure(patch, os, "ftruncate", code, after=after)
                assert not shell.disk.write(duties(truncate_after=1))
        await shell.disk.close()
        return shell

    shell = asyncio.run(play())
    assert (shell.persisted, len(shell.lost)) == ([2], 1)
    kept = reopened(tmp_path)
    cut_short = step == "truncate" and after
    assert kept == ([frame(1)] if cut_short else [frame(1), frame(2, flags=END)])


def test_a_sync_that_ends_after_the_failure_reports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> Shell:
        shell = Shell(tmp_path)
        held = asyncio.Event()
        real = shell.disk._files.sync
        loop = asyncio.get_running_loop()

        def slow() -> int:
            asyncio.run_coroutine_threadsafe(held.wait(), loop).result(5)
            return real()

        monkeypatch.setattr(shell.disk._files, "sync", slow)
        assert shell.disk.write(duties(1))
        shell.disk.fail(LedgerFailed("a read failed meanwhile"))
        held.set()
        await shell.disk.close()
        await asyncio.sleep(0.01)
        return shell

    shell = asyncio.run(play())
    assert (shell.persisted, [str(error) for error in shell.lost]) == ([], ["a read failed meanwhile"])


@AFTER
def test_a_flush_at_the_end_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    async def play() -> None:
        shell = Shell(tmp_path)
        unsynced = Duties(None, (Frame(1, frame(1)),), False, (), None, (), None)
        assert shell.disk.write(unsynced)
        with monkeypatch.context() as patch:
            Failure(patch, os, "fdatasync", errno.EIO, after=after)
            with pytest.raises(LedgerFailed):
                await shell.disk.close()

    asyncio.run(play())
    assert reopened(tmp_path) == [frame(1)]


def reopened(directory: Path) -> list[bytes]:
    """The frames a node that starts on the directory finds."""
    again = LedgerFiles(directory)
    try:
        return again.read(1, again.last_seqno) if again.last_seqno else []
    finally:
        again.close()
