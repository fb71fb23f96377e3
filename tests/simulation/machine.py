"""What the simulator drives: a node as a machine, with the verbs of the consensus core.

`ConsensusMachine` is a Raft core with the least around it that makes it a ledger: frames, a chained root over
them (in place of the Merkle tree) that every signature entry repeats, and the check of that root on receipt.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from dataplane.consensus.configuration import Configuration, Retirement
from dataplane.consensus.log import Entry, Nodes
from dataplane.consensus.messages import Message
from dataplane.consensus.output import Became, Leadership
from dataplane.consensus.parameters import Origin, Settings
from dataplane.consensus.raft import Raft
from dataplane.txid import TxID
from tests.simulation.plan import Plan


@dataclass(frozen=True, slots=True)
class Written:
    """One entry the machine wants on disk. `root` commits to it and to every entry before it."""

    entry: Entry
    root: bytes


@dataclass(frozen=True, slots=True)
class MachineOutput:
    """Duties in order, as `dataplane.consensus.output.Output`, but with every entry to write, proposed ones too."""

    truncate_after: int | None
    written: Sequence[Written]
    sync: bool
    send: Sequence[tuple[str, Message]]
    commit: int | None
    became: Sequence[Became]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A machine's committed state at `seqno`. Equal states have equal digests.

    `ledger` holds what machines keep of the entries up to there, where the one that begins is given that as well.
    """

    seqno: int
    digest: bytes
    state: object = field(repr=False)
    ledger: Sequence[Any] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"from a snapshot at {self.seqno} with{'' if self.ledger else 'out'} the ledger"


@dataclass(frozen=True, slots=True)
class Begin:
    """How a node begins: as the first of the service, or as one that joins, with a snapshot or with nothing.

    `ledger`: the first of a service that recovers one whose frames these are. `recovered`: where such a service began,
    for those that join it.
    """

    first: bool = False
    snapshot: Snapshot | None = None
    ledger: Sequence[bytes] = ()
    recovered: int = 0


class Machine(Protocol):
    """A node under simulation."""

    raft: Raft

    @property
    def whole(self) -> bool: ...  # nothing of its state is still to be recovered
    def tick(self, elapsed_ms: int) -> None: ...
    def resume(self, absent_ms: int) -> None: ...
    def receive(self, sender: str, message: Message) -> None: ...
    def persisted(self, seqno: int) -> None: ...
    def submit(self, operation: int) -> TxID: ...
    def reconfigure(self, nodes: Nodes) -> TxID: ...
    def retire(self, node_ids: tuple[str, ...]) -> None: ...
    def sign(self) -> None: ...
    def take_output(self) -> MachineOutput: ...
    def snapshot(self) -> Snapshot: ...
    def kept(self, seqno: int) -> object | None: ...
    def audit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MachineKind:
    """How to make nodes of one kind. `prepare` fits a plan to what the kind can bear."""

    make: Callable[[str, Settings, random.Random, Begin], Machine]  # (node id, settings, rng, how it begins)
    name_of: Callable[[int], str] = "n{}".format
    prepare: Callable[[Plan], Plan] = lambda plan: plan


def consensus_machines(raft_type: type[Raft] = Raft, machine_type: type[ConsensusMachine] | None = None) -> MachineKind:
    """Machines that are a Raft core and no more."""
    build = machine_type or ConsensusMachine

    def make(node_id: str, settings: Settings, rng: random.Random, begin: Begin) -> Machine:
        return build(node_id, settings, rng, raft_type, begin)

    return MachineKind(make)


