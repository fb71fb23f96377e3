"""What the first node of a service does, whether the service is new or recovered."""

from datetime import datetime

from dataplane.crypto.certs import endorse_node_csr
from dataplane.node.assembly import Parts
from dataplane.node.identity import ServiceIdentity, new_serial

SECRET_BYTES = 32
"""Size of a new ledger secret."""


def endorse_self(parts: Parts, service: ServiceIdentity, now: datetime) -> str:
    """The service's certificate for this node, which nobody else is there to issue."""
    endorsed = endorse_node_csr(
        service.key,
        service.certificate,
        parts.identity.certificate_signing_request,
        new_serial(),
        now,
        parts.config.node_certificate.initial_validity_days,
    )
    parts.certificates.take_endorsed(endorsed)
    return endorsed


def publish_service(parts: Parts, service: ServiceIdentity) -> None:
    """The first transaction is there: sign it, and let clients know whom to trust."""
    parts.replica.sign()
    parts.write(parts.config.service_certificate_file, service.certificate)
    parts.node.wake()
