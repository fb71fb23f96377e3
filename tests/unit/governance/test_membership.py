"""Recovery members come and go: when shares change, who is needed, and what a threshold may be (node-api.md 4.2, 8.3).

The scenarios are those of a consortium's life, under the default and the managed constitution.
"""

from base64 import b64decode

import pytest

from dataplane.config import RecoveryRole
from dataplane.crypto.keys import rsa_oaep_decrypt
from dataplane.governance.constitution_texts import constitution_text
from dataplane.kv.tables import MEMBERS_CERTS, PROPOSALS_INFO, SERVICE_CONFIG, SERVICE_INFO
from tests.support.governance import Answer, Party, World, action, party, service_cert

ALICE, BOB, CAROL = party("alice"), party("bob"), party("carol")
PLAIN, OTHER_PLAIN = party("plain", encryption=False), party("plain2", encryption=False)
OWNER, OTHER_OWNER = party("owner", role=RecoveryRole.OWNER), party("owner2", role=RecoveryRole.OWNER)
OPEN_IT = action("transition_service_to_open", next_service_identity=service_cert())


@pytest.fixture(params=["default", "managed"])
def constitution(request: pytest.FixtureRequest) -> str:
    return constitution_text(request.param)


def consortium(constitution: str, *members: Party, threshold: int = 0) -> World:
    made = World(members, constitution=constitution, threshold=threshold)
    made.activate()
    return made


def opened(constitution: str, *members: Party, threshold: int = 0) -> World:
    made = consortium(constitution, *members, threshold=threshold)
    made.open()
    return made


def shares(world: World) -> dict[str, bytes]:
    """What each holder decrypts its share to."""
    found = {}
    for member in world.members:
        answer = world.get(f"/recovery/encrypted-shares/{member.id}")
        if answer.status == 200:
            assert member.encryption_key is not None
            found[member.name] = rsa_oaep_decrypt(member.encryption_key, b64decode(answer.body["encryptedShare"]))
        else:
            assert (answer.status, answer.code) == (404, "ResourceNotFound")
            assert f"Recovery share not found for member m[{member.id}]" in answer.message
    return found


def passes(world: World, *actions: dict[str, object]) -> None:
    answer = world.accept(*actions)
    assert (answer.status, answer.body.get("proposalState")) == (200, "Accepted"), answer.body


def add(world: World, member: Party) -> None:
    args = {"cert": member.cert_pem, "encryption_pub_key": member.encryption_pem, "member_data": {"any": ["thing"]}}
    role = {} if member.role is None else {"recovery_role": member.role.value}
    passes(world, {"name": "set_member", "args": args | role})
    world.members.append(member)
    world.activate(member)


def remove(world: World, member: Party) -> None:
    passes(world, action("remove_member", member_id=member.id))
    world.members.remove(member)
    assert world.raw(MEMBERS_CERTS, member.id) is None
    digest = world.post(member, f"/members/state-digests/{member.id}:update", "state_digest", {})
    assert (digest.status, digest.code) == (401, "InvalidAuthenticationInfo")


def fails(world: World, one: dict[str, object]) -> Answer:
    """The ballot that would accept is refused, and the proposal stays open without it."""
    proposal_id = world.propose(world.members[0], one).body["proposalId"]
    for voter in world.members:
        before = world.snapshot()
        answer = world.vote(voter, proposal_id)
        if answer.status != 200:
            assert (answer.status, answer.code) == (500, "InternalError")
            assert world.snapshot() == before
            assert world.read(PROPOSALS_INFO, proposal_id)["state"] == "Open"
            return answer
    raise AssertionError("the proposal was accepted")


def threshold_of(world: World) -> object:
    return world.read(SERVICE_CONFIG)["recovery_threshold"]


def test_without_recovery_members_it_does_not_open(constitution: str) -> None:
    world = consortium(constitution, PLAIN, OTHER_PLAIN)
    fails(world, OPEN_IT)
    assert world.read(SERVICE_INFO)["status"] == "Opening"


