"""Nodes whose core cannot run for a while: their beats count as contact, their absence not as others' silence."""

from dataplane.consensus.messages import AppendEntriesAck, Beat, RequestVote
from dataplane.consensus.output import Leadership
from dataplane.txid import TxID
from tests.support.raft_nodes import Subject, append, follower, leader


def test_who_beats_for_whom() -> None:
    assert leader("b", "c").raft.beats() == (("b", Beat(2)), ("c", Beat(2)))
    assert follower("c").raft.beats() == (("b", Beat(2)),)


def test_a_joiner_and_a_candidate_have_no_place_to_keep() -> None:
    assert Subject().raft.beats() == ()
    candidate = follower("c")
    candidate.tick(1000)
    assert candidate.role() is Leadership.CANDIDATE
    assert candidate.raft.beats() == ()


def test_a_beat_of_the_leader_restarts_the_timer_and_is_not_answered() -> None:
    subject = follower("c")
    subject.tick(900)
    assert subject.receive("b", Beat(2)).send == ()
    assert subject.tick(900).became == ()
    assert subject.tick(100).send[0] == ("b", RequestVote(3, TxID(2, 2)))


def test_a_beat_of_another_view_or_of_another_node_counts_for_nothing() -> None:
    subject = follower("c")
    subject.tick(900)
    for sender, view in (("b", 1), ("b", 3), ("c", 2), ("z", 2)):
        subject.receive(sender, Beat(view))
    assert (subject.raft.view, subject.raft.leader_id) == (2, "b")
    assert subject.tick(100).send[0] == ("b", RequestVote(3, TxID(2, 2)))


def test_a_leader_stays_while_it_hears_beats_of_a_majority() -> None:
    subject = leader("b", "c")
    for _ in range(10):
        subject.tick(400)
        subject.receive("b", Beat(2))
    assert subject.role() is Leadership.LEADER
    for _ in range(3):
        subject.tick(400)
        subject.receive("b", Beat(1))
    assert subject.role() is Leadership.FOLLOWER


def test_a_beat_commits_nothing() -> None:
    subject = leader("b", "c")
    subject.receive("b", Beat(2))
    assert subject.raft.commit_seqno == 0
    subject.receive("b", AppendEntriesAck(2, 2, 2))
    assert subject.raft.commit_seqno == 2


def test_a_follower_that_was_absent_listens_before_it_campaigns() -> None:
    subject = follower("c")
    subject.tick(400)
    subject.raft.resume(5000)
    assert subject.take().became == ()
    subject.receive("b", append(2, TxID(2, 2), 2))
    assert subject.tick(999).became == ()
    assert subject.tick(1).send[0] == ("b", RequestVote(3, TxID(2, 2)))


def test_a_short_absence_counts_as_one_heartbeat() -> None:
    subject = follower("c")
    subject.tick(800)
    subject.raft.resume(400)
    assert subject.take().became == ()
    assert subject.tick(100).send[0] == ("b", RequestVote(3, TxID(2, 2)))


def test_a_leader_that_was_absent_listens_before_it_steps_down() -> None:
    subject = leader("b", "c")
    subject.tick(900)
    subject.raft.resume(5000)
    assert subject.role() is Leadership.LEADER
    subject.tick(899)
    assert subject.role() is Leadership.LEADER
    subject.tick(1)
    assert subject.role() is Leadership.FOLLOWER
