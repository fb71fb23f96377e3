"""The one form in which nodes write a signature transaction (ledger-format.md 1.5, 2.5, 2.6).

Nothing covers the newest signature of a ledger but itself. So whatever its two signatures leave open has to have the
value that nodes write there: otherwise a changed byte in it would go unnoticed.
"""

import json
from base64 import b64encode
from functools import lru_cache
from typing import Any

from dataplane.crypto.certs import InvalidCertificate, certificate_pem, load_certificate
from dataplane.crypto.cose import encode_sign1
from dataplane.kv.tables import COSE_SIGNATURES, SIGNATURE_TABLES, SIGNATURES, UNIT_KEY, dump_json
from dataplane.kv.writeset import encode_maps
from dataplane.ledger.entry import NO_CLAIMS, DecodedEntry, EntryType
from dataplane.ledger.signatures import InvalidSignatureTx, service_signature
from dataplane.merkle.tree import MalformedTree, MerkleTree

_FIELDS = frozenset({"cert", "commit_seqno", "commit_view", "hashed_nonce", "node", "root", "seqno", "sig", "view"})


def check_form(entry: DecodedEntry, frame: bytes) -> None:
    """Raises `InvalidSignatureTx` where a signature of a present release has another form than nodes give it.

    Older entry types (CCF 1.x) held values of their own there and are let pass.
    """
    if entry.entry_type is not EntryType.WITH_EVIDENCE_AND_CLAIMS:
        return
    tables = set(entry.writes)
    if not tables <= SIGNATURE_TABLES:
        raise InvalidSignatureTx(f"tables {sorted(tables - SIGNATURE_TABLES)} do not belong to a signature")
    if entry.claims_digest != NO_CLAIMS or entry.max_conflict_version:
        raise InvalidSignatureTx("a signature transaction carries claims or a conflict version")
    if not frame.endswith(encode_maps(entry.writes)):
        raise InvalidSignatureTx("the tables are not written as nodes write them, or private ones follow")
    if SIGNATURES in tables:
        _check_row(entry.writes[SIGNATURES][UNIT_KEY], dual=COSE_SIGNATURES in tables)
    if COSE_SIGNATURES in tables:
        _check_cose(entry)


def check_tree(stored: bytes, tree: MerkleTree, seqno: int) -> None:
    """Raises `InvalidSignatureTx` unless `stored` is `tree`, which ends before the signature at `seqno`, serialised.

    It may go back further than `tree` remembers; then the root and all leaves that both know must be the same.
    """
    first = int.from_bytes(stored[8:16], "big")
    if tree.flushed <= first < seqno and stored == tree.serialise(first, seqno - 1):
        return
    try:
        other = MerkleTree.deserialise(stored)
    except MalformedTree as error:
        raise InvalidSignatureTx(f"the serialised tree cannot be read: {error}") from error
    if other.size != seqno or first >= tree.flushed or other.root() != tree.root():
        raise InvalidSignatureTx("the serialised tree is not that of the ledger")
    if any(other.leaf(at) != tree.leaf(at) for at in range(tree.flushed, seqno)):
        raise InvalidSignatureTx("the serialised tree is not that of the ledger")


def _check_row(raw: bytes | None, *, dual: bool) -> None:
    row: Any = json.loads(raw or b"null")
    if not isinstance(row, dict) or not set(row) <= _FIELDS or dump_json(row) != raw:
        raise InvalidSignatureTx("the row of the node's signature is not written as nodes write it")
    if not dual:
        return  # releases before 6, whose rows still told what was committed
    if row.get("commit_seqno") != 0 or row.get("commit_view") != 0 or row.get("hashed_nonce") != "0" * 64:
        raise InvalidSignatureTx("the row of the node's signature holds values that nodes leave at zero")
    if not _is_canonical_pem(row.get("cert")):
        raise InvalidSignatureTx("the certificate beside the node's signature is not written as nodes write it")


@lru_cache(maxsize=256)
def _is_canonical_pem(text: object) -> bool:
    try:
        return isinstance(text, str) and certificate_pem(load_certificate(text)) == text
    except InvalidCertificate:
        return False


def _check_cose(entry: DecodedEntry) -> None:
    message = service_signature(entry.writes)
    assert message is not None
    again = encode_sign1(message.protected_bytes, {}, None, message.signature)
    if dump_json(b64encode(again).decode()) != entry.writes[COSE_SIGNATURES][UNIT_KEY]:
        raise InvalidSignatureTx("the COSE signature is not written as nodes write it")
