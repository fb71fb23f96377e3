"""Constitutions and ballots in the engine: what they may do, and how their failures are told (node-api.md 4.4, 5.6)."""

import pytest

from dataplane.governance.host_calls import InvalidConstitution, check_constitution, governance_limits
from dataplane.js.interpreter import Limits
from dataplane.kv.store import Store
from dataplane.kv.tables import JS_RUNTIME_OPTIONS, PROPOSALS_INFO, put_json
from tests.support.governance import NO, YES, Answer, World, action, party

ALICE, BOB, CAROL = party("alice"), party("bob"), party("carol")
VALID = "export function validate(text) { return {valid: true}; }"
OPEN = 'export function resolve(text, proposer, votes) { return "Open"; }'
ACCEPT = 'export function resolve(text, proposer, votes) { return "Accepted"; }'
NOTHING = "export function apply(text, id) {}"


def world(*parts: str) -> World:
    made = World([ALICE, BOB, CAROL], constitution="\n".join(parts))
    made.activate()
    return made


def refused(world: World, answer: Answer, before: object) -> str:
    """The message of a 500 that left no trace."""
    assert (answer.status, answer.code) == (500, "InternalError")
    assert world.snapshot() == before
    return answer.message


def test_validate_that_throws() -> None:
    w = world('export function validate(text) { throw new Error("boom"); }', OPEN, NOTHING)
    before = w.snapshot()
    message = refused(w, w.propose(ALICE, action("x")), before)
    assert message.startswith("Failed to execute validation: Error: boom\nTrace:")


def test_validate_is_given_the_text_and_its_description_comes_back() -> None:
    w = world("export function validate(text) { return {valid: false, description: text}; }", OPEN, NOTHING)
    before = w.snapshot()
    answer = w.post(ALICE, "/members/proposals:create", "proposal", b'{"any": "text \xc3\xbc"}')
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert '{"any": "text ü"}' in answer.message
    assert w.snapshot() == before


@pytest.mark.parametrize("result", ['"yes"', "undefined", "null", "1"])
def test_validate_that_returns_no_object(result: str) -> None:
    w = world(f"export function validate(text) {{ return {result}; }}", OPEN, NOTHING)
    before = w.snapshot()
    refused(w, w.propose(ALICE, action("x")), before)


def test_apply_that_throws_discards_the_whole_transaction() -> None:
    w = world(
        VALID,
        ACCEPT,
        """export function apply(text, id) {
             ccf.kv["public:ccf.gov.modules"].set(ccf.strToBuf("/x"), ccf.strToBuf("y"));
             throw new Error("too late");
           }""",
    )
    before = w.snapshot()
    message = refused(w, w.propose(ALICE, action("x")), before)
    assert message.split("\n")[0] == "Failed to apply(): Error: too late"
    assert message.split("\n")[1].startswith("Trace:")


def test_a_failing_apply_at_the_last_ballot_leaves_the_proposal_open() -> None:
    w = world(
        VALID,
        'export function resolve(text, proposer, votes) { return votes.length > 1 ? "Accepted" : "Open"; }',
        'export function apply(text, id) { throw new Error("no"); }',
    )
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    assert w.vote(ALICE, proposal_id).status == 200
    before = w.snapshot()
    refused(w, w.vote(BOB, proposal_id), before)
    assert w.get(f"/members/proposals/{proposal_id}").body["ballotCount"] == 1
    assert w.get(f"/members/proposals/{proposal_id}/ballots/{BOB.id}").code == "VoteNotFound"


def test_apply_sees_the_accepted_proposal() -> None:
    w = world(
        VALID,
        ACCEPT,
        """export function apply(text, id) {
             const info = ccf.kv["public:ccf.gov.proposals_info"].get(ccf.strToBuf(id));
             ccf.kv["public:ccf.gov.modules"].set(ccf.strToBuf("/seen"), info);
           }""",
    )
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    assert w.read("public:ccf.gov.modules", "/seen") == w.read(PROPOSALS_INFO, proposal_id)
    assert w.read(PROPOSALS_INFO, proposal_id)["state"] == "Accepted"


def test_resolve_is_given_proposer_votes_and_id() -> None:
    w = world(
        VALID,
        """export function resolve(text, proposer, votes, id) {
             throw new Error(JSON.stringify([text, proposer, votes, id]));
           }""",
        NOTHING,
    )
    answer = w.post(ALICE, "/members/proposals:create", "proposal", b"[]")
    first = answer.message.split("\n")[0]
    assert first.startswith(f'Failed to resolve(): Error: ["[]","{ALICE.id}",[],"')


@pytest.mark.parametrize("answer", ['"Maybe"', "undefined", "true"])
def test_resolve_that_answers_something_else(answer: str) -> None:
    w = world(VALID, f"export function resolve(a, b, c) {{ return {answer}; }}", NOTHING)
    before = w.snapshot()
    message = refused(w, w.propose(ALICE, action("x")), before)
    assert message.startswith("Failed to resolve()")
    assert ("Maybe" in message) == ("Maybe" in answer)


