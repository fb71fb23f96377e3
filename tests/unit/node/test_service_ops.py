"""What a node keeps of its service's identity."""

from datetime import UTC, datetime

from dataplane.crypto.certs import self_signed_service_certificate
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.node.identity import new_service_identity
from dataplane.node.service_ops import NodeServiceOps

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_renewed_certificate_over_the_services_key_is_taken_and_no_other() -> None:
    ops = NodeServiceOps(LedgerSecrets())
    service = new_service_identity("CN=CCF Service", NOW, 1)
    assert not ops.renew_service_certificate(service.certificate), "there is no service yet"
    ops.service = service
    renewed = self_signed_service_certificate(service.key, "CN=CCF Service", 7, NOW, 30)
    assert not ops.renew_service_certificate(service.certificate)
    assert ops.renew_service_certificate(renewed)
    assert (ops.service.certificate, ops.service_key) == (renewed, service.key)
    stranger = new_service_identity("CN=CCF Service", NOW, 1)
    assert not ops.renew_service_certificate(stranger.certificate)
    assert ops.service.certificate == renewed
