"""COSE receipts: ours and real ones, over earlier identities, and everything malformed or misleading refused."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import cbor2
import pytest

from dataplane.crypto.cose import decode_sign1, encode_sign1
from dataplane.ledger.proven import ProvenEntry
from dataplane.ledger.signatures import InvalidSignatureTx
from dataplane.receipt import InvalidReceipt
from dataplane.receipt_cose import INCLUSION_PROOFS, VDP, cose_receipt, merkle_proof, verify_cose_receipt
from dataplane.txid import TxID
from tests.support.past_services import PresentService, present, recovered
from tests.support.service_ledger import ServiceLedger, filled_ledger
from tests.support.vectors import require_vectors

CLAIMS = sha256(b"claims").digest()


def twice_recovered() -> ServiceLedger:
    ledger = filled_ledger(6)
    for _ in range(2):
        ledger.recover()
        ledger.append({"public:records": {b"k": b"v"}}, claims_digest=CLAIMS)
        ledger.sign()
    return ledger


LEDGER = twice_recovered()
SERVICE = present(LEDGER)
ENTRIES = [entry for entry in SERVICE.proven() if entry.path is not None]
NEWEST = ENTRIES[0]
OLDEST = ENTRIES[-1]
RECEIPT = cose_receipt(NEWEST)


def chain(service: PresentService, entry: ProvenEntry) -> tuple[bytes, ...]:
    endorsements = service.cose_endorsements(entry.txid)
    assert endorsements is not None
    return endorsements


def test_a_real_one() -> None:
    """ledger-format.md 10.4."""
    service = recovered("acme_containing_service", require_vectors() / "ccf-services")
    entry = next(entry for entry in service.proven() if entry.txid.seqno == 19)
    message = decode_sign1(cose_receipt(entry))
    assert message.protected_bytes.hex().startswith(
        "a50138220458406164336634306437646130306334626533633735383061623962"
    )
    assert merkle_proof(entry).hex().startswith("a2018358 2078a69826".replace(" ", ""))
    proof = cbor2.loads(message.unprotected[VDP][INCLUSION_PROOFS][0])  # type: ignore[index]
    assert [left for left, _ in proof[2]] == [True, True, True]
    verified = verify_cose_receipt(cose_receipt(entry), service.certificate, endorsements=chain(service, entry))
    assert verified.txid == TxID(2, 19)
    assert verified.root.hex() == "43733c6410af32cfbff4df665a5e911cc1bce42acfaddb64b8e05d4009b6ee9d"


@pytest.mark.parametrize("name", ["double_sealed_service", "cose_flipflop_service"])
def test_every_transaction_of_real_ledgers(name: str) -> None:
    service = recovered(name, require_vectors() / "ccf-services")
    checked = 0
    for entry in service.proven():
        if entry.path is None or entry.cover.cose is None:
            continue
        receipt = cose_receipt(entry)
        assert verify_cose_receipt(receipt, service.certificate, endorsements=chain(service, entry)).txid == entry.txid
        checked += 1
    assert checked > 4


def test_ours_of_every_age() -> None:
    lengths = set()
    for entry in ENTRIES:
        endorsements = chain(SERVICE, entry)
        lengths.add(len(endorsements))
        verified = verify_cose_receipt(cose_receipt(entry), SERVICE.certificate, endorsements=endorsements)
        assert (verified.txid, verified.claims_digest) == (entry.txid, entry.components.claims_digest)
        assert (verified.root, verified.node_id) == (entry.cover.root, None)
    assert lengths == {0, 1, 2}


def test_endorsements_must_lead_to_the_signature() -> None:
    endorsements = chain(SERVICE, OLDEST)
    for wrong in ((), endorsements[:1], endorsements[1:], endorsements[::-1], (b"nonsense", *endorsements)):
        with pytest.raises(InvalidReceipt):
            verify_cose_receipt(cose_receipt(OLDEST), SERVICE.certificate, endorsements=wrong)
    with pytest.raises(InvalidReceipt):
        verify_cose_receipt(RECEIPT, SERVICE.certificate, endorsements=endorsements)


def test_claims_are_compared() -> None:
    verify_cose_receipt(RECEIPT, SERVICE.certificate, CLAIMS)
    with pytest.raises(InvalidReceipt, match="claims digest"):
        verify_cose_receipt(RECEIPT, SERVICE.certificate, bytes(32))


def test_of_another_service() -> None:
    with pytest.raises(InvalidReceipt, match="another key"):
        verify_cose_receipt(RECEIPT, ServiceLedger().service_cert)


def test_what_has_no_proof_has_no_receipt() -> None:
    signature = next(entry for entry in SERVICE.proven() if entry.path is None)
    with pytest.raises(InvalidSignatureTx, match="no Merkle proof"):
        cose_receipt(signature)
    with pytest.raises(InvalidSignatureTx, match="no Merkle proof"):
        cose_receipt(replace(NEWEST, components=replace(NEWEST.components, commit_evidence=None)))
    with pytest.raises(InvalidSignatureTx, match="did not sign"):
        cose_receipt(replace(NEWEST, cover=replace(NEWEST.cover, cose=None)))


def rebuilt(change: Callable[[dict[int, Any]], object]) -> bytes:
    """RECEIPT with its inclusion proof changed."""
    message = decode_sign1(RECEIPT)
    proof = cbor2.loads(merkle_proof(NEWEST))
    changed = change(proof) or proof
    unprotected: dict[int | str, object] = {VDP: {INCLUSION_PROOFS: [cbor2.dumps(changed)]}}
    return encode_sign1(message.protected_bytes, unprotected, None, message.signature)


def with_headers(unprotected: dict[int | str, object], payload: bytes | None = None) -> bytes:
    message = decode_sign1(RECEIPT)
    return encode_sign1(message.protected_bytes, unprotected, payload, message.signature)


GOOD = merkle_proof(NEWEST)


def test_rebuilding_alone_changes_nothing() -> None:
    assert rebuilt(lambda proof: None) == RECEIPT


@pytest.mark.parametrize(
    "receipt",
    [
        b"",
        b"nonsense",
        RECEIPT[:-1],
        RECEIPT + b"\0",
        RECEIPT[1:],
        with_headers({}),
        with_headers({VDP: {}}),
        with_headers({VDP: {INCLUSION_PROOFS: []}}),
        with_headers({VDP: {INCLUSION_PROOFS: [GOOD, GOOD]}}),
        with_headers({VDP: {INCLUSION_PROOFS: [GOOD], -2: []}}),
        with_headers({VDP: {INCLUSION_PROOFS: [GOOD]}, 5: 5}),
        with_headers({VDP: {INCLUSION_PROOFS: GOOD}}),
        with_headers({VDP: {INCLUSION_PROOFS: [b"\xff"]}}),
        with_headers({VDP: {INCLUSION_PROOFS: [cbor2.dumps(5)]}}),
        with_headers({VDP: {INCLUSION_PROOFS: [GOOD]}}, NEWEST.cover.root),
        rebuilt(lambda proof: proof | {3: 1}),
        rebuilt(lambda proof: {1: proof[1]}),
        rebuilt(lambda proof: {1: proof[1][:2], 2: proof[2]}),
        rebuilt(lambda proof: {1: [bytes(32), *proof[1][1:]], 2: proof[2]}),
        rebuilt(lambda proof: {1: [bytes(31), *proof[1][1:]], 2: proof[2]}),
        rebuilt(lambda proof: {1: [proof[1][0], "ce:2.3:00", proof[1][2]], 2: proof[2]}),
        rebuilt(lambda proof: {1: [proof[1][0], proof[1][1] + "\n", proof[1][2]], 2: proof[2]}),
        rebuilt(lambda proof: {1: [*proof[1][:2], bytes(32)], 2: proof[2]}),
        rebuilt(lambda proof: {1: proof[1], 2: []}),
        rebuilt(lambda proof: {1: proof[1], 2: proof[2][:-1]}),
        rebuilt(lambda proof: {1: proof[1], 2: proof[2] * 40}),
        rebuilt(lambda proof: {1: proof[1], 2: [[not left, digest] for left, digest in proof[2]]}),
        rebuilt(lambda proof: {1: proof[1], 2: [[int(left), digest] for left, digest in proof[2]]}),
        rebuilt(lambda proof: {1: proof[1], 2: [[left, digest, 0] for left, digest in proof[2]]}),
        rebuilt(lambda proof: {1: proof[1], 2: [[left, digest[:31]] for left, digest in proof[2]]}),
    ],
)
def test_malformed_ones(receipt: bytes) -> None:
    with pytest.raises(InvalidReceipt):
        verify_cose_receipt(receipt, SERVICE.certificate)


def test_a_service_certificate_that_is_none() -> None:
    with pytest.raises(InvalidReceipt):
        verify_cose_receipt(RECEIPT, "nonsense")


def test_the_header_decides_what_is_signed() -> None:
    """A protected header of a signature that covers nothing of the sort is refused before any proof is read."""
    message = decode_sign1(RECEIPT)
    for change in ({395: 3}, {"ccf.v1": {}}, {"ccf.v1": {"txid": "x"}}, {"ccf.v1": 5}, {4: b"x"}, {1: -7}):
        protected = cbor2.dumps({**message.protected, **change})
        with pytest.raises(InvalidReceipt):
            verify_cose_receipt(encode_sign1(protected, message.unprotected, None, message.signature),
                                SERVICE.certificate)  # fmt: skip
