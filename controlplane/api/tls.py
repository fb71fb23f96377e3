"""The private CA and the API's server certificate, made on first start (control-plane.md 6.4).

The CA's key is used here and nowhere else. The server certificate is made anew when it is about to end or when the
configured host is missing from it, so clients keep trusting the same `ca.pem`.
"""

import ipaddress
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.settings import Settings, write_private

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
_CLOCK_ALLOWANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ServerTls:
    ca_file: Path
    certificate_file: Path
    key_file: Path


def ensure_server_tls(settings: Settings, now: datetime) -> ServerTls:
    """Files for an HTTPS server whose certificate covers `localhost`, `127.0.0.1` and the configured hosts."""
    files = ServerTls(settings.ca_file, settings.tls_dir / "server.pem", settings.tls_dir / "server_key.pem")
    settings.tls_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key_file = settings.tls_dir / "ca_key.pem"
    if not (ca_key_file.exists() and files.ca_file.exists()):
        _make_ca(ca_key_file, files.ca_file, now)
    hosts = server_hosts(settings)
    if not _is_current(files, hosts, now):
        _make_server(ca_key_file, files, hosts, now)
    return files


def server_hosts(settings: Settings) -> tuple[str, ...]:
    """Every name a client may use, without repetitions, in a stable order."""
    configured = [settings.host, urlsplit(settings.base_url).hostname or "localhost"]
    hosts = ["localhost", "127.0.0.1", "::1", *configured]
    return tuple(dict.fromkeys(host for host in hosts if host not in ("0.0.0.0", "::")))


def _make_ca(key_file: Path, certificate_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mccf private CA {secrets.token_hex(4)}")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = _key_usage(digital_signature=False, sign_certificates=True)
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_file, _private_pem(key))
    _write_certificate(certificate_file, certificate)


def _make_server(ca_key_file: Path, files: ServerTls, hosts: tuple[str, ...], now: datetime) -> None:
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    ca = x509.load_pem_x509_certificate(files.ca_file.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mccf")])
    certificate = (
        _builder(name, ca.subject, key.public_key(), now, SERVER_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    write_private(files.key_file, _private_pem(key))
    _write_certificate(files.certificate_file, certificate)


def _is_current(files: ServerTls, hosts: tuple[str, ...], now: datetime) -> bool:
    if not (files.certificate_file.exists() and files.key_file.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate_file.read_bytes())
    key = serialization.load_pem_private_key(files.key_file.read_bytes(), None)
    if certificate.not_valid_after_utc - RENEW_BEFORE <= now or certificate.public_key() != key.public_key():
        return False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return all(_general_name(host) in names for host in hosts)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_ALLOWANCE)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, digital_signature: bool, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    write_private(path, certificate.public_bytes(serialization.Encoding.PEM).decode())
    path.chmod(0o644)
