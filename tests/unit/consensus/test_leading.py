"""What a leader sends, counts and commits."""

import pytest

from dataplane.consensus.details import details
from dataplane.consensus.log import Entry
from dataplane.consensus.messages import (
    AppendEntries,
    AppendEntriesAck,
    AppendEntriesNack,
    Message,
    RequestVoteResponse,
)
from dataplane.consensus.output import Output
from dataplane.consensus.parameters import Settings
from dataplane.txid import TxID
from tests.support.raft_nodes import Subject, leader, members, plain, reconfigured, signed


def sent_to(output: Output, node_id: str) -> list[Message]:
    return [message for receiver, message in output.send if receiver == node_id]


def joined(*others: str, settings: Settings | None = None) -> Subject:
    """A leader whose followers have everything so far."""
    subject = leader(*others) if settings is None else leader(*others, settings=settings)
    for other in others:
        subject.receive(other, AppendEntriesNack(2, 0, TxID(0, 0)))
        subject.receive(other, AppendEntriesAck(2, 0, 0))
        subject.receive(other, AppendEntriesAck(2, 2, 2))
    assert subject.raft.commit_seqno == 2
    return subject


def test_entries_go_out_as_they_come() -> None:
    subject = joined("b", "c")
    output = subject.propose(plain(2, 3))
    expected = AppendEntries(2, TxID(2, 2), 2, 1, (plain(2, 3),))
    assert output.send == (("b", expected), ("c", expected))
    output = subject.propose(plain(2, 4))
    assert sent_to(output, "b") == [AppendEntries(2, TxID(2, 3), 2, 1, (plain(2, 4),))]


def test_the_leader_counts_itself_only_when_synced() -> None:
    """D14: nor the primary counts itself."""
    subject = joined("b", "c")
    output = subject.propose(signed(2, 3))
    assert output.sync
    assert subject.receive("b", AppendEntriesAck(2, 3, 3)).commit is None
    assert subject.sync().commit == 3


def test_a_quorum_of_others_commits_before_the_leader_has_synced() -> None:
    subject = joined("b", "c")
    subject.propose(signed(2, 3))
    subject.receive("b", AppendEntriesAck(2, 3, 3))
    assert subject.receive("c", AppendEntriesAck(2, 3, 3)).commit == 3


def test_what_is_received_but_not_persisted_does_not_count() -> None:
    subject = joined("b", "c")
    subject.propose(signed(2, 3))
    subject.sync()
    assert subject.receive("b", AppendEntriesAck(2, 3, 2)).commit is None


def test_commit_jumps_to_signatures() -> None:
    subject = joined("b", "c")
    for entry in (plain(2, 3), signed(2, 4), plain(2, 5)):
        subject.propose(entry)
    subject.sync()
    assert subject.receive("b", AppendEntriesAck(2, 5, 5)).commit == 4


def test_a_commit_is_told_at_once() -> None:
    subject = joined("b", "c")
    subject.propose(signed(2, 3))
    subject.sync()
    output = subject.receive("b", AppendEntriesAck(2, 3, 3))
    notice = AppendEntries(2, TxID(2, 3), 3, 1)
    assert output.send == (("b", notice), ("c", notice))


def test_a_signature_of_an_earlier_view_does_not_commit_alone() -> None:
    """5.4.2 and figure 8: 'Raft never commits log entries from previous terms by counting replicas.'"""
    from_old_leader = AppendEntries(2, TxID(0, 0), 0, 0, (reconfigured(2, 1, "a", "b", "c"), signed(2, 2)))
    subject = Subject()
    subject.receive("b", from_old_leader)
    subject.sync()
    subject.tick(1000)
    subject.raft.receive("c", RequestVoteResponse(3, True))
    subject.take()
    assert subject.receive("c", AppendEntriesAck(3, 2, 2)).commit is None
    subject.propose(signed(3, 3))
    subject.sync()
    assert subject.receive("c", AppendEntriesAck(3, 3, 3)).commit == 3


def test_a_refusal_does_not_commit() -> None:
    """CCF's commit on AE-NACK: the estimate of a refusal says where logs may agree, not that they do."""
    subject = joined("b", "c")
    subject.propose(signed(2, 3))
    subject.sync()
    assert subject.receive("b", AppendEntriesNack(2, 1, TxID(2, 3))).commit is None


def test_answers_of_another_view_do_not_count() -> None:
    subject = joined("b", "c")
    subject.propose(signed(2, 3))
    subject.sync()
    assert subject.receive("b", AppendEntriesAck(1, 3, 3)).commit is None


def test_answers_of_strangers_do_not_count() -> None:
    subject = joined("b", "c")
    subject.propose(signed(2, 3))
    subject.sync()
    assert subject.receive("x", AppendEntriesAck(2, 3, 3)).commit is None


def test_both_configurations_must_have_it() -> None:
    """node-api.md 7.2: one transaction; both sets count until committed."""
    subject = joined("b", "c")
    subject.propose(reconfigured(2, 3, "a", "d", "e"))
    subject.propose(signed(2, 4))
    subject.sync()
    assert subject.receive("b", AppendEntriesAck(2, 4, 4)).commit is None
    assert subject.receive("d", AppendEntriesAck(2, 4, 4)).commit == 4
    assert [c.ids for c in subject.raft.configurations] == [("a", "d", "e")]


