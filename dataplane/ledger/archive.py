"""Committed entries read back from wherever they lie, by another thread than the one that writes (ledger-format.md 1).

The open chunks of a node are read through its `LedgerFiles`; committed chunks, which never change, straight from disk.
Directories are listed again whenever a chunk is missing or bad, so chunks may appear while the node runs. Nothing here
judges what the frames say: a reader proves them (`ledger.proven`).
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from sys import byteorder

from dataplane.ledger.chunk import CHUNK_HEADER_SIZE, ChunkName, parse_name, table_offset
from dataplane.ledger.files import LedgerFailed, LedgerFiles

_POSITION_SIZE = 4


class EntriesUnreadable(Exception):
    """No chunk that this node can read holds the entries asked for."""


class LedgerArchive:
    """Reads the ledger of one node. Calls may come from one thread at a time, whichever it is."""

    def __init__(self, files: LedgerFiles, directories: Sequence[Path]) -> None:
        """`directories` in the order they are preferred, the one the node writes to first."""
        self._files = files
        self._directories = tuple(directories)
        self._chunks: list[tuple[ChunkName, Path]] = []

    def read(self, first: int, last: int) -> list[bytes]:
        """The frames `first`..`last`; raises `EntriesUnreadable`."""
        frames: list[bytes] = []
        while (at := first + len(frames)) <= last:
            frames += self._read_from_one_chunk(at, last)
        return frames

    def read_on(self, first: int, last: int) -> Iterator[bytes]:
        """The frames from `first` on, read as they are asked for, `last` at most."""
        while first <= last:
            for frame in self._read_from_one_chunk(first, min(last, first + _AT_ONCE - 1)):
                yield frame
                first += 1

    def _read_from_one_chunk(self, first: int, last: int) -> list[bytes]:
        try:
            frames = self._files.read_uncommitted(first, last)
        except LedgerFailed as error:
            raise EntriesUnreadable(str(error)) from error
        if frames:
            return frames
        tried: list[tuple[ChunkName, Path]] = []
        failure = EntriesUnreadable(f"Cannot find ledger file for seqno {first}")
        for listed_anew in (False, True):
            if listed_anew:
                self._chunks = list(self._list())
            for chunk in self._chunks:
                if chunk[0].first <= first <= (chunk[0].last or 0) and chunk not in tried:
                    tried.append(chunk)
                    try:
                        return _read_frames(*chunk, first, min(last, chunk[0].last or 0))
                    except EntriesUnreadable as error:
                        failure = error
        raise failure

    def _list(self) -> Iterator[tuple[ChunkName, Path]]:
        """Committed chunks, and those that a recovery under way has written into the node's own directory.

        Elsewhere such a chunk is of a recovery that was given up: other entries under the same seqnos.
        """
        for directory in self._directories:
            try:
                paths = sorted(directory.iterdir())
            except OSError:
                continue
            for path in paths:
                name = parse_name(path.name)
                own = directory == self._directories[0]
                if name is not None and name.committed and (own or not name.recovery):
                    yield name, path


_AT_ONCE = 64


def _read_frames(name: ChunkName, path: Path, first: int, last: int) -> list[bytes]:
    """Frames of a committed chunk, as its positions table tells; the texts are those operators know from CCF."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise EntriesUnreadable(f"Could not open ledger file {path}: {error.strerror}") from error
    try:
        bounds = _positions(fd, name, path, first, last)
        data = os.pread(fd, bounds[-1] - bounds[0], bounds[0])
    except OSError as error:
        raise EntriesUnreadable(f"Ledger file {path} cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    start = bounds[0]
    return [data[begin - start : end - start] for begin, end in pairwise(bounds)]


def _positions(fd: int, name: ChunkName, path: Path, first: int, last: int) -> list[int]:
    """Where the frames begin, and where the last one ends."""
    header = os.pread(fd, CHUNK_HEADER_SIZE, 0)
    if len(header) < CHUNK_HEADER_SIZE:
        raise EntriesUnreadable(f"Failed to read positions offset from ledger file {path}")
    table, size = table_offset(header), os.fstat(fd).st_size
    if table == 0:
        raise EntriesUnreadable(f"Ledger file {path} cannot be read: invalid table offset (0)")
    if table > size:
        raise EntriesUnreadable(
            f"Ledger file {path} cannot be read: table offset {table} greater than total file size {size}"
        )
    assert name.last is not None
    if size - table != _POSITION_SIZE * (name.last - name.first + 1):
        raise EntriesUnreadable(f"Ledger file {path} cannot be read: its table does not hold as many as its name says")
    count = last - first + 2 if last < name.last else last - first + 1
    positions = array("I", os.pread(fd, _POSITION_SIZE * count, table + _POSITION_SIZE * (first - name.first)))
    if byteorder == "big":
        positions.byteswap()
    bounds = [*positions, table] if last == name.last else list(positions)
    if bounds[0] < CHUNK_HEADER_SIZE or bounds[-1] > table or any(a >= b for a, b in pairwise(bounds)):
        raise EntriesUnreadable(f"Ledger file {path} cannot be read: positions out of order")
    return bounds
