"""Nodes that leave a service: every step of it, a backup's, the primary's, a pending node's (node-api.md 6.5)."""

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.nodes import ROOT, NodeProcess, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

ELECTION_TIMEOUT_MS = 6_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.start(
        3,
        tmp_path_factory.mktemp("retirement"),
        open_with=ROOT / "samples" / "logging",
        election_timeout_ms=ELECTION_TIMEOUT_MS,
    ) as running:
        yield running


def consensus(service: Service, node: NodeProcess) -> dict[str, Any]:
    return dict(service.session(node).get_json("/node/consensus")["details"])


def removable(service: Service, asked: NodeProcess) -> list[str]:
    return [row["node_id"] for row in service.session(asked).get_json("/node/network/removable_nodes")["nodes"]]


def remove(service: Service, node_id: str) -> None:
    service.pass_proposal([{"name": "remove_node", "args": {"node_id": node_id}}])


def delete(service: Service, node_id: str) -> tuple[int, object]:
    answer = service.session().request("DELETE", f"/node/network/nodes/{node_id}")
    return answer.status, answer.json()["error"]["code"] if answer.status >= 400 else answer.json()


def write(service: Service, node: NodeProcess) -> None:
    body = json.dumps({"id": 1, "msg": "still here"}).encode()
    answer = service.session(node, "user0").request("POST", "/app/log/private?id=1", body=body)
    assert answer.txid is not None, answer.body
    service.session(node).wait_for_commit(answer.txid)


def backup(service: Service) -> NodeProcess:
    primary = service.primary()
    return next(node for node in reversed(service.alive()) if node is not primary)


def test_a_backup_leaves_in_steps(service: Service) -> None:
    leaving, primary = backup(service), service.primary()
    node_id = service.node_id(leaving)
    assert delete(service, node_id) == (400, "NodeNotRetiredCommitted")
    assert delete(service, "ab" * 32) == (404, "ResourceNotFound")
    remove(service, node_id)
    wait_until("the retirement to be final at the node", lambda: phase(service, leaving) == "RetiredCommitted")
    assert consensus(service, leaving)["membership_state"] == "Retired"
    wait_until("the node to be removable", lambda: removable(service, primary) == [node_id])
    record = service.session(primary).get_json(f"/node/network/nodes/{node_id}")
    assert record["status"] == "Retired"
    assert "Retirement of this node: RetiredCommitted" in leaving.log()
    write(service, primary)  # the two that are left are a majority of themselves
    assert leaving.stop() == 0
    assert delete(service, node_id) == (200, True)
    assert delete(service, node_id) == (404, "ResourceNotFound")
    wait_until("the record to be gone", lambda: removable(service, primary) == [])
    service.nodes.remove(leaving)


def phase(service: Service, node: NodeProcess) -> object:
    return consensus(service, node).get("retirement_phase")


def test_a_primary_that_leaves_names_its_successor(service: Service) -> None:
    service.join()
    leaving = service.primary()
    others = [node for node in service.alive() if node is not leaving]
    node_id, view = service.node_id(leaving), consensus(service, leaving)["current_view"]
    remove(service, node_id)
    begin = time.monotonic()
    wait_until("a successor", lambda: any(consensus(service, n)["leadership_state"] == "Leader" for n in others))
    assert time.monotonic() - begin < ELECTION_TIMEOUT_MS / 2000, "nobody waited for an election timeout"
    wait_until("the retirement to be final at the node", lambda: phase(service, leaving) == "RetiredCommitted")
    assert consensus(service, others[0])["current_view"] == view + 1
    wait_until("the node to be removable", lambda: removable(service, others[0]) == [node_id])
    assert leaving.stop() == 0
    service.nodes.remove(leaving)
    assert delete(service, node_id) == (200, True)
    for node in others:
        write(service, node)


def test_a_pending_node_leaves_no_trace(service: Service) -> None:
    pending = service.join(wait=False)
    rows = wait_until(
        "the node to be pending",
        lambda: service.session().get_json("/node/network/nodes?status=Pending")["nodes"],
    )
    remove(service, rows[0]["node_id"])
    assert service.session().request("GET", f"/node/network/nodes/{rows[0]['node_id']}").status == 404
    pending.process.send_signal(signal.SIGTERM)
    pending.process.wait(10)
    service.nodes.remove(pending)


def test_a_joiner_forgets_nodes_that_are_gone(service: Service) -> None:
    """A node that joined beside others follows the committed membership: nobody dials a node that has left."""
    for node in service.alive():
        peers = len(service.alive()) - 1
        wait_until("channels to the members alone", lambda: channels(service, node) == (peers, peers))  # noqa: B023


def channels(service: Service, node: NodeProcess) -> tuple[int, int]:
    """How many nodes are held on to, and how many of them can be reached."""
    answer = service.session(node).request("GET", "/node/metrics", headers={"accept": "text/plain"})
    values = dict(
        line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if line.startswith("mccf_channels_")
    )
    return int(values["mccf_channels_kept"]), int(values["mccf_channels_up"])