WRITES = {
    "set": 'ccf.kv["public:ccf.gov.modules"].set(ccf.strToBuf("a"), ccf.strToBuf("b"))',
    "delete": 'ccf.kv["public:ccf.gov.modules"].delete(ccf.strToBuf("a"))',
    "clear": 'ccf.kv["public:ccf.gov.modules"].clear()',
    "open": "ccf.node.transitionServiceToOpen(undefined, new ArrayBuffer(1))",
    "chunk": "ccf.node.triggerLedgerChunk()",
    "app": 'ccf.kv["records"].get(ccf.strToBuf("a"))',
    "public app": 'ccf.kv["public:records"].get(ccf.strToBuf("a"))',
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("function", ["validate", "resolve"])
def test_validate_and_resolve_cannot_change_anything(function: str, write: str) -> None:
    parts = {
        "validate": VALID,
        "resolve": OPEN,
    } | {function: f"export function {function}({'t' if function == 'validate' else 'a, b, c'}) {{ {write}; }}"}
    w = world(*parts.values(), NOTHING)
    before = w.snapshot()
    refused(w, w.propose(ALICE, action("x")), before)
    assert w.ops.requested == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_ballot_cannot_change_anything(write: str) -> None:
    w = world(VALID, OPEN, NOTHING)
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    answer = w.vote(ALICE, proposal_id, f"export function vote() {{ {write}; return true; }}")
    assert answer.status == 200
    assert w.raw("public:ccf.gov.modules", "a") is None
    assert w.ops.requested == []


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ('ccf.kv["public:records"].set(ccf.strToBuf("k"), ccf.strToBuf("v"))', True),
        ('ccf.kv["public:records"].get(ccf.strToBuf("k"))', False),
        ('ccf.kv["records"].set(ccf.strToBuf("k"), ccf.strToBuf("v"))', False),
        ('ccf.kv["records"].get(ccf.strToBuf("k"))', False),
        ('ccf.kv["public:ccf.internal.signatures"].get(new ArrayBuffer(8))', True),
        ('ccf.kv["public:ccf.internal.signatures"].delete(new ArrayBuffer(8))', False),
        ('ccf.kv["public:ccf.other"].get(new ArrayBuffer(8))', False),
    ],
)
def test_what_apply_may_touch(code: str, allowed: bool) -> None:
    w = world(VALID, ACCEPT, f"export function apply(text, id) {{ {code}; }}")
    before = w.snapshot()
    answer = w.propose(ALICE, action("x"))
    if allowed:
        assert answer.status == 200
    else:
        assert "Failed to apply(): TypeError" in refused(w, answer, before)


@pytest.mark.parametrize(
    ("ballot", "fragment"),
    [
        ("export function vote( {", "Failed to compile"),
        ("export function veto() { return true; }", "Failed to find export 'vote'"),
        ("export const vote = true;", "Failed to find export 'vote'"),
        ('import "./other.js"; export function vote() { return true; }', "Failed to find module"),
        ("", "Failed to find export 'vote'"),
    ],
)
def test_a_ballot_that_does_not_load(ballot: str, fragment: str) -> None:
    w = world(VALID, OPEN, NOTHING)
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    before = w.snapshot()
    assert fragment in refused(w, w.vote(ALICE, proposal_id, ballot), before)
    assert w.vote(ALICE, proposal_id, YES).status == 200


@pytest.mark.parametrize(
    ("ballot", "reason"),
    [
        ('export function vote() { throw new Error("shy"); }', "Error: shy"),
        ('throw new Error("top"); export function vote() {}', "Error: top"),
        ("export function vote() { return vote() + vote(); }", "InternalError: stack overflow"),
        ("export function vote(a, b) { return nosuch; }", "ReferenceError: nosuch is not defined"),
    ],
)
def test_a_ballot_that_throws_is_recorded(ballot: str, reason: str) -> None:
    w = world(
        VALID,
        'export function resolve(a, b, votes) { return votes.length ? "Accepted" : "Open"; }',
        NOTHING,
    )
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    first = w.vote(ALICE, proposal_id, ballot)
    assert (first.status, first.body["proposalState"], first.body["ballotCount"]) == (200, "Open", 1)
    assert "voteFailures" not in first.body
    final = w.vote(BOB, proposal_id, YES).body
    assert final["finalVotes"] == {BOB.id: True}
    assert final["voteFailures"][ALICE.id]["reason"] == reason


@pytest.mark.parametrize(
    ("result", "expected"), [("true", True), ("1", False), ('"true"', False), ("undefined", False), ("false", False)]
)
def test_only_true_is_a_yes(result: str, expected: bool) -> None:
    w = world(VALID, 'export function resolve(a, b, v) { return v.length ? "Rejected" : "Open"; }', NOTHING)
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    answer = w.vote(ALICE, proposal_id, f"export function vote() {{ return {result}; }}")
    assert answer.body["finalVotes"] == {ALICE.id: expected}


