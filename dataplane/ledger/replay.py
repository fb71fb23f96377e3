"""A ledger followed entry by entry, each checked against the state the earlier ones left (ledger-format.md 9.2).

What a signature covers is proven: the Merkle root over everything before it, signed by a trusted node whose certificate
the service endorsed, and by the service. Beyond the public `ccf` package this checks views, the serialised trees, and,
given the ledger secrets, tags and commit evidence.
"""

from functools import lru_cache
from json import JSONDecodeError
from typing import Any

from dataplane.crypto.certs import InvalidCertificate, is_issued_by, load_certificate
from dataplane.kv.tables import NODES_ENDORSED_CERTIFICATES, NODES_INFO, SERVICE_INFO, UNIT_KEY, load_json
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import DecodedEntry, check_evidence, decode_entry
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import (
    is_signature,
    node_signature,
    service_signature,
    tree_bytes_of,
    verify_node_signature,
    verify_service_signature,
)
from dataplane.merkle.tree import MerkleTree
from dataplane.txid import NodeId, TxID

_NEXT_STATUS: dict[str, frozenset[str]] = {  # ledger-format.md 9.2 item 6
    "Opening": frozenset({"Opening", "Open", "WaitingForRecoveryShares"}),
    "Open": frozenset({"Opening", "Open", "Recovering"}),
    "Recovering": frozenset({"Opening", "Recovering", "WaitingForRecoveryShares"}),
    "WaitingForRecoveryShares": frozenset({"Opening", "WaitingForRecoveryShares", "Open"}),
}


class InvalidLedger(ValueError):
    """An entry contradicts what came before it."""


class LedgerReplay:
    """Follows a ledger entry by entry and checks each against the state the earlier ones left."""

    def __init__(self, secrets: LedgerSecrets | None = None) -> None:
        self.last_txid: TxID | None = None
        self.last_signed: TxID | None = None
        self.signatures = 0
        self.cose_signatures = 0
        self.service_status: str | None = None
        self.service_cert_pem: str | None = None
        self._secrets = secrets
        self._tree = MerkleTree()
        self._nodes: dict[NodeId, Any] = {}
        self._endorsed: dict[NodeId, str] = {}

    def add(self, frame: bytes) -> DecodedEntry:
        """Check the next entry.

        Raises `InvalidLedger`, or what decoding raises (`decode_entry`) and signatures (`InvalidSignatureTx`).
        """
        entry = decode_entry(frame, self._secrets)
        self._check_position(entry)
        if self._secrets is not None and entry.commit_evidence_digest is not None:
            check_evidence(entry, self._secrets.at(entry.txid.seqno))
        try:
            self._learn_nodes(entry.writes)
            self._learn_service(entry.writes)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, JSONDecodeError) as error:
            raise InvalidLedger(f"a built-in table cannot be read: {error!r}") from error
        if is_signature(entry.writes):
            self._check_signatures(entry)
            self.last_signed = entry.txid
        self._tree.append(entry.leaf)
        self.last_txid = entry.txid
        return entry

    def _check_position(self, entry: DecodedEntry) -> None:
        last = self.last_txid
        if entry.txid.seqno != (1 if last is None else last.seqno + 1):
            raise InvalidLedger(f"{entry.txid} does not follow {last}")
        if last is None or entry.txid.view == last.view:
            return
        if entry.txid.view < last.view:
            raise InvalidLedger(f"the view goes back from {last} to {entry.txid}")
        if last != self.last_signed:
            raise InvalidLedger(f"the view changes at {entry.txid} after {last}, which is no signature")

    def _learn_nodes(self, writes: WriteSet) -> None:
        for key, value in writes.get(NODES_INFO, {}).items():
            node_id = key.decode()
            if value is not None:
                self._nodes[node_id] = load_json(value)
            elif self._nodes.pop(node_id, None) is None:
                raise InvalidLedger(f"node {node_id} is removed and was never there")
        for key, value in writes.get(NODES_ENDORSED_CERTIFICATES, {}).items():
            if value is not None:
                self._endorsed[key.decode()] = value.decode()
            else:
                self._endorsed.pop(key.decode(), None)

    def _learn_service(self, writes: WriteSet) -> None:
        value = writes.get(SERVICE_INFO, {}).get(UNIT_KEY)
        if value is None:
            return
        info = load_json(value)
        status = str(info["status"])
        if self.service_status is not None and status not in _NEXT_STATUS.get(self.service_status, ()):
            raise InvalidLedger(f"the service goes from {self.service_status} to {status}")
        self.service_status = status
        self.service_cert_pem = str(info["cert"])

    def _check_signatures(self, entry: DecodedEntry) -> None:
        root = self._tree.root()
        node = node_signature(entry.writes)
        if node is not None:
            verify_node_signature(entry.txid, node, root, self._signer_certificate(node.node_id))
            self.signatures += 1
        service = service_signature(entry.writes)
        if service is not None:
            if self.service_cert_pem is None:
                raise InvalidLedger("a COSE signature before any service certificate")
            verify_service_signature(entry.txid, service, root, self.service_cert_pem)
            self.cose_signatures += 1
        self._check_tree(tree_bytes_of(entry.writes), entry.txid.seqno)

    def _signer_certificate(self, node_id: NodeId) -> str:
        info = self._nodes.get(node_id)
        if info is None or info["status"] == "Pending":
            raise InvalidLedger(f"node {node_id} signed and is not trusted")
        endorsed = self._endorsed.get(node_id)
        if endorsed is None:
            if not info.get("cert"):
                raise InvalidLedger(f"node {node_id} signed and has no certificate")
            return str(info["cert"])  # CCF 1.x, before node certificates were endorsed
        if self.service_cert_pem is None or not _endorses(self.service_cert_pem, endorsed):
            raise InvalidLedger(f"the certificate of node {node_id} is not endorsed by the service")
        return endorsed

    def _check_tree(self, stored: bytes, seqno: int) -> None:
        first = int.from_bytes(stored[8:16], "big")
        if first >= seqno or stored != self._tree.serialise(first, seqno - 1):
            raise InvalidLedger("the serialised tree is not that of the ledger")


@lru_cache(maxsize=256)
def _endorses(service_cert_pem: str, node_cert_pem: str) -> bool:
    try:
        return is_issued_by(load_certificate(node_cert_pem), load_certificate(service_cert_pem))
    except InvalidCertificate:
        return False
