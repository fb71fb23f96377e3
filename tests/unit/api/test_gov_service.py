"""Reads of a service's governance state (node-api.md 2.3)."""

import json
from base64 import b64decode

import pytest

from dataplane.governance.managed import managed_constitution
from dataplane.governance.nodes import NodeStatus, record_retired_committed
from dataplane.kv.tables import (
    CONSTITUTION,
    NODES_INFO,
    NODES_SNP_HOST_DATA,
    NODES_SNP_MEASUREMENTS,
    NODES_SNP_TCB_VERSIONS,
    NODES_SNP_UVM_ENDORSEMENTS,
    SERVICE_CONFIG,
    SERVICE_INFO,
    put_json,
)
from tests.support.governance import (
    HOST_DATA,
    MEASUREMENT,
    OPERATOR,
    World,
    action,
    describe_node,
    party,
    service_cert,
)

ALICE, BOB, USER = party("alice"), party("bob"), party("user")
HEX = "a" * 64
ENDPOINT = {
    "js_module": "a.js",
    "js_function": "f",
    "mode": "readonly",
    "forwarding_required": "never",
    "authn_policies": ["no_auth", {"all_of": ["user_cert", "member_cert"]}],
}
APP = {
    "metadata": {"endpoints": {"/x": {"get": ENDPOINT | {"redirection_strategy": "none"}, "put": ENDPOINT}}},
    "modules": [{"name": "a.js", "module": "export function f() {}"}, {"name": "lib/b.js", "module": "// ü"}],
}


@pytest.fixture
def world() -> World:
    made = World([ALICE, BOB, OPERATOR], threshold=1)
    made.activate(ALICE, BOB)
    return made


def put(world: World, table: str, key: str, value: object) -> None:
    tx = world.store.begin()
    put_json(tx, table, value, key.encode())
    world.commit(tx)


def remove(world: World, table: str) -> None:
    tx = world.store.begin()
    tx.remove(table, bytes(8))
    world.commit(tx)


def test_constitution(world: World) -> None:
    answer = world.get("/service/constitution")
    assert answer.content_type == "text/javascript"
    assert answer.raw.decode() == managed_constitution(None)
    remove(world, CONSTITUTION)
    assert world.get("/service/constitution").code == "ResourceNotFound"


def test_info(world: World) -> None:
    assert world.get("/service/info").body == {
        "status": "Opening",
        "certificate": service_cert(),
        "recoveryCount": 0,
        "creationTransactionId": "2.1",
        "serviceData": None,
        "configuration": {
            "recoveryThreshold": 1,
            "maximumNodeCertificateValidityDays": 365,
            "maximumServiceCertificateValidityDays": 365,
            "recentCoseProposalsWindowSize": 100,
        },
    }
    world.open()
    put(world, SERVICE_CONFIG, "\0" * 8, {"recovery_threshold": 1, "recent_cose_proposals_window_size": 9})
    body = world.get("/service/info").body
    assert body["status"] == "Open"
    assert body["configuration"]["recentCoseProposalsWindowSize"] == 9
    assert body["configuration"]["maximumNodeCertificateValidityDays"] == 365
    assert "previousServiceCreationTransactionId" not in body
    recovered = world.read(SERVICE_INFO) | {"previous_service_identity_version": 7, "recovery_count": 2}
    put(world, SERVICE_INFO, "\0" * 8, recovered)
    body = world.get("/service/info").body
    assert (body["recoveryCount"], body["previousServiceCreationTransactionId"]) == (2, "2.7")
    remove(world, SERVICE_INFO)
    assert world.get("/service/info").code == "ResourceNotFound"


