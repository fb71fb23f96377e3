"""One consensus core under the hand of a test: entries, messages and duties without ceremony."""

from collections.abc import Sequence

from dataplane.consensus.log import Entry, Nodes
from dataplane.consensus.messages import AppendEntries, Message
from dataplane.consensus.output import Leadership, Output
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import Raft
from dataplane.txid import NodeId, TxID

SETTINGS = Settings(election_timeout_ms=1000, message_timeout_ms=100)


def members(*node_ids: NodeId) -> Nodes:
    return tuple((node_id, f"{node_id}:1") for node_id in sorted(node_ids))


def signed(view: int, seqno: int) -> Entry:
    return Entry(view, seqno, b"signature", signed=True)


def plain(view: int, seqno: int, data: bytes = b"entry") -> Entry:
    return Entry(view, seqno, data)


def reconfigured(view: int, seqno: int, *node_ids: NodeId) -> Entry:
    return Entry(view, seqno, b"nodes", configuration=members(*node_ids))


class Subject:
    """A core with its ledger. Syncs only when told to."""

    def __init__(self, node_id: NodeId = "a", *, first: bool = False, settings: Settings = SETTINGS) -> None:
        self.ledger: list[Entry] = []
        begin = Raft.start if first else Raft.join
        self.raft = begin(node_id=node_id, settings=settings, draw=lambda low, high: high, read=self._read)
        self.read_ranges: list[tuple[int, int]] = []

    def role(self) -> Leadership:
        return self.raft.role

    def take(self) -> Output:
        """Do the duties that concern the ledger, and return them all."""
        output = self.raft.take_output()
        if output.truncate_after is not None:
            del self.ledger[output.truncate_after :]
        self.ledger.extend(output.append)
        return output

    def sync(self) -> Output:
        self.raft.persisted(len(self.ledger))
        return self.take()

    def receive(self, sender: NodeId, message: Message) -> Output:
        self.raft.receive(sender, message)
        return self.take()

    def answer(self, sender: NodeId, message: Message) -> Message:
        """The one message sent back on this one."""
        ((receiver, answer),) = self.receive(sender, message).send
        assert receiver == sender
        return answer

    def propose(self, entry: Entry) -> Output:
        self.ledger.append(entry)
        self.raft.propose(entry)
        return self.take()

    def tick(self, elapsed_ms: int) -> Output:
        self.raft.tick(elapsed_ms)
        return self.take()

    def _read(self, first: int, last: int) -> Sequence[Entry]:
        self.read_ranges.append((first, last))
        return self.ledger[first - 1 : last]


def leader(*others: NodeId, settings: Settings = SETTINGS) -> Subject:
    """Node `a` leads view 2 with `others`; everything up to 2.2 is synced here, nothing acknowledged elsewhere."""
    subject = Subject(first=True, settings=settings)
    subject.propose(reconfigured(2, 1, "a", *others))
    subject.propose(signed(2, 2))
    subject.sync()
    return subject


def follower(*others: NodeId) -> Subject:
    """Node `a` follows `b` in view 2, with 2.1 (nodes) and 2.2 (signature) synced and committed."""
    from_leader = (reconfigured(2, 1, "a", "b", *others), signed(2, 2))
    subject = Subject()
    subject.receive("b", append(2, TxID(0, 0), 2, *from_leader))
    subject.sync()
    return subject


def append(view: int, prev: TxID, commit_seqno: int, *entries: Entry, round_: int = 0) -> Message:
    """An AppendEntries."""
    return AppendEntries(view, prev, commit_seqno, round_, entries)