def test_a_recovery_member_counts_once_it_has_acknowledged(constitution: str) -> None:
    world = World([PLAIN, OTHER_PLAIN, CAROL], constitution=constitution)
    world.activate(PLAIN, OTHER_PLAIN)
    proposal_id = world.propose(PLAIN, OPEN_IT).body["proposalId"]
    world.vote(PLAIN, proposal_id)
    assert world.vote(OTHER_PLAIN, proposal_id).status == 500
    world.activate(CAROL)
    assert world.vote(CAROL, proposal_id).body["proposalState"] == "Accepted"
    assert world.read(SERVICE_INFO)["status"] == "Open"


def test_participants(constitution: str) -> None:
    world = opened(constitution, ALICE, BOB, PLAIN)
    assert (threshold_of(world), set(shares(world))) == (2, {"alice", "bob"})
    first = shares(world)
    passes(world, action("trigger_recovery_shares_refresh"))
    second = shares(world)
    assert all(first[name] != second[name] for name in ("alice", "bob"))
    fails(world, action("remove_member", member_id=BOB.id))
    assert shares(world) == second

    add(world, OTHER_PLAIN)
    remove(world, OTHER_PLAIN)
    passes(world, action("remove_member", member_id=OTHER_PLAIN.id))  # once more has no effect
    assert shares(world) == second
    add(world, CAROL)
    third = shares(world)
    assert set(third) == {"alice", "bob", "carol"}
    assert third["alice"] != second["alice"]
    remove(world, CAROL)
    fourth = shares(world)
    assert set(fourth) == {"alice", "bob"}
    assert fourth["alice"] != third["alice"]

    passes(world, action("set_recovery_threshold", recovery_threshold=1))
    fifth = shares(world)
    assert fifth["alice"] != fourth["alice"]
    passes(world, action("set_recovery_threshold", recovery_threshold=1))
    assert shares(world) == fifth  # the same threshold changes nothing
    remove(world, BOB)
    assert set(shares(world)) == {"alice"}
    fails(world, action("set_recovery_threshold", recovery_threshold=2))
    assert threshold_of(world) == 1
    for wrong in (0, 255, 256, None):
        answer = world.propose(ALICE, action("set_recovery_threshold", recovery_threshold=wrong))
        assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")


def test_owners(constitution: str) -> None:
    world = opened(constitution, ALICE, BOB, OWNER, PLAIN)
    assert (threshold_of(world), set(shares(world))) == (2, {"alice", "bob", "owner"})
    remove(world, OWNER)  # participants remain
    fails(world, action("remove_member", member_id=BOB.id))
    before = shares(world)
    add(world, OTHER_OWNER)
    assert shares(world)["alice"] != before["alice"]
    fails(world, action("remove_member", member_id=BOB.id))  # an owner stands in for no participant
    passes(world, action("set_recovery_threshold", recovery_threshold=1))
    remove(world, BOB)
    remove(world, ALICE)
    assert set(shares(world)) == {"owner2"}
    fails(world, action("remove_member", member_id=OTHER_OWNER.id))
    fails(world, action("set_recovery_threshold", recovery_threshold=2))
    add(world, ALICE)
    add(world, BOB)
    passes(world, action("set_recovery_threshold", recovery_threshold=2))
    assert set(shares(world)) == {"alice", "bob", "owner2"}


def test_acknowledging_again_changes_nothing_but_the_record(constitution: str) -> None:
    world = opened(constitution, ALICE, BOB)
    before = shares(world)
    world.sign()
    world.activate(ALICE, BOB, ALICE)
    assert shares(world) == before
    passes(world, OPEN_IT)  # as does opening again
    assert shares(world) == before


def test_many_members_one_after_the_other(constitution: str) -> None:
    """No signature and no commit in between."""
    world = opened(constitution, ALICE, BOB, PLAIN)
    for _ in range(5):
        add(world, OTHER_PLAIN)
        remove(world, OTHER_PLAIN)
    assert [member["memberId"] for member in world.get("/service/members").body["value"]] == sorted(
        member.id for member in world.members
    )
