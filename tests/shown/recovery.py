"""Every real CCF service whose secrets can be reached comes back in our node, and a straight replay says the same.

    python -m tests.shown.recovery [SERVICE...]

Members agree and submit shares as they would; the snapshot our node then takes is compared, table by table, with the
whole ledger replayed by the public package and decrypted with AES-GCM outside of our code. Both releases of the package
read the history from its first transaction to ours. The control compares with a replay that ends one transaction too
early, and recovers with too few shares: both must fail.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.ccf_package import V6, available_versions, read_ledger, secrets_chain_holds
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until
from tests.support.recovery import agree, begin_recovery, submit_shares, wait_until_open
from tests.support.results import save
from tests.support.vector_services import all_secrets, compare_state, recover_vector
from tests.support.vectors import ccf_services

APP = ROOT / "samples" / "logging"
_BROKEN_CHAIN = "double_sealed_service"  # a deliberate failure case of the tool for chains of secrets


def run(services: list[str], directory: Path, writes: int = 1000) -> dict[str, object]:
    """Recover each service, and one of ours with that many writes. Raises where one does not come back whole."""
    return {
        "services": {name: _recover(name, directory) for name in services},
        "ours": _recover_ours(directory, writes),
        "control": "one transaction less in the replay differs; with one share too few nothing is recovered",
    }


def _recover_ours(directory: Path, writes: int) -> dict[str, Any]:
    """A service of ours: private and public records, removals, two rekeys, the nodes killed in the middle of it."""
    with Service.start(1, directory / "ours", members=3, open_with=APP, chunk_size="100KB") as lost:
        _fill(lost, writes)
        lost.nodes[0].kill()
        lost.stop(check=False)
        service = begin_recovery(lost, directory / "ours-recovered")
        return _finish("ours", lost, service, lost.directory)


def _fill(service: Service, writes: int) -> None:
    session = service.session(user="user0")
    for number in range(writes):
        if number in (writes // 3, writes // 2):
            service.pass_proposal([{"name": "trigger_ledger_rekey"}])
        kind = "private" if number % 4 else "public"
        path = f"/app/log/{kind}?id={number % 200}"
        body = json.dumps({"id": number % 200, "msg": f"{number} {'x' * (number % 90)}"}).encode()
        answer = session.request("POST", path, body=body)
        if number % 7 == 0:
            answer = session.request("DELETE", path)
        assert answer.status == 200, answer.body
    assert answer.txid is not None
    session.wait_for_commit(answer.txid)


def _recover(name: str, directory: Path) -> dict[str, Any]:
    lost, service = recover_vector(name, directory)
    return _finish(name, lost, service, directory / name / "common")


def _finish(name: str, lost: Service, service: Service, keys: Path) -> dict[str, Any]:
    with service:
        before = service.any_session().get_json("/node/network")
        agree(service, lost.certificate)
        _submit(service)
        wait_until_open(service)
        node = service.nodes[0]
        snapshot = wait_until("a snapshot of the recovered service", lambda: _snapshot(node), 30)
        network = service.any_session().get_json("/node/network")
        service.stop()
    assert network["service_status"] == "Open"
    return {"recovery_count": before["recovery_count"], **_judge(name, node, snapshot, keys)}


def _submit(service: Service) -> None:
    """The shares; with the last one missing the service still waits, which is the control."""
    holders = [member for member in service.members if member.encryption_private_key is not None]
    threshold = int(service.any_session().get_json("/node/service/configuration")["recovery_threshold"])
    submit_shares(service, holders[: threshold - 1])
    status = service.any_session().get_json("/node/network")["service_status"]
    assert status == "WaitingForRecoveryShares", f"{threshold - 1} shares: {status}"
    submit_shares(service, holders[threshold - 1 : threshold])


def _snapshot(node: NodeProcess) -> Path | None:
    return next(iter(sorted((node.directory / "snapshots").glob("*.committed"))), None)


def _judge(name: str, node: NodeProcess, snapshot: Path, common: Path) -> dict[str, Any]:
    secrets = all_secrets(node.ledger, common)
    compared = compare_state(node.ledger, snapshot, secrets)
    assert not compared["differing"], f"{name}: {compared['differing']} are not what the ledger says"
    control = compare_state(node.ledger, snapshot, secrets, compared["seqno"] - 1)
    assert control["differing"], "the control: a replay that ends too early went unnoticed"
    readers = {}
    for version in available_versions():
        verdict = read_ledger(node.ledger, version, uncommitted=version != V6)
        assert verdict.accepted, verdict.output[-2000:]
        assert secrets_chain_holds(node.ledger, version) is (name != _BROKEN_CHAIN)
        readers[f"ccf {version}"] = {"last_seqno": verdict.last_seqno, "signatures": verdict.signatures}
    return {**compared, "ledger_secrets": len(list(secrets)), "readers": readers}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save("recovery", run(sys.argv[1:] or ccf_services(), Path(temporary)))
