"""Putting a node together: identity, listeners, replica, then a new service or an existing one (node-api.md 6.3, 6.4).

Files in the order launchers wait for them (drop-in.md 3.2): node certificate, addresses, and for a new service its
certificate. A joiner answers `/node` on its `Node` interfaces while it waits to be trusted.
"""

import asyncio
import json
import logging
import os
import re
import secrets
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from dataplane.api import common, gov, node_files
from dataplane.api import node as node_api
from dataplane.api.auth import Peer
from dataplane.api.join import join_endpoint
from dataplane.api.jwt_refresh import jwt_refresh_endpoints
from dataplane.api.pipeline import InterfaceRules, Pipeline, SessionState
from dataplane.api.routing import FRONTENDS, RouteTable
from dataplane.apps.endpoint import Response
from dataplane.apps.js_generic import JsApp, js_metrics
from dataplane.attestation.platform import Claims, Evidence
from dataplane.attestation.registry import VIRTUAL, load_platform
from dataplane.attestation.sealing import SealingFailed, unseal_secret
from dataplane.config import (
    Address,
    Authority,
    Config,
    Interface,
    JoinCommand,
    MemberFiles,
    RecoverCommand,
    StartCommand,
)
from dataplane.consensus.log import Entry
from dataplane.consensus.raft import Origin, Raft, Settings
from dataplane.crypto.certs import (
    endorse_node_csr,
    is_issued_by,
    load_certificate,
    renewed_self_signed,
    subject_text,
)
from dataplane.crypto.keys import load_private_key, public_pem
from dataplane.governance.host_calls import validate_constitution
from dataplane.governance.members import NewMember
from dataplane.governance.nodes import NodeDescription
from dataplane.governance.recovery import RecoveredService, last_cose_claims, latest_version, write_recovery
from dataplane.governance.service import Genesis, service_info, write_genesis
from dataplane.http.message import HttpRequest, HttpResponse
from dataplane.http.protocol import Session
from dataplane.http.server import HttpServer
from dataplane.js.quickjs import ENGINE_VERSION, running_deadline_s
from dataplane.kv.tables import load_json
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.archive import LedgerArchive
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import EntryFlags, MalformedEntry
from dataplane.ledger.files import LedgerFiles, SeqnoNotFound
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import build_signature
from dataplane.ledger.snapshot import decode_snapshot
from dataplane.ledger.snapshot_files import SnapshotFiles
from dataplane.node.backfill import Backfill, addresses
from dataplane.node.beats import Beats
from dataplane.node.channels import ChannelLimits, Channels
from dataplane.node.history import History
from dataplane.node.identity import (
    ServiceIdentity,
    new_node_identity,
    new_serial,
    new_service_identity,
    published_hosts,
)
from dataplane.node.join import Admission, join_service
from dataplane.node.jwt_refresh import JwtKeyRefresh, refresh_by
from dataplane.node.lifecycle import NodeState
from dataplane.node.node import Node
from dataplane.node.peer_http import Peers
from dataplane.node.prover import Prover
from dataplane.node.recovery import Recovery, older_history, read_public_ledger
from dataplane.node.service_ops import NodeServiceOps
from dataplane.node.startup_snapshot import (
    SnapshotUnusable,
    choose_snapshot,
    local_snapshot,
    state_of,
)
from dataplane.receipt import NotEndorsed
from dataplane.replica import Replica
from dataplane.replica_state import state_from
from dataplane.snapshot_proof import VerifiedSnapshot
from dataplane.txid import NodeId, TxID

_SECRET_SIZE = 32
_READ_BYTES = 256 * 1024  # at once, for a follower that lags: no more than one message takes (`Settings`)
_VIEWS_TO_RECOVERY = 2  # ledger-format.md 3
_NOT_ENDORSED = "Previous service identity does not endorse the node identity that signed the snapshot"
_log = logging.getLogger("node")
_js_log = logging.getLogger("js")


class StartFailed(Exception):
    """The node cannot start; the text is what an operator must see."""


