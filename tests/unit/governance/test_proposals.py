"""The life of a proposal, with scripts that are Python functions (node-api.md 4.3, 4.4)."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

import pytest

from dataplane.errors import AuthorizationFailed, CcfError, InternalError, InvalidInput, ProposalNotFound
from dataplane.governance.proposals import (
    TRANSITIONS,
    BallotDoesNotLoad,
    Failure,
    IllegalTransition,
    Proposal,
    ProposalState,
    Script,
    ScriptFailed,
    Signed,
    Vote,
    all_proposals,
    body_of,
    create,
    find,
    proposal_id,
    submit_ballot,
    withdraw,
)
from dataplane.kv.store import Store
from dataplane.kv.tables import COSE_HISTORY, PROPOSALS, PROPOSALS_INFO, get_json
from dataplane.kv.tx import Tx

ROOT = sha256(b"root").digest()
ALICE, BOB, CAROL = "a" * 64, "b" * 64, "c" * 64


class Rules:
    """A constitution whose answers a test sets; remembers what it was called with."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.verdict: object = {"valid": True}
        self.outcome: object = "Open"
        self.resolved: list[tuple[object, ...]] = []
        self.applied: list[tuple[str, str, object]] = []
        self.failing: dict[str, ScriptFailed] = {}

    def script(self) -> Script:
        return Script(self.validate, self.vote, self.resolve, self.apply)

    def validate(self, text: str) -> object:
        self._fail("validate")
        return self.verdict

    def vote(self, ballot: str, text: str, proposer_id: str) -> bool:
        if ballot == "throws":
            raise ScriptFailed(Failure("Error: no opinion", "at vote"))
        if ballot == "broken":
            raise BallotDoesNotLoad(Failure("Failed to compile module 'ballot'"))
        return ballot == "yes"

    def resolve(self, text: str, proposer_id: str, votes: Sequence[Vote], proposal_id: str) -> object:
        self._fail("resolve")
        self.resolved.append((text, proposer_id, list(votes), proposal_id))
        return self.outcome

    def apply(self, text: str, proposal_id: str) -> None:
        self.applied.append((text, proposal_id, get_json(self.tx, PROPOSALS_INFO, proposal_id.encode())))
        self._fail("apply")

    def _fail(self, function: str) -> None:
        if function in self.failing:
            raise self.failing[function]


@pytest.fixture
def tx() -> Tx:
    return Store().begin()


@pytest.fixture
def rules(tx: Tx) -> Rules:
    return Rules(tx)


def signed(member: str = ALICE, payload: bytes = b'{"actions":[]}', created_at_s: int = 100, mark: int = 0) -> Signed:
    return Signed(member, b"envelope of " + member.encode(), b"signature %d" % mark, payload, created_at_s)


def propose(tx: Tx, rules: Rules, mark: int = 0, member: str = ALICE) -> Proposal:
    return create(tx, rules.script(), signed(member, created_at_s=100 + mark, mark=mark), ROOT)


def vote(tx: Tx, rules: Rules, proposal: Proposal, member: str, ballot: str) -> Proposal:
    return submit_ballot(tx, rules.script(), proposal.id, signed(member), ballot)


def stored(tx: Tx, proposal: Proposal) -> Mapping[str, object]:
    info: Mapping[str, object] = get_json(tx, PROPOSALS_INFO, proposal.id.encode())
    return info


