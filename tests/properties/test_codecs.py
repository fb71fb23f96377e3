"""Codecs both ways, on anything: what is written reads back, and whatever is read was written that way."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from dataplane.crypto.cose import CoseDecodeError, decode_sign1
from dataplane.crypto.shamir import LIMBS, PRIME, Share, combine, decode_share, encode_share, split
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.chunk import MalformedChunk, chunk_header, positions_table, read_layout
from dataplane.ledger.entry import MalformedEntry, decode_entry, encode_entry, reencode_entry
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.merkle.tree import MalformedTree, MerkleTree
from dataplane.txid import TxID
from tests.support.frames import CIPHER, SECRET, frame

SECRETS = LedgerSecrets({1: SECRET})

tables = st.builds(
    lambda public, name: ("public:" if public else "") + name,
    st.booleans(),
    st.text(max_size=8).filter(lambda name: not name.startswith("public:")),
)
rows = st.dictionaries(st.binary(max_size=20), st.none() | st.binary(max_size=40), min_size=1, max_size=4)
write_sets: st.SearchStrategy[WriteSet] = st.dictionaries(tables, rows, max_size=4)
txids = st.builds(TxID, st.integers(1, 2**31 - 1), st.integers(1, 2**63 - 1))
digests = st.binary(min_size=32, max_size=32)


@given(txid=txids, writes=write_sets, claims=digests, flags=st.sampled_from([0, 1, 2, 3]))
def test_entries(txid: TxID, writes: WriteSet, claims: bytes, flags: int) -> None:
    encoded = encode_entry(txid, writes, secret=CIPHER, claims_digest=claims, flags=flags)
    entry = decode_entry(encoded.frame, SECRETS)
    assert (entry.txid, entry.writes, entry.claims_digest, entry.flags) == (txid, writes, claims, flags)
    assert (entry.leaf, entry.write_set_digest) == (encoded.leaf, encoded.write_set_digest)
    assert reencode_entry(entry, CIPHER) == encoded.frame


@given(writes=write_sets)
def test_the_order_of_writing_does_not_matter(writes: WriteSet) -> None:
    turned = {table: dict(reversed(rows.items())) for table, rows in reversed(writes.items())}
    txid = TxID(2, 3)
    assert encode_entry(txid, writes, secret=CIPHER) == encode_entry(txid, turned, secret=CIPHER)


@given(data=st.binary(max_size=200), writes=write_sets, at=st.integers(0, 2**16))
def test_damaged_entries_are_refused_by_name(data: bytes, writes: WriteSet, at: int) -> None:
    """Public decoding of any bytes either works or raises `MalformedEntry`, never anything else."""
    good = encode_entry(TxID(2, 3), writes, secret=CIPHER).frame
    at %= len(good)
    for damaged in (data, good[:at], good[:at] + data[:1] + good[at + 1 :], good + data):
        with suppress(MalformedEntry):
            decode_entry(damaged)


@given(sizes=st.lists(st.integers(0, 50), max_size=6), torn=st.binary(max_size=30), at=st.integers(0, 2**16))
def test_chunks(sizes: list[int], torn: bytes, at: int) -> None:
    frames = [frame(seqno, size=size) for seqno, size in enumerate(sizes, 1)]
    body = b"".join(frames)
    positions = [8 + sum(map(len, frames[:index])) for index in range(len(frames))]
    complete = chunk_header(8 + len(body)) + body + positions_table(positions)
    for data, done in ((chunk_header() + body, False), (complete, True)):
        layout = read_layout(data)
        assert layout.complete is done
        assert [data[slice(*layout.bounds(index))] for index in range(len(frames))] == frames
    at %= len(complete)
    for damaged in (torn, complete[:at] + torn[:1] + complete[at + 1 :], complete[:at], complete + torn):
        with suppress(MalformedChunk):
            read_layout(damaged)


@given(data=st.data(), count=st.integers(1, 8))
def test_any_threshold_of_shares_restores_the_secret(data: st.DataObject, count: int) -> None:
    threshold = data.draw(st.integers(1, count))
    secret = tuple(data.draw(st.lists(st.integers(0, PRIME - 1), min_size=LIMBS, max_size=LIMBS)))
    words = st.integers(0, 2**64 - 1).filter(lambda word: word & PRIME != PRIME)
    shares = split(secret, count, threshold, lambda: data.draw(words))
    chosen = data.draw(st.permutations(shares))
    assert combine(chosen, threshold) == secret


@given(x=st.integers(0, 2**32 - 1), limbs=st.lists(st.integers(0, PRIME - 1), min_size=LIMBS, max_size=LIMBS))
def test_shares_travel(x: int, limbs: list[int]) -> None:
    share = Share(x, tuple(limbs))
    assert decode_share(encode_share(share)) == share


@given(data=st.binary(max_size=300))
def test_anything_may_come_as_cose_or_tree(data: bytes) -> None:
    with suppress(CoseDecodeError):
        decode_sign1(b"\xd2\x84" + data)
    with suppress(CoseDecodeError):
        decode_sign1(data)
    with suppress(MalformedTree):
        tree = MerkleTree.deserialise(data)
        assert tree.serialise(tree.flushed, tree.size - 1) == data