@dataclass(slots=True)
class RunningNode:
    """A started node, for the host to stop."""

    node: Node
    server: HttpServer
    channels: Channels
    beats: Beats
    jwt_refresh: JwtKeyRefresh
    history: History

    async def close(self) -> None:
        """Stop listening, then flush and close the ledger."""
        await self.jwt_refresh.close()
        await self.beats.close()
        await self.server.close()
        self.history.close()
        await self.channels.close()
        if self.node.backfill is not None:
            await self.node.backfill.close()
        await self.node.close()

    def abort(self) -> None:
        """Drop the sessions that a close under way still waits for."""
        self.server.abort()


async def start_node(
    config: Config,
    version: str,
    write: Callable[[str, str], None],
    stop: Callable[[str], None],
    assembled: Callable[[Node], None] = lambda node: None,
    log_execution: Callable[[str], None] = _js_log.info,
) -> RunningNode:
    """Start as `config` says. `write(path, content)` leaves files for the launcher, `stop(reason)` ends the process,
    `assembled` is handed the node as soon as it answers requests, which for a joiner is long before the end,
    `log_execution` takes the line that reports each run of the application.

    Returns when the node is part of a service. Raises `StartFailed` or `JoinFailed`.
    """
    return await _Starter(config, version, write, stop, log_execution).run(assembled)


