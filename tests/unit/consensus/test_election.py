"""Elections. Quotes are from Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014)."""

import pytest

from dataplane.consensus.messages import (
    AppendEntriesNack,
    ProposeRequestVote,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from dataplane.consensus.output import Leadership, RoleChanged, SignatureDue
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import Raft
from dataplane.txid import TxID
from tests.support.raft_nodes import SETTINGS, Subject, append, follower, leader, plain, reconfigured, signed


def candidate(*others: str) -> Subject:
    subject = follower(*others)
    subject.tick(1000)
    assert subject.role() is Leadership.CANDIDATE
    return subject


def test_a_new_service_starts_in_view_2() -> None:
    subject = Subject(first=True)
    assert (subject.raft.role, subject.raft.view, subject.raft.leader_id) == (Leadership.LEADER, 2, "a")


def test_a_joiner_waits() -> None:
    subject = Subject()
    assert subject.tick(100_000).send == ()
    assert (subject.raft.role, subject.raft.view) == (Leadership.NONE, 0)


def test_the_timer_is_drawn_from_half_to_the_whole_timeout() -> None:
    """node-api.md 7.2: uniformly 0.5-1 x election_timeout."""
    drawn: list[tuple[int, int]] = []

    def draw(low: int, high: int) -> int:
        drawn.append((low, high))
        return low

    Raft.join(node_id="a", settings=SETTINGS, draw=draw, read=lambda first, last: ())
    assert drawn == [(500, 1000)]


def test_a_follower_that_hears_nothing_becomes_candidate() -> None:
    """5.2: 'To begin an election, a follower increments its current term and transitions to candidate state.
    It then votes for itself and issues RequestVote RPCs in parallel to each of the other servers'."""
    subject = follower("c")
    assert subject.tick(999).send == ()
    output = subject.tick(1)
    request = RequestVote(3, TxID(2, 2))
    assert output.send == (("b", request), ("c", request))
    assert output.became == (RoleChanged(Leadership.CANDIDATE, 3, None),)


def test_the_timer_runs_only_once_a_signed_entry_includes_the_node() -> None:
    """node-api.md 7.2: runs only after the node has seen a committable entry that includes it."""
    subject = Subject()
    subject.receive("b", append(2, TxID(0, 0), 0, reconfigured(2, 1, "a", "b")))
    assert subject.tick(100_000).send == ()
    subject.receive("b", append(2, TxID(2, 1), 0, signed(2, 2)))
    assert subject.tick(1000).send == (("b", RequestVote(3, TxID(2, 2))),)


def test_hearing_from_the_leader_restarts_the_timer() -> None:
    subject = follower("c")
    subject.tick(900)
    subject.receive("b", append(2, TxID(2, 2), 2))
    assert subject.tick(900).became == ()


def test_a_majority_makes_a_leader_who_should_sign() -> None:
    """node-api.md 7.2: truncates to its last committable index, then emits a signature as soon as it can."""
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3)))
    subject.tick(1000)
    output = subject.receive("c", RequestVoteResponse(3, True))
    assert output.truncate_after == 2
    assert output.became == (RoleChanged(Leadership.LEADER, 3, "a"), SignatureDue(3))
    assert subject.raft.last_seqno == 2


def test_a_signed_suffix_survives_the_election() -> None:
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4)))
    subject.tick(1000)
    assert subject.receive("c", RequestVoteResponse(3, True)).truncate_after is None
    assert subject.raft.last_txid == TxID(2, 4)


@pytest.mark.parametrize("answer", [RequestVoteResponse(3, False), RequestVoteResponse(2, True)])
def test_refusals_and_votes_of_other_views_do_not_count(answer: RequestVoteResponse) -> None:
    subject = candidate("c")
    subject.receive("c", answer)
    assert subject.role() is Leadership.CANDIDATE


def test_the_same_voter_counts_once() -> None:
    subject = candidate("c", "d", "e")
    for _ in range(5):
        subject.receive("c", RequestVoteResponse(3, True))
    assert subject.role() is Leadership.CANDIDATE