def test_an_entry_before_a_pending_configuration_needs_both_too() -> None:
    subject = joined("b", "c")
    subject.propose(signed(2, 3))
    subject.propose(reconfigured(2, 4, "a", "d", "e"))
    subject.sync()
    assert subject.receive("b", AppendEntriesAck(2, 4, 4)).commit is None
    assert subject.receive("e", AppendEntriesAck(2, 3, 3)).commit == 3


def test_heartbeats() -> None:
    subject = joined("b", "c")
    assert subject.tick(99).send == ()
    beat = AppendEntries(2, TxID(2, 2), 2, 1)
    assert subject.tick(1).send == (("b", beat), ("c", beat))


def test_a_refusal_is_answered_by_one_probe_at_the_estimate() -> None:
    subject = joined("b", "c")
    for seqno in range(3, 9):
        subject.propose(plain(2, seqno))
    output = subject.receive("b", AppendEntriesNack(2, 1, TxID(2, 4)))
    assert output.send == (("b", AppendEntries(2, TxID(2, 4), 2, 2)),)
    assert subject.receive("b", AppendEntriesNack(2, 1, TxID(2, 3))).send == ()
    assert subject.propose(plain(2, 9)).send[0][0] == "c"
    output = subject.receive("b", AppendEntriesAck(2, 4, 2))
    assert [entry.seqno for entry in output.send[0][1].entries] == [5, 6, 7, 8, 9]  # type: ignore[union-attr]


def test_a_lost_probe_is_repeated_with_the_heartbeat() -> None:
    subject = joined("b")
    subject.propose(plain(2, 3))
    probe = subject.receive("b", AppendEntriesNack(2, 1, TxID(2, 2))).send
    assert subject.tick(100).send == probe


def test_batches_are_bounded_in_bytes_and_a_large_entry_travels_alone() -> None:
    subject = joined("b", settings=Settings(max_append_bytes=100))
    subject.receive("b", AppendEntriesNack(2, 1, TxID(2, 2)))
    for seqno, size in enumerate((40, 40, 40, 500, 10), 3):
        subject.propose(plain(2, seqno, bytes(size)))
    messages = sent_to(subject.receive("b", AppendEntriesAck(2, 2, 2)), "b")
    batches = [[entry.seqno for entry in message.entries] for message in messages]  # type: ignore[union-attr]
    assert batches == [[3, 4], [5], [6], [7]]


def test_the_window_stops_the_flow_and_an_answer_lets_it_on() -> None:
    subject = joined("b", settings=Settings(max_append_bytes=100, max_in_flight_bytes=300))
    sent = [bool(sent_to(subject.propose(plain(2, seqno, bytes(100))), "b")) for seqno in range(3, 9)]
    assert sent == [True, True, True, False, False, False]
    messages = sent_to(subject.receive("b", AppendEntriesAck(2, 5, 2)), "b")
    assert [message.entries[0].seqno for message in messages] == [6, 7, 8]  # type: ignore[union-attr]


def test_a_joiner_is_caught_up_from_the_ledger_in_batches() -> None:
    settings = Settings(max_append_bytes=100, max_append_entries=2, max_cached_bytes=0)
    subject = leader(settings=settings)
    for seqno in range(3, 8):
        subject.propose(plain(2, seqno, bytes(40)))
    subject.propose(signed(2, 8))
    subject.sync()
    output = subject.propose(reconfigured(2, 9, "a", "b"))
    assert sent_to(output, "b") == [AppendEntries(2, TxID(2, 9), 8)]
    subject.receive("b", AppendEntriesNack(2, 0, TxID(0, 0)))
    output = subject.receive("b", AppendEntriesAck(2, 0, 0))
    entries = [entry for message in sent_to(output, "b") for entry in message.entries]  # type: ignore[union-attr]
    assert entries == subject.ledger
    assert subject.read_ranges == [(1, 2), (3, 4), (5, 6), (7, 8)]


def test_a_short_read_is_continued() -> None:
    subject = leader(settings=Settings(max_cached_bytes=0))
    subject.raft._followers._read = lambda first, last: subject.ledger[first - 1 : first]
    subject.propose(plain(2, 3))
    subject.propose(signed(2, 4))
    subject.sync()
    subject.propose(reconfigured(2, 5, "a", "b"))
    subject.receive("b", AppendEntriesNack(2, 0, TxID(0, 0)))
    output = subject.receive("b", AppendEntriesAck(2, 0, 0))
    batches = [len(message.entries) for message in sent_to(output, "b")]  # type: ignore[union-attr]
    assert batches == [1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "entry",
    [
        plain(2, 4),
        plain(3, 3),
        Entry(2, 3, b"", configuration=()),
        Entry(2, 3, b"", configuration=members("b") + members("a")),
        Entry(2, 3, b"", configuration=members("a") + members("a")),
    ],
)
def test_what_may_not_be_proposed_changes_nothing(entry: Entry) -> None:
    subject = leader()
    with pytest.raises(ValueError):  # noqa: PT011 - one error for all misuse
        subject.raft.propose(entry)
    assert subject.raft.last_seqno == 2


def test_details() -> None:
    """node-api.md 7.1."""
    subject = joined("b")
    subject.tick(30)
    assert details(subject.raft) == {
        "configs": [{"idx": 1, "nodes": {"a": {"address": "a:1"}, "b": {"address": "b:1"}}, "rid": 1}],
        "acks": {"b": {"seqno": 2, "last_received_ms": 30}},
        "membership_state": "Active",
        "leadership_state": "Leader",
        "reconfiguration_type": "OneTransaction",
        "primary_id": "a",
        "current_view": 2,
        "ticking": True,
    }
