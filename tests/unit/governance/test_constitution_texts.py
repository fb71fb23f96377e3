"""The constitutions offered here: complete texts, in whatever order a configuration lists them, and who decides."""

from importlib.resources import files
from itertools import permutations

import pytest

from dataplane.governance.constitution_texts import PARTS, constitution_text, part_text
from dataplane.governance.host_calls import check_constitution
from dataplane.js.interpreter import Limits
from dataplane.kv.tables import MEMBERS_INFO, UNIT_KEY
from tests.support.governance import NO, World, action, party

ALICE, BOB, CAROL, DAVE = party("alice"), party("bob"), party("carol"), party("dave")
OPERATOR = party("operator", encryption=False, operator=True)
OTHER_OPERATOR = party("operator2", encryption=False, operator=True)
PLAIN = party("plain", encryption=False)
ADD_ACTION = """
actions.set(
  "shout",
  new Action(
    function (args) {
      checkType(args.text, "string", "text");
      checkBounds(args.text.length, 1, 5, "text length");
    },
    function (args, proposalId) {
      ccf.kv["public:ccf.gov.shouts"].set(getSingletonKvKey(), ccf.jsonCompatibleToBuf([args.text, proposalId]));
      invalidateOtherOpenProposals(proposalId);
    },
  ),
);
"""


def world(name: str, *members: object, more: str = "") -> World:
    made = World(members or (ALICE, BOB, CAROL), constitution=constitution_text(name) + more)  # type: ignore[arg-type]
    made.activate()
    return made


def state(answer: object) -> str:
    body = answer.body  # type: ignore[attr-defined]
    assert "proposalState" in body, body
    return str(body["proposalState"])


HARMLESS = action("remove_user", user_id="a" * 64)


@pytest.mark.parametrize("name", PARTS)
def test_each_is_a_constitution(name: str) -> None:
    check_constitution(constitution_text(name), Limits())


def test_every_file_is_part_of_one() -> None:
    folder = files("dataplane.governance") / "constitutions"
    found = {f"{each.name}/{file.name}" for each in folder.iterdir() for file in each.iterdir()}
    assert found == {part for parts in PARTS.values() for part in parts}


def test_the_order_of_the_files_does_not_matter() -> None:
    for order in permutations(f"default/{file}.js" for file in ("actions", "validate", "resolve", "apply")):
        made = World([ALICE], constitution="\n".join(map(part_text, order)))
        made.activate()
        made.open()


@pytest.mark.parametrize("name", PARTS)
def test_files_that_come_later_add_actions(name: str) -> None:
    made = world(name, more=ADD_ACTION)
    for refused in (action("shout"), action("shout", text=""), action("shout", text=5)):
        answer = made.propose(ALICE, refused)
        assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert state(made.accept(action("shout", text="hey"))) == "Accepted"
    assert made.read("public:ccf.gov.shouts", UNIT_KEY)[0] == "hey"


@pytest.mark.parametrize("name", sorted(set(PARTS) - {"managed"}))
def test_texts_that_are_no_json_and_arguments_nobody_reads(name: str) -> None:
    made = world(name)
    answer = made.post(ALICE, "/members/proposals:create", "proposal", b"{ no json")
    assert (answer.status, answer.code) == (500, "InternalError")
    assert answer.message.startswith("Failed to execute validation: SyntaxError:")
    assert made.propose(ALICE, action("remove_user", user_id="a" * 64, comment="because")).status == 200
    for unknown in (action("nope"), action("remove_user"), action("trigger_ledger_rekey", now=True)):
        answer = made.propose(ALICE, unknown)
        assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    message = made.propose(ALICE, action("nope"), action("remove_user")).message
    assert "nope: no such action" in message
    assert "remove_user at position 1 failed validation: Error: user_id must be of type string" in message


# Who decides


@pytest.mark.parametrize("name", ["default", "roles"])
def test_a_strict_majority_of_active_members(name: str) -> None:
    made = world(name, ALICE, BOB, CAROL, DAVE)
    pid = made.propose(ALICE, HARMLESS).body["proposalId"]
    assert state(made.vote(ALICE, pid)) == "Open"  # proposing is no vote
    assert state(made.vote(BOB, pid, NO)) == "Open"
    assert state(made.vote(CAROL, pid)) == "Open"  # two of four
    assert state(made.vote(DAVE, pid)) == "Accepted"


def test_nothing_is_rejected_by_default() -> None:
    made = world("default")
    pid = made.propose(ALICE, HARMLESS).body["proposalId"]
    assert [state(made.vote(member, pid, NO)) for member in (ALICE, BOB, CAROL)] == ["Open"] * 3


def test_members_that_are_not_active_count_for_nothing() -> None:
    made = World([ALICE, BOB, CAROL], constitution=constitution_text("default"))
    made.activate(ALICE)
    assert state(made.accept(HARMLESS)) == "Accepted"  # one of one
    made.activate(BOB, CAROL)
    pid = made.propose(ALICE, HARMLESS).body["proposalId"]
    made.vote(CAROL, pid)
    assert state(made.accept(action("set_recovery_threshold", recovery_threshold=2))) == "Accepted"
    removed = made.propose(ALICE, action("remove_member", member_id=CAROL.id)).body["proposalId"]
    made.vote(ALICE, removed)
    assert state(made.vote(BOB, removed)) == "Accepted"
    assert state(made.vote(ALICE, pid)) == "Open"  # with the ballot of one who left it would be two of two
    assert state(made.vote(BOB, pid)) == "Accepted"


