"""Recovering a service that was lost, from its ledger and perhaps a snapshot (ledger-format.md 6.7, node-api.md 8.2).

This node reads the public ledger, then leads the service under a new identity; `Recovery` does the rest, when the
ledger secrets are known again.
"""

import logging
import secrets
from datetime import datetime
from pathlib import Path

from dataplane.attestation.sealing import SealingFailed, unseal_secret
from dataplane.config import RecoverCommand
from dataplane.consensus.parameters import Origin
from dataplane.consensus.raft import Raft
from dataplane.crypto.certs import subject_text
from dataplane.governance.recovery import RecoveredService, last_cose_claims, latest_version, write_recovery
from dataplane.governance.service import service_info
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.snapshot import decode_snapshot
from dataplane.node.assembly import Parts
from dataplane.node.first_node import SECRET_BYTES, endorse_self, publish_service
from dataplane.node.identity import new_service_identity
from dataplane.node.lifecycle import NodeState
from dataplane.node.recovery import Recovery, older_history, read_public_ledger
from dataplane.node.startup_files import StartFailed, read_json, read_text
from dataplane.node.startup_snapshot import SnapshotUnusable, local_snapshot
from dataplane.receipt import NotEndorsed
from dataplane.replica_state import State, state_from
from dataplane.snapshot_proof import VerifiedSnapshot
from dataplane.txid import TxID

_VIEWS_TO_RECOVERY = 2  # ledger-format.md 3
_NOT_ENDORSED = "Previous service identity does not endorse the node identity that signed the snapshot"
_log = logging.getLogger("node")


async def recover_service(parts: Parts, command: RecoverCommand, now: datetime) -> None:
    """Be the first node of a service that comes back with its public tables. Raises `StartFailed`."""
    node = parts.node
    node.advance(NodeState.READING_PUBLIC_LEDGER)
    snapshot = _snapshot_to_recover(parts, read_text(command.previous_service_identity_file))
    state = await _read_public_state(parts, snapshot)
    first = TxID(len(state.view_history) + _VIEWS_TO_RECOVERY, state.seqno + 1)
    _begin_after(parts, state, first)
    tx = parts.replica.begin()
    days = command.initial_service_certificate_validity_days
    service = new_service_identity(subject_text(service_info(tx)["cert"]), now, days)
    parts.credentials.take_service(service, last_cose_claims(tx))
    unseals = _prepare_to_unseal(parts, command)
    endorsed = endorse_self(parts, service, now)
    write_recovery(tx, _recovered(parts, service.certificate, first, endorsed, unseals))
    parts.replica.submit(tx, EntryFlags.CHUNK_BEFORE)
    publish_service(parts, service)
    node.advance(NodeState.PART_OF_PUBLIC_NETWORK)
    frame = None if snapshot is None else snapshot.frame
    node.recovery = Recovery(node, parts.ledger, parts.ops, first.seqno, frame)


def _snapshot_to_recover(parts: Parts, previous_identity: str) -> VerifiedSnapshot | None:
    """The newest snapshot on disk, which the service that was lost must vouch for."""
    node = parts.node
    try:
        snapshot = local_snapshot(node.snapshots.files, previous_identity)
    except SnapshotUnusable as error:
        if isinstance(error.__cause__, NotEndorsed):
            raise StartFailed(_NOT_ENDORSED) from error
        raise StartFailed(str(error)) from error
    if snapshot is not None:
        node.startup_seqno = snapshot.snapshot.seqno
        node.snapshots.began_at(snapshot.snapshot.seqno)
    return snapshot


async def _read_public_state(parts: Parts, snapshot: VerifiedSnapshot | None) -> State:
    """The public tables at the last signature of the ledger, which now ends there."""
    ledger, begin_seqno = parts.ledger, parts.node.startup_seqno
    if ledger.last_seqno < begin_seqno:
        ledger.begin_after(begin_seqno)
    state = await read_public_ledger(
        ledger, lambda: None if snapshot is None else state_from(decode_snapshot(snapshot.frame))
    )
    if not state.seqno:
        raise StartFailed("No signature found in the ledger to recover")
    ledger.recover_until(state.seqno)
    return state


def _begin_after(parts: Parts, state: State, first: TxID) -> None:
    """Lead from `first` on, with a ledger secret of its own."""
    parts.secrets.add(first.seqno, secrets.token_bytes(SECRET_BYTES))
    raft = parts.begin_raft(Raft.start, origin=Origin(state.seqno, state.view_history), view=first.view)
    replica = parts.replica
    replica.restore(raft, state, Chunker(parts.config.chunk_size, state.seqno))
    replica.secret_history = older_history(parts.ledger, replica.secret_history)
    replica.begin_recovery(first.seqno)


def _prepare_to_unseal(parts: Parts, command: RecoverCommand) -> bool:
    """Whether the ledger's newest secret is sealed where this node was told; members' shares will do if not."""
    if command.previous_sealed_ledger_secret_location is None:
        return False
    directory = Path(command.previous_sealed_ledger_secret_location)
    version = latest_version(parts.ops.secret_history())
    try:
        if unseal_secret(directory, version) is not None:
            parts.ops.unseal_version = lambda version: unseal_secret(directory, version)
            return True
        reason = f"{directory} holds no sealed ledger secret of version {version}"
    except SealingFailed as error:
        reason = str(error)
    _log.warning("Members' recovery shares are needed: %s", reason)
    return False


def _recovered(
    parts: Parts, service_cert_pem: str, created: TxID, node_cert_pem: str, unseals: bool
) -> RecoveredService:
    evidence = parts.description.attest()
    claims = parts.description.claims(evidence)
    return RecoveredService(
        service_cert_pem=service_cert_pem,
        created=created,
        node=parts.description.record(evidence),
        node_cert_pem=node_cert_pem,
        service_data=read_json(parts.config.service_data_json_file),
        virtual_measurement=claims.measurement,
        virtual_host_data=claims.host_data,
        unseals=unseals,
    )