def test_application(world: World) -> None:
    assert world.get("/service/javascript-app").body == {"endpoints": {}}
    assert world.accept(action("set_js_app", bundle=APP)).status == 200
    put_ = {
        "jsModule": "/a.js",
        "jsFunction": "f",
        "forwardingRequired": "never",
        "redirectionStrategy": "to_primary",
        "authnPolicies": ["no_auth", {"all_of": ["user_cert", "member_cert"]}],
        "mode": "readonly",
        "openApi": {},
    }
    body = world.get("/service/javascript-app").body
    assert body == {"endpoints": {"/x": {"PUT": put_, "GET": put_ | {"redirectionStrategy": "none"}}}}
    stored = world.get("/service/javascript-app", "api-version=2024-07-01&case=original").body
    assert stored["endpoints"]["/x"]["PUT"] == ENDPOINT | {"js_module": "/a.js"}


@pytest.mark.parametrize("query", ["api-version=2024-07-01&case=camel", "api-version=2023-06-01-preview&case=original"])
def test_application_in_another_case(world: World, query: str) -> None:
    answer = world.get("/service/javascript-app", query)
    assert (answer.status, answer.code) == (400, "InvalidQueryParameterValue")


@pytest.mark.parametrize("name", ["javascript-modules", "js-modules"])
def test_modules(world: World, name: str) -> None:
    assert world.get(f"/service/{name}").body == {"value": []}
    world.accept(action("set_js_app", bundle=APP))
    assert world.get(f"/service/{name}").body == {"value": [{"moduleName": "/a.js"}, {"moduleName": "/lib/b.js"}]}
    for module in ("%2Flib%2Fb.js", "lib%2fb.js"):
        answer = world.get(f"/service/{name}/{module}")
        assert (answer.raw.decode(), answer.content_type) == ("// ü", "text/javascript")
    assert world.get(f"/service/{name}/b.js").code == "ResourceNotFound"


def test_join_policy(world: World) -> None:
    expected = {
        "sgx": {"measurements": []},
        "virtual": {"measurements": [MEASUREMENT], "hostData": [HOST_DATA]},
        "snp": {"measurements": [], "hostData": {}, "uvmEndorsements": {}, "tcbVersions": {}},
    }
    assert world.get("/service/join-policy").body == expected
    put(world, NODES_SNP_MEASUREMENTS, "ab" * 48, "AllowedToJoin")
    put(world, NODES_SNP_MEASUREMENTS, "cd" * 48, "AllowedOnce")  # a status that nobody may join with
    put(world, NODES_SNP_HOST_DATA, "cd" * 32, "policy text")
    put(world, NODES_SNP_UVM_ENDORSEMENTS, "did:x509:1", {"feed": {"svn": "1"}})
    put(world, NODES_SNP_TCB_VERSIONS, "00a00f11", {"snp": 1})
    assert world.get("/service/join-policy").body["snp"] == {
        "measurements": ["ab" * 48],
        "hostData": {"cd" * 32: "policy text"},
        "uvmEndorsements": {"did:x509:1": {"feed": {"svn": "1"}}},
        "tcbVersions": {"00a00f11": {"snp": 1}},
    }


def test_members(world: World) -> None:
    listed = world.get("/service/members").body["value"]
    assert [member["memberId"] for member in listed] == sorted([ALICE.id, BOB.id, OPERATOR.id])
    for member in listed:
        assert world.get(f"/service/members/{member['memberId']}").body == member
    by_id = {member["memberId"]: member for member in listed}
    assert by_id[ALICE.id] == {
        "memberId": ALICE.id,
        "status": "Active",
        "memberData": {"name": "alice"},
        "certificate": ALICE.cert_pem,
        "publicEncryptionKey": ALICE.encryption_pem,
        "recoveryRole": "Participant",
    }
    assert by_id[OPERATOR.id] == {
        "memberId": OPERATOR.id,
        "status": "Accepted",
        "memberData": {"is_operator": True},
        "certificate": OPERATOR.cert_pem,
        "recoveryRole": "NonParticipant",
    }
    assert world.get(f"/service/members/{HEX}").code == "ResourceNotFound"


