"""A ledger followed entry by entry, each checked against the state the earlier ones left (ledger-format.md 9.2).

What a signature covers is proven: the Merkle root over everything before it, signed by a trusted node whose certificate
the service endorsed, and by the service. Beyond the public `ccf` package this checks views, the serialised trees, the
endorsements of earlier identities, the one way nodes write a signature, and, given the ledger secrets, tags and commit
evidence.
"""

from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any

from dataplane.crypto.certs import endorses
from dataplane.kv.tables import (
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
    SERVICE_INFO,
    SNAPSHOT_EVIDENCE,
    UNIT_KEY,
    load_json,
)
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.endorsement_chain import InvalidEndorsement
from dataplane.ledger.entry import DecodedEntry, check_evidence, decode_entry
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.service_identities import Identity, ServiceIdentities
from dataplane.ledger.signature_form import check_form
from dataplane.ledger.signatures import (
    InvalidSignatureTx,
    NodeSignature,
    is_signature,
    node_signature,
    service_signature,
    tree_bytes_of,
    verify_node_signature,
    verify_service_signature,
)
from dataplane.ledger.snapshot import Snapshot
from dataplane.merkle.tree import MalformedTree, MerkleTree
from dataplane.txid import NodeId, TxID

_NEXT_STATUS: dict[str, frozenset[str]] = {  # ledger-format.md 9.2 item 6
    "Opening": frozenset({"Opening", "Open", "WaitingForRecoveryShares"}),
    "Open": frozenset({"Opening", "Open", "Recovering"}),
    "Recovering": frozenset({"Opening", "Recovering", "WaitingForRecoveryShares"}),
    "WaitingForRecoveryShares": frozenset({"Opening", "WaitingForRecoveryShares", "Open"}),
}


class InvalidLedger(ValueError):
    """An entry contradicts what came before it."""


class AlteredEntries(InvalidLedger):
    """A signature covers other entries than the ledger holds: `seqnos` differ from those in its `tree`."""

    def __init__(self, seqnos: list[int], tree: MerkleTree) -> None:
        super().__init__(f"the entries {', '.join(map(str, seqnos[:8]))} are not those that were signed")
        self.seqnos = seqnos
        self.tree = tree


