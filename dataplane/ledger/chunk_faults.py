"""Where a damaged chunk is damaged: its header, its positions table, or a frame (ledger-format.md 1.2).

A complete chunk tells twice where its frames lie: the table lists them, and each frame announces its size. What agrees
with itself is believed, so that one wrong byte costs one place and not the whole file.
"""

from dataclasses import dataclass
from itertools import pairwise

from dataplane.ledger.chunk import (
    CHUNK_HEADER_SIZE,
    ChunkLayout,
    MalformedChunk,
    read_layout,
    scan_frames,
    table_layout,
    table_offset,
)
from dataplane.ledger.entry import HEADER_SIZE, MalformedEntry, frame_size


@dataclass(frozen=True, slots=True)
class ChunkFault:
    """A place in a chunk's file, in bytes from its beginning, and what is wrong there."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class TornEnd:
    """Bytes at the end of an open chunk that are no whole frame, as an interrupted write leaves them."""

    offset: int
    size: int


def read_damaged_layout(data: bytes) -> tuple[ChunkLayout, ChunkFault | None]:
    """The layout of a chunk, and what is wrong outside of its frames.

    A frame whose size is wrong keeps the bounds the table gives it: decoding it will say so. Raises `MalformedChunk`
    where nothing tells the frames apart.
    """
    try:
        return read_layout(data), None
    except MalformedChunk as error:
        if len(data) < CHUNK_HEADER_SIZE:
            raise
        mended = _by_frames(data) or _by_table(data)
        if mended is None:
            raise
        layout, fault = mended
        return layout, fault or (None if _is_told_by_a_frame(data, layout) else ChunkFault(error.offset, str(error)))


def torn_end(data: bytes, layout: ChunkLayout) -> TornEnd | ChunkFault | None:
    """What follows the whole frames of an open chunk: nothing, the beginning of a frame or zeros, or neither."""
    rest = data[layout.end :]
    if layout.complete or not rest:
        return None
    try:
        begun = len(rest) < HEADER_SIZE or frame_size(rest)[0] > len(rest)
        reason = "the frame is cut off"
    except MalformedEntry as error:
        begun, reason = False, str(error)
    return TornEnd(layout.end, len(rest)) if begun or not any(rest) else ChunkFault(layout.end, reason)


def _by_frames(data: bytes) -> tuple[ChunkLayout, ChunkFault] | None:
    """The frames are all whole, so the header or the table is wrong; None where they are not."""
    scanned = scan_frames(data)
    table = data[scanned.end :]
    count = len(scanned.positions)
    if not count or len(table) != 4 * count:
        return None
    wrong = [
        i for i, position in enumerate(table_layout(table, scanned.end).positions) if position != scanned.positions[i]
    ]
    layout = ChunkLayout(scanned.positions, scanned.end, complete=True)
    if wrong and wrong[0] == 0 and len(wrong) == count > 1:
        return None  # no table at all
    if table_offset(data) != scanned.end:
        return layout, ChunkFault(0, f"the header names {table_offset(data)} as the table's place, not {scanned.end}")
    return layout, ChunkFault(scanned.end + 4 * wrong[0], f"the table's entry {wrong[0]} is not where a frame begins")


def _by_table(data: bytes) -> tuple[ChunkLayout, None] | None:
    """The table is plausible, so a frame's size is wrong; None where it is not."""
    end = table_offset(data)
    if not CHUNK_HEADER_SIZE <= end <= len(data) or (len(data) - end) % 4 or end == len(data):
        return None
    layout = table_layout(data[end:], end)
    places = [*layout.positions, end]
    if places[0] != CHUNK_HEADER_SIZE or any(a + HEADER_SIZE > b for a, b in pairwise(places)):
        return None
    return layout, None


def _is_told_by_a_frame(data: bytes, layout: ChunkLayout) -> bool:
    """Whether decoding the frames one by one will find what is wrong."""
    for index in range(len(layout.positions)):
        start, end = layout.bounds(index)
        try:
            if frame_size(data, start)[0] != end - start:
                return True
        except MalformedEntry:
            return True
    return False
