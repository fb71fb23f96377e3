"""Receipts: a real one, ours, and every malformed or misleading one refused."""

from base64 import b64encode
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.certs import (
    certificate_pem,
    create_csr,
    endorse_node_csr,
    load_certificate,
    parse_subject,
    self_signed_service_certificate,
    validity,
)
from dataplane.crypto.keys import key_id, sign_digest
from dataplane.kv.tables import SERVICE_INFO, UNIT_KEY, load_json
from dataplane.ledger.entry import decode_entry, leaf_of
from dataplane.ledger.secrets import evidence_digest
from dataplane.ledger.signatures import InvalidSignatureTx, NodeSignature, is_signature, node_signature
from dataplane.merkle.proof import Step
from dataplane.receipt import (
    InvalidReceipt,
    LeafComponents,
    VerifiedReceipt,
    build_receipt,
    build_signature_receipt,
    receipt_from_entries,
    verify_receipt,
)
from dataplane.txid import TxID
from tests.support.real_ledgers import frames_of, unwrap_secrets
from tests.support.receipt_mutants import unused_bits_mutant
from tests.support.service_ledger import filled_ledger
from tests.support.vectors import require_vectors

LEDGER = filled_ledger(20)
SEQNO = 6
RECEIPT = LEDGER.receipt(SEQNO)


def test_a_real_receipt() -> None:
    """ledger-format.md 10.4."""
    service = require_vectors() / "ccf-services" / "acme_containing_service"
    frames = frames_of(service / "ledger")
    secrets = unwrap_secrets(frames, service / "common")
    entry, signature = decode_entry(frames[18], secrets), decode_entry(frames[19], secrets)
    receipt = receipt_from_entries(entry, secrets.at(19), signature.writes)
    assert receipt["leaf_components"] == {
        "write_set_digest": "78a6982610fbbc3c213a026829f53c05a0d219e546a9999d2b65789ad94a88e5",
        "commit_evidence": "ce:2.19:d5d6f72555cfc2b978fe76bf0fb455d1781d6323103ba93681ecd4c79b9d7c82",
        "claims_digest": "00" * 32,
    }
    assert receipt["proof"] == [
        {"left": "559c265fbfe3a518a51db1a19ac971a8f048d4c138f7db599bd07c467d99bd6d"},
        {"left": "42dd784edce02491777e2dc99c08b8dd0a433f30b262f604f5fdbebae130869e"},
        {"left": "a5f8b60f6961c149f3a3bf37d257a00bec51fa6ace5100685a79d2168fee030d"},
    ]
    verified = verify_receipt(receipt, (service / "common" / "service_cert.pem").read_text())
    assert verified.txid == TxID(2, 19)
    assert verified.root.hex() == "43733c6410af32cfbff4df665a5e911cc1bce42acfaddb64b8e05d4009b6ee9d"


def test_every_transaction_of_a_real_ledger() -> None:
    service = require_vectors() / "ccf-services" / "acme_containing_service"
    frames = frames_of(service / "ledger")
    secrets = unwrap_secrets(frames, service / "common")
    entries = [decode_entry(frame, secrets) for frame in frames]
    info = [entry.writes[SERVICE_INFO][UNIT_KEY] for entry in entries if SERVICE_INFO in entry.writes][-1]
    assert info is not None
    certificate = load_json(info)["cert"]
    for entry in entries[:-1]:
        signature = next(e for e in entries[entry.txid.seqno :] if is_signature(e.writes))
        receipt = receipt_from_entries(entry, secrets.at(entry.txid.seqno), signature.writes)
        assert verify_receipt(receipt, certificate).txid == entry.txid


def test_ours() -> None:
    (entry,) = LEDGER.decoded(SEQNO, SEQNO)
    assert entry.claims_digest is not None
    verified = verify_receipt(RECEIPT, LEDGER.service_cert, entry.claims_digest)
    assert (verified.txid, verified.claims_digest) == (entry.txid, entry.claims_digest)
    assert verified.node_id == LEDGER.node_id
    with pytest.raises(InvalidReceipt, match="claims digest"):
        verify_receipt(RECEIPT, LEDGER.service_cert, sha256(b"other").digest())


def test_of_a_signature_transaction() -> None:
    (entry,) = LEDGER.decoded(2, 2)
    signature = node_signature(entry.writes)
    assert signature is not None
    receipt = build_signature_receipt(signature)
    assert (receipt["leaf"], receipt["proof"]) == (signature.root.hex(), [])
    assert "leaf_components" not in receipt
    assert verify_receipt(receipt, LEDGER.service_cert) == VerifiedReceipt(None, None, signature.root, LEDGER.node_id)
    with pytest.raises(InvalidReceipt, match="claims digest"):
        verify_receipt(receipt, LEDGER.service_cert, bytes(32))
    with pytest.raises(InvalidReceipt):
        verify_receipt(receipt | {"leaf": "00" * 32}, LEDGER.service_cert)


