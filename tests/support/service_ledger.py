"""A service's ledger written by our codecs alone, without a node: what verifiers are fed in tests."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.attestation.virtual import MEASUREMENT, VirtualPlatform
from dataplane.crypto.certs import create_csr, endorse_node_csr, self_signed_service_certificate
from dataplane.crypto.keys import key_id, public_pem, spki_der
from dataplane.kv.tables import (
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    UNIT_KEY,
    dump_json,
)
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import NO_CLAIMS, DecodedEntry, EncodedEntry, decode_entry, encode_entry
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import build_signature, is_signature
from dataplane.merkle.tree import MerkleTree
from dataplane.receipt import receipt_from_entries
from dataplane.txid import TxID

SECRET = bytes(range(32))
ISSUED_AT_S = 1_760_000_000


class ServiceLedger:
    """A new service with one node. Transactions are appended to `entries`; nothing is on disk before `write_to`."""

    def __init__(self, chunk_size: int = 20_000) -> None:
        self.start = datetime.now(UTC) - timedelta(minutes=1)
        self.service_key = ec.generate_private_key(ec.SECP384R1())
        self.service_cert = self_signed_service_certificate(self.service_key, "CN=CCF Service", 1, self.start, 30)
        self.node_key = ec.generate_private_key(ec.SECP384R1())
        csr = create_csr(self.node_key, "CN=CCF Node", ["iPAddress:127.0.0.1"])
        self.node_cert = endorse_node_csr(self.service_key, self.service_cert, csr, 2, self.start, 30)
        self.node_id = key_id(self.node_key.public_key())
        self.secrets = LedgerSecrets({1: SECRET})
        self.view = 2
        self.entries: list[EncodedEntry] = []
        self.tree = MerkleTree()
        self._chunker = Chunker(chunk_size)
        self.append(self._genesis())
        self.sign()

    @property
    def next_txid(self) -> TxID:
        return TxID(self.view, len(self.entries) + 1)

    def append(self, writes: WriteSet, *, claims_digest: bytes = NO_CLAIMS, flags: int = 0) -> TxID:
        """Append a transaction."""
        txid = self.next_txid
        entry = encode_entry(txid, writes, secret=self.secrets.at(txid.seqno), claims_digest=claims_digest, flags=flags)
        self.entries.append(entry)
        self.tree.append(entry.leaf)
        self._chunker.appended(txid.seqno, len(entry.frame), flags)
        return txid

    def sign(self) -> TxID:
        """Append a signature transaction."""
        txid = self.next_txid
        return self.append(self.signature_writes(), flags=self._chunker.flags_at(txid.seqno))

    def signature_writes(self, **changes: Any) -> WriteSet:
        """The writes of a signature here and now, `changes` of its arguments applied."""
        arguments: dict[str, Any] = {
            "txid": self.next_txid,
            "root": self.tree.root(),
            "node_id": self.node_id,
            "node_key": self.node_key,
            "node_cert_pem": self.node_cert,
            "service_key": self.service_key,
            "issuer": "service.example.com",
            "subject": "ledger.signature",
            "issued_at_s": ISSUED_AT_S,
            "tree_bytes": self.tree.serialise(0, self.tree.size - 1),
        }
        return build_signature(**(arguments | changes))

    def set_status(self, status: str) -> TxID:
        """Append a change of the service's status."""
        return self.append({SERVICE_INFO: {UNIT_KEY: self._service_info(status)}})

    def write_to(self, directory: Path, *, commit: bool = True) -> Path:
        """Write everything as chunks; with `commit`, complete ones get their final name."""
        files = LedgerFiles(directory)
        for seqno, entry in enumerate(self.entries, 1):
            files.append(entry.frame, seqno)
        files.sync()
        if commit:
            files.commit(len(self.entries))
        files.close()
        return directory

    def receipt(self, seqno: int) -> dict[str, Any]:
        """The receipt of a transaction that a later signature covers."""
        signature = next(entry for entry in self.decoded(seqno + 1) if is_signature(entry.writes))
        (entry,) = self.decoded(seqno, seqno)
        return receipt_from_entries(entry, self.secrets.at(seqno), signature.writes)

    def decoded(self, first: int = 1, last: int | None = None) -> Iterator[DecodedEntry]:
        """Entries read back from their frames."""
        return (decode_entry(entry.frame, self.secrets) for entry in self.entries[first - 1 : last])

    def _genesis(self) -> WriteSet:
        public_key = self.node_key.public_key()
        evidence = VirtualPlatform(sha256(b"executable").digest()).attest(sha256(spki_der(public_key)).digest())
        node = {
            "code_digest": MEASUREMENT.encode().hex(),
            "public_key": public_pem(public_key),
            "quote_info": evidence.to_json(),
            "status": "Trusted",
        }
        return {
            SERVICE_INFO: {UNIT_KEY: self._service_info("Opening")},
            NODES_INFO: {self.node_id.encode(): dump_json(node)},
            NODES_ENDORSED_CERTIFICATES: {self.node_id.encode(): self.node_cert.encode()},
        }

    def _service_info(self, status: str) -> bytes:
        return dump_json(
            {
                "cert": self.service_cert,
                "current_service_create_txid": "2.1",
                "recovery_count": 0,
                "status": status,
            }
        )


def filled_ledger(transactions: int = 100, *, signature_every: int = 10, chunk_size: int = 20_000) -> ServiceLedger:
    """An open service with that many application transactions over two views; every second one carries claims."""
    ledger = ServiceLedger(chunk_size)
    ledger.set_status("Open")
    ledger.sign()
    for number in range(transactions):
        record = b'{"record":%d}' % number
        writes: WriteSet = {
            "public:records": {b"%d" % number: record},
            "records": {b"%d" % number: bytes(60), b"gone": None},
        }
        ledger.append(writes, claims_digest=sha256(record).digest() if number % 2 else NO_CLAIMS)
        if number % signature_every == signature_every - 1:
            ledger.sign()
        if number == transactions // 2:
            ledger.sign()
            ledger.view += 1
            ledger.sign()
    ledger.sign()
    return ledger
