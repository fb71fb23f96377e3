"""Signature transactions: their form, and every way a backup refuses one."""

from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.cose import VDS, decode_sign1, sign1, verify_sign1
from dataplane.crypto.keys import spki_der
from dataplane.kv.tables import COSE_SIGNATURES, SIGNATURES, TREE, UNIT_KEY, dump_json, load_json
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.endorsements import self_endorsement
from dataplane.ledger.signatures import (
    InvalidSignatureTx,
    cose_claims,
    is_signature,
    node_signature,
    service_signature,
    tree_bytes_of,
    verify_signature,
)
from dataplane.txid import TxID
from tests.support.service_ledger import ISSUED_AT_S, ServiceLedger

LEDGER = ServiceLedger()
WRITES = LEDGER.signature_writes()
TXID = LEDGER.next_txid


def verify(writes: WriteSet, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "txid": TXID,
        "root": LEDGER.tree.root(),
        "node_cert_pem": LEDGER.node_cert,
        "service_cert_pem": LEDGER.service_cert,
    }
    arguments |= changes
    verify_signature(arguments.pop("txid"), writes, arguments.pop("root"), **arguments)


def with_row(table: str, value: bytes | None) -> WriteSet:
    return WRITES | {table: {UNIT_KEY: value}}


def with_field(**fields: object) -> WriteSet:
    row = WRITES[SIGNATURES][UNIT_KEY]
    assert row is not None
    return with_row(SIGNATURES, dump_json(load_json(row) | fields))


def test_the_tables() -> None:
    assert list(WRITES) == [COSE_SIGNATURES, SIGNATURES, TREE]
    row = load_json(WRITES[SIGNATURES][UNIT_KEY] or b"")
    assert {name: row[name] for name in ("commit_seqno", "commit_view", "hashed_nonce", "seqno", "view")} == {
        "commit_seqno": 0,
        "commit_view": 0,
        "hashed_nonce": "0" * 64,
        "seqno": TXID.seqno,
        "view": TXID.view,
    }
    assert (row["node"], row["cert"], row["root"]) == (LEDGER.node_id, LEDGER.node_cert, LEDGER.tree.root().hex())
    assert tree_bytes_of(WRITES) == LEDGER.tree.serialise(0, LEDGER.tree.size - 1)
    assert is_signature(WRITES)
    assert not is_signature({TREE: {UNIT_KEY: b""}})


def test_a_good_one_verifies() -> None:
    verify(WRITES)
    message = service_signature(WRITES)
    assert message is not None
    assert cose_claims(message) == ("service.example.com", "ledger.signature")
    empty = service_signature(LEDGER.signature_writes(issuer="", subject=""))
    assert empty is not None
    assert cose_claims(empty) == ("", "")
    assert b"\x01\x60\x02\x60" in empty.protected_bytes


def test_cose_alone_verifies() -> None:
    alone = {table: rows for table, rows in WRITES.items() if table != SIGNATURES}
    verify(alone, node_cert_pem=None)
    assert node_signature(alone) is None


def other_service() -> ServiceLedger:
    return ServiceLedger()


@pytest.mark.parametrize(
    ("writes", "changes", "reason"),
    [
        (WRITES, {"root": bytes(32)}, "signed root"),
        (WRITES, {"txid": TxID(TXID.view, TXID.seqno + 1)}, "the node signature says"),
        (WRITES, {"node_cert_pem": other_service().node_cert}, "is not that of node"),
        (WRITES, {"node_cert_pem": None}, "no certificate is known"),
        (WRITES, {"node_cert_pem": "nonsense"}, "no certificate in"),
        (WRITES, {"service_cert_pem": other_service().service_cert}, "another key"),
        (WRITES, {"service_cert_pem": None}, "no service certificate"),
        (WRITES, {"service_cert_pem": ""}, "no certificate in"),
        (with_field(cert=None, sig=b64encode(b"nonsense").decode()), {}, "does not hold"),
        (with_field(sig="no base64!"), {}, "cannot be read"),
        (with_field(root="xy"), {}, "cannot be read"),
        (with_field(view=TXID.view + 1), {}, "the node signature says"),
        (with_field(seqno="x"), {}, "cannot be read"),
        (with_row(SIGNATURES, b"[]"), {}, "cannot be read"),
        (with_row(SIGNATURES, b"not json"), {}, "cannot be read"),
        (with_row(SIGNATURES, None), {}, "one value"),
        (with_row(COSE_SIGNATURES, b"5"), {}, "COSE signature cannot be read"),
        (with_row(COSE_SIGNATURES, b'"AAAA"'), {}, "COSE signature cannot be read"),
        (WRITES | {"public:more": {b"k": b"v"}}, {}, "do not make a signature"),
        (WRITES | {"private": {b"k": b"v"}}, {}, "do not make a signature"),
        ({table: rows for table, rows in WRITES.items() if table != TREE}, {}, "do not make a signature"),
        ({TREE: WRITES[TREE]}, {}, "do not make a signature"),
        (WRITES | {TREE: {b"other": b""}}, {}, None),
    ],
)
def test_bad_ones_are_refused(writes: WriteSet, changes: dict[str, Any], reason: str | None) -> None:
    if reason is None:
        with pytest.raises(InvalidSignatureTx, match="one value"):
            tree_bytes_of(writes)
        return
    with pytest.raises(InvalidSignatureTx, match=reason):
        verify(writes, **changes)


def test_cose_of_another_transaction_or_root_is_refused() -> None:
    for changes, reason in (
        ({"txid": TxID(2, 99)}, "another transaction"),
        ({"root": bytes(32)}, "does not hold"),
    ):
        foreign = LEDGER.signature_writes(**changes)
        with pytest.raises(InvalidSignatureTx, match=reason):
            verify(WRITES | {COSE_SIGNATURES: foreign[COSE_SIGNATURES]})


def test_cose_of_another_form_is_refused() -> None:
    """Attached payloads, and signatures about another kind of structure, are not what nodes write."""
    message = service_signature(WRITES)
    assert message is not None
    headers = list(message.protected.items())
    root = LEDGER.tree.root()
    for protected, detached, reason in (
        (headers, False, "does not hold"),
        ([(label, value) for label, value in headers if label != VDS], True, "not about a CCF ledger"),
    ):
        raw = sign1(LEDGER.service_key, protected, root, detached=detached)
        with pytest.raises(InvalidSignatureTx, match=reason):
            verify(with_row(COSE_SIGNATURES, dump_json(b64encode(raw).decode())))


def test_the_self_endorsement_of_a_new_service() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    value = self_endorsement(key, TxID(2, 1), ISSUED_AT_S)
    assert set(value) == {"endorsement", "endorsing_key", "endorsement_epoch_begin"}
    assert b64decode(value["endorsing_key"]) == spki_der(key.public_key())
    message = decode_sign1(b64decode(value["endorsement"]))
    assert message.payload == spki_der(key.public_key())
    assert verify_sign1(message, key.public_key())
    assert list(message.protected.items()) == [
        (1, -35), (15, {6: ISSUED_AT_S}), ("ccf.v1", {"epoch.start.txid": "2.1"}),
    ]  # fmt: skip
