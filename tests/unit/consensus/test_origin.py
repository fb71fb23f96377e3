"""A log that begins after a committed seqno: what a node from a snapshot, or one that read an old ledger, is."""

from collections.abc import Sequence

import pytest

from dataplane.consensus.configuration import Configuration, Retirement, RetirementPhase
from dataplane.consensus.log import Entry, Log
from dataplane.consensus.messages import (
    AppendEntries,
    AppendEntriesAck,
    AppendEntriesNack,
    RequestVote,
    RequestVoteResponse,
)
from dataplane.consensus.output import Leadership, RetirementChanged
from dataplane.consensus.parameters import Origin
from dataplane.consensus.raft import Raft
from dataplane.txid import NodeId, TxID, TxStatus
from tests.support.raft_nodes import SETTINGS, members, plain, reconfigured, signed

HISTORY = [1, 1, 7, 7]  # view 2 from 1, view 4 from 7
NODES = members("a", "b", "c")
ORIGIN = Origin(10, HISTORY, [Configuration(3, NODES)])


def nothing(first: int, last: int) -> Sequence[Entry]:
    return ()


def joiner(origin: Origin = ORIGIN, node_id: NodeId = "a") -> Raft:
    raft = Raft.join(node_id=node_id, settings=SETTINGS, draw=lambda low, high: high, read=nothing, origin=origin)
    assert raft.take_output().became == ()
    return raft


def leader_after(origin: Origin = ORIGIN, read_from: Sequence[Entry] = ()) -> Raft:
    """Node `a`, joined at `origin`, elected in view 5 by `b`; `read_from` is what its ledger holds, from 1 on."""

    def read(first: int, last: int) -> Sequence[Entry]:
        return read_from[first - 1 : last]

    raft = Raft.join(node_id="a", settings=SETTINGS, draw=lambda low, high: high, read=read, origin=origin)
    raft.receive("b", AppendEntries(4, TxID(4, 10), 10, 0, ()))
    raft.tick(1000)
    assert raft.role is Leadership.CANDIDATE
    raft.receive("b", RequestVoteResponse(raft.view, True))
    assert raft.role is Leadership.LEADER
    raft.take_output()
    return raft


def test_what_lies_before_is_committed_and_keeps_its_views() -> None:
    raft = joiner()
    assert (raft.last_txid, raft.commit_txid, raft.persisted_seqno) == (TxID(4, 10), TxID(4, 10), 10)
    assert raft.view_history == HISTORY
    assert [raft.view_at(seqno) for seqno in (1, 6, 7, 10, 11)] == [2, 2, 4, 4, 0]
    assert raft.status(TxID(2, 6)) is TxStatus.COMMITTED
    assert raft.status(TxID(2, 7)) is TxStatus.INVALID
    assert raft.status(TxID(4, 11)) is TxStatus.UNKNOWN


@pytest.mark.parametrize("history", [[], [2, 2], [1, 1, 11], [1, 5, 3]])
def test_a_view_history_that_does_not_lead_to_the_origin_is_refused(history: list[int]) -> None:
    with pytest.raises(ValueError, match="view history"):
        Log(max_cached_bytes=0, origin_seqno=10, view_history=history)


def test_a_follower_takes_what_comes_after_its_origin() -> None:
    raft = joiner()
    raft.receive("b", AppendEntries(4, TxID(4, 12), 12, 0, ()))
    ((_, refusal),) = raft.take_output().send
    assert refusal == AppendEntriesNack(4, 0, TxID(4, 10))
    raft.receive("b", AppendEntries(4, TxID(4, 10), 10, 1, (plain(4, 11), signed(4, 12))))
    output = raft.take_output()
    assert [entry.seqno for entry in output.append] == [11, 12]
    assert output.commit is None
    raft.receive("b", AppendEntries(4, TxID(4, 12), 12, 1, ()))
    raft.take_output()
    raft.persisted(12)
    assert raft.take_output().commit == 12
    assert raft.view_history == HISTORY


def test_a_message_from_before_the_origin_changes_nothing() -> None:
    raft = joiner()
    raft.receive("b", AppendEntries(4, TxID(4, 8), 10, 0, (plain(4, 9), signed(4, 10), plain(4, 11))))
    output = raft.take_output()
    assert output.truncate_after is None
    assert [entry.seqno for entry in output.append] == [11]