def test_users(world: World) -> None:
    world.accept(action("set_user", cert=USER.cert_pem, user_data={"a": 1}), action("set_user", cert=ALICE.cert_pem))
    listed = world.get("/service/users").body["value"]
    assert len(listed) == 2
    for user in listed:
        assert world.get(f"/service/users/{user['userId']}").body == user
    assert {"userId": USER.id, "certificate": USER.cert_pem, "userData": {"user_data": {"a": 1}}} in listed
    assert {"userId": ALICE.id, "certificate": ALICE.cert_pem, "userData": None} in listed
    assert world.get(f"/service/users/{BOB.id}").code == "ResourceNotFound"


def test_nodes(world: World) -> None:
    pending = describe_node("n1", 9100)
    world.join(pending)
    listed = world.get("/service/nodes").body["value"]
    assert {node["nodeId"] for node in listed} == {world.node.id, pending.id}
    for node in listed:
        assert world.get(f"/service/nodes/{node['nodeId']}").body == node
    body = world.get(f"/service/nodes/{pending.id}").body
    evidence = json.loads(b64decode(str(pending.quote_info["quote"])))
    assert body == {
        "nodeId": pending.id,
        "status": "Pending",
        "nodeData": None,
        "retiredCommitted": False,
        "quoteInfo": {
            "format": "Insecure_Virtual",
            "rawQuote": pending.quote_info["quote"],
            "details": {
                "measurement": MEASUREMENT,
                "reportData": evidence["report_data"],
                "hostData": HOST_DATA,
            },
        },
        "rpcInterfaces": {"main": {"publishedAddress": "n9100:9101"}},
    }
    assert "BEGIN CERTIFICATE" in world.get(f"/service/nodes/{world.node.id}").body["certificate"]
    assert world.get(f"/service/nodes/{HEX}").code == "ResourceNotFound"


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ({"format": "OE_SGX_v1", "quote": "cQ==", "endorsements": "ZW5k"}, {"quote": "cQ==", "endorsements": "ZW5k"}),
        ({"format": "AMD_SEV_SNP_v1", "quote": "cQ==", "endorsements": "ZW5k"}, {}),
        (
            {"format": "AMD_SEV_SNP_v1", "quote": "cQ==", "endorsements": "ZW5k", "uvm_endorsements": "dXZt",
             "endorsed_tcb": "db18000000000004"},
            {"uvmEndorsements": "dXZt", "endorsedTcb": "2xgAAAAAAAQ="},
        ),
    ],
)  # fmt: skip
def test_evidence_of_other_platforms(world: World, stored: dict[str, object], shown: dict[str, object]) -> None:
    record = world.read(NODES_INFO, world.node.id)
    http = {"published_address": "a:1", "protocol": "tcp", "app_protocol": "HTTP2"}
    put(world, NODES_INFO, world.node.id, record | {"quote_info": stored, "rpc_interfaces": {"main": http}})
    body = world.get(f"/service/nodes/{world.node.id}").body
    assert body["quoteInfo"] == {"format": stored["format"]} | shown
    assert body["rpcInterfaces"] == {"main": {"publishedAddress": "a:1", "protocol": "HTTP2"}}


def test_a_retired_node(world: World) -> None:
    node = describe_node("n1", 9100)
    world.join(node, NodeStatus.TRUSTED)
    world.accept(action("remove_node", node_id=node.id))
    body = world.get(f"/service/nodes/{node.id}").body
    assert (body["status"], body["retiredCommitted"]) == ("Retired", False)
    tx = world.store.begin()
    record_retired_committed(tx, node.id)
    world.commit(tx)
    assert world.get(f"/service/nodes/{node.id}").body["retiredCommitted"] is True


def test_transactions(world: World) -> None:
    newest = world.store.version
    assert world.get("/service/transactions/commit").body == {
        "status": "Committed",
        "transactionId": f"2.{newest}",
    }
    assert world.get("/service/transactions/2.1").body == {"status": "Committed", "transactionId": "2.1"}
    assert world.get("/service/transactions/2.999").body == {"status": "Unknown", "transactionId": "2.999"}
    for text in ("2", "2.x", "0.1", "2.0", "commitment"):
        answer = world.get(f"/service/transactions/{text}")
        assert (answer.status, answer.code) == (400, "InvalidQueryParameterValue")
