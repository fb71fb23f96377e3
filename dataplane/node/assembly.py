"""The parts of a node and what each is given of the others; where the node begins is told to them afterwards."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dataplane.api import common, gov, node_files
from dataplane.api import node as node_api
from dataplane.api.join import join_endpoint
from dataplane.api.jwt_refresh import jwt_refresh_endpoints
from dataplane.api.pipeline import Pipeline
from dataplane.api.routing import FRONTENDS, RouteTable
from dataplane.apps.endpoint import Endpoint
from dataplane.apps.js_generic import JsApp, js_metrics
from dataplane.config import Config, StartCommand
from dataplane.consensus.log import Entry
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import Raft
from dataplane.governance.host_calls import validate_constitution
from dataplane.js.quickjs import ENGINE_VERSION, running_deadline_s
from dataplane.kv.tables import load_json
from dataplane.ledger.archive import LedgerArchive
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import MalformedEntry
from dataplane.ledger.files import LedgerFiles, SeqnoNotFound
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.snapshot_files import SnapshotFiles
from dataplane.node.beats import Beats
from dataplane.node.credentials import Credentials
from dataplane.node.history import History
from dataplane.node.identity import NodeIdentity
from dataplane.node.jwt_refresh import JwtKeyRefresh, refresh_by
from dataplane.node.listeners import Listeners
from dataplane.node.node import Node
from dataplane.node.prover import Prover
from dataplane.node.self_description import SelfDescription
from dataplane.node.service_ops import NodeServiceOps
from dataplane.node.shown_certificates import ShownCertificates
from dataplane.node.startup_files import StartFailed
from dataplane.replica import Replica
from dataplane.txid import NodeId

_READ_BYTES = 256 * 1024  # at once, for a follower that lags: no more than one message takes (`Settings`)


@dataclass(frozen=True, slots=True)
class Parts:
    """One node, put together. `write(path, content)` leaves a file for the launcher."""

    config: Config
    identity: NodeIdentity
    secrets: LedgerSecrets
    ops: NodeServiceOps
    credentials: Credentials
    listeners: Listeners
    description: SelfDescription
    node: Node
    replica: Replica
    ledger: LedgerFiles
    history: History
    jwt_refresh: JwtKeyRefresh
    beats: Beats
    certificates: ShownCertificates
    write: Callable[[str, str], None]

    def begin_raft(self, begin: Callable[..., Raft], **arguments: Any) -> Raft:
        """Consensus to restore the replica with, by `Raft.start` or `Raft.join` with what else these take."""
        read = partial(_read_entries, self.replica, self.ledger)
        return _begin_raft(self.config, self.identity.id, read, begin, **arguments)


async def assemble(
    config: Config,
    identity: NodeIdentity,
    version: str,
    write: Callable[[str, str], None],
    stop: Callable[[str], None],
    log_execution: Callable[[str], None],
) -> Parts:
    """Listen, and make a node that answers requests. For the arguments see `start_node`. Raises `StartFailed`."""
    ledger_secrets = LedgerSecrets()
    ops = NodeServiceOps(ledger_secrets)
    credentials = Credentials(identity, ledger_secrets, ops)
    listeners = Listeners(config, identity, credentials)
    await listeners.open(write)
    node = Node(config, identity, listeners.rpc_interfaces, node_api.Version(version, ENGINE_VERSION), ops, stop)
    ledger, snapshot_files = LedgerFiles(Path(config.ledger_directory), _old_ledgers(config)), _snapshot_files(config)
    replica = _replica(config, identity, ledger_secrets, ledger, credentials)
    credentials.follow(replica)
    ops.read_secret_history = lambda: [(at, load_json(row)) for at, row in replica.secret_history]
    history = _history(config, replica, ledger, ops)
    declared = {
        "node": [
            *node_api.endpoints(node, join_endpoint(node, ops)),
            *node_files.endpoints(node, ledger, snapshot_files),
            *jwt_refresh_endpoints(lambda: asdict(jwt_refresh.counts)),
        ],
        "gov": gov.endpoints(ops),
        "app": [],
    }
    pipeline = _pipeline(node, declared, history, ops, log_execution)
    jwt_refresh: JwtKeyRefresh = refresh_by(node, pipeline, config.jwt_key_refresh_interval_ms)
    jwt_refresh.start()
    beats = _beats(config, identity)
    certificates = ShownCertificates(identity, node, listeners, beats)
    node.session_metrics = listeners.server.metrics
    node.js_metrics = lambda: js_metrics(node.begin())
    node.on_endorsed = certificates.on_committed
    node.admission = credentials.admission
    node.attach(replica, ledger, snapshot_files, listeners.channels, pipeline, beats)
    listeners.serve(node, pipeline)
    return Parts(
        config=config,
        identity=identity,
        secrets=ledger_secrets,
        ops=ops,
        credentials=credentials,
        listeners=listeners,
        description=SelfDescription(config, identity, listeners, write),
        node=node,
        replica=replica,
        ledger=ledger,
        history=history,
        jwt_refresh=jwt_refresh,
        beats=beats,
        certificates=certificates,
        write=write,
    )


def _old_ledgers(config: Config) -> list[Path]:
    """Earlier entries of the service that is joined; a new one has none."""
    starting = isinstance(config.command, StartCommand)
    return [] if starting else [Path(path) for path in config.ledger_read_only]


def _snapshot_files(config: Config) -> SnapshotFiles:
    """The directory is made at once, as launchers look into it."""
    read_only = config.snapshot_read_only_directory
    try:
        return SnapshotFiles(Path(config.snapshot_directory), [Path(read_only)] if read_only else [])
    except OSError as error:
        raise StartFailed(f"cannot make the directory for snapshots: {error}") from error


def _replica(
    config: Config,
    identity: NodeIdentity,
    ledger_secrets: LedgerSecrets,
    ledger: LedgerFiles,
    credentials: Credentials,
) -> Replica:
    begin = Raft.start if isinstance(config.command, StartCommand) else Raft.join
    replica: Replica = Replica(
        raft=_begin_raft(config, identity.id, lambda *seqnos: _read_entries(replica, ledger, *seqnos), begin),
        secrets=ledger_secrets,
        chunker=Chunker(config.chunk_size),
        sign=credentials.sign,
        open_secrets=identity.open_secrets,
        max_entry_bytes=config.max_message_bytes,
    )
    return replica


def _begin_raft(
    config: Config,
    node_id: NodeId,
    read: Callable[[int, int], Sequence[Entry]],
    begin: Callable[..., Raft],
    **arguments: Any,
) -> Raft:
    return begin(
        node_id=node_id,
        settings=Settings(
            election_timeout_ms=config.election_timeout_ms,
            message_timeout_ms=config.message_timeout_ms,
            pre_vote=config.pre_vote,
        ),
        draw=lambda low, high: low + secrets.randbelow(high - low + 1),
        read=read,
        **arguments,
    )


def _read_entries(replica: Replica, ledger: LedgerFiles, first: int, last: int) -> Sequence[Entry]:
    try:
        return replica.entries(ledger.read_some(first, last, _READ_BYTES), first)
    except (SeqnoNotFound, MalformedEntry):
        return ()  # this ledger begins later, or what was put beside it is damaged


def _history(config: Config, replica: Replica, ledger: LedgerFiles, ops: NodeServiceOps) -> History:
    archive = LedgerArchive(ledger, [Path(path) for path in (config.ledger_directory, *config.ledger_read_only)])
    prover = Prover(archive, replica.secrets)
    return History(replica, prover, lambda: ops.service, config.historical_cache_soft_limit)


def _pipeline(
    node: Node,
    declared: Mapping[str, list[Endpoint]],
    history: History,
    ops: NodeServiceOps,
    log_execution: Callable[[str], None],
) -> Pipeline:
    app = JsApp(
        RouteTable,
        history=history,
        console=ops.log,
        log_metrics=log_execution,
        natives={"gov.validateConstitution": validate_constitution},
    )
    deployed = {"app": app.endpoints}
    tables = {
        name: RouteTable(common.endpoints(name, declared[name], history, deployed.get(name, lambda tx: ())))
        for name in FRONTENDS
    }
    return Pipeline(node, tables, app)


def _beats(config: Config, identity: NodeIdentity) -> Beats:
    return Beats(
        certificate_pem=identity.self_signed_certificate,
        key_pem=identity.key_pem,
        source_host=config.node_client_interface,
        held_up_ms=config.message_timeout_ms,
        script_deadline=running_deadline_s,
    )
