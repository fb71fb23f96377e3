"""Chunk names, layouts, and the rules that end a chunk."""

import pytest

from dataplane.ledger.chunk import (
    Chunker,
    ChunkName,
    MalformedChunk,
    chunk_header,
    parse_name,
    positions_table,
    read_layout,
)
from dataplane.ledger.entry import EntryFlags
from tests.support.frames import frame


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ledger_1", ChunkName(1)),
        ("ledger_14-20.committed", ChunkName(14, 20)),
        ("ledger_7.recovery", ChunkName(7, None, True)),
        ("ledger_7-9.committed.recovery", ChunkName(7, 9, True)),
    ],
)
def test_names(text: str, name: ChunkName) -> None:
    assert parse_name(text) == name
    assert str(name) == text
    assert name.committed == ("committed" in text)


@pytest.mark.parametrize(
    "text",
    ["ledger_1.ignored", "ledger_1-2.committed.ignored", "ledger_1-2", "ledger_1.committed", "ledger_0", "ledger_",
     "ledger_5-4.committed", "ledger_1-9.committed_prefix", "snapshot_1_2.committed", "ledger_01", "ledger_1.lock"],
)  # fmt: skip
def test_other_files(text: str) -> None:
    assert parse_name(text) is None


FRAMES = [frame(seqno, size=seqno) for seqno in (1, 2, 3)]
POSITIONS = [8, 8 + len(FRAMES[0]), 8 + len(FRAMES[0]) + len(FRAMES[1])]
END = 8 + sum(map(len, FRAMES))
COMPLETE = chunk_header(END) + b"".join(FRAMES) + positions_table(POSITIONS)


def test_a_complete_chunk() -> None:
    layout = read_layout(COMPLETE)
    assert (list(layout.positions), layout.end, layout.complete) == (POSITIONS, END, True)
    assert [COMPLETE[slice(*layout.bounds(index))] for index in range(3)] == FRAMES


@pytest.mark.parametrize("torn", [0, 1, 7, 8, 60])
def test_an_open_chunk_ends_before_a_torn_frame(torn: int) -> None:
    layout = read_layout(chunk_header() + b"".join(FRAMES) + frame(4)[:torn])
    assert (list(layout.positions), layout.end, layout.complete) == (POSITIONS, END, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        chunk_header(7) + b"".join(FRAMES),
        chunk_header(len(COMPLETE) + 1) + COMPLETE[8:],
        COMPLETE[:-1],
        COMPLETE[:-4],
        COMPLETE + bytes(4),
        chunk_header(END - 4) + COMPLETE[8:],
        COMPLETE[:END] + positions_table([8, POSITIONS[1] + 1, POSITIONS[2]]),
        COMPLETE[:END] + positions_table(POSITIONS[::-1]),
    ],
)
def test_inconsistent_chunks(data: bytes) -> None:
    with pytest.raises(MalformedChunk):
        read_layout(data)


def test_a_chunk_ends_at_the_signature_after_its_size_is_reached() -> None:
    chunker = Chunker(100)
    chunker.appended(1, 60)
    assert chunker.flags_at(2) == EntryFlags.NONE
    chunker.appended(2, 40)
    assert chunker.flags_at(3) == EntryFlags.CHUNK_AFTER
    chunker.appended(3, 500, EntryFlags.CHUNK_AFTER)
    assert chunker.flags_at(4) == EntryFlags.NONE  # the signature's own size does not count for the next


def test_a_requested_chunk_ends_at_the_next_signature() -> None:
    chunker = Chunker(1000)
    chunker.appended(1, 10)
    chunker.request(1)
    assert chunker.flags_at(2) == EntryFlags.CHUNK_AFTER
    chunker.appended(2, 10, EntryFlags.CHUNK_AFTER)
    assert chunker.flags_at(3) == EntryFlags.NONE


def test_a_recovery_begins_a_chunk() -> None:
    chunker = Chunker(100)
    chunker.appended(1, 99)
    chunker.appended(2, 50, EntryFlags.CHUNK_BEFORE)
    assert chunker.flags_at(3) == EntryFlags.NONE
    chunker.appended(3, 50)
    assert chunker.flags_at(4) == EntryFlags.CHUNK_AFTER


def test_rollback_forgets_ends_sizes_and_requests() -> None:
    chunker = Chunker(100)
    for seqno in (1, 2):
        chunker.appended(seqno, 40)
    chunker.appended(3, 40, EntryFlags.CHUNK_AFTER)
    chunker.request(4)
    chunker.appended(4, 200)
    chunker.rollback(2)
    assert chunker.flags_at(3) == EntryFlags.NONE
    chunker.appended(3, 20)
    assert chunker.flags_at(4) == EntryFlags.CHUNK_AFTER


def test_compaction_changes_no_decision() -> None:
    plain, compacted = Chunker(100), Chunker(100)
    for seqno in range(1, 60):
        flags = plain.flags_at(seqno) if seqno % 3 == 0 else EntryFlags.NONE
        assert compacted.flags_at(seqno) == plain.flags_at(seqno)
        if seqno == 30:
            plain.request(seqno)
            compacted.request(seqno)
        plain.appended(seqno, 17, flags)
        compacted.appended(seqno, 17, flags)
        if seqno % 5 == 0:
            compacted.compact(seqno - 2)
    compacted.rollback(57)
    plain.rollback(57)
    assert compacted.flags_at(58) == plain.flags_at(58)


def test_sizes_out_of_range() -> None:
    for size in (0, 1 << 32):
        with pytest.raises(ValueError, match="out of range"):
            Chunker(size)
