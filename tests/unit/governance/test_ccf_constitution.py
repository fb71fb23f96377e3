"""Constitutions that real CCF services had at genesis, running on our natives (node-api.md 4.5, 4.6)."""

import pytest

from dataplane.kv.tables import (
    CONSTITUTION,
    ENCRYPTED_LEDGER_SECRETS,
    ENDPOINTS,
    MEMBERS_INFO,
    MODULES_QUICKJS_BYTECODE,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    RECOVERY_SHARES,
    SERVICE_CONFIG,
    SERVICE_INFO,
    UNIT_KEY,
    USERS_CERTS,
    load_json,
)
from dataplane.ledger.entry import decode_entry
from tests.support.governance import World, action, describe_node, party, service_cert
from tests.support.real_ledgers import frames_of
from tests.support.vectors import require_vectors

ALICE, BOB, CAROL, DAVE = party("alice"), party("bob"), party("carol"), party("dave")
SERVICES = ["acme_containing_service", "cose_flipflop_service", "double_sealed_service"]
SINCE = "300601000000Z"
BUNDLE = {
    "metadata": {
        "endpoints": {
            "/log": {
                "get": {
                    "js_module": "a.js",
                    "js_function": "f",
                    "mode": "readonly",
                    "forwarding_required": "sometimes",
                    "authn_policies": [],
                    "openapi": {},
                }
            }
        }
    },
    "modules": [{"name": "a.js", "module": "export function f() {}"}],
}


@pytest.fixture(params=SERVICES)
def constitution(request: pytest.FixtureRequest) -> str:
    ledger = require_vectors() / "ccf-services" / request.param / "ledger"
    genesis = decode_entry(frames_of(ledger)[0])
    return str(load_json(genesis.writes[CONSTITUTION][UNIT_KEY] or b""))


@pytest.fixture
def world(constitution: str) -> World:
    made = World([ALICE, BOB, CAROL], constitution=constitution, threshold=2)
    made.activate()
    made.open()
    return made


def accepted(world: World, *actions: dict[str, object]) -> None:
    answer = world.accept(*actions)
    assert (answer.status, answer.body.get("proposalState")) == (200, "Accepted"), answer.body


def test_opening(world: World) -> None:
    assert world.read(SERVICE_INFO)["status"] == "Open"
    assert set(world.read(RECOVERY_SHARES)["encrypted_shares"]) == {p.id for p in (ALICE, BOB, CAROL)}


def test_members_and_users(world: World) -> None:
    accepted(world, action("set_user", cert=DAVE.cert_pem, user_data={"a": 1}))
    assert world.raw(USERS_CERTS, DAVE.id) == DAVE.cert_pem.encode()
    accepted(world, action("remove_user", user_id=DAVE.id))
    accepted(world, action("set_member", cert=DAVE.cert_pem, encryption_pub_key=DAVE.encryption_pem))
    assert world.read(MEMBERS_INFO, DAVE.id) == {"status": "Accepted"}
    accepted(world, action("remove_member", member_id=DAVE.id))
    accepted(world, action("set_recovery_threshold", recovery_threshold=3))
    assert world.read(SERVICE_CONFIG)["recovery_threshold"] == 3
    accepted(world, action("trigger_recovery_shares_refresh"))


def test_application(world: World) -> None:
    accepted(world, action("set_js_app", bundle=BUNDLE))
    assert world.read(ENDPOINTS, "GET /log")["js_module"] == "/a.js"
    assert world.raw(MODULES_QUICKJS_BYTECODE, "/a.js")
    assert world.get("/service/javascript-app").body["endpoints"]["/log"]["GET"]["jsModule"] == "/a.js"
    options = {"max_heap_bytes": 10**8, "max_stack_bytes": 10**6, "max_execution_time_ms": 1000}
    accepted(world, action("set_js_runtime_options", **options))
    accepted(world, action("refresh_js_app_bytecode_cache"))
    accepted(world, action("remove_js_app"))
    assert world.get("/service/javascript-app").body == {"endpoints": {}}


def test_nodes(world: World) -> None:
    node = describe_node("n1", 9100)
    world.join(node)
    trust = action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE, validity_period_days=3)
    accepted(world, trust)
    record = world.read(NODES_INFO, node.id)
    assert (record["status"], record["ledger_secret_seqno"]) == ("Trusted", 1)
    assert world.raw(NODES_ENDORSED_CERTIFICATES, node.id)
    for renewal in (
        action("set_node_certificate_validity", node_id=node.id, valid_from=SINCE, validity_period_days=3),
        action("set_all_nodes_certificate_validity", valid_from=SINCE),
        action("set_service_certificate_validity", valid_from=SINCE, validity_period_days=3),
    ):
        accepted(world, renewal)
    accepted(world, action("remove_node", node_id=node.id))
    assert world.read(NODES_INFO, node.id)["status"] == "Retired"
    accepted(world, action("trigger_ledger_chunk"), action("trigger_snapshot"))
    assert world.ops.requested == ["chunk", "snapshot"]


def test_a_constitution_proposes_another(world: World, constitution: str) -> None:
    accepted(world, action("set_constitution", constitution=constitution))
    answer = world.propose(ALICE, action("set_constitution", constitution="export function validate(a) {}"))
    if "validateConstitution" not in constitution:  # the older texts look at the type alone
        assert answer.status == 200
        return
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert "Failed to find export 'resolve'" in answer.message


def test_rekey(world: World) -> None:
    if world.read(SERVICE_INFO)["status"] != "Open":
        world.open()
    assert world.accept(action("trigger_ledger_rekey")).status == 200
    assert world.node.id in world.read(ENCRYPTED_LEDGER_SECRETS)


def test_opening_another_service(constitution: str) -> None:
    world = World([ALICE], constitution=constitution)
    world.activate()
    answer = world.accept(action("transition_service_to_open", next_service_identity=ALICE.cert_pem))
    assert answer.status == 500
    assert "Service identity does not match" in answer.message
    assert service_cert() == world.read(SERVICE_INFO)["cert"]


@pytest.mark.parametrize(
    ("one", "table", "key"),
    [
        (action("add_executor_node_code", executor_code_id="ab"), "public:ccf.gov.nodes.executor_code_ids", "ab"),
        (action("trigger_acme_refresh"), None, None),
        (action("trigger_acme_refresh", interfaces=["one"]), None, None),
        (action("add_node_code", code_id="ab"), "public:ccf.gov.nodes.code_ids", "ab"),
        (action("set_ca_cert_bundle", name="n", cert_bundle=DAVE.cert_pem), "public:ccf.gov.tls.ca_cert_bundles", "n"),
        (action("set_jwt_issuer", issuer="i", key_filter="all", auto_refresh=False), "public:ccf.gov.jwt.issuers", "i"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_actions_of_the_release(
    world: World, constitution: str, one: dict[str, object], table: str | None, key: str | None
) -> None:
    """Each release has some of them; what it does not have it refuses."""
    if f'"{one["name"]}"' not in constitution:
        answer = world.propose(ALICE, one)
        assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
        return
    accepted(world, {**one, "args": one.get("args", {})})
    if table is not None:
        assert world.raw(table, key or "") is not None
