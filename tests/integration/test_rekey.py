"""Rekeys of a running service: private data stays readable, joiners get every secret, public tools accept it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.receipt import verify_receipt
from dataplane.txid import TxID
from tests.support.ccf_package import available_versions, read_ledger, secrets_chain_holds
from tests.support.nodes import ROOT, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service.start(2, tmp_path / "s", open_with=ROOT / "samples" / "logging", chunk_size="20KB") as running:
        yield running


def write(service: Service, record: int) -> TxID:
    session = service.session(service.primary(), "user0")
    answer = session.request(
        "POST", f"/app/log/private?id={record}", body=b'{"id": %d, "msg": "m%d"}' % (record, record)
    )
    assert answer.status == 200, answer.body
    assert answer.txid is not None
    session.wait_for_commit(answer.txid)
    return answer.txid


def rekey(service: Service) -> None:
    service.pass_proposal([{"name": "trigger_ledger_rekey"}])


def test_rekeys_between_writes(service: Service) -> None:
    written = [write(service, 0)]
    rekey(service)
    written.append(write(service, 1))
    rekey(service)
    written.append(write(service, 2))
    joiner = service.session(service.join(), "user0")
    wait_until("the joiner to catch up", lambda: joiner.get_json("/app/log/private?id=2")["msg"] == "m2")
    assert [joiner.get_json(f"/app/log/private?id={i}")["msg"] for i in range(3)] == ["m0", "m1", "m2"]
    for txid in written:  # of any age, under whichever secret
        assert verify_receipt(joiner.receipt(txid), service.certificate).txid == txid
    service.pass_proposal([{"name": "trigger_ledger_chunk"}])
    write(service, 3)
    service.stop()
    for version in available_versions():
        for node in service.nodes:
            verdict = read_ledger(node.ledger, version, uncommitted=version != "6.0.28")
            assert verdict.accepted, verdict.output
            assert secrets_chain_holds(node.ledger, version)
