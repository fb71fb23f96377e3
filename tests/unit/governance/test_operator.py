"""The operator's powers under the managed constitution, one by one: what it may do alone, and all that it may not
(decisions.md 5)."""

import copy
import json
from typing import Any

import pytest

from dataplane.governance.managed import bundle_digest, managed_constitution
from dataplane.governance.nodes import NodeStatus
from dataplane.kv.tables import (
    ENDPOINTS,
    LAST_RECOVERY_TYPE,
    MEMBERS_INFO,
    NODES_INFO,
    NODES_VIRTUAL_HOST_DATA,
    NODES_VIRTUAL_MEASUREMENTS,
    PROPOSALS_INFO,
    SERVICE_INFO,
    SERVICE_PREVIOUS_SERVICE_IDENTITY,
    get_json,
    put_json,
)
from tests.support.governance import (
    HOST_DATA,
    LEDGER_SECRET,
    MEASUREMENT,
    NO,
    OPERATOR,
    YES,
    World,
    action,
    describe_node,
    party,
    service_cert,
)

ALICE, BOB, CAROL, DAVE = party("alice"), party("bob"), party("carol"), party("dave")
SINCE = "2030-06-01 00:00:00"
HEX = "a" * 64
SAMPLE: dict[str, Any] = {
    "metadata": {
        "endpoints": {
            "/x": {
                "get": {
                    "js_module": "a.js",
                    "js_function": "f",
                    "mode": "readonly",
                    "forwarding_required": "never",
                    "authn_policies": [],
                    "openapi": {"summary": "ünï", "n": 1},
                }
            }
        }
    },
    "modules": [{"name": "a.js", "module": "export function f() { return {}; }"}],
}
OPEN_IT = action("transition_service_to_open", next_service_identity=service_cert())
INSTALL = action("set_js_app", bundle=SAMPLE)


@pytest.fixture
def opening() -> World:
    """Members Active, service still Opening, the sample application known."""
    made = World([ALICE, BOB, CAROL, OPERATOR], threshold=2, sample_digest=bundle_digest(SAMPLE))
    made.activate()
    return made


@pytest.fixture
def opened(opening: World) -> World:
    opening.open()
    return opening


def state(world: World, *actions: dict[str, object]) -> str:
    answer = world.propose(OPERATOR, *actions)
    assert answer.status == 200, answer.body
    return str(answer.body["proposalState"])


def decided(world: World, *actions: dict[str, object]) -> None:
    """The members accept a proposal."""
    answer = world.accept(*actions)
    assert (answer.status, answer.body.get("proposalState")) == (200, "Accepted"), answer.body


def waits(world: World, *actions: dict[str, object]) -> str:
    """The proposal takes no effect and stays open; its id."""
    tables = {name: rows for name, rows in world.snapshot().items() if "proposals" not in name and "cose" not in name}
    answer = world.propose(OPERATOR, *actions)
    assert (answer.status, answer.body["proposalState"]) == (200, "Open")
    after = {name: rows for name, rows in world.snapshot().items() if "proposals" not in name and "cose" not in name}
    assert after == tables
    return str(answer.body["proposalId"])


# What it may


def test_it_opens_a_new_service_as_soon_as_enough_members_are_active() -> None:
    world = World([ALICE, BOB, CAROL, OPERATOR], threshold=2)
    world.activate(OPERATOR, ALICE)
    before = world.snapshot()
    answer = world.propose(OPERATOR, OPEN_IT)
    assert answer.status == 500
    assert "fewer than the recovery threshold of 2" in answer.message
    assert world.snapshot() == before
    world.activate(BOB)
    assert state(world, OPEN_IT) == "Accepted"
    assert world.read(SERVICE_INFO)["status"] == "Open"


def test_it_must_have_acknowledged_itself() -> None:
    world = World([ALICE, OPERATOR])
    world.activate(ALICE)
    answer = world.propose(OPERATOR, OPEN_IT)
    assert (answer.status, answer.code) == (401, "InvalidAuthenticationInfo")


