"""The modern governance API: names, answers and errors (node-api.md 2.3)."""

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest

from dataplane.api import gov
from dataplane.api.gov_api import describe
from dataplane.apps.endpoint import Context, Request
from dataplane.crypto.cose import decode_sign1
from dataplane.crypto.keys import rsa_oaep_decrypt
from dataplane.crypto.shamir import decode_share
from dataplane.errors import RpcError
from dataplane.kv.tables import COSE_HISTORY, COSE_RECENT_PROPOSALS, MEMBERS_ACKS, PROPOSALS, SIGNATURES
from tests.support.governance import NO, OPERATOR, YES, World, action, party, root_at

ALICE, BOB, CAROL, STRANGER = party("alice"), party("bob"), party("carol"), party("stranger")
HEX = "a" * 64
CREATE = "/members/proposals:create"


@pytest.fixture
def fresh() -> World:
    return World([ALICE, BOB, CAROL, OPERATOR], threshold=2)


@pytest.fixture
def world(fresh: World) -> World:
    fresh.activate()
    return fresh


@pytest.fixture(scope="module")
def steady() -> World:
    """For tests that change nothing."""
    made = World([ALICE, BOB, CAROL, OPERATOR], threshold=2)
    made.activate()
    return made


def proposed(world: World, *actions: dict[str, object]) -> str:
    answer = world.propose(ALICE, *(actions or (action("remove_js_app"),)))
    assert answer.status == 200, answer.body
    return str(answer.body["proposalId"])


# api-version and ids

READS = [
    f"/members/state-digests/{ALICE.id}",
    "/members/proposals",
    f"/members/proposals/{HEX}",
    f"/members/proposals/{HEX}/actions",
    f"/members/proposals/{HEX}/ballots/{HEX}",
    f"/recovery/encrypted-shares/{HEX}",
    "/service/constitution",
    "/service/info",
    "/service/javascript-app",
    "/service/javascript-modules",
    "/service/js-modules",
    "/service/join-policy",
    "/service/members",
    f"/service/members/{HEX}",
    "/service/users",
    f"/service/users/{HEX}",
    "/service/nodes",
    f"/service/nodes/{HEX}",
    "/service/transactions/commit",
    "/service/transactions/2.1",
]
WRITES = {
    f"/members/state-digests/{ALICE.id}:update": "state_digest",
    f"/members/state-digests/{ALICE.id}:ack": "ack",
    CREATE: "proposal",
    f"/members/proposals/{HEX}:withdraw": "withdrawal",
    f"/members/proposals/{HEX}/ballots/{ALICE.id}:submit": "ballot",
}


@pytest.mark.parametrize("path", READS, ids=range(len(READS)))  # the paths hold ids of fresh keys
def test_reads_need_an_api_version(steady: World, path: str) -> None:
    for query, code in (
        ("", "MissingApiVersionParameter"),
        ("version=2024-07-01", "MissingApiVersionParameter"),
        ("api-version=2024-07-02", "UnsupportedApiVersionValue"),
        ("api-version=", "UnsupportedApiVersionValue"),
    ):
        answer = steady.get(path, query)
        assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(("path", "message"), WRITES.items(), ids=range(len(WRITES)))
def test_writes_need_an_api_version_after_the_signature(steady: World, path: str, message: str) -> None:
    before = steady.snapshot()
    for query, code in (("", "MissingApiVersionParameter"), ("api-version=1", "UnsupportedApiVersionValue")):
        answer = steady.post(ALICE, path, message, {}, query=query, proposal_id=HEX)
        assert (answer.status, answer.code) == (400, code)
        answer = steady.post(STRANGER, path, message, {}, query=query, proposal_id=HEX)
        assert (answer.status, answer.code) == (401, "InvalidAuthenticationInfo")
    assert steady.snapshot() == before


def test_the_preview_version_is_served_too_but_not_for_what_came_later(world: World) -> None:
    preview = "api-version=2023-06-01-preview"
    assert world.get("/service/info", preview).status == 200
    assert world.get("/service/javascript-modules", preview).code == "UnsupportedApiVersionValue"
    assert world.get("/service/javascript-modules").status == 200


@pytest.mark.parametrize("bad", ["xyz", HEX[:-1], HEX + "a", "g" * 64])
@pytest.mark.parametrize("path", [path for path in READS if HEX in path])
def test_ids_must_be_64_hex_digits(steady: World, path: str, bad: str) -> None:
    answer = steady.get(path.replace(HEX, bad))
    assert (answer.status, answer.code) == (400, "InvalidResourceName")


