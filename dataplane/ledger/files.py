"""The ledger on disk: append, sync, truncate, commit, read (ledger-format.md 1).

Frames gather in memory and go to the open chunk when a sync, a read or the end of the chunk asks for it: entries need
to be on disk only at signatures, and one write per batch costs a tenth of one per frame. `sync` may run in another
thread while frames are appended; everything else is called by the one owner.

Two severities only. A request that cannot be met (a range that is not there, a rollback below commit) raises and
changes nothing. A failed system call leaves the files in an unknown state: every later call raises `LedgerFailed`, and
only opening the directory anew, which keeps whole frames and drops torn ones, tells what is there.

Over 400 lines, as every method shares the locks and the list of chunks.
"""

import os
from array import array
from bisect import bisect_right, insort
from collections.abc import Sequence
from pathlib import Path
from struct import error as StructError
from threading import Lock
from types import TracebackType

from dataplane.durable import sync_directory
from dataplane.ledger.chunk import (
    CHUNK_HEADER_SIZE,
    MAX_CHUNK_SIZE,
    RECOVERY_SUFFIX,
    ChunkLayout,
    ChunkName,
    MalformedChunk,
    chunk_header,
    parse_name,
    positions_table,
    read_layout,
    scan_frames,
    table_layout,
    table_offset,
)
from dataplane.ledger.cut import cut_committed, set_aside, write_at
from dataplane.ledger.entry import EntryFlags

_CHUNK_AFTER = int(EntryFlags.CHUNK_AFTER)  # plain integers: flag arithmetic on enums costs a microsecond per frame
_CHUNK_BEFORE = int(EntryFlags.CHUNK_BEFORE)
_BUFFER_SIZE = 256 * 1024
_CACHED_LAYOUTS = 16
_UNBOUNDED = 1 << 62


class LedgerFailed(OSError):
    """A system call on the ledger failed; what is on disk is unknown until the directory is opened again."""


class SeqnoNotFound(LookupError):
    """The ledger does not hold the entries asked for."""


