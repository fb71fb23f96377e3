"""Joining an existing service (node-api.md 6.4): a snapshot to begin with, admission, and what came before.

A joiner answers `/node` on its `Node` interfaces while it waits to be trusted.
"""

import asyncio
import logging
from pathlib import Path

from dataplane.config import JoinCommand
from dataplane.consensus.raft import Raft
from dataplane.crypto.keys import load_private_key
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.node.assembly import Parts
from dataplane.node.backfill import Backfill, addresses
from dataplane.node.identity import ServiceIdentity
from dataplane.node.join import Admission, join_service
from dataplane.node.lifecycle import NodeState
from dataplane.node.peer_http import Peers
from dataplane.node.recovery import Recovery
from dataplane.node.startup_files import read_text
from dataplane.node.startup_snapshot import choose_snapshot, state_of
from dataplane.replica_state import state_from
from dataplane.snapshot_proof import VerifiedSnapshot

_log = logging.getLogger("node")


async def join_existing(parts: Parts, command: JoinCommand) -> None:
    """Become a node of the service at the target. Raises `StartFailed`, `JoinFailed`, `SnapshotUnusable`."""
    node, config = parts.node, parts.config
    node.advance(NodeState.PENDING)
    peers = Peers(parts.identity, read_text(config.service_certificate_file), config.client_connection_timeout_ms)
    snapshot = await choose_snapshot(command, peers, node.snapshots.files)
    node.startup_seqno = 0 if snapshot is None else snapshot.snapshot.seqno
    admission = await join_service(command, peers, parts.description.join_request(node.startup_seqno))
    await _begin_after(parts, snapshot, admission)
    _take_admission(parts, admission)
    if admission.first_recovered_seqno is None:
        node.advance(NodeState.PART_OF_NETWORK)
    else:
        _join_recovery(parts, admission.first_recovered_seqno, snapshot)
    if snapshot is not None and command.fetch_ledger:
        _fetch_ledger(parts, command, peers)


async def _begin_after(parts: Parts, snapshot: VerifiedSnapshot | None, admission: Admission) -> None:
    """Be what the snapshot holds, before any other node can reach this one.

    While the service recovers, nobody has the secret of a snapshot from before: its private tables come later.
    """
    if snapshot is None:
        parts.ledger.begin_after(0)
        return
    if admission.first_recovered_seqno is None:
        state = await asyncio.to_thread(state_of, snapshot, LedgerSecrets(admission.ledger_secrets))
    else:
        state = state_from(snapshot.snapshot)
    chunker = Chunker(parts.config.chunk_size, state.seqno)
    parts.replica.restore(parts.begin_raft(Raft.join, origin=state.origin()), state, chunker)
    parts.ledger.begin_after(state.seqno)
    parts.node.snapshots.began_at(state.seqno)
    _log.info("This node begins with the snapshot at %s", parts.replica.raft.last_txid)


def _take_admission(parts: Parts, admission: Admission) -> None:
    service = ServiceIdentity(load_private_key(admission.service_key_pem), admission.service_certificate)
    for version, key in sorted(admission.ledger_secrets.items()):
        parts.secrets.add(version, key)
    parts.secrets.settle()
    parts.credentials.take_addresses(admission.addresses)
    if admission.endorsed_certificate is not None:
        parts.certificates.take_endorsed(admission.endorsed_certificate)
    parts.credentials.take_service(service, (admission.cose_issuer, admission.cose_subject))
    parts.listeners.channels.keep(admission.addresses.keys() - {parts.identity.id})


def _join_recovery(parts: Parts, first_seqno: int, snapshot: VerifiedSnapshot | None) -> None:
    """The service is not open yet: this node takes part in its recovery."""
    parts.replica.begin_recovery(first_seqno)
    parts.ledger.mark_recovery(first_seqno - 1)
    parts.node.advance(NodeState.PART_OF_PUBLIC_NETWORK)
    frame = None if snapshot is None else snapshot.frame
    parts.node.recovery = Recovery(parts.node, parts.ledger, parts.ops, first_seqno, frame)


def _fetch_ledger(parts: Parts, command: JoinCommand, peers: Peers) -> None:
    node = parts.node
    node.backfill = Backfill(
        parts.ledger,
        Path(parts.config.ledger_directory),
        peers,
        lambda: addresses(parts.replica.begin(), parts.identity.id, command.target_rpc_address),
    )
    node.backfill.start(node.startup_seqno)