# State digests


def test_activation(fresh: World) -> None:
    base = f"/members/state-digests/{ALICE.id}"
    assert fresh.get(base).body == {"memberId": ALICE.id, "stateDigest": ""}
    updated = fresh.post(ALICE, f"{base}:update", "state_digest", {})
    root = fresh.read(SIGNATURES)["root"]
    assert updated.body == {"memberId": ALICE.id, "stateDigest": root}
    assert fresh.get(base).body == updated.body
    assert fresh.get(f"/service/members/{ALICE.id}").body["status"] == "Accepted"
    ack = fresh.post(ALICE, f"{base}:ack", "ack", updated.body)
    assert (ack.status, ack.raw) == (204, b"")
    assert fresh.get(f"/service/members/{ALICE.id}").body["status"] == "Active"
    stored = fresh.read(MEMBERS_ACKS, ALICE.id)
    envelope = decode_sign1(b64decode(stored["cose_sign1_req"]))
    assert json.loads(envelope.payload or b"") == updated.body


@pytest.mark.parametrize("verb", ["update", "ack"])
def test_digests_of_other_members(world: World, verb: str) -> None:
    message = {"update": "state_digest", "ack": "ack"}[verb]
    before = world.snapshot()
    answer = world.post(ALICE, f"/members/state-digests/{BOB.id}:{verb}", message, {"stateDigest": "x"})
    assert (answer.status, answer.code) == (400, "InvalidAuthenticationInfo")
    assert world.snapshot() == before


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"stateDigest": "00" * 32}, "StateDigestMismatch"),
        ({"stateDigest": ""}, "StateDigestMismatch"),
        ({"stateDigest": 5}, "InvalidInput"),
        ({}, "InvalidInput"),
        ([], "InvalidInput"),
        (b"not json", "InvalidInput"),
    ],
)
def test_acks_that_are_refused(fresh: World, payload: object, code: str) -> None:
    base = f"/members/state-digests/{ALICE.id}"
    fresh.post(ALICE, f"{base}:update", "state_digest", {})
    before = fresh.snapshot()
    answer = fresh.post(ALICE, f"{base}:ack", "ack", payload)
    assert (answer.status, answer.code) == (400, code)
    assert fresh.snapshot() == before


def test_no_digest_of_a_stranger(world: World) -> None:
    answer = world.get(f"/members/state-digests/{STRANGER.id}")
    assert (answer.status, answer.code) == (404, "ResourceNotFound")


def test_update_before_the_first_signature() -> None:
    world = World([ALICE])
    tx = world.store.begin()
    tx.remove(SIGNATURES, bytes(8))
    world.commit(tx)
    answer = world.post(ALICE, f"/members/state-digests/{ALICE.id}:update", "state_digest", {})
    assert (answer.status, answer.code) == (500, "InternalError")


# Proposals


def test_creation(world: World) -> None:
    read_version = world.store.version
    answer = world.propose(ALICE, action("remove_js_app"))
    assert answer.status == 200
    assert answer.body == {
        "proposalId": answer.body["proposalId"],
        "proposerId": ALICE.id,
        "proposalState": "Open",
        "ballotCount": 0,
    }
    pid = answer.body["proposalId"]
    assert world.get(f"/members/proposals/{pid}").body == answer.body
    assert world.get("/members/proposals").body == {"value": [answer.body]}
    actions = world.get(f"/members/proposals/{pid}/actions")
    assert actions.raw == b'{"actions": [{"name": "remove_js_app"}]}' == world.raw(PROPOSALS, pid)
    assert actions.content_type is None
    assert root_at(read_version) != root_at(world.store.version)


def test_creation_without_a_root(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "root_at", lambda seqno: None)
    before = world.snapshot()
    answer = world.propose(ALICE, action("remove_js_app"))
    assert (answer.status, answer.code) == (500, "InternalError")
    assert world.snapshot() == before


def test_only_active_members_propose_vote_and_withdraw(fresh: World) -> None:
    fresh.activate(ALICE)
    pid = proposed(fresh)
    before = fresh.snapshot()
    for answer in (
        fresh.propose(BOB, action("remove_js_app")),
        fresh.vote(BOB, pid),
        fresh.withdraw(BOB, pid),
        fresh.propose(STRANGER, action("remove_js_app")),
        fresh.vote(STRANGER, pid),
    ):
        assert (answer.status, answer.code) == (401, "InvalidAuthenticationInfo")
    assert fresh.snapshot() == before


