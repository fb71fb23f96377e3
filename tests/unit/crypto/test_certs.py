"""Certificate profiles, endorsement, and the arithmetic of validity."""

import ssl
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID
from cryptography.x509.verification import PolicyBuilder, Store

from dataplane.crypto import certs
from dataplane.crypto.certs import InvalidCertificate, InvalidValidFrom

SERVICE_KEY = ec.generate_private_key(ec.SECP384R1())
NODE_KEY = ec.generate_private_key(ec.SECP384R1())
SERIAL = int.from_bytes(bytes(range(1, 17)), "big")
START = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)
SERVICE_CERT = certs.self_signed_service_certificate(SERVICE_KEY, "CN=CCF Service", SERIAL, START, 90)
SANS = ["iPAddress:127.0.0.1", "dNSName:localhost", "::1", "node.example.com"]


def endorsed(sans: list[str] = SANS) -> x509.Certificate:
    csr = certs.create_csr(NODE_KEY, "CN=CCF Node", sans)
    return certs.load_certificate(certs.endorse_node_csr(SERVICE_KEY, SERVICE_CERT, csr, SERIAL, START, 30))


def extension_oids(certificate: x509.Certificate) -> list[tuple[x509.ObjectIdentifier, bool]]:
    return [(extension.oid, extension.critical) for extension in certificate.extensions]


def test_service_profile() -> None:
    certificate = certs.load_certificate(SERVICE_CERT)
    assert SERVICE_CERT.endswith("-----END CERTIFICATE-----\n")
    assert certificate.subject.rfc4514_string() == certificate.issuer.rfc4514_string() == "CN=CCF Service"
    assert certificate.serial_number == SERIAL
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)
    assert extension_oids(certificate) == [
        (ExtensionOID.BASIC_CONSTRAINTS, True),
        (ExtensionOID.KEY_USAGE, True),
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
    ]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 1)
    assert certificate.not_valid_before_utc == START
    assert certificate.not_valid_after_utc == START + timedelta(days=90) - timedelta(seconds=1)
    assert certs.common_name(certificate) == "CCF Service"


def test_endorsed_node_profile() -> None:
    certificate = endorsed()
    assert (certs.common_name(certificate), certificate.issuer.rfc4514_string()) == ("CCF Node", "CN=CCF Service")
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)
    assert extension_oids(certificate) == [
        (ExtensionOID.BASIC_CONSTRAINTS, True),
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
        (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, False),
    ]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "node.example.com"]
    assert certs.is_issued_by(certificate, certs.load_certificate(SERVICE_CERT))
    assert not certs.is_authority(certificate)
    assert certs.is_authority(certs.load_certificate(SERVICE_CERT))


def test_the_chain_passes_the_library_verifier() -> None:
    verifier = PolicyBuilder().store(Store([certs.load_certificate(SERVICE_CERT)])).time(START).build_client_verifier()
    assert verifier.verify(endorsed(), []).chain


def test_a_csr_is_signed_with_sha512_and_asks_for_names_only() -> None:
    csr = x509.load_pem_x509_csr(certs.create_csr(NODE_KEY, "CN=CCF Node", SANS).encode())
    assert isinstance(csr.signature_hash_algorithm, hashes.SHA512)
    assert [extension.oid for extension in csr.extensions] == [ExtensionOID.SUBJECT_ALTERNATIVE_NAME]
    assert certs.csr_public_key(certs.create_csr(NODE_KEY, "CN=CCF Node", [])) == NODE_KEY.public_key()