def test_it_trusts_a_node_with_accepted_evidence(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node)
    assert state(opened, action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE)) == "Accepted"
    assert opened.read(NODES_INFO, node.id)["status"] == "Trusted"


def test_a_node_that_does_not_exist_fails_at_once(opened: World) -> None:
    answer = opened.propose(OPERATOR, action("transition_node_to_trusted", node_id=HEX, valid_from=SINCE))
    assert answer.status == 500
    assert answer.message.startswith("Failed to apply(): Error: no node has the id")


def test_it_removes_a_node(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node, NodeStatus.TRUSTED)
    assert state(opened, action("remove_node", node_id=node.id)) == "Accepted"
    assert opened.read(NODES_INFO, node.id)["status"] == "Retired"


@pytest.mark.parametrize(
    "one",
    [
        action("set_all_nodes_certificate_validity", valid_from=SINCE),
        action("set_service_certificate_validity", valid_from=SINCE),
        action("trigger_ledger_chunk"),
        action("trigger_snapshot"),
    ],
    ids=lambda one: one["name"],
)
def test_it_renews_certificates_and_asks_for_chunks_and_snapshots(opened: World, one: dict[str, object]) -> None:
    assert state(opened, one) == "Accepted"


def test_it_renews_the_certificate_of_one_node(opened: World) -> None:
    one = action("set_node_certificate_validity", node_id=opened.node.id, valid_from=SINCE)
    assert state(opened, one) == "Accepted"


def test_several_of_its_actions_together(opening: World) -> None:
    assert state(opening, INSTALL, action("trigger_ledger_chunk"), OPEN_IT) == "Accepted"
    assert opening.read(ENDPOINTS, "GET /x") is not None
    assert opening.read(SERVICE_INFO)["status"] == "Open"


def test_it_installs_the_sample_application_however_its_json_is_laid_out(opening: World) -> None:
    turned = {"modules": SAMPLE["modules"], "metadata": json.loads(json.dumps(SAMPLE["metadata"], indent=3))}
    assert state(opening, action("set_js_app", bundle=turned)) == "Accepted"
    assert opening.read(ENDPOINTS, "GET /x") is not None


# What it may not

FORBIDDEN = [
    action("set_constitution", constitution=managed_constitution(None)),
    action("set_member", cert=DAVE.cert_pem),
    action("set_member", cert=OPERATOR.cert_pem, encryption_pub_key=DAVE.encryption_pem),
    action("remove_member", member_id=ALICE.id),
    action("set_member_data", member_id=OPERATOR.id, member_data={}),
    action("set_member_data", member_id=ALICE.id, member_data={"is_operator": True}),
    action("set_user", cert=DAVE.cert_pem),
    action("remove_user", user_id=HEX),
    action("set_user_data", user_id=HEX, user_data={}),
    action("set_recovery_threshold", recovery_threshold=1),
    action("set_service_configuration", recent_cose_proposals_window_size=1),
    action("trigger_recovery_shares_refresh"),
    action("trigger_ledger_rekey"),
    action("remove_js_app"),
    action("refresh_js_app_bytecode_cache"),
    action("set_js_runtime_options", max_heap_bytes=1, max_stack_bytes=1, max_execution_time_ms=1),
    action("set_js_runtime_options", max_heap_bytes=9, max_stack_bytes=9, max_execution_time_ms=9,
           return_exception_details=True),
    action("set_node_data", node_id=HEX, node_data={}),
    action("assert_service_identity", service_identity=service_cert()),
    action("add_virtual_measurement", measurement="evil"),
    action("remove_virtual_measurement", measurement=MEASUREMENT),
    action("add_virtual_host_data", host_data="ee" * 32),
    action("remove_virtual_host_data", host_data=HOST_DATA),
    action("set_ca_cert_bundle", name="any", cert_bundle=DAVE.cert_pem),
    action("remove_ca_cert_bundle", name="any"),
    action("set_jwt_issuer", issuer="https://issuer"),
    action("set_jwt_public_signing_keys", issuer="https://issuer", jwks={"keys": []}),
    action("remove_jwt_issuer", issuer="https://issuer"),
    action("add_node_code", code_id="ab"),
    action("remove_node_code", code_id="ab"),
    action("add_snp_measurement", measurement="ab"),
    action("remove_snp_measurement", measurement="ab"),
    action("add_snp_host_data", host_data=HEX, security_policy=""),
    action("remove_snp_host_data", host_data=HEX),
    action("add_snp_uvm_endorsement", did="did:x509:0", feed="feed", svn="1"),
    action("remove_snp_uvm_endorsement", did="did:x509:0", feed="feed"),
    action("set_snp_minimum_tcb_version", cpuid="00a00f11",
           tcb_version={"boot_loader": 0, "tee": 0, "snp": 0, "microcode": 0}),
    action("set_snp_minimum_tcb_version_hex", cpuid="00a00f11", tcb_version="d315000000000004"),
    action("remove_snp_minimum_tcb_version", cpuid="00a00f11"),
]  # fmt: skip


