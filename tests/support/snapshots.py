"""A service whose ledger holds the evidence of a snapshot, without nodes: the file as a primary writes it."""

import json
from dataclasses import dataclass
from hashlib import sha256

import cbor2

from dataplane.crypto.cose import Sign1, encode_sign1
from dataplane.kv.store import Store
from dataplane.kv.tables import (
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    SNAPSHOT_EVIDENCE,
    UNIT_KEY,
    dump_json,
)
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import NO_CLAIMS, decode_entry, encode_entry
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import service_signature
from dataplane.ledger.snapshot import encode_snapshot
from dataplane.merkle.tree import MerkleTree
from dataplane.receipt import receipt_from_entries
from dataplane.txid import TxID
from tests.simulation.replica_machine import SECRET, node, service, signer

SECRETS = LedgerSecrets({1: SECRET})
SERVICE_CERT = service().cert


class Ledger:
    """Entries of one view, applied and signed as a primary does."""

    def __init__(self) -> None:
        self.store = Store()
        self.tree = MerkleTree()
        self.frames: list[bytes] = []

    def write(self, writes: WriteSet, claims_digest: bytes = NO_CLAIMS) -> TxID:
        txid = TxID(2, len(self.frames) + 1)
        encoded = encode_entry(txid, writes, secret=SECRETS.at(1), claims_digest=claims_digest)
        self.store.apply(txid.seqno, writes)
        self.tree.append(encoded.leaf)
        self.frames.append(encoded.frame)
        return txid

    def sign(self) -> TxID:
        txid = TxID(2, len(self.frames) + 1)
        return self.write(signer(node(0))(txid, self.tree.root(), self.tree.serialise(0, txid.seqno - 1)))

    def snapshot(self) -> bytes:
        """The frame of a snapshot at the newest entry, a signature."""
        seqno = len(self.frames)
        return encode_snapshot(seqno, self.tree.leaf(seqno), (1, 1), self.store.tables(), SECRETS.at(1))


@dataclass(frozen=True, slots=True)
class SnapshotFiles:
    """The same snapshot with either kind of receipt."""

    frame: bytes
    with_json: bytes
    with_cose: bytes
    evidence: TxID


def snapshot_files(keys: int = 3, claims: bytes | None = None) -> SnapshotFiles:
    """A snapshot of a small service. `claims` stands in for its digest in the evidence transaction."""
    ledger = Ledger()
    ledger.write(_genesis())
    for number in range(keys):
        ledger.write({"records": {b"%d" % number: b"value"}, "public:records": {b"%d" % number: b"value"}})
    ledger.sign()
    frame = ledger.snapshot()
    digest = sha256(frame).digest()
    row = {"hash": digest.hex(), "version": len(ledger.frames)}
    evidence = ledger.write({SNAPSHOT_EVIDENCE: {UNIT_KEY: dump_json(row)}}, claims or digest)
    ledger.sign()
    entry = decode_entry(ledger.frames[-2])
    signature = decode_entry(ledger.frames[-1]).writes
    receipt = receipt_from_entries(entry, SECRETS.at(1), signature)
    signed = service_signature(signature)
    assert signed is not None
    return SnapshotFiles(
        frame,
        frame + json.dumps(receipt).encode(),
        frame + _cose_receipt(receipt, signed),
        evidence,
    )


def _cose_receipt(receipt: dict[str, object], signature: Sign1) -> bytes:
    """ledger-format.md 4.2, from the parts of the JSON receipt."""
    leaf: dict[str, str] = receipt["leaf_components"]  # type: ignore[assignment]
    steps: list[dict[str, str]] = receipt["proof"]  # type: ignore[assignment]
    path = [["left" in step, bytes.fromhex(*step.values())] for step in steps]
    parts = [bytes.fromhex(leaf["write_set_digest"]), leaf["commit_evidence"], bytes.fromhex(leaf["claims_digest"])]
    proof = cbor2.dumps({1: parts, 2: path})
    return encode_sign1(signature.protected_bytes, {396: {-1: [proof]}}, None, signature.signature)


def _genesis() -> WriteSet:
    key = node(0).id.encode()
    record = {"status": "Trusted", "node_to_node_interface": {"published_address": "127.0.0.1:1"}}
    return {
        SERVICE_INFO: {UNIT_KEY: dump_json({"cert": SERVICE_CERT, "status": "Open"})},
        NODES_INFO: {key: dump_json(record)},
        NODES_ENDORSED_CERTIFICATES: {key: node(0).cert.encode()},
    }
