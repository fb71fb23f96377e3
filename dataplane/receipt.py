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
from dataplane.ledger.secrets import LedgerSecretCipher, evidence_digest, txid_of_evidence
from dataplane.ledger.signatures import InvalidSignatureTx, NodeSignature, node_signature, tree_bytes_of
from dataplane.merkle.proof import Step, fold
from dataplane.merkle.tree import MerkleTree
from dataplane.txid import NodeId, TxID

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_EVIDENCE = re.compile(r"ce:[1-9][0-9]{0,18}\.[1-9][0-9]{0,18}:[0-9a-f]{64}", re.ASCII)
_MAX_STEPS = 64


class InvalidReceipt(ValueError):
    """The receipt is malformed, or proves nothing about the service. The message says what broke."""

    code = "InvalidReceipt"


class NotEndorsed(InvalidReceipt):
    """The node that signed is not one that the given service identity endorses."""


@dataclass(frozen=True, slots=True)
class LeafComponents:
    """What the leaf of a transaction is hashed from. Digests have 32 bytes."""

    write_set_digest: bytes
    commit_evidence: str
    claims_digest: bytes


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt proves: `claims_digest` belongs to `txid` in the ledger whose `root` the node signed.

    For a signature transaction only the root is proven: `txid` and `claims_digest` are None.
    """

    txid: TxID | None
    claims_digest: bytes | None
    root: bytes
    node_id: NodeId


def build_receipt(
    components: LeafComponents, path: Sequence[Step], signature: NodeSignature, service_endorsements: Sequence[str] = ()
) -> dict[str, Any]:
    """The JSON receipt of a transaction; `signature` is the first one after it, `path` leads to that one's root.

    `service_endorsements`: PEM, needed when the signing node belongs to an earlier identity of the service.
    Raises `InvalidSignatureTx` when the signature carries no certificate.
    """
    receipt = _signed_part(signature, path, service_endorsements)
    receipt["leaf_components"] = {
        "claims_digest": components.claims_digest.hex(),
        "commit_evidence": components.commit_evidence,
        "write_set_digest": components.write_set_digest.hex(),
    }
    return receipt


def build_signature_receipt(signature: NodeSignature, service_endorsements: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON receipt of a signature transaction: the root it signed, and no path."""
    return _signed_part(signature, (), service_endorsements) | {"leaf": signature.root.hex()}


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
    components = LeafComponents(
        entry.write_set_digest, secret.evidence(str(entry.txid)), entry.claims_digest or bytes(32)
    )
    return build_receipt(components, path, signature, endorsements)


def verify_receipt(
    receipt: Mapping[str, Any], service_cert_pem: str, claims_digest: bytes | None = None
) -> VerifiedReceipt:
    """Check a JSON receipt against the certificate of the service; raises `InvalidReceipt`.

    `claims_digest`, when given, must be the one in the receipt. Validity periods are not looked at: a receipt outlives
    the certificates of its time.
    """
    components, leaf = _leaf(receipt)
    if claims_digest is not None and (components is None or components.claims_digest != claims_digest):
        raise InvalidReceipt("the claims digest is not the expected one")
    root = fold(leaf, _path(receipt))
    certificate = _certificate(_text(receipt, "cert"))
    _check_signature(receipt, certificate, root)
    _check_endorsement(receipt, certificate, service_cert_pem)
    node_id = _check_node_id(receipt, certificate)
    if components is None:
        return VerifiedReceipt(None, None, root, node_id)
    return VerifiedReceipt(txid_of_evidence(components.commit_evidence), components.claims_digest, root, node_id)


def _signed_part(signature: NodeSignature, path: Sequence[Step], endorsements: Sequence[str]) -> dict[str, Any]:
    if signature.cert is None:
        raise InvalidSignatureTx(f"the signature {signature.txid} carries no certificate")
    receipt: dict[str, Any] = {
        "cert": signature.cert,
        "node_id": signature.node_id,
        "proof": [{"left" if step.left else "right": step.digest.hex()} for step in path],
        "signature": b64encode(signature.signature).decode(),
    }
    if endorsements:
        receipt["service_endorsements"] = list(endorsements)
    return receipt


def _leaf(receipt: Mapping[str, Any]) -> tuple[LeafComponents | None, bytes]:
    parts = receipt.get("leaf_components")
    if parts is None:
        if receipt.get("proof"):
            raise InvalidReceipt("a receipt with a path has leaf components")
        return None, _digest(receipt, "leaf")
    if not isinstance(parts, Mapping):
        raise InvalidReceipt("leaf_components is not an object")
    if "leaf" in receipt:
        raise InvalidReceipt("a receipt has either a leaf or leaf components")
    evidence = _text(parts, "commit_evidence")
    if not _EVIDENCE.fullmatch(evidence):
        raise InvalidReceipt("commit_evidence is not of the form ce:<view>.<seqno>:<nonce>")
    claims = _digest(parts, "claims_digest") if "claims_digest" in parts else None
    write_set_digest = _digest(parts, "write_set_digest")
    leaf = leaf_of(write_set_digest, evidence_digest(evidence), claims)
    return LeafComponents(write_set_digest, evidence, claims or bytes(32)), leaf


def _path(receipt: Mapping[str, Any]) -> list[Step]:
    proof = receipt.get("proof")
    if not isinstance(proof, list) or len(proof) > _MAX_STEPS:
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