class LedgerFiles:
    """The chunks of one node. `last_seqno` is the newest entry appended, 0 in an empty ledger."""

    def __init__(self, directory: Path, read_only: Sequence[Path] = ()) -> None:
        """Open `directory`, made if need be, as a node does on start; of `read_only` only committed chunks count.

        Files a recovery left, and uncommitted ones that cannot be used, get the suffix `.ignored`; an open chunk
        loses what follows its last whole frame.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._read_only = tuple(read_only)
        self._lock = Lock()  # guards all fields
        self._sync_lock = Lock()  # held while descriptors are in use by a sync; taken before `_lock`
        self._guard = _Guard(directory, self._lock)
        self._pending: list[bytes] = []  # frames of the open chunk that are not written yet
        self._pending_size = 0
        self._names_changed = False
        self._recovery_after: int | None = None
        self._superseded: list[Path] = []  # files of entries that the service sends again
        self._layouts: dict[Path, ChunkLayout] = {}
        self._paths = _committed_chunks([*read_only, directory])
        self._names = sorted(self._paths)  # of committed chunks
        self.last_seqno = self._commit = max((name.last or 0 for name in self._names), default=0)
        self._chunks = _adopt_uncommitted(directory, self.last_seqno)
        if self._chunks:
            self.last_seqno = self._chunks[-1].last

    @property
    def first_seqno(self) -> int:
        """The oldest entry that can be read, 0 in an empty ledger."""
        with self._guard:
            firsts = [*(name.first for name in self._names[:1]), *(chunk.first for chunk in self._chunks[:1])]
            return min(firsts, default=0)

    def begin_after(self, seqno: int) -> None:
        """Begin writing at `seqno` + 1 with a new chunk, as a node that joins with the files of another one.

        The service sends those entries again (ledger-format.md 1.1), so what the directory holds of them counts as
        uncommitted, and with every uncommitted file gets the suffix `.ignored` once the first entry is appended: the
        directory of a node that never hears of one can still be recovered. Nothing may have been appended yet.
        """
        with self._sync_lock, self._guard:
            for chunk in self._chunks:
                os.close(chunk.fd)
                self._superseded.append(chunk.path)
            self._chunks = []
            for name in [name for name in self._names if name.first > seqno]:
                if self._paths[name].parent == self._directory:
                    self._superseded.append(_as_uncommitted(self._paths[name], name.first))
            self._paths = _committed_chunks([*self._read_only, self._directory])
            self._names = sorted(self._paths)
            self.last_seqno = self._commit = seqno
            self._names_changed = True

    def recover_until(self, seqno: int) -> None:
        """The old service's ledger ends at `seqno`: set aside what follows, in committed chunks too.

        New chunks are marked `.recovery` until `complete_recovery`, so that a recovery that is given up leaves the
        ledger as it was (ledger-format.md 1.1). `seqno` is the last one where the ledger does not reach that far: a
        recovery from a snapshot alone.
        """
        with self._sync_lock, self._guard:
            self._write_pending()
            self._set_aside_superseded()
            for chunk in self._chunks:
                os.close(chunk.fd)
            cut_committed(self._directory, self._paths, seqno)
            found = _committed_chunks([*self._read_only, self._directory])
            self._paths = {name: path for name, path in found.items() if (name.last or 0) <= seqno}
            self._names = sorted(self._paths)
            self.last_seqno = max((name.last or 0 for name in self._names), default=0)
            self._chunks = _adopt_uncommitted(self._directory, self.last_seqno)
            if self._chunks:
                self.last_seqno = self._chunks[-1].last
            self._commit = 0
            self._names_changed = True
        self.truncate(seqno)
        with self._guard:
            self.last_seqno = self._commit = seqno
        self.mark_recovery(seqno)

    def mark_recovery(self, after: int) -> None:
        """Give chunks that begin after seqno `after` the suffix `.recovery` until the recovery is complete."""
        with self._guard:
            self._recovery_after = after

    def complete_recovery(self) -> None:
        """The recovered service is open: its chunks lose the suffix."""
        with self._sync_lock, self._guard:
            for name, path in self._paths.items():
                self._paths[name] = _without_recovery_suffix(path)
            for chunk in self._chunks:
                chunk.path = _without_recovery_suffix(chunk.path)
            self._recovery_after = None
            self._names_changed = True

    def append(self, frame: bytes, seqno: int) -> None:
        """Add the next frame. Its flags alone decide where chunks end (ledger-format.md 1.3)."""
        with self._guard:
            if self.last_seqno and seqno != self.last_seqno + 1:
                raise ValueError(f"seqno {seqno} does not follow {self.last_seqno}")
            flags = frame[1]
            if flags & _CHUNK_BEFORE:
                self._complete_open_chunk()
            chunk = self._open_chunk(seqno)
            if chunk.end + len(frame) > MAX_CHUNK_SIZE:
                raise ValueError(f"seqno {seqno} does not fit into the chunk {chunk.path.name}")
            chunk.positions.append(chunk.end)
            chunk.end += len(frame)
            self._pending.append(frame)
            self._pending_size += len(frame)
            self.last_seqno = seqno
            if flags & _CHUNK_AFTER:
                self._complete_open_chunk()
            elif self._pending_size >= _BUFFER_SIZE:
                self._write_pending()

    def sync(self) -> int:
        """Bring everything appended so far to the disk (fdatasync); the last seqno that now is there."""
        with self._sync_lock:
            with self._guard:
                self._write_pending()
                synced = self.last_seqno
                dirty = [chunk for chunk in self._chunks if chunk.dirty]
                names_changed, self._names_changed = self._names_changed, False
                for chunk in dirty:
                    chunk.dirty = False
                    chunk.syncing = True
            self._sync_outside_lock([chunk.fd for chunk in dirty], names_changed)
            with self._guard:
                for chunk in dirty:
                    chunk.syncing = False
                self._rename_committed()
        return synced

    def truncate(self, seqno: int) -> None:
        """Drop every entry after `seqno`; raises `ValueError` below commit."""
        with self._sync_lock, self._guard:
            if seqno < self._commit:
                raise ValueError(f"cannot go back to {seqno}: {self._commit} is committed")
            self._write_pending()
            # newest first, so that a crash in between leaves a ledger without a gap
            while self._chunks and self._chunks[-1].first > seqno:
                chunk = self._chunks.pop()
                os.close(chunk.fd)
                chunk.path.unlink()
                self._names_changed = True
            if self._chunks and self._chunks[-1].last > seqno:
                self._chunks[-1].cut(seqno)
            self.last_seqno = min(self.last_seqno, seqno)

    def commit(self, seqno: int) -> None:
        """Everything up to `seqno` is committed: complete chunks below get their final name once they are synced."""
        with self._guard:
            self._commit = max(self._commit, min(seqno, self.last_seqno))
            self._rename_committed()

    def read(self, first: int, last: int) -> list[bytes]:
        """The frames `first`..`last`; raises `SeqnoNotFound` when one is missing."""
        frames: list[bytes] = []
        with self._guard:
            while (at := first + len(frames)) <= last:
                frames += self._read_from_one_chunk(at, last)
        return frames

    def read_some(self, first: int, last: int, most_bytes: int) -> list[bytes]:
        """Frames from `first` on, at most to `last` and of `most_bytes` together, but at least one.

        Raises `SeqnoNotFound` when the first is missing.
        """
        with self._guard:
            return self._read_from_one_chunk(first, last, most_bytes)

    def read_uncommitted(self, first: int, last: int) -> list[bytes]:
        """The frames from `first` on, at most to `last`, that one uncommitted chunk holds; none where none does."""
        with self._guard:
            if self._uncommitted_with(first) is None:
                return []
            return self._read_from_one_chunk(first, last)

    def chunk_with(self, seqno: int) -> Path | None:
        """The file that holds `seqno`, None where no file does."""
        with self._guard:
            chunk = self._uncommitted_with(seqno)
            if chunk is not None:
                self._write_pending()
                return chunk.path
            found = self._committed_with(seqno)
            return None if found is None else found[1]

    def committed_chunk_with(self, seqno: int) -> Path | None:
        """The committed file that holds `seqno`."""
        with self._guard:
            found = self._committed_with(seqno)
            return None if found is None else found[1]

    def newest_gap(self, seqno: int) -> int:
        """The newest entry up to `seqno` that no committed file holds, 0 where none is missing."""
        with self._guard:
            while seqno and (found := self._committed_with(seqno)) is not None:
                seqno = found[0].first - 1
            return seqno

    def committed_chunk(self, name: ChunkName) -> Path | None:
        """The committed file of this name."""
        with self._guard:
            return self._paths.get(name)

    def committed_chunks(self) -> list[Path]:
        """The committed files, in order of seqno."""
        with self._guard:
            return [self._paths[name] for name in self._names]

    def close(self) -> None:
        """Write what is pending, sync and close. A ledger that failed is closed as it is."""
        try:
            if self._guard.failure is None:
                self.sync()
        finally:
            with self._sync_lock, self._lock:
                for chunk in self._chunks:
                    os.close(chunk.fd)
                self._chunks = []
                self._guard.failure = self._guard.failure or OSError("the ledger is closed")

    def _open_chunk(self, seqno: int) -> "_Chunk":
        if not self._chunks or self._chunks[-1].complete:
            recovery = self._recovery_after is not None and seqno > self._recovery_after
            path = self._directory / str(ChunkName(seqno, recovery=recovery))
            self._set_aside_superseded()
            self._chunks.append(_Chunk.create(path, seqno))
            self._names_changed = True
        return self._chunks[-1]

    def _set_aside_superseded(self) -> None:
        for path in self._superseded:
            set_aside(path)
        self._superseded = []

    def _complete_open_chunk(self) -> None:
        if self._chunks and not self._chunks[-1].complete:
            self._write_pending()
            self._chunks[-1].finish()

    def _write_pending(self) -> None:
        if self._pending:
            chunk = self._chunks[-1]
            write_at(chunk.fd, b"".join(self._pending), chunk.end - self._pending_size)
            chunk.dirty = True
            self._pending.clear()
            self._pending_size = 0

    def _sync_outside_lock(self, fds: Sequence[int], names_changed: bool) -> None:
        """Appends go on meanwhile. Data first: a name must not survive a crash that its content does not."""
        try:
            for fd in fds:
                os.fdatasync(fd)
            if names_changed:
                sync_directory(self._directory)
        except OSError as error:
            raise self._guard.failed(error) from error

    def _rename_committed(self) -> None:
        while self._chunks:
            chunk = self._chunks[0]
            if not chunk.complete or chunk.last > self._commit or chunk.dirty or chunk.syncing:
                return
            name = ChunkName(chunk.first, chunk.last)
            recovery = chunk.path.name.endswith(RECOVERY_SUFFIX)
            target = self._directory / str(ChunkName(chunk.first, chunk.last, recovery))
            chunk.path.rename(target)
            os.close(chunk.fd)
            del self._chunks[0]
            if name not in self._paths:  # a read-only directory may hold the same
                insort(self._names, name)
            self._paths[name] = target
            self._names_changed = True

    def _read_from_one_chunk(self, first: int, last: int, most_bytes: int = _UNBOUNDED) -> list[bytes]:
        chunk = self._uncommitted_with(first)
        if chunk is not None:
            self._write_pending()
            return _read_frames(chunk.fd, chunk.layout(), first - chunk.first, last - chunk.first, most_bytes)
        found = self._committed_with(first)
        if found is None:
            raise SeqnoNotFound(f"the ledger does not hold seqno {first}")
        name, path = found
        fd = os.open(path, os.O_RDONLY)
        try:
            return _read_frames(fd, self._layout_of(path, fd), first - name.first, last - name.first, most_bytes)
        except (MalformedChunk, StructError, IndexError) as error:
            self._layouts.pop(path, None)  # a file that is being copied may be whole the next time
            raise SeqnoNotFound(f"{path} does not hold seqno {first}: {error}") from error
        finally:
            os.close(fd)

    def _layout_of(self, path: Path, fd: int) -> ChunkLayout:
        layout = self._layouts.get(path)
        if layout is None:
            if len(self._layouts) >= _CACHED_LAYOUTS:
                del self._layouts[next(iter(self._layouts))]
            end = table_offset(os.pread(fd, CHUNK_HEADER_SIZE, 0))
            if not CHUNK_HEADER_SIZE <= end <= os.fstat(fd).st_size:
                raise MalformedChunk(f"its positions table at {end} is outside of the file")
            layout = self._layouts[path] = table_layout(os.pread(fd, MAX_CHUNK_SIZE, end), end)
        return layout

    def _uncommitted_with(self, seqno: int) -> "_Chunk | None":
        return next((chunk for chunk in self._chunks if chunk.first <= seqno <= chunk.last), None)

    def _committed_with(self, seqno: int) -> tuple[ChunkName, Path] | None:
        found = self._listed_with(seqno)
        if found is None:  # directories may have been filled, or mounted, since
            for name, path in _committed_chunks([*self._read_only, self._directory]).items():
                self._paths.setdefault(name, path)
            self._names = sorted(self._paths)
            found = self._listed_with(seqno)
        return found

    def _listed_with(self, seqno: int) -> tuple[ChunkName, Path] | None:
        index = bisect_right(self._names, seqno, key=lambda name: name.first) - 1
        while index >= 0 and (self._names[index].last or 0) < seqno:
            index -= 1  # directories may hold chunks that overlap
        return None if index < 0 else (self._names[index], self._paths[self._names[index]])


class _Guard:
    """Takes the lock; refuses to go on after a failed system call, and remembers the first one that fails."""

    def __init__(self, directory: Path, lock: Lock) -> None:
        self.failure: OSError | None = None
        self._directory = directory
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire()
        if self.failure is not None:
            self._lock.release()
            raise LedgerFailed(f"the ledger in {self._directory} failed before: {self.failure}") from self.failure

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()
        if isinstance(error, OSError):
            raise self.failed(error) from error

    def failed(self, error: OSError) -> LedgerFailed:
        self.failure = self.failure or error
        return LedgerFailed(f"the ledger in {self._directory} failed: {error}")


class _Chunk:
    """A chunk that is not committed: an open descriptor, and where its frames lie, pending ones included."""

    __slots__ = ("complete", "dirty", "end", "fd", "first", "path", "positions", "syncing")

    def __init__(self, path: Path, fd: int, first: int, layout: ChunkLayout) -> None:
        self.path = path
        self.fd = fd
        self.first = first
        self.positions = array("I", layout.positions)
        self.end = layout.end
        self.complete = layout.complete
        self.dirty = True  # written to since the last sync; a file found on start may be as well
        self.syncing = False

    @classmethod
    def create(cls, path: Path, first: int) -> "_Chunk":
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        write_at(fd, chunk_header(), 0)
        return cls(path, fd, first, ChunkLayout((), CHUNK_HEADER_SIZE, complete=False))

    @property
    def last(self) -> int:
        return self.first + len(self.positions) - 1

    def layout(self) -> ChunkLayout:
        return ChunkLayout(self.positions, self.end, self.complete)

    def finish(self) -> None:
        """The table goes before the header that points to it; both are on disk only after a sync."""
        write_at(self.fd, positions_table(self.positions), self.end)
        write_at(self.fd, chunk_header(self.end), 0)
        self.complete = True
        self.dirty = True

    def cut(self, seqno: int) -> None:
        """Drop the frames after `seqno`; the header first, so that no header points behind the end."""
        write_at(self.fd, chunk_header(), 0)
        keep = seqno - self.first + 1
        self.end = self.positions[keep]
        os.ftruncate(self.fd, self.end)
        del self.positions[keep:]
        self.complete = False
        self.dirty = True


def _committed_chunks(directories: Sequence[Path]) -> dict[ChunkName, Path]:
    """Committed files by name; the last directory wins where several hold the same."""
    found: dict[ChunkName, Path] = {}
    for directory in directories:
        if not directory.is_dir():
            continue  # to be mounted later
        for path in sorted(directory.iterdir()):
            name = parse_name(path.name)
            if name is not None and name.committed and not name.recovery:
                found[name] = path
    return found


def _adopt_uncommitted(directory: Path, committed: int) -> list[_Chunk]:
    """The uncommitted chunks that continue what is committed; the others, and what a recovery left, are ignored."""
    found: list[tuple[int, Path]] = []
    for path in sorted(directory.iterdir()):
        name = parse_name(path.name)
        if path.name.startswith("ledger_") and path.name.endswith(RECOVERY_SUFFIX):
            set_aside(path)
        elif name is not None and not name.committed:
            found.append((name.first, path))
    chunks: list[_Chunk] = []
    next_seqno = committed + 1
    for index, (first, path) in enumerate(sorted(found)):
        # A ledger may begin late, after a snapshot; but where a first file is lost, nothing continues it.
        continues = first == next_seqno or (committed == 0 and index == 0)
        layout = _usable_layout(path.read_bytes()) if continues else None
        if layout is None or (chunks and not chunks[-1].complete):
            set_aside(path)
            continue
        chunks.append(_reopen(path, first, layout))
        next_seqno = chunks[-1].last + 1
    return chunks


def _usable_layout(data: bytes) -> ChunkLayout | None:
    """The layout of an uncommitted file. A crash may have kept the header and lost the table: then frames decide."""
    try:
        layout = read_layout(data)
    except MalformedChunk:
        layout = scan_frames(data)
    return layout if len(layout.positions) else None


def _reopen(path: Path, first: int, layout: ChunkLayout) -> _Chunk:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if not layout.complete:
        write_at(fd, chunk_header(), 0)
        os.ftruncate(fd, layout.end)
    return _Chunk(path, fd, first, layout)


def _as_uncommitted(path: Path, first: int) -> Path:
    """No uncommitted file has that name: those that a committed one covers were set aside when all were opened."""
    return path.rename(path.with_name(str(ChunkName(first))))


def _without_recovery_suffix(path: Path) -> Path:
    return path if not path.name.endswith(RECOVERY_SUFFIX) else path.rename(path.with_suffix(""))


def _read_frames(fd: int, layout: ChunkLayout, first: int, last: int, most_bytes: int) -> list[bytes]:
    """Frames `first`..`last` of a chunk, counted from zero: as many as it has and `most_bytes` hold, at least one."""
    last = min(last, len(layout.positions) - 1)
    start, _ = layout.bounds(first)
    bounds: list[tuple[int, int]] = []
    for index in range(first, last + 1):
        begin, end = layout.bounds(index)
        if bounds and end - start > most_bytes:
            break
        bounds.append((begin, end))
    data = os.pread(fd, max(0, bounds[-1][1] - start), start)
    return [data[begin - start : end - start] for begin, end in bounds]
