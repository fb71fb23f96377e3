"""Certificates of service, nodes, members and users (ledger-format.md 7.1, 7.2; node-api.md 4.5).

Serial numbers are 16 random bytes and start times are instants, both given by the caller. A validity of N days ends
one second early: end = start + N days - 1 s.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dataplane.crypto.keys import PrivateKey, PublicKey

Certificate = x509.Certificate

_TIMES = (
    # YYMMDDHHMMSSZ and YYYYMMDDHHMMSSZ, as ASN.1 writes them
    re.compile(r"(?P<Y>\d{2}|\d{4})(?P<m>\d\d)(?P<d>\d\d)(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)Z", re.ASCII),
    re.compile(
        r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[ T](?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(\.\d+)?"
        r"(\s?(?P<sign>[+-])(?P<oh>\d\d):(?P<om>\d\d))?",
        re.ASCII,
    ),
)
_UTC_TIME_PIVOT = 50  # RFC 5280 4.1.2.5.1: two-digit years from 50 on are of the last century


class InvalidCertificate(ValueError):
    """The text holds no certificate or certificate request that can be used here."""


class InvalidValidFrom(ValueError):
    """The text is no time in one of the accepted forms (node-api.md 4.5)."""


def self_signed_service_certificate(key: PrivateKey, subject: str, serial: int, not_before: datetime, days: int) -> str:
    """The certificate of a service: PEM. `subject` reads like `CN=CCF Service`."""
    return _self_signed(key, subject, serial, not_before, days, ca=True, sans=())


def self_signed_node_certificate(
    key: PrivateKey, subject: str, sans: Sequence[str], serial: int, not_before: datetime, days: int
) -> str:
    """The certificate a node shows before the service endorses it: PEM. `sans` as in `subject_alt_name`."""
    return _self_signed(key, subject, serial, not_before, days, ca=True, sans=sans)


def renewed_self_signed(key: PrivateKey, certificate_pem: str, like_pem: str, serial: int) -> str:
    """A node's self-signed certificate (PEM) once more, with the validity of another certificate."""
    old, like = load_certificate(certificate_pem), load_certificate(like_pem)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(like.not_valid_before_utc)
        .not_valid_after(like.not_valid_after_utc)
    )
    builder = _with_profile(builder, key.public_key(), key.public_key(), ca=True)
    for extension in old.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=False)
    return _sign(builder, key)


def self_signed_client_certificate(key: PrivateKey, subject: str, serial: int, not_before: datetime, days: int) -> str:
    """The certificate of a member or user: PEM."""
    return _self_signed(key, subject, serial, not_before, days, ca=False, sans=())


def create_csr(key: PrivateKey, subject: str, sans: Sequence[str]) -> str:
    """A certificate request, PEM, that asks for the names in `sans` and nothing else; signed with SHA-512."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(parse_subject(subject))
    if sans:
        builder = builder.add_extension(_subject_alt_names(sans), critical=False)
    return builder.sign(key, hashes.SHA512()).public_bytes(Encoding.PEM).decode()


def endorse_node_csr(
    service_key: PrivateKey, service_cert_pem: str, csr_pem: str, serial: int, not_before: datetime, days: int
) -> str:
    """The service's certificate over the key and names of a request: PEM. Raises `InvalidCertificate`."""
    csr = _load_csr(csr_pem)
    builder = _builder(csr.subject, csr.public_key(), serial, not_before, days).issuer_name(  # type: ignore[arg-type]
        load_certificate(service_cert_pem).subject
    )
    builder = _with_profile(builder, csr.public_key(), service_key.public_key(), ca=False)  # type: ignore[arg-type]
    for extension in csr.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=False)
    return _sign(builder, service_key)