def test_a_well_signed_request_whose_subject_is_no_text_is_refused() -> None:
    """The library reads names late: nobody may find out only when the service is about to endorse it."""
    good = x509.load_pem_x509_csr(certs.create_csr(NODE_KEY, "CN=Acme", []).encode())
    signed = good.tbs_certrequest_bytes.replace(b"Acme", b"A\x80me")
    signature = NODE_KEY.sign(signed, ec.ECDSA(hashes.SHA512()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040304")
    body = signed + algorithm + bytes((0x03, len(signature) + 1, 0)) + signature
    whole = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    pem = ssl.DER_cert_to_PEM_cert(whole).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    assert x509.load_pem_x509_csr(pem.encode()).is_signature_valid
    with pytest.raises(InvalidCertificate, match="cannot be read"):
        certs.csr_public_key(pem)


def test_bad_requests_are_refused() -> None:
    csr = certs.create_csr(NODE_KEY, "CN=CCF Node", SANS)
    lines = csr.splitlines()
    lines[-2] = ("A" if lines[-2][0] != "A" else "B") + lines[-2][1:]
    for bad in ("", "nonsense", SERVICE_CERT, "\n".join(lines) + "\n"):
        with pytest.raises(InvalidCertificate):
            certs.endorse_node_csr(SERVICE_KEY, SERVICE_CERT, bad, SERIAL, START, 1)


def test_issuance_needs_name_and_key() -> None:
    certificate = endorsed()
    other_key = ec.generate_private_key(ec.SECP384R1())
    same_name = certs.self_signed_service_certificate(other_key, "CN=CCF Service", SERIAL, START, 1)
    same_key = certs.self_signed_service_certificate(SERVICE_KEY, "CN=Another", SERIAL, START, 1)
    for issuer in (same_name, same_key):
        assert not certs.is_issued_by(certificate, certs.load_certificate(issuer))


def test_node_and_client_certificates_of_their_own() -> None:
    node = certs.load_certificate(certs.self_signed_node_certificate(NODE_KEY, "CN=CCF Node", SANS, SERIAL, START, 1))
    assert certs.is_authority(node)
    assert certs.public_key_of(node) == NODE_KEY.public_key()
    member = certs.load_certificate(certs.self_signed_client_certificate(NODE_KEY, "CN=m", SERIAL, START, 1))
    assert not certs.is_authority(member)
    assert certs.load_certificate(certs.certificate_pem(member)) == member


def test_subjects_keep_their_order() -> None:
    assert [a.value for a in certs.parse_subject("CN=CCF Node,O=Contoso,C=CH")] == ["CCF Node", "Contoso", "CH"]
    with pytest.raises(InvalidCertificate):
        certs.parse_subject("no subject")


def test_no_certificate() -> None:
    for bad in ("", "nonsense", b"\x30\x00", SERVICE_CERT.replace("MII", "MIX")):
        with pytest.raises(InvalidCertificate):
            certs.load_certificate(bad)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250301120000Z", START),
        ("20250301120000Z", START),
        ("2025-03-01 12:00:00", START),
        ("2025-03-01T12:00:00", START),
        ("2025-03-01T12:00:00.123456", START),
        ("2025-03-01 14:30:00 +02:30", START),
        ("2025-03-01T07:00:00-05:00", START),
        ("2025-03-01T12:00:00.5+00:00", START),
        ("500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        ("491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_starts_of_validity(text: str, expected: datetime) -> None:
    assert certs.parse_valid_from(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "now", "2025-03-01", "250301120000", "251301120000Z", "2025-02-30 00:00:00", "2025-03-01 24:00:00",
     "2025-03-01T12:00:00Z", "\u0662\u06650301120000Z", "0001-01-01 00:00:00 +23:00", " 250301120000Z"],
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(InvalidValidFrom):
        certs.parse_valid_from(text)


def test_validity_ends_one_second_early() -> None:
    start = datetime(2025, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert certs.validity(start, 1) == (start, start + timedelta(hours=23, minutes=59, seconds=59))


def test_an_earlier_service_key_is_endorsed() -> None:
    """ledger-format.md 4.4: old name and key, present issuer and validity, an authority one step long."""
    old_key = ec.generate_private_key(ec.SECP384R1())
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    old = certs.self_signed_service_certificate(old_key, "CN=Old Service", SERIAL, long_ago, 1)
    service = certs.load_certificate(SERVICE_CERT)
    issued = certs.load_certificate(certs.endorse_service_key(SERVICE_KEY, SERVICE_CERT, old, 7))
    assert certs.is_issued_by(issued, service)
    assert certs.is_authority(issued)
    assert (certs.common_name(issued), issued.serial_number) == ("Old Service", 7)
    assert issued.public_key() == old_key.public_key()
    assert (issued.not_valid_before_utc, issued.not_valid_after_utc) == (
        service.not_valid_before_utc,
        service.not_valid_after_utc,
    )
    assert extension_oids(issued) == extension_oids(service)
    csr = certs.create_csr(NODE_KEY, "CN=CCF Node", SANS)
    node = certs.load_certificate(certs.endorse_node_csr(old_key, old, csr, SERIAL, START, 30))
    verifier = PolicyBuilder().store(Store([service])).time(START + timedelta(days=1)).build_client_verifier()
    verifier.verify(node, [issued])
    with pytest.raises(InvalidCertificate):
        certs.endorse_service_key(SERVICE_KEY, SERVICE_CERT, "nonsense", 7)


def test_a_self_signed_certificate_is_renewed_like_another() -> None:
    old = certs.self_signed_node_certificate(NODE_KEY, "CN=CCF Node,O=Here", SANS, SERIAL, START, 1)
    csr = certs.create_csr(NODE_KEY, "CN=CCF Node,O=Here", SANS)
    endorsed = certs.endorse_node_csr(SERVICE_KEY, SERVICE_CERT, csr, 7, START + timedelta(days=3), 40)
    before, like = certs.load_certificate(old), certs.load_certificate(endorsed)
    renewed = certs.load_certificate(certs.renewed_self_signed(NODE_KEY, old, endorsed, 9))
    assert (renewed.subject, renewed.issuer, renewed.serial_number) == (before.subject, before.issuer, 9)
    assert (renewed.not_valid_before_utc, renewed.not_valid_after_utc) == (
        like.not_valid_before_utc,
        like.not_valid_after_utc,
    )
    assert [extension.value for extension in renewed.extensions] == [ext.value for ext in before.extensions]
    renewed.verify_directly_issued_by(renewed)
