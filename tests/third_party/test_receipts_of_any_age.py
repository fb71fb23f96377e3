"""Receipts of real and of our own ledgers, over rekeys and recoveries, judged by both releases of `ccf`."""

from dataclasses import dataclass
from functools import lru_cache

import pytest

from dataplane.crypto.certs import public_key_of
from dataplane.crypto.keys import public_pem
from dataplane.ledger.endorsement_chain import signing_key_at
from dataplane.receipt_cose import cose_receipt
from tests.support.ccf_package import VERSIONS, judge_cose_receipts, judge_receipts
from tests.support.past_services import PresentService, present, recovered
from tests.support.service_ledger import ServiceLedger, filled_ledger
from tests.support.vectors import ccf_services, require_vectors

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("ccf package")]


@lru_cache(maxsize=1)
def _ours() -> ServiceLedger:
    ledger = filled_ledger(20)
    ledger.rekey()
    ledger.append({"records": {b"k": b"rekeyed"}})
    ledger.sign()
    for number in range(2):
        ledger.recover()
        ledger.append({"records": {b"k": b"%d" % number}})
        ledger.sign()
    return ledger


def service_named(name: str) -> PresentService:
    return present(_ours()) if name == "ours" else recovered(name, require_vectors() / "ccf-services")


@dataclass(frozen=True)
class Judged:
    service: PresentService
    version: str


@pytest.fixture(params=[(name, version) for name in ("ours", *ccf_services()) for version in VERSIONS])
def judged(request: pytest.FixtureRequest) -> Judged:
    name, version = request.param
    return Judged(service_named(name), version)


def test_json_receipts_of_every_age_are_accepted(judged: Judged) -> None:
    """Of the ledger of CCF 1.x those that hold a certificate, which older signatures lacked."""
    service = judged.service
    receipts = [service.receipt(entry) for entry in service.proven()]
    usable = [receipt for receipt in receipts if "cert" in receipt]
    assert len(usable) >= len(receipts) - 37
    verdicts = judge_receipts(usable, service.certificate, judged.version, chain=service.name == "ours")
    assert verdicts == ["accepted"] * len(usable)
    endorsed = [receipt for receipt in usable if "service_endorsements" in receipt]
    assert endorsed
    bare = [{name: value for name, value in r.items() if name != "service_endorsements"} for r in endorsed]
    refused = judge_receipts(bare, service.certificate, judged.version)
    assert all(verdict.startswith("refused") for verdict in refused)


def test_cose_receipts_of_every_age_are_accepted(judged: Judged) -> None:
    """With the key that the COSE endorsements lead to, from the present service's."""
    service = judged.service
    trusted = public_key_of(service.certificate)
    receipts = []
    for entry in service.proven():
        endorsements = service.cose_endorsements(entry.txid)
        if entry.path is None or entry.cover.cose is None or endorsements is None:
            continue
        key = signing_key_at(entry.cover.txid, endorsements, trusted)
        receipts.append((cose_receipt(entry), public_pem(key), entry.components.claims_digest or bytes(32)))
    assert bool(receipts) is (service.name != "sgx_service")
    assert judge_cose_receipts(receipts, judged.version) == ["accepted"] * len(receipts)
    wrong = [(receipt, public_pem(trusted), claims) for receipt, key, claims in receipts if key != public_pem(trusted)]
    assert all(verdict.startswith("refused") for verdict in judge_cose_receipts(wrong, judged.version))
