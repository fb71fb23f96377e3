"""Ledgers and receipts of our codecs, judged by the public `ccf` package; and its signatures, judged by ours."""

from datetime import datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dataplane.client.signing import file_signer, new_identity, sign_governance
from dataplane.client.verify import LedgerCorrupt, verify_ledger
from dataplane.crypto.cose import decode_sign1, verify_sign1
from dataplane.kv.tables import HISTORICAL_ENCRYPTED_LEDGER_SECRET, UNIT_KEY, dump_json
from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.secrets import historical_secret, previous_secret
from dataplane.ledger.signatures import is_signature
from dataplane.receipt import InvalidReceipt, verify_receipt
from tests.support.ccf_package import V6, VERSIONS, cose_sign1, judge_receipts, read_ledger, secrets_chain_holds
from tests.support.receipt_mutants import mutants
from tests.support.service_ledger import ServiceLedger, filled_ledger

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("ccf package")]

MUTANTS = 1_000


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    return filled_ledger(100)


@pytest.fixture(scope="module")
def receipts(ledger: ServiceLedger) -> list[dict[str, Any]]:
    covered = [entry.txid.seqno for entry in ledger.decoded() if not is_signature(entry.writes)]
    return [ledger.receipt(seqno) for seqno in covered]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_reads_our_ledger(ledger: ServiceLedger, tmp_path: Path, version: str) -> None:
    directory = ledger.write_to(tmp_path / "ledger")
    report = verify_ledger(directory, uncommitted=True, secrets=ledger.secrets)
    assert len(report.chunks) > 2
    verdict = read_ledger(directory, version, uncommitted=True)
    assert verdict.accepted, verdict.output
    assert (verdict.last_seqno, verdict.signatures) == (len(ledger.entries), report.signatures)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_refuses_a_changed_ledger(ledger: ServiceLedger, tmp_path: Path, version: str) -> None:
    directory = ledger.write_to(tmp_path / "ledger")
    chunk = sorted(directory.glob("*.committed"))[0]
    data = bytearray(chunk.read_bytes())
    data[data.index(b'{"record":0}') + 10] ^= 1
    chunk.write_bytes(data)
    assert not read_ledger(directory, version).accepted
    with pytest.raises(LedgerCorrupt):
        verify_ledger(directory)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_follows_our_chain_of_secrets(tmp_path: Path, version: str) -> None:
    for case, second_version in (("good", 5), ("broken", 4)):
        ledger = ServiceLedger()
        first, second, third = (bytes([n]) * 32 for n in (1, 2, 3))
        values = [  # at seqno 3 the opening, at 4 and 5 rekeys
            historical_secret(next_version=1),
            historical_secret(previous=previous_secret(first, 1, successor=second, iv=bytes(12), stored_version=3)),
            historical_secret(
                previous=previous_secret(second, second_version, successor=third, iv=bytes(12), stored_version=4)
            ),
        ]
        for value in values:
            ledger.append({HISTORICAL_ENCRYPTED_LEDGER_SECRET: {UNIT_KEY: dump_json(value)}})
        ledger.append(ledger.signature_writes(), flags=EntryFlags.CHUNK_AFTER)
        directory = ledger.write_to(tmp_path / case)
        assert read_ledger(directory, version).accepted
        assert secrets_chain_holds(directory, version) is (case == "good")


@pytest.mark.parametrize("version", VERSIONS)
def test_it_accepts_our_receipts(ledger: ServiceLedger, receipts: list[dict[str, Any]], version: str) -> None:
    for receipt in receipts:
        verify_receipt(receipt, ledger.service_cert)
    verdicts = judge_receipts(receipts, ledger.service_cert, version, chain=True)
    assert verdicts == ["accepted"] * len(receipts)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_mutant_is_refused(ledger: ServiceLedger, receipts: list[dict[str, Any]], version: str) -> None:
    random = Random(2025)
    each = MUTANTS // len(receipts) + 1
    changed = [mutant for receipt in receipts for mutant in islice(mutants(receipt, random), each)]
    assert len(changed) >= MUTANTS
    verdicts = judge_receipts([mutant.receipt for mutant in changed], ledger.service_cert, version)
    assert [(m.part, m.place) for m, verdict in zip(changed, verdicts, strict=True) if verdict == "accepted"] == []
    for mutant in changed:
        with pytest.raises(InvalidReceipt):
            verify_receipt(mutant.receipt, ledger.service_cert)


@pytest.mark.parametrize("version", VERSIONS)
def test_its_governance_signatures_are_ours(tmp_path: Path, version: str) -> None:
    files = new_identity("member0", tmp_path, encryption_key=False)
    signer = file_signer(files.certificate, files.private_key)
    created = "2025-10-09T12:00:00"
    theirs = decode_sign1(
        cose_sign1(b'{"ballot":1}', files.certificate, files.private_key, "ballot", created, version, proposal_id="ab")
    )
    assert verify_sign1(theirs, signer.key.public_key())
    at = int(theirs.protected["ccf.gov.msg.created_at"])  # type: ignore[call-overload]
    assert abs(at - datetime.fromisoformat(created + "+00:00").timestamp()) < 86_400
    ours = decode_sign1(sign_governance(signer, "ballot", b'{"ballot":1}', created_at_s=at, proposal_id="ab"))
    assert (ours.protected, ours.payload) == (theirs.protected, theirs.payload)


def test_it_refuses_cose_signatures_of_another_service(tmp_path: Path) -> None:
    ledger = ServiceLedger()
    writes = ledger.signature_writes(service_key=ServiceLedger().service_key)
    ledger.append(writes, flags=1)
    directory = ledger.write_to(tmp_path / "ledger")
    assert not read_ledger(directory, V6).accepted
    with pytest.raises(LedgerCorrupt, match="COSE"):
        verify_ledger(directory)
