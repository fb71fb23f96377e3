"""Which certificate a node shows where: to clients, on its channels, and with its beats (node-api.md 1.5)."""

from dataplane.config import Authority
from dataplane.crypto.certs import renewed_self_signed
from dataplane.node.beats import Beats
from dataplane.node.identity import NodeIdentity, new_serial
from dataplane.node.listeners import Listeners
from dataplane.node.node import Node


class ShownCertificates:
    """The certificates one node shows; it begins with the self-signed one everywhere."""

    def __init__(self, identity: NodeIdentity, node: Node, listeners: Listeners, beats: Beats) -> None:
        self._identity = identity
        self._node = node
        self._server = listeners.server
        self._channels = listeners.channels
        self._beats = beats
        self._is_endorsed_committed = False

    def take_endorsed(self, certificate: str) -> None:
        """The service has endorsed this node: other nodes see it at once, clients when it is committed."""
        self._identity.endorsed_certificate = certificate
        self._show_to_nodes(certificate)

    def on_committed(self, certificate: str) -> None:
        """Show the service-endorsed certificate, which is committed now, on every interface that waits for it.

        Where it replaces one, by proposal, the self-signed one is renewed with it, as in the original.
        """
        if self._is_endorsed_committed:
            self._renew_self_signed(certificate)
        self._is_endorsed_committed = True
        self._server.set_certificate(Authority.SERVICE, certificate, self._identity.key_pem)
        self._show_to_nodes(certificate)

    def _renew_self_signed(self, endorsed: str) -> None:
        identity = self._identity
        renewed = renewed_self_signed(identity.key, identity.self_signed_certificate, endorsed, new_serial())
        identity.self_signed_certificate = self._node.self_signed_certificate = renewed
        self._server.set_certificate(Authority.NODE, renewed, identity.key_pem)

    def _show_to_nodes(self, certificate: str) -> None:
        self._channels.set_certificate(certificate, self._identity.key_pem)
        self._beats.set_certificate(certificate, self._identity.key_pem)
