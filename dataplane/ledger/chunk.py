"""Ledger files: their names, their layout, and where one ends (ledger-format.md 1.1 to 1.3).

A chunk is eight bytes that tell where its positions table begins (zero while it is open), its frames, and the table.
"""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from sys import byteorder

from dataplane.ledger.entry import EntryFlags, MalformedEntry, frame_size

CHUNK_HEADER_SIZE = 8
MAX_CHUNK_SIZE = (1 << 32) - 1  # positions are u32
DEFAULT_CHUNK_SIZE = 5_000_000
RECOVERY_SUFFIX = ".recovery"

_CHUNK_AFTER = int(EntryFlags.CHUNK_AFTER)  # plain integers: flag arithmetic on enums costs a microsecond per entry
_CHUNK_BEFORE = int(EntryFlags.CHUNK_BEFORE)
_HEADER = Struct("<Q")
_NAME = re.compile(
    r"ledger_(?P<first>[1-9]\d*)(-(?P<last>[1-9]\d*))?(?P<committed>\.committed)?(?P<recovery>\.recovery)?", re.ASCII
)


class MalformedChunk(ValueError):
    """The bytes are not a chunk. `offset` is where it shows."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.offset = offset


@dataclass(frozen=True, slots=True, order=True)
class ChunkName:
    """What a ledger file's name says. `last` is None until the chunk is committed."""

    first: int
    last: int | None = None
    recovery: bool = False

    @property
    def committed(self) -> bool:
        """Whether the chunk is complete and covered by commit."""
        return self.last is not None

    def __str__(self) -> str:
        range_ = f"{self.first}" if self.last is None else f"{self.first}-{self.last}.committed"
        return f"ledger_{range_}{RECOVERY_SUFFIX if self.recovery else ''}"


def parse_name(name: str) -> ChunkName | None:
    """Read a file name; None for files that are no chunks, `.ignored` ones included."""
    match = _NAME.fullmatch(name)
    if match is None or bool(match["last"]) != bool(match["committed"]):
        return None
    last = int(match["last"]) if match["last"] else None
    if last is not None and last < int(match["first"]):
        return None
    return ChunkName(int(match["first"]), last, bool(match["recovery"]))


@dataclass(frozen=True, slots=True)
class ChunkLayout:
    """Where the frames of a chunk lie: frame i is `positions[i]` to `positions[i + 1]`, the last one ends at `end`.

    `complete` tells that the positions table is there; `end` is where it begins, or would begin.
    """

    positions: Sequence[int]
    end: int
    complete: bool

    def bounds(self, index: int) -> tuple[int, int]:
        """Start and end of frame `index`, counted from zero."""
        last = index + 1 == len(self.positions)
        return self.positions[index], self.end if last else self.positions[index + 1]


def chunk_header(table_offset: int = 0) -> bytes:
    """The first eight bytes of a chunk; zero while it is open."""
    return _HEADER.pack(table_offset)


def positions_table(positions: Sequence[int]) -> bytes:
    """The table that completes a chunk: the offset of each frame, u32 little-endian."""
    table = array("I", positions)
    if byteorder == "big":
        table.byteswap()
    return table.tobytes()


def read_layout(data: bytes) -> ChunkLayout:
    """The layout of a chunk's bytes. A complete one must be consistent; an open one ends before its first bad frame.

    Raises `MalformedChunk`.
    """
    if len(data) < CHUNK_HEADER_SIZE:
        raise MalformedChunk("the file is shorter than its header")
    end = table_offset(data)
    if end == 0:
        return scan_frames(data)
    if not CHUNK_HEADER_SIZE <= end <= len(data):
        raise MalformedChunk(f"the positions table at {end} is outside of the file")
    layout = table_layout(data[end:], end)
    scanned = scan_frames(data, end)
    if scanned.end != end or list(scanned.positions) != layout.positions:
        raise MalformedChunk("the positions table does not match the frames", scanned.end)
    return layout


def table_offset(header: bytes) -> int:
    """Where the positions table begins, zero in an open chunk; `header` is the chunk's first eight bytes."""
    return int(_HEADER.unpack_from(header)[0])


def table_layout(table: bytes, end: int) -> ChunkLayout:
    """The layout told by a positions table at offset `end`, taken on trust; raises `MalformedChunk` when cut off."""
    if len(table) % 4:
        raise MalformedChunk(f"a positions table of {len(table)} bytes is cut off", end)
    positions = array("I", table)
    if byteorder == "big":
        positions.byteswap()
    return ChunkLayout(positions.tolist(), end, complete=True)


def scan_frames(data: bytes, end: int | None = None) -> ChunkLayout:
    """The layout of an open chunk, found by walking from frame to frame up to the first that is not whole by `end`."""
    positions = array("I")
    offset = CHUNK_HEADER_SIZE
    end = len(data) if end is None else end
    while offset < end:
        try:
            size, _ = frame_size(data, offset)
        except MalformedEntry:
            break
        if offset + size > end:
            break
        positions.append(offset)
        offset += size
    return ChunkLayout(positions, offset, complete=False)


class Chunker:
    """Decides which signature transactions end a chunk (ledger-format.md 1.3). Fed every entry, in order."""

    __slots__ = ("_chunk_size", "_ends", "_first", "_requests", "_totals")

    def __init__(self, chunk_size: int = DEFAULT_CHUNK_SIZE, last_seqno: int = 0) -> None:
        """`chunk_size` in bytes, 1..2^32-1; the ledger already holds whole chunks up to `last_seqno`."""
        if not 1 <= chunk_size <= MAX_CHUNK_SIZE:
            raise ValueError(f"a chunk size of {chunk_size} bytes is out of range")
        self._chunk_size = chunk_size
        self._first = last_seqno
        self._totals = [0]  # item i: bytes written up to seqno `_first + i`
        self._ends = [(last_seqno, 0)]  # seqno that ended a chunk, bytes written up to it
        self._requests: list[int] = []  # seqnos at which a chunk was asked for

    def appended(self, seqno: int, size: int, flags: int = 0) -> None:
        """The frame of `seqno`, the next one, has `size` bytes."""
        before = self._totals[-1]
        flags = int(flags)
        assert seqno == self._first + len(self._totals), f"seqno {seqno} is not the next"
        self._totals.append(before + size)
        if flags & _CHUNK_BEFORE:
            self._ends.append((seqno - 1, before))
        if flags & _CHUNK_AFTER:
            self._ends.append((seqno, before + size))

    def request(self, seqno: int) -> None:
        """Governance asked, at `seqno`, that the next signature ends a chunk."""
        self._requests.append(seqno)

    def flags_at(self, seqno: int) -> EntryFlags:
        """The flags of a signature transaction about to be written at `seqno`, the next one."""
        end, written = self._ends[-1]
        asked = any(end < request <= seqno for request in self._requests)
        due = self._totals[-1] - written >= self._chunk_size
        return EntryFlags.CHUNK_AFTER if asked or due else EntryFlags.NONE

    def rollback(self, seqno: int) -> None:
        """Forget everything after `seqno`, which is not before the last `compact`."""
        del self._totals[seqno - self._first + 1 :]
        self._ends = [end for end in self._ends if end[0] <= seqno]
        self._requests = [at for at in self._requests if at <= seqno]

    def compact(self, seqno: int) -> None:
        """Nothing up to `seqno` will be rolled back: forget what decides nothing any more."""
        del self._totals[: seqno - self._first]
        self._first = seqno
        last = max(index for index, (end, _) in enumerate(self._ends) if end <= seqno)
        del self._ends[:last]
        self._requests = [at for at in self._requests if at > self._ends[0][0]]
