"""The invariants of a cluster, checked after every event on the node the event touched.

The checker keeps its own record of every node's log, configurations and disk, and recomputes what it judges from
them; it asks a node only for its role, view and what it reports to clients.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dataplane.consensus.log import Entry
from dataplane.consensus.output import Leadership
from dataplane.consensus.raft import Raft
from dataplane.txid import TxID, TxStatus
from tests.simulation.disk import MemoryDisk
from tests.simulation.machine import MachineOutput, Snapshot, Written


class InvariantViolated(AssertionError):
    """A rule of architecture section 7 does not hold."""


@dataclass(slots=True)
class Record:
    """What the checker knows of one node."""

    node_id: str
    raft: Raft
    disk: MemoryDisk
    log: list[Written] = field(default_factory=list)
    configurations: list[tuple[int, frozenset[str]]] = field(default_factory=list)  # (seqno, members)
    commit_seqno: int = 0
    open: dict[TxID, None] = field(default_factory=dict)  # issued, not yet final here

    def append(self, written: Written) -> None:
        entry = written.entry
        self.log.append(written)
        if entry.configuration is not None:
            self.configurations.append((entry.seqno, frozenset(node for node, _ in entry.configuration)))


class Checker:
    """One per simulated cluster."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.committed: list[Written] = []  # by seqno, as leaders decided
        self.final: dict[TxID, TxStatus] = {}
        self.commits = 0
        self._leaders: dict[int, str] = {}
        self._roots: dict[tuple[int, int], bytes] = {}
        self._issued: dict[TxID, None] = {}
        self._snapshots: dict[int, bytes] = {}
        self._service_seqno = 1  # where the present service began

    def last_signed(self, node_id: str) -> TxID:
        """The last signed entry on a node's disk."""
        record = self.records[node_id]
        synced = (written.entry for written in record.log[: record.disk.synced_seqno])
        return max((TxID(entry.view, entry.seqno) for entry in synced if entry.signed), default=TxID(0, 0))

    def recovered(self, node_id: str, raft: Raft, disk: MemoryDisk, source_id: str) -> None:
        """A new service from the ledger of a node of the old one: nothing that was committed may be missing from it."""
        seqno = raft.last_seqno
        log = self.records[source_id].log[:seqno]
        _require(seqno == self.last_signed(source_id).seqno, f"{node_id} recovers up to {seqno}")
        _require(seqno >= len(self.committed), f"{node_id} recovers {seqno} of {len(self.committed)} committed entries")
        for index, written in enumerate(self.committed):
            _require(log[index].root == written.root, f"{node_id} recovers another entry at {index + 1}")
        self.committed = list(log)
        self._service_seqno = seqno + 1
        self.records[node_id] = Record(node_id, raft, disk, list(log), commit_seqno=seqno, open=dict(self._issued))
        for txid in self._issued:
            self._status(self.records[node_id], txid)

    def watch(self, node_id: str, raft: Raft, disk: MemoryDisk) -> None:
        """A new node. One that begins with a snapshot has everything that was committed up to there, and no more."""
        seqno = raft.last_seqno
        _require(seqno <= len(self.committed), f"{node_id} begins at {seqno}, which is not committed")
        record = self.records[node_id] = Record(node_id, raft, disk, commit_seqno=seqno, open=dict(self._issued))
        for written in self.committed[:seqno]:
            record.append(written)
        _require(raft.commit_seqno == seqno, f"{node_id} begins with a commit of {raft.commit_seqno}")
        active = [frozenset(c.ids) for c in raft.configurations]
        known = [members for _, members in record.configurations[-1:]]
        _require(active == known, f"{node_id} begins with the configurations {active}, not {known}")
        for txid in list(record.open):
            self._status(record, txid)

    def snapshot(self, node_id: str, snapshot: Snapshot) -> None:
        """Snapshots of one seqno are the same, whoever makes them, and of what is committed."""
        seqno = snapshot.seqno
        _require(seqno <= len(self.committed), f"{node_id} made a snapshot of {seqno}, which is not committed")
        _require(self.committed[seqno - 1].entry.signed, f"{node_id} made a snapshot of {seqno}, which is not signed")
        known = self._snapshots.setdefault(seqno, snapshot.digest)
        _require(known == snapshot.digest, f"{node_id} made another snapshot of {seqno} than some node")

    def issued(self, txid: TxID) -> None:
        """A client was given this id."""
        _require(txid not in self._issued, f"{txid} was given to two clients")
        self._issued[txid] = None
        for record in self.records.values():
            record.open[txid] = None

    def after(self, node_id: str, output: MachineOutput) -> None:
        """The node has just made this output, and its disk has been written accordingly."""
        record = self.records[node_id]
        raft = record.raft
        if raft.role is Leadership.LEADER:
            self._leads(node_id, raft.view)
        if output.truncate_after is not None:
            self._truncated(record, output.truncate_after)
        for written in output.written:
            self._wrote(record, written)
        if output.commit is not None:
            self._advanced(record, output.commit)
        _require(raft.commit_seqno == record.commit_seqno, "a commit moved in silence")
        _require(raft.last_seqno == len(record.log), "a log changed in silence")

    def statuses(self) -> None:
        """Every node, dead ones too, still says of every TxID what was once final."""
        for record in self.records.values():
            for txid in self._issued:
                self._status(record, txid)

    def _leads(self, node_id: str, view: int) -> None:
        leader_id = self._leaders.setdefault(view, node_id)
        if leader_id != node_id:
            raise InvariantViolated(f"{leader_id} and {node_id} both lead view {view}")

    def _truncated(self, record: Record, seqno: int) -> None:
        _require(
            seqno >= record.commit_seqno,
            f"{record.node_id} dropped entries after {seqno} with commit {record.commit_seqno}",
        )
        del record.log[seqno:]
        while record.configurations and record.configurations[-1][0] > seqno:
            record.configurations.pop()

    def _wrote(self, record: Record, written: Written) -> None:
        entry = written.entry
        known = self._roots.setdefault((entry.view, entry.seqno), written.root)
        _require(known == written.root, f"{record.node_id} holds another {entry.view}.{entry.seqno} than some node")
        record.append(written)

    def _advanced(self, record: Record, seqno: int) -> None:
        node_id = record.node_id
        _require(seqno > record.commit_seqno, f"{node_id} moved its commit from {record.commit_seqno} to {seqno}")
        entry = record.log[seqno - 1].entry
        _require(entry.signed, f"{node_id} committed {seqno}, which is not signed")
        if self._leaders.get(entry.view) == node_id and record.raft.view == entry.view:
            self._decided(record, entry)
        _require(seqno <= len(self.committed), f"{node_id} committed {seqno} before its leader")
        for index in range(record.commit_seqno, seqno):
            if record.log[index].root != self.committed[index].root:
                raise InvariantViolated(f"{node_id} committed another entry at {index + 1}")
        record.commit_seqno = seqno
        self.commits += 1
        for txid in list(record.open):
            if txid.seqno <= seqno or txid.view < entry.view:  # the others cannot be final yet
                self._status(record, txid)

    def _decided(self, record: Record, entry: Entry) -> None:
        """A leader commits an entry of its own view: a quorum of every active configuration must have it synced."""
        node_id, seqno = record.node_id, entry.seqno
        for start, members in self._active(record):
            holders = [member for member in sorted(members) if self._holds(member, record.log[seqno - 1])]
            _require(
                2 * len(holders) > len(members),
                f"{node_id} committed {seqno} synced by {holders} of configuration {start} {sorted(members)}",
            )
        self.committed.extend(record.log[len(self.committed) : seqno])

    def _active(self, record: Record) -> list[tuple[int, frozenset[str]]]:
        """The last configuration at or below the old commit, and every later one in the log."""
        configurations = [c for c in record.configurations if c[0] >= self._service_seqno]
        first = 0
        for index, (seqno, _) in enumerate(configurations):
            if seqno <= record.commit_seqno:
                first = index
        return configurations[first:]

    def _holds(self, node_id: str, written: Written) -> bool:
        record = self.records.get(node_id)
        seqno = written.entry.seqno
        return (
            record is not None
            and record.disk.synced_seqno >= seqno
            and len(record.log) >= seqno
            and record.log[seqno - 1].root == written.root
        )

    def _status(self, record: Record, txid: TxID) -> None:
        status = record.raft.status(txid)
        if status is TxStatus.PENDING or status is TxStatus.UNKNOWN:
            _require(txid in record.open, "a final status was forgotten")
            return
        known = self.final.setdefault(txid, status)
        if status is not known:
            raise InvariantViolated(f"{record.node_id} says {status} of {txid}, which is {known}")
        record.open.pop(txid, None)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InvariantViolated(what)
