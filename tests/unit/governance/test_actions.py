"""Every action of the managed constitution: what it refuses, and what it leaves in the tables (node-api.md 4.5).

Long, because the actions are many and share one world; its sections are those of the contract's table.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from dataplane.config import RecoveryRole
from dataplane.crypto.certs import is_issued_by, load_certificate
from dataplane.governance.managed import managed_constitution
from dataplane.governance.nodes import NodeStatus
from dataplane.js.quickjs import ENGINE_VERSION
from dataplane.kv.tables import (
    CONSTITUTION,
    ENDPOINTS,
    INTERPRETER_FLUSH,
    JS_RUNTIME_OPTIONS,
    MEMBERS_ACKS,
    MEMBERS_CERTS,
    MEMBERS_ENCRYPTION_PUBLIC_KEYS,
    MEMBERS_INFO,
    MODULES,
    MODULES_QUICKJS_BYTECODE,
    MODULES_QUICKJS_VERSION,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    NODES_VIRTUAL_HOST_DATA,
    NODES_VIRTUAL_MEASUREMENTS,
    PROPOSALS_INFO,
    RECOVERY_SHARES,
    SERVICE_CONFIG,
    SERVICE_INFO,
    SIGNATURES,
    USERS_CERTS,
    USERS_INFO,
)
from tests.support.governance import (
    HOST_DATA,
    Answer,
    World,
    action,
    describe_node,
    party,
    service_cert,
)

ALICE, BOB, CAROL = party("alice"), party("bob"), party("carol")
DAVE = party("dave")
OWNER = party("owner", role=RecoveryRole.OWNER)
ENDPOINT: dict[str, object] = {
    "js_module": "app.js",
    "js_function": "get",
    "mode": "readonly",
    "forwarding_required": "sometimes",
    "authn_policies": ["user_cert"],
    "openapi": {},
}
BUNDLE: dict[str, Any] = {
    "metadata": {"endpoints": {"/log": {"get": ENDPOINT}, "/log/{id}": {"post": ENDPOINT | {"mode": "readwrite"}}}},
    "modules": [
        {"name": "app.js", "module": 'import { x } from "./lib/x.js"; export function get() { return x; }'},
        {"name": "lib/x.js", "module": "export const x = 1;"},
    ],
}
SINCE = "2030-06-01 00:00:00"


def _active() -> World:
    made = World([ALICE, BOB, CAROL], threshold=2)
    made.activate()
    return made


@pytest.fixture
def world() -> World:
    return _active()


@pytest.fixture(scope="module")
def steady() -> World:
    """For tests that check that nothing changed."""
    return _active()


@pytest.fixture
def opened(world: World) -> World:
    world.open()
    return world


def accepted(world: World, *actions: dict[str, object]) -> None:
    answer = world.accept(*actions)
    assert answer.status == 200, answer.body
    assert answer.body["proposalState"] == "Accepted"


def failed(world: World, *actions: dict[str, object]) -> str:
    """Vote a proposal through whose apply fails: the last ballot is refused and leaves no trace."""
    answer = world.propose(ALICE, *actions)
    assert answer.status == 200, answer.body
    world.vote(ALICE, answer.body["proposalId"])
    before = world.snapshot()
    answer = world.vote(BOB, answer.body["proposalId"])
    assert (answer.status, answer.code) == (500, "InternalError")
    assert world.snapshot() == before
    first = answer.message.split("\n")[0]
    assert first.startswith("Failed to apply(): Error: ")
    return first


def invalid(world: World, *actions: object) -> str:
    before = world.snapshot()
    answer: Answer = world.post(ALICE, "/members/proposals:create", "proposal", {"actions": list(actions)})
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate"), answer.body
    assert world.snapshot() == before
    return answer.message


# What validation refuses

HEX = "a" * 64
WRONG_ARGUMENTS: list[tuple[str, dict[str, object], str]] = [
    ("set_constitution", {}, "constitution must be of type string"),
    ("set_constitution", {"constitution": ""}, "is empty"),
    ("set_constitution", {"constitution": "export function ("}, "Failed to compile"),
    ("set_constitution", {"constitution": "export const a = 1;"}, "Failed to find export 'validate'"),
    ("set_member", {"cert": 1}, "cert must be of type string"),
    ("set_member", {"cert": "no PEM"}, "cert must be a PEM certificate"),
    ("set_member", {"cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "cert must be a PEM"),
    ("set_member", {"cert": DAVE.cert_pem, "encryption_pub_key": "x"}, "encryption_pub_key must be a PEM public key"),
    ("set_member", {"cert": DAVE.cert_pem, "member_data": "text"}, "member_data must be of type object"),
    ("set_member", {"cert": DAVE.cert_pem, "member_data": [1]}, "member_data must be of type object"),
    ("set_member", {"cert": DAVE.cert_pem, "recovery_role": "Owner"}, "recovery_role needs an encryption_pub_key"),
    ("set_member", {"cert": DAVE.cert_pem, "encryption_pub_key": DAVE.encryption_pem, "recovery_role": "Boss"},
     "recovery_role must be one of"),
    ("remove_member", {"member_id": "abc"}, "member_id must be 64 hexadecimal digits"),
    ("remove_member", {}, "member_id must be of type string"),
    ("set_member_data", {"member_id": HEX}, "member_data must be of type object"),
    ("set_user", {}, "cert must be of type string"),
    ("set_user", {"cert": DAVE.cert_pem, "user_data": 7}, "user_data must be of type object"),
    ("remove_user", {"user_id": HEX + "0"}, "user_id must be 64 hexadecimal digits"),
    ("set_user_data", {"user_id": 1}, "user_id must be of type string"),
    ("set_recovery_threshold", {}, "recovery_threshold must be of type integer"),
    ("set_recovery_threshold", {"recovery_threshold": 0}, "recovery_threshold must be between 1 and 254"),
    ("set_recovery_threshold", {"recovery_threshold": 255}, "recovery_threshold must be between 1 and 254"),
    ("set_recovery_threshold", {"recovery_threshold": 1.5}, "recovery_threshold must be of type integer"),
    ("set_recovery_threshold", {"recovery_threshold": "2"}, "recovery_threshold must be of type integer"),
    ("set_service_configuration", {"recent_cose_proposals_window_size": 0}, "must be between 1 and 10000"),
    ("set_service_configuration", {"recent_cose_proposals_window_size": 10001}, "must be between 1 and 10000"),
    ("set_service_configuration", {"reconfiguration_type": "TwoTransaction"}, "must be one of OneTransaction"),
    ("set_service_configuration", {"consensus": "CFT"}, "unknown argument consensus"),
    ("trigger_recovery_shares_refresh", {"x": 1}, "unknown argument x"),
    ("transition_service_to_open", {}, "next_service_identity must be of type string"),
    ("transition_service_to_open", {"next_service_identity": "x"}, "next_service_identity must be a PEM certificate"),
    ("transition_service_to_open", {"next_service_identity": service_cert(), "previous_service_identity": "x"},
     "previous_service_identity must be a PEM certificate"),
    ("set_js_app", {}, "bundle must be of type object"),
    ("remove_js_app", {"x": 1}, "unknown argument x"),
    ("set_js_runtime_options", {"max_heap_bytes": 1, "max_stack_bytes": 1}, "max_execution_time_ms must be of type"),
    ("set_js_runtime_options", {"max_heap_bytes": 0, "max_stack_bytes": 1, "max_execution_time_ms": 1},
     "max_heap_bytes must be between 1"),
    ("transition_node_to_trusted", {"node_id": HEX}, "valid_from must be of type string"),
    ("transition_node_to_trusted", {"node_id": HEX, "valid_from": SINCE, "validity_period_days": 0},
     "validity_period_days must be between 1"),
    ("remove_node", {}, "node_id must be of type string"),
    ("set_node_data", {"node_id": HEX}, "node_data must be of type any"),
    ("set_node_certificate_validity", {"valid_from": SINCE}, "node_id must be of type string"),
    ("set_all_nodes_certificate_validity", {}, "valid_from must be of type string"),
    ("set_service_certificate_validity", {"valid_from": 5}, "valid_from must be of type string"),
    ("assert_service_identity", {"service_identity": "other"}, "is not the certificate of this service"),
    ("trigger_ledger_chunk", {"now": True}, "unknown argument now"),
    ("trigger_snapshot", {"now": True}, "unknown argument now"),
    ("add_virtual_measurement", {}, "measurement must be of type string"),
    ("remove_virtual_measurement", {"measurement": 1}, "measurement must be of type string"),
    ("add_virtual_host_data", {"host_data": "AB" * 32}, "host_data must be 64 lower-case hexadecimal digits"),
    ("remove_virtual_host_data", {}, "host_data must be of type string"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "fault"), WRONG_ARGUMENTS)
def test_wrong_arguments_fail_validation(steady: World, name: str, args: dict[str, object], fault: str) -> None:
    message = invalid(steady, {"name": name, "args": args})
    assert name in message
    assert fault in message


def test_every_action_refuses_an_argument_it_does_not_know(steady: World) -> None:
    names = sorted({name for name, _, _ in WRONG_ARGUMENTS})
    message = invalid(steady, *({"name": name, "args": {"bogus": 1}} for name in names))
    assert message.count("unknown argument bogus") == len(names)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"not JSON", "the proposal is not JSON"),
        (b"[]", "an object with an array of actions"),
        (b"{}", "an object with an array of actions"),
        (b'{"actions": {}}', "an object with an array of actions"),
        (b'{"actions": []}', "no actions"),
        (b'{"actions": [1]}', "must be an object with a name"),
        (b'{"actions": [{}]}', "must be an object with a name"),
        (b'{"actions": [{"name": "nope"}]}', "nope: no such action"),
        (b'{"actions": [{"name": "constructor"}]}', "constructor: no such action"),
        (b'{"actions": [{"name": "remove_js_app", "arg": {}}]}', "unknown field arg"),
        (b'{"actions": [{"name": "remove_js_app", "args": []}]}', "args must be of type object"),
    ],
)
def test_bodies_that_are_no_proposal(steady: World, body: bytes, fault: str) -> None:
    before = steady.snapshot()
    answer = steady.post(ALICE, "/members/proposals:create", "proposal", body)
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert fault in answer.message
    assert steady.snapshot() == before


def test_all_faults_are_told_at_once(steady: World) -> None:
    message = invalid(steady, action("nope"), action("remove_js_app"), action("remove_node"))
    assert "nope: no such action" in message
    assert "remove_node at position 2" in message


# Members


def test_set_member_adds_an_accepted_member(opened: World) -> None:
    root = opened.read(SIGNATURES)["root"]
    accepted(
        opened,
        action("set_member", cert=DAVE.cert_pem, encryption_pub_key=DAVE.encryption_pem, member_data={"org": "D"}),
    )
    assert opened.raw(MEMBERS_CERTS, DAVE.id) == DAVE.cert_pem.encode()
    assert opened.raw(MEMBERS_ENCRYPTION_PUBLIC_KEYS, DAVE.id) == (DAVE.encryption_pem or "").encode()
    assert opened.read(MEMBERS_INFO, DAVE.id) == {"status": "Accepted", "member_data": {"org": "D"}}
    assert opened.read(MEMBERS_ACKS, DAVE.id) == {"state_digest": root}


def test_a_new_recovery_member_gets_its_share_when_it_acknowledges(opened: World) -> None:
    accepted(opened, action("set_member", cert=DAVE.cert_pem, encryption_pub_key=DAVE.encryption_pem))
    before = opened.read(RECOVERY_SHARES)
    assert DAVE.id not in before["encrypted_shares"]
    opened.activate(DAVE)
    after = opened.read(RECOVERY_SHARES)
    assert set(after["encrypted_shares"]) == {p.id for p in (ALICE, BOB, CAROL, DAVE)}
    opened.activate(DAVE)  # acknowledging again gives no new shares
    assert opened.read(RECOVERY_SHARES) == after


def test_a_member_without_key_changes_no_shares(opened: World) -> None:
    erin = party("erin", encryption=False)
    before = opened.read(RECOVERY_SHARES)
    accepted(opened, action("set_member", cert=erin.cert_pem))
    opened.activate(erin)
    assert opened.read(RECOVERY_SHARES) == before
    assert opened.raw(MEMBERS_ENCRYPTION_PUBLIC_KEYS, erin.id) is None


def test_set_member_resets_an_existing_member(opened: World) -> None:
    accepted(
        opened,
        action("set_member", cert=CAROL.cert_pem, encryption_pub_key=CAROL.encryption_pem, recovery_role="Owner"),
    )
    assert opened.read(MEMBERS_INFO, CAROL.id) == {"status": "Accepted", "recovery_role": "Owner"}
    assert "cose_sign1_req" not in opened.read(MEMBERS_ACKS, CAROL.id)
    assert opened.propose(CAROL, action("remove_js_app")).status == 401
    accepted(opened, action("set_member", cert=CAROL.cert_pem, encryption_pub_key=None, member_data=None))
    assert opened.raw(MEMBERS_ENCRYPTION_PUBLIC_KEYS, CAROL.id) is None


def test_too_few_holders_do_not_keep_a_member_from_acknowledging(opened: World) -> None:
    shares = opened.read(RECOVERY_SHARES)
    accepted(
        opened,
        *(action("set_member", cert=p.cert_pem, encryption_pub_key=p.encryption_pem) for p in (ALICE, BOB, CAROL)),
    )
    opened.activate(ALICE)
    assert opened.read(RECOVERY_SHARES) == shares  # one holder, threshold 2: the old shares stay
    opened.activate(BOB)
    assert set(opened.read(RECOVERY_SHARES)["encrypted_shares"]) == {ALICE.id, BOB.id}


def test_an_unusable_encryption_key_keeps_a_member_from_activating(opened: World) -> None:
    pem = describe_node("n9", 9900).public_key_pem  # an elliptic-curve key
    accepted(opened, action("set_member", cert=DAVE.cert_pem, encryption_pub_key=pem))
    base = f"/members/state-digests/{DAVE.id}"
    digest = opened.post(DAVE, f"{base}:update", "state_digest", {}).body
    before = opened.snapshot()
    answer = opened.post(DAVE, f"{base}:ack", "ack", digest)
    assert (answer.status, answer.code) == (500, "InternalError")
    assert DAVE.id in answer.message
    assert opened.snapshot() == before


def test_remove_member_deletes_its_records_and_reissues_shares(opened: World) -> None:
    before = opened.read(RECOVERY_SHARES)
    accepted(opened, action("remove_member", member_id=CAROL.id))
    for table in (MEMBERS_CERTS, MEMBERS_INFO, MEMBERS_ACKS, MEMBERS_ENCRYPTION_PUBLIC_KEYS):
        assert opened.raw(table, CAROL.id) is None
    after = opened.read(RECOVERY_SHARES)
    assert after != before
    assert set(after["encrypted_shares"]) == {ALICE.id, BOB.id}
    accepted(opened, action("remove_member", member_id=CAROL.id))


def test_remove_member_while_opening_needs_no_shares(world: World) -> None:
    accepted(world, action("remove_member", member_id=CAROL.id))
    assert world.raw(RECOVERY_SHARES) is None


def test_the_last_needed_recovery_member_stays(opened: World) -> None:
    accepted(opened, action("set_recovery_threshold", recovery_threshold=3))
    assert "below the threshold of 3" in failed(opened, action("remove_member", member_id=CAROL.id))


def test_an_accepted_member_can_always_be_removed(world: World) -> None:
    accepted(world, action("set_member", cert=DAVE.cert_pem, encryption_pub_key=DAVE.encryption_pem))
    accepted(world, action("set_recovery_threshold", recovery_threshold=3))
    accepted(world, action("remove_member", member_id=DAVE.id))
    assert world.raw(MEMBERS_INFO, DAVE.id) is None


def test_the_only_owner_stays_where_nobody_else_holds_a_share() -> None:
    plain = [party(name, encryption=False) for name in ("plain1", "plain2")]
    w = World([*plain, OWNER])
    w.activate()
    proposal_id = w.propose(plain[0], action("remove_member", member_id=OWNER.id)).body["proposalId"]
    w.vote(plain[0], proposal_id)
    answer = w.vote(plain[1], proposal_id)
    assert answer.status == 500
    assert "0 recovery members remain" in answer.message


def test_members_are_counted_by_their_recovery_role() -> None:
    bystander = party("bystander", role=RecoveryRole.NON_PARTICIPANT)
    w = World([ALICE, BOB, OWNER, bystander], threshold=2)
    w.activate()
    w.open()
    shares = w.read(RECOVERY_SHARES)
    assert set(shares["encrypted_shares"]) == {ALICE.id, BOB.id, OWNER.id}
    accepted(w, action("set_member_data", member_id=ALICE.id, member_data={}))
    proposal_id = w.propose(ALICE, action("remove_member", member_id=BOB.id)).body["proposalId"]
    for member in (ALICE, OWNER):
        w.vote(member, proposal_id)
    answer = w.vote(bystander, proposal_id)  # neither owner nor bystander stands in for a participant
    assert "without this member 1 recovery members remain, below the threshold of 2" in answer.message
    accepted(w, action("remove_member", member_id=bystander.id))
    assert w.read(RECOVERY_SHARES) == shares
    accepted(w, action("remove_member", member_id=OWNER.id))
    assert set(w.read(RECOVERY_SHARES)["encrypted_shares"]) == {ALICE.id, BOB.id}


def test_set_member_data(world: World) -> None:
    accepted(world, action("set_member_data", member_id=BOB.id, member_data={"org": "B"}))
    assert world.read(MEMBERS_INFO, BOB.id) == {"status": "Active", "member_data": {"org": "B"}}
    assert "no member has the id" in failed(world, action("set_member_data", member_id=HEX, member_data={}))


def test_set_member_before_the_first_signature_says_so() -> None:
    w = World([ALICE])
    w.activate()
    tx = w.store.begin()
    tx.remove(SIGNATURES, bytes(8))
    w.commit(tx)
    proposal_id = w.propose(ALICE, action("set_member", cert=DAVE.cert_pem)).body["proposalId"]
    assert "no signature transaction exists yet" in w.vote(ALICE, proposal_id).message


# Users


def test_users(world: World) -> None:
    accepted(world, action("set_user", cert=DAVE.cert_pem, user_data={"role": "auditor"}))
    assert world.raw(USERS_CERTS, DAVE.id) == DAVE.cert_pem.encode()
    assert world.read(USERS_INFO, DAVE.id) == {"user_data": {"role": "auditor"}}
    accepted(world, action("set_user_data", user_id=DAVE.id, user_data={"role": "reader"}))
    assert world.read(USERS_INFO, DAVE.id) == {"user_data": {"role": "reader"}}
    accepted(world, action("set_user_data", user_id=DAVE.id))
    assert world.raw(USERS_INFO, DAVE.id) is None
    accepted(world, action("set_user", cert=DAVE.cert_pem, user_data={"a": 1}))
    accepted(world, action("set_user", cert=DAVE.cert_pem))
    assert world.raw(USERS_INFO, DAVE.id) is None
    accepted(world, action("remove_user", user_id=DAVE.id))
    assert world.raw(USERS_CERTS, DAVE.id) is None
    assert "no user has the id" in failed(world, action("set_user_data", user_id=DAVE.id))


# Constitution and configuration


def test_set_constitution_replaces_and_drops_open_proposals(world: World) -> None:
    waiting = world.propose(BOB, action("remove_js_app")).body["proposalId"]
    text = managed_constitution(None) + "\n// edited"
    accepted(world, action("set_constitution", constitution=text))
    assert world.raw(CONSTITUTION) == json.dumps(text, ensure_ascii=False).encode()
    assert world.read(PROPOSALS_INFO, waiting)["state"] == "Dropped"
    answer = world.vote(BOB, waiting)
    assert (answer.status, answer.code) == (400, "ProposalNotOpen")
    answer = world.withdraw(BOB, waiting)
    assert (answer.status, answer.code) == (400, "ProposalNotOpen")


def test_a_new_constitution_decides_from_then_on(world: World) -> None:
    lenient = """export function validate(t) { return {valid: true}; }
                 export function resolve(t, p, v) { return "Accepted"; }
                 export function apply(t, i) {}"""
    accepted(world, action("set_constitution", constitution=lenient))
    assert world.propose(CAROL, action("anything")).body["proposalState"] == "Accepted"


def test_recovery_threshold_of_an_open_service_reissues_shares(opened: World) -> None:
    before = opened.read(RECOVERY_SHARES)
    accepted(opened, action("set_recovery_threshold", recovery_threshold=2))
    assert opened.read(RECOVERY_SHARES) == before  # nothing changed
    accepted(opened, action("set_recovery_threshold", recovery_threshold=3))
    assert opened.read(SERVICE_CONFIG)["recovery_threshold"] == 3
    assert opened.read(RECOVERY_SHARES) != before


def test_recovery_threshold_above_the_holders_fails_when_open(opened: World) -> None:
    message = failed(opened, action("set_recovery_threshold", recovery_threshold=4))
    assert "3 active recovery participants are fewer than the recovery threshold of 4" in message


def test_recovery_threshold_while_opening_is_checked_when_opening(world: World) -> None:
    accepted(world, action("set_recovery_threshold", recovery_threshold=4))
    assert world.raw(RECOVERY_SHARES) is None
    open_it = action("transition_service_to_open", next_service_identity=service_cert())
    assert "fewer than the recovery threshold of 4" in failed(world, open_it)


def test_recovery_threshold_cannot_change_while_shares_are_awaited(world: World) -> None:
    tx = world.store.begin()
    info = json.loads(tx.get(SERVICE_INFO, bytes(8)) or b"") | {"status": "WaitingForRecoveryShares"}
    tx.put(SERVICE_INFO, bytes(8), json.dumps(info).encode())
    world.commit(tx)
    assert "awaited" in failed(world, action("set_recovery_threshold", recovery_threshold=1))


def test_service_configuration(world: World) -> None:
    accepted(world, action("set_service_configuration", recent_cose_proposals_window_size=7))
    config = world.read(SERVICE_CONFIG)
    assert config == {
        "maximum_node_certificate_validity_days": 365,
        "maximum_service_certificate_validity_days": 365,
        "recovery_threshold": 2,
        "recent_cose_proposals_window_size": 7,
    }


def test_refreshing_shares(opened: World) -> None:
    before = opened.read(RECOVERY_SHARES)
    accepted(opened, action("trigger_recovery_shares_refresh"))
    assert opened.read(RECOVERY_SHARES) != before


def test_refreshing_shares_needs_an_open_service(world: World) -> None:
    assert "while the service is open" in failed(world, action("trigger_recovery_shares_refresh"))


def test_opening(world: World) -> None:
    world.open()
    assert world.read(SERVICE_INFO)["status"] == "Open"
    before = world.read(SERVICE_INFO)
    world.open()  # once more has no effect
    assert world.read(SERVICE_INFO) == before


def test_opening_another_service_fails(world: World) -> None:
    other = action("transition_service_to_open", next_service_identity=ALICE.cert_pem)
    assert "Service identity does not match" in failed(world, other)


def test_asserting_the_service_identity(world: World) -> None:
    accepted(world, action("assert_service_identity", service_identity=service_cert()))


def test_chunk_and_snapshot_are_asked_for(world: World) -> None:
    accepted(world, action("trigger_ledger_chunk"), action("trigger_snapshot"))
    assert world.ops.requested == ["chunk", "snapshot"]


# Application


def test_set_js_app(world: World) -> None:
    accepted(world, action("set_js_app", bundle=BUNDLE))
    assert world.raw(MODULES, "/app.js") == BUNDLE["modules"][0]["module"].encode()
    assert world.read(ENDPOINTS, "GET /log") == ENDPOINT | {"js_module": "/app.js"}
    assert world.read(ENDPOINTS, "POST /log/{id}")["mode"] == "readwrite"
    assert world.raw(MODULES_QUICKJS_BYTECODE, "/app.js")
    assert world.raw(MODULES_QUICKJS_BYTECODE, "/lib/x.js")
    assert world.raw(MODULES_QUICKJS_VERSION) == ENGINE_VERSION.encode()
    assert world.raw(INTERPRETER_FLUSH) == b"true"


def test_a_second_app_replaces_the_first_whole(world: World) -> None:
    accepted(world, action("set_js_app", bundle=BUNDLE))
    smaller = {
        "metadata": {"endpoints": {"/x": {"GET": ENDPOINT}}},
        "modules": [{"name": "app.js", "module": "export function get() {}"}],
    }
    accepted(world, action("set_js_app", bundle=smaller, disable_bytecode_cache=True))
    tx = world.store.begin()
    assert [key for key, _ in tx.items(MODULES)] == [b"/app.js"]
    assert [key for key, _ in tx.items(ENDPOINTS)] == [b"GET /x"]
    assert tx.items(MODULES_QUICKJS_BYTECODE) == []
    assert tx.items(MODULES_QUICKJS_VERSION) == []


def test_refreshing_bytecode_leaves_none_of_other_modules(world: World) -> None:
    accepted(world, action("set_js_app", bundle=BUNDLE))
    tx = world.store.begin()
    tx.put(MODULES_QUICKJS_BYTECODE, b"/stale.js", b"bytes")
    world.commit(tx)
    accepted(world, action("refresh_js_app_bytecode_cache"))
    rows = world.store.begin().items(MODULES_QUICKJS_BYTECODE)
    assert [key for key, _ in rows] == [b"/app.js", b"/lib/x.js"]


def test_bytecode_can_be_made_later(world: World) -> None:
    accepted(world, action("set_js_app", bundle=BUNDLE, disable_bytecode_cache=True))
    accepted(world, action("refresh_js_app_bytecode_cache"))
    assert world.raw(MODULES_QUICKJS_BYTECODE, "/app.js")


def test_an_app_with_a_syntax_error_is_never_voted_on(steady: World) -> None:
    broken = BUNDLE | {"modules": [*BUNDLE["modules"], {"name": "bad.js", "module": "export function ("}]}
    for cached in (False, True):
        message = invalid(steady, action("set_js_app", bundle=broken, disable_bytecode_cache=cached))
        assert "Failed to compile module 'bad.js'" in message


def test_an_app_that_imports_what_is_not_there_is_never_voted_on(steady: World) -> None:
    missing = BUNDLE | {"modules": [BUNDLE["modules"][0]]}
    assert "lib/x.js" in invalid(steady, action("set_js_app", bundle=missing))


def test_an_app_that_became_wrong_since_fails_as_a_whole(world: World) -> None:
    """The bytecode is made of what the tables hold when the proposal is applied."""
    proposal_id = world.propose(ALICE, action("refresh_js_app_bytecode_cache")).body["proposalId"]
    world.vote(ALICE, proposal_id)
    tx = world.store.begin()
    tx.put(MODULES, b"/bad.js", b"export function (")
    world.commit(tx)
    before = world.snapshot()
    answer = world.vote(BOB, proposal_id)
    assert (answer.status, answer.code) == (500, "InternalError")
    assert answer.message.startswith("Failed to apply(): Error: Failed to compile module 'bad.js'")
    assert world.snapshot() == before


def test_remove_js_app(world: World) -> None:
    accepted(world, action("set_js_app", bundle=BUNDLE))
    accepted(world, action("remove_js_app"))
    tx = world.store.begin()
    for table in (MODULES, ENDPOINTS, MODULES_QUICKJS_BYTECODE, MODULES_QUICKJS_VERSION):
        assert tx.items(table) == []


def _with_endpoint(**changes: object) -> dict[str, object]:
    endpoint = {name: value for name, value in (ENDPOINT | changes).items() if value is not ...}
    return BUNDLE | {"metadata": {"endpoints": {"/log": {"get": endpoint}}}}


@pytest.mark.parametrize(
    ("bundle", "fault"),
    [
        ({}, "bundle.metadata must be of type object"),
        ({"metadata": {}}, "bundle.metadata.endpoints must be of type object"),
        ({"metadata": {"endpoints": {}}, "modules": {}}, "bundle.modules must be of type array"),
        ({"metadata": {"endpoints": {}}, "modules": [1]}, "bundle.modules[0] must be of type object"),
        ({"metadata": {"endpoints": {}}, "modules": [{"name": "a"}]}, "bundle.modules[0].module must be of type"),
        ({"metadata": {"endpoints": {}}, "modules": [{"name": "", "module": ""}]}, "must not be empty"),
        ({"metadata": {"endpoints": {}}, "modules": [{"name": n, "module": ""} for n in ("a", "/a")]}, "has /a twice"),
        (BUNDLE | {"metadata": {"endpoints": {"log": {"get": ENDPOINT}}}}, "must begin with /"),
        (BUNDLE | {"metadata": {"endpoints": {"/log": []}}}, "endpoint /log must be of type object"),
        (BUNDLE | {"metadata": {"endpoints": {"/log": {"fetch": ENDPOINT}}}}, "the verb must be one of GET"),
        (BUNDLE | {"metadata": {"endpoints": {"/log": {"get": None}}}}, "get /log must be of type object"),
        (_with_endpoint(mode="write"), "mode must be one of readwrite, readonly, historical"),
        (_with_endpoint(mode=...), "mode must be one of"),
        (_with_endpoint(forwarding_required="maybe"), "forwarding_required must be one of"),
        (_with_endpoint(redirection_strategy="to_moon"), "redirection_strategy must be one of"),
        (_with_endpoint(authn_policies=...), "authn_policies must be of type array"),
        (_with_endpoint(authn_policies="user_cert"), "authn_policies must be of type array"),
        (_with_endpoint(authn_policies=["user_cert", 1]), "authn_policies[1] must be of type object"),
        (_with_endpoint(authn_policies=[{"all_of": "jwt"}]), "authn_policies[0].all_of must be of type array"),
        (_with_endpoint(authn_policies=[{"all_of": [1]}]), "authn_policies[0].all_of[0] must be of type string"),
        (_with_endpoint(js_module="other.js"), "js_module other.js is not in the bundle"),
        (_with_endpoint(js_function=""), "js_function must be not empty"),
        (_with_endpoint(js_function=...), "js_function must be of type string"),
        (_with_endpoint(openapi="x"), "openapi must be of type object"),
        (_with_endpoint(interpreter_reuse={"key": 1}), "interpreter_reuse.key must be of type string"),
    ],
)
def test_bundles_that_fail_validation(steady: World, bundle: object, fault: str) -> None:
    assert fault in invalid(steady, action("set_js_app", bundle=bundle))


def test_runtime_options(world: World) -> None:
    options = {"max_heap_bytes": 50_000_000, "max_stack_bytes": 500_000, "max_execution_time_ms": 1000}
    accepted(world, action("set_js_runtime_options", **options, return_exception_details=True))
    assert world.read(JS_RUNTIME_OPTIONS) == options | {"return_exception_details": True}


# Nodes


def validity(pem: bytes | None) -> tuple[datetime, datetime]:
    certificate = load_certificate(pem or b"")
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def test_trusting_a_pending_node(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node)
    opened.ops.secret = replace(opened.ops.secret, version=17)
    before = opened.read(NODES_INFO, node.id)
    accepted(opened, action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE, validity_period_days=30))
    assert opened.read(NODES_INFO, node.id) == before | {"status": "Trusted", "ledger_secret_seqno": 17}
    pem = opened.raw(NODES_ENDORSED_CERTIFICATES, node.id)
    start = datetime(2030, 6, 1, tzinfo=UTC)
    assert validity(pem) == (start, start + timedelta(days=30) - timedelta(seconds=1))
    certificate = load_certificate(pem or b"")
    assert is_issued_by(certificate, load_certificate(service_cert()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_trust_without_days_means_the_maximum(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node)
    accepted(opened, action("transition_node_to_trusted", node_id=node.id, valid_from="300601000000Z"))
    start, end = validity(opened.raw(NODES_ENDORSED_CERTIFICATES, node.id))
    assert end - start == timedelta(days=365) - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"validity_period_days": 366}, "exceeds the maximum of 365"),
        ({"valid_from": "tomorrow"}, "tomorrow"),
        ({"node_id": HEX}, "no node has the id"),
    ],
)
def test_trust_that_fails(opened: World, changes: dict[str, object], fault: str) -> None:
    node = describe_node("n1", 9100)
    opened.join(node)
    args: dict[str, object] = {"node_id": node.id, "valid_from": SINCE} | changes
    assert fault in failed(opened, {"name": "transition_node_to_trusted", "args": args})


def test_trusting_a_trusted_node_does_nothing(opened: World) -> None:
    node = describe_node("n1", 9100)
    opened.join(node, NodeStatus.TRUSTED)
    before = opened.raw(NODES_INFO, node.id), opened.raw(NODES_ENDORSED_CERTIFICATES, node.id)
    accepted(opened, action("transition_node_to_trusted", node_id=node.id, valid_from=SINCE))
    assert (opened.raw(NODES_INFO, node.id), opened.raw(NODES_ENDORSED_CERTIFICATES, node.id)) == before


def test_removing_nodes(opened: World) -> None:
    pending, trusted = describe_node("n1", 9100), describe_node("n2", 9200)
    opened.join(pending)
    opened.join(trusted, NodeStatus.TRUSTED)
    accepted(opened, action("remove_node", node_id=pending.id), action("remove_node", node_id=trusted.id))
    assert opened.raw(NODES_INFO, pending.id) is None
    assert opened.read(NODES_INFO, trusted.id)["status"] == "Retired"
    assert opened.raw(NODES_ENDORSED_CERTIFICATES, trusted.id) is not None
    before = opened.raw(NODES_INFO, trusted.id)
    accepted(opened, action("remove_node", node_id=trusted.id), action("remove_node", node_id=HEX))
    assert opened.raw(NODES_INFO, trusted.id) == before


def test_the_last_trusted_node_stays(opened: World) -> None:
    opened.join(describe_node("n1", 9100))  # Pending ones do not count
    assert "last trusted node" in failed(opened, action("remove_node", node_id=opened.node.id))


def test_set_node_data(opened: World) -> None:
    accepted(opened, action("set_node_data", node_id=opened.node.id, node_data={"zone": "1"}))
    assert opened.read(NODES_INFO, opened.node.id)["node_data"] == {"zone": "1"}
    assert "no node has the id" in failed(opened, action("set_node_data", node_id=HEX, node_data=1))


def test_renewing_one_node_certificate(opened: World) -> None:
    accepted(
        opened,
        action("set_node_certificate_validity", node_id=opened.node.id, valid_from=SINCE, validity_period_days=5),
    )
    start, end = validity(opened.raw(NODES_ENDORSED_CERTIFICATES, opened.node.id))
    assert (start, end - start) == (datetime(2030, 6, 1, tzinfo=UTC), timedelta(days=5) - timedelta(seconds=1))
    pending = describe_node("n1", 9100)
    opened.join(pending)
    renew = action("set_node_certificate_validity", node_id=pending.id, valid_from=SINCE)
    assert "is Pending, not Trusted" in failed(opened, renew)


def test_renewing_all_node_certificates(opened: World) -> None:
    trusted, pending = describe_node("n1", 9100), describe_node("n2", 9200)
    opened.join(trusted, NodeStatus.TRUSTED)
    opened.join(pending)
    accepted(opened, action("set_all_nodes_certificate_validity", valid_from=SINCE, validity_period_days=5))
    for node_id in (opened.node.id, trusted.id):
        assert validity(opened.raw(NODES_ENDORSED_CERTIFICATES, node_id))[0] == datetime(2030, 6, 1, tzinfo=UTC)
    assert opened.raw(NODES_ENDORSED_CERTIFICATES, pending.id) is None


def test_renewing_the_service_certificate(opened: World) -> None:
    accepted(opened, action("set_service_certificate_validity", valid_from=SINCE, validity_period_days=90))
    info = opened.read(SERVICE_INFO)
    renewed, old = load_certificate(info["cert"]), load_certificate(service_cert())
    assert renewed.subject == old.subject
    assert renewed.public_key() == old.public_key()
    assert renewed.serial_number != old.serial_number
    assert renewed.not_valid_before_utc == datetime(2030, 6, 1, tzinfo=UTC)
    assert info["status"] == "Open"
    too_long = action("set_service_certificate_validity", valid_from=SINCE, validity_period_days=366)
    assert "exceeds the maximum of 365" in failed(opened, too_long)


# Attestation


def test_virtual_measurements(world: World) -> None:
    waiting = world.propose(BOB, action("remove_js_app")).body["proposalId"]
    accepted(world, action("add_virtual_measurement", measurement="new text"))
    assert world.raw(NODES_VIRTUAL_MEASUREMENTS, "new text") == b'"AllowedToJoin"'
    assert world.read(PROPOSALS_INFO, waiting)["state"] == "Dropped"
    accepted(world, action("remove_virtual_measurement", measurement="new text"))
    assert world.raw(NODES_VIRTUAL_MEASUREMENTS, "new text") is None


def test_virtual_host_data(world: World) -> None:
    waiting = world.propose(BOB, action("remove_js_app")).body["proposalId"]
    accepted(world, action("add_virtual_host_data", host_data="ab" * 32))
    assert world.raw(NODES_VIRTUAL_HOST_DATA, "ab" * 32) == bytes(8)
    assert world.read(PROPOSALS_INFO, waiting)["state"] == "Dropped"
    accepted(world, action("remove_virtual_host_data", host_data="ab" * 32))
    assert world.raw(NODES_VIRTUAL_HOST_DATA, "ab" * 32) is None
    assert world.raw(NODES_VIRTUAL_HOST_DATA, HOST_DATA) == bytes(8)


# Several actions


def test_actions_apply_in_order_and_all_or_none(world: World) -> None:
    message = failed(
        world, action("set_user", cert=DAVE.cert_pem), action("set_user_data", user_id=HEX, user_data={"x": 1})
    )
    assert "no user has the id" in message
    assert world.raw(USERS_CERTS, DAVE.id) is None
    accepted(
        world, action("set_user", cert=DAVE.cert_pem), action("set_user_data", user_id=DAVE.id, user_data={"x": 1})
    )
    assert world.read(USERS_INFO, DAVE.id) == {"user_data": {"x": 1}}
