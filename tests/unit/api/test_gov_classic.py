"""The classic governance API (node-api.md 2.4): what Managed CCF scripts send, and what they read of the answers."""

import json
import logging
from base64 import b64decode
from collections.abc import Iterable

import pytest

from dataplane.kv.tables import COSE_HISTORY, MEMBERS_ACKS, PROPOSALS, PROPOSALS_INFO, SIGNATURES, get_json, put_json
from tests.support.governance import NO, OPERATOR, YES, Answer, Party, World, action, party, root_at, service_cert

ALICE, BOB, CAROL, STRANGER = party("alice"), party("bob"), party("carol"), party("stranger")
HEX = "a" * 64
REMOVE = action("remove_user", user_id=HEX)


@pytest.fixture
def fresh() -> World:
    """Members have not acknowledged yet."""
    return World([ALICE, BOB, CAROL, OPERATOR], threshold=2)


@pytest.fixture
def world(fresh: World) -> World:
    for member in (ALICE, BOB, CAROL):
        activate(fresh, member)
    return fresh


def get(world: World, path: str) -> Answer:
    return world.get(path, "")


def post(
    world: World, party: Party, path: str, message: str, payload: object, proposal_id: str | None = None
) -> Answer:
    return world.post(party, path, message, payload, proposal_id=proposal_id, query="")


def activate(world: World, member: Party) -> None:
    digest = world.send("POST", "/ack/update_state_digest", b"", "", peer=member.peer)
    assert digest.status == 200, digest.body
    assert post(world, member, "/ack", "ack", digest.body).status == 204


def propose(world: World, proposer: Party, *actions: dict[str, object]) -> Answer:
    return post(world, proposer, "/proposals", "proposal", {"actions": list(actions)})


def proposed(world: World) -> str:
    answer = propose(world, ALICE, REMOVE)
    assert answer.status == 200, answer.body
    return str(answer.body["proposal_id"])


def vote(world: World, voter: Party, proposal_id: str, ballot: str = YES) -> Answer:
    return post(world, voter, f"/proposals/{proposal_id}/ballots", "ballot", {"ballot": ballot}, proposal_id)


def withdraw(world: World, member: Party, proposal_id: str) -> Answer:
    return post(world, member, f"/proposals/{proposal_id}/withdraw", "withdrawal", b"", proposal_id)


def refused(world: World, answers: Iterable[tuple[Answer, int, str]], before: object) -> None:
    for answer, status, code in answers:
        assert (answer.status, answer.code) == (status, code), answer.body
    assert world.snapshot() == before


# Members


def test_members(fresh: World) -> None:
    activate(fresh, ALICE)
    listed = get(fresh, "/members").body
    assert set(listed) == {member.id for member in fresh.members}
    assert listed[ALICE.id] == {
        "status": "Active",
        "member_data": {"name": "alice"},
        "cert": ALICE.cert_pem,
        "public_encryption_key": ALICE.encryption_pem,
    }
    assert listed[OPERATOR.id]["status"] == "Accepted"
    assert listed[OPERATOR.id]["public_encryption_key"] is None


@pytest.mark.parametrize("signed", [False, True])
def test_a_digest_by_certificate_or_by_signature(fresh: World, signed: bool) -> None:
    root = root_at(fresh.store.version - 1).hex()
    path = "/ack/update_state_digest"
    if signed:
        answer = post(fresh, ALICE, path, "state_digest", b"")
    else:
        answer = fresh.send("POST", path, b"", "", peer=ALICE.peer)
    assert answer.body == {"state_digest": root}
    assert fresh.read(MEMBERS_ACKS, ALICE.id)["state_digest"] == root
    assert fresh.read(SIGNATURES)["root"] == root


