"""Signature transactions: the node's and the service's signature over one root (ledger-format.md 2.5 to 2.8).

The root signed at seqno s is the one over leaves 0..s-1. Only these transactions can be commit points.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Any

from dataplane.crypto.certs import InvalidCertificate, public_key_of
from dataplane.crypto.cose import (
    ALG,
    CWT_CLAIMS,
    KID,
    VDS,
    CoseDecodeError,
    Header,
    Sign1,
    algorithm_of,
    decode_sign1,
    sign1,
    verify_sign1,
)
from dataplane.crypto.keys import PrivateKey, key_id, sign_digest, spki_der, verify_digest
from dataplane.kv.tables import COSE_SIGNATURES, SIGNATURE_TABLES, SIGNATURES, TREE, UNIT_KEY, dump_json, load_json
from dataplane.kv.writeset import WriteSet
from dataplane.txid import NodeId, TxID

VDS_CCF_LEDGER_SHA256 = 2
CCF_V1 = "ccf.v1"
_ISSUER, _SUBJECT, _ISSUED_AT = 1, 2, 6  # CWT claims, RFC 8392
_NO_NONCE = "00" * 32


class InvalidSignatureTx(ValueError):
    """A signature transaction that is malformed, or whose signatures do not hold."""


@dataclass(frozen=True, slots=True)
class NodeSignature:
    """The row of `public:ccf.internal.signatures`. `cert` (PEM) is None in ledgers of CCF 1.x."""

    txid: TxID
    node_id: NodeId
    root: bytes
    signature: bytes
    cert: str | None


def build_signature(
    txid: TxID,
    root: bytes,
    *,
    node_id: NodeId,
    node_key: PrivateKey,
    node_cert_pem: str,
    service_key: PrivateKey,
    issuer: str,
    subject: str,
    issued_at_s: int,
    tree_bytes: bytes,
) -> WriteSet:
    """The writes of the signature transaction `txid` over `root`, both signatures made.

    `issuer` and `subject` are the service's configured COSE claims, `issued_at_s` is Unix time, `tree_bytes` the
    serialised tree up to the leaf before this one. Takes about a millisecond: two P-384 signatures.
    """
    row = {
        "cert": node_cert_pem,
        "commit_seqno": 0,
        "commit_view": 0,
        "hashed_nonce": _NO_NONCE,
        "node": node_id,
        "root": root.hex(),
        "seqno": txid.seqno,
        "sig": b64encode(sign_digest(node_key, root)).decode(),
        "view": txid.view,
    }
    cose = cose_signature(txid, root, service_key, issuer=issuer, subject=subject, issued_at_s=issued_at_s)
    return {
        COSE_SIGNATURES: {UNIT_KEY: dump_json(b64encode(cose).decode())},
        SIGNATURES: {UNIT_KEY: dump_json(row)},
        TREE: {UNIT_KEY: tree_bytes},
    }


def cose_signature(
    txid: TxID, root: bytes, service_key: PrivateKey, *, issuer: str, subject: str, issued_at_s: int
) -> bytes:
    """The service's detached COSE_Sign1 over `root`; header order of ledger-format.md 2.6."""
    protected: list[Header] = [
        (ALG, algorithm_of(service_key)),
        (KID, key_id(service_key.public_key()).encode()),
        (VDS, VDS_CCF_LEDGER_SHA256),
        (CWT_CLAIMS, {_ISSUED_AT: issued_at_s, _ISSUER: issuer, _SUBJECT: subject}),
        (CCF_V1, {"txid": str(txid)}),
    ]
    return sign1(service_key, protected, root, detached=True)


def is_signature(writes: WriteSet) -> bool:
    """Whether these are the writes of a signature transaction, complete or not."""
    return SIGNATURES in writes or COSE_SIGNATURES in writes


def node_signature(writes: WriteSet) -> NodeSignature | None:
    """The node's signature, None where the transaction has only a COSE one. Raises `InvalidSignatureTx`."""
    raw = _unit_value(writes, SIGNATURES)
    if raw is None:
        return None
    try:
        row = load_json(raw)
        return NodeSignature(
            txid=TxID(int(row["view"]), int(row["seqno"])),
            node_id=str(row["node"]),
            root=bytes.fromhex(row["root"]),
            signature=b64decode(row["sig"], validate=True),
            cert=row.get("cert") or None,
        )
    except (KeyError, TypeError, AttributeError, ValueError, Base64Error) as error:
        raise InvalidSignatureTx(f"the node signature cannot be read: {error!r}") from error


