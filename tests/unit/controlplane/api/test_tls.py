"""The private CA and the server certificate (control-plane.md 6.4)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from controlplane.api.tls import SERVER_LIFETIME, ServerTls, ensure_server_tls
from controlplane.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(files: ServerTls) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate_file.read_bytes())


def verify(files: ServerTls, host: str, at: datetime) -> None:
    name = x509.DNSName(host) if host[0].isalpha() else x509.IPAddress(ip_address(host))
    ca = x509.load_pem_x509_certificate(files.ca_file.read_bytes())
    verifier = PolicyBuilder().store(Store([ca])).time(at).build_server_verifier(name)
    verifier.verify(certificate(files), [])


def test_clients_that_trust_the_ca_accept_every_name(tmp_path: Path) -> None:
    settings = Settings(tmp_path, host="10.0.0.7", public_url="https://ledger.example.org:8443")
    files = ensure_server_tls(settings, NOW)
    for host in ("localhost", "127.0.0.1", "10.0.0.7", "ledger.example.org"):
        verify(files, host, NOW)


def test_keys_are_private(tmp_path: Path) -> None:
    files = ensure_server_tls(Settings(tmp_path), NOW)
    modes = {path.name: path.stat().st_mode & 0o777 for path in files.ca_file.parent.iterdir()}
    assert modes == {"ca.pem": 0o644, "ca_key.pem": 0o600, "server.pem": 0o644, "server_key.pem": 0o600}


def test_a_second_start_keeps_both_certificates(tmp_path: Path) -> None:
    files = ensure_server_tls(Settings(tmp_path), NOW)
    before = (files.ca_file.read_bytes(), files.certificate_file.read_bytes())
    ensure_server_tls(Settings(tmp_path), NOW + timedelta(days=1))
    assert (files.ca_file.read_bytes(), files.certificate_file.read_bytes()) == before


def test_the_server_certificate_is_renewed_under_the_same_ca(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    files = ensure_server_tls(settings, NOW)
    ca, first = files.ca_file.read_bytes(), certificate(files)
    late = NOW + SERVER_LIFETIME - timedelta(days=20)
    ensure_server_tls(settings, late)
    assert files.ca_file.read_bytes() == ca
    assert certificate(files).serial_number != first.serial_number
    verify(files, "localhost", late + timedelta(days=100))


def test_a_new_host_name_makes_a_new_certificate(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    files = ensure_server_tls(settings, NOW)
    ensure_server_tls(replace(settings, host="10.1.1.1"), NOW)
    verify(files, "10.1.1.1", NOW)


def test_a_key_that_does_not_fit_is_replaced(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    files = ensure_server_tls(settings, NOW)
    files.key_file.write_bytes((files.ca_file.parent / "ca_key.pem").read_bytes())
    ensure_server_tls(settings, NOW)
    assert files.key_file.read_bytes() != (files.ca_file.parent / "ca_key.pem").read_bytes()
