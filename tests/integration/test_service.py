"""A service of three real nodes: an app, forwarding, receipts, a killed primary, a replaced node, identical ledgers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.client.session import Session
from dataplane.client.verify import verify_ledger
from dataplane.receipt import verify_receipt
from tests.support.nodes import ROOT, Service, spawn_node, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

LOGGING = ROOT / "samples" / "logging"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.start(3, tmp_path_factory.mktemp("service"), open_with=LOGGING, chunk_size="20KB") as running:
        yield running


def write(session: Session, record: int, text: str) -> object:
    body = json.dumps({"id": record, "msg": text}).encode()
    answer = session.request("POST", f"/app/log/private?id={record}", body=body)
    assert answer.status == 200, answer.body
    return answer.txid


def test_every_node_takes_writes_and_all_read_them(service: Service) -> None:
    sessions = [service.session(node, "user0") for node in service.alive()]
    for number, session in enumerate(sessions):
        txid = write(session, number, f"from {number}")
        session.wait_for_commit(txid)  # type: ignore[arg-type]
    for session in sessions:
        assert [session.get_json(f"/app/log/private?id={i}")["msg"] for i in range(3)] == ["from 0", "from 1", "from 2"]


def test_a_receipt_from_any_node_verifies_offline(service: Service) -> None:
    first = service.session(user="user0")
    txid = write(first, 7, "attested")
    for node in service.alive():
        receipt = service.session(node).receipt(txid)  # type: ignore[arg-type]
        assert verify_receipt(receipt, service.certificate).txid == txid


def test_the_state_names_the_transaction_it_saw(service: Service) -> None:
    """Launchers wait for that transaction on every node."""
    for node in service.alive():
        assert service.session(node).request("GET", "/node/state").txid is not None


def test_the_documents_list_every_endpoint(service: Service) -> None:
    app = service.session().get_json("/app/api")
    assert {"/app/log/private", "/app/commit", "/app/receipt"} <= set(app["paths"])
    assert "/node/network/nodes/{node_id}" in service.session().get_json("/node/api")["paths"]
    assert "/gov/members/proposals:create" in service.session().get_json("/gov/api")["paths"]


def test_anonymous_and_unknown_callers_are_told_why(service: Service) -> None:
    answer = service.session().request("GET", "/app/log/private?id=0")
    assert answer.status == 401
    (detail,) = answer.json()["error"]["details"]
    assert detail["auth_policy"] == "user_cert"


def test_a_killed_primary_is_survived_and_replaced(service: Service) -> None:
    before = write(service.session(user="user0"), 11, "before")
    service.session().wait_for_commit(before)  # type: ignore[arg-type]
    dead = service.primary()
    dead.kill()
    survivor = service.session(service.primary(), "user0")
    after = wait_until("writes to resume", lambda: write(survivor, 12, "after"), 10)
    survivor.wait_for_commit(after)  # type: ignore[arg-type]
    assert survivor.get_json("/app/log/private?id=11")["msg"] == "before"
    service.join()
    service.remove(dead)
    newest = service.session(service.nodes[-1], "user0")
    wait_until("the new node to catch up", lambda: newest.get_json("/app/log/private?id=12")["msg"] == "after")


def test_committed_chunks_are_the_same_everywhere_and_verify(service: Service) -> None:
    session = service.session(service.primary(), "user0")
    for number in range(150):
        txid = write(session, number, "x" * 200)
    session.wait_for_commit(txid)  # type: ignore[arg-type]
    newest = max(path.name for path in service.primary().ledger.glob("*.committed"))
    for node in service.alive():
        wait_until("the chunk on every node", lambda node=node: (node.ledger / newest).exists())  # type: ignore[misc]
    contents = [
        {path.name: path.read_bytes() for path in sorted(node.ledger.glob("*.committed"))} for node in service.alive()
    ]
    shared = set(contents[0]).intersection(*contents[1:])
    assert len(shared) >= 2
    assert all(len({content[name] for content in contents}) == 1 for name in shared)
    for node in service.alive():
        assert verify_ledger(node.ledger).last_signed is not None


def test_a_pid_file_that_is_there_stops_the_node_at_once(tmp_path: Path, service: Service) -> None:
    (tmp_path / "node.pid").write_text("1")
    config = service.nodes[0].directory / "config.json"
    process = spawn_node(tmp_path, ["--config", str(config)])
    assert process.wait(20) != 0
    assert (tmp_path / "out").read_text().splitlines()[-1].endswith("PID file node.pid already exists. Exiting.")
    assert (tmp_path / "err").read_text() == ""