def service_signature(writes: WriteSet) -> Sign1 | None:
    """The service's signature, None where there is none. Raises `InvalidSignatureTx`."""
    raw = _unit_value(writes, COSE_SIGNATURES)
    if raw is None:
        return None
    try:
        return decode_sign1(b64decode(load_json(raw), validate=True))
    except (TypeError, ValueError, Base64Error, CoseDecodeError) as error:
        raise InvalidSignatureTx(f"the COSE signature cannot be read: {error}") from error


def tree_bytes_of(writes: WriteSet) -> bytes:
    """The serialised tree; raises `InvalidSignatureTx` where there is none."""
    raw = _unit_value(writes, TREE)
    if raw is None:
        raise InvalidSignatureTx("the tree is missing")
    return raw


def cose_claims(message: Sign1) -> tuple[str, str]:
    """Issuer and subject of a COSE signature, empty where absent: a recovered service carries them over."""
    claims: Any = message.protected.get(CWT_CLAIMS)
    if not hasattr(claims, "get"):
        return "", ""
    return str(claims.get(_ISSUER, "")), str(claims.get(_SUBJECT, ""))


def verify_signature(
    txid: TxID, writes: WriteSet, root: bytes, *, node_cert_pem: str | None, service_cert_pem: str | None
) -> None:
    """Check a signature transaction as a backup does before it appends it (ledger-format.md 2.8).

    `root` is the root computed from the leaves before it; `node_cert_pem` the endorsed certificate of the node that
    signed; `service_cert_pem` the certificate in `service.info`. Raises `InvalidSignatureTx` and says what is wrong.
    """
    tables = set(writes)
    if not tables <= SIGNATURE_TABLES or TREE not in tables or not is_signature(writes):
        raise InvalidSignatureTx(f"tables {sorted(tables)} do not make a signature transaction")
    node = node_signature(writes)
    if node is not None:
        if node_cert_pem is None:
            raise InvalidSignatureTx(f"no certificate is known for node {node.node_id}")
        verify_node_signature(txid, node, root, node_cert_pem)
    service = service_signature(writes)
    if service is not None:
        if service_cert_pem is None:
            raise InvalidSignatureTx("no service certificate is known for the COSE signature")
        verify_service_signature(txid, service, root, service_cert_pem)


def verify_node_signature(txid: TxID, signature: NodeSignature, root: bytes, node_cert_pem: str) -> None:
    """Raises `InvalidSignatureTx` unless the node whose certificate is given signed `root` as `txid`."""
    if signature.txid != txid:
        raise InvalidSignatureTx(f"the node signature says {signature.txid}, the entry is {txid}")
    if signature.root != root:
        raise InvalidSignatureTx(f"the signed root {signature.root.hex()} is not the ledger's {root.hex()}")
    try:
        key = public_key_of(node_cert_pem)
        named = None if signature.cert is None else public_key_of(signature.cert)
    except InvalidCertificate as error:
        raise InvalidSignatureTx(str(error)) from error
    if named is not None and spki_der(named) != spki_der(key):
        raise InvalidSignatureTx(f"the certificate beside the signature is not that of node {signature.node_id}")
    if not verify_digest(key, signature.signature, root):
        raise InvalidSignatureTx(f"the signature of node {signature.node_id} does not hold")


def verify_service_signature(txid: TxID, message: Sign1, root: bytes, service_cert_pem: str) -> None:
    """Raises `InvalidSignatureTx` unless the service whose certificate is given signed `root` as `txid`."""
    try:
        key = public_key_of(service_cert_pem)
    except InvalidCertificate as error:
        raise InvalidSignatureTx(str(error)) from error
    if message.protected.get(VDS) != VDS_CCF_LEDGER_SHA256:
        raise InvalidSignatureTx("the COSE signature is not about a CCF ledger")
    if message.protected.get(KID) != key_id(key).encode():
        raise InvalidSignatureTx("the COSE signature names another key than the service's")
    ccf: Any = message.protected.get(CCF_V1)
    if not hasattr(ccf, "get") or ccf.get("txid") != str(txid):
        raise InvalidSignatureTx(f"the COSE signature names another transaction than {txid}")
    if message.payload is not None or not verify_sign1(message, key, root):
        raise InvalidSignatureTx("the COSE signature of the service does not hold")


def _unit_value(writes: WriteSet, table: str) -> bytes | None:
    rows = writes.get(table)
    if rows is None:
        return None
    if set(rows) != {UNIT_KEY} or rows[UNIT_KEY] is None:
        raise InvalidSignatureTx(f"{table} does not hold one value")
    return rows[UNIT_KEY]