class _Starter:
    """The steps of one start; what they make is kept in attributes for the steps that follow."""

    def __init__(
        self,
        config: Config,
        version: str,
        write: Callable[[str, str], None],
        stop: Callable[[str], None],
        log_execution: Callable[[str], None],
    ) -> None:
        self._config = config
        self._log_execution = log_execution
        self._version = node_api.Version(version, ENGINE_VERSION)
        self._write = write
        self._stop = stop
        self._secrets = LedgerSecrets()
        self._ops = NodeServiceOps(self._secrets)
        self._cose = ("", "")
        self._known_addresses: dict[NodeId, str] = {}
        self._pipeline: Pipeline | None = None
        self._is_presented = False
        # The file that was started; a symbolic link stands for what it leads to (drop-in.md 3.1).
        self._platform = load_platform(VIRTUAL, Path(sys.argv[0]).resolve())
        self._rules = {interface.name: _rules(interface) for interface in config.interfaces}

    async def run(self, assembled: Callable[[Node], None]) -> RunningNode:
        if isinstance(self._config.command, StartCommand):
            self._check_ledger_directory()
        now = datetime.now(UTC)
        self._identity = new_node_identity(self._config.node_certificate, published_hosts(self._config), now)
        self._write(self._config.output_files.node_certificate_file, self._identity.self_signed_certificate)
        await self._listen()
        node = self._assemble()
        assembled(node)
        self._beats.start()
        running = RunningNode(node, self._server, self._channels, self._beats, self._jwt_refresh, self._history)
        node.advance(NodeState.INITIALIZED)
        match self._config.command:
            case StartCommand() as command:
                self._start_service(command, now)
            case JoinCommand() as command:
                await self._join_service(command)
            case RecoverCommand() as command:
                await self._recover_service(command, now)
        return running

    def _check_ledger_directory(self) -> None:
        if isinstance(self._config.command, RecoverCommand):
            return
        directory = Path(self._config.ledger_directory)
        if directory.exists() and any(directory.iterdir()):
            raise StartFailed(f"On start, ledger directory should not exist or be empty ({directory})")

    async def _listen(self) -> None:
        """Open all listeners, so that every port is known."""
        config = self._config
        self._server = HttpServer(self._dispatch, idle_timeout_ms=config.idle_connection_timeout_ms)
        self._rpc_interfaces: dict[str, dict[str, object]] = {}
        addresses: dict[str, str] = {}
        try:
            for interface in config.interfaces:
                bound = await self._server.listen(interface)
                self._rpc_interfaces[interface.name] = _resolved(interface, bound)
                addresses[interface.name] = str(bound)
            self._server.set_certificate(Authority.NODE, self._identity.self_signed_certificate, self._identity.key_pem)
            self._channels = Channels(
                certificate_pem=self._identity.self_signed_certificate,
                key_pem=self._identity.key_pem,
                may_talk=self._may_talk,
                address_of=self._address_of,
                on_message=lambda sender, kind, payload: self._node.on_message(sender, kind, payload),
                source_host=config.node_client_interface,
                on_lost=lambda peer: self._node.on_lost(peer),
                limits=ChannelLimits(connect_timeout_ms=config.client_connection_timeout_ms),
            )
            bound = await self._channels.listen(config.node_to_node_bind)
        except OSError as error:
            raise StartFailed(f"cannot listen: {error}") from error
        published = config.node_to_node_published
        self._node_to_node = {
            "bind_address": str(bound),
            "published_address": str(Address(published.host, published.port or bound.port)),
        }
        self._channels.own_address = self._node_to_node["published_address"]
        files = config.output_files
        if files.node_to_node_address_file:
            self._write(files.node_to_node_address_file, json.dumps({"node_to_node_interface": str(bound)}))
        if files.rpc_addresses_file:
            self._write(files.rpc_addresses_file, json.dumps(addresses))

    def _read_only_ledgers(self) -> list[Path]:
        """Earlier entries of the service that is joined; a new one has none."""
        starting = isinstance(self._config.command, StartCommand)
        return [] if starting else [Path(path) for path in self._config.ledger_read_only]

    def _snapshot_files(self) -> SnapshotFiles:
        """The directory is made at once, as launchers look into it."""
        read_only = self._config.snapshot_read_only_directory
        try:
            return SnapshotFiles(Path(self._config.snapshot_directory), [Path(read_only)] if read_only else [])
        except OSError as error:
            raise StartFailed(f"cannot make the directory for snapshots: {error}") from error

    def _assemble(self) -> Node:
        config = self._config
        node = Node(config, self._identity, self._rpc_interfaces, self._version, self._ops, self._stop)
        self._node = node
        self._ledger = LedgerFiles(Path(config.ledger_directory), self._read_only_ledgers())
        snapshot_files = self._snapshot_files()
        self._replica = Replica(
            raft=self._raft(Raft.start if isinstance(config.command, StartCommand) else Raft.join),
            secrets=self._secrets,
            chunker=Chunker(config.chunk_size),
            sign=self._sign,
            open_secrets=self._identity.open_secrets,
            max_entry_bytes=config.max_message_bytes,
        )
        self._ops.read_secret_history = lambda: [(at, load_json(row)) for at, row in self._replica.secret_history]
        archive = LedgerArchive(
            self._ledger, [Path(path) for path in (config.ledger_directory, *config.ledger_read_only)]
        )
        self._history = history = History(
            self._replica,
            Prover(archive, self._secrets),
            lambda: self._ops.service,
            config.historical_cache_soft_limit,
        )
        app = JsApp(
            RouteTable,
            history=history,
            console=self._ops.log,
            log_metrics=self._log_execution,
            natives={"gov.validateConstitution": validate_constitution},
        )
        declared = {
            "node": [
                *node_api.endpoints(node, join_endpoint(node, self._ops)),
                *node_files.endpoints(node, self._ledger, snapshot_files),
                *jwt_refresh_endpoints(lambda: asdict(self._jwt_refresh.counts)),
            ],
            "gov": gov.endpoints(self._ops),
            "app": [],
        }
        deployed = {"app": app.endpoints}
        tables = {
            name: RouteTable(common.endpoints(name, declared[name], history, deployed.get(name, lambda tx: ())))
            for name in FRONTENDS
        }
        self._pipeline = Pipeline(node, tables, app)
        self._jwt_refresh = refresh_by(node, self._pipeline, config.jwt_key_refresh_interval_ms)
        self._jwt_refresh.start()
        node.session_metrics = self._server.metrics
        node.js_metrics = lambda: js_metrics(node.begin())
        node.on_endorsed = self._present
        node.admission = self._admission
        self._beats = Beats(
            certificate_pem=self._identity.self_signed_certificate,
            key_pem=self._identity.key_pem,
            source_host=config.node_client_interface,
            held_up_ms=config.message_timeout_ms,
            script_deadline=running_deadline_s,
        )
        node.attach(self._replica, self._ledger, snapshot_files, self._channels, self._pipeline, self._beats)
        return node

    def _raft(self, begin: Callable[..., Raft], **parts: Any) -> Raft:
        """Consensus of this node, begun with `Raft.start` or `Raft.join`."""
        config = self._config
        return begin(
            node_id=self._identity.id,
            settings=Settings(
                election_timeout_ms=config.election_timeout_ms,
                message_timeout_ms=config.message_timeout_ms,
                pre_vote=config.pre_vote,
            ),
            draw=lambda low, high: low + secrets.randbelow(high - low + 1),
            read=self._read_entries,
            **parts,
        )

    # A new service

    def _start_service(self, command: StartCommand, now: datetime) -> None:
        days = command.initial_service_certificate_validity_days
        service = new_service_identity(command.service_subject_name, now, days)
        self._take_service(service, (command.cose_issuer, command.cose_subject))
        self._secrets.add(1, secrets.token_bytes(_SECRET_SIZE))
        endorsed = self._endorse_self(service, now)
        tx = self._replica.begin()
        write_genesis(tx, self._genesis(command, service, endorsed))
        self._replica.submit(tx)
        self._publish_service(service)
        self._node.advance(NodeState.PART_OF_NETWORK)

    def _endorse_self(self, service: ServiceIdentity, now: datetime) -> str:
        endorsed = endorse_node_csr(
            service.key,
            service.certificate,
            self._identity.certificate_signing_request,
            new_serial(),
            now,
            self._config.node_certificate.initial_validity_days,
        )
        self._identity.endorsed_certificate = endorsed
        self._set_channel_certificate(endorsed)
        return endorsed

    def _publish_service(self, service: ServiceIdentity) -> None:
        """The first transaction is there: sign it, and let clients know whom to trust."""
        self._replica.sign()
        self._write(self._config.service_certificate_file, service.certificate)
        self._node.wake()

    def _genesis(self, command: StartCommand, service: ServiceIdentity, endorsed: str) -> Genesis:
        configuration = command.service_configuration
        evidence = self._attest()
        claims = self._claims(evidence)
        return Genesis(
            service_cert_pem=service.certificate,
            members=[_read_member(member) for member in command.members],
            constitution="\n".join(_read(path) for path in command.constitution_files),
            node=self._description(evidence),
            node_cert_pem=endorsed,
            recovery_threshold=configuration.recovery_threshold,
            maximum_node_certificate_validity_days=configuration.maximum_node_certificate_validity_days,
            maximum_service_certificate_validity_days=configuration.maximum_service_certificate_validity_days,
            service_data=_read_json(self._config.service_data_json_file),
            virtual_measurement=claims.measurement,
            virtual_host_data=claims.host_data,
        )

    def _description(self, evidence: Evidence) -> NodeDescription:
        identity = self._identity
        return NodeDescription(
            id=identity.id,
            node_to_node_interface=self._node_to_node,
            rpc_interfaces=self._rpc_interfaces,
            quote_info=evidence.to_json(),
            measurement=self._claims(evidence).measurement.encode(),
            public_key_pem=public_pem(identity.key.public_key()),
            encryption_public_key_pem=identity.encryption_public_key,
            csr_pem=identity.certificate_signing_request,
            data=_read_json(self._config.node_data_json_file),
        )

    def _attest(self) -> Evidence:
        report_data = sha256(self._identity.public_key_der).digest()
        evidence = self._platform.attest(report_data)
        pid = os.getpid()
        self._write(f"ccf_virtual_attestation.{pid}.measurement", self._claims(evidence).measurement)
        self._write(f"ccf_virtual_attestation.{pid}.attestation", evidence.quote.decode())
        return evidence

    def _claims(self, evidence: Evidence) -> Claims:
        """What our own evidence says; the first node of a service is trusted by it."""
        return self._platform.verify(evidence, datetime.now(UTC))

    # One that was lost

    async def _recover_service(self, command: RecoverCommand, now: datetime) -> None:
        self._node.advance(NodeState.READING_PUBLIC_LEDGER)
        snapshot = self._snapshot_to_recover(_read(command.previous_service_identity_file))
        begin_seqno = self._node.startup_seqno
        if self._ledger.last_seqno < begin_seqno:
            self._ledger.begin_after(begin_seqno)
        state = await read_public_ledger(
            self._ledger, lambda: None if snapshot is None else state_from(decode_snapshot(snapshot.frame))
        )
        if not state.seqno:
            raise StartFailed("No signature found in the ledger to recover")
        self._ledger.recover_until(state.seqno)
        first = TxID(len(state.view_history) + _VIEWS_TO_RECOVERY, state.seqno + 1)
        self._secrets.add(first.seqno, secrets.token_bytes(_SECRET_SIZE))
        origin = Origin(state.seqno, state.view_history)
        raft = self._raft(Raft.start, origin=origin, view=first.view)
        self._replica.restore(raft, state, Chunker(self._config.chunk_size, state.seqno))
        self._replica.secret_history = older_history(self._ledger, self._replica.secret_history)
        self._replica.begin_recovery(first.seqno)
        tx = self._replica.begin()
        days = command.initial_service_certificate_validity_days
        service = new_service_identity(subject_text(service_info(tx)["cert"]), now, days)
        self._take_service(service, last_cose_claims(tx))
        unseals = self._prepare_to_unseal(command)
        write_recovery(tx, self._recovered(service, first, self._endorse_self(service, now), unseals))
        self._replica.submit(tx, EntryFlags.CHUNK_BEFORE)
        self._publish_service(service)
        self._node.advance(NodeState.PART_OF_PUBLIC_NETWORK)
        frame = None if snapshot is None else snapshot.frame
        self._node.recovery = Recovery(self._node, self._ledger, self._ops, first.seqno, frame)

    def _snapshot_to_recover(self, previous_identity: str) -> VerifiedSnapshot | None:
        """The newest snapshot on disk, which the service that was lost must vouch for."""
        try:
            snapshot = local_snapshot(self._node.snapshots.files, previous_identity)
        except SnapshotUnusable as error:
            if isinstance(error.__cause__, NotEndorsed):
                raise StartFailed(_NOT_ENDORSED) from error
            raise StartFailed(str(error)) from error
        if snapshot is not None:
            self._node.startup_seqno = snapshot.snapshot.seqno
            self._node.snapshots.began_at(snapshot.snapshot.seqno)
        return snapshot

    def _prepare_to_unseal(self, command: RecoverCommand) -> bool:
        """Whether the ledger's newest secret is sealed where this node was told; members' shares will do if not."""
        if command.previous_sealed_ledger_secret_location is None:
            return False
        directory = Path(command.previous_sealed_ledger_secret_location)
        version = latest_version(self._ops.secret_history())
        try:
            if unseal_secret(directory, version) is not None:
                self._ops.unseal_version = lambda version: unseal_secret(directory, version)
                return True
            reason = f"{directory} holds no sealed ledger secret of version {version}"
        except SealingFailed as error:
            reason = str(error)
        _log.warning("Members' recovery shares are needed: %s", reason)
        return False

    def _recovered(self, service: ServiceIdentity, created: TxID, endorsed: str, unseals: bool) -> RecoveredService:
        evidence = self._attest()
        claims = self._claims(evidence)
        return RecoveredService(
            service_cert_pem=service.certificate,
            created=created,
            node=self._description(evidence),
            node_cert_pem=endorsed,
            service_data=_read_json(self._config.service_data_json_file),
            virtual_measurement=claims.measurement,
            virtual_host_data=claims.host_data,
            unseals=unseals,
        )

    # An existing one

    async def _join_service(self, command: JoinCommand) -> None:
        self._node.advance(NodeState.PENDING)
        certificate = _read(self._config.service_certificate_file)
        peers = Peers(self._identity, certificate, self._config.client_connection_timeout_ms)
        snapshot = await choose_snapshot(command, peers, self._node.snapshots.files)
        self._node.startup_seqno = 0 if snapshot is None else snapshot.snapshot.seqno
        admission = await join_service(command, peers, self._join_request())
        await self._begin_after(snapshot, admission)
        self._take_admission(admission)
        if admission.first_recovered_seqno is None:
            self._node.advance(NodeState.PART_OF_NETWORK)
        else:
            self._join_recovery(admission.first_recovered_seqno, snapshot)
        if snapshot is not None and command.fetch_ledger:
            self._node.backfill = Backfill(
                self._ledger,
                Path(self._config.ledger_directory),
                peers,
                lambda: addresses(self._replica.begin(), self._identity.id, command.target_rpc_address),
            )
            self._node.backfill.start(self._node.startup_seqno)

    def _join_recovery(self, first_seqno: int, snapshot: VerifiedSnapshot | None) -> None:
        """The service is not open yet: this node takes part in its recovery."""
        self._replica.begin_recovery(first_seqno)
        self._ledger.mark_recovery(first_seqno - 1)
        self._node.advance(NodeState.PART_OF_PUBLIC_NETWORK)
        begun = None if snapshot is None else snapshot.frame
        self._node.recovery = Recovery(self._node, self._ledger, self._ops, first_seqno, begun)

    async def _begin_after(self, snapshot: VerifiedSnapshot | None, admission: Admission) -> None:
        """Be what the snapshot holds, before any other node can reach this one.

        While the service recovers, nobody has the secret of a snapshot from before: its private tables come later.
        """
        if snapshot is None:
            self._ledger.begin_after(0)
            return
        if admission.first_recovered_seqno is None:
            state = await asyncio.to_thread(state_of, snapshot, LedgerSecrets(admission.ledger_secrets))
        else:
            state = state_from(snapshot.snapshot)
        chunker = Chunker(self._config.chunk_size, state.seqno)
        self._replica.restore(self._raft(Raft.join, origin=state.origin()), state, chunker)
        self._ledger.begin_after(state.seqno)
        self._node.snapshots.began_at(state.seqno)
        _log.info("This node begins with the snapshot at %s", self._replica.raft.last_txid)

    def _join_request(self) -> dict[str, object]:
        identity = self._identity
        return {
            "node_info_network": {
                "node_to_node_interface": self._node_to_node,
                "rpc_interfaces": self._rpc_interfaces,
            },
            "quote_info": self._attest().to_json(),
            "public_encryption_key": identity.encryption_public_key,
            "startup_seqno": self._node.startup_seqno,
            "certificate_signing_request": identity.certificate_signing_request,
            "node_data": _read_json(self._config.node_data_json_file),
        }

    def _take_admission(self, admission: Admission) -> None:
        service = ServiceIdentity(load_private_key(admission.service_key_pem), admission.service_certificate)
        for version, key in sorted(admission.ledger_secrets.items()):
            self._secrets.add(version, key)
        self._secrets.settle()
        self._known_addresses = dict(admission.addresses)
        if admission.endorsed_certificate is not None:
            self._identity.endorsed_certificate = admission.endorsed_certificate
            self._set_channel_certificate(admission.endorsed_certificate)
        self._take_service(service, (admission.cose_issuer, admission.cose_subject))
        self._channels.keep(admission.addresses.keys() - {self._identity.id})

    # What the parts ask of each other

    def _take_service(self, service: ServiceIdentity, cose: tuple[str, str]) -> None:
        self._ops.service = service
        self._cose = cose

    def _sign(self, txid: TxID, root: bytes, tree_bytes: bytes) -> WriteSet:
        assert self._ops.service is not None
        assert self._identity.endorsed_certificate is not None
        return build_signature(
            txid,
            root,
            node_id=self._identity.id,
            node_key=self._identity.key,
            node_cert_pem=self._identity.endorsed_certificate,
            service_key=self._ops.service.key,
            issuer=self._cose[0],
            subject=self._cose[1],
            issued_at_s=int(datetime.now(UTC).timestamp()),
            tree_bytes=tree_bytes,
        )

    def _read_entries(self, first: int, last: int) -> Sequence[Entry]:
        try:
            return self._replica.entries(self._ledger.read_some(first, last, _READ_BYTES), first)
        except (SeqnoNotFound, MalformedEntry):
            return ()  # this ledger begins later, or what was put beside it is damaged

    def _admission(self) -> Mapping[str, Any]:
        service = self._ops.service
        assert service is not None
        addresses = self._replica.raft.addresses()
        return {
            "identity": {"cert": service.certificate, "priv_key": service.key_pem},
            "ledger_secrets": [[version, {"raw_key": b64encode(key).decode()}] for version, key in self._secrets],
            "cose_signatures_config": {"issuer": self._cose[0], "subject": self._cose[1]},
            "node_to_node_addresses": addresses,
        }

    def _may_talk(self, node_id: NodeId, certificate_pem: str) -> bool:
        """A peer shows a certificate that our service endorsed, and has not finished its retirement.

        It need not be known: the primary may be a node whose joining has not reached this one yet.
        """
        service = self._ops.service
        if service is None or not is_issued_by(
            load_certificate(certificate_pem), load_certificate(service.certificate)
        ):
            return False
        return not self._replica.raft.has_left(node_id)

    def _address_of(self, node_id: NodeId) -> tuple[str, int] | None:
        address = self._replica.raft.addresses().get(node_id) or self._known_addresses.get(node_id)
        if address is None:
            return None
        host, _, port = address.rpartition(":")
        return host, int(port)

    def _present(self, certificate: str) -> None:
        """Show the service-endorsed certificate, which is committed now, on every interface that waits for it.

        Where it replaces one, by proposal, the self-signed one is renewed with it, as in the original.
        """
        if self._is_presented:
            self._renew_self_signed(certificate)
        self._is_presented = True
        self._server.set_certificate(Authority.SERVICE, certificate, self._identity.key_pem)
        self._set_channel_certificate(certificate)

    def _renew_self_signed(self, endorsed: str) -> None:
        identity = self._identity
        renewed = renewed_self_signed(identity.key, identity.self_signed_certificate, endorsed, new_serial())
        identity.self_signed_certificate = self._node.self_signed_certificate = renewed
        self._server.set_certificate(Authority.NODE, renewed, identity.key_pem)

    def _set_channel_certificate(self, certificate: str) -> None:
        self._channels.set_certificate(certificate, self._identity.key_pem)
        self._beats.set_certificate(certificate, self._identity.key_pem)

    def _dispatch(self, session: Session, request: HttpRequest, reply: Callable[[HttpResponse], None]) -> None:
        pipeline, state = self._pipeline, session.state.get("pipeline")
        assert pipeline is not None
        if state is None:
            peer = Peer(session.peer_certificate_der, session.peer_id)
            state = SessionState(session.id, peer, self._rules[session.interface])
            session.state["pipeline"] = state

        def answer(response: Response) -> None:
            reply(HttpResponse(response.status, response.headers, response.body, state.closing))

        self._node.turns.run(
            pipeline.dispatch, state, request.method, request.url, request.headers, request.body, answer
        )


def _rules(interface: Interface) -> InterfaceRules:
    accepted = interface.accepted_endpoints
    if accepted is None and interface.authority is Authority.UNSECURED:
        accepted = ()
    patterns = None if accepted is None else tuple(re.compile(pattern) for pattern in accepted)
    return InterfaceRules(interface.name, patterns, interface.forwarding_timeout_ms, interface.redirections)


def _resolved(interface: Interface, bound: Address) -> dict[str, object]:
    """The interface as configured, word for word, with ports resolved (node-api.md 1.7)."""
    published = Address(interface.published.host, interface.published.port or bound.port)
    return {**interface.document, "bind_address": str(bound), "published_address": str(published)}


def _read_member(files: MemberFiles) -> NewMember:
    return NewMember(
        cert_pem=_read(files.certificate_file),
        encryption_key_pem=None
        if files.encryption_public_key_file is None
        else _read(files.encryption_public_key_file),
        data=_read_json(files.data_json_file),
        recovery_role=files.recovery_role,
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise StartFailed(f"cannot read {path}: {error.strerror}") from error


def _read_json(path: str | None) -> object:
    return None if path is None else json.loads(_read(path))