class ConsensusMachine:
    """A Raft core over a list of entries."""

    def __init__(
        self, node_id: str, settings: Settings, rng: random.Random, raft_type: type[Raft], begin: Begin
    ) -> None:
        snapshot = begin.snapshot
        seqno, root = 0, b""
        origin = None
        if snapshot is not None:
            seqno = snapshot.seqno
            origin, root = cast(tuple[Origin, bytes], snapshot.state)
        start = raft_type.start if begin.first else raft_type.join
        self.raft = start(node_id=node_id, settings=settings, draw=rng.randint, read=self._read, origin=origin)
        self._ledger: list[Entry | None] = list(snapshot.ledger if snapshot else ()) or [None] * seqno
        self._marks = _Marks() if snapshot is None else _Marks.of(snapshot)
        self._roots = [b""] * seqno + [root]
        self._proposed: list[Written] = []

    @property
    def whole(self) -> bool:
        return True

    def tick(self, elapsed_ms: int) -> None:
        self.raft.tick(elapsed_ms)

    def resume(self, absent_ms: int) -> None:
        self.raft.resume(absent_ms)

    def receive(self, sender: str, message: Message) -> None:
        self.raft.receive(sender, message)

    def persisted(self, seqno: int) -> None:
        self.raft.persisted(seqno)

    def submit(self, operation: int) -> TxID:
        """A client's write; the machine must lead."""
        return self._propose(b"operation %d " % operation + b"." * (operation % 60))

    def reconfigure(self, nodes: Nodes) -> TxID:
        return self._propose(b"nodes " + " ".join(node for node, _ in nodes).encode(), configuration=nodes)

    def retire(self, node_ids: tuple[str, ...]) -> None:
        self._propose(b"retired_committed " + " ".join(node_ids).encode(), retired_committed=node_ids)

    def sign(self) -> None:
        self._propose(self._roots[-1], signed=True)

    def take_output(self) -> MachineOutput:
        output = self.raft.take_output()
        written = self._proposed
        self._proposed = []
        if output.truncate_after is not None:
            assert not written, "truncated after a proposal in one step"
            self._truncate(output.truncate_after)
        if output.append:
            written = self._accept(output.append)
        return MachineOutput(output.truncate_after, written, output.sync, output.send, output.commit, output.became)

    def snapshot(self) -> Snapshot:
        """At the commit."""
        seqno = self._snapshot_seqno()
        history = tuple(start for start in self.raft.view_history if start <= seqno)
        nodes, retirements = self._marks.at(seqno)
        state = (Origin(seqno, history, nodes, retirements), self._roots[seqno])
        digest = hashlib.sha256(repr(state).encode()).digest()
        return Snapshot(seqno, digest, state)

    def kept(self, seqno: int) -> object | None:
        """What this machine's ledger holds, without marks: a leader that is given it could not tell them."""
        entry = self._ledger[seqno - 1]
        return None if entry is None else _unmarked(entry)

    def audit(self) -> None:
        """Nothing beyond what the simulator's checker sees."""

    def _snapshot_seqno(self) -> int:
        return self.raft.commit_seqno

    def _propose(
        self,
        data: bytes,
        *,
        signed: bool = False,
        configuration: Nodes | None = None,
        retired_committed: tuple[str, ...] = (),
    ) -> TxID:
        raft = self.raft
        assert raft.role is Leadership.LEADER
        entry = Entry(raft.view, raft.last_seqno + 1, data, signed, configuration, retired_committed)
        self._proposed.append(self._write(entry))
        raft.propose(entry)
        return TxID(entry.view, entry.seqno)

    def _accept(self, entries: Sequence[Entry]) -> list[Written]:
        written = []
        for entry in entries:
            if entry.signed and entry.data != self._roots[-1]:
                self.raft.reject_after(entry.seqno - 1)
                break
            marked = _marked(entry)
            if marked != entry:
                self.raft.correct_marks(entry.seqno, marked.configuration, marked.retired_committed)
            written.append(self._write(marked))
        return written

    def _write(self, entry: Entry) -> Written:
        assert entry.seqno == len(self._ledger) + 1
        marks = repr((entry.view, entry.seqno, entry.signed, entry.configuration, entry.retired_committed))
        root = hashlib.sha256(self._roots[-1] + marks.encode() + entry.data).digest()
        self._ledger.append(entry)
        self._marks.append(entry)
        self._roots.append(root)
        return Written(entry, root)

    def _truncate(self, seqno: int) -> None:
        del self._ledger[seqno:]
        self._marks.truncate(seqno)
        del self._roots[seqno + 1 :]

    def _read(self, first: int, last: int) -> Sequence[Entry]:
        entries = [entry for entry in self._ledger[first - 1 : last] if entry is not None]
        return entries if entries and entries[0].seqno == first else ()


class _Marks:
    """What entries say of membership, read from the entries themselves."""

    def __init__(self) -> None:
        self._nodes: list[Configuration] = []
        self._retirements: list[Retirement] = []

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Marks:
        origin, _ = cast(tuple[Origin, bytes], snapshot.state)
        marks = cls()
        marks._nodes, marks._retirements = list(origin.configurations), list(origin.retirements)
        return marks

    def append(self, entry: Entry) -> None:
        if entry.configuration is not None:
            kept = dict(entry.configuration)
            before = self._nodes[-1].nodes if self._nodes else ()
            self._retirements += [Retirement(n, address, entry.seqno) for n, address in before if n not in kept]
            self._nodes.append(Configuration(entry.seqno, entry.configuration))
        self._retirements = [
            replace(r, marked_seqno=entry.seqno) if r.node_id in entry.retired_committed and not r.marked_seqno else r
            for r in self._retirements
        ]

    def truncate(self, seqno: int) -> None:
        self._nodes = [c for c in self._nodes if c.seqno <= seqno]
        self._retirements = [
            replace(r, marked_seqno=r.marked_seqno if r.marked_seqno <= seqno else 0)
            for r in self._retirements
            if r.ordered_seqno <= seqno
        ]

    def at(self, seqno: int) -> tuple[tuple[Configuration, ...], tuple[Retirement, ...]]:
        """The one configuration, and the retirements, at a committed seqno."""
        marks = _Marks()
        marks._nodes, marks._retirements = self._nodes, self._retirements
        marks.truncate(seqno)
        return tuple(marks._nodes[-1:]), tuple(marks._retirements)


def _unmarked(entry: Entry) -> Entry:
    return replace(entry, configuration=None, retired_committed=())


def _marked(entry: Entry) -> Entry:
    """With the marks that its data stand for, as a replica derives them from what an entry writes."""
    kind, *names = entry.data.decode("latin-1").split(" ")
    if entry.signed or kind not in ("nodes", "retired_committed"):
        return _unmarked(entry)
    if kind == "nodes":
        return replace(entry, configuration=tuple((name, f"{name}:1") for name in names), retired_committed=())
    return replace(entry, configuration=None, retired_committed=tuple(names))