def test_acks_that_are_refused(fresh: World) -> None:
    fresh.send("POST", "/ack/update_state_digest", b"", "", peer=ALICE.peer)
    before = fresh.snapshot()
    refused(
        fresh,
        [
            (post(fresh, ALICE, "/ack", "ack", {"state_digest": "00" * 32}), 400, "StateDigestMismatch"),
            (post(fresh, ALICE, "/ack", "ack", {"stateDigest": "00" * 32}), 400, "InvalidInput"),
            (post(fresh, ALICE, "/ack", "proposal", {"state_digest": ""}), 401, "InvalidAuthenticationInfo"),
            (post(fresh, STRANGER, "/ack", "ack", {"state_digest": ""}), 401, "InvalidAuthenticationInfo"),
            (
                fresh.send("POST", "/ack", b"{}", "", peer=ALICE.peer, content_type="application/json"),
                401,
                "InvalidAuthenticationInfo",
            ),
            (fresh.send("POST", "/ack/update_state_digest", b"", ""), 401, "InvalidAuthenticationInfo"),
            (
                fresh.send("POST", "/ack/update_state_digest", b"", "", peer=STRANGER.peer),
                401,
                "InvalidAuthenticationInfo",
            ),
        ],
        before,
    )


def test_a_member_without_an_ack_record(fresh: World) -> None:
    tx = fresh.store.begin()
    tx.remove(MEMBERS_ACKS, ALICE.id.encode())
    fresh.commit(tx)
    before = fresh.snapshot()
    answer = fresh.send("POST", "/ack/update_state_digest", b"", "", peer=ALICE.peer)
    refused(fresh, [(answer, 403, "AuthorizationFailed")], before)


# Proposals


def test_from_proposal_to_acceptance(world: World) -> None:
    created = propose(world, ALICE, REMOVE)
    pid = created.body["proposal_id"]
    assert created.body == {"proposal_id": pid, "proposer_id": ALICE.id, "state": "Open", "ballot_count": 0}
    info = {"proposer_id": ALICE.id, "state": "Open", "ballots": {}}
    assert get(world, f"/proposals/{pid}").body == info
    assert get(world, "/proposals").body == {pid: info}
    actions = get(world, f"/proposals/{pid}/actions")
    assert (actions.content_type, actions.body) == ("application/json", {"actions": [REMOVE]})
    assert world.raw(PROPOSALS, pid) == actions.raw
    first = vote(world, ALICE, pid)
    assert first.body == {"proposal_id": pid, "proposer_id": ALICE.id, "state": "Open", "ballot_count": 1}
    assert get(world, f"/proposals/{pid}/ballots/{ALICE.id}").body == {"ballot": YES}
    assert get(world, f"/proposals/{pid}").body["ballots"] == {ALICE.id: YES}
    final = vote(world, BOB, pid)
    assert final.body == {
        "proposal_id": pid,
        "proposer_id": ALICE.id,
        "state": "Accepted",
        "ballot_count": 2,
        "votes": {ALICE.id: True, BOB.id: True},
    }
    assert get(world, f"/proposals/{pid}").body == world.read(PROPOSALS_INFO, pid)
    assert get(world, "/proposals").body == {}  # open ones only
    assert b64decode(str(world.read(COSE_HISTORY, BOB.id)))


def test_a_ballot_that_throws_is_told(world: World) -> None:
    pid = proposed(world)
    vote(world, CAROL, pid, 'export function vote() { throw new Error("unsure"); }')
    vote(world, ALICE, pid)
    final = vote(world, BOB, pid)
    assert final.body["state"] == "Accepted"
    assert final.body["vote_failures"][CAROL.id]["reason"] == "Error: unsure"


def test_the_second_ballot_is_refused_whatever_it_says(world: World) -> None:
    pid = proposed(world)
    vote(world, ALICE, pid, NO)
    before = world.snapshot()
    refused(world, [(vote(world, ALICE, pid, ballot), 400, "VoteAlreadyExists") for ballot in (NO, YES)], before)


