"""What makes a snapshot file trusted: a receipt under the identity of its service (ledger-format.md 5.4).

It proves that the service's ledger holds a transaction whose claims digest is that of the frame. Files of 6.x
carry a JSON receipt, those of released 7.0.x a COSE one; the first byte tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataplane.crypto.certs import InvalidCertificate, public_key_of
from dataplane.crypto.cose import CoseDecodeError, decode_cbor, decode_sign1, verify_sign1
from dataplane.crypto.keys import key_id
from dataplane.kv.tables import load_json
from dataplane.ledger.entry import leaf_of
from dataplane.ledger.secrets import evidence_digest, txid_of_evidence
from dataplane.ledger.signatures import VDS_CCF_LEDGER_SHA256
from dataplane.ledger.snapshot import Snapshot, decode_snapshot, split_file
from dataplane.merkle.proof import Step, fold
from dataplane.receipt import InvalidReceipt, NotEndorsed, verify_receipt
from dataplane.txid import InvalidTxID, TxID

_KID, _VDS, _VDP, _INCLUSION_PROOFS = 4, 395, 396, -1
_LEAF, _PATH = 1, 2
_DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class VerifiedSnapshot:
    """A snapshot without its private tables, and the transaction that vouches for it."""

    snapshot: Snapshot
    frame: bytes
    evidence: TxID


def verify_snapshot(data: bytes, service_cert_pem: str) -> VerifiedSnapshot:
    """Check a snapshot file against the certificate of the service.

    Raises `MalformedSnapshot`; `InvalidReceipt` where the receipt is missing, broken or about something else, and its
    subclass `NotEndorsed` where another service vouches for it.
    """
    frame, receipt = split_file(data)
    snapshot = decode_snapshot(frame)
    evidence = _verify(receipt, service_cert_pem, snapshot.digest)
    if evidence.seqno <= snapshot.seqno:
        raise InvalidReceipt(f"the evidence {evidence} is not later than the snapshot at {snapshot.seqno}")
    return VerifiedSnapshot(snapshot, frame, evidence)


def _verify(receipt: bytes, service_cert_pem: str, claims_digest: bytes) -> TxID:
    if receipt.startswith(b"{"):
        return _verify_json(receipt, service_cert_pem, claims_digest)
    if receipt.startswith(b"\xd2"):
        return _verify_cose(receipt, service_cert_pem, claims_digest)
    raise InvalidReceipt("the snapshot carries no receipt")


def _verify_json(receipt: bytes, service_cert_pem: str, claims_digest: bytes) -> TxID:
    try:
        document = load_json(receipt)
    except (ValueError, RecursionError) as error:
        raise InvalidReceipt(f"the receipt is no JSON: {error}") from error
    txid = verify_receipt(document, service_cert_pem, claims_digest).txid
    assert txid is not None, "a receipt with claims is not that of a signature"
    return txid


def _verify_cose(receipt: bytes, service_cert_pem: str, claims_digest: bytes) -> TxID:
    """ledger-format.md 4.2."""
    try:
        message = decode_sign1(receipt)
        key = public_key_of(service_cert_pem)
        evidence, root = _proven(message.unprotected, claims_digest)
        txid = txid_of_evidence(evidence)
    except (CoseDecodeError, InvalidCertificate, InvalidTxID, KeyError, TypeError, ValueError) as error:
        raise InvalidReceipt(f"the COSE receipt cannot be read: {error}") from error
    if message.protected.get(_VDS) != VDS_CCF_LEDGER_SHA256:
        raise InvalidReceipt("the COSE receipt is not about a CCF ledger")
    if message.protected.get(_KID) != key_id(key).encode():
        raise NotEndorsed("the COSE receipt names another key than the service's")
    if not verify_sign1(message, key, root):
        raise InvalidReceipt("the service did not sign the root that leaf and proof lead to")
    return txid


def _proven(unprotected: Mapping[Any, Any], claims_digest: bytes) -> tuple[str, bytes]:
    """The commit evidence in the one proof of a COSE receipt, and the root it leads to."""
    (raw,) = unprotected[_VDP][_INCLUSION_PROOFS]
    proof: Any = decode_cbor(raw)
    write_set_digest, evidence, claims = proof[_LEAF]
    path = [Step(left, digest) for left, digest in proof[_PATH]]
    if claims != claims_digest:
        raise ValueError("the claims digest is not the expected one")
    if not isinstance(evidence, str) or len(write_set_digest) != _DIGEST_SIZE:
        raise ValueError("the leaf is not that of a transaction")
    if not all(isinstance(step.left, bool) and len(step.digest) == _DIGEST_SIZE for step in path):
        raise ValueError("a step of the path is not a side and a digest")
    return evidence, fold(leaf_of(write_set_digest, evidence_digest(evidence), claims), path)
