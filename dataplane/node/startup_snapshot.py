"""Which snapshot a node begins with: the newest of what the service offers and what lies on disk (node-api.md 6.4).

None is used before the service vouches for it: the present one, or the one before it, as a service that was recovered
has taken none yet; the target says who that was. One that is offered and does not hold counts as a failed attempt; one
that was put into this node's directory and does not hold stops the start, because an operator meant it to be used.
"""

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import NamedTuple

from dataplane.config import Address, JoinCommand
from dataplane.crypto.aead import DecryptionFailed
from dataplane.ledger.secrets import LedgerSecrets, UnknownSecret
from dataplane.ledger.snapshot import MalformedSnapshot, decode_snapshot
from dataplane.ledger.snapshot_files import SnapshotFiles, SnapshotName, parse_snapshot_name
from dataplane.node.peer_http import Answer, PeerFailed, Peers
from dataplane.receipt import InvalidReceipt, NotEndorsed
from dataplane.replica_state import State, state_from
from dataplane.snapshot_proof import VerifiedSnapshot, verify_snapshot

_PIECE_BYTES = 4 << 20
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", re.ASCII)

_log = logging.getLogger("snapshots")


class SnapshotUnusable(Exception):
    """A snapshot is damaged, or nobody vouches for it. The cause tells which: `NotEndorsed` for another service."""


class _Offered(NamedTuple):
    name: SnapshotName
    data: bytes
    verified: VerifiedSnapshot


async def choose_snapshot(command: JoinCommand, peers: Peers, files: SnapshotFiles) -> VerifiedSnapshot | None:
    """The snapshot to join with; None where there is none, so that the whole ledger is replayed.

    Raises `SnapshotUnusable`, `OSError` where a file cannot be read.
    """
    newest = files.newest()
    if command.fetch_recent_snapshot:
        offered = await _fetch(command, peers, 0 if newest is None else newest.seqno)
        if offered is not None:
            await _keep(files, offered)
            return offered.verified
    found = _newest(files)
    if found is None:
        _log.info("No snapshot found: Node will replay all historical transactions")
        return None
    name, path = found
    return await _verified(command, peers, name, await asyncio.to_thread(path.read_bytes))


def local_snapshot(files: SnapshotFiles, service_cert_pem: str) -> VerifiedSnapshot | None:
    """The newest snapshot on disk, None where there is none. Raises `SnapshotUnusable` or `OSError`."""
    found = _newest(files)
    return None if found is None else _checked(found[0], found[1].read_bytes(), service_cert_pem)


def state_of(snapshot: VerifiedSnapshot, secrets: LedgerSecrets | None) -> State:
    """What the snapshot holds; private tables too, unless their secrets are still to be recovered (None).

    Raises `SnapshotUnusable`.
    """
    try:
        return state_from(decode_snapshot(snapshot.frame, secrets))
    except (MalformedSnapshot, DecryptionFailed, UnknownSecret) as error:
        raise SnapshotUnusable(f"the snapshot at {snapshot.snapshot.seqno} cannot be read: {error}") from error


def _newest(files: SnapshotFiles) -> tuple[SnapshotName, Path] | None:
    usable, empty = files.usable()
    for ignored in empty:
        _log.info("Ignoring empty snapshot file %s", ignored)
    if not usable:
        return None
    _log.info("Found latest local snapshot file: %s", usable[0][1])
    return usable[0]


async def _verified(command: JoinCommand, peers: Peers, name: SnapshotName, data: bytes) -> VerifiedSnapshot:
    try:
        return await asyncio.to_thread(_checked, name, data, peers.service_certificate)
    except SnapshotUnusable as error:
        previous = await _previous_identity(command, peers) if isinstance(error.__cause__, NotEndorsed) else None
        if previous is None:
            raise
    return await asyncio.to_thread(_checked, name, data, previous)