class LedgerReplay:
    """Follows a ledger entry by entry and checks each against the state the earlier ones left.

    `begin`: a snapshot that is trusted; the next entry then follows it, else it is the first of the ledger.
    """

    def __init__(self, secrets: LedgerSecrets | None = None, begin: Snapshot | None = None) -> None:
        self.last_txid: TxID | None = None
        self.last_signed: TxID | None = None
        self.signatures = 0
        self.cose_signatures = 0
        self.service_status: str | None = None
        self.snapshots: dict[int, str] = {}
        """Digests (hex) of snapshots that the ledger vouches for, by the seqno of their evidence."""
        self._identities = ServiceIdentities(complete=begin is None)
        self._secrets = secrets
        self._tree = MerkleTree()
        self._stray: dict[int, bytes] | None = None  # leaves by seqno, while the tree they belong to is unknown
        self._nodes: dict[NodeId, Any] = {}
        self._endorsed: dict[NodeId, list[str]] = {}  # the newest certificate last
        if begin is not None:
            self._begin(begin)

    @property
    def identities(self) -> list[Identity]:
        """The identities of the service, in order."""
        return self._identities.seen

    @property
    def service_cert_pem(self) -> str | None:
        """The newest certificate of the service."""
        present = self._identities.present
        return None if present is None else present.certificate_pem

    def add(self, frame: bytes) -> DecodedEntry:
        """Check the next entry.

        Raises `InvalidLedger`, or what decoding raises (`decode_entry`) and signatures (`InvalidSignatureTx`).
        """
        entry = decode_entry(frame, self._secrets)
        self._check_position(entry)
        if self._secrets is not None and entry.commit_evidence_digest is not None:
            check_evidence(entry, self._secrets.at(entry.txid.seqno))
        signed = is_signature(entry.writes)
        if signed:
            self._check_signatures(entry, frame)
        else:
            self._learn(entry)
        self._take(entry, signed=signed)
        return entry

    def adopt(self, entry: DecodedEntry, tree: MerkleTree) -> None:
        """Go on after a signature over altered entries (`AlteredEntries`) as if they were the ones it signed."""
        self._tree, self._stray = tree, None
        self._take(entry, signed=True)

    def pass_over(self, seqno: int) -> None:
        """Go on after an entry that cannot be taken. Its leaf is unknown until the next signature tells it."""
        self._append(seqno, bytes(32))
        self._resume_after(seqno)

    def lose(self, seqno: int) -> None:
        """Go on after entries up to `seqno` that are missing. The tree is unknown until the next signature."""
        self._stray = {}
        self._resume_after(seqno)

    def _resume_after(self, seqno: int) -> None:
        last = self.last_txid
        self.last_txid = self.last_signed = TxID(1 if last is None else last.view, seqno)

    def _append(self, seqno: int, leaf: bytes) -> None:
        if self._stray is None:
            self._tree.append(leaf)
        else:
            self._stray[seqno] = leaf

    def _take(self, entry: DecodedEntry, *, signed: bool) -> None:
        self._append(entry.txid.seqno, entry.leaf)
        self.last_txid = entry.txid
        if signed:
            self.last_signed = entry.txid

    def _begin(self, snapshot: Snapshot) -> None:
        def rows(table: str) -> Mapping[bytes, tuple[int, bytes]]:
            return snapshot.tables[table].rows if table in snapshot.tables else {}

        self._tree = snapshot.tree()
        writes: WriteSet = {
            name: {key: value for key, (_, value) in rows(name).items()}
            for name in (NODES_INFO, NODES_ENDORSED_CERTIFICATES, SERVICE_INFO)
        }
        txid = TxID(len(snapshot.view_history), snapshot.seqno)
        self._learn_tables(writes, txid)
        self.last_txid = self.last_signed = txid

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

    def _learn(self, entry: DecodedEntry) -> None:
        writes = entry.writes
        if not any(name.startswith("public:ccf.") for name in writes):
            return
        self._learn_tables(writes, entry.txid)
        evidence = writes.get(SNAPSHOT_EVIDENCE, {}).get(UNIT_KEY)
        if evidence is not None:
            self.snapshots[entry.txid.seqno] = _evidence_digest(evidence)

    def _learn_tables(self, writes: WriteSet, txid: TxID) -> None:
        try:
            self._learn_nodes(writes)
            self._learn_service(writes, txid)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, JSONDecodeError, RecursionError) as error:
            raise InvalidLedger(f"a built-in table cannot be read: {error!r}") from error
        except InvalidEndorsement as error:
            raise InvalidLedger(str(error)) from error

    def _learn_nodes(self, writes: WriteSet) -> None:
        for key, value in writes.get(NODES_INFO, {}).items():
            node_id = key.decode()
            if value is not None:
                self._nodes[node_id] = dict(load_json(value))
            elif self._nodes.pop(node_id, None) is None:
                raise InvalidLedger(f"node {node_id} is removed and was never there")
        for key, value in writes.get(NODES_ENDORSED_CERTIFICATES, {}).items():
            if value is not None:
                self._endorsed.setdefault(key.decode(), []).append(value.decode())
            else:
                self._endorsed.pop(key.decode(), None)

    def _learn_service(self, writes: WriteSet, txid: TxID) -> None:
        value = writes.get(SERVICE_INFO, {}).get(UNIT_KEY)
        if value is not None:
            info = load_json(value)
            status = str(info["status"])
            if self.service_status is not None and status not in _NEXT_STATUS.get(self.service_status, ()):
                raise InvalidLedger(f"the service goes from {self.service_status} to {status}")
            self.service_status = status
            self._identities.learn(str(info["cert"]), txid)
        row = writes.get(PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, {}).get(UNIT_KEY)
        if row is not None:
            self._identities.endorse(load_json(row))

    def _check_signatures(self, entry: DecodedEntry, frame: bytes) -> None:
        stored, node = tree_bytes_of(entry.writes), node_signature(entry.writes)
        self._check_tree(stored, entry.txid.seqno, node)
        check_form(entry, frame)
        root = self._tree.root()
        if node is not None:
            verify_node_signature(entry.txid, node, root, self._signer_certificate(node))
            self.signatures += 1
        service = service_signature(entry.writes)
        if service is not None:
            if self.service_cert_pem is None:
                raise InvalidLedger("a COSE signature before any service certificate")
            verify_service_signature(entry.txid, service, root, self.service_cert_pem)
            self.cose_signatures += 1
        self._identities.signed(root)

    def _signer_certificate(self, signature: NodeSignature) -> str:
        """The certificate of the node that signed. The one beside the signature must be one the service gave it."""
        node_id = signature.node_id
        info = self._nodes.get(node_id)
        if info is None or info.get("status") == "Pending":
            raise InvalidLedger(f"node {node_id} signed and is not trusted")
        endorsed = self._endorsed.get(node_id)
        if endorsed is None:
            if not info.get("cert"):
                raise InvalidLedger(f"node {node_id} signed and has no certificate")
            return str(info["cert"])  # CCF 1.x, before node certificates were endorsed
        chosen = endorsed[-1] if signature.cert is None else signature.cert
        if chosen not in endorsed:
            raise InvalidLedger(f"the certificate beside the signature was never given to node {node_id}")
        if self.service_cert_pem is None or not endorses(self.service_cert_pem, chosen):
            raise InvalidLedger(f"the certificate of node {node_id} is not endorsed by the service")
        return chosen

    def _check_tree(self, stored: bytes, seqno: int, node: NodeSignature | None) -> None:
        first = int.from_bytes(stored[8:16], "big")
        tree = self._tree
        if self._stray is None and tree.flushed <= first < seqno and stored == tree.serialise(first, seqno - 1):
            return
        try:
            signed = MerkleTree.deserialise(stored)
        except MalformedTree as error:
            raise InvalidLedger(f"the serialised tree cannot be read: {error}") from error
        if signed.size != seqno or signed.flushed != first:
            raise InvalidLedger(f"the serialised tree has {signed.size} leaves")
        differing = self._differing(signed)
        if self._stray is None and signed.root() == tree.root() and first < tree.flushed and not differing:
            return  # it goes back to before the snapshot this began with, and leads to the same root
        if signed.root() == tree.root() or node is None or not _vouches(node, signed.root()):
            raise InvalidLedger("the serialised tree is not that of the ledger")
        raise AlteredEntries(differing, signed)

    def _differing(self, signed: MerkleTree) -> list[int]:
        """The entries whose leaves are not those of `signed`, as far as both are known."""
        if self._stray is not None:
            known = self._stray.items()
            return [at for at, leaf in known if at >= signed.flushed and signed.leaf(at) != leaf]
        begin = max(signed.flushed, self._tree.flushed)
        return [at for at in range(begin, signed.size) if signed.leaf(at) != self._tree.leaf(at)]


def _vouches(node: NodeSignature, root: bytes) -> bool:
    """Whether the node signed this root with the key beside its signature: enough to find what was altered."""
    try:
        verify_node_signature(node.txid, node, root, node.cert or "")
    except InvalidSignatureTx:
        return False
    return True


def _evidence_digest(row: bytes) -> str:
    try:
        return str(load_json(row)["hash"])
    except (KeyError, TypeError, UnicodeDecodeError, JSONDecodeError) as error:
        raise InvalidLedger(f"the evidence of a snapshot cannot be read: {error!r}") from error
