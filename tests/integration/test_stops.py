"""How nodes stop: after a notice, under load, on a hangup; and what a client and an operator see of it."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from dataplane.client.session import SessionError
from tests.support.clients import client
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("stops")
    settings = {"ignore_first_sigterm": True}
    with Service.start(2, directory, open_with=ROOT / "samples" / "logging", settings=settings) as running:
        yield running


class Load(threading.Thread):
    """Writes to one node as fast as it answers, until the node is gone."""

    def __init__(self, service: Service, node: NodeProcess) -> None:
        super().__init__(daemon=True)
        files = service.users["user0"]
        self._client = client(node.address, service.certificate, (files.certificate, files.private_key))
        self.written = 0

    def run(self) -> None:
        body = json.dumps({"id": 1, "msg": "x"}).encode()
        try:
            while self._client.post("/app/log/private?id=1", content=body).status_code in (200, 503, 504):
                self.written += 1
        except httpx.HTTPError:
            self._client.close()


def test_a_notice_shows_and_the_next_signal_stops_under_load(service: Service) -> None:
    node = next(node for node in service.nodes if node is not service.primary())
    session = service.session(node)
    assert session.request("GET", "/node/ready/app").status == 204
    node.process.send_signal(signal.SIGTERM)
    wait_until("the notice", lambda: session.get_json("/node/state")["stop_notice"])
    for frontend in ("app", "gov"):
        answer = session.request("GET", f"/node/ready/{frontend}")
        assert (answer.status, answer.body) == (503, b"")
    loads = [Load(service, node) for _ in range(4)]
    for load in loads:
        load.start()
    wait_until("some load", lambda: all(load.written for load in loads))
    begin = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(10) == 0
    assert time.monotonic() - begin < 10
    assert (node.directory / "node.pid").read_text() == str(node.process.pid), "its launcher decides about a restart"
    for load in loads:
        load.join(5)
        assert not load.is_alive()


def test_a_hangup_stops_cleanly_and_is_logged(service: Service) -> None:
    node = service.primary()
    node.process.send_signal(signal.SIGHUP)
    assert node.process.wait(10) == 0
    assert "Hangup: " in node.log()


def test_a_transaction_no_node_may_take_stops_the_node_and_reaches_no_ledger(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = {"memory": {"max_msg_size": "200KB"}}
    directory = tmp_path_factory.mktemp("large")
    with Service.start(1, directory, open_with=ROOT / "samples" / "logging", settings=settings) as running:
        (node,) = running.nodes
        body = json.dumps({"id": 1, "msg": "x" * 300_000}).encode()
        with contextlib.suppress(SessionError):  # the answer may or may not leave before the node does
            assert running.session(node, "user0").request("POST", "/app/log/private?id=1", body=body).status == 500
        assert node.process.wait(10) == 1
        assert "more than the 204800 a node may take" in node.log()
        assert sum(path.stat().st_size for path in node.ledger.iterdir()) < 300_000


def test_metrics_before_and_after_work(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Service.start(2, tmp_path_factory.mktemp("metrics"), open_with=ROOT / "samples" / "logging") as running:
        backup = next(node for node in running.nodes if node is not running.primary())
        primary = running.session(running.primary())
        before = scrape(running, running.primary())
        body = json.dumps({"id": 1, "msg": "counted"}).encode()
        for _ in range(5):
            answer = running.session(backup, "user0").request("POST", "/app/log/private?id=1", body=body)
        assert answer.txid is not None
        primary.wait_for_commit(answer.txid)
        after, forwarded = scrape(running, running.primary()), scrape(running, backup)
        assert after["mccf_js_executions_total"] == before["mccf_js_executions_total"] + 5
        assert after["mccf_forwarded_executions_total"] == before["mccf_forwarded_executions_total"] + 5
        assert forwarded["mccf_forwarded_total"] == 5
        assert after["mccf_ledger_bytes_total"] > before["mccf_ledger_bytes_total"]
        assert after["mccf_signatures_total"] > before["mccf_signatures_total"]
        assert after["mccf_consensus_commit_seqno"] >= answer.txid.seqno
        assert after['mccf_consensus_role{role="Leader"}'] == forwarded['mccf_consensus_role{role="Follower"}'] == 1
        assert after['mccf_node_state{state="PartOfNetwork"}'] == 1
        sessions = primary.get_json("/node/metrics")["sessions"]
        assert sessions["interfaces"]["main"]["soft_cap"] == after['mccf_sessions_soft_cap{interface="main"}'] == 1000
        assert 0 < sessions["active"] <= sessions["peak"]


def scrape(service: Service, node: NodeProcess) -> dict[str, float]:
    """What Prometheus would read."""
    answer = service.session(node).request("GET", "/node/metrics", headers={"accept": "text/plain;q=0.3,*/*;q=0.1"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
