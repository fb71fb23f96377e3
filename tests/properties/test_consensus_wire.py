"""Consensus messages: what is encoded is decoded, and bytes of any kind are either a message or malformed."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from dataplane.consensus.log import Entry
from dataplane.consensus.messages import AppendEntries
from dataplane.consensus.wire import MalformedMessage, decode_message, encode_message
from dataplane.txid import TxID

node_ids = st.text(min_size=1, max_size=8)
configurations = st.none() | st.dictionaries(node_ids, st.text(max_size=8), min_size=1, max_size=5).map(
    lambda nodes: tuple(sorted(nodes.items()))
)


@st.composite
def append_entries(draw: st.DrawFn) -> AppendEntries:
    view, seqno = draw(st.integers(0, 9)), draw(st.integers(0, 2**40))
    prev = TxID(view, seqno)
    view = max(view, 1)
    entries = []
    for _ in range(draw(st.integers(0, 5))):
        view, seqno = view + draw(st.integers(0, 2)), seqno + 1
        retired = tuple(draw(st.lists(node_ids, max_size=3)))
        entries.append(Entry(view, seqno, draw(st.binary()), draw(st.booleans()), draw(configurations), retired))
    return AppendEntries(view, prev, draw(st.integers(0, 2**40)), draw(st.integers(0, 99)), tuple(entries))


@given(append_entries())
def test_round_trip(message: AppendEntries) -> None:
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """A kind byte in front makes the interesting cases likely."""
    for kind in range(9):
        with contextlib.suppress(MalformedMessage):
            message = decode_message(bytes([kind]) + data)
            assert encode_message(message) == bytes([kind]) + data


@given(append_entries(), st.data())
def test_one_byte_changed(message: AppendEntries, data: st.DataObject) -> None:
    raw = bytearray(encode_message(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedMessage):
        decode_message(bytes(raw))
