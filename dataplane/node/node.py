"""The shell around one replica: the loop that carries out its duties, in their order.

One event loop owns the replica, so there are no locks. Inputs (requests, messages, ticks, finished syncs) change the
replica and ask for one pump at the end of the loop's turn; `_pump` then truncates, writes, starts a sync, sends, and
acts on commits, so that many transactions of one turn travel together. Only fdatasync runs in a thread.

Crash notes: frames are written before messages leave, acknowledgements name synced entries only. A failed write or sync
leaves the disk unknown, so the node goes silent (`_on_lost_ledger`).

Over 400 lines, as it answers for all its parts towards endpoints, pipeline and channels; what each does is elsewhere.
"""

import asyncio
import logging
import os
import resource
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from dataplane.api.node import Version
from dataplane.api.pipeline import ForwardedRequest, NotPrimary, Pipeline, Reply
from dataplane.api.prometheus import Family
from dataplane.attestation.sealing import SealingFailed, seal_secret
from dataplane.config import Config
from dataplane.consensus.configuration import RetirementPhase
from dataplane.consensus.details import details
from dataplane.consensus.output import Became, RetirementChanged, RoleChanged
from dataplane.consensus.raft import NotLeader
from dataplane.consensus.wire import MalformedMessage, decode_message, encode_message
from dataplane.errors import InternalError, RpcError
from dataplane.governance.nodes import endorsed_certificate, find_node, record_retired_committed
from dataplane.kv.tables import (
    JWT_ISSUERS,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    SNAPSHOT_EVIDENCE,
    get_json,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.ledger.files import LedgerFailed, LedgerFiles
from dataplane.ledger.snapshot_files import SnapshotFiles
from dataplane.node.backfill import Backfill
from dataplane.node.beats import Beats
from dataplane.node.channels import Channels
from dataplane.node.commits import CommitWatch
from dataplane.node.disk import LedgerDisk
from dataplane.node.forwarding import (
    Forwarder,
    MalformedForward,
    decode_request,
    encode_response,
)
from dataplane.node.identity import NodeIdentity
from dataplane.node.lifecycle import NodeState, advance
from dataplane.node.metrics import Counters, families
from dataplane.node.service_ops import NodeServiceOps
from dataplane.node.snapshots import Snapshots, opens_service
from dataplane.node.turns import Turns
from dataplane.replica import EntryTooLarge, Replica
from dataplane.txid import NodeId, TxID, TxStatus

CONSENSUS, FORWARDED_REQUEST, FORWARDED_ANSWER = 1, 2, 3
"""Kinds of node-to-node messages."""

_log = logging.getLogger("node")


class RecoverySteps(Protocol):
    """What a node asks of the recovery it takes part in; `node.recovery` has it, which needs the node."""

    first_seqno: int

    def advance(self) -> bool: ...
    def progress(self) -> Mapping[str, int]: ...
    @property
    def hands_out_secrets(self) -> bool: ...


class Node:
    """One node of a service: replica, ledger, channels and clock, and what endpoints may ask of them."""

    def __init__(
        self,
        config: Config,
        identity: NodeIdentity,
        rpc_interfaces: Mapping[str, object],
        version: Version,
        ops: NodeServiceOps,
        stop: Callable[[str], None],
    ) -> None:
        self._config = config
        self.identity = identity
        self.node_id = identity.id
        self.self_signed_certificate = identity.self_signed_certificate
        self.rpc_interfaces = rpc_interfaces
        self.version = version
        self._ops = ops
        self.stop = stop
        self._loop = asyncio.get_running_loop()
        self._forwarder = Forwarder(self._loop)
        self.turns = Turns(self._loop)
        self._state = NodeState.UNINITIALIZED
        self.stop_notice = False
        self.startup_seqno = 0
        self.backfill: Backfill | None = None
        self._gov_open = False
        self._app_open = False
        self.counters = Counters()
        self._pump_due = False
        self._sealed_version = 0
        self.write_refusal: str | None = None
        self._since_signature_ms = 0.0
        self._last_tick = time.monotonic()
        self._since_published_ms = 0.0
        self._presented: str | None = None
        self.commits = CommitWatch()
        self.commits.on_change(NODES_ENDORSED_CERTIFICATES, self._take_endorsed_certificate)
        self.commits.on_change(SERVICE_INFO, self._take_service)
        self.commits.on_change(NODES_INFO, self._follow_membership)
        self.session_metrics: Callable[[], Mapping[str, object]] = dict
        self.js_metrics: Callable[[], Mapping[str, object]] = dict
        self.on_endorsed: Callable[[str], None] = lambda certificate: None
        self.on_jwt_issuers: Callable[[], None] = lambda: None
        self.admission: Callable[[], Mapping[str, Any]] = dict
        self.recovery: RecoverySteps | None = None

    def attach(
        self,
        replica: Replica,
        ledger: LedgerFiles,
        snapshot_files: SnapshotFiles,
        channels: Channels,
        pipeline: Pipeline,
        beats: Beats,
    ) -> None:
        """Give the node its parts and start its clock."""
        self.replica = replica
        self._disk = LedgerDisk(ledger, self.counters, self._on_persisted, self._on_lost_ledger, self._sealing)
        self._channels = channels
        self._pipeline = pipeline
        self._beats = beats
        self.snapshots = Snapshots(
            replica, ledger, snapshot_files, self._config.snapshot_tx_count, self._submit_evidence, self._loop
        )
        self._loop.call_later(self._config.tick_interval_ms / 1000, self._carry_out, self._tick)

    def advance(self, target: NodeState) -> None:
        """Move to another state of the contract's table."""
        self._state = advance(self._state, target)
        _log.info("Node %s is now %s", self.node_id, target.value)

    def follow_recovery(self) -> None:
        """Go on with a recovery, as far as what is committed allows."""
        if self.recovery is not None and self.recovery.advance():
            self.recovery = None
        self.wake()

    def give_stop_notice(self) -> None:
        """Say from now on that this node is about to stop: clients and load balancers look at its readiness."""
        self.stop_notice = True

    async def close(self) -> None:
        """Stop: flush the ledger and wait for a running sync."""
        await self._disk.close()

    # What endpoints may ask (NodeView, api.node.Node)

    @property
    def state(self) -> str:
        return self._state.value

    @property
    def is_primary(self) -> bool:
        return self.replica.is_leader

    @property
    def primary_id(self) -> NodeId | None:
        return self.replica.raft.leader_id

    @property
    def current_view(self) -> int:
        return self.replica.raft.view

    @property
    def last_signed_seqno(self) -> int:
        return self.replica.last_signed_seqno

    def status(self, txid: TxID) -> TxStatus:
        return self.replica.raft.status(txid)

    def commit_txid(self) -> TxID:
        return self.replica.raft.commit_txid

    def view_history(self) -> Sequence[int]:
        return self.replica.raft.view_history

    def view_of(self, seqno: int) -> int | None:
        return self.replica.raft.view_at(seqno) or None

    def root_at(self, seqno: int) -> bytes | None:
        return self.replica.root_at(seqno)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def recovery_progress(self) -> Mapping[str, int]:
        return {} if self.recovery is None else self.recovery.progress()

    def first_recovered_seqno(self) -> int | None:
        missing = self.recovery is not None and self.replica.lacks_private_state
        return self.recovery.first_seqno if missing and self.recovery else None

    def knows_uncommitted_secret(self) -> bool:
        newest = max((version for version, _ in self.replica.secrets), default=0)
        on_their_way = self.recovery is not None and self.recovery.hands_out_secrets
        return on_their_way or newest > self.replica.raft.commit_seqno + 1

    def consensus_details(self) -> Mapping[str, object]:
        told = details(self.replica.raft)
        return told if self.write_refusal is None else {**told, "ticking": False}

    def metric_families(self) -> list[Family]:
        return families(
            self._state,
            self.replica.raft,
            self.last_signed_seqno,
            self.counters,
            self._pipeline.traffic,
            self.session_metrics(),
            self._channels,
            self.snapshots.written,
            self.write_refusal is not None,
        )

    def memory(self) -> Mapping[str, int]:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {
            "max_total_heap_size": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "current_allocated_heap_size": pages * os.sysconf("SC_PAGE_SIZE"),
            "peak_allocated_heap_size": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    def primary_address(self, interface: str | None) -> str | None:
        """The primary's published address of `interface`, by default of its first one."""
        record = None if self.primary_id is None else find_node(self.begin(), self.primary_id)
        if record is None:
            return None
        interfaces = record["rpc_interfaces"]
        chosen = interfaces.get(interface or min(interfaces))
        return None if chosen is None else str(chosen["published_address"])

    # What the pipeline asks (Core)

    def begin(self) -> Tx:
        return self.replica.begin() if self.write_refusal is None else self.begin_at_committed()

    def begin_at_committed(self) -> Tx:
        return self.replica.store.begin_at_committed()

    def submit(self, tx: Tx) -> TxID:
        try:
            txid = self.replica.submit(tx)
        except NotLeader as error:
            raise NotPrimary from error
        except EntryTooLarge as error:
            self.stop(str(error))
            raise InternalError(str(error)) from error
        if self._ops.wants_chunk(tx):
            self.replica.request_chunk()
        if JWT_ISSUERS in tx.writes:
            self.on_jwt_issuers()
        if self._ops.wants_snapshot(tx) or (not self._app_open and opens_service(tx.writes)):
            self.snapshots.request()
        if self.replica.unsigned_count >= self._config.signature_tx_count:
            self._sign()
        self.wake()
        return txid

    def txid_at(self, seqno: int) -> TxID:
        return self.replica.txid_at(seqno)

    def is_frontend_open(self, name: str) -> bool:
        if name == "app":
            return self._app_open and not self.replica.lacks_private_state
        return name == "node" or self._gov_open

    def is_overloaded(self) -> bool:
        limit = self._config.max_uncommitted_tx_count
        raft = self.replica.raft
        return bool(limit) and self.is_primary and raft.last_seqno - raft.commit_seqno >= limit

    def forward(self, request: ForwardedRequest, timeout_ms: int, reply: Reply) -> None:
        primary = self.primary_id
        if primary is None or primary == self.node_id:
            raise RpcError(503, "InternalError", "RPC could not be forwarded: the primary is unknown.")
        if not self._has_channel_to(primary):
            raise RpcError(503, "InternalError", "RPC could not be forwarded: no channel to the primary.")
        self._forwarder.send(
            request,
            primary,
            timeout_ms,
            reply,
            lambda payload: self._channels.send(primary, FORWARDED_REQUEST, payload),
        )

    def _has_channel_to(self, node_id: NodeId) -> bool:
        return node_id in self._channels.connected()

    def report(self, error: Exception) -> None:
        _log.warning("unexpected exception in a request", exc_info=error)

    # Inputs

    def on_message(self, sender: NodeId, kind: int, payload: bytes) -> None:
        """A message of another node, whose identity the channel has established."""
        try:
            if kind == CONSENSUS:
                if self.write_refusal is not None:
                    return
                message = decode_message(payload)
                self._carry_out(lambda: self.replica.receive(sender, message))
            elif kind == FORWARDED_REQUEST:
                self.turns.run(self._execute_forwarded, sender, *decode_request(payload))
            elif kind == FORWARDED_ANSWER:
                self._forwarder.answer(payload)
        except (MalformedMessage, MalformedForward) as error:
            _log.info("dropped a message of node %s: %s", sender, error)
        self.wake()

    def _execute_forwarded(self, sender: NodeId, number: int, request: ForwardedRequest) -> None:
        answer = self._pipeline.execute_forwarded(request)
        self._channels.send(sender, FORWARDED_ANSWER, encode_response(number, answer))

    def on_lost(self, peer: NodeId) -> None:
        """The channel to another node broke."""
        self._forwarder.lost(peer)

    def wake(self) -> None:
        """Carry out the replica's duties at the end of this turn of the loop."""
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._carry_out, self._pump)

    def _carry_out(self, step: Callable[[], None]) -> None:
        """Run a step of the core. A broken invariant stops the node: nobody knows what it would do next."""
        try:
            step()
        except LedgerFailed as error:  # in a read of the core: a ledger that cannot be read cannot be trusted with more
            self._disk.fail(error)
        except Exception as error:
            _log.critical("an invariant of this node is broken", exc_info=error)
            self.stop(f"an invariant of this node is broken: {error!r}")

    def _tick(self) -> None:
        self._beats.turned()
        now = time.monotonic()
        elapsed_ms = (now - self._last_tick) * 1000
        self._loop.call_later(self._config.tick_interval_ms / 1000, self._carry_out, self._tick)
        if elapsed_ms < 1 or self.write_refusal is not None:
            return
        self._last_tick = now
        if elapsed_ms > self._config.message_timeout_ms:
            self.replica.resume(int(elapsed_ms))
        else:
            self.replica.tick(int(elapsed_ms))
        self._since_published_ms += elapsed_ms
        if self._since_published_ms >= self._config.message_timeout_ms:
            self._publish_beats()
        self._since_signature_ms += elapsed_ms
        self.wake()

    def _publish_beats(self) -> None:
        self._since_published_ms = 0.0
        beats = self.replica.raft.beats()
        address_of = self._channels.address_of
        self._beats.publish({peer: (address_of(peer), encode_message(beat)) for peer, beat in beats})

    def _signature_wanted(self) -> bool:
        """Asked at the end of each turn: what comes after a quiet delay is signed at once, not a delay later."""
        if not self.is_primary:
            return False
        timed_out = self._since_signature_ms >= self._config.signature_delay_ms
        return self.replica.signature_due or (timed_out and self.replica.unsigned_count > 0)

    def _sign(self) -> None:
        if self._state is NodeState.PART_OF_NETWORK:  # the only state in which the store is whole
            self.snapshots.before_signature()
        self.replica.sign()
        self.counters.signatures += 1
        self._since_signature_ms = 0.0

    # Duties

    def _pump(self) -> None:
        self._pump_due = False
        if self.write_refusal is not None:
            return
        if self._signature_wanted():
            self._sign()
        duties = self.replica.take_duties()
        if not self._disk.write(duties):
            return
        encoded: dict[int, bytes] = {}
        for peer, message in duties.send:
            payload = encoded.get(id(message)) or encode_message(message)
            encoded[id(message)] = payload
            self._channels.send(peer, CONSENSUS, payload)
        if duties.refused is not None:
            _log.warning("refused an entry of the primary, %s", duties.refused)
        if duties.commit is not None and self._disk.commit(duties.commit):
            self._on_commit()
            self.snapshots.on_commit()
        for change in duties.became:
            self._on_change(change)

    def _sealing(self) -> Callable[[], None]:
        """For the disk's thread: what entries are encrypted with is sealed before any of them counts as persisted."""
        location, newest = self._config.output_files.sealed_ledger_secret_location, self.replica.secrets.newest
        if location is None or newest is None:
            return lambda: None
        return lambda: self._seal(Path(location), *newest)

    def _seal(self, directory: Path, version: int, key: bytes) -> None:
        if version == self._sealed_version:
            return
        try:
            seal_secret(directory, version, key)
            self._sealed_version = version
        except SealingFailed as error:  # tried again with the next sync
            _log.warning("%s", error)

    def _on_persisted(self, seqno: int) -> None:
        self.replica.persisted(seqno)
        self.wake()

    def _on_lost_ledger(self, error: LedgerFailed) -> None:
        """Nothing can be written any more, so this node leads and follows no longer (DECISIONS.md, "A full disk").

        It names a successor where it led, goes silent, and serves reads of what is committed. What it took after the
        last signature is told to nobody.
        """
        self.write_refusal = f"The ledger of this node cannot be written: {error}"
        _log.warning("%s. It takes no writes any more and leaves its place to other nodes", self.write_refusal)
        self._beats.publish({})
        for peer, message in self.replica.resign():
            self._channels.send(peer, CONSENSUS, encode_message(message))

    def _on_commit(self) -> None:
        """Act on what is now committed: certificates, an open service, membership, completed retirements."""
        self._record_retirements()
        if self.recovery is not None:
            self.follow_recovery()
        self.commits.committed(self.replica.store)

    def _take_endorsed_certificate(self, tx: Tx) -> None:
        certificate = endorsed_certificate(tx, self.node_id)
        if certificate is None or certificate == self._presented:
            return
        self.identity.endorsed_certificate = self._presented = certificate
        self._gov_open = True
        self.on_endorsed(certificate)

    def _take_service(self, tx: Tx) -> None:
        info, was_open = get_json(tx, SERVICE_INFO), self._app_open
        if info is not None and self._ops.renew_service_certificate(info["cert"]):
            _log.info("The service certificate was renewed")
        self._app_open = info is not None and info["status"] == "Open"
        if self._app_open and not was_open:
            _log.info("Service is open")

    def _follow_membership(self, _: Tx) -> None:
        """Hold connections to the nodes entries go to; none any more when this node has left."""
        raft = self.replica.raft
        left = raft.retirement_phase is RetirementPhase.RETIRED_COMMITTED
        self._channels.keep(() if left else raft.addresses().keys() - {self.node_id})

    def _on_change(self, change: Became) -> None:
        match change:
            case RoleChanged():
                _log.info("%s in view %s, primary is %s", change.role.value, change.view, change.leader_id)
                self._record_retirements()
                self._publish_beats()
                self.follow_recovery()
            case RetirementChanged(node_id=node_id, phase=phase):
                self._on_retirement(node_id, phase)
            case _:
                pass

    def _submit_evidence(self, row: dict[str, object], claims_digest: bytes) -> TxID | None:
        """A snapshot's digest, as the primary's own transaction (ledger-format.md 5.4)."""
        if not self.is_primary:
            return None
        tx = self.begin()
        put_json(tx, SNAPSHOT_EVIDENCE, row)
        tx.claims_digest = claims_digest
        return self.submit(tx)

    def _on_retirement(self, node_id: NodeId, phase: RetirementPhase | None) -> None:
        if node_id == self.node_id:
            _log.info("Retirement of this node: %s", "rolled back" if phase is None else phase.value)
        elif phase is RetirementPhase.RETIRED_COMMITTED:
            self._channels.take_leave(node_id)  # what was just sent to it still goes out

    def _record_retirements(self) -> None:
        """The primary's own transactions: these retirements are committed (node-api.md 6.5).

        Asked after every commit and on becoming primary, as a predecessor may have left some.
        """
        if not self.is_primary:
            return
        for node_id in self.replica.raft.unmarked_retirements():
            tx = self.begin()
            if record_retired_committed(tx, node_id):
                self.submit(tx)