def endorse_service_key(service_key: PrivateKey, service_cert_pem: str, earlier_cert_pem: str, serial: int) -> str:
    """The present service's certificate over the key of an earlier identity: PEM (ledger-format.md 4.4).

    Subject of the earlier certificate, validity of the present one. Raises `InvalidCertificate`.
    """
    service, earlier = load_certificate(service_cert_pem), load_certificate(earlier_cert_pem)
    key = public_key_of(earlier)
    builder = (
        x509.CertificateBuilder()
        .subject_name(earlier.subject)
        .issuer_name(service.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(service.not_valid_before_utc)
        .not_valid_after(service.not_valid_after_utc)
    )
    return _sign(_with_profile(builder, key, service_key.public_key(), ca=True), service_key)


def csr_public_key(csr_pem: str) -> PublicKey:
    """The key a request was signed with; raises `InvalidCertificate`."""
    return _load_csr(csr_pem).public_key()  # type: ignore[return-value]


def load_certificate(data: str | bytes) -> Certificate:
    """Read a certificate, PEM or DER; raises `InvalidCertificate`, also where names or times in it cannot be read."""
    raw = data.encode() if isinstance(data, str) else data
    pem = raw.lstrip().startswith(b"-----")
    try:
        certificate = x509.load_pem_x509_certificate(raw) if pem else x509.load_der_x509_certificate(raw)
        # The library reads these when they are asked for, which would fail in somebody else's hands.
        _ = certificate.subject, certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as error:  # the library has types of its own, such as `InvalidVersion`, that are no ValueError
        raise InvalidCertificate(f"no certificate in these bytes: {error}") from error
    return certificate


def public_key_of(certificate: str | bytes | Certificate) -> PublicKey:
    """The elliptic-curve key a certificate is about; raises `InvalidCertificate`."""
    parsed = certificate if isinstance(certificate, x509.Certificate) else load_certificate(certificate)
    try:
        key = parsed.public_key()
    except Exception as error:  # unsupported curves and malformed points have their own types
        raise InvalidCertificate(f"the certificate's key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidCertificate("the certificate's key is not on an elliptic curve")
    return key


def certificate_pem(certificate: Certificate) -> str:
    """PEM text, final newline included."""
    return certificate.public_bytes(Encoding.PEM).decode()


def is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether names match and `issuer`'s key signed `certificate`, whose bytes are in their one DER form."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return _signature_is_last(certificate)


@lru_cache(maxsize=256)
def endorses(service_cert: str | bytes, certificate: str | bytes) -> bool:
    """`is_issued_by` for certificates as they are stored or shown, PEM or DER; no certificate is endorsed by nobody.

    Remembered, as every signature of a ledger asks the same of the few certificates of its nodes.
    """
    try:
        return is_issued_by(load_certificate(certificate), load_certificate(service_cert))
    except InvalidCertificate:
        return False


def is_authority(certificate: Certificate) -> bool:
    """Whether the certificate may endorse others (basicConstraints CA:TRUE)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception:  # absent, doubled or malformed extensions have a type each
        return False


def validity(not_before: datetime, days: int) -> tuple[datetime, datetime]:
    """First and last instant of a validity of `days` days."""
    return not_before, not_before + timedelta(days=days) - timedelta(seconds=1)


def parse_valid_from(text: str) -> datetime:
    """Read a start of validity: `YYMMDDHHMMSSZ`, `YYYYMMDDHHMMSSZ` or ISO 8601 with a space or `T`.

    A time without offset is UTC; fractions of a second are dropped. Raises `InvalidValidFrom`.
    """
    match = next((m for m in (pattern.fullmatch(text) for pattern in _TIMES) if m), None)
    if match is None:
        raise InvalidValidFrom(f"{text!r} is not a time in an accepted form")
    part = match.groupdict()
    year = int(part["Y"])
    if len(part["Y"]) == 2:
        year += 1900 if year >= _UTC_TIME_PIVOT else 2000
    try:
        local = datetime(
            year, int(part["m"]), int(part["d"]), int(part["H"]), int(part["M"]), int(part["S"]), tzinfo=UTC
        )
        offset = timedelta(hours=int(part.get("oh") or 0), minutes=int(part.get("om") or 0))
        return local + offset if part.get("sign") == "-" else local - offset
    except (ValueError, OverflowError) as error:
        raise InvalidValidFrom(f"{text!r} is no time: {error}") from error


def parse_subject(text: str) -> x509.Name:
    """A name like `CN=CCF Node,O=Contoso`, its parts in the order written; raises `InvalidCertificate`."""
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        raise InvalidCertificate(f"{text!r} is no certificate subject: {error}") from error
    return x509.Name(list(name.rdns)[::-1])  # RFC 4514 text lists the parts last to first


def subject_text(certificate: str | bytes) -> str:
    """The subject as `parse_subject` reads it; raises `InvalidCertificate`."""
    rdns = load_certificate(certificate).subject.rdns
    return x509.Name(reversed(rdns)).rfc4514_string()  # parts in the order written; RFC 4514 text is last to first


def common_name(certificate: Certificate) -> str:
    """The CN of the subject, or an empty text."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def subject_alt_name(text: str) -> x509.GeneralName:
    """`iPAddress:<address>`, `dNSName:<name>`, or a bare host, which is an address when it reads like one."""
    kind, separator, value = text.partition(":")
    if separator and kind == "dNSName":
        return x509.DNSName(value)
    if separator and kind == "iPAddress":
        return x509.IPAddress(ip_address(value))
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _self_signed(
    key: PrivateKey, subject: str, serial: int, not_before: datetime, days: int, *, ca: bool, sans: Sequence[str]
) -> str:
    name = parse_subject(subject)
    builder = _builder(name, key.public_key(), serial, not_before, days).issuer_name(name)
    builder = _with_profile(builder, key.public_key(), key.public_key(), ca=ca)
    if sans:
        builder = builder.add_extension(_subject_alt_names(sans), critical=False)
    return _sign(builder, key)


def _builder(
    subject: x509.Name, key: PublicKey, serial: int, not_before: datetime, days: int
) -> x509.CertificateBuilder:
    start, end = validity(not_before, days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _with_profile(
    builder: x509.CertificateBuilder, subject_key: PublicKey, issuer_key: PublicKey, *, ca: bool
) -> x509.CertificateBuilder:
    """The extensions of ledger-format.md 7.1 (`ca`) or 7.2, in their order."""
    constraints = x509.BasicConstraints(ca=ca, path_length=1 if ca else None)
    builder = builder.add_extension(constraints, critical=True)
    if ca:
        builder = builder.add_extension(_CA_KEY_USAGE, critical=True)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
    )


_CA_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> str:
    digest = hashes.SHA256() if key.curve.key_size <= 256 else hashes.SHA384()
    return builder.sign(key, digest).public_bytes(Encoding.PEM).decode()


def _load_csr(pem: str) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        valid = csr.is_signature_valid and isinstance(csr.public_key(), ec.EllipticCurvePublicKey)
        _ = csr.subject, csr.extensions  # read when they are asked for: here, not where they are used
    except Exception as error:  # unsupported keys and malformed points have their own types
        raise InvalidCertificate(f"the certificate request cannot be read: {error}") from error
    if not valid:
        raise InvalidCertificate("the certificate request is not signed by an elliptic-curve key of its own")
    return csr


def _signature_is_last(certificate: Certificate) -> bool:
    """DER ends in the signature's bit string; its count of unused bits is not signed, so it must be zero."""
    signature = certificate.signature
    return certificate.public_bytes(Encoding.DER).endswith(b"\x00" + signature)


def _subject_alt_names(sans: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([subject_alt_name(san) for san in sans])