async def _previous_identity(command: JoinCommand, peers: Peers) -> str | None:
    """The certificate of the service before this one, as a node of this one has it in its store; None without one."""
    try:
        answer = await peers.ask(command.target_rpc_address, "GET", "/node/service/previous_identity")
        return str(json.loads(answer.body)["previous_service_identity"]) if answer.status == 200 else None
    except (PeerFailed, ValueError, KeyError, TypeError) as error:
        _log.info("The previous service identity cannot be had: %s", error)
        return None


def _checked(name: SnapshotName, data: bytes, service_cert_pem: str) -> VerifiedSnapshot:
    try:
        verified = verify_snapshot(data, service_cert_pem)
    except (MalformedSnapshot, InvalidReceipt) as error:
        raise SnapshotUnusable(f"snapshot {name} cannot be used: {error}") from error
    if (verified.snapshot.seqno, verified.evidence.seqno) != name:
        raise SnapshotUnusable(f"snapshot {name} is one at {verified.snapshot.seqno}, proven by {verified.evidence}")
    return verified


async def _fetch(command: JoinCommand, peers: Peers, since: int) -> _Offered | None:
    """A snapshot later than `since` from the service, verified; None where it has none or none could be had."""
    attempts = command.fetch_snapshot_max_attempts
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            await asyncio.sleep(command.fetch_snapshot_retry_interval_ms / 1000)
        _log.info("Fetching snapshot from %s (attempt %s/%s)", command.target_rpc_address, attempt, attempts)
        try:
            return await _fetch_once(command, peers, since)
        except (PeerFailed, SnapshotUnusable) as error:
            _log.warning("Error during snapshot fetch: %s", error)
    _log.info("Exceeded maximum snapshot fetch retries (%s), giving up", attempts)
    return None


async def _fetch_once(command: JoinCommand, peers: Peers, since: int) -> _Offered | None:
    target, path, answer = await peers.get(
        command.target_rpc_address, f"/node/snapshot?since={since}", _range(0), _PIECE_BYTES + 1
    )
    if answer.status == 404:
        _log.info("Peer has no suitable snapshot")
        return None
    name = parse_snapshot_name(path.rpartition("/")[2])
    if answer.status not in (200, 206) or name is None:
        raise PeerFailed(f"{target}{path} answered with status {answer.status}, and no snapshot")
    data = await _rest(peers, target, path, answer, command.fetch_snapshot_max_size)
    verified = await _verified(command, peers, name, data)
    _log.info("Received snapshot %s from peer (size: %s)", name, len(data))
    return _Offered(name, data, verified)


async def _rest(peers: Peers, target: Address, path: str, first: Answer, max_bytes: int) -> bytes:
    """The whole file, piece by piece. Whether ends of ranges are included or not does not matter here."""
    if first.status == 200:
        return first.body
    data = bytearray(first.body)
    total = _total(first, 0)
    if total > max_bytes:
        raise PeerFailed(f"the snapshot has {total} bytes, more than fetch_snapshot_max_size allows ({max_bytes})")
    while len(data) < total:
        answer = await peers.ask(target, "GET", path, headers=_range(len(data)), max_bytes=_PIECE_BYTES + 1)
        if _total(answer, len(data)) != total or not answer.body:
            raise PeerFailed(f"{target}{path} changed or ended after {len(data)} of {total} bytes")
        data += answer.body
    if len(data) != total:
        raise PeerFailed(f"{target}{path} sent {len(data)} bytes for {total}")
    return bytes(data)


def _range(start: int) -> dict[str, str]:
    return {"range": f"bytes={start}-{start + _PIECE_BYTES}"}


def _total(answer: Answer, start: int) -> int:
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if answer.status != 206 or match is None or int(match[1]) != start:
        raise PeerFailed(f"status {answer.status} is no answer to a range from byte {start}")
    return int(match[2])


async def _keep(files: SnapshotFiles, offered: _Offered) -> None:
    """On disk it can be handed on; where that fails, this node still begins with it."""
    try:
        await asyncio.to_thread(files.write, offered.name, [offered.data])
    except OSError as error:
        _log.warning("The snapshot %s cannot be kept: %s", offered.name, error)
