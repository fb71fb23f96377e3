"""The public part of an old ledger, read back entry by entry for a recovery (ledger-format.md 6.7 step 1).

Reading stops at the first entry that does not fit, and what counts is the state at the last signature before it. The
Merkle root is compared at every signature; whose signatures they are is checked for the last one, which covers all that
came before it, and one by one only where that fails (`careful`).
"""

from json import JSONDecodeError

from dataplane.crypto.certs import endorses
from dataplane.kv.store import Store
from dataplane.kv.tables import (
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    UNIT_KEY,
    get_json,
)
from dataplane.kv.tx import Tx
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import DecodedEntry, MalformedEntry, decode_entry
from dataplane.ledger.signature_form import check_form, check_tree
from dataplane.ledger.signatures import (
    InvalidSignatureTx,
    is_signature,
    node_signature,
    service_signature,
    tree_bytes_of,
    verify_node_signature,
    verify_service_signature,
)
from dataplane.merkle.tree import MerkleTree
from dataplane.replica_state import State
from dataplane.txid import TxID

_UNREADABLE = (KeyError, TypeError, AttributeError, UnicodeDecodeError, JSONDecodeError)  # of a built-in table
_FLUSH_EVERY = 4096  # leaves that may gather before the tree forgets what no signature needs any more


class BadEntry(ValueError):
    """An entry that does not fit: nothing from its last signature on is part of the ledger."""


class PublicReplay:
    """Follows the public part of a ledger. After a `BadEntry` only `state` and what is beside it may be asked."""

    def __init__(self, begin: State | None = None, *, careful: bool = False) -> None:
        """Begin with seqno 1, or after the state of a snapshot. `careful` checks every signature in full."""
        self._careful = careful
        self._store = Store() if begin is None else Store(begin.tables, begin.seqno)
        self._tree = MerkleTree() if begin is None else begin.tree
        self._signed = [] if begin is None else list(begin.signed)
        self._starts = [] if begin is None else list(begin.view_history)  # element i: first seqno of view i+1
        self._history = [] if begin is None else list(begin.secret_history())
        self._last_signature: tuple[TxID, WriteSet, bytes] | None = None

    @property
    def next_seqno(self) -> int:
        """The entry to add next."""
        return self._store.version + 1

    @property
    def last_signed_seqno(self) -> int:
        """Where the state would end."""
        return self._store.committed

    def add(self, frame: bytes) -> None:
        """Take the next entry; raises `BadEntry`."""
        try:
            entry = decode_entry(frame)
        except MalformedEntry as error:
            raise BadEntry(str(error)) from error
        txid = entry.txid
        if txid.seqno != self._store.version + 1:
            raise BadEntry(f"{txid} stands where seqno {self._store.version + 1} should be")
        self._check_view(txid)
        signed = is_signature(entry.writes)
        if signed:
            self._check_signature(entry, frame)
        secret = entry.writes.get(HISTORICAL_ENCRYPTED_LEDGER_SECRET, {}).get(UNIT_KEY)
        if secret is not None:
            self._history.append((txid.seqno, secret))
        self._store.apply(txid.seqno, entry.writes)
        self._tree.append(entry.leaf)
        if signed:
            self._settle(txid)

    def verify_end(self) -> bool:
        """Whether the last signature is that of a trusted node and of the service, in full; True without any."""
        if self._last_signature is None:
            return True
        try:
            _verify(self._store.begin_at_committed(), *self._last_signature)
        except (InvalidSignatureTx, *_UNREADABLE):
            return False
        return True

    def state(self) -> State:
        """Everything up to the last signature. Ends the replay: later entries are forgotten."""
        seqno = self._store.committed
        self._store.rollback(seqno)
        self._tree.truncate(seqno + 1)
        history = [write for write in self._history if write[0] <= seqno]
        view_history = [start for start in self._starts if start <= seqno]
        return State(seqno, view_history, self._store.tables(), self._tree, self._signed, history)

    def _check_view(self, txid: TxID) -> None:
        last_view = len(self._starts)
        if txid.view == last_view:
            return
        if txid.view < last_view:
            raise BadEntry(f"{txid} goes back from view {last_view}")
        if self._store.version != self._store.committed:
            raise BadEntry(f"the view changes at {txid}, which follows no signature")
        self._starts.extend([txid.seqno] * (txid.view - last_view))

    def _check_signature(self, entry: DecodedEntry, frame: bytes) -> None:
        root = self._tree.root()
        try:
            node = node_signature(entry.writes)
            if self._careful or node is None:
                _verify(self._store.begin(), entry.txid, entry.writes, root)
            elif node.txid != entry.txid or node.root != root:
                raise InvalidSignatureTx(f"the signature at {entry.txid} is not over the entries before it")
            # The newest signature is covered by no other: whatever a node would take from it has to be right.
            check_tree(tree_bytes_of(entry.writes), self._tree, entry.txid.seqno)
            check_form(entry, frame)
        except (InvalidSignatureTx, *_UNREADABLE) as error:
            raise BadEntry(f"{entry.txid}: {error!r}") from error
        self._last_signature = (entry.txid, entry.writes, root)

    def _settle(self, txid: TxID) -> None:
        self._store.compact(txid.seqno)
        self._signed.append(txid.seqno)
        if txid.seqno - self._tree.flushed >= _FLUSH_EVERY:
            self._tree.flush(txid.seqno)


def _verify(tx: Tx, txid: TxID, writes: WriteSet, root: bytes) -> None:
    """Both signatures of a transaction against the nodes and the service that `tx` sees."""
    info = get_json(tx, SERVICE_INFO)
    if info is None:
        raise InvalidSignatureTx(f"{txid} is signed before there is a service")
    node = node_signature(writes)
    if node is not None:
        verify_node_signature(txid, node, root, _signer_certificate(tx, node.node_id, info["cert"]))
        if node.cert is not None and not endorses(info["cert"], node.cert.encode()):
            raise InvalidSignatureTx(f"the certificate beside the signature at {txid} is not endorsed by the service")
    service = service_signature(writes)
    if service is not None:
        verify_service_signature(txid, service, root, info["cert"])


def _signer_certificate(tx: Tx, node_id: str, service_cert_pem: str) -> str:
    record = get_json(tx, NODES_INFO, node_id.encode())
    if record is None or record["status"] == "Pending":
        raise InvalidSignatureTx(f"node {node_id} signed and is not trusted")
    endorsed = tx.get(NODES_ENDORSED_CERTIFICATES, node_id.encode())
    if endorsed is None:
        if not record.get("cert"):
            raise InvalidSignatureTx(f"node {node_id} signed and has no certificate")
        return str(record["cert"])  # CCF 1.x, before node certificates were endorsed
    if not endorses(service_cert_pem, endorsed):
        raise InvalidSignatureTx(f"the certificate of node {node_id} is not endorsed by the service")
    return endorsed.decode()