def test_creation_stores_body_info_and_envelope(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    expected = sha256(ROOT + sha256(b"signature 0").digest()).hexdigest()
    assert proposal.id == expected == proposal_id(ROOT, sha256(b"signature 0").digest())
    assert tx.get(PROPOSALS, expected.encode()) == b'{"actions":[]}'
    assert tx.get(PROPOSALS_INFO, expected.encode()) == (
        b'{"ballots":{},"proposer_id":"' + ALICE.encode() + b'","state":"Open"}'
    )
    assert get_json(tx, COSE_HISTORY, ALICE.encode()) == b64encode(b"envelope of " + ALICE.encode()).decode()
    assert rules.resolved == [('{"actions":[]}', ALICE, [], expected)]
    assert find(tx, expected) == proposal


def test_a_permissive_constitution_accepts_in_the_same_transaction(tx: Tx, rules: Rules) -> None:
    rules.outcome = "Accepted"
    proposal = propose(tx, rules)
    assert proposal.state is ProposalState.ACCEPTED
    ((text, applied_id, info_seen),) = rules.applied
    assert (text, applied_id) == ('{"actions":[]}', proposal.id)
    assert info_seen == stored(tx, proposal)
    assert stored(tx, proposal)["final_votes"] == {} == stored(tx, proposal)["vote_failures"]


def test_votes_reach_resolve_in_the_order_of_member_ids(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    vote(tx, rules, proposal, CAROL, "no")
    vote(tx, rules, proposal, BOB, "yes")
    assert rules.resolved[-1][2] == [Vote(BOB, True), Vote(CAROL, False)]
    assert "final_votes" not in stored(tx, proposal)  # tentative results are never shown


def test_accepted_by_ballots(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    vote(tx, rules, proposal, BOB, "no")
    rules.outcome = "Accepted"
    decided = vote(tx, rules, proposal, CAROL, "yes")
    assert decided.state is ProposalState.ACCEPTED
    assert stored(tx, proposal) == {
        "ballots": {BOB: "no", CAROL: "yes"},
        "final_votes": {BOB: False, CAROL: True},
        "vote_failures": {},
        "proposer_id": ALICE,
        "state": "Accepted",
    }
    assert get_json(tx, COSE_HISTORY, CAROL.encode()) == b64encode(b"envelope of " + CAROL.encode()).decode()
    assert len(rules.applied) == 1


def test_rejected_is_not_applied(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    rules.outcome = "Rejected"
    decided = vote(tx, rules, proposal, BOB, "no")
    assert decided.state is ProposalState.REJECTED
    assert stored(tx, proposal)["final_votes"] == {BOB: False}
    assert rules.applied == []


def test_a_ballot_that_throws_is_a_recorded_failure_and_no_vote(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    vote(tx, rules, proposal, BOB, "throws")
    assert rules.resolved[-1][2] == []
    rules.outcome = "Accepted"
    decided = vote(tx, rules, proposal, CAROL, "yes")
    assert decided.vote_failures == {BOB: {"reason": "Error: no opinion", "trace": "at vote"}}
    assert decided.final_votes == {CAROL: True}
    assert set(decided.ballots) == {BOB, CAROL}


def test_a_ballot_that_does_not_load_refuses_its_sender(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    with pytest.raises(InternalError, match="Failed to compile"):
        vote(tx, rules, proposal, BOB, "broken")


def test_a_stored_ballot_that_no_longer_loads_does_not_block_the_others(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    vote(tx, rules, proposal, BOB, "yes")
    script = rules.script()

    def rotten(ballot: str, text: str, proposer_id: str) -> bool:
        if ballot == "yes":
            raise BallotDoesNotLoad(Failure("Failed to find export 'vote'"))
        return True

    rules.outcome = "Rejected"
    decided = submit_ballot(
        tx, Script(script.validate, rotten, script.resolve, script.apply), proposal.id, signed(CAROL), "sure"
    )
    assert decided.vote_failures == {BOB: {"reason": "Failed to find export 'vote'"}}
    assert decided.final_votes == {CAROL: True}


def test_the_same_ballot_again_changes_nothing(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    first = vote(tx, rules, proposal, BOB, "yes")
    calls = len(rules.resolved)
    assert vote(tx, rules, proposal, BOB, "yes") == first
    assert len(rules.resolved) == calls


def test_another_ballot_of_the_same_member_is_refused(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    vote(tx, rules, proposal, BOB, "yes")
    with pytest.raises(CcfError) as caught:
        vote(tx, rules, proposal, BOB, "no")
    assert (caught.value.status, caught.value.code) == (400, "VoteAlreadyExists")
    assert stored(tx, proposal)["ballots"] == {BOB: "yes"}


@pytest.mark.parametrize("outcome", ["Accepted", "Rejected"])
def test_a_decided_proposal_takes_no_ballot_and_no_withdrawal(tx: Tx, rules: Rules, outcome: str) -> None:
    rules.outcome = outcome
    proposal = propose(tx, rules)
    attempts: list[Callable[[], object]] = [
        lambda: vote(tx, rules, proposal, BOB, "yes"),
        lambda: withdraw(tx, proposal.id, signed(ALICE)),
    ]
    for attempt in attempts:
        with pytest.raises(CcfError) as caught:
            attempt()
        assert (caught.value.status, caught.value.code) == (400, "ProposalNotOpen")
        assert outcome in caught.value.message


def test_ballot_for_an_unknown_proposal(tx: Tx, rules: Rules) -> None:
    with pytest.raises(ProposalNotFound):
        submit_ballot(tx, rules.script(), "f" * 64, signed(BOB), "yes")


def test_withdrawal_by_the_proposer(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    vote(tx, rules, proposal, BOB, "yes")
    withdrawn = withdraw(tx, proposal.id, signed(ALICE))
    assert withdrawn is not None
    assert withdrawn.state is ProposalState.WITHDRAWN
    assert stored(tx, proposal)["state"] == "Withdrawn"
    assert stored(tx, proposal)["ballots"] == {BOB: "yes"}
    assert withdraw(tx, proposal.id, signed(ALICE)) == withdrawn


def test_withdrawal_of_nothing(tx: Tx) -> None:
    assert withdraw(tx, "f" * 64, signed(ALICE)) is None


def test_withdrawal_by_somebody_else(tx: Tx, rules: Rules) -> None:
    proposal = propose(tx, rules)
    with pytest.raises(AuthorizationFailed):
        withdraw(tx, proposal.id, signed(BOB))
    assert stored(tx, proposal)["state"] == "Open"


def test_leaving_open_forgets_other_closed_proposals(tx: Tx, rules: Rules) -> None:
    still_open = propose(tx, rules, 1)
    rules.outcome = "Accepted"
    closed = propose(tx, rules, 2)
    assert {p.id for p in all_proposals(tx)} == {still_open.id, closed.id}
    rules.outcome = "Rejected"
    latest = propose(tx, rules, 3)
    assert {p.id for p in all_proposals(tx)} == {still_open.id, latest.id}
    with pytest.raises(ProposalNotFound):
        body_of(tx, closed.id)
    withdraw(tx, still_open.id, signed(ALICE))
    assert {p.id for p in all_proposals(tx)} == {still_open.id}


@pytest.mark.parametrize(
    ("verdict", "status", "code"),
    [
        ({"valid": False, "description": "set_user: bad cert"}, 400, "ProposalFailedToValidate"),
        ({"valid": 1, "description": "not a boolean"}, 400, "ProposalFailedToValidate"),
        ({}, 400, "ProposalFailedToValidate"),
        ("yes", 500, "InternalError"),
        (None, 500, "InternalError"),
    ],
)
def test_validation_verdicts(tx: Tx, rules: Rules, verdict: object, status: int, code: str) -> None:
    rules.verdict = verdict
    with pytest.raises(CcfError) as caught:
        propose(tx, rules)
    assert (caught.value.status, caught.value.code) == (status, code)
    if isinstance(verdict, dict) and "description" in verdict:
        assert verdict["description"] in caught.value.message
    assert tx.writes == {}


@pytest.mark.parametrize(
    ("function", "first_line"),
    [
        ("validate", "Failed to execute validation: Error: boom"),
        ("resolve", "Failed to resolve(): Error: boom"),
        ("apply", "Failed to apply(): Error: boom"),
    ],
)
@pytest.mark.parametrize("trace", ["at x", None])
def test_a_failing_script_names_its_function(
    tx: Tx, rules: Rules, function: str, first_line: str, trace: str | None
) -> None:
    rules.outcome = "Accepted"
    rules.failing[function] = ScriptFailed(Failure("Error: boom", trace))
    with pytest.raises(InternalError) as caught:
        propose(tx, rules)
    lines = caught.value.message.split("\n")
    assert lines[0] == first_line
    assert lines[1:] == ([] if trace is None else ["Trace: at x"])


@pytest.mark.parametrize("answer", ["accepted", "Failed", None, 1, {"state": "Open"}])
def test_resolve_that_answers_something_else(tx: Tx, rules: Rules, answer: object) -> None:
    rules.outcome = answer
    with pytest.raises(InternalError, match=r"Failed to resolve\(\)"):
        propose(tx, rules)


def test_a_proposal_that_is_no_text(tx: Tx, rules: Rules) -> None:
    with pytest.raises(InvalidInput):
        create(tx, rules.script(), signed(payload=b"\xff\xfe"), ROOT)
    assert tx.writes == {}


def test_states_follow_the_table() -> None:
    for state, following in TRANSITIONS.items():
        proposal = Proposal("p", ALICE, state)
        for target in ProposalState:
            if target in following:
                assert proposal.moved_to(target).state is target
            else:
                with pytest.raises(IllegalTransition):
                    proposal.moved_to(target)
    assert set(TRANSITIONS) == set(ProposalState)
    assert ProposalState.OPEN not in TRANSITIONS[ProposalState.OPEN]
