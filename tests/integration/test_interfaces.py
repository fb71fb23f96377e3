"""A service of three nodes with four kinds of interfaces each: what each serves, forwards, redirects, presents."""

import json
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from jsonschema_rs import Draft4Validator

from tests.support.clients import client
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

INTERFACES = {
    "main": {"bind_address": "127.0.0.1:0"},
    "redirecting": {
        "bind_address": "127.0.0.1:0",
        "redirections": {
            "to_primary": {"kind": "NodeByRole", "target": {"role": "primary", "interface": "main"}},
            "to_backup": {"kind": "NodeByRole", "target": {"role": "backup"}},
        },
    },
    "own": {"bind_address": "127.0.0.1:0", "endorsement": {"authority": "Node"}},
    "plain": {
        "bind_address": "127.0.0.1:0",
        "endorsement": {"authority": "Unsecured"},
        "accepted_endpoints": ["/node/(ready/.*|state)"],
    },
}
SETTINGS = {
    "network": {"node_to_node_interface": {"bind_address": "127.0.0.1:0"}, "rpc_interfaces": INTERFACES},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("interfaces")
    with Service.start(3, directory, open_with=ROOT / "samples" / "logging", settings=SETTINGS) as running:
        yield running


def address(node: NodeProcess, interface: str) -> str:
    return str(json.loads((node.directory / "rpc_addresses").read_text())[interface])


def backup(service: Service) -> NodeProcess:
    primary = service.primary()
    return next(node for node in service.alive() if node is not primary)


def user(service: Service, node: NodeProcess, interface: str) -> httpx.Client:
    files = service.users["user0"]
    return client(address(node, interface), service.certificate, (files.certificate, files.private_key))


RECORD = {"id": 1, "msg": "where am I"}


def test_the_redirecting_interface_sends_writes_to_the_primarys_named_interface(service: Service) -> None:
    with user(service, backup(service), "redirecting") as asking:
        answer = asking.post("/app/log/private?id=1&x=%20", json=RECORD)
        assert answer.status_code == 307
        assert answer.headers["location"] == f"https://{address(service.primary(), 'main')}/app/log/private?id=1&x=%20"
    with user(service, service.primary(), "redirecting") as asking:
        assert asking.post("/app/log/private?id=1", json=RECORD).status_code == 200


def test_the_forwarding_interface_of_the_same_node_forwards(service: Service) -> None:
    with user(service, backup(service), "main") as asking:
        assert asking.post("/app/log/private?id=1", json=RECORD).status_code == 200


def test_head_primary_leads_to_the_interface_of_the_same_name(service: Service) -> None:
    primary, other = service.primary(), backup(service)
    for interface in ("main", "redirecting"):
        with client(address(other, interface), service.certificate) as asking:
            answer = asking.head("/node/primary")
            assert answer.status_code == 308
            assert answer.headers["location"] == f"https://{address(primary, interface)}/node/primary"
    with client(address(primary, "main"), service.certificate) as asking:
        assert asking.head("/node/primary").status_code == 200


def test_the_nodes_own_certificate_is_presented_where_asked(service: Service) -> None:
    node = service.primary()
    own = (node.directory / "node_cert.pem").read_text()
    with client(address(node, "own"), own) as asking:
        answer = asking.get("/node/self_signed_certificate")
        assert answer.json() == {"self_signed_certificate": own}
    with client(address(node, "own"), service.certificate) as asking, pytest.raises(httpx.ConnectError):
        asking.get("/node/state")


def test_an_unsecured_interface_serves_its_list_and_nothing_else(service: Service) -> None:
    with httpx.Client(base_url=f"http://{address(service.primary(), 'plain')}", trust_env=False) as asking:
        assert asking.get("/node/state").status_code == 200
        assert asking.get("/node/ready/app").status_code == 204
        refused = asking.get("/node/network")
        assert (refused.status_code, refused.content) == (503, b"")


def test_interfaces_are_echoed_as_configured(service: Service) -> None:
    node = service.primary()
    with client(address(node, "main"), service.certificate) as asking:
        echoed = asking.get("/node/network/nodes/self").json()["rpc_interfaces"]
    for name, configured in INTERFACES.items():
        resolved = address(node, name)
        assert echoed[name] == {**configured, "bind_address": resolved, "published_address": resolved}


def test_built_in_json_is_negotiated(service: Service) -> None:
    with client(address(service.primary(), "main"), service.certificate) as asking:
        assert asking.get("/node/network", headers={"accept": "application/*"}).status_code == 200
        refused = asking.get("/node/network", headers={"accept": "text/html"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (406, "UnsupportedContentType")


def test_sessions_leave_descriptors_for_the_ledger(service: Service) -> None:
    """More connections than the node may have files: it drops some, goes on writing chunks, and serves afterwards."""
    node = service.primary()
    host, port = address(node, "plain").rsplit(":", 1)
    served = service.session(node, "user0")
    assert served.request("GET", "/node/state").status == 200  # connected before the others come
    before = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (90, before[1]))
    strangers = [socket.create_connection((host, int(port)), timeout=5) for _ in range(150)]
    try:
        files = f"/proc/{node.process.pid}/fd"
        wait_until("connections to be dropped", lambda: len(os.listdir(files)) <= 90 - 16)
        for number in range(5):
            service.pass_proposal([{"name": "trigger_ledger_chunk", "args": None}])
            body = json.dumps({"id": number, "msg": "in a new chunk"}).encode()
            served.request("POST", f"/app/log/private?id={number}", body=body)
    finally:
        for stranger in strangers:
            stranger.close()
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, before)
    wait_until("an answer after the storm", lambda: service.session(node).request("GET", "/node/state").status == 200)
    assert node.alive


def test_what_a_node_answers_is_what_its_document_says(service: Service) -> None:
    with client(address(service.primary(), "main"), service.certificate) as asking:
        document = asking.get("/node/api").json()
        checked = 0
        for path, operations in document["paths"].items():
            url = path.replace("{node_id}", service.node_id(service.primary()))
            answer = asking.get(url, params={"transaction_id": "2.1"})
            described = operations["get"]["responses"].get(str(answer.status_code))
            if described is None or "content" not in described:
                assert answer.status_code in (200, 202, 204, 404), (path, answer.content)
                continue
            schema = described["content"]["application/json"]["schema"]
            Draft4Validator({**schema, "components": document["components"]}).validate(answer.json())
            checked += 1
        assert checked >= 20


def test_a_node_whose_node_to_node_name_does_not_resolve_runs_alone_and_says_so(tmp_path: Path) -> None:
    network = {
        "node_to_node_interface": {"bind_address": "node.invalid:8000"},
        "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
    }
    with Service.start(1, tmp_path, settings={"network": network}) as alone:
        (node,) = alone.nodes
        assert alone.session(node).request("GET", "/node/state").json()["state"] == "PartOfNetwork"
        (failure,) = [line for line in node.log().splitlines() if "[fail ]" in line]
        assert "node.invalid:8000" in failure
