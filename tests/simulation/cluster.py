"""Nodes, disks and a network in virtual time: a heap of (time, event), and nothing that decides.

Every event that touches a node ends in `_carry_out`, which does the duties of the node's output in order and then
lets the checker look. Events for a node that stands still wait until it goes on.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from dataplane.consensus.configuration import RetirementPhase
from dataplane.consensus.log import Nodes
from dataplane.consensus.messages import AppendEntries, Message
from dataplane.consensus.output import Leadership, RetirementChanged, RoleChanged, SignatureDue
from dataplane.consensus.wire import decode_message, encode_message
from dataplane.txid import TxID
from tests.simulation.checker import Checker
from tests.simulation.disk import MemoryDisk
from tests.simulation.machine import Begin, Machine, MachineKind, MachineOutput, Snapshot
from tests.simulation.network import Network
from tests.simulation.plan import Plan

TICK_US = 10_000


@dataclass(slots=True)
class Node:
    """One process: it is born, may stand still, and dies once."""

    node_id: str
    machine: Machine
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    alive: bool = True
    stalled_until_us: int = 0
    slow_disk_until_us: int = 0
    ticked_us: int = 0
    signed_us: int = 0
    signing: bool = False

    @property
    def leads(self) -> bool:
        return self.alive and self.machine.raft.role is Leadership.LEADER


class Cluster:
    """The simulated world."""

    def __init__(self, plan: Plan, kind: MachineKind) -> None:
        self.plan = plan
        self.now_us = 0
        self.events = 0
        self.nodes: dict[str, Node] = {}
        self.removable: dict[str, int] = {}  # node id -> when its retirement was first reported final
        self.network = Network(random.Random(plan.seed + 1), plan.weather)
        self.checker = Checker()
        self.trace: list[tuple[int, str, str, object]] = []
        self._rng = random.Random(plan.seed + 2)
        self._joins = random.Random(plan.seed + 6)
        self._recovered_seqno = 0  # where the present service began, if it was recovered
        self._bare_seqno = 0  # of the latest snapshot that a node began with and nothing else
        self._kind = kind
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._scheduled = 0

    # Time

    def at(self, when_us: int, act: Callable[[], None]) -> None:
        """Schedule `act`; events of the same time happen in the order they were scheduled."""
        self._scheduled += 1
        heapq.heappush(self._heap, (max(when_us, self.now_us), self._scheduled, act))

    def after(self, delay_us: int, act: Callable[[], None]) -> None:
        self.at(self.now_us + delay_us, act)

    def advance(self) -> None:
        """Let the next event happen."""
        self.now_us, _, act = heapq.heappop(self._heap)
        self.events += 1
        act()

    def note(self, node_id: str, kind: str, detail: object = "") -> None:
        self.trace.append((self.now_us, node_id, kind, detail))

    def lines(self) -> list[str]:
        """The trace as text."""
        return [
            f"{us / 1000:10.3f} {node_id[:8]:4} {kind:8} {_text(detail)}" for us, node_id, kind, detail in self.trace
        ]

    # Nodes

    def spawn(self, *, first: bool = False) -> Node:
        """A new process with a new identity and an empty disk."""
        begin = Begin(first, None if first else self._snapshot(), recovered=self._recovered_seqno)
        node = self._begin(begin)
        self.checker.watch(node.node_id, node.machine.raft, node.disk)
        self.note(node.node_id, "spawn", begin.snapshot or "")
        return node

    def restart(self) -> Node:
        """All processes end at once; the first of a new service begins with the best ledger on any disk."""
        for node in self.alive():
            self.kill(node, "lost")
        source = max(self.nodes.values(), key=lambda node: self.checker.last_signed(node.node_id))
        frames = enumerate(source.disk.frames, 1)
        ledger = [frame or cast(bytes, self._archived(seqno)) for seqno, frame in frames]
        node = self._begin(Begin(first=True, ledger=ledger))
        self.checker.recovered(node.node_id, node.machine.raft, node.disk, source.node_id)
        self._recovered_seqno = node.machine.raft.last_seqno + 1
        self._bare_seqno = 0
        self.note(node.node_id, "recover", f"up to {node.machine.raft.last_txid} from {source.node_id[:8]}")
        return node

    def _begin(self, begin: Begin) -> Node:
        node_id = self._kind.name_of(len(self.nodes))
        pre_vote = len(self.nodes) % 2 < self.plan.pre_voters
        machine = self._kind.make(node_id, replace(self.plan.settings, pre_vote=pre_vote), self._rng, begin)
        seqno = machine.raft.last_seqno
        disk = MemoryDisk(list(begin.ledger[:seqno]) or [b""] * seqno, seqno)
        node = self.nodes[node_id] = Node(node_id, machine, disk, ticked_us=self.now_us)
        self.after(self._rng.randint(0, TICK_US), lambda: self._tick(node))
        return node

    def _snapshot(self) -> Snapshot | None:
        """What a joiner is given: nothing, or a snapshot of any live node, with the ledger before it or without.

        Without only where nobody alive could ever ask for an earlier entry; and whoever joins after one without must
        not begin before it. That is what `StartupSeqnoIsOld` is for (node-api.md 6.4).
        """
        alive = (node for node in self.alive() if node.machine.whole)
        sources = [node for node in alive if node.machine.raft.commit_seqno >= max(self._bare_seqno, 1)]
        if not self.plan.snapshots or not sources or (not self._bare_seqno and self._joins.random() < 0.2):
            return None
        source = self._joins.choice(sources)
        snapshot = source.machine.snapshot()
        self.checker.snapshot(source.node_id, snapshot)
        behind = min(node.machine.raft.commit_seqno for node in self.alive())
        if snapshot.seqno > behind or self._joins.random() < 0.5:
            return replace(snapshot, ledger=[self._archived(seqno) for seqno in range(1, snapshot.seqno + 1)])
        self._bare_seqno = snapshot.seqno
        return snapshot

    def _archived(self, seqno: int) -> object:
        """A committed entry, from whichever ledger holds it: an operator can read the disks of dead nodes too."""
        holders = (node.machine for node in self.nodes.values() if node.machine.raft.commit_seqno >= seqno)
        return next(kept for machine in holders if (kept := machine.kept(seqno)) is not None)

    def alive(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.alive]

    def leader(self) -> Node | None:
        """The live node that leads the highest view, if any leads."""
        leaders = [node for node in self.nodes.values() if node.leads]
        return max(leaders, key=lambda node: node.machine.raft.view, default=None)

    def kill(self, node: Node, why: str) -> None:
        """The process ends and its unsynced writes are lost."""
        self.note(node.node_id, why, f"synced {node.disk.synced_seqno} of {node.disk.last_seqno}")
        node.alive = False
        node.disk.crash()

    def submit(self, node: Node, operation: int) -> TxID:
        """A client's write at a node that believes it leads."""
        txid = node.machine.submit(operation)
        self.note(node.node_id, "submit", txid)
        self.checker.issued(txid)
        self._carry_out(node)
        return txid

    def reconfigure(self, node: Node, nodes: Nodes) -> None:
        txid = node.machine.reconfigure(nodes)
        self.note(node.node_id, "nodes", f"{txid} {[node_id for node_id, _ in nodes]}")
        self._carry_out(node)

    def beat(self, node: Node) -> None:
        """What the thread of a node that stands still does until it goes on."""
        if not node.alive or node.stalled_until_us <= self.now_us:
            return
        for receiver, message in node.machine.raft.beats():
            self._transmit(node.node_id, receiver, message)
        self.after(self.plan.settings.message_timeout_ms * 500, lambda: self.beat(node))

    # Events of one node

    def _tick(self, node: Node) -> None:
        if not node.alive:
            return
        if node.stalled_until_us > self.now_us:
            self.at(node.stalled_until_us, lambda: self._tick(node))
            return
        elapsed_ms = (self.now_us - node.ticked_us) // 1000
        node.ticked_us += elapsed_ms * 1000
        if self.plan.beats and elapsed_ms > self.plan.settings.message_timeout_ms:
            node.machine.resume(elapsed_ms)
        else:
            node.machine.tick(elapsed_ms)
        self._carry_out(node)
        raft = node.machine.raft
        unsigned = raft.last_seqno > raft.committable_seqno
        if node.leads and unsigned and self.now_us - node.signed_us >= self.plan.sign_every_us:
            self._begin_signing(node)
        self.after(TICK_US, lambda: self._tick(node))

    def _begin_signing(self, node: Node) -> None:
        if not node.signing:
            node.signing = True
            self.after(self.plan.sign_takes_us, lambda: self._run(node, lambda: self._sign(node)))

    def _sign(self, node: Node) -> None:
        node.signing = False
        node.signed_us = self.now_us
        raft = node.machine.raft
        unsigned = raft.last_seqno > raft.committable_seqno or raft.view_at(raft.last_seqno) != raft.view
        if node.leads and unsigned:
            node.machine.sign()
            self.note(node.node_id, "sign", raft.last_txid)
            self._carry_out(node)

    def _deliver(self, node: Node, sender: str, message: Message) -> None:
        self.note(node.node_id, "receive", (sender, message))
        node.machine.receive(sender, message)
        self._carry_out(node)

    def _begin_sync(self, node: Node) -> None:
        if not node.disk.begin_sync():
            return
        limit_us = self.plan.sync_us
        if node.slow_disk_until_us > self.now_us:
            limit_us = 300_000
        self.after(self._rng.randint(100, limit_us), lambda: self._run(node, lambda: self._end_sync(node)))

    def _end_sync(self, node: Node) -> None:
        seqno, again = node.disk.end_sync()
        self.note(node.node_id, "synced", seqno)
        node.machine.persisted(seqno)
        self._carry_out(node)
        if again:
            self._begin_sync(node)

    def _mark_retired(self, node: Node) -> None:
        unmarked = node.machine.raft.unmarked_retirements()
        if node.leads and unmarked:
            node.machine.retire(unmarked)
            self.note(node.node_id, "retire", unmarked)
            self._carry_out(node)

    def _run(self, node: Node, act: Callable[[], None]) -> None:
        """Do it now, when the node goes on, or never if it is dead."""
        if not node.alive:
            return
        if node.stalled_until_us > self.now_us:
            self.at(node.stalled_until_us, lambda: self._run(node, act))
            return
        act()

    # Duties

    def _carry_out(self, node: Node) -> None:
        output = node.machine.take_output()
        self._write(node, output)
        self.checker.after(node.node_id, output)
        if output.sync:
            self._begin_sync(node)
        for receiver, message in output.send:
            self._transmit(node.node_id, receiver, message)
        if output.commit is not None:
            self.note(node.node_id, "commit", output.commit)
            if self.plan.snapshots and self._joins.random() < 0.1 and node.machine.whole:
                self.checker.snapshot(node.node_id, node.machine.snapshot())
        self._react(node, output)

    def _write(self, node: Node, output: MachineOutput) -> None:
        if output.truncate_after is not None:
            self.note(node.node_id, "truncate", output.truncate_after)
            node.disk.truncate(output.truncate_after)
        for written in output.written:
            node.disk.write(written.entry.seqno, written.entry.data)

    def _transmit(self, sender: str, receiver_id: str, message: Message) -> None:
        receiver = self.nodes[receiver_id]
        if self.plan.wire:
            message = decode_message(encode_message(message))
        for arrival_us in self.network.arrivals_us(sender, receiver_id, self.now_us):
            self.at(arrival_us, lambda: self._run(receiver, lambda: self._deliver(receiver, sender, message)))

    def _react(self, node: Node, output: MachineOutput) -> None:
        for change in output.became:
            match change:
                case RoleChanged(role, view, leader_id):
                    self.note(node.node_id, "role", f"{role} of view {view}, leader {leader_id}")
                case SignatureDue():
                    self._begin_signing(node)
                case RetirementChanged(retiring, phase):
                    self.note(node.node_id, "retiring", f"{retiring} {phase}")
                    if phase is RetirementPhase.RETIRED_COMMITTED:
                        self.removable.setdefault(retiring, self.now_us)
        if output.commit is not None and node.leads:
            self.after(0, lambda: self._run(node, lambda: self._mark_retired(node)))


def _text(detail: object) -> object:
    if not isinstance(detail, tuple) or len(detail) != 2 or not isinstance(detail[1], Message):
        return detail
    sender, message = detail
    if not isinstance(message, AppendEntries):
        return f"{sender} {message}"
    seqnos = _range([entry.seqno for entry in message.entries])
    head = f"{sender} AppendEntries(view={message.view}, prev={message.prev}"
    return f"{head}, entries={seqnos}, commit={message.commit_seqno})"


def _range(seqnos: Sequence[int]) -> str:
    return f"{seqnos[0]}..{seqnos[-1]}" if seqnos else "none"