def test_a_candidate_needs_a_majority_of_every_configuration() -> None:
    """node-api.md 7.2: both sets count until committed."""
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, reconfigured(2, 3, "a", "d", "e"), signed(2, 4)))
    subject.tick(1000)
    subject.receive("d", RequestVoteResponse(3, True))
    subject.receive("e", RequestVoteResponse(3, True))
    assert subject.role() is Leadership.CANDIDATE
    subject.receive("b", RequestVoteResponse(3, True))
    assert subject.role() is Leadership.LEADER


def test_a_candidate_tries_again_in_a_new_view() -> None:
    subject = candidate("c")
    assert subject.tick(1000).send[0] == ("b", RequestVote(4, TxID(2, 2)))


def test_a_candidate_follows_the_leader_of_its_view() -> None:
    """5.2: 'If the leader's term is at least as large as the candidate's current term, then the candidate
    recognizes the leader as legitimate and returns to follower state.'"""
    subject = candidate("c")
    subject.receive("c", append(3, TxID(2, 2), 2))
    assert (subject.raft.role, subject.raft.leader_id) == (Leadership.FOLLOWER, "c")


def test_one_vote_in_a_view_first_come_first_served() -> None:
    subject = follower("c")
    assert subject.answer("b", RequestVote(3, TxID(2, 2))) == RequestVoteResponse(3, True)
    assert subject.answer("c", RequestVote(3, TxID(2, 2))) == RequestVoteResponse(3, False)
    assert subject.answer("b", RequestVote(3, TxID(2, 2))) == RequestVoteResponse(3, True)
    assert subject.answer("c", RequestVote(4, TxID(2, 2))) == RequestVoteResponse(4, True)


def test_a_candidate_does_not_vote_for_another_even_after_it_lost() -> None:
    subject = candidate("c")
    assert subject.answer("c", RequestVote(3, TxID(2, 9))) == RequestVoteResponse(3, False)
    subject.receive("b", append(3, TxID(2, 2), 2))
    assert subject.answer("c", RequestVote(3, TxID(2, 9))) == RequestVoteResponse(3, False)


@pytest.mark.parametrize(
    ("committable", "granted"),
    [(TxID(2, 4), True), (TxID(2, 3), False), (TxID(2, 5), True), (TxID(3, 1), True), (TxID(1, 9), False)],
)
def test_votes_compare_view_then_seqno_of_the_last_signed_entry(committable: TxID, granted: bool) -> None:
    """node-api.md 7.2. The unsigned entry 2.5 does not count."""
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4), plain(2, 5)))
    assert subject.answer("c", RequestVote(4, committable)) == RequestVoteResponse(4, granted)


def test_an_old_view_is_refused_with_the_new_one() -> None:
    subject = candidate("c")
    assert subject.answer("c", RequestVote(2, TxID(2, 2))) == RequestVoteResponse(3, False)


def test_a_joiner_votes() -> None:
    """It has acknowledged nothing, and the nodes that will include it may need its vote to elect anyone."""
    subject = Subject("e")
    assert subject.answer("a", RequestVote(7, TxID(6, 40))) == RequestVoteResponse(7, True)


def test_a_newer_view_drops_the_unsigned_suffix() -> None:
    """ledger-format.md 3: on view change roll back to the last signature."""
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4), plain(2, 5)))
    assert subject.receive("c", RequestVote(3, TxID(2, 4))).truncate_after == 4


def test_a_leader_of_an_old_view_steps_down() -> None:
    subject = leader("b", "c")
    subject.propose(plain(2, 3))
    output = subject.receive("b", AppendEntriesNack(5, 0, TxID(2, 2)))
    assert output.truncate_after == 2
    assert (subject.raft.role, subject.raft.view) == (Leadership.FOLLOWER, 5)


def test_a_candidate_that_cannot_win_does_not_delay_the_others() -> None:
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, signed(2, 3)))
    subject.tick(900)
    assert subject.answer("c", RequestVote(3, TxID(2, 2))) == RequestVoteResponse(3, False)
    subject.tick(100)
    assert subject.role() is Leadership.CANDIDATE


