"""A service that lost all its nodes comes back from its ledger with its members' shares, more than once."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataplane.client.session import ServiceError
from dataplane.client.verify import verify_ledger
from dataplane.ledger.chunk import parse_name
from dataplane.receipt import verify_receipt
from dataplane.txid import TxID
from tests.support.ccf_package import V6, available_versions, read_ledger, secrets_chain_holds
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until
from tests.support.recovery import agree, begin_recovery, share_of, submit_shares, transition, wait_until_open

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

OUTPUT_FILES = {"rpc_addresses_file": "rpc_addresses", "node_certificate_file": "node_cert.pem"}
LOGGING = ROOT / "samples" / "logging"


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    """Stops every service that is entered into it, whatever happened."""
    with ExitStack() as stack:
        yield stack


def write(service: Service, record: int, text: str) -> TxID:
    session = service.session(service.primary(), "user0")
    body = json.dumps({"id": record, "msg": text}).encode()
    answer = session.request("POST", f"/app/log/private?id={record}", body=body)
    assert answer.status == 200, answer.body
    assert answer.txid is not None
    session.wait_for_commit(answer.txid)
    return answer.txid


def read(service: Service, node: NodeProcess, record: int) -> str:
    return str(service.session(node, "user0").get_json(f"/app/log/private?id={record}")["msg"])


def kill_all(service: Service) -> None:
    for node in service.nodes:
        node.kill()
    service.stop(check=False)


def recovery_files(node: NodeProcess) -> list[str]:
    return [path.name for path in node.ledger.iterdir() if path.name.endswith(".recovery")]


def test_three_nodes_are_killed_and_the_service_comes_back_twice(tmp_path: Path, ending: ExitStack) -> None:
    lost = ending.enter_context(Service.start(3, tmp_path / "first", members=2, open_with=LOGGING, chunk_size="20KB"))
    before = [write(lost, 0, "before")]
    lost.pass_proposal([{"name": "trigger_ledger_rekey"}])
    before.append(write(lost, 1, "after the rekey"))
    kill_all(lost)

    service = ending.enter_context(begin_recovery(lost, tmp_path / "second", count=3))
    network = service.any_session().get_json("/node/network")
    assert (network["service_status"], network["recovery_count"]) == ("Recovering", 1)
    assert service.session(user="user0").request("GET", "/app/log/private?id=0").status == 404
    assert recovery_files(service.nodes[0])
    agree(service, lost.certificate)
    first, second = submit_shares(service, service.members)
    assert first["message"] == "1/2 recovery shares successfully submitted"
    assert second["message"].endswith("\nEnd of recovery procedure initiated")
    wait_until_open(service)
    for node in service.nodes:
        assert [read(service, node, 0), read(service, node, 1)] == ["before", "after the rekey"]
        assert not recovery_files(node)
    retired = service.any_session().get_json("/node/network/removable_nodes")["nodes"]
    assert len(retired) == 3
    for node in service.nodes:
        for txid in before:  # from before the disaster, endorsed by the identity of today
            receipt = service.session(node).receipt(txid)
            assert receipt["service_endorsements"]
            assert verify_receipt(receipt, service.certificate).txid == txid
    assert service.any_session().get_json("/node/service/previous_identity")["previous_service_identity"] == (
        lost.certificate
    )
    write(service, 2, "second life")
    kill_all(service)

    again = ending.enter_context(begin_recovery(service, tmp_path / "third", ledger=service.nodes[2].ledger))
    agree(again, service.certificate)
    submit_shares(again, again.members)
    wait_until_open(again)
    assert [read(again, again.nodes[0], i) for i in range(3)] == ["before", "after the rekey", "second life"]
    again.pass_proposal([{"name": "trigger_ledger_chunk"}])
    write(again, 3, "third life")
    ledger = again.nodes[0].ledger
    again.stop()
    assert verify_ledger(ledger, uncommitted=True).service_status == "Open"
    for version in available_versions():
        verdict = read_ledger(ledger, version, uncommitted=version != V6)
        assert verdict.accepted, verdict.output
        assert secrets_chain_holds(ledger, version)


def test_what_is_refused_on_the_way(tmp_path: Path, ending: ExitStack) -> None:
    lost = ending.enter_context(Service.start(1, tmp_path / "first", members=2, open_with=LOGGING))
    write(lost, 0, "kept")
    kill_all(lost)
    given_up = ending.enter_context(begin_recovery(lost, tmp_path / "given-up"))
    old_share = share_of(given_up, given_up.members[0])
    with pytest.raises(ServiceError) as early:
        given_up.member().submit_recovery_share(old_share)
    assert early.value.code == "ServiceNotWaitingForRecoveryShares"
    with pytest.raises(ServiceError, match="Previous service identity does not match"):
        given_up.pass_proposal([transition(given_up, lost.users["user0"].certificate.read_text())])
    wait_until("the log", lambda: "Unable to open service: Previous service identity does not match." in log(given_up))
    agree(given_up, lost.certificate)
    kill_all(given_up)  # in the middle of it

    service = ending.enter_context(begin_recovery(lost, tmp_path / "second", ledger=given_up.nodes[0].ledger))
    assert service.any_session().get_json("/node/network")["recovery_count"] == 1
    agree(service, lost.certificate)
    wrong = bytearray(old_share)
    wrong[8] ^= 1
    member = service.member(service.members[0])
    assert member.submit_recovery_share(bytes(wrong))["submittedCount"] == 1
    with pytest.raises(ServiceError) as refused:
        submit_shares(service, service.members[1:])
    assert (refused.value.status, refused.value.code) == (500, "InternalError")
    assert [answer["submittedCount"] for answer in submit_shares(service, service.members)] == [1, 2]
    wait_until_open(service)
    assert read(service, service.nodes[0], 0) == "kept"
    with pytest.raises(ServiceError) as late:
        member.submit_recovery_share(old_share)
    assert late.value.code == "ServiceNotWaitingForRecoveryShares"
    assert share_of(service, service.members[0]) != old_share
    service.stop()


def test_a_damaged_ledger_is_recovered_up_to_its_last_sound_signature(tmp_path: Path, ending: ExitStack) -> None:
    lost = ending.enter_context(Service.start(1, tmp_path / "first", open_with=LOGGING, chunk_size="4KB"))
    for record in range(12):
        write(lost, record, f"text {record}")
    kill_all(lost)
    chunks = sorted(
        (name.first, path) for path in lost.nodes[0].ledger.iterdir() if (name := parse_name(path.name)) and name.last
    )
    _, damaged = chunks[-2]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    service = ending.enter_context(begin_recovery(lost, tmp_path / "second"))
    agree(service, lost.certificate)
    submit_shares(service, service.members)
    wait_until_open(service)
    assert read(service, service.nodes[0], 0) == "text 0"
    assert damaged.name + ".ignored" in [path.name for path in service.nodes[0].ledger.iterdir()]
    write(service, 99, "goes on")
    ledger = service.nodes[0].ledger
    service.stop()
    assert verify_ledger(ledger, uncommitted=True).service_status == "Open"


def log(service: Service) -> str:
    return service.nodes[0].log()


def test_a_service_that_seals_comes_back_without_its_members(tmp_path: Path, ending: ExitStack) -> None:
    sealing = {"output_files": {**OUTPUT_FILES, "sealed_ledger_secret_location": "sealed"}}
    lost = ending.enter_context(
        Service.start(3, tmp_path / "first", members=2, settings=sealing, operator=True, open_with=LOGGING)
    )
    lost.member(lost.operator).activate()
    write(lost, 0, "before")
    lost.pass_proposal([{"name": "trigger_ledger_rekey"}])
    write(lost, 1, "after the rekey")
    kill_all(lost)
    last = lost.nodes[2]
    assert {path.stat().st_mode & 0o777 for path in (last.directory / "sealed").iterdir()} == {0o600}
    service = ending.enter_context(
        begin_recovery(
            lost,
            tmp_path / "second",
            ledger=last.ledger,
            count=3,
            recover={"previous_sealed_ledger_secret_location": str(last.directory / "sealed")},
        )
    )
    proposal = service.member(lost.operator).propose([transition(service, lost.certificate)])
    assert proposal["proposalState"] == "Accepted"
    wait_until_open(service)
    for node in service.nodes:
        assert [read(service, node, 0), read(service, node, 1)] == ["before", "after the rekey"]
    write(service, 2, "goes on")
    service.stop()


def snapshots_of(node: NodeProcess) -> list[Path]:
    return sorted((node.directory / "snapshots").glob("*.committed"))


@pytest.mark.parametrize("alone", [False, True])
def test_recovery_from_a_snapshot(tmp_path: Path, ending: ExitStack, alone: bool) -> None:
    lost = ending.enter_context(Service.start(1, tmp_path / "first", members=2, open_with=LOGGING, chunk_size="4KB"))
    write(lost, 0, "before the rekey")
    lost.pass_proposal([{"name": "trigger_ledger_rekey"}])
    write(lost, 1, "in the snapshot")
    lost.pass_proposal([{"name": "trigger_snapshot"}])
    wait_until("the snapshot", lambda: len(snapshots_of(lost.nodes[0])) > 1)
    for record in range(2, 8):
        write(lost, record, "after the snapshot")
    kill_all(lost)
    snapshots = lost.nodes[0].directory / "snapshots"
    empty = tmp_path / "empty"
    empty.mkdir()
    stranger = Service(tmp_path, lost.settings, certificate=lost.users["user0"].certificate.read_text())
    with pytest.raises(AssertionError, match=r"Previous service identity does not endorse the node identity that sig"):
        begin_recovery(stranger, tmp_path / "wrong", ledger=empty, snapshots=snapshots)
    service = ending.enter_context(
        begin_recovery(
            lost,
            tmp_path / "second",
            ledger=empty if alone else lost.nodes[0].ledger,
            snapshots=snapshots,
            count=2,
        )
    )
    state = service.session(service.nodes[0]).get_json("/node/state")
    assert state["startup_seqno"] > 0
    agree(service, lost.certificate)
    submit_shares(service, service.members)
    wait_until_open(service)
    for node in service.nodes:
        assert [read(service, node, record) for record in (0, 1)] == ["before the rekey", "in the snapshot"]
        if not alone:
            assert read(service, node, 7) == "after the snapshot"
    write(service, 9, "goes on")
    before = len(list(snapshots.iterdir()))
    wait_until("a snapshot of the new service", lambda: len(snapshots_of(service.nodes[0])) > before)
    kill_all(service)
    again = ending.enter_context(
        begin_recovery(
            service,
            tmp_path / "third",
            ledger=service.nodes[0].ledger,
            snapshots=service.nodes[0].directory / "snapshots",
        )
    )
    agree(again, service.certificate)
    submit_shares(again, again.members)
    wait_until_open(again)
    assert [read(again, again.nodes[0], record) for record in (0, 9)] == ["before the rekey", "goes on"]
    again.stop()


def test_a_ledger_that_holds_nothing_signed_is_no_service(tmp_path: Path, ending: ExitStack) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    lost = Service(tmp_path, {})
    lost.certificate = "no matter"
    with pytest.raises(AssertionError, match="No signature found in the ledger to recover"):
        begin_recovery(lost, tmp_path / "second", ledger=empty)
