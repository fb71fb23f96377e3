"""What a follower takes, refuses, acknowledges and commits."""

import pytest

from dataplane.consensus.messages import AppendEntriesAck, AppendEntriesNack, RequestVote
from dataplane.consensus.output import Leadership, RoleChanged
from dataplane.consensus.raft import NotLeader
from dataplane.txid import TxID, TxStatus
from tests.support.raft_nodes import Subject, append, follower, plain, signed


def test_the_first_message_makes_a_follower() -> None:
    subject = Subject()
    output = subject.receive("b", append(2, TxID(0, 0), 0))
    assert output.became == (RoleChanged(Leadership.FOLLOWER, 2, "b"),)
    assert output.send == (("b", AppendEntriesAck(2, 0, 0)),)


def test_persist_before_promise() -> None:
    """A signed entry is acknowledged, and committed here, only when synced."""
    subject = follower()
    output = subject.receive("b", append(2, TxID(2, 2), 4, plain(2, 3), signed(2, 4)))
    assert [entry.seqno for entry in output.append] == [3, 4]
    assert (output.sync, output.send, output.commit) == (True, (), None)
    output = subject.sync()
    assert output.send == (("b", AppendEntriesAck(2, 4, 4)),)
    assert output.commit == 4


def test_a_heartbeat_before_the_sync_promises_only_what_is_synced() -> None:
    subject = follower()
    subject.receive("b", append(2, TxID(2, 2), 2, signed(2, 3)))
    assert subject.answer("b", append(2, TxID(2, 3), 3)) == AppendEntriesAck(2, 3, 2)
    assert subject.raft.commit_seqno == 2


def test_a_sync_that_ends_before_the_last_entry_promises_no_more() -> None:
    subject = follower()
    subject.receive("b", append(2, TxID(2, 2), 2, signed(2, 3), plain(2, 4), signed(2, 5)))
    subject.raft.persisted(3)
    assert subject.take().send == (("b", AppendEntriesAck(2, 5, 3)),)


def test_unsigned_entries_ask_for_no_sync() -> None:
    subject = follower()
    assert not subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3))).sync


def test_commit_stops_at_a_signature() -> None:
    """ledger-format.md 3: only signature transactions are commit points."""
    subject = follower()
    subject.receive("b", append(2, TxID(2, 2), 5, plain(2, 3), signed(2, 4), plain(2, 5)))
    assert subject.sync().commit == 4


def test_commit_stops_at_what_this_leader_has_confirmed() -> None:
    """Entry 2.4 is signed and synced here, but the new leader, committed up to 4, may have another 4."""
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4)))
    subject.sync()
    assert subject.answer("c", append(3, TxID(2, 2), 4)) == AppendEntriesAck(3, 2, 2)
    assert subject.raft.commit_seqno == 2


def test_only_what_the_leader_has_confirmed_is_acknowledged() -> None:
    """The inaccurate AE-ACK of CCF: acknowledging the whole log on a message that confirms its beginning."""
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, signed(2, 3), signed(2, 4)))
    subject.sync()
    assert subject.answer("c", append(3, TxID(2, 3), 2)) == AppendEntriesAck(3, 3, 3)


def test_a_gap_is_refused_with_the_end_of_the_log() -> None:
    assert follower().answer("b", append(2, TxID(2, 7), 2, round_=3)) == AppendEntriesNack(2, 3, TxID(2, 2))


def test_another_view_is_refused_with_the_last_entry_that_may_match() -> None:
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4)))
    subject.receive("c", append(4, TxID(2, 4), 2, signed(4, 5), plain(4, 6), signed(4, 7)))
    assert subject.answer("b", append(6, TxID(5, 7), 2)) == AppendEntriesNack(6, 0, TxID(4, 6))
    assert subject.answer("b", append(6, TxID(3, 7), 2)) == AppendEntriesNack(6, 0, TxID(2, 4))


def test_an_estimate_is_never_below_the_commit() -> None:
    subject = follower("c")
    assert subject.answer("c", append(3, TxID(1, 2), 0)) == AppendEntriesNack(3, 0, TxID(2, 2))


def test_one_refusal_a_round_unless_asked_again() -> None:
    subject = follower()
    assert subject.receive("b", append(2, TxID(2, 5), 2, plain(2, 6))).send != ()
    assert subject.receive("b", append(2, TxID(2, 6), 2, plain(2, 7))).send == ()
    assert subject.receive("b", append(2, TxID(2, 7), 2)).send != ()
    assert subject.receive("b", append(2, TxID(2, 7), 2, plain(2, 8), round_=1)).send != ()


def test_a_leader_of_the_past_is_told() -> None:
    subject = follower("c")
    subject.receive("c", append(5, TxID(2, 2), 2))
    assert subject.answer("b", append(2, TxID(2, 2), 2)) == AppendEntriesNack(5, 0, TxID(2, 2))