def test_an_outsider_is_ignored_while_the_leader_is_heard() -> None:
    """Raft dissertation 4.2.3; without it a node whose joining was rolled back unseats every leader."""
    subject = follower("c")
    assert subject.receive("x", RequestVote(9, TxID(8, 8))).send == ()
    assert subject.raft.view == 2
    subject.tick(500)
    assert subject.answer("x", RequestVote(9, TxID(8, 8))) == RequestVoteResponse(9, True)


def test_a_leader_ignores_an_outsider() -> None:
    subject = leader("b", "c")
    subject.receive("x", RequestVote(9, TxID(8, 8)))
    assert subject.role() is Leadership.LEADER


def test_check_quorum() -> None:
    """node-api.md 7.2: steps down if a majority of any active configuration has been silent for the timeout."""
    subject = leader("b", "c")
    subject.tick(999)
    assert subject.role() is Leadership.LEADER
    subject.receive("b", AppendEntriesNack(2, 99, TxID(0, 0)))
    subject.tick(999)
    assert subject.role() is Leadership.LEADER
    assert subject.tick(1).became == (RoleChanged(Leadership.FOLLOWER, 2, None),)


def test_a_leader_alone_needs_nobody() -> None:
    subject = leader()
    subject.tick(100_000)
    assert subject.role() is Leadership.LEADER


def test_nomination_is_a_campaign_at_once() -> None:
    subject = follower("c")
    output = subject.receive("b", ProposeRequestVote(2))
    assert output.send == (("b", RequestVote(3, TxID(2, 2))), ("c", RequestVote(3, TxID(2, 2))))


def test_a_late_nomination_is_ignored() -> None:
    subject = follower("c")
    subject.receive("c", append(4, TxID(2, 2), 2))
    assert subject.receive("b", ProposeRequestVote(2)).send == ()
    assert subject.role() is Leadership.FOLLOWER


class TestPreVote:
    """node-api.md 7.2: messages understood; initiating off by default."""

    def test_off_by_default(self) -> None:
        assert not Settings().pre_vote

    def test_granted_when_no_leader_is_heard_and_nothing_changes(self) -> None:
        subject = follower("c")
        assert subject.answer("c", RequestPreVote(2, TxID(2, 2))) == RequestPreVoteResponse(2, False)
        subject.tick(500)
        assert subject.answer("c", RequestPreVote(2, TxID(2, 2))) == RequestPreVoteResponse(2, True)
        assert subject.answer("b", RequestPreVote(2, TxID(2, 2))) == RequestPreVoteResponse(2, True)
        assert subject.answer("c", RequestPreVote(2, TxID(2, 1))) == RequestPreVoteResponse(2, False)
        assert subject.answer("c", RequestPreVote(1, TxID(2, 2))) == RequestPreVoteResponse(2, False)
        assert subject.raft.view == 2

    def test_a_leader_refuses(self) -> None:
        subject = leader("b", "c")
        assert subject.answer("b", RequestPreVote(2, TxID(2, 2))) == RequestPreVoteResponse(2, False)

    def test_asked_first_when_on(self) -> None:
        subject = Subject(settings=Settings(election_timeout_ms=1000, message_timeout_ms=100, pre_vote=True))
        subject.receive("b", append(2, TxID(0, 0), 2, reconfigured(2, 1, "a", "b", "c"), signed(2, 2)))
        output = subject.tick(1000)
        assert output.send == (("b", RequestPreVote(2, TxID(2, 2))), ("c", RequestPreVote(2, TxID(2, 2))))
        assert subject.role() is Leadership.PRE_VOTE_CANDIDATE
        assert subject.raft.view == 2
        output = subject.receive("c", RequestPreVoteResponse(2, True))
        assert output.send == (("b", RequestVote(3, TxID(2, 2))), ("c", RequestVote(3, TxID(2, 2))))
        assert subject.role() is Leadership.CANDIDATE

    def test_a_pre_vote_is_no_vote(self) -> None:
        subject = candidate("c")
        subject.receive("c", RequestPreVoteResponse(3, True))
        assert subject.role() is Leadership.CANDIDATE
