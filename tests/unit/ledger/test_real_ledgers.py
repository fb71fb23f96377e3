"""Every ledger among the vectors, written by real CCF releases: read, verified, decrypted, and written again."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import cbor2
import pytest

from dataplane.client.verify import verify_ledger
from dataplane.crypto.certs import public_key_of
from dataplane.crypto.cose import encode_sign1, verify_sign1
from dataplane.kv.tables import COSE_SIGNATURES, SERVICE_INFO, TREE, UNIT_KEY, dump_json, load_json
from dataplane.ledger.chunk import chunk_header, positions_table, read_layout
from dataplane.ledger.entry import EntryType, check_evidence, decode_entry, encode_entry, reencode_entry
from dataplane.ledger.signatures import is_signature, service_signature
from dataplane.merkle.tree import MerkleTree
from tests.support.real_ledgers import chunk_files, frames_of, unwrap_secrets
from tests.support.vectors import ccf_services, require_vectors

SECRETS = {  # first bytes of each secret by first seqno, where ledger-format.md 11 tells them
    "acme_containing_service": {1: "6a2e4bec"},
    "double_sealed_service": {1: "0247b5e4", 484: "9ec711a7"},
    "sgx_service": dict.fromkeys((1, 38, 71, 102), ""),
}
EXPECTED = {  # last TxID, node signatures, COSE signatures; open chunks included
    "acme_containing_service": ("2.22", 8, 8),
    "cose_flipflop_service": ("2.46", 23, 5),
    "double_sealed_service": ("5.509", 156, 156),
    "sgx_service": ("8.153", 54, 0),
}


def test_there_are_vectors() -> None:
    require_vectors()
    assert set(EXPECTED) <= set(ccf_services())


@pytest.fixture(params=ccf_services() or ["none"])
def service(request: pytest.FixtureRequest) -> Path:
    return require_vectors() / "ccf-services" / str(request.param)


def test_verifies(service: Path) -> None:
    report = verify_ledger(service / "ledger", uncommitted=True)
    assert report.last_txid == report.last_signed
    if service.name in EXPECTED:
        assert (str(report.last_txid), report.signatures, report.cose_signatures) == EXPECTED[service.name]


def test_secrets_open_every_entry_and_it_is_written_again_bit_for_bit(service: Path) -> None:
    frames = frames_of(service / "ledger")
    secrets = unwrap_secrets(frames, service / "common")
    found = {version: key.hex() for version, key in secrets}
    for version, beginning in SECRETS.get(service.name, {}).items():
        assert found[version].startswith(beginning)
    for frame in frames:
        entry = decode_entry(frame, secrets)
        secret = secrets.at(entry.txid.seqno)
        assert reencode_entry(entry, secret) == frame
        if entry.entry_type is EntryType.WITH_EVIDENCE_AND_CLAIMS:
            assert entry.claims_digest is not None
            evidence = check_evidence(entry, secret)
            ours = encode_entry(
                entry.txid, entry.writes, secret=secret, claims_digest=entry.claims_digest, flags=entry.flags
            )
            assert ours == (frame, entry.write_set_digest, entry.leaf, evidence)


def test_verifies_with_its_secrets(service: Path) -> None:
    secrets = unwrap_secrets(frames_of(service / "ledger"), service / "common")
    assert verify_ledger(service / "ledger", uncommitted=True, secrets=secrets).last_txid is not None


def test_chunks_are_written_again_bit_for_bit(service: Path) -> None:
    for path in chunk_files(service / "ledger"):
        data = path.read_bytes()
        layout = read_layout(data)
        table = positions_table(layout.positions) if layout.complete else b""
        header = chunk_header(layout.end if layout.complete else 0)
        assert header + data[len(header) : layout.end] + table == data


def test_trees_and_cose_signatures_are_written_again_bit_for_bit(service: Path) -> None:
    tree = MerkleTree()
    service_cert = ""
    for frame in frames_of(service / "ledger"):
        entry = decode_entry(frame)
        service_info = entry.writes.get(SERVICE_INFO, {}).get(UNIT_KEY)
        service_cert = load_json(service_info)["cert"] if service_info else service_cert
        if is_signature(entry.writes):
            stored = entry.writes[TREE][UNIT_KEY]
            assert stored is not None
            loaded = MerkleTree.deserialise(stored)
            assert loaded.root() == tree.root()
            assert loaded.serialise(loaded.flushed, loaded.size - 1) == stored
            assert tree.serialise(loaded.flushed, entry.txid.seqno - 1) == stored
        message = service_signature(entry.writes)
        if message is not None:
            assert cbor2.dumps(dict(message.protected)) == message.protected_bytes
            ours = encode_sign1(message.protected_bytes, message.unprotected, message.payload, message.signature)
            assert dump_json(b64encode(ours).decode()) == entry.writes[COSE_SIGNATURES][UNIT_KEY]
            assert verify_sign1(message, public_key_of(service_cert), tree.root())
            assert not verify_sign1(message, public_key_of(service_cert), sha256(tree.root()).digest())
        tree.append(entry.leaf)
