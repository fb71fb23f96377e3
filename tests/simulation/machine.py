"""What the simulator drives: a node as a machine, with the verbs of the consensus core.

`ConsensusMachine` is a Raft core with the least around it that makes it a ledger: frames, a chained root over
them (in place of the Merkle tree) that every signature entry repeats, and the check of that root on receipt.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dataplane.consensus.log import Entry, Nodes
from dataplane.consensus.messages import Message
from dataplane.consensus.output import Became, Leadership
from dataplane.consensus.raft import Raft, Settings
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


class Machine(Protocol):
    """A node under simulation."""

    raft: Raft

    def tick(self, elapsed_ms: int) -> None: ...
    def receive(self, sender: str, message: Message) -> None: ...
    def persisted(self, seqno: int) -> None: ...
    def submit(self, operation: int) -> TxID: ...
    def reconfigure(self, nodes: Nodes) -> TxID: ...
    def retire(self, node_ids: tuple[str, ...]) -> None: ...
    def sign(self) -> None: ...
    def take_output(self) -> MachineOutput: ...
    def audit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MachineKind:
    """How to make nodes of one kind. `prepare` fits a plan to what the kind can bear."""

    make: Callable[[str, Settings, random.Random, bool], Machine]  # (node id, settings, rng, first of the service)
    name_of: Callable[[int], str] = "n{}".format
    prepare: Callable[[Plan], Plan] = lambda plan: plan


def consensus_machines(raft_type: type[Raft] = Raft) -> MachineKind:
    """Machines that are a Raft core and no more."""

    def make(node_id: str, settings: Settings, rng: random.Random, first: bool) -> Machine:
        return ConsensusMachine(node_id, settings, rng, raft_type, first=first)

    return MachineKind(make)


class ConsensusMachine:
    """A Raft core over a list of entries."""

    def __init__(
        self, node_id: str, settings: Settings, rng: random.Random, raft_type: type[Raft], *, first: bool
    ) -> None:
        begin = raft_type.start if first else raft_type.join
        self.raft = begin(node_id=node_id, settings=settings, draw=rng.randint, read=self._read)
        self._ledger: list[Entry] = []
        self._roots = [b""]
        self._proposed: list[Written] = []

    def tick(self, elapsed_ms: int) -> None:
        self.raft.tick(elapsed_ms)

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

    def audit(self) -> None:
        """Nothing beyond what the simulator's checker sees."""

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
            written.append(self._write(entry))
        return written

    def _write(self, entry: Entry) -> Written:
        assert entry.seqno == len(self._ledger) + 1
        marks = repr((entry.view, entry.seqno, entry.signed, entry.configuration, entry.retired_committed))
        root = hashlib.sha256(self._roots[-1] + marks.encode() + entry.data).digest()
        self._ledger.append(entry)
        self._roots.append(root)
        return Written(entry, root)

    def _truncate(self, seqno: int) -> None:
        del self._ledger[seqno:]
        del self._roots[seqno + 1 :]

    def _read(self, first: int, last: int) -> Sequence[Entry]:
        return self._ledger[first - 1 : last]