def test_a_leaf_without_claims() -> None:
    """Verifiers must read receipts of services that set no claims digest at all (type 3 entries)."""
    wsd, evidence = sha256(b"w").digest(), "ce:2.3:" + "ab" * 32
    root = leaf_of(wsd, evidence_digest(evidence), None)
    signature = NodeSignature(TxID(2, 4), LEDGER.node_id, root, sign_digest(LEDGER.node_key, root), LEDGER.node_cert)
    receipt = build_receipt(LeafComponents(wsd, evidence, bytes(32)), (), signature)
    del receipt["leaf_components"]["claims_digest"]
    assert verify_receipt(receipt, LEDGER.service_cert).txid == TxID(2, 3)


def test_a_signature_without_certificate_leaves_it_to_the_verifier() -> None:
    """CCF 1.x: the verifier adds the certificate it knows for the node."""
    (entry,) = LEDGER.decoded(2, 2)
    signature = node_signature(entry.writes)
    assert signature is not None
    receipt = build_signature_receipt(replace(signature, cert=None))
    with pytest.raises(InvalidReceipt, match="cert is missing"):
        verify_receipt(receipt, LEDGER.service_cert)
    assert verify_receipt(receipt | {"cert": LEDGER.node_cert}, LEDGER.service_cert).root == signature.root


def test_a_bare_leaf_proves_only_what_is_expected() -> None:
    """CCF 1.x again: the leaf is the write set digest, and any inner node of the tree would look like one."""
    (entry,) = LEDGER.decoded(SEQNO, SEQNO)
    bare = {name: value for name, value in RECEIPT.items() if name != "leaf_components"} | {"leaf": entry.leaf.hex()}
    assert verify_receipt(bare, LEDGER.service_cert, write_set_digest=entry.leaf).txid is None
    for expected in (None, entry.write_set_digest):
        with pytest.raises(InvalidReceipt, match="bare leaf"):
            verify_receipt(bare, LEDGER.service_cert, write_set_digest=expected)
    with pytest.raises(InvalidReceipt, match="write set digest"):
        verify_receipt(RECEIPT, LEDGER.service_cert, write_set_digest=bytes(32))


def test_claims_that_the_application_left_out_are_supplied() -> None:
    """drop-in.md 4.1: the application answers with the claims themselves, so that they must be hashed again."""
    (entry,) = LEDGER.decoded(SEQNO, SEQNO)
    assert entry.claims_digest is not None
    receipt = change("leaf_components.claims_digest", ...)
    assert verify_receipt(receipt, LEDGER.service_cert, entry.claims_digest).claims_digest == entry.claims_digest
    with pytest.raises(InvalidReceipt):
        verify_receipt(receipt, LEDGER.service_cert, sha256(b"other").digest())


def test_signatures_without_cover_make_no_receipt() -> None:
    (entry,) = LEDGER.decoded(SEQNO, SEQNO)
    (earlier,) = LEDGER.decoded(2, 2)
    with pytest.raises(InvalidSignatureTx, match="does not cover"):
        receipt_from_entries(entry, LEDGER.secrets.at(SEQNO), earlier.writes)


def change(path: str, value: Any) -> dict[str, Any]:
    """RECEIPT with the value at a dotted path replaced, or removed for `...`."""
    changed = deepcopy(RECEIPT)
    *parents, last = path.split(".")
    holder: Any = changed
    for name in parents:
        holder = holder[int(name) if isinstance(holder, list) else name]
    if value is ...:
        del holder[last]
    else:
        holder[int(last) if isinstance(holder, list) else last] = value
    return changed


