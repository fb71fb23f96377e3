"""Starting a node: its identity, its parts, then a new service or an existing one (node-api.md 6.3, 6.4).

Files appear in the order launchers wait for them (drop-in.md 3.2): node certificate, addresses, and for a new service
its certificate.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dataplane.config import Config, JoinCommand, RecoverCommand, StartCommand
from dataplane.http.server import HttpServer
from dataplane.node.assembly import assemble
from dataplane.node.beats import Beats
from dataplane.node.channels import Channels
from dataplane.node.history import History
from dataplane.node.identity import new_node_identity, published_hosts
from dataplane.node.jwt_refresh import JwtKeyRefresh
from dataplane.node.lifecycle import NodeState
from dataplane.node.node import Node
from dataplane.node.start_join import join_existing
from dataplane.node.start_new import check_ledger_directory, start_service
from dataplane.node.start_recover import recover_service

_js_log = logging.getLogger("js")


@dataclass(frozen=True, slots=True)
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
    command, now = config.command, datetime.now(UTC)
    if isinstance(command, StartCommand):
        check_ledger_directory(config)
    identity = new_node_identity(config.node_certificate, published_hosts(config), now)
    write(config.output_files.node_certificate_file, identity.self_signed_certificate)
    parts = await assemble(config, identity, version, write, stop, log_execution)
    node, listeners = parts.node, parts.listeners
    assembled(node)
    parts.beats.start()
    node.advance(NodeState.INITIALIZED)
    match command:
        case StartCommand():
            start_service(parts, command, now)
        case JoinCommand():
            await join_existing(parts, command)
        case RecoverCommand():
            await recover_service(parts, command, now)
    return RunningNode(node, listeners.server, listeners.channels, parts.beats, parts.jwt_refresh, parts.history)
