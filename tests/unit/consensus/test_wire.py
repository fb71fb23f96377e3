"""Messages as bytes: what is written is read back, and nothing else is."""

import pytest

from dataplane.consensus.log import Entry
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
from dataplane.consensus.wire import MalformedMessage, decode_message, encode_message
from dataplane.txid import TxID
from tests.support.raft_nodes import members, plain, signed

MESSAGES: list[Message] = [
    AppendEntries(2, TxID(0, 0), 0),
    AppendEntries(
        7,
        TxID(3, 9),
        8,
        4,
        (
            plain(3, 10, b"\x00\xff"),
            signed(5, 11),
            Entry(7, 12, b"n", configuration=members("a", "b"), retired_committed=("c", "d")),
            Entry(7, 13, b"", retired_committed=("c",)),
        ),
    ),
    AppendEntriesAck(2, 9, 7),
    AppendEntriesNack(2, 3, TxID(1, 5)),
    RequestVote(4, TxID(3, 17)),
    RequestVoteResponse(4, True),
    RequestPreVote(4, TxID(3, 17)),
    RequestPreVoteResponse(4, False),
    ProposeRequestVote(2**63),
    Beat(2**63),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_round_trip(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_truncation_and_extension_is_refused(message: Message) -> None:
    data = encode_message(message)
    for size in range(len(data)):
        with pytest.raises(MalformedMessage):
            decode_message(data[:size])
    with pytest.raises(MalformedMessage):
        decode_message(data + b"\x00")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (AppendEntries(2, TxID(2, 2), 0, 0, (plain(2, 4),)), "not consecutive"),
        (AppendEntries(2, TxID(2, 2), 0, 0, (plain(1, 3),)), "views fall"),
        (AppendEntries(2, TxID(2, 2), 0, 0, (plain(3, 3),)), "exceed"),
        (AppendEntries(2, TxID(3, 2), 0), "newer than the leader's"),
        (AppendEntries(2, TxID(0, 0), 0, 0, (plain(0, 1),)), "view 0"),
        (AppendEntries(2, TxID(0, 0), 0, 0, (Entry(2, 1, b"", configuration=()),)), "empty"),
        (
            AppendEntries(2, TxID(0, 0), 0, 0, (Entry(2, 1, b"", configuration=members("a") + members("a")),)),
            "repeats a node",
        ),
        (AppendEntriesAck(2, 4, 5), "more is persisted"),
    ],
)
def test_nonsense_is_refused(message: Message, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        decode_message(encode_message(message))


@pytest.mark.parametrize("data", [b"", b"\x08", b"\xff" * 40, b"\x04" + bytes(8) + b"\x02"])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_message(data)
