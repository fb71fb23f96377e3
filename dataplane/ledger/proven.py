"""Entries read back from a ledger, each proven by the first signature after it (ledger-format.md 4.3).

A proven entry decodes, its tag and commit evidence fit the ledger secret of its seqno, the covering signature's tree
holds its leaf, and a node signed that tree's root. `check_endorsed` adds that the service endorsed this node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dataplane.crypto.certs import InvalidCertificate, is_issued_by, load_certificate, public_key_of
from dataplane.crypto.cose import Sign1
from dataplane.crypto.keys import verify_digest
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import DecodedEntry, check_evidence
from dataplane.ledger.secrets import LedgerSecretCipher
from dataplane.ledger.signatures import (
    InvalidSignatureTx,
    NodeSignature,
    node_signature,
    service_signature,
    tree_bytes_of,
    verify_service_signature,
)
from dataplane.merkle.proof import Step
from dataplane.merkle.tree import MalformedTree, MerkleTree
from dataplane.txid import TxID


@dataclass(frozen=True, slots=True)
class LeafComponents:
    """What the leaf of a transaction is hashed from. Digests have 32 bytes.

    `commit_evidence` and `claims_digest` are None for the entry types that lack them (ledger-format.md 2.1).
    """

    write_set_digest: bytes
    commit_evidence: str | None
    claims_digest: bytes | None


@dataclass(frozen=True, slots=True)
class Cover:
    """A signature transaction: `node` is None where only the service signed (COSE), `cose` where only the node did.

    The node's signature over `root` has been verified, unless its certificate is missing as in ledgers of CCF 1.x.
    """

    txid: TxID
    root: bytes
    node: NodeSignature | None
    cose: Sign1 | None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ProvenEntry:
    """One transaction of the past. `path` leads from its leaf to `cover.root`; None for a signature transaction,
    which its own root proves. `size` estimates its memory in bytes."""

    txid: TxID
    writes: WriteSet
    components: LeafComponents
    path: tuple[Step, ...] | None
    cover: Cover
    size: int


def read_cover(entry: DecodedEntry) -> tuple[Cover, MerkleTree]:
    """Check a signature transaction against itself: its tree, and the node's signature over that tree's root.

    Raises `InvalidSignatureTx`.
    """
    node, cose = node_signature(entry.writes), service_signature(entry.writes)
    if node is None and cose is None:
        raise InvalidSignatureTx(f"{entry.txid} is no signature transaction")
    try:
        tree = MerkleTree.deserialise(tree_bytes_of(entry.writes))
    except MalformedTree as error:
        raise InvalidSignatureTx(f"the tree of {entry.txid} cannot be read: {error}") from error
    if tree.size != entry.txid.seqno:
        raise InvalidSignatureTx(f"the tree of {entry.txid} has {tree.size} leaves")
    root = tree.root()
    if node is not None:
        _check_node_signature(entry.txid, node, root)
    return Cover(entry.txid, root, node, cose), tree


def prove(
    entry: DecodedEntry, frame_size: int, secret: LedgerSecretCipher, cover: Cover, tree: MerkleTree
) -> ProvenEntry:
    """The entry, proven by `cover` and its `tree`; both come from `read_cover`.

    Raises `InvalidSignatureTx` when the tree does not hold the entry, `MalformedEntry` for evidence of another secret.
    """
    evidence = None if entry.commit_evidence_digest is None else check_evidence(entry, secret)
    components = LeafComponents(entry.write_set_digest, evidence, entry.claims_digest)
    path = None if entry.txid == cover.txid else tuple(_path(entry, cover, tree))
    size = _OBJECTS_SIZE + 2 * frame_size + _STEP_SIZE * len(path or ())
    return ProvenEntry(entry.txid, entry.writes, components, path, cover, size)


def check_endorsed(cover: Cover, service_cert_pem: str) -> None:
    """Raises `InvalidSignatureTx` unless this service endorsed the node that signed, and made the COSE signature."""
    if cover.node is not None and cover.node.cert is not None:
        try:
            issued = is_issued_by(load_certificate(cover.node.cert), load_certificate(service_cert_pem))
        except InvalidCertificate as error:
            raise InvalidSignatureTx(str(error)) from error
        if not issued:
            raise InvalidSignatureTx(f"the node that signed {cover.txid} is not endorsed by the service of its time")
    if cover.cose is not None:
        verify_service_signature(cover.txid, cover.cose, cover.root, service_cert_pem)


_OBJECTS_SIZE = 2_000  # an entry's dictionaries, digests and texts, roughly
_STEP_SIZE = 100


def _check_node_signature(txid: TxID, node: NodeSignature, root: bytes) -> None:
    if node.txid != txid or node.root != root:
        raise InvalidSignatureTx(f"the node signature in {txid} is about {node.txid} or another root")
    if node.cert is None:
        return
    try:
        key = public_key_of(node.cert)
    except InvalidCertificate as error:
        raise InvalidSignatureTx(str(error)) from error
    if not verify_digest(key, node.signature, root):
        raise InvalidSignatureTx(f"the signature of node {node.node_id} in {txid} does not hold")


def _path(entry: DecodedEntry, cover: Cover, tree: MerkleTree) -> Sequence[Step]:
    seqno = entry.txid.seqno
    try:
        leaf, path = tree.leaf(seqno), tree.path(seqno, cover.txid.seqno)
    except IndexError as error:
        raise InvalidSignatureTx(f"the tree of {cover.txid} does not cover {entry.txid}") from error
    if leaf != entry.leaf:
        raise InvalidSignatureTx(f"{entry.txid} is not the transaction that {cover.txid} signed")
    return path
