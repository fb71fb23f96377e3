"""Canonical bytes of write sets (ledger-format.md 1.5, 10.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.kv.writeset import MalformedWriteSet, WriteSet, decode_maps, encode_maps, split

ROWS = st.dictionaries(st.binary(max_size=6), st.none() | st.binary(max_size=6), min_size=1, max_size=4)
WRITES = st.dictionaries(st.text(min_size=1, max_size=6), ROWS, max_size=4)


def test_the_worked_example_of_the_contract() -> None:
    public, private = split({"public:records": {b"1": b'"hi"'}, "records": {b"k": b"v"}})
    assert encode_maps(public).hex() == (
        "0e000000000000007075626c69633a7265636f726473" + "00" * 16 + "0100000000000000"
        "010000000000000031" + "040000000000000022686922" + "0000000000000000"
    )
    assert len(encode_maps(private)) == 65


@given(WRITES)
def test_decoding_gives_back_what_was_encoded(writes: WriteSet) -> None:
    assert decode_maps(encode_maps(writes)) == writes


@given(WRITES)
def test_order_of_insertion_does_not_show(writes: WriteSet) -> None:
    backwards = {table: dict(reversed(rows.items())) for table, rows in reversed(writes.items())}
    assert encode_maps(backwards) == encode_maps(writes)


@given(WRITES.filter(bool), st.integers(min_value=1))
def test_a_cut_is_noticed_or_leaves_whole_maps(writes: WriteSet, cut: int) -> None:
    data = encode_maps(writes)
    shorter = data[: len(data) - 1 - cut % len(data)]
    try:
        decoded = decode_maps(shorter)
    except MalformedWriteSet:
        return
    assert encode_maps(decoded) == shorter


def test_a_table_that_appears_twice_is_refused() -> None:
    data = encode_maps({"a": {b"k": b"v"}})
    with pytest.raises(MalformedWriteSet, match="twice"):
        decode_maps(data + data)


def test_tables_without_rows_are_left_out() -> None:
    assert encode_maps({"a": {}}) == b""
