"""End a ledger that lies on disk at an earlier seqno, committed chunks included (ledger-format.md 6.7 step 1).

Nothing is destroyed: what follows gets the suffix `.ignored`, and the beginning of a chunk in which the end falls is
written once more as an uncommitted one. Directories that may only be read are left as they are.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from dataplane.ledger.chunk import CHUNK_HEADER_SIZE, ChunkName, chunk_header, scan_frames


def cut_committed(directory: Path, chunks: Mapping[ChunkName, Path], seqno: int) -> None:
    """Have the committed `chunks`, of which those in `directory` may be changed, end at `seqno`."""
    for name, path in sorted(chunks.items()):
        if name.last is None or name.last <= seqno:
            continue
        if name.first <= seqno:
            _copy_beginning(path, directory / str(ChunkName(name.first)), seqno - name.first + 1)
        if path.parent == directory:
            set_aside(path)


def set_aside(path: Path) -> None:
    """Rename a file so that nodes and tools skip it."""
    path.rename(path.with_name(f"{path.name}.ignored"))


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _copy_beginning(source: Path, target: Path, count: int) -> None:
    """The first `count` frames of a chunk as an open one; on disk before the chunk may be set aside."""
    data = source.read_bytes()
    layout = scan_frames(data)
    frames = data[CHUNK_HEADER_SIZE : layout.positions[count] if count < len(layout.positions) else layout.end]
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_at(fd, chunk_header() + frames, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