@pytest.mark.parametrize("one", FORBIDDEN, ids=lambda one: one["name"])
@pytest.mark.parametrize("stage", ["opening", "opened"])
def test_it_may_not_alone(request: pytest.FixtureRequest, stage: str, one: dict[str, object]) -> None:
    world: World = request.getfixturevalue(stage)
    proposal_id = waits(world, one)
    own = world.vote(OPERATOR, proposal_id)  # its ballot is stored and counts for nothing
    assert (own.status, own.body["proposalState"]) == (200, "Open")
    waits(world, action("trigger_ledger_chunk"), one)  # nor in the company of what it may


def test_every_action_is_either_allowed_or_forbidden_above() -> None:
    """A new action must be put on one of the two lists."""
    allowed = {
        "transition_service_to_open", "transition_node_to_trusted", "remove_node", "set_node_certificate_validity",
        "set_all_nodes_certificate_validity", "set_service_certificate_validity", "trigger_snapshot",
        "trigger_ledger_chunk", "set_js_app",
    }  # fmt: skip
    world = World([ALICE], constitution=managed_constitution(None).replace(
        "export function validate(text) {",
        "export function validate(text) {\n  return {valid: false, description: [...actions.keys()].join(' ')};",
    ))  # fmt: skip
    world.activate()
    names = set(world.propose(ALICE, action("x")).message.partition(": ")[2].split(" "))
    assert names == allowed | {str(one["name"]) for one in FORBIDDEN}


def test_it_may_not_trust_a_node_whose_evidence_members_withdrew(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node)
    trust = action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE)
    decided(opened, action("remove_virtual_measurement", measurement=MEASUREMENT))
    waits(opened, trust)
    decided(opened, action("add_virtual_measurement", measurement=MEASUREMENT))
    decided(opened, action("remove_virtual_host_data", host_data=HOST_DATA))
    waits(opened, trust)
    decided(opened, action("add_virtual_host_data", host_data=HOST_DATA))
    assert state(opened, trust) == "Accepted"


@pytest.mark.parametrize("what", ["measurement", "host_data"])
def test_it_may_not_trust_a_node_with_evidence_of_another_build(opened: World, what: str) -> None:
    other = {"measurement": "another build"} if what == "measurement" else {"host_data": "cc" * 32}
    node = describe_node("stranger", 9300, **other)
    opened.join(node)
    proposal_id = waits(opened, action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE))
    for member in (ALICE, BOB):  # the members may
        final = opened.vote(member, proposal_id)
    assert final.body["proposalState"] == "Accepted"


def test_it_may_not_trust_evidence_of_a_format_it_cannot_judge(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node)
    tx = opened.store.begin()
    record = get_json(tx, NODES_INFO, node.id.encode())
    record["quote_info"]["format"] = "OE_SGX_v1"
    put_json(tx, NODES_INFO, record, node.id.encode())
    opened.commit(tx)
    waits(opened, action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE))


def test_measurements_it_proposes_do_not_help_the_same_proposal(opened: World) -> None:
    node = describe_node("stranger", 9300, "another build")
    opened.join(node)
    waits(
        opened,
        action("add_virtual_measurement", measurement="another build"),
        action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE),
    )


