"""Where a node is reached: its RPC interfaces and its end of the node-to-node channels (node-api.md 1.5, 1.7).

They are opened before anything else, as what the node says of itself names their ports.
"""

import json
import logging
import re
from collections.abc import Callable
from socket import gaierror

from dataplane.api.auth import Peer
from dataplane.api.pipeline import InterfaceRules, Pipeline, SessionState
from dataplane.apps.endpoint import Response
from dataplane.config import Address, Authority, Config, Interface
from dataplane.http.message import HttpRequest, HttpResponse
from dataplane.http.protocol import Session
from dataplane.http.server import HttpServer
from dataplane.node.channels import ChannelLimits, Channels
from dataplane.node.credentials import Credentials
from dataplane.node.identity import NodeIdentity
from dataplane.node.node import Node
from dataplane.node.startup_files import StartFailed

_log = logging.getLogger("host")


class Listeners:
    """The listeners of one node. `open` first, then `serve` with what answers."""

    def __init__(self, config: Config, identity: NodeIdentity, credentials: Credentials) -> None:
        self._config = config
        self._identity = identity
        self._rules = {interface.name: _rules(interface) for interface in config.interfaces}
        self._pipeline: Pipeline | None = None
        self.server = HttpServer(self._dispatch, idle_timeout_ms=config.idle_connection_timeout_ms)
        self.channels = Channels(
            certificate_pem=identity.self_signed_certificate,
            key_pem=identity.key_pem,
            may_talk=credentials.may_talk,
            address_of=credentials.address_of,
            on_message=lambda sender, kind, payload: self._node.on_message(sender, kind, payload),
            source_host=config.node_client_interface,
            on_lost=lambda peer: self._node.on_lost(peer),
            limits=ChannelLimits(connect_timeout_ms=config.client_connection_timeout_ms),
        )
        self.rpc_interfaces: dict[str, dict[str, object]] = {}
        self.node_to_node: dict[str, str] = {}

    async def open(self, write: Callable[[str, str], None]) -> None:
        """Listen everywhere and `write(path, content)` the files of addresses. Raises `StartFailed`."""
        addresses: dict[str, str] = {}
        try:
            for interface in self._config.interfaces:
                bound = await self.server.listen(interface)
                self.rpc_interfaces[interface.name] = _resolved(interface, bound)
                addresses[interface.name] = str(bound)
            self.server.set_certificate(Authority.NODE, self._identity.self_signed_certificate, self._identity.key_pem)
            bound = await self._listen_for_nodes(self._config.node_to_node_bind)
        except OSError as error:
            raise StartFailed(f"cannot listen: {error}") from error
        published = self._config.node_to_node_published
        self.channels.own_address = str(Address(published.host, published.port or bound.port))
        self.node_to_node = {"bind_address": str(bound), "published_address": self.channels.own_address}
        files = self._config.output_files
        if files.node_to_node_address_file:
            write(files.node_to_node_address_file, json.dumps({"node_to_node_interface": str(bound)}))
        if files.rpc_addresses_file:
            write(files.rpc_addresses_file, json.dumps(addresses))

    async def _listen_for_nodes(self, bind: Address) -> Address:
        """As CCF, a node whose node-to-node name cannot be resolved runs and is isolated; the operator is told."""
        try:
            return await self.channels.listen(bind)
        except gaierror as error:
            _log.error("Cannot listen for other nodes at %s, none will reach this one: %s", bind, error)
            return bind

    def serve(self, node: Node, pipeline: Pipeline) -> None:
        """From now on requests go to `pipeline`, and messages of other nodes to `node`."""
        self._node = node
        self._pipeline = pipeline

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