def test_withdrawal(world: World) -> None:
    pid = proposed(world)
    before = world.snapshot()
    refused(world, [(withdraw(world, BOB, pid), 403, "AuthorizationFailed")], before)
    gone = withdraw(world, ALICE, pid)
    assert gone.body == {"proposal_id": pid, "proposer_id": ALICE.id, "state": "Withdrawn", "ballot_count": 0}
    before = world.snapshot()
    refused(
        world,
        [
            (withdraw(world, ALICE, pid), 400, "ProposalNotOpen"),
            (vote(world, ALICE, pid), 400, "ProposalNotOpen"),
            (withdraw(world, ALICE, HEX), 400, "ProposalNotFound"),
        ],
        before,
    )


def test_what_does_not_exist(world: World) -> None:
    pid, other = proposed(world), proposed(world)
    before = world.snapshot()
    elsewhere = post(world, ALICE, f"/proposals/{pid}/ballots", "ballot", {"ballot": YES}, other)
    refused(
        world,
        [
            (get(world, f"/proposals/{HEX}"), 404, "ProposalNotFound"),
            (get(world, f"/proposals/{HEX}/actions"), 404, "ProposalNotFound"),
            (get(world, f"/proposals/{HEX}/ballots/{ALICE.id}"), 404, "ProposalNotFound"),
            (get(world, f"/proposals/{pid}/ballots/{ALICE.id}"), 404, "VoteNotFound"),
            (vote(world, ALICE, HEX), 404, "ProposalNotFound"),
            (elsewhere, 400, "InvalidResourceName"),
            (post(world, ALICE, f"/proposals/{pid}/ballots", "ballot", {}, pid), 400, "InvalidInput"),
        ],
        before,
    )


def test_members_that_are_not_active_are_403(fresh: World) -> None:
    activate(fresh, ALICE)
    pid = proposed(fresh)
    before = fresh.snapshot()
    refused(
        fresh,
        [
            (propose(fresh, BOB, REMOVE), 403, "AuthorizationFailed"),
            (vote(fresh, BOB, pid), 403, "AuthorizationFailed"),
            (withdraw(fresh, BOB, pid), 403, "AuthorizationFailed"),
            (fresh.send("GET", "/recovery_share", b"", "", peer=BOB.peer), 403, "AuthorizationFailed"),
            (fresh.send("POST", "/recovery_share", b"{}", "", peer=BOB.peer), 403, "AuthorizationFailed"),
            (propose(fresh, STRANGER, REMOVE), 401, "InvalidAuthenticationInfo"),
        ],
        before,
    )


def test_failures_leave_no_trace(world: World) -> None:
    before = world.snapshot()
    body = ALICE.sign("proposal", {"actions": [REMOVE]}, 1_950_000_000)
    assert propose(world, ALICE, action("nope")).code == "ProposalFailedToValidate"
    assert world.snapshot() == before
    assert world.send("POST", "/proposals", body, "").status == 200
    before = world.snapshot()
    refused(world, [(world.send("POST", "/proposals", body, ""), 400, "ProposalReplay")], before)


def test_both_dialects_speak_of_the_same_proposals(world: World) -> None:
    pid = proposed(world)
    assert world.get(f"/members/proposals/{pid}").body["proposalState"] == "Open"
    vote(world, ALICE, pid)
    assert world.vote(BOB, pid).body["proposalState"] == "Accepted"
    assert get(world, f"/proposals/{pid}").body["state"] == "Accepted"


# Recovery shares


def test_shares(world: World) -> None:
    assert get(world, f"/encrypted_recovery_share/{ALICE.id}").code == "ResourceNotFound"
    pid = propose(world, ALICE, action("transition_service_to_open", next_service_identity=service_cert()))
    for member in (ALICE, BOB):
        final = vote(world, member, pid.body["proposal_id"])
    assert final.body["state"] == "Accepted"
    share = get(world, f"/encrypted_recovery_share/{ALICE.id}").body
    assert share == {"encrypted_share": world.get(f"/recovery/encrypted-shares/{ALICE.id}").body["encryptedShare"]}
    assert world.send("GET", "/recovery_share", b"", "", peer=ALICE.peer).body == share
    signed = ALICE.sign("encrypted_recovery_share", b"", 1_900_000_000)
    assert world.send("GET", "/recovery_share", signed, "").body == share
    missing = get(world, f"/encrypted_recovery_share/{OPERATOR.id}")
    assert (missing.status, missing.code) == (404, "ResourceNotFound")
    assert missing.message.startswith(f"Recovery share not found for member m[{OPERATOR.id}]")


