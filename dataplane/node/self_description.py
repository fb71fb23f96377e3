"""What a node says of itself, with evidence: in a new service's first transaction, or to the node it asks to join."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from dataplane.attestation.platform import Claims, Evidence
from dataplane.attestation.registry import VIRTUAL, load_platform
from dataplane.config import Config
from dataplane.crypto.keys import public_pem
from dataplane.governance.nodes import NodeDescription
from dataplane.node.identity import NodeIdentity
from dataplane.node.listeners import Listeners
from dataplane.node.startup_files import read_json


class SelfDescription:
    """One node's keys, addresses and evidence. `write(path, content)` leaves files for the launcher."""

    def __init__(
        self, config: Config, identity: NodeIdentity, listeners: Listeners, write: Callable[[str, str], None]
    ) -> None:
        self._config = config
        self._identity = identity
        self._listeners = listeners
        self._write = write
        # The file that was started; a symbolic link stands for what it leads to (drop-in.md 3.1).
        self._platform = load_platform(VIRTUAL, Path(sys.argv[0]).resolve())

    def join_request(self, startup_seqno: int) -> dict[str, object]:
        """The body of `POST /node/join` (node-api.md 6.4). Raises `StartFailed` where the node's data is unreadable."""
        identity = self._identity
        return {
            "node_info_network": {
                "node_to_node_interface": self._listeners.node_to_node,
                "rpc_interfaces": self._listeners.rpc_interfaces,
            },
            "quote_info": self.attest().to_json(),
            "public_encryption_key": identity.encryption_public_key,
            "startup_seqno": startup_seqno,
            "certificate_signing_request": identity.certificate_signing_request,
            "node_data": read_json(self._config.node_data_json_file),
        }

    def record(self, evidence: Evidence) -> NodeDescription:
        """What the service's tables say of this node. Raises `StartFailed` where the node's data is unreadable."""
        identity = self._identity
        return NodeDescription(
            id=identity.id,
            node_to_node_interface=self._listeners.node_to_node,
            rpc_interfaces=self._listeners.rpc_interfaces,
            quote_info=evidence.to_json(),
            measurement=self.claims(evidence).measurement.encode(),
            public_key_pem=public_pem(identity.key.public_key()),
            encryption_public_key_pem=identity.encryption_public_key,
            csr_pem=identity.certificate_signing_request,
            data=read_json(self._config.node_data_json_file),
        )

    def attest(self) -> Evidence:
        """Evidence over this node's key, which launchers find in two files as well (drop-in.md 3.2)."""
        report_data = sha256(self._identity.public_key_der).digest()
        evidence = self._platform.attest(report_data)
        pid = os.getpid()
        self._write(f"ccf_virtual_attestation.{pid}.measurement", self.claims(evidence).measurement)
        self._write(f"ccf_virtual_attestation.{pid}.attestation", evidence.quote.decode())
        return evidence

    def claims(self, evidence: Evidence) -> Claims:
        """What our own evidence says; the first node of a service is trusted by it."""
        return self._platform.verify(evidence, datetime.now(UTC))