def test_message_types_must_fit_the_endpoint(steady: World) -> None:
    before = steady.snapshot()
    for path, message in WRITES.items():
        for other in set(WRITES.values()) - {message}:
            answer = steady.post(ALICE, path, other, {}, proposal_id=HEX)
            assert (answer.status, answer.code) == (401, "InvalidAuthenticationInfo")
    assert steady.snapshot() == before


def test_a_replayed_proposal(world: World) -> None:
    body = ALICE.sign("proposal", {"actions": [action("remove_js_app")]}, 1_950_000_000)
    first = world.send("POST", CREATE, body)
    assert first.status == 200
    before = world.snapshot()
    again = world.send("POST", CREATE, body)
    assert (again.status, again.code) == (400, "ProposalReplay")
    assert first.body["proposalId"] in again.message
    assert world.snapshot() == before


@pytest.mark.parametrize(
    ("created_at_s", "code"), [(10_000_000_000, "InvalidCreatedAt"), (1_000, "ProposalCreatedTooLongAgo")]
)
def test_times_that_are_refused(world: World, created_at_s: int, code: str) -> None:
    proposed(world)
    before = world.snapshot()
    answer = world.propose(ALICE, action("remove_js_app"), created_at_s=created_at_s)
    assert (answer.status, answer.code) == (400, code)
    assert world.snapshot() == before


def test_ballots_are_no_part_of_the_replay_window(world: World) -> None:
    pid = proposed(world)
    before = world.store.begin().items(COSE_RECENT_PROPOSALS)
    world.vote(ALICE, pid)
    world.withdraw(ALICE, pid)
    assert world.store.begin().items(COSE_RECENT_PROPOSALS) == before


def test_an_invalid_proposal_leaves_no_trace(world: World) -> None:
    before = world.snapshot()
    answer = world.propose(ALICE, action("nope"))
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert "nope: no such action" in answer.message
    assert world.snapshot() == before


@pytest.mark.parametrize("path", ["", "/actions"])
def test_an_unknown_proposal(world: World, path: str) -> None:
    answer = world.get(f"/members/proposals/{HEX}{path}")
    assert (answer.status, answer.code) == (404, "ProposalNotFound")


def test_envelopes_are_kept_for_audit(world: World) -> None:
    pid = proposed(world)
    kept = decode_sign1(b64decode(str(world.read(COSE_HISTORY, ALICE.id))))
    assert kept.payload == b'{"actions": [{"name": "remove_js_app"}]}'
    world.vote(BOB, pid)
    kept = decode_sign1(b64decode(str(world.read(COSE_HISTORY, BOB.id))))
    assert kept.protected["ccf.gov.msg.type"] == "ballot"
    world.withdraw(ALICE, pid)
    kept = decode_sign1(b64decode(str(world.read(COSE_HISTORY, ALICE.id))))
    assert kept.protected["ccf.gov.msg.type"] == "withdrawal"


# Ballots


def test_ballots(world: World) -> None:
    pid = proposed(world)
    first = world.vote(ALICE, pid, NO)
    assert (first.status, first.body["ballotCount"], first.body["proposalState"]) == (200, 1, "Open")
    assert "finalVotes" not in first.body
    again = world.vote(ALICE, pid, NO)
    assert (again.status, again.body) == (200, first.body)
    ballot = world.get(f"/members/proposals/{pid}/ballots/{ALICE.id}")
    assert (ballot.raw.decode(), ballot.content_type) == (NO, "text/javascript")
    world.vote(BOB, pid)
    final = world.vote(CAROL, pid)
    assert final.body == {
        "proposalId": pid,
        "proposerId": ALICE.id,
        "proposalState": "Accepted",
        "ballotCount": 3,
        "finalVotes": {ALICE.id: False, BOB.id: True, CAROL.id: True},
        "voteFailures": {},
    }
    assert world.get(f"/members/proposals/{pid}").body == final.body


def test_a_second_ballot(world: World) -> None:
    pid = proposed(world)
    world.vote(ALICE, pid, NO)
    before = world.snapshot()
    answer = world.vote(ALICE, pid, YES)
    assert (answer.status, answer.code) == (400, "VoteAlreadyExists")
    assert world.snapshot() == before


@pytest.mark.parametrize("payload", [{}, {"ballot": 1}, {"ballot": None}, [], b"nothing"])
def test_payloads_that_are_no_ballot(world: World, payload: object) -> None:
    pid = proposed(world)
    before = world.snapshot()
    path = f"/members/proposals/{pid}/ballots/{ALICE.id}:submit"
    answer = world.post(ALICE, path, "ballot", payload, proposal_id=pid)
    assert (answer.status, answer.code) == (400, "InvalidInput")
    assert world.snapshot() == before


