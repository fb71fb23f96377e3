"""What makes a node one of its service's: what it signs with, what it hands to joiners, and whom it talks to."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dataplane.crypto.certs import is_issued_by, load_certificate
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import build_signature
from dataplane.node.identity import NodeIdentity, ServiceIdentity
from dataplane.node.service_ops import NodeServiceOps
from dataplane.replica import Replica
from dataplane.txid import NodeId, TxID


class Credentials:
    """A node's own identity beside its service's, which it has once it has started, joined or recovered one."""

    def __init__(self, identity: NodeIdentity, secrets: LedgerSecrets, ops: NodeServiceOps) -> None:
        self._identity = identity
        self._secrets = secrets
        self._ops = ops
        self._cose = ("", "")
        self._known_addresses: Mapping[NodeId, str] = {}

    def follow(self, replica: Replica) -> None:
        """Take the nodes of the service, and their addresses, from this node's consensus."""
        self._replica = replica

    def take_service(self, service: ServiceIdentity, cose: tuple[str, str]) -> None:
        """The service this node is part of, with issuer and subject of its COSE signatures."""
        self._ops.service = service
        self._cose = cose

    def take_addresses(self, addresses: Mapping[NodeId, str]) -> None:
        """Where the other nodes can be dialled, as the node that admitted this one says, until the store tells."""
        self._known_addresses = dict(addresses)

    def sign(self, txid: TxID, root: bytes, tree_bytes: bytes) -> WriteSet:
        """The signature transaction `txid` over the tree's root (ledger-format.md 2.8)."""
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

    def admission(self) -> Mapping[str, Any]:
        """What a trusted joiner gets: identity and secrets of the service (node-api.md 6.4)."""
        service = self._ops.service
        assert service is not None
        return {
            "identity": {"cert": service.certificate, "priv_key": service.key_pem},
            "ledger_secrets": [[version, {"raw_key": b64encode(key).decode()}] for version, key in self._secrets],
            "cose_signatures_config": {"issuer": self._cose[0], "subject": self._cose[1]},
            "node_to_node_addresses": self._replica.raft.addresses(),
        }

    def may_talk(self, node_id: NodeId, certificate_pem: str) -> bool:
        """A peer shows a certificate that our service endorsed, and has not finished its retirement.

        It need not be known: the primary may be a node whose joining has not reached this one yet.
        """
        service = self._ops.service
        if service is None or not is_issued_by(
            load_certificate(certificate_pem), load_certificate(service.certificate)
        ):
            return False
        return not self._replica.raft.has_left(node_id)

    def address_of(self, node_id: NodeId) -> tuple[str, int] | None:
        """Host and port of another node's channel listener; None while unknown."""
        address = self._replica.raft.addresses().get(node_id) or self._known_addresses.get(node_id)
        if address is None:
            return None
        host, _, port = address.rpartition(":")
        return host, int(port)
