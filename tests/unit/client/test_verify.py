"""Offline verification of a ledger: it accepts good ones, and names the place where a bad one breaks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.client.verify import LedgerCorrupt, verify_ledger
from dataplane.crypto.certs import create_csr, endorse_node_csr
from dataplane.crypto.keys import key_id
from dataplane.kv.tables import (
    COSE_SIGNATURES,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    SIGNATURES,
    TREE,
    UNIT_KEY,
    dump_json,
)
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.chunk import read_layout
from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.txid import TxID
from tests.support.service_ledger import ServiceLedger, filled_ledger

END = EntryFlags.CHUNK_AFTER


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    return filled_ledger(40, chunk_size=7_000)


def test_a_good_ledger(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path)
    report = verify_ledger(directory, uncommitted=True, secrets=ledger.secrets)
    last = TxID(ledger.view, len(ledger.entries))
    assert (report.last_txid, report.last_signed) == (last, last)
    assert report.signatures == report.cose_signatures > 3
    assert (report.service_status, report.service_cert_pem) == ("Open", ledger.service_cert)
    assert report.chunks[0].startswith("ledger_1-")
    committed = verify_ledger(directory)
    assert committed.chunks == report.chunks[:-1]
    assert committed.last_txid is not None
    assert committed.last_txid < last


def test_an_empty_ledger(tmp_path: Path) -> None:
    report = verify_ledger(tmp_path)
    assert (report.last_txid, report.chunks) == (None, ())


def test_an_unsigned_end_is_told_apart(tmp_path: Path) -> None:
    ledger = ServiceLedger()
    ledger.append({"public:t": {b"k": b"v"}})
    report = verify_ledger(ledger.write_to(tmp_path), uncommitted=True)
    assert (report.last_txid, report.last_signed) == (TxID(2, 3), TxID(2, 2))


def test_ignored_and_foreign_files_do_not_matter(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path)
    before = verify_ledger(directory)
    (directory / "ledger_3.ignored").write_bytes(b"x")
    (directory / "ledger_9-10.committed.recovery").write_bytes(b"x")
    (directory / "notes.txt").write_text("x")
    assert verify_ledger(directory) == before


def test_a_torn_end_of_an_open_chunk_is_no_corruption(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path)
    (open_chunk,) = directory.glob("ledger_*[0-9]")
    expected = verify_ledger(directory, uncommitted=True)
    open_chunk.write_bytes(open_chunk.read_bytes() + b"\x01\x00\xff")
    assert verify_ledger(directory, uncommitted=True) == expected


def test_every_changed_byte_of_a_signed_frame_is_found(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path)
    path = directory / verify_ledger(directory).chunks[1]
    good = path.read_bytes()
    layout = read_layout(good)
    start, end = layout.bounds(1)
    for offset in range(start, end, 7):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 0x10]) + good[offset + 1 :])
        with pytest.raises(LedgerCorrupt) as failure:
            verify_ledger(directory)
        assert failure.value.file == path
        if failure.value.offset is not None:
            assert failure.value.offset >= start


def test_the_place_is_named(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path)
    path = directory / verify_ledger(directory).chunks[0]
    data = bytearray(path.read_bytes())
    start, _ = read_layout(bytes(data)).bounds(2)
    data[start + 24] ^= 1  # the seqno in the header of the third entry
    path.write_bytes(data)
    with pytest.raises(LedgerCorrupt, match="seqno 3 in the public domain, 2 in the header") as failure:
        verify_ledger(directory)
    assert (failure.value.file, failure.value.offset, failure.value.seqno) == (path, start, 3)
    assert f"at byte {start}, seqno 3" in str(failure.value)


@pytest.mark.parametrize("missing", [0, 1])
def test_missing_chunks(ledger: ServiceLedger, tmp_path: Path, missing: int) -> None:
    directory = ledger.write_to(tmp_path)
    chunks = verify_ledger(directory).chunks
    assert len(chunks) > missing + 1
    (directory / chunks[missing]).unlink()
    with pytest.raises(LedgerCorrupt, match="should come next"):
        verify_ledger(directory)


def test_a_name_that_promises_too_much(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path)
    first, last = verify_ledger(directory).chunks[0].removesuffix(".committed").split("-")
    (directory / f"{first}-{last}.committed").rename(directory / f"{first}-{int(last) + 1}.committed")
    with pytest.raises(LedgerCorrupt, match="promises"):
        verify_ledger(directory)


def test_wrong_secrets_are_noticed(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path)
    with pytest.raises(LedgerCorrupt, match="tag"):
        verify_ledger(directory, secrets=LedgerSecrets({1: bytes(32)}))
    with pytest.raises(LedgerCorrupt, match="no ledger secret covers seqno 1"):
        verify_ledger(directory, secrets=LedgerSecrets({2: bytes(32)}))


def signed(change: Callable[[ServiceLedger], WriteSet]) -> Callable[[ServiceLedger], None]:
    return lambda ledger: void(ledger.append(change(ledger)))


def void(_: object) -> None:
    return None


def foreign_node(ledger: ServiceLedger, *, status: str = "Trusted", endorse: bool = True) -> WriteSet:
    """Record a second node, and give the signature it makes afterwards."""
    key = ec.generate_private_key(ec.SECP384R1())
    authority = ledger if endorse else ServiceLedger()
    csr = create_csr(key, "CN=CCF Node", [])
    cert = endorse_node_csr(authority.service_key, authority.service_cert, csr, 7, ledger.start, 1)
    node_id = key_id(key.public_key())
    ledger.append(
        {
            NODES_INFO: {node_id.encode(): dump_json({"status": status})},
            NODES_ENDORSED_CERTIFICATES: {node_id.encode(): cert.encode()},
        }
    )
    return ledger.signature_writes(node_id=node_id, node_key=key, node_cert_pem=cert)


def change_view(ledger: ServiceLedger, by: int) -> None:
    ledger.append({"public:t": {b"k": b"v"}})
    ledger.view += by
    ledger.append({"public:t": {b"k": b"v"}})


def table(name: str, rows: dict[bytes, bytes | None]) -> Callable[[ServiceLedger], None]:
    return lambda ledger: void(ledger.append({name: rows}))


SERVICE_ROW: Any = {"cert": "x", "status": "Opening"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (signed(lambda ledger: ledger.signature_writes(root=bytes(32))), "signed root"),
        (signed(lambda ledger: ledger.signature_writes(txid=TxID(2, 9))), r"says 2\.9"),
        (signed(lambda ledger: ledger.signature_writes(node_id="0" * 64)), "signed and is not trusted"),
        (signed(lambda ledger: ledger.signature_writes(node_key=ledger.service_key)), "does not hold"),
        (signed(lambda ledger: ledger.signature_writes(service_key=ledger.node_key)), "another key"),
        (signed(lambda ledger: ledger.signature_writes(tree_bytes=ledger.tree.serialise(0, 1))), "serialised tree"),
        (signed(lambda ledger: ledger.signature_writes(tree_bytes=b"short")), "serialised tree"),
        (signed(lambda ledger: ledger.signature_writes(tree_bytes=bytes(15) + b"c" + bytes(32))), "serialised tree"),
        (signed(lambda ledger: foreign_node(ledger, status="Pending")), "not trusted"),
        (signed(lambda ledger: foreign_node(ledger, endorse=False)), "not endorsed by the service"),
        (lambda ledger: void(ledger.append(ledger.signature_writes() | {TREE: {}})), "tree is missing"),
        (lambda ledger: change_view(ledger, 1), "which is no signature"),
        (lambda ledger: change_view(ledger, -1), "goes back"),
        (lambda ledger: void(ledger.append({"public:t": {b"k": b"v"}}, flags=END)), "only a signature"),
        (table(NODES_INFO, {b"unknown": None}), "was never there"),
        (table(NODES_INFO, {b"n": b"not json"}), "cannot be read"),
        (table(NODES_ENDORSED_CERTIFICATES, {b"\xff": b"x"}), "cannot be read"),
        (table(SERVICE_INFO, {UNIT_KEY: b"[]"}), "cannot be read"),
        (table(SERVICE_INFO, {UNIT_KEY: dump_json(SERVICE_ROW | {"status": "Recovering"})}), "from Opening to"),
    ],
)
def test_entries_that_contradict_the_ledger(
    tmp_path: Path, spoil: Callable[[ServiceLedger], None], reason: str
) -> None:
    ledger = ServiceLedger()
    spoil(ledger)
    with pytest.raises(LedgerCorrupt, match=reason):
        verify_ledger(ledger.write_to(tmp_path), uncommitted=True)


def test_a_second_trusted_node_may_sign(tmp_path: Path) -> None:
    ledger = ServiceLedger()
    writes = foreign_node(ledger)
    assert set(writes) == {SIGNATURES, COSE_SIGNATURES, TREE}
    ledger.append(writes)
    assert verify_ledger(ledger.write_to(tmp_path), uncommitted=True).signatures == 2
