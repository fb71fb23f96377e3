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
    PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
    SERVICE_INFO,
    UNIT_KEY,
    dump_json,
    load_json,
)
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.endorsements import self_endorsement, successor_endorsement
from dataplane.ledger.entry import NO_CLAIMS, DecodedEntry, EncodedEntry, EntryFlags, decode_entry, encode_entry
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
        self.secrets = LedgerSecrets({1: SECRET})
        self.view = 2
        self.entries: list[EncodedEntry] = []
        self.tree = MerkleTree()
        self.created = self.next_txid
        self.previous_info: int | None = None
        self.endorsement: dict[str, Any] | None = None
        self.endorsed_at = 0
        self.last_signed_root = b""
        self._chunker = Chunker(chunk_size)
        self._make_identity()
        self.append(self._genesis("Opening"))
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

    def chunk_flags(self) -> int:
        """The flags of a signature that is appended here and now."""
        return self._chunker.flags_at(self.next_txid.seqno)

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
        """Append a change of the service's status; opening writes the endorsement of ledger-format.md 4.5 as well."""
        writes: WriteSet = {SERVICE_INFO: {UNIT_KEY: self._service_info(status)}}
        if status == "Open":
            self.endorsement = self._endorsement()
            self.endorsed_at = self.next_txid.seqno
            writes[PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT] = {UNIT_KEY: dump_json(self.endorsement)}
        return self.append(writes)

    def rekey(self) -> None:
        """Another ledger secret from the next transaction on."""
        at = self.next_txid.seqno
        self.secrets.add(at, sha256(b"secret from %d" % at).digest())

    def recover(self) -> None:
        """Go on as another service that recovered this ledger: keys, secret and view are new; Open in the end."""
        assert is_signature(next(self.decoded(len(self.entries))).writes), "a recovery begins after a signature"
        self.last_signed_root = self.tree.root_at(len(self.entries))
        self.previous_info = self.created.seqno
        self.view += 2
        self.created = self.next_txid
        self._make_identity()
        self.rekey()
        self.append(self._genesis("Recovering"), flags=EntryFlags.CHUNK_BEFORE)
        self.sign()
        self.set_status("WaitingForRecoveryShares")
        self.set_status("Open")
        self.sign()

    def service_info(self, status: str = "Open") -> dict[str, Any]:
        """The present `service.info`."""
        return dict(load_json(self._service_info(status)))

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

    def _make_identity(self) -> None:
        self.service_key = ec.generate_private_key(ec.SECP384R1())
        self.service_cert = self_signed_service_certificate(self.service_key, "CN=CCF Service", 1, self.start, 30)
        self.node_key = ec.generate_private_key(ec.SECP384R1())
        csr = create_csr(self.node_key, "CN=CCF Node", ["iPAddress:127.0.0.1"])
        self.node_cert = endorse_node_csr(self.service_key, self.service_cert, csr, 2, self.start, 30)
        self.node_id = key_id(self.node_key.public_key())

    def _genesis(self, status: str) -> WriteSet:
        public_key = self.node_key.public_key()
        evidence = VirtualPlatform(sha256(b"executable").digest()).attest(sha256(spki_der(public_key)).digest())
        node = {
            "code_digest": MEASUREMENT.encode().hex(),
            "public_key": public_pem(public_key),
            "quote_info": evidence.to_json(),
            "status": "Trusted",
        }
        return {
            SERVICE_INFO: {UNIT_KEY: self._service_info(status)},
            NODES_INFO: {self.node_id.encode(): dump_json(node)},
            NODES_ENDORSED_CERTIFICATES: {self.node_id.encode(): self.node_cert.encode()},
        }

    def _service_info(self, status: str) -> bytes:
        info: dict[str, Any] = {
            "cert": self.service_cert,
            "current_service_create_txid": str(self.created),
            "recovery_count": 0,
            "status": status,
        }
        if self.previous_info is not None:
            info["previous_service_identity_version"] = self.previous_info
        return dump_json(info)

    def _endorsement(self) -> dict[str, Any]:
        if self.endorsement is None:
            return self_endorsement(self.service_key, self.created, ISSUED_AT_S)
        return successor_endorsement(
            self.service_key,
            self.created,
            ISSUED_AT_S,
            previous=self.endorsement,
            previous_version=self.endorsed_at,
            last_signed_root=self.last_signed_root,
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
