"""A snapshot file is trusted by its receipt alone, and only under the right service."""

import json
import random

import pytest

from dataplane.crypto.certs import self_signed_service_certificate
from dataplane.ledger.snapshot import MalformedSnapshot
from dataplane.receipt import InvalidReceipt, NotEndorsed
from dataplane.snapshot_proof import verify_snapshot
from tests.simulation.replica_machine import NOT_BEFORE, node
from tests.support.snapshots import SERVICE_CERT, SnapshotFiles, snapshot_files
from tests.support.vectors import require_vectors


@pytest.fixture(scope="module")
def files() -> SnapshotFiles:
    return snapshot_files()


@pytest.mark.parametrize("kind", ["with_json", "with_cose"])
def test_both_kinds_of_receipt_are_accepted(files: SnapshotFiles, kind: str) -> None:
    verified = verify_snapshot(getattr(files, kind), SERVICE_CERT)
    assert (verified.snapshot.seqno, verified.evidence, verified.frame) == (5, files.evidence, files.frame)
    assert "records" not in verified.snapshot.tables


@pytest.mark.parametrize("kind", ["with_json", "with_cose"])
def test_another_service_does_not_vouch_for_it(files: SnapshotFiles, kind: str) -> None:
    other = self_signed_service_certificate(node(3).key, "CN=CCF Service", 1, NOT_BEFORE, 365)
    with pytest.raises(NotEndorsed):
        verify_snapshot(getattr(files, kind), other)


@pytest.mark.parametrize("kind", ["with_json", "with_cose"])
def test_a_receipt_of_something_else_does_not_vouch_for_it(kind: str) -> None:
    other = snapshot_files(claims=bytes(range(32)))
    with pytest.raises(InvalidReceipt):
        verify_snapshot(getattr(other, kind), SERVICE_CERT)


def test_no_changed_byte_is_accepted(files: SnapshotFiles) -> None:
    """Of the frame, all: they are few. A JSON receipt has white space and certificates of its own."""
    rng = random.Random(1)
    for data in (files.with_json, files.with_cose):
        for position in [*range(len(files.frame)), *rng.sample(range(len(files.frame), len(data)), 60)]:
            changed = bytearray(data)
            changed[position] ^= 1 << rng.randrange(8)
            try:
                verified = verify_snapshot(bytes(changed), SERVICE_CERT)
            except (MalformedSnapshot, InvalidReceipt):
                continue
            assert position >= len(files.frame)
            assert verified.frame == files.frame


@pytest.mark.parametrize(
    "receipt",
    [b"", b"{", b"{}", b"[]", b"\xd2", b"\xd2\x84", b"x", json.dumps({"proof": []}).encode(), b'{"a":' * 9999],
)
def test_what_is_no_receipt_is_refused(files: SnapshotFiles, receipt: bytes) -> None:
    with pytest.raises(InvalidReceipt):
        verify_snapshot(files.frame + receipt, SERVICE_CERT)


@pytest.mark.parametrize("data", [b"", bytes(64), b"\1" + bytes(63)])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedSnapshot):
        verify_snapshot(data, SERVICE_CERT)


def test_a_real_snapshot_is_vouched_for_by_its_service() -> None:
    service = require_vectors() / "ccf-services" / "sgx_service"
    cert = (service / "common" / "service_cert.pem").read_text()
    verified = verify_snapshot((service / "snapshots" / "snapshot_138_139.committed").read_bytes(), cert)
    assert (verified.snapshot.seqno, str(verified.evidence)) == (138, "8.139")
    with pytest.raises(NotEndorsed):  # that of an earlier identity of the service
        verify_snapshot((service / "snapshots" / "snapshot_99_100.committed").read_bytes(), cert)