def test_ballot_errors(world: World) -> None:
    pid, other = proposed(world), proposed(world)
    path = f"/members/proposals/{pid}/ballots/{ALICE.id}:submit"
    nowhere = f"/members/proposals/{HEX}/ballots/{ALICE.id}:submit"
    for answer, status, code in (
        (world.post(ALICE, nowhere, "ballot", b"no ballot either", proposal_id=HEX), 404, "ProposalNotFound"),
        (world.vote(ALICE, HEX), 404, "ProposalNotFound"),
        (world.post(BOB, path, "ballot", {"ballot": YES}, proposal_id=pid), 400, "InvalidResourceName"),
        (world.post(ALICE, path, "ballot", {"ballot": YES}, proposal_id=other), 400, "InvalidResourceName"),
        (world.post(ALICE, path, "ballot", {"ballot": YES}), 400, "InvalidResourceName"),
        (world.get(f"/members/proposals/{pid}/ballots/{BOB.id}"), 404, "VoteNotFound"),
        (world.get(f"/members/proposals/{HEX}/ballots/{BOB.id}"), 404, "ProposalNotFound"),
    ):
        assert (answer.status, answer.code) == (status, code)
    world.withdraw(ALICE, pid)
    answer = world.vote(ALICE, pid)
    assert (answer.status, answer.code) == (400, "ProposalNotOpen")


# Withdrawal


def test_withdrawal(world: World) -> None:
    pid, other = proposed(world), proposed(world)
    answer = world.withdraw(BOB, pid)
    assert (answer.status, answer.code) == (403, "AuthorizationFailed")
    path = f"/members/proposals/{pid}:withdraw"
    answer = world.post(ALICE, path, "withdrawal", {}, proposal_id=other)
    assert (answer.status, answer.code) == (400, "InvalidResourceName")
    answer = world.withdraw(ALICE, pid)
    assert (answer.status, answer.body["proposalState"]) == (200, "Withdrawn")
    assert "finalVotes" not in answer.body
    again = world.withdraw(ALICE, pid)
    assert (again.status, again.body) == (200, answer.body)
    nothing = world.withdraw(ALICE, HEX)
    assert (nothing.status, nothing.raw) == (204, b"")
    for member in (ALICE, BOB):
        final = world.vote(member, other)
    assert final.body["proposalState"] == "Accepted"
    answer = world.withdraw(ALICE, other)
    assert (answer.status, answer.code) == (400, "ProposalNotOpen")


# Recovery shares


def test_encrypted_shares(world: World) -> None:
    path = f"/recovery/encrypted-shares/{ALICE.id}"
    assert world.get(path).code == "ResourceNotFound"
    world.open()
    answer = world.get(path)
    assert answer.body["memberId"] == ALICE.id
    assert ALICE.encryption_key is not None
    share = decode_share(rsa_oaep_decrypt(ALICE.encryption_key, b64decode(answer.body["encryptedShare"])))
    assert 1 <= share.x <= 3
    assert world.get(f"/recovery/encrypted-shares/{OPERATOR.id}").status == 404


# The document


def document(query: str) -> Mapping[str, Any]:
    made = World([ALICE])
    request = Request("GET", "/gov/api", "/gov/api", query, {}, b"")
    return describe(Context(made.store.begin(), request, None, made), gov.endpoints(made.ops))


def test_the_document_of_each_version() -> None:
    everything = document("")["paths"]
    newest = document("api-version=2024-07-01")
    preview = document("api-version=2023-06-01-preview")
    assert (newest["info"]["version"], preview["info"]["version"]) == ("2024-07-01", "2023-06-01-preview")
    added = {path for path in newest["paths"] if path not in preview["paths"]}
    assert added == {
        f"/gov/service/{name}{one}" for name in ("javascript-modules", "js-modules") for one in ("", "/{moduleName}")
    }
    assert set(preview["paths"]) < set(newest["paths"]) < set(everything)
    assert {"/gov/proposals", "/gov/kv/members/certs"} <= set(everything) - set(newest["paths"])
    create = newest["paths"]["/gov/members/proposals:create"]["post"]
    assert {parameter["name"] for parameter in create["parameters"]} == {"api-version"}


@pytest.mark.parametrize("query", ["api-version=2030-01-01", "api-version="])
def test_the_document_of_no_version(query: str) -> None:
    with pytest.raises(RpcError) as caught:
        document(query)
    assert (caught.value.status, caught.value.code) == (400, "UnsupportedApiVersionValue")