def test_an_early_message_truncates_nothing() -> None:
    """CCF's truncation from an early AppendEntries: 'Only if an existing entry conflicts' (Raft, figure 2)."""
    subject = follower()
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4)))
    output = subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3)))
    assert (output.truncate_after, subject.raft.last_seqno) == (None, 4)
    output = subject.receive("b", append(2, TxID(2, 2), 2))
    assert (output.truncate_after, subject.raft.last_seqno) == (None, 4)


def test_a_conflict_truncates_at_the_conflict() -> None:
    subject = follower("c")
    subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4)))
    output = subject.receive("c", append(3, TxID(2, 2), 2, plain(2, 3), signed(3, 4)))
    assert (output.truncate_after, output.append) == (3, (signed(3, 4),))


def test_entries_that_were_never_handed_out_are_not_truncated_at_the_owner() -> None:
    subject = follower("c")
    subject.raft.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), signed(2, 4)))
    subject.raft.receive("c", append(3, TxID(2, 2), 2, signed(3, 3)))
    output = subject.take()
    assert (output.truncate_after, output.append) == (None, (signed(3, 3),))


def test_committed_entries_never_conflict() -> None:
    subject = follower("c")
    with pytest.raises(AssertionError, match="below commit"):
        subject.receive("c", append(3, TxID(0, 0), 2, plain(3, 1)))


def test_a_message_repeated_changes_nothing() -> None:
    subject = follower()
    message = append(2, TxID(2, 2), 4, plain(2, 3), signed(2, 4))
    subject.receive("b", message)
    subject.sync()
    output = subject.receive("b", message)
    assert (output.truncate_after, output.append, output.commit) == (None, (), None)
    assert output.send == (("b", AppendEntriesAck(2, 4, 4)),)


def test_many_bytes_are_acknowledged_before_any_signature() -> None:
    subject = follower()
    size = 256 * 1024
    output = subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3, bytes(size))))
    assert output.send == (("b", AppendEntriesAck(2, 3, 2)),)


class TestRejectAfter:
    """The owner decodes and checks entries; a follower takes back what it refuses."""

    def refused(self) -> Subject:
        subject = follower("c")
        subject.raft.receive("b", append(2, TxID(2, 2), 4, plain(2, 3), signed(2, 4)))
        output = subject.raft.take_output()
        subject.ledger.append(output.append[0])
        subject.raft.reject_after(3)
        return subject

    def test_neither_acknowledged_nor_committed(self) -> None:
        subject = self.refused()
        output = subject.sync()
        assert output.send == (("b", AppendEntriesAck(2, 3, 3)),)
        assert (output.commit, subject.raft.last_seqno, subject.raft.commit_seqno) == (None, 3, 2)

    def test_asked_again_after_a_pause(self) -> None:
        subject = self.refused()
        subject.take()
        assert subject.receive("b", append(2, TxID(2, 4), 4)).send == ()
        subject.tick(100)
        assert subject.answer("b", append(2, TxID(2, 4), 4)) == AppendEntriesNack(2, 0, TxID(2, 3))

    def test_votes_by_what_was_accepted(self) -> None:
        subject = self.refused()
        subject.take()
        assert subject.receive("c", RequestVote(3, TxID(2, 2))).send != ()
        assert subject.raft.committable_seqno == 2


def test_a_follower_does_not_propose() -> None:
    subject = follower()
    with pytest.raises(NotLeader) as caught:
        subject.raft.propose(plain(2, 3))
    assert caught.value.leader_id == "b"


class TestStatus:
    """ledger-format.md 3."""

    def test_committed_and_invalid_are_decided_by_the_commit(self) -> None:
        raft = follower().raft
        assert raft.status(TxID(2, 1)) is TxStatus.COMMITTED
        assert raft.status(TxID(3, 1)) is TxStatus.INVALID

    def test_pending_while_local(self) -> None:
        subject = follower()
        subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3)))
        assert subject.raft.status(TxID(2, 3)) is TxStatus.PENDING
        assert subject.raft.status(TxID(2, 4)) is TxStatus.UNKNOWN

    def test_invalid_once_a_later_view_has_committed(self) -> None:
        subject = follower("c")
        subject.receive("b", append(2, TxID(2, 2), 2, plain(2, 3), plain(2, 4)))
        subject.receive("c", append(3, TxID(2, 2), 3, signed(3, 3)))
        assert subject.raft.status(TxID(2, 4)) is TxStatus.UNKNOWN
        subject.sync()
        assert subject.raft.status(TxID(2, 4)) is TxStatus.INVALID
        assert subject.raft.status(TxID(3, 4)) is TxStatus.UNKNOWN
