"""Receipts: that a transaction is in the ledger of a service, checked offline (ledger-format.md 4.1, 4.3).

A receipt leads from the parts of one leaf, over a path of siblings, to a root that a node signed; the service endorsed
that node's certificate. All of it hangs on the service certificate the verifier already trusts.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataplane.crypto.certs import (
    Certificate,
    InvalidCertificate,
    is_authority,
    is_issued_by,
    load_certificate,
    public_key_of,
)
from dataplane.crypto.keys import key_id, verify_digest
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import DecodedEntry, leaf_of
from dataplane.ledger.proven import LeafComponents, ProvenEntry
from dataplane.ledger.secrets import LedgerSecretCipher, evidence_digest, txid_of_evidence
from dataplane.ledger.signatures import InvalidSignatureTx, NodeSignature, node_signature, tree_bytes_of
from dataplane.merkle.proof import Step, fold
from dataplane.merkle.tree import MerkleTree
from dataplane.txid import NodeId, TxID

__all__ = [
    "InvalidReceipt",
    "LeafComponents",
    "VerifiedReceipt",
    "build_receipt",
    "build_signature_receipt",
    "receipt_from_entries",
    "receipt_of",
    "verify_receipt",
]

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
EVIDENCE = re.compile(r"ce:[1-9][0-9]{0,18}\.[1-9][0-9]{0,18}:[0-9a-f]{64}", re.ASCII)
MAX_STEPS = 64
_DIGEST_SIZE = 32


class InvalidReceipt(ValueError):
    """The receipt is malformed, or proves nothing about the service. The message says what broke."""

    code = "InvalidReceipt"


class NotEndorsed(InvalidReceipt):
    """The node that signed is not one that the given service identity endorses."""


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt proves: `claims_digest` belongs to `txid` in the ledger whose `root` was signed.

    Of a signature transaction only the root is proven: `txid` and `claims_digest` are None. `node_id` names the node
    that signed, None where the service itself did (COSE).
    """

    txid: TxID | None
    claims_digest: bytes | None
    root: bytes
    node_id: NodeId | None


def build_receipt(
    components: LeafComponents, path: Sequence[Step], signature: NodeSignature, service_endorsements: Sequence[str] = ()
) -> dict[str, Any]:
    """The JSON receipt of a transaction; `signature` is the first one after it, `path` leads to that one's root.

    `service_endorsements`: PEM, needed when the signing node belongs to an earlier identity of the service. An entry
    without commit evidence has a bare `leaf`; a signature without certificate (both CCF 1.x) gives none in the receipt,
    and whoever verifies it must know the node's.
    """
    receipt = _signed_part(signature, path, service_endorsements)
    if components.commit_evidence is None:
        return receipt | {"leaf": components.write_set_digest.hex()}
    parts = {"commit_evidence": components.commit_evidence, "write_set_digest": components.write_set_digest.hex()}
    if components.claims_digest is not None:
        parts["claims_digest"] = components.claims_digest.hex()
    return receipt | {"leaf_components": parts}


