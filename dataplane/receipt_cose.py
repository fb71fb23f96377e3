"""COSE receipts: the service's own signature with a Merkle proof in its unprotected header (ledger-format.md 4.2).

The signature is that of the first signature transaction after the one that is proven. Earlier identities of a service
are reached over COSE endorsements (ledger-format.md 4.5), which travel beside the receipt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cbor2

from dataplane.crypto.certs import InvalidCertificate, public_key_of
from dataplane.crypto.cose import (
    KID,
    VDS,
    CoseDecodeError,
    Sign1,
    decode_cbor,
    decode_sign1,
    encode_sign1,
    verify_sign1,
)
from dataplane.crypto.keys import PublicKey, key_id
from dataplane.ledger.endorsement_chain import InvalidEndorsement, signing_key_at
from dataplane.ledger.entry import leaf_of
from dataplane.ledger.proven import ProvenEntry
from dataplane.ledger.secrets import evidence_digest, txid_of_evidence
from dataplane.ledger.signatures import CCF_V1, VDS_CCF_LEDGER_SHA256, InvalidSignatureTx
from dataplane.merkle.proof import Step, fold
from dataplane.receipt import EVIDENCE, MAX_STEPS, InvalidReceipt, VerifiedReceipt
from dataplane.txid import InvalidTxID, TxID

VDP = 396
"""Label of the proofs of a verifiable data structure in the unprotected header."""
INCLUSION_PROOFS = -1
_LEAF, _PATH = 1, 2
_DIGEST_SIZE = 32


def merkle_proof(entry: ProvenEntry) -> bytes:
    """The CBOR inclusion proof of an entry: its leaf components and its path.

    Raises `InvalidSignatureTx` for a signature transaction, and for entries that lack evidence or claims.
    """
    parts = entry.components
    if entry.path is None or parts.commit_evidence is None or parts.claims_digest is None:
        raise InvalidSignatureTx(f"no Merkle proof can be made for {entry.txid}")
    leaf = [parts.write_set_digest, parts.commit_evidence, parts.claims_digest]
    return cbor2.dumps({_LEAF: leaf, _PATH: [[step.left, step.digest] for step in entry.path]})


def cose_receipt(entry: ProvenEntry) -> bytes:
    """The COSE receipt of an entry. Raises `InvalidSignatureTx` as `merkle_proof` does, or where only a node signed."""
    cose = entry.cover.cose
    if cose is None:
        raise InvalidSignatureTx(f"the service itself did not sign at {entry.cover.txid}")
    unprotected: dict[int | str, object] = {VDP: {INCLUSION_PROOFS: [merkle_proof(entry)]}}
    return encode_sign1(cose.protected_bytes, unprotected, None, cose.signature)


def verify_cose_receipt(
    receipt: bytes, service_cert_pem: str, claims_digest: bytes | None = None, *, endorsements: Sequence[bytes] = ()
) -> VerifiedReceipt:
    """Check a COSE receipt against the certificate of the service; raises `InvalidReceipt`.

    `claims_digest`, when given, must be the one in the receipt. `endorsements` lead from the service's key to an
    earlier one, newest first. One proof is expected: several could not be told apart in the answer.
    """
    try:
        message = decode_sign1(receipt)
        service_key = public_key_of(service_cert_pem)
    except (CoseDecodeError, InvalidCertificate) as error:
        raise InvalidReceipt(str(error)) from error
    signed = _signed_txid(message)
    leaf, evidence, claims, path = _read_proof(message)
    root = fold(leaf, path)
    _check_signature(message, _signing_key(signed, endorsements, service_key), root)
    txid = txid_of_evidence(evidence)
    if txid.seqno >= signed.seqno:
        raise InvalidReceipt(f"{txid} does not come before the signature {signed}")
    if claims_digest is not None and claims != claims_digest:
        raise InvalidReceipt("the claims digest is not the expected one")
    return VerifiedReceipt(txid, claims, root, None)


def _signed_txid(message: Sign1) -> TxID:
    """The signature transaction the protected header names."""
    if message.payload is not None:
        raise InvalidReceipt("the payload of a receipt is detached")
    if message.protected.get(VDS) != VDS_CCF_LEDGER_SHA256:
        raise InvalidReceipt("the receipt is not about a CCF ledger")
    ccf = message.protected.get(CCF_V1)
    try:
        return TxID.parse(str(ccf["txid"])) if isinstance(ccf, Mapping) else TxID.parse("")
    except (KeyError, InvalidTxID) as error:
        raise InvalidReceipt("the receipt names no signature transaction") from error


def _signing_key(txid: TxID, endorsements: Sequence[bytes], service_key: PublicKey) -> PublicKey:
    try:
        return signing_key_at(txid, endorsements, service_key)
    except InvalidEndorsement as error:
        raise InvalidReceipt(str(error)) from error


def _check_signature(message: Sign1, key: PublicKey, root: bytes) -> None:
    if message.protected.get(KID) != key_id(key).encode():
        raise InvalidReceipt("the receipt names another key than the service's")
    if not verify_sign1(message, key, root):
        raise InvalidReceipt("the service did not sign the root that leaf and proof lead to")


def _read_proof(message: Sign1) -> tuple[bytes, str, bytes, list[Step]]:
    """Leaf, commit evidence, claims digest and path of the one inclusion proof."""
    match message.unprotected.get(VDP), len(message.unprotected):
        case {-1: [bytes() as encoded], **rest}, 1 if not rest:
            pass
        case _:
            raise InvalidReceipt("the receipt does not hold one inclusion proof and nothing else")
    try:
        proof = decode_cbor(encoded)
    except CoseDecodeError as error:
        raise InvalidReceipt(f"the inclusion proof cannot be read: {error}") from error
    match proof:
        case {1: [write_set_digest, str() as evidence, claims], 2: [*steps], **rest} if not rest:
            pass
        case _:
            raise InvalidReceipt("the inclusion proof is not a leaf and a path")
    if not EVIDENCE.fullmatch(evidence):
        raise InvalidReceipt("the commit evidence is not of the form ce:<view>.<seqno>:<nonce>")
    if len(steps) > MAX_STEPS:
        raise InvalidReceipt("the path is longer than any tree is high")
    claims = _digest(claims)
    leaf = leaf_of(_digest(write_set_digest), evidence_digest(evidence), claims)
    return leaf, evidence, claims, [_step(step) for step in steps]


def _step(step: Any) -> Step:
    match step:
        case [bool() as left, digest]:
            return Step(left, _digest(digest))
    raise InvalidReceipt("a step of the path is a side and a digest")


def _digest(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != _DIGEST_SIZE:
        raise InvalidReceipt(f"a digest has {_DIGEST_SIZE} bytes")
    return value