def test_a_share_for_a_service_that_awaits_none(world: World) -> None:
    before = world.snapshot()
    share = {"share": "AAAA"}
    plain = json.dumps(share).encode()
    refused(
        world,
        [
            (post(world, ALICE, "/recovery_share", "recovery_share", share), 403, "ServiceNotWaitingForRecoveryShares"),
            (
                world.send("POST", "/recovery_share", plain, "", peer=ALICE.peer, content_type="application/json"),
                403,
                "ServiceNotWaitingForRecoveryShares",
            ),
        ],
        before,
    )


# Tables


def test_tables(world: World) -> None:
    pid = proposed(world)
    tx = world.store.begin()
    put_json(tx, "public:ccf.gov.nodes.code_ids", "AllowedToJoin", b"ab")
    world.commit(tx)
    assert get(world, "/kv/members/certs").body[ALICE.id] == ALICE.cert_pem
    assert get(world, "/kv/members/info").body[ALICE.id]["status"] == "Active"
    assert get(world, "/kv/nodes/code_ids").body == {"ab": "AllowedToJoin"}
    assert get(world, "/kv/nodes/virtual/host_data").body == [
        key.decode() for key, _ in world.store.begin().items("public:ccf.gov.nodes.virtual.host_data")
    ]
    assert get(world, "/kv/service/info").body == world.read("public:ccf.gov.service.info")
    assert get(world, "/kv/constitution").body == world.read("public:ccf.gov.constitution")
    assert get(world, "/kv/proposals_info").body == {pid: world.read(PROPOSALS_INFO, pid)}
    assert b64decode(get(world, "/kv/proposals").body[pid]) == world.raw(PROPOSALS, pid)
    assert set(get(world, "/kv/cose_history").body) == {ALICE.id}
    assert list(get(world, "/kv/cose_recent_proposals").body.values()) == [pid]
    assert get(world, "/kv/users/certs").body == {}
    for unset in ("js_runtime_options", "modules_quickjs_version", "service/previous_service_identity"):
        answer = get(world, f"/kv/{unset}")
        assert (answer.status, answer.raw) == (204, b"")


def test_every_table_that_governance_writes_can_be_read(world: World) -> None:
    bundle = {"metadata": {"endpoints": {}}, "modules": [{"name": "a.js", "module": "export const a = 1;"}]}
    assert world.accept(action("set_js_app", bundle=bundle), action("set_user", cert=ALICE.cert_pem)).status == 200
    assert world.accept(action("set_user_data", user_id=ALICE.id, user_data={"a": 1})).status == 200
    prefix = "public:ccf.gov."
    for table in sorted(name for name in world.written if name.startswith(prefix)):
        answer = get(world, f"/kv/{table.removeprefix(prefix).replace('.', '/')}")
        rows = world.store.begin().items(table)
        assert answer.status == (204 if rows == [] and answer.body is None else 200), table
        if isinstance(answer.body, dict) and bytes(8) not in dict(rows):
            assert set(answer.body) == {key.decode() for key, _ in rows}
    assert get(world, "/kv/modules").body == {"/a.js": "export const a = 1;"}
    assert b64decode(get(world, "/kv/modules_quickjs_bytecode").body["/a.js"])


# Both dialects


def test_errors_are_logged_once_with_their_text(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gov"):
        propose(world, ALICE, action("nope"))
        world.propose(ALICE, action("other"))
    lines = [record.getMessage() for record in caplog.records if record.name == "gov"]
    assert [("nope: no such action" in line, "other: no such action" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    assert lines[0].startswith("POST /proposals returning error 400: ")
    assert get_json(world.store.begin(), "public:ccf.gov.service.info")["status"] == "Opening"