def test_veto() -> None:
    made = world("veto")
    pid = made.propose(ALICE, HARMLESS).body["proposalId"]
    assert state(made.vote(ALICE, pid)) == "Open"
    assert state(made.vote(BOB, pid)) == "Accepted"
    pid = made.propose(ALICE, HARMLESS).body["proposalId"]
    made.vote(ALICE, pid)
    rejected = made.vote(BOB, pid, NO)
    assert state(rejected) == "Rejected"
    assert rejected.body["finalVotes"] == {ALICE.id: True, BOB.id: False}


def test_sandbox() -> None:
    made = world("sandbox")
    accepted = made.propose(CAROL, action("set_recovery_threshold", recovery_threshold=1))
    assert (state(accepted), accepted.body["finalVotes"], accepted.body["voteFailures"]) == ("Accepted", {}, {})


@pytest.mark.parametrize(
    ("name", "duty"), [("operator", "is_operator"), ("operator_provisioner", "is_operator_provisioner")]
)
def test_those_who_add_operators_alone(name: str, duty: str) -> None:
    proposer = party(f"{name}0", encryption=False, data={duty: True})
    made = world(name, ALICE, BOB, proposer)
    add = action("set_member", cert=OTHER_OPERATOR.cert_pem, member_data={"is_operator": True})
    assert state(made.propose(ALICE, add)) == "Open"
    assert state(made.propose(proposer, add)) == "Accepted"
    assert made.read(MEMBERS_INFO, OTHER_OPERATOR.id)["member_data"] == {"is_operator": True}
    assert state(made.propose(proposer, action("remove_member", member_id=OTHER_OPERATOR.id))) == "Accepted"
    assert made.raw(MEMBERS_INFO, OTHER_OPERATOR.id) is None


FOR_MEMBERS = [
    action("set_member", cert=PLAIN.cert_pem),
    action("set_member", cert=PLAIN.cert_pem, member_data={"is_operator": False}),
    action("set_member", cert=DAVE.cert_pem, member_data={"is_operator": True}, encryption_pub_key=DAVE.encryption_pem),
    action("set_member", cert=ALICE.cert_pem, member_data={"is_operator": True}),
    action("remove_member", member_id=ALICE.id),
    action("remove_member", member_id="b" * 64),
    action("set_member_data", member_id=ALICE.id, member_data={"is_operator": True}),
    HARMLESS,
]


@pytest.mark.parametrize("one", FOR_MEMBERS, ids=range(len(FOR_MEMBERS)))
def test_what_they_may_not_do_alone(one: dict[str, object]) -> None:
    operator = world("operator", ALICE, BOB, OPERATOR)
    pid = operator.propose(OPERATOR, one).body["proposalId"]
    assert state(operator.vote(OPERATOR, pid)) == "Open"
    provisioner = party("provisioner", encryption=False, data={"is_operator_provisioner": True})
    assert state(world("operator_provisioner", ALICE, BOB, provisioner).propose(provisioner, one)) == "Rejected"


@pytest.mark.parametrize("name", ["operator", "operator_provisioner"])
def test_operators_are_not_counted(name: str) -> None:
    made = world(name, ALICE, BOB, CAROL, OPERATOR, OTHER_OPERATOR)
    pid = made.propose(OPERATOR, HARMLESS).body["proposalId"]
    for outsider in (OPERATOR, OTHER_OPERATOR, ALICE):
        assert state(made.vote(outsider, pid)) == "Open"
    assert state(made.vote(BOB, pid)) == "Accepted"


def test_an_operator_with_an_encryption_key_is_a_member_like_others() -> None:
    keyed = party("keyed", operator=True)
    made = world("operator", ALICE, keyed)
    add = action("set_member", cert=OTHER_OPERATOR.cert_pem, member_data={"is_operator": True})
    pid = made.propose(keyed, add).body["proposalId"]
    assert state(made.vote(keyed, pid)) == "Open"
    assert state(made.vote(ALICE, pid)) == "Accepted"


def test_roles() -> None:
    made = world("roles")
    table = "public:programmability.roles.auditor"
    assert (
        state(made.accept(action("set_role_definition", role="auditor", actions=["/read", "/list", "/read"])))
        == "Accepted"
    )
    assert made.store.begin().items(table) == [(b'"/list"', bytes(8)), (b'"/read"', bytes(8))]
    assert state(made.accept(action("set_role_definition", role="auditor", actions=["/x"]))) == "Accepted"
    assert made.store.begin().items(table) == [(b'"/x"', bytes(8))]
    for wrong in (
        {"role": 1, "actions": []},
        {"role": "", "actions": []},
        {"role": "a", "actions": [1]},
        {"role": "a"},
    ):
        answer = made.propose(ALICE, {"name": "set_role_definition", "args": wrong})
        assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