def build_signature_receipt(signature: NodeSignature, service_endorsements: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON receipt of a signature transaction: the root it signed, and no path."""
    return _signed_part(signature, (), service_endorsements) | {"leaf": signature.root.hex()}


def receipt_of(entry: ProvenEntry, service_endorsements: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON receipt of a proven entry; raises `InvalidSignatureTx` where no node signed."""
    signature = entry.cover.node
    if signature is None:
        raise InvalidSignatureTx("a transaction signed with COSE alone has no JSON receipt")
    if entry.path is None:
        return build_signature_receipt(signature, service_endorsements)
    return build_receipt(entry.components, entry.path, signature, service_endorsements)


def receipt_from_entries(
    entry: DecodedEntry, secret: LedgerSecretCipher, signature_writes: WriteSet, endorsements: Sequence[str] = ()
) -> dict[str, Any]:
    """The receipt of `entry` from the ledger alone: its secret, and the writes of the first signature after it.

    Raises `InvalidSignatureTx` when those writes do not cover the entry.
    """
    signature = node_signature(signature_writes)
    if signature is None:
        raise InvalidSignatureTx("a transaction signed with COSE alone has no JSON receipt")
    tree = MerkleTree.deserialise(tree_bytes_of(signature_writes))
    try:
        path = tree.path(entry.txid.seqno, signature.txid.seqno)
    except IndexError as error:
        raise InvalidSignatureTx(f"the tree of {signature.txid} does not cover {entry.txid}") from error
    evidence = None if entry.commit_evidence_digest is None else secret.evidence(str(entry.txid))
    components = LeafComponents(entry.write_set_digest, evidence, entry.claims_digest)
    return build_receipt(components, path, signature, endorsements)


def verify_receipt(
    receipt: Mapping[str, Any],
    service_cert_pem: str,
    claims_digest: bytes | None = None,
    *,
    write_set_digest: bytes | None = None,
) -> VerifiedReceipt:
    """Check a JSON receipt against the certificate of the service; raises `InvalidReceipt`.

    `claims_digest`, when given, must be the one in the receipt, or takes its place where the application left it out
    (drop-in.md 4.1). A receipt of CCF 1.x has a bare leaf, which proves nothing but `write_set_digest`, so that must be
    given. Validity periods are not looked at: a receipt outlives the certificates of its time.
    """
    components, leaf = _leaf(receipt, claims_digest, write_set_digest)
    if claims_digest is not None and (components is None or components.claims_digest != claims_digest):
        raise InvalidReceipt("the claims digest is not the expected one")
    root = fold(leaf, _path(receipt))
    certificate = _certificate(_text(receipt, "cert"))
    _check_signature(receipt, certificate, root)
    _check_endorsement(receipt, certificate, service_cert_pem)
    node_id = _check_node_id(receipt, certificate)
    if components is None or components.commit_evidence is None:
        return VerifiedReceipt(None, None, root, node_id)
    claims = components.claims_digest or bytes(_DIGEST_SIZE)
    return VerifiedReceipt(txid_of_evidence(components.commit_evidence), claims, root, node_id)


def _signed_part(signature: NodeSignature, path: Sequence[Step], endorsements: Sequence[str]) -> dict[str, Any]:
    receipt: dict[str, Any] = {
        "node_id": signature.node_id,
        "proof": [{"left" if step.left else "right": step.digest.hex()} for step in path],
        "signature": b64encode(signature.signature).decode(),
    }
    if signature.cert is not None:
        receipt["cert"] = signature.cert
    if endorsements:
        receipt["service_endorsements"] = list(endorsements)
    return receipt


def _leaf(
    receipt: Mapping[str, Any], claims_digest: bytes | None, write_set_digest: bytes | None
) -> tuple[LeafComponents | None, bytes]:
    parts = receipt.get("leaf_components")
    if parts is None:
        return _bare_leaf(receipt, write_set_digest)
    if not isinstance(parts, Mapping):
        raise InvalidReceipt("leaf_components is not an object")
    if "leaf" in receipt:
        raise InvalidReceipt("a receipt has either a leaf or leaf components")
    evidence = _text(parts, "commit_evidence")
    if not EVIDENCE.fullmatch(evidence):
        raise InvalidReceipt("commit_evidence is not of the form ce:<view>.<seqno>:<nonce>")
    claims = _digest(parts, "claims_digest") if "claims_digest" in parts else claims_digest
    components = LeafComponents(_digest(parts, "write_set_digest"), evidence, claims)
    if write_set_digest is not None and components.write_set_digest != write_set_digest:
        raise InvalidReceipt("the write set digest is not the expected one")
    return components, leaf_of(components.write_set_digest, evidence_digest(evidence), claims)


def _bare_leaf(receipt: Mapping[str, Any], write_set_digest: bytes | None) -> tuple[LeafComponents | None, bytes]:
    """A signed root without a path, or the write set digest of CCF 1.x with one.

    Any inner node of the tree would pass for a bare leaf, so the caller has to know what it should be.
    """
    leaf = _digest(receipt, "leaf")
    if not receipt.get("proof"):
        if write_set_digest is not None:
            raise InvalidReceipt("a signed root has no write set digest")
        return None, leaf
    if leaf != write_set_digest:
        raise InvalidReceipt("a bare leaf with a path proves only the write set digest that the caller expects")
    return LeafComponents(leaf, None, None), leaf


def _path(receipt: Mapping[str, Any]) -> list[Step]:
    proof = receipt.get("proof")
    if not isinstance(proof, list) or len(proof) > MAX_STEPS:
        raise InvalidReceipt("proof is not a list of steps")
    return [_step(step) for step in proof]


def _step(step: object) -> Step:
    if not isinstance(step, Mapping) or len(step) != 1:
        raise InvalidReceipt("a step of the proof has one sibling, left or right")
    (side,) = step
    if side not in ("left", "right"):
        raise InvalidReceipt(f"a sibling of the proof is left or right, not {side!r}")
    return Step(side == "left", _digest(step, side))


def _check_signature(receipt: Mapping[str, Any], certificate: Certificate, root: bytes) -> None:
    try:
        signature = b64decode(_text(receipt, "signature"), validate=True)
    except (ValueError, Base64Error) as error:
        raise InvalidReceipt("signature is not base64") from error
    try:
        key = public_key_of(certificate)
    except InvalidCertificate as error:
        raise InvalidReceipt(str(error)) from error
    if not verify_digest(key, signature, root):
        raise InvalidReceipt("the node did not sign the root that leaf and proof lead to")


def _check_endorsement(receipt: Mapping[str, Any], certificate: Certificate, service_cert_pem: str) -> None:
    endorsements = receipt.get("service_endorsements", [])
    if not isinstance(endorsements, list):
        raise InvalidReceipt("service_endorsements is not a list")
    issued = certificate
    for pem in [*endorsements, service_cert_pem]:
        issuer = _certificate(pem)
        if not (is_authority(issuer) and is_issued_by(issued, issuer)):
            raise NotEndorsed("the certificate of the node is not endorsed by the service")
        issued = issuer


def _check_node_id(receipt: Mapping[str, Any], certificate: Certificate) -> NodeId:
    node_id = key_id(public_key_of(certificate))
    if receipt.get("node_id", node_id) != node_id:
        raise InvalidReceipt("node_id does not belong to the certificate")
    return node_id


def _certificate(pem: object) -> Certificate:
    if not isinstance(pem, str):
        raise InvalidReceipt("a certificate is not PEM text")
    try:
        return load_certificate(pem)
    except InvalidCertificate as error:
        raise InvalidReceipt(str(error)) from error


def _text(holder: Mapping[str, Any], field: str) -> str:
    value = holder.get(field)
    if not isinstance(value, str):
        raise InvalidReceipt(f"{field} is missing or no text")
    return value


def _digest(holder: Mapping[str, Any], field: str) -> bytes:
    text = _text(holder, field)
    if not _DIGEST.fullmatch(text):
        raise InvalidReceipt(f"{field} is not 64 lower-case hex digits")
    return bytes.fromhex(text)
