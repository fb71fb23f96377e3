"""Certificates while a service runs: a node's is renewed, the service's is, and what each of them names."""

import json
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.client.session import Session
from dataplane.receipt import verify_receipt
from tests.support.clients import client
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

NAMES = ["iPAddress:127.0.0.1", "dNSName:node.example.test"]
SETTINGS = {
    "node_certificate": {
        "subject_name": "CN=A small node,O=Example",
        "subject_alt_names": NAMES,
        "curve_id": "Secp256R1",
        "initial_validity_days": 5,
    },
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("certificates")
    with Service.start(2, directory, open_with=ROOT / "samples" / "logging", settings=SETTINGS) as running:
        yield running


def presented(node: NodeProcess) -> x509.Certificate:
    """The certificate a new connection to the node meets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = node.address.rsplit(":", 1)
    with context.wrap_socket(socket.create_connection((host, int(port)), timeout=5)) as tls:
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def self_signed(service: Service, node: NodeProcess) -> x509.Certificate:
    """The certificate the node made for itself, as it tells it."""
    answer = service.session(node).get_json("/node/self_signed_certificate")
    return x509.load_pem_x509_certificate(answer["self_signed_certificate"].encode())


def valid_from() -> str:
    return datetime.now(UTC).strftime("%y%m%d%H%M%SZ")


def days(certificate: x509.Certificate) -> int:
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days + 1


def write(service: Service, node: NodeProcess) -> None:
    """A committed write, whose receipt the service's certificate confirms."""
    session = Session(node.url, service.certificate, _user(service))
    answer = session.request("POST", "/app/log/private?id=1", body=json.dumps({"id": 1, "msg": "x"}).encode())
    assert answer.txid is not None, answer.body
    session.wait_for_commit(answer.txid)
    assert verify_receipt(session.receipt(answer.txid), service.certificate).txid == answer.txid
    session.close()


def _user(service: Service) -> tuple[Path, Path]:
    files = service.users["user0"]
    return files.certificate, files.private_key


def test_what_a_node_is_told_to_be(service: Service) -> None:
    for node in service.nodes:
        certificate = presented(node)
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert certificate.subject.rfc4514_string() in ("CN=A small node,O=Example", "O=Example,CN=A small node")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["node.example.test"]
        assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]
        assert days(certificate) == 5
        write(service, node)


def test_a_renewed_node_certificate_is_shown_when_it_is_committed(service: Service) -> None:
    node = service.nodes[1]
    before, own_before = presented(node), self_signed(service, node)
    with client(node.address, service.certificate) as open_session:
        assert open_session.get("/node/state").status_code == 200
        renew = {"node_id": service.node_id(node), "valid_from": valid_from(), "validity_period_days": 30}
        service.pass_proposal([{"name": "set_node_certificate_validity", "args": renew}])
        wait_until("the new certificate", lambda: presented(node).serial_number != before.serial_number)
        assert open_session.get("/node/state").status_code == 200, "sessions go on as they are"
    after = presented(node)
    assert days(after) == 30
    assert after.public_key() == before.public_key()
    own = self_signed(service, node)  # renewed along with the endorsed one
    assert own.serial_number != own_before.serial_number
    assert (own.not_valid_before_utc, own.not_valid_after_utc) == (
        after.not_valid_before_utc,
        after.not_valid_after_utc,
    )
    assert (own.public_key(), own.subject, own.issuer) == (after.public_key(), after.subject, own.subject)
    write(service, node)


def test_a_renewed_service_certificate_is_used_everywhere(service: Service) -> None:
    old, asking = service.certificate, service.session()
    was = x509.load_pem_x509_certificate(old.encode())
    renew = {"valid_from": valid_from(), "validity_period_days": 60}
    service.pass_proposal([{"name": "set_service_certificate_validity", "args": renew}])
    new = asking.get_json("/node/network")["service_certificate"]
    certificate = x509.load_pem_x509_certificate(new.encode())
    assert new != old
    assert (days(certificate), certificate.subject, certificate.public_key()) == (60, was.subject, was.public_key())
    for trusted in (old, new):
        with client(service.nodes[0].address, trusted) as session:
            assert session.get("/node/state").status_code == 200
    service.certificate = new
    for node in service.nodes:
        write(service, node)
    joined = service.join()
    write(service, joined)
    presented(joined).verify_directly_issued_by(certificate)