@pytest.mark.parametrize("status", ["Open", "Recovering", "WaitingForRecoveryShares"])
def test_it_may_not_decide_a_recovery(opening: World, status: str) -> None:
    tx = opening.store.begin()
    put_json(tx, SERVICE_INFO, get_json(tx, SERVICE_INFO) | {"status": status})
    opening.commit(tx)
    waits(opening, OPEN_IT)
    waits(opening, INSTALL)


@pytest.mark.parametrize(("kind", "alone"), [("LOCAL_UNSEALING", True), ("None", False), ("RECOVERY_SHARES", False)])
def test_it_lets_a_service_come_back_that_unseals_its_secret(opening: World, kind: str, alone: bool) -> None:
    tx = opening.store.begin()
    put_json(tx, SERVICE_INFO, get_json(tx, SERVICE_INFO) | {"status": "Recovering"})
    put_json(tx, SERVICE_PREVIOUS_SERVICE_IDENTITY, service_cert())
    put_json(tx, LAST_RECOVERY_TYPE, kind)
    opening.commit(tx)
    opening.ops.sealed = {1: LEDGER_SECRET}
    identities = {"next_service_identity": service_cert(), "previous_service_identity": service_cert()}
    answer = opening.propose(OPERATOR, action("transition_service_to_open", **identities))
    assert answer.body["proposalState"] == ("Accepted" if alone else "Open")


def test_it_may_not_install_another_application(opening: World) -> None:
    for change in ("module", "endpoint", "extra"):
        bundle = copy.deepcopy(SAMPLE)
        if change == "module":
            bundle["modules"][0]["module"] += " "
        elif change == "endpoint":
            bundle["metadata"]["endpoints"]["/x"]["get"]["mode"] = "readwrite"
        else:
            bundle["metadata"]["extra"] = 1
        waits(opening, action("set_js_app", bundle=bundle))


def test_it_may_not_install_the_sample_over_another_application(opening: World) -> None:
    other = copy.deepcopy(SAMPLE)
    other["modules"][0]["module"] += "// the members' choice"
    decided(opening, action("set_js_app", bundle=other))
    waits(opening, INSTALL)


def test_it_may_not_install_anything_where_no_sample_is_built_in() -> None:
    world = World([ALICE, OPERATOR])
    world.activate()
    waits(world, INSTALL)


def test_a_member_that_is_no_operator_may_do_none_of_it_alone(opening: World) -> None:
    for one in (OPEN_IT, INSTALL, action("trigger_ledger_chunk")):
        assert opening.propose(ALICE, one).body["proposalState"] == "Open"


@pytest.mark.parametrize("data", [None, {}, {"is_operator": False}, {"is_operator": "true"}, {"is_operator": 1}])
def test_only_the_flag_itself_makes_an_operator(opening: World, data: object) -> None:
    tx = opening.store.begin()
    put_json(
        tx, MEMBERS_INFO, {"status": "Active"} | ({} if data is None else {"member_data": data}), OPERATOR.id.encode()
    )
    opening.commit(tx)
    waits(opening, action("trigger_ledger_chunk"))


def test_what_it_proposed_is_not_accepted_once_it_is_no_longer_active(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node)
    decided(opened, action("remove_virtual_host_data", host_data=HOST_DATA))
    proposal_id = waits(opened, action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE))
    decided(opened, action("set_member", cert=OPERATOR.cert_pem, member_data=OPERATOR.data))
    tx = opened.store.begin()
    tx.put(NODES_VIRTUAL_HOST_DATA, HOST_DATA.encode(), bytes(8))
    opened.commit(tx)
    assert opened.vote(ALICE, proposal_id, NO).body["proposalState"] == "Open"
    opened.activate(OPERATOR)
    assert opened.vote(BOB, proposal_id, "export function vote() { throw 1; }").body["proposalState"] == "Accepted"


# Its part in votes


