"""Messages as bytes: one kind byte, then little-endian fields. Private to our nodes, which all run one version.

    AppendEntries   view, prev view, prev seqno, commit seqno, round: u64; count: u32; entries
    entry           view, seqno: u64; marks: u8 (1 signed, 2 configuration, 4 retired_committed); size: u32; data;
                    with mark 2: count u16 of (id, address); with mark 4: count u16 of id; texts are u16 size + UTF-8

The channel proves who sent the bytes, not that they make sense, so decoding checks everything structural:
lengths, dense seqnos, views that never fall nor exceed the sender's.
"""

from __future__ import annotations

import struct

from dataplane.consensus.configuration import is_well_formed
from dataplane.consensus.log import Entry, Nodes
from dataplane.consensus.messages import (
    AppendEntries,
    AppendEntriesAck,
    AppendEntriesNack,
    Beat,
    Message,
    ProposeRequestVote,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from dataplane.txid import NodeId, TxID

_SIGNED, _CONFIGURATION, _RETIRED = 1, 2, 4

_APPEND = struct.Struct("<BQQQQQI")
_ENTRY = struct.Struct("<QQBI")
_ACK = struct.Struct("<BQQQ")
_NACK = struct.Struct("<BQQQQ")
_REQUEST = struct.Struct("<BQQQ")
_RESPONSE = struct.Struct("<BQB")
_VIEW = struct.Struct("<BQ")
_U16 = struct.Struct("<H")


class MalformedMessage(ValueError):
    """The bytes are not a message of this protocol."""


def encode_message(message: Message) -> bytes:
    """The bytes of a message, which `decode_message` reads back."""
    match message:
        case AppendEntries(view, prev, commit_seqno, round_, entries):
            head = _APPEND.pack(0, view, prev.view, prev.seqno, commit_seqno, round_, len(entries))
            return b"".join((head, *map(_encode_entry, entries)))
        case AppendEntriesAck(view, received_seqno, persisted_seqno):
            return _ACK.pack(1, view, received_seqno, persisted_seqno)
        case AppendEntriesNack(view, round_, estimate):
            return _NACK.pack(2, view, round_, estimate.view, estimate.seqno)
        case RequestVote(view, committable):
            return _REQUEST.pack(3, view, committable.view, committable.seqno)
        case RequestVoteResponse(view, granted):
            return _RESPONSE.pack(4, view, granted)
        case RequestPreVote(view, committable):
            return _REQUEST.pack(5, view, committable.view, committable.seqno)
        case RequestPreVoteResponse(view, granted):
            return _RESPONSE.pack(6, view, granted)
        case ProposeRequestVote(view):
            return _VIEW.pack(7, view)
        case Beat(view):
            return _VIEW.pack(8, view)


def decode_message(data: bytes) -> Message:
    """Read one message. Raises `MalformedMessage` for anything `encode_message` cannot have written."""
    try:
        return _decode(data)
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedMessage(str(error)) from error


def _decode(data: bytes) -> Message:
    match data[0] if data else None:
        case 0:
            return _decode_append(data)
        case 1:
            _, view, received_seqno, persisted_seqno = _ACK.unpack(data)
            _require(persisted_seqno <= received_seqno, "more is persisted than received")
            return AppendEntriesAck(view, received_seqno, persisted_seqno)
        case 2:
            _, view, round_, estimate_view, estimate_seqno = _NACK.unpack(data)
            return AppendEntriesNack(view, round_, TxID(estimate_view, estimate_seqno))
        case (3 | 5) as kind:
            _, view, committable_view, committable_seqno = _REQUEST.unpack(data)
            request = RequestVote if kind == 3 else RequestPreVote
            return request(view, TxID(committable_view, committable_seqno))
        case (4 | 6) as kind:
            _, view, granted = _RESPONSE.unpack(data)
            _require(granted <= 1, "a vote is neither granted nor refused")
            response = RequestVoteResponse if kind == 4 else RequestPreVoteResponse
            return response(view, bool(granted))
        case 7:
            return ProposeRequestVote(_VIEW.unpack(data)[1])
        case 8:
            return Beat(_VIEW.unpack(data)[1])
        case kind:
            raise MalformedMessage(f"unknown kind {kind}")


def _decode_append(data: bytes) -> AppendEntries:
    _, view, prev_view, prev_seqno, commit_seqno, round_, count = _APPEND.unpack_from(data)
    _require(prev_view <= view, "entries follow a view newer than the leader's")
    offset = _APPEND.size
    entries: list[Entry] = []
    last = TxID(prev_view, prev_seqno)
    for _ in range(count):
        entry, offset = _decode_entry(data, offset)
        _require(entry.seqno == last.seqno + 1, "entries are not consecutive")
        _require(last.view <= entry.view <= view, "views fall or exceed the leader's")
        last = TxID(entry.view, entry.seqno)
        entries.append(entry)
    _require(offset == len(data), "bytes after the last entry")
    return AppendEntries(view, TxID(prev_view, prev_seqno), commit_seqno, round_, tuple(entries))


def _encode_entry(entry: Entry) -> bytes:
    marks = _SIGNED if entry.signed else 0
    marks |= 0 if entry.configuration is None else _CONFIGURATION
    marks |= _RETIRED if entry.retired_committed else 0
    head = _ENTRY.pack(entry.view, entry.seqno, marks, len(entry.data)) + entry.data
    if marks <= _SIGNED:
        return head
    parts = [head]
    if entry.configuration is not None:
        parts.append(_U16.pack(len(entry.configuration)))
        parts.extend(_encode_text(text) for node in entry.configuration for text in node)
    if entry.retired_committed:
        parts.append(_U16.pack(len(entry.retired_committed)))
        parts.extend(map(_encode_text, entry.retired_committed))
    return b"".join(parts)


def _decode_entry(data: bytes, offset: int) -> tuple[Entry, int]:
    view, seqno, marks, size = _ENTRY.unpack_from(data, offset)
    _require(marks < 8 and view > 0, "unknown marks or view 0")
    offset += _ENTRY.size
    payload = _take(data, offset, size)
    offset += size
    configuration: Nodes | None = None
    retired: tuple[NodeId, ...] = ()
    if marks & _CONFIGURATION:
        texts, offset = _decode_texts(data, offset, per_item=2)
        configuration = tuple(zip(texts[::2], texts[1::2], strict=True))
        _require(is_well_formed(configuration), "configuration is empty, not sorted or repeats a node")
    if marks & _RETIRED:
        texts, offset = _decode_texts(data, offset, per_item=1)
        retired = tuple(texts)
        _require(retired != (), "retired_committed names nobody")
    return Entry(view, seqno, payload, bool(marks & _SIGNED), configuration, retired), offset


def _encode_text(text: str) -> bytes:
    raw = text.encode()
    return _U16.pack(len(raw)) + raw


def _decode_texts(data: bytes, offset: int, *, per_item: int) -> tuple[list[str], int]:
    (count,) = _U16.unpack_from(data, offset)
    offset += _U16.size
    texts: list[str] = []
    for _ in range(count * per_item):
        (size,) = _U16.unpack_from(data, offset)
        offset += _U16.size
        texts.append(_take(data, offset, size).decode())
        offset += size
    return texts, offset


def _take(data: bytes, offset: int, size: int) -> bytes:
    _require(offset + size <= len(data), "truncated")
    return data[offset : offset + size]


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise MalformedMessage(reason)
