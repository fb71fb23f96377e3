"""Snapshots: layout, equal bytes for equal states, damage, and the ones real CCF releases wrote."""

import struct
from pathlib import Path

import immutables
import pytest

from dataplane.crypto.aead import DecryptionFailed
from dataplane.kv.store import Store
from dataplane.kv.tables import TREE, UNIT_KEY
from dataplane.kv.tx import Table, Tables
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.secrets import LedgerSecrets, UnknownSecret
from dataplane.ledger.snapshot import MalformedSnapshot, decode_snapshot, encode_snapshot, split_file
from dataplane.merkle.tree import MerkleTree
from dataplane.replica_state import state_from
from tests.support.real_ledgers import frames_of, unwrap_secrets
from tests.support.vectors import require_vectors

SECRETS = LedgerSecrets({1: bytes(range(32))})
LEAF = bytes(range(32))


def table(version: int, **rows: tuple[int, bytes]) -> Table:
    return Table(immutables.Map({key.encode(): row for key, row in rows.items()}), version)


def contents(tables: Tables) -> dict[str, tuple[int, dict[bytes, tuple[int, bytes]]]]:
    return {name: (table.version, dict(table.rows)) for name, table in tables.items()}


def tree_table(leaves: int) -> Table:
    tree = MerkleTree()
    for _ in range(1, leaves):
        tree.append(LEAF)
    return Table(immutables.Map({UNIT_KEY: (leaves, tree.serialise(0, leaves - 1))}), leaves)


TABLES: Tables = {
    "public:records": table(7, a=(3, b"x"), eight=(7, b"12345678"), long_key_of_it=(1, b"")),
    "records": table(5, k=(5, b"secret value")),
    "public:empty": table(4),
    TREE: tree_table(9),
}


def encoded(tables: Tables = TABLES) -> bytes:
    return encode_snapshot(9, LEAF, (1, 1, 4), tables, SECRETS.at(9))


def test_what_is_written_is_read() -> None:
    snapshot = decode_snapshot(encoded(), SECRETS)
    assert (snapshot.seqno, snapshot.leaf, snapshot.view_history) == (9, LEAF, (1, 1, 4))
    assert contents(snapshot.tables) == contents(TABLES)


def test_without_secrets_only_the_public_tables_are_read() -> None:
    assert sorted(decode_snapshot(encoded()).tables) == ["public:ccf.internal.tree", "public:empty", "public:records"]
    assert b"secret value" not in encoded()


def test_the_layout_is_the_contracts() -> None:
    """ledger-format.md 5.2, 5.3, byte by byte for one table."""
    frame = encode_snapshot(9, LEAF, (1, 1), {"public:t": table(7, a=(3, b"x"))}, SECRETS.at(9))
    body = struct.pack("<Q8sQQ8s", 1, b"a", 9, 3, b"x")
    public = struct.pack("<BQQQ", 1, 9, 0, 32) + LEAF + struct.pack("<QQQ", 16, 1, 1)
    public += struct.pack("<Q", 8) + b"public:t" + struct.pack("<QQ", 7, len(body)) + body
    assert frame[24:36] == struct.pack("<QI", 9, 1 << 31)
    assert frame[36:44] == struct.pack("<Q", len(public))
    assert frame[44:] == public
    assert frame[:8] == struct.pack("<BB", 1, 0) + (len(frame) - 8).to_bytes(6, "little")


def test_equal_states_have_equal_bytes_whatever_their_history() -> None:
    first, second = Store(), Store()
    keys = [b"%d" % number for number in range(200)]
    for seqno, key in enumerate(keys, 1):
        first.apply(seqno, {"records": {key: b"old"}})
        second.apply(seqno, {"records": {key: b"old"}})
    for store, order in ((first, keys), (second, keys[::-1])):
        store.apply(201, {"records": dict.fromkeys(order, b"new")})
    frames = [encode_snapshot(201, LEAF, (1, 1), store.tables(), SECRETS.at(201)) for store in (first, second)]
    assert frames[0] == frames[1]


def test_the_state_it_gives_has_the_tree_with_the_leaf_of_its_own_seqno() -> None:
    state = state_from(decode_snapshot(encoded(), SECRETS))
    assert (state.seqno, state.tree.size, state.tree.leaf(9), state.signed) == (9, 10, LEAF, (9,))


@pytest.mark.parametrize(
    "tables", [{}, {TREE: table(9)}, {TREE: tree_table(8)}, {TREE: table(9, **{"\0" * 8: (1, b"no tree")})}]
)
def test_a_snapshot_without_the_tree_of_its_seqno_gives_no_state(tables: Tables) -> None:
    with pytest.raises(MalformedSnapshot):
        state_from(decode_snapshot(encoded(tables), SECRETS))


def test_a_removed_key_of_ccf_1_is_skipped() -> None:
    frame = bytearray(encode_snapshot(9, LEAF, (1, 1), {"public:t": table(7, a=(3, b"x"))}, SECRETS.at(9)))
    frame[-16:-8] = struct.pack("<q", -3)
    assert dict(decode_snapshot(bytes(frame)).tables["public:t"].rows) == {}


def test_every_change_of_a_byte_is_noticed_with_the_secrets() -> None:
    frame = encoded()
    for position in range(len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 0x41
        with pytest.raises((MalformedSnapshot, DecryptionFailed, UnknownSecret)):
            decode_snapshot(bytes(changed), SECRETS)


def test_every_shorter_file_is_malformed() -> None:
    frame = encoded()
    for size in range(len(frame)):
        with pytest.raises(MalformedSnapshot):
            decode_snapshot(frame[:size])
    with pytest.raises(MalformedSnapshot):
        decode_snapshot(frame + b"{")


REAL = [("sgx_service", 99, 100), ("sgx_service", 138, 139)]


@pytest.fixture(params=REAL, ids=str)
def real(request: pytest.FixtureRequest) -> tuple[Path, int, bytes]:
    name, seqno, evidence = request.param
    service = require_vectors() / "ccf-services" / name
    return service, seqno, (service / "snapshots" / f"snapshot_{seqno}_{evidence}.committed").read_bytes()


def test_a_real_snapshot_is_the_state_of_its_ledger_bit_for_bit(real: tuple[Path, int, bytes]) -> None:
    """Its ledger, replayed into our store and encoded anew, gives the bytes a real node wrote."""
    service, seqno, data = real
    frames = frames_of(service / "ledger")
    secrets = unwrap_secrets(frames, service / "common")
    store = Store()
    tree = MerkleTree()
    leaf = b""
    for number, frame in enumerate(frames[:seqno], 1):
        entry = decode_entry(frame, secrets)
        leaf = entry.leaf
        store.apply(number, entry.writes)
        tree.append(leaf)
    frame, receipt = split_file(data)
    snapshot = decode_snapshot(frame, secrets)
    assert receipt.startswith(b"{")
    assert contents(snapshot.tables) == contents(store.tables())
    assert snapshot.leaf == leaf
    assert snapshot.tree().root() == tree.root()
    assert encode_snapshot(seqno, leaf, snapshot.view_history, store.tables(), secrets.at(seqno)) == frame