def test_ballots_know_proposal_and_proposer() -> None:
    w = world(VALID, 'export function resolve(a, b, v) { return v.length ? "Rejected" : "Open"; }', NOTHING)
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    ballot = (
        "export function vote(text, proposer) {"
        f' return JSON.parse(text).actions[0].name === "x" && proposer === "{ALICE.id}"; }}'
    )
    assert w.vote(BOB, proposal_id, ballot).body["finalVotes"] == {BOB.id: True}


def test_scripts_share_nothing() -> None:
    w = world(VALID, 'export function resolve(a, b, v) { return v.length > 1 ? "Rejected" : "Open"; }', NOTHING)
    proposal_id = w.propose(ALICE, action("x")).body["proposalId"]
    mark = "export function vote() { const seen = globalThis.seen; globalThis.seen = true; return seen === true; }"
    w.vote(ALICE, proposal_id, mark)
    assert w.vote(BOB, proposal_id, mark + " ").body["finalVotes"] == {ALICE.id: False, BOB.id: False}


def test_console_reaches_the_node() -> None:
    w = world('export function validate(text) { console.warn("looking"); return {valid: true}; }', OPEN, NOTHING)
    w.propose(ALICE, action("x"))
    assert ("warn", "looking") in w.ops.console


def test_limits_are_never_below_the_defaults() -> None:
    tx = Store().begin()
    assert governance_limits(tx) == Limits()
    put_json(
        tx, JS_RUNTIME_OPTIONS, {"max_heap_bytes": 1, "max_stack_bytes": 2, "max_execution_time_ms": 9000, "other": 1}
    )
    assert governance_limits(tx) == Limits(max_execution_time_ms=9000)


GOOD = (VALID, OPEN, NOTHING)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "constitution is empty"),
        (None, "must be of type string"),
        (17, "must be of type string"),
        ("export function (", "Failed to compile"),
        ("\n".join(GOOD[:2]), "Failed to find export 'apply'"),
        ("\n".join(GOOD[1:]), "Failed to find export 'validate'"),
        ("\n".join((VALID, "export function resolve(a) {}", NOTHING)),
         "exports function resolve with 1 arg, expected between 3 and 4 args"),
        ("\n".join(("export function validate(a, b, c) {}", OPEN, NOTHING)),
         "exports function validate with 3 args, expected 1 arg"),
        ("\n".join((VALID, OPEN, "export function apply() {}")),
         "exports function apply with 0 args, expected 2 args"),
        ('throw new Error("at once");' + "\n".join(GOOD), "at once"),
    ],
)  # fmt: skip
def test_what_is_no_constitution(text: object, fragment: str) -> None:
    with pytest.raises(InvalidConstitution, match=fragment):
        check_constitution(text, Limits())


def test_what_is_a_constitution() -> None:
    check_constitution("\n".join(GOOD), Limits())
    check_constitution("\n".join((VALID, "export function resolve(a, b, c, d) {}", NOTHING)), Limits())


def test_no_against_the_managed_majority() -> None:
    w = World([ALICE, BOB, CAROL])
    w.activate()
    proposal_id = w.propose(ALICE, action("remove_user", user_id="a" * 64)).body["proposalId"]
    assert w.vote(ALICE, proposal_id, NO).body["proposalState"] == "Open"
    assert w.vote(BOB, proposal_id, NO).body["proposalState"] == "Rejected"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("ballot", "reason"),
    [
        (
            "export function vote() { try { while (true) {} } finally { return true; } }",
            "Operation took too long to complete.",
        ),
        ("export function vote() { const a = []; while (true) a.push('x'.repeat(1e6) + a.length); }", "out of memory"),
    ],
)
def test_a_ballot_without_end_fails_and_the_others_decide(ballot: str, reason: str) -> None:
    w = World([ALICE, BOB, CAROL])
    w.activate()
    proposal_id = w.propose(ALICE, action("remove_user", user_id="a" * 64)).body["proposalId"]
    assert w.vote(ALICE, proposal_id, YES).status == 200
    answer = w.vote(CAROL, proposal_id, ballot)
    assert answer.status == 200
    final = w.vote(BOB, proposal_id, YES).body
    assert final["proposalState"] == "Accepted"
    assert reason in final["voteFailures"][CAROL.id]["reason"]


@pytest.mark.ci
def test_a_constitution_without_end_is_a_500_that_leaves_no_trace() -> None:
    w = world("export function validate(text) { while (true) {} }", OPEN, NOTHING)
    before = w.snapshot()
    message = refused(w, w.propose(ALICE, action("x")), before)
    assert message.startswith("Failed to execute validation: Operation took too long to complete.")
