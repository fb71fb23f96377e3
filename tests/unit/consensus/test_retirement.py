"""Retirement, phase by phase (node-api.md 6.5)."""

from dataplane.consensus.configuration import RetirementPhase
from dataplane.consensus.log import Entry
from dataplane.consensus.messages import (
    AppendEntries,
    AppendEntriesAck,
    ProposeRequestVote,
    RequestVote,
    RequestVoteResponse,
)
from dataplane.consensus.output import Leadership, Membership, RetirementChanged, RoleChanged
from dataplane.txid import TxID
from tests.support.raft_nodes import Subject, append, follower, leader, plain, reconfigured, signed

ORDERED, SIGNED, COMPLETED, RETIRED_COMMITTED = RetirementPhase


def acknowledged(subject: Subject, seqno: int, *others: str) -> None:
    for other in others:
        subject.receive(other, AppendEntriesAck(2, seqno, seqno))


def removing(node_id: str) -> Subject:
    """Node a leads b and c and has just proposed to remove one of the three."""
    subject = leader("b", "c")
    acknowledged(subject, 2, "b", "c")
    subject.propose(reconfigured(2, 3, *(other for other in "abc" if other != node_id)))
    return subject


def test_phases_of_a_backup() -> None:
    subject = leader("b", "c")
    acknowledged(subject, 2, "b", "c")
    output = subject.propose(reconfigured(2, 3, "a", "b"))
    assert output.became == (RetirementChanged("c", ORDERED),)
    assert subject.propose(signed(2, 4)).became == (RetirementChanged("c", SIGNED),)
    subject.sync()
    output = subject.receive("b", AppendEntriesAck(2, 4, 4))
    assert output.became == (RetirementChanged("c", COMPLETED),)
    assert subject.raft.unmarked_retirements() == ("c",)
    subject.propose(Entry(2, 5, b"", retired_committed=("c",)))
    assert subject.raft.unmarked_retirements() == ()
    subject.propose(signed(2, 6))
    subject.sync()
    output = subject.receive("b", AppendEntriesAck(2, 6, 6))
    assert output.became == (RetirementChanged("c", RETIRED_COMMITTED),)
    assert subject.raft.retirements() == {}


def test_the_retired_node_gets_all_up_to_the_notice_and_nothing_after() -> None:
    subject = removing("c")
    subject.propose(signed(2, 4))
    subject.sync()
    acknowledged(subject, 4, "b")
    assert subject.propose(Entry(2, 5, b"", retired_committed=("c",))).send[1][0] == "c"
    subject.propose(signed(2, 6))
    subject.sync()
    output = subject.receive("b", AppendEntriesAck(2, 6, 6))
    assert ("c", AppendEntries(2, TxID(2, 6), 6)) in output.send
    assert [receiver for receiver, _ in subject.propose(plain(2, 7)).send] == ["b"]
    assert subject.raft.addresses() == {"a": "a:1", "b": "b:1"}


def test_a_removal_that_is_rolled_back_is_no_retirement() -> None:
    subject = removing("c")
    subject.take()
    output = subject.receive("b", append(4, TxID(2, 2), 2))
    assert output.truncate_after == 2
    assert RetirementChanged("c", None) in output.became


def test_a_leader_hands_over_when_its_own_removal_commits() -> None:
    """A retiring primary steps down after completion and nominates a successor."""
    subject = removing("a")
    subject.propose(signed(2, 4))
    assert subject.role() is Leadership.LEADER
    assert subject.raft.membership is Membership.RETIRED
    subject.sync()
    assert subject.receive("c", AppendEntriesAck(2, 4, 4)).became == ()
    output = subject.receive("b", AppendEntriesAck(2, 4, 4))
    assert output.became == (RoleChanged(Leadership.FOLLOWER, 2, None), RetirementChanged("a", COMPLETED))
    assert output.commit == 4
    *notices, nomination = output.send
    assert [(receiver, message.commit_seqno) for receiver, message in notices] == [("b", 4), ("c", 4)]  # type: ignore[union-attr]
    assert nomination == ("b", ProposeRequestVote(2))


def test_the_successor_is_the_most_advanced_voter() -> None:
    subject = leader("b", "c", "d")
    acknowledged(subject, 2, "b", "c", "d")
    subject.propose(reconfigured(2, 3, "b", "c", "d"))
    subject.propose(signed(2, 4))
    subject.sync()
    acknowledged(subject, 3, "b")
    acknowledged(subject, 4, "d")
    output = subject.receive("c", AppendEntriesAck(2, 4, 4))
    assert output.send[-1] == ("c", ProposeRequestVote(2))


def test_a_retired_node_does_not_campaign() -> None:
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 4, reconfigured(2, 3, "b", "c"), signed(2, 4)))
    subject.sync()
    assert subject.raft.retirement_phase is COMPLETED
    assert subject.tick(100_000).send == ()


def test_a_node_whose_removal_may_not_commit_does() -> None:
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, reconfigured(2, 3, "b", "c"), signed(2, 4)))
    subject.tick(1000)
    assert subject.role() is Leadership.CANDIDATE


def test_a_completed_node_votes_by_its_commit() -> None:
    """What it alone holds beyond the commit of its removal can matter to nobody, but its vote can."""
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 4, reconfigured(2, 3, "b", "c"), signed(2, 4), signed(2, 5)))
    subject.sync()
    assert subject.answer("c", RequestVote(3, TxID(2, 2))) == RequestVoteResponse(3, False)
    assert subject.answer("c", RequestVote(3, TxID(2, 4))) == RequestVoteResponse(3, True)


def test_a_node_that_has_left_is_silent() -> None:
    subject = follower("c")
    leaving = (reconfigured(2, 3, "b", "c"), signed(2, 4), Entry(2, 5, b"", retired_committed=("a",)), signed(2, 6))
    subject.receive("b", append(2, TxID(2, 2), 6, *leaving))
    assert RetirementChanged("a", RETIRED_COMMITTED) in subject.sync().became
    assert subject.raft.retirement_phase is RETIRED_COMMITTED
    assert subject.receive("c", RequestVote(9, TxID(9, 9))).send == ()
    assert subject.raft.view == 2


def test_a_successor_finishes_what_its_predecessor_left() -> None:
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 4, reconfigured(2, 3, "a", "b"), signed(2, 4)))
    subject.sync()
    subject.tick(1000)
    subject.receive("b", RequestVoteResponse(3, True))
    assert subject.role() is Leadership.LEADER
    assert subject.raft.unmarked_retirements() == ("c",)


def test_a_leader_that_resigns_names_the_most_advanced_voter_that_is_heard() -> None:
    subject = leader("b", "c")
    subject.receive("b", AppendEntriesAck(2, 2, 2))
    subject.raft.resign()
    assert subject.raft.take_output().send == (("b", ProposeRequestVote(2)),)
    assert (subject.role(), subject.raft.leader_id) == (Leadership.FOLLOWER, None)
    subject.raft.resign()
    assert subject.raft.take_output().send == (), "who does not lead names nobody"


def test_a_voter_that_has_gone_quiet_is_not_named() -> None:
    subject = leader("b", "c")
    subject.receive("b", AppendEntriesAck(2, 2, 2))
    subject.tick(600)
    subject.receive("c", AppendEntriesAck(2, 1, 1))
    subject.raft.resign()
    assert subject.raft.take_output().send[-1] == ("c", ProposeRequestVote(2))