def test_a_node_votes_by_its_origin() -> None:
    raft = joiner()
    raft.receive("b", RequestVote(6, TxID(4, 9)))
    ((_, answer),) = raft.take_output().send
    assert answer == RequestVoteResponse(6, False)
    raft.receive("c", RequestVote(7, TxID(4, 10)))
    ((_, answer),) = raft.take_output().send
    assert answer == RequestVoteResponse(7, True)


def test_a_member_of_the_origins_configuration_may_lead() -> None:
    raft = leader_after()
    raft.propose(signed(5, 11))
    raft.persisted(11)
    raft.receive("b", AppendEntriesAck(5, 11, 11))
    assert raft.take_output().commit == 11
    assert raft.view_history == [*HISTORY, 11]


def test_a_leader_reads_what_a_follower_lacks_from_before_its_origin() -> None:
    ledger = [*(plain(2, seqno) for seqno in range(1, 7)), *(plain(4, seqno) for seqno in range(7, 10)), signed(4, 10)]
    raft = leader_after(read_from=ledger)
    raft.receive("c", AppendEntriesNack(5, 0, TxID(2, 4)))
    raft.take_output()
    raft.receive("c", AppendEntriesAck(5, 4, 4))
    ((_, message),) = [sent for sent in raft.take_output().send if sent[0] == "c"]
    assert isinstance(message, AppendEntries)
    assert message.prev == TxID(2, 4)
    assert [entry.seqno for entry in message.entries] == [5, 6, 7, 8, 9, 10]


def test_a_leader_without_the_old_ledger_keeps_in_touch_with_a_follower_it_cannot_serve() -> None:
    raft = leader_after()
    raft.receive("c", AppendEntriesNack(5, 0, TxID(2, 4)))
    raft.take_output()
    raft.receive("c", AppendEntriesAck(5, 4, 4))
    raft.take_output()
    raft.tick(100)
    sent = [message for receiver, message in raft.take_output().send if receiver == "c"]
    assert sent == [AppendEntries(5, TxID(2, 4), 10, 1, ())]


def test_retirements_of_the_origin_go_on() -> None:
    """`d` is still to be marked, `e` was: nothing is sent to it any more, and it is heard no more."""
    retirements = [Retirement("d", "d:1", 5), Retirement("e", "e:1", 4, 6)]
    raft = leader_after(Origin(10, HISTORY, [Configuration(5, NODES)], retirements))
    assert raft.unmarked_retirements() == ("d",)
    assert raft.retirements() == {"d": RetirementPhase.COMPLETED}
    assert sorted(raft.addresses()) == ["a", "b", "c", "d"]
    raft.propose(Entry(5, 11, b"retired_committed", retired_committed=("d",)))
    raft.take_output()
    raft.propose(signed(5, 12))
    raft.persisted(12)
    raft.receive("b", AppendEntriesAck(5, 12, 12))
    became = raft.take_output().became
    assert RetirementChanged("d", RetirementPhase.RETIRED_COMMITTED) in became
    assert not [change for change in became if isinstance(change, RetirementChanged) and change.node_id == "e"]


def test_a_service_that_begins_after_an_old_ledger_leads_the_view_it_is_told() -> None:
    """A recovery: none of the old nodes counts (ledger-format.md 6.7)."""
    raft = Raft.start(
        node_id="z",
        settings=SETTINGS,
        draw=lambda low, high: high,
        read=nothing,
        origin=Origin(10, HISTORY),
        view=6,
    )
    raft.propose(reconfigured(6, 11, "z"))
    raft.take_output()
    raft.propose(signed(6, 12))
    raft.take_output()
    raft.persisted(12)
    assert raft.take_output().commit == 12
    assert raft.view_history == [*HISTORY, 11, 11]
    assert raft.addresses() == {"z": "z:1"}


def test_a_recovered_service_needs_a_newer_view() -> None:
    with pytest.raises(ValueError, match="does not follow"):
        Raft.start(
            node_id="z",
            settings=SETTINGS,
            draw=lambda low, high: high,
            read=nothing,
            origin=Origin(10, HISTORY),
            view=4,
        )


def test_marks_the_leader_could_not_tell_are_put_in_their_place() -> None:
    raft = joiner()
    raft.receive("b", AppendEntries(4, TxID(4, 10), 10, 0, (plain(4, 11), signed(4, 12), reconfigured(4, 13, "a"))))
    raft.take_output()
    assert [configuration.seqno for configuration in raft.configurations] == [3, 13]
    raft.correct_marks(11, members("a", "b"), ())
    assert [configuration.seqno for configuration in raft.configurations] == [3, 11, 13]
    assert list(raft.retirements()) == ["c", "b"]