def test_its_ballot_and_its_seat_do_not_count(opened: World) -> None:
    proposal_id = opened.propose(ALICE, action("remove_js_app")).body["proposalId"]
    assert opened.vote(OPERATOR, proposal_id).body["proposalState"] == "Open"
    assert opened.vote(ALICE, proposal_id).body["proposalState"] == "Open"
    final = opened.vote(BOB, proposal_id).body  # two of three, not three of four
    assert final["proposalState"] == "Accepted"
    assert final["finalVotes"] == {OPERATOR.id: True, ALICE.id: True, BOB.id: True}


def test_its_no_does_not_reject(opened: World) -> None:
    proposal_id = opened.propose(ALICE, action("remove_js_app")).body["proposalId"]
    assert opened.vote(OPERATOR, proposal_id, NO).body["proposalState"] == "Open"
    assert opened.vote(ALICE, proposal_id, NO).body["proposalState"] == "Open"
    assert opened.vote(BOB, proposal_id, NO).body["proposalState"] == "Rejected"


def test_members_can_accept_what_it_proposes(opened: World) -> None:
    proposal_id = waits(opened, action("add_virtual_host_data", host_data="ee" * 32))
    opened.vote(ALICE, proposal_id)
    assert opened.vote(BOB, proposal_id).body["proposalState"] == "Accepted"
    assert opened.raw(NODES_VIRTUAL_HOST_DATA, "ee" * 32) is not None
    assert opened.raw(NODES_VIRTUAL_MEASUREMENTS, MEASUREMENT) is not None


def test_a_service_of_an_operator_alone_decides_nothing_else() -> None:
    world = World([OPERATOR, ALICE])
    world.activate(OPERATOR)
    proposal_id = waits(world, action("set_user", cert=DAVE.cert_pem))
    assert world.vote(OPERATOR, proposal_id).body["proposalState"] == "Open"


# The rule for everybody else


@pytest.mark.parametrize(
    ("members", "ballots", "states"),
    [
        (1, [YES], ["Accepted"]),
        (1, [NO], ["Rejected"]),
        (2, [YES, YES], ["Open", "Accepted"]),
        (2, [NO], ["Rejected"]),
        (3, [YES, NO, YES], ["Open", "Open", "Accepted"]),
        (3, [NO, YES, NO], ["Open", "Open", "Rejected"]),
        (4, [YES, YES, YES], ["Open", "Open", "Accepted"]),
        (4, [YES, NO, NO], ["Open", "Open", "Rejected"]),
        (5, [NO, YES, NO, YES, YES], ["Open", "Open", "Open", "Open", "Accepted"]),
    ],
)
def test_strict_majority_of_active_members(members: int, ballots: list[str], states: list[str]) -> None:
    voters = [party(f"voter{number}", encryption=False) for number in range(members)]
    world = World([*voters, OPERATOR])
    world.activate()
    proposal_id = world.propose(voters[0], action("remove_js_app")).body["proposalId"]
    seen = [
        world.vote(voter, proposal_id, ballot).body["proposalState"]
        for voter, ballot in zip(voters, ballots, strict=False)
    ]
    assert seen == states


def test_members_that_are_not_active_are_no_part_of_the_majority(opening: World) -> None:
    decided(opening, action("set_member", cert=DAVE.cert_pem), action("set_member", cert=party("erin").cert_pem))
    proposal_id = opening.propose(ALICE, action("remove_js_app")).body["proposalId"]
    opening.vote(ALICE, proposal_id)
    assert opening.vote(BOB, proposal_id).body["proposalState"] == "Accepted"


def test_a_ballot_of_a_member_that_was_removed_counts_no_more(opening: World) -> None:
    proposal_id = opening.propose(CAROL, action("remove_user", user_id=HEX)).body["proposalId"]
    opening.vote(CAROL, proposal_id)
    decided(opening, action("remove_member", member_id=CAROL.id))
    assert opening.read(PROPOSALS_INFO, proposal_id)["state"] == "Open"
    assert opening.vote(ALICE, proposal_id).body["proposalState"] == "Open"
    assert opening.vote(BOB, proposal_id).body["proposalState"] == "Accepted"