EVIDENCE = RECEIPT["leaf_components"]["commit_evidence"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cert", ...),
        ("cert", 5),
        ("cert", "nonsense"),
        ("cert", LEDGER.service_cert),
        ("signature", ...),
        ("signature", "no base64!"),
        ("signature", b64encode(sign_digest(LEDGER.node_key, bytes(32))).decode()),
        ("signature", RECEIPT["signature"] + "\n"),
        ("proof", ...),
        ("proof", {}),
        ("proof", []),
        ("proof", RECEIPT["proof"][:-1]),
        ("proof", RECEIPT["proof"] * 40),
        ("proof.0", {}),
        ("proof.0", []),
        ("proof.0", {"left": "00" * 32, "right": "00" * 32}),
        ("proof.0", {"up": "00" * 32}),
        ("proof.0", {"left": "00" * 31}),
        ("proof.0", {"left": "zz" * 32}),
        ("proof.0", {"left": 7}),
        ("leaf_components", ...),
        ("leaf_components", None),
        ("leaf_components", []),
        ("leaf_components.write_set_digest", ...),
        ("leaf_components.write_set_digest", RECEIPT["leaf_components"]["write_set_digest"].upper()),
        ("leaf_components.claims_digest", ...),
        ("leaf_components.claims_digest", "00" * 32),
        ("leaf_components.commit_evidence", ...),
        ("leaf_components.commit_evidence", EVIDENCE.replace("ce:", "cf:")),
        ("leaf_components.commit_evidence", EVIDENCE.replace("ce:2", "ce:0")),
        ("leaf_components.commit_evidence", EVIDENCE + "\n"),
        ("leaf", "00" * 32),
        ("node_id", "00" * 32),
        ("service_endorsements", "text"),
        ("service_endorsements", [5]),
        ("service_endorsements", [LEDGER.node_cert]),
        ("service_endorsements", ["nonsense"]),
    ],
)
def test_malformed_ones(path: str, value: Any) -> None:
    with pytest.raises(InvalidReceipt):
        verify_receipt(change(path, value), LEDGER.service_cert)


def test_of_another_service() -> None:
    with pytest.raises(InvalidReceipt, match="not endorsed by the service"):
        verify_receipt(RECEIPT, filled_ledger(1).service_cert)


NOW = datetime.now(UTC)


def endorsed_by(key: ec.EllipticCurvePrivateKey, cert: str, subject_key: ec.EllipticCurvePrivateKey) -> str:
    return endorse_node_csr(key, cert, create_csr(subject_key, "CN=CCF Node", []), 3, NOW, 1)


def receipt_signed_by(key: ec.EllipticCurvePrivateKey, cert: str, endorsements: list[str]) -> dict[str, Any]:
    wsd, evidence = sha256(b"w").digest(), "ce:2.3:" + "ab" * 32
    components = LeafComponents(wsd, evidence, bytes(32))
    path = [Step(True, bytes(32))]
    root = sha256(bytes(32) + leaf_of(wsd, evidence_digest(evidence), bytes(32))).digest()
    signature = NodeSignature(TxID(2, 4), key_id(key.public_key()), root, sign_digest(key, root), cert)
    return build_receipt(components, path, signature, endorsements)


def test_an_earlier_identity_is_followed_through_its_endorsement() -> None:
    """ledger-format.md 4.4: the current service endorses the key of the old one, under the old name."""
    old_key, node_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    old_cert = self_signed_service_certificate(old_key, "CN=CCF Service", 4, NOW, 1)
    node_cert = endorsed_by(old_key, old_cert, node_key)
    endorsement = _authority_over(old_key)
    assert verify_receipt(receipt_signed_by(node_key, node_cert, [endorsement]), LEDGER.service_cert)
    for endorsements in ([], [old_cert], [endorsement, old_cert]):
        with pytest.raises(InvalidReceipt, match="not endorsed"):
            verify_receipt(receipt_signed_by(node_key, node_cert, endorsements), LEDGER.service_cert)


def test_a_node_cannot_endorse_others() -> None:
    """A node's certificate is the service's, but no authority: its key endorses nobody."""
    impostor = ec.generate_private_key(ec.SECP384R1())
    cert = endorsed_by(LEDGER.node_key, LEDGER.node_cert, impostor)
    with pytest.raises(InvalidReceipt, match="not endorsed"):
        verify_receipt(receipt_signed_by(impostor, cert, [LEDGER.node_cert]), LEDGER.service_cert)


def test_what_no_signature_covers_may_not_change_either() -> None:
    """The count of unused bits of a certificate's signature: 1 is well-formed DER when the last bit is 0."""
    node_key = ec.generate_private_key(ec.SECP384R1())
    cert = endorsed_by(LEDGER.service_key, LEDGER.service_cert, node_key)
    while load_certificate(cert).signature[-1] & 1:
        cert = endorsed_by(LEDGER.service_key, LEDGER.service_cert, node_key)
    receipt = receipt_signed_by(node_key, cert, [])
    verify_receipt(receipt, LEDGER.service_cert)
    changed = unused_bits_mutant(receipt).receipt
    assert load_certificate(changed["cert"]).signature == load_certificate(cert).signature
    with pytest.raises(InvalidReceipt, match="not endorsed"):
        verify_receipt(changed, LEDGER.service_cert)


def _authority_over(key: ec.EllipticCurvePrivateKey) -> str:
    start, end = validity(NOW, 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(parse_subject("CN=CCF Service"))
        .issuer_name(load_certificate(LEDGER.service_cert).subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    )
    return certificate_pem(builder.sign(LEDGER.service_key, hashes.SHA384()))
